//! A copy of all data of a data node, as of one moment: `PSYNC`, as a replica sends it, without the
//! stream of commands after the RDB (`REPLCONF rdb-only`, as `redis-cli --rdb`).
//!
//! The server forks, and the child sends the data as of that moment. Nothing is written on the
//! server's host, and it continues to serve. It states the history and the offset of the copy. See
//! <https://redis.io/docs/latest/operate/oss_and_stack/management/replication/>.
//!
//! Meanwhile a primary lists this client among its replicas in `INFO`, which Sentinels read. So the
//! client announces port -1: a Sentinel rejects that as an address (`createSentinelAddr` in
//! sentinel.c), and the lab does not parse it as a replica. The client never acknowledges an
//! offset, so no write counts as confirmed by it.

use std::io;
use std::net::SocketAddrV4;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::stream::Stream;
use super::{ClientError, Connector};

/// Maximum silence of the server. While it prepares the copy it sends something each second
/// (`repl-ping-replica-period`; 10 s by default), and then it sends without a pause. Its own limit
/// for a replica that does not read is `repl-timeout`, 10 s in the lab and 60 s by default.
const SILENCE: Duration = Duration::from_secs(30);
/// Length of the delimiter after a copy of unknown length (`CONFIG_RUN_ID_SIZE`).
const DELIMITER_BYTES: usize = 40;
/// Longest line before the copy.
const LONGEST_LINE: usize = 4096;
/// Free capacity for each read.
const READ_CAPACITY: usize = 256 * 1024;

/// Why there is no complete copy.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SnapshotError {
    /// No connection.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server refuses.
    #[error("{from} refuses to send a copy: {why}")]
    Refused {
        /// The node's address.
        from: SocketAddrV4,
        /// The server's answer.
        why: String,
    },
    /// The connection broke before the copy was complete.
    #[error("the copy from {from} is incomplete: {why}")]
    Broken {
        /// The node's address.
        from: SocketAddrV4,
        /// The event.
        why: String,
    },
}

/// How the end of a copy is recognized.
#[derive(Debug)]
enum CopyEnd {
    /// By these bytes after it.
    Delimiter(Bytes),
    /// By the number of bytes that remain.
    Length(u64),
}

/// A copy that is being received.
#[derive(Debug)]
pub struct Snapshot {
    from: SocketAddrV4,
    stream: Stream,
    input: BytesMut,
    end: Option<CopyEnd>,
    /// The replication history of the offset (`master_replid`).
    pub history: String,
    /// The copy has exactly the writes up to this offset.
    pub offset: u64,
}

impl Connector {
    /// Requests a copy of all data of the data node at `from`. Returns when the copy begins.
    ///
    /// # Errors
    /// If there is no connection, or the server refuses.
    pub async fn snapshot(&self, from: SocketAddrV4) -> Result<Snapshot, SnapshotError> {
        let stream = self.stream(from).await?;
        let mut snapshot = Snapshot {
            from,
            stream,
            input: BytesMut::new(),
            end: None,
            history: String::new(),
            offset: 0,
        };
        // Wait for the answer: PSYNC is refused while one is outstanding.
        snapshot
            .send(&[
                "REPLCONF",
                "listening-port",
                "-1",
                "capa",
                "eof",
                "rdb-only",
                "1",
            ])
            .await?;
        let line = snapshot.line().await?;
        if line != "+OK" {
            return Err(snapshot.refused(&line));
        }
        snapshot.send(&["PSYNC", "?", "-1"]).await?;
        let line = snapshot.line().await?;
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next().map(str::parse)) {
            (Some("+FULLRESYNC"), Some(history), Some(Ok(offset))) => {
                snapshot.history = history.to_owned();
                snapshot.offset = offset;
            }
            _ => return Err(snapshot.refused(&line)),
        }
        let line = snapshot.line().await?;
        let end = match (line.strip_prefix("$EOF:"), line.strip_prefix('$')) {
            (Some(delimiter), _) if delimiter.len() == DELIMITER_BYTES => Some(CopyEnd::Delimiter(
                Bytes::copy_from_slice(delimiter.as_bytes()),
            )),
            (None, Some(length)) => length.parse().ok().map(CopyEnd::Length),
            _ => None,
        };
        snapshot.end = Some(end.ok_or_else(|| snapshot.refused(&line))?);
        Ok(snapshot)
    }
}

impl Snapshot {
    fn refused(&self, line: &str) -> SnapshotError {
        let why: String = line
            .trim_start_matches('-')
            .chars()
            .filter(|c| !c.is_control())
            .take(200)
            .collect();
        SnapshotError::Refused {
            from: self.from,
            why,
        }
    }

    fn broken(&self, why: impl Into<String>) -> SnapshotError {
        SnapshotError::Broken {
            from: self.from,
            why: why.into(),
        }
    }

    async fn send(&mut self, words: &[&str]) -> Result<(), SnapshotError> {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        let packed = command.get_packed_command();
        let sent = async {
            self.stream.write_all(&packed).await?;
            self.stream.flush().await
        };
        sent.await
            .map_err(|error: io::Error| self.broken(error.to_string()))
    }

    /// Waits for more bytes. Returns false if the server has closed the connection.
    async fn receive(&mut self) -> Result<bool, SnapshotError> {
        self.input.reserve(READ_CAPACITY);
        match timeout(SILENCE, self.stream.read_buf(&mut self.input)).await {
            Ok(Ok(0)) => Ok(false),
            Ok(Ok(_)) => Ok(true),
            Ok(Err(error)) => Err(self.broken(error.to_string())),
            Err(_) => Err(self.broken(format!("no data for {SILENCE:?}"))),
        }
    }

