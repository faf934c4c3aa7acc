//! A container engine's API: Docker's, over its Unix socket.
//!
//! The calls block, because a fault must also be undone in a `drop`, where nothing can be awaited.
//! They are short: an engine answers in milliseconds.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::http::{Answer, Client, Endpoint, HttpError, wait_for};

/// Time limit of an answer: connecting a network under load takes longest.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// The status of a change that is made already: a container that runs is started.
const NOT_MODIFIED: u16 = 304;
/// Largest answer; the description of a container has about 10 KiB.
const ANSWER_MAX: usize = 16 << 20;

/// Why a request to an engine failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// It does not answer.
    #[error("no answer from the engine at {}: {source}", socket.display())]
    Silent {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        source: HttpError,
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
    /// Its answer can't be read.
    #[error("the engine's answer to {request} cannot be read: {why}")]
    Garbled {
        /// Method and path.
        request: String,
        /// Why.
        why: String,
    },
    /// Its containers are not those of `lab.toml`.
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

    /// Sends a GET request.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, EngineError> {
        let body = self.request("GET", path, None)?;
        serde_json::from_slice(&body).map_err(|error| EngineError::Garbled {
            request: format!("GET {path}"),
            why: error.to_string(),
        })
    }

    /// Sends a POST request.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub fn post(&self, path: &str, body: &Value) -> Result<(), EngineError> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.request("POST", path, Some(body)).map(drop)
    }

    fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<String>,
    ) -> Result<Bytes, EngineError> {
        let client = Client::new(
            Endpoint::Unix(self.socket.clone()),
            ANSWER_LIMIT,
            ANSWER_MAX,
        );
        let answered = wait_for(async {
            match body {
                None => client.get(path).await,
                Some(body) => client.post(path, body).await,
            }
        });
        let Answer { status, body } = answered.map_err(|source| EngineError::Silent {
            socket: self.socket.clone(),
            source,
        })?;
        if status < 300 || status == NOT_MODIFIED {
            return Ok(body);
        }
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        Err(EngineError::Refused {
            request: format!("{method} {path}"),
            status,
            message: answer["message"].as_str().unwrap_or("no reason").to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// An engine that gives this answer to one request, and returns the request.
    fn engine(answer: &'static str) -> (tempfile::TempDir, Engine, thread::JoinHandle<String>) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let asked = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        (folder, Engine::at(socket), asked)
    }

    #[test]
    fn what_an_engine_answers_is_read_and_what_it_refuses_is_told_with_its_reason() {
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[1,2]\r\n0\r\n\r\n";
        let (_folder, there, asked) = engine(chunked);
        assert_eq!(
            there.get::<Vec<u8>>("/containers/json?all=1").unwrap(),
            [1, 2]
        );
        let request = asked.join().unwrap();
        assert!(
            request.starts_with("GET /containers/json?all=1 HTTP/1."),
            "{request}"
        );

        let (_folder, there, asked) = engine("HTTP/1.1 204 No Content\r\n\r\n");
        there.post("/containers/a/pause", &Value::Null).unwrap();
        let request = asked.join().unwrap();
        assert!(request.contains("content-length: 0\r\n"), "{request}");

        let (_folder, there, _asked) = engine("HTTP/1.1 304 Not Modified\r\n\r\n");
        there.post("/containers/a/start", &Value::Null).unwrap();

        let refusal =
            "HTTP/1.1 409 Conflict\r\nContent-Length: 21\r\n\r\n{\"message\":\"it is\"}\n\n";
        let (_folder, there, _asked) = engine(refusal);
        let error = there.post("/containers/a/pause", &Value::Null).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the engine refuses POST /containers/a/pause: 409: it is"
        );
        let (_folder, there, _asked) = engine("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        let error = there.get::<Vec<u8>>("/info").unwrap_err();
        assert!(matches!(error, EngineError::Garbled { .. }), "{error}");
    }

    /// A failed drill undoes its faults in this way.
    #[tokio::test]
    async fn it_can_be_asked_in_a_drop_within_a_runtime() {
        struct Paused(Engine);
        impl Drop for Paused {
            fn drop(&mut self) {
                self.0.post("/containers/a/unpause", &Value::Null).unwrap();
            }
        }
        let (_folder, there, asked) = engine("HTTP/1.1 204 No Content\r\n\r\n");
        drop(Paused(there));
        assert!(
            asked
                .join()
                .unwrap()
                .starts_with("POST /containers/a/unpause ")
        );
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
