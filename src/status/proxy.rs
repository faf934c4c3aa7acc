//! Checks whether a proxy serves, by a request like that of a client.

use std::io;
use std::net::SocketAddrV4;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::client::Connector;
use crate::config::Lab;

/// Time limit for the answer of a proxy: longer than a failover after a kill of the primary's
/// server, shorter than the timeout of a health check.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Longest answer that is read.
const ANSWER_MAX: usize = 512;

/// Whether the proxy that listens at `listens` answers a command from the primary.
///
/// # Errors
/// Why it does not.
pub async fn proxy_serves(lab: &Lab, listens: SocketAddrV4) -> Result<(), String> {
    // Any answer of the primary counts, including the error that a login is required.
    match timeout(ANSWER_LIMIT, answer(lab, listens)).await {
        Err(_) => Err(format!("no answer within {} s", ANSWER_LIMIT.as_secs())),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(answer)) => match answer.strip_prefix('-') {
            None => Ok(()),
            Some(error) if error.starts_with("NOAUTH ") => Ok(()),
            Some(error) => Err(format!("it answers {error}")),
        },
    }
}

/// The first line of the answer to `PING`.
async fn answer(lab: &Lab, listens: SocketAddrV4) -> io::Result<String> {
    let address = SocketAddrV4::new(*lab.proxy_socket().ip(), listens.port());
    let mut stream = Connector::to_proxy(lab, listens)
        .open_stream(address)
        .await
        .map_err(|error| io::Error::other(error.to_string()))?;
    stream.write_all(b"PING\r\n").await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    while answer.len() < ANSWER_MAX && !answer.contains(&b'\n') {
        if stream.read_buf(&mut answer).await? == 0 {
            let what = "it closed the connection without an answer";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
        }
    }
    let text = String::from_utf8_lossy(&answer);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
