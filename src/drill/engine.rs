//! A container engine's API: Docker's, over its Unix socket.
//!
//! One request a connection, in HTTP/1.0, so that an answer ends with its connection. Blocking, and short: an
//! engine answers in milliseconds, and what was begun has to be undone also where nothing can be awaited.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// How long an engine may take for one answer: connecting a network under load takes longest.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Why an engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// It does not answer.
    #[error("no answer from the engine at {}: {source}", socket.display())]
    Silent {
        /// Where it should be.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It refuses.
    #[error("the engine refuses {request}: {status}: {message}")]
    Refused {
        /// Method and path.
        request: String,
        /// The status.
        status: u16,
        /// Its reason.
        message: String,
    },
    /// It says something else than was asked.
    #[error("the engine's answer to {request} makes no sense: {why}")]
    Garbled {
        /// Method and path.
        request: String,
        /// Why.
        why: String,
    },
    /// The lab does not run in it as `lab.toml` says.
    #[error("{0}")]
    Unfit(String),
}

/// An engine.
#[derive(Debug, Clone)]
pub struct Engine {
    socket: PathBuf,
}

impl Engine {
    /// The engine that listens at that socket.
    pub fn at(socket: PathBuf) -> Self {
        Engine { socket }
    }

    /// Asks for something.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, EngineError> {
        let body = self.request("GET", path, "")?;
        serde_json::from_slice(&body).map_err(|error| EngineError::Garbled {
            request: format!("GET {path}"),
            why: error.to_string(),
        })
    }

    /// Has it do something.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub fn post(&self, path: &str, body: &Value) -> Result<(), EngineError> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.request("POST", path, &body).map(drop)
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Result<Vec<u8>, EngineError> {
        let answer = self
            .exchange(method, path, body)
            .map_err(|source| EngineError::Silent {
                socket: self.socket.clone(),
                source,
            })?;
        let request = || format!("{method} {path}");
        let (status, body) = parse(&answer).ok_or_else(|| EngineError::Garbled {
            request: request(),
            why: "it is no HTTP".into(),
        })?;
        if status < 300 {
            return Ok(body.to_vec());
        }
        let told: Value = serde_json::from_slice(body).unwrap_or_default();
        Err(EngineError::Refused {
            request: request(),
            status,
            message: told["message"].as_str().unwrap_or("no reason").to_owned(),
        })
    }

    fn exchange(&self, method: &str, path: &str, body: &str) -> io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.0\r\nHost: engine\r\n");
        let rest = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all([&head, rest.as_str(), body].concat().as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    }
}

/// Status and body of an answer.
fn parse(answer: &[u8]) -> Option<(u16, &[u8])> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    Some((status.parse().ok()?, &answer[end + 4..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_status_and_what_follows_the_empty_line() {
        let answer = b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\n[]\r\n\r\n";
        assert_eq!(parse(answer), Some((200, &b"[]\r\n\r\n"[..])));
        assert_eq!(
            parse(b"HTTP/1.1 204 No Content\r\n\r\n"),
            Some((204, &b""[..]))
        );
    }

    #[test]
    fn what_is_no_http_is_no_answer() {
        for wrong in [
            &b""[..],
            b"HTTP/1.0 200 OK\r\n",
            b"SSH-2.0\r\n\r\n",
            b"HTTP/1.0 ok\r\n\r\n",
        ] {
            assert_eq!(parse(wrong), None);
        }
    }

    #[test]
    fn an_engine_that_is_not_there_is_named() {
        let engine = Engine::at("/nonexistent/docker.sock".into());
        let error = engine.get::<Value>("/info").unwrap_err();
        assert!(
            error.to_string().contains("/nonexistent/docker.sock"),
            "{error}"
        );
    }
}