    /// The next line. The server sends empty lines while it prepares the copy.
    async fn line(&mut self) -> Result<String, SnapshotError> {
        loop {
            let empty = self.input.iter().take_while(|b| **b == b'\n').count();
            let _ = self.input.split_to(empty);
            if let Some(end) = self.input.windows(2).position(|two| two == b"\r\n") {
                let line = self.input.split_to(end + 2);
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.input.len() > LONGEST_LINE {
                return Err(self.broken("not an answer of a Redis server"));
            }
            if !self.receive().await? {
                return Err(self.broken("the connection was closed"));
            }
        }
    }

    /// The next part of the copy, in order; `None` when it is complete.
    ///
    /// # Errors
    /// If the connection breaks before that.
    pub async fn next(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        loop {
            if let Some(part) = self.part() {
                return Ok(Some(part));
            }
            if self.end.is_none() {
                return Ok(None);
            }
            if !self.receive().await? {
                return Err(self.broken("the connection was closed"));
            }
        }
    }

    /// The received bytes that belong to the copy for certain.
    fn part(&mut self) -> Option<Bytes> {
        let ready = match &mut self.end {
            None => 0,
            Some(CopyEnd::Length(left)) => {
                let ready = self
                    .input
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= ready as u64;
                if *left == 0 {
                    self.end = None;
                }
                ready
            }
            // Nothing follows the delimiter, because no stream of commands was requested.
            Some(CopyEnd::Delimiter(delimiter)) => {
                let ready = self.input.len().saturating_sub(DELIMITER_BYTES);
                if self.input.len() >= DELIMITER_BYTES && self.input[ready..] == delimiter[..] {
                    self.end = None;
                }
                ready
            }
        };
        (ready > 0).then(|| self.input.split_to(ready).freeze())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, BufReader};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::access::User;
    use crate::config::Lab;

    const DELIMITER: &str = "0123456789012345678901234567890123456789";

    /// The copy from a server that answers REPLCONF, and PSYNC by `output` in small parts.
    async fn served(output: Vec<u8>) -> Result<(Snapshot, Vec<u8>), SnapshotError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            for answer in ["+OK\r\n", ""] {
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                let words: usize = line.trim_start_matches('*').trim().parse().unwrap();
                for _ in 0..2 * words {
                    stream.read_line(&mut line).await.unwrap();
                }
                stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
            }
            let out: &mut TcpStream = stream.get_mut();
            out.set_nodelay(true).unwrap();
            for part in output.chunks(7) {
                // The client closes the connection when it has enough.
                if out.write_all(part).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        let mut lab = Lab::parse(include_str!("../../lab.toml"), None).unwrap();
        lab.security.acl = false;
        let connector =
            Connector::new(&lab, User::Replication).with_min_limit(Duration::from_secs(5));
        let client = async {
            let at = SocketAddrV4::new([127, 0, 0, 1].into(), port);
            let mut snapshot = connector.snapshot(at).await?;
            let mut got = Vec::new();
            while let Some(part) = snapshot.next().await? {
                got.extend_from_slice(&part);
            }
            Ok((snapshot, got))
        };
        let (got, ()) = tokio::join!(client, server);
        got
    }

    #[tokio::test]
    async fn a_copy_ends_at_its_delimiter_or_length_and_pings_before_it_are_skipped() {
        let data = [
            &b"REDIS0010\r\n\n$"[..],
            &[0; 300],
            &DELIMITER.as_bytes()[..39],
        ]
        .concat();
        let delimited = format!("\n\n+FULLRESYNC abc 17\r\n\n\n$EOF:{DELIMITER}\r\n");
        let delimited = [delimited.as_bytes(), &data, DELIMITER.as_bytes()].concat();
        let with_length = format!("+FULLRESYNC abc 17\r\n\n${}\r\n", data.len());
        let with_length = [with_length.as_bytes(), &data].concat();
        for output in [delimited, with_length] {
            let (snapshot, got) = served(output).await.unwrap();
            assert_eq!((snapshot.history.as_str(), snapshot.offset), ("abc", 17));
            assert_eq!(got, data);
        }
    }

    #[tokio::test]
    async fn an_incomplete_copy_is_an_error() {
        let begun = format!("+FULLRESYNC abc 17\r\n$EOF:{DELIMITER}\r\nREDIS0010");
        for output in [
            begun.as_str(),
            "+FULLRESYNC abc 17\r\n$100\r\nREDIS",
            "+FULLRES",
            "",
        ] {
            let error = served(output.into()).await.unwrap_err();
            assert!(matches!(error, SnapshotError::Broken { .. }), "{error}");
        }
        for (output, why) in [
            (
                "-NOMASTERLINK Can't SYNC while not connected with my master\r\n",
                "NOMASTERLINK",
            ),
            ("+CONTINUE\r\n", "+CONTINUE"),
            ("+FULLRESYNC abc x\r\n", "abc x"),
            ("+FULLRESYNC abc 17\r\n+OK\r\n", "+OK"),
        ] {
            let error = served(output.into()).await.unwrap_err();
            assert!(
                matches!(&error, SnapshotError::Refused { why: said, .. } if said.contains(why)),
                "{error}"
            );
        }
    }
}
