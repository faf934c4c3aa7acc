//! A copy of all that a data node holds, as of one moment, over the wire: `PSYNC`, as a replica
//! would ask, and nothing after the RDB (`REPLCONF rdb-only`, as `redis-cli --rdb`).
//!
//! The server forks, and sends what it held at that moment straight from the child: nothing is
//! written on its host, and it goes on serving. It says at which offset of which history that was.
//! See <https://redis.io/docs/latest/operate/oss_and_stack/management/replication/>.
//!
//! While it waits, a primary lists us among its replicas in `INFO`, and Sentinels read that. So we
//! say that we listen on port -1: to a Sentinel that is no address (`createSentinelAddr` in
//! sentinel.c), and to the lab no replica. We never acknowledge an offset, so we count for nobody.

use std::io;
use std::net::SocketAddrV4;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::stream::Stream;
use super::{ClientError, Connector};

/// A server that prepares the copy says something each second (`repl-ping-replica-period`; 10 s by
/// default), and sends without a pause then. Its own limit for a replica that takes nothing is
/// `repl-timeout`, 10 s in the lab and 60 s by default.
const SILENCE: Duration = Duration::from_secs(30);
/// Length of the mark at the end of a copy whose length is not known at its begin
/// (`CONFIG_RUN_ID_SIZE`).
const END_MARK: usize = 40;
/// Longest line that a server says before the copy.
const LONGEST_LINE: usize = 4096;
/// Room made for each read.
const READ_ROOM: usize = 256 * 1024;

/// Why there is no copy, or not all of it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SnapshotError {
    /// No connection.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server does not give it.
    #[error("{from} gives no copy: {why}")]
    Refused {
        /// The node's address.
        from: SocketAddrV4,
        /// In the server's words.
        why: String,
    },
    /// The connection broke before the copy was complete.
    #[error("{from} ended the copy before it was complete: {why}")]
    Broken {
        /// The node's address.
        from: SocketAddrV4,
        /// What happened.
        why: String,
    },
}

/// How the end of a copy is known.
#[derive(Debug)]
enum End {
    /// These bytes follow it.
    Mark(Bytes),
    /// So many bytes are left.
    Length(u64),
}

/// A copy that is being received.
#[derive(Debug)]
pub struct Snapshot {
    from: SocketAddrV4,
    stream: Stream,
    input: BytesMut,
    end: Option<End>,
    /// The history of replication in which the offset counts (`master_replid`).
    pub history: String,
    /// The offset up to which the copy has everything, and behind which it has nothing.
    pub offset: u64,
}

impl Connector {
    /// Asks the data node at `from` for a copy of all that it holds. Returns when it has been
    /// begun.
    ///
    /// # Errors
    /// When there is no connection, or the server gives none.
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
        // Answered before the next is sent: PSYNC is refused while an answer is under way.
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
            (Some(mark), _) if mark.len() == END_MARK => {
                Some(End::Mark(Bytes::copy_from_slice(mark.as_bytes())))
            }
            (None, Some(length)) => length.parse().ok().map(End::Length),
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

    /// Waits for more. Nothing more is said: false.
    async fn receive(&mut self) -> Result<bool, SnapshotError> {
        self.input.reserve(READ_ROOM);
        match timeout(SILENCE, self.stream.read_buf(&mut self.input)).await {
            Ok(Ok(0)) => Ok(false),
            Ok(Ok(_)) => Ok(true),
            Ok(Err(error)) => Err(self.broken(error.to_string())),
            Err(_) => Err(self.broken(format!("nothing came for {SILENCE:?}"))),
        }
    }

    /// The next line. The server sends empty ones while the copy is prepared.
    async fn line(&mut self) -> Result<String, SnapshotError> {
        loop {
            let empty = self.input.iter().take_while(|b| **b == b'\n').count();
            let _ = self.input.split_to(empty);
            if let Some(end) = self.input.windows(2).position(|two| two == b"\r\n") {
                let line = self.input.split_to(end + 2);
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.input.len() > LONGEST_LINE {
                return Err(self.broken("it speaks another protocol"));
            }
            if !self.receive().await? {
                return Err(self.broken("the connection was closed"));
            }
        }
    }

    /// The next part of the copy, in order; nothing when it is complete.
    ///
    /// # Errors
    /// When the connection breaks before that.
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

    /// What can be handed on of what has come in.
    fn part(&mut self) -> Option<Bytes> {
        let ready = match &mut self.end {
            None => 0,
            Some(End::Length(left)) => {
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
            // Nothing follows the mark, for no stream of commands was asked for.
            Some(End::Mark(mark)) => {
                let ready = self.input.len().saturating_sub(END_MARK);
                if self.input.len() >= END_MARK && self.input[ready..] == mark[..] {
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

    const MARK: &str = "0123456789012345678901234567890123456789";

    /// A server that answers REPLCONF and PSYNC, and then says `says`, in small parts.
    async fn served(says: Vec<u8>) -> Result<(Snapshot, Vec<u8>), SnapshotError> {
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
            for part in says.chunks(7) {
                // Whoever has enough hangs up.
                if out.write_all(part).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        let mut lab = Lab::parse(include_str!("../../lab.toml"), None).unwrap();
        lab.security.acl = false;
        let connector = Connector::new(&lab, User::Replication).patient(Duration::from_secs(5));
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
    async fn a_copy_is_all_up_to_its_mark_or_length_and_pings_before_it_are_none_of_it() {
        let data = [&b"REDIS0010\r\n\n$"[..], &[0; 300], &MARK.as_bytes()[..39]].concat();
        let with_mark = format!("\n\n+FULLRESYNC abc 17\r\n\n\n$EOF:{MARK}\r\n");
        let with_mark = [with_mark.as_bytes(), &data, MARK.as_bytes()].concat();
        let with_length = format!("+FULLRESYNC abc 17\r\n\n${}\r\n", data.len());
        let with_length = [with_length.as_bytes(), &data].concat();
        for says in [with_mark, with_length] {
            let (snapshot, got) = served(says).await.unwrap();
            assert_eq!((snapshot.history.as_str(), snapshot.offset), ("abc", 17));
            assert_eq!(got, data);
        }
    }

    #[tokio::test]
    async fn a_copy_that_ends_early_is_none() {
        let begun = format!("+FULLRESYNC abc 17\r\n$EOF:{MARK}\r\nREDIS0010");
        for says in [
            begun.as_str(),
            "+FULLRESYNC abc 17\r\n$100\r\nREDIS",
            "+FULLRES",
            "",
        ] {
            let error = served(says.into()).await.unwrap_err();
            assert!(matches!(error, SnapshotError::Broken { .. }), "{error}");
        }
        for (says, why) in [
            (
                "-NOMASTERLINK Can't SYNC while not connected with my master\r\n",
                "NOMASTERLINK",
            ),
            ("+CONTINUE\r\n", "+CONTINUE"),
            ("+FULLRESYNC abc x\r\n", "abc x"),
            ("+FULLRESYNC abc 17\r\n+OK\r\n", "+OK"),
        ] {
            let error = served(says.into()).await.unwrap_err();
            assert!(
                matches!(&error, SnapshotError::Refused { why: said, .. } if said.contains(why)),
                "{error}"
            );
        }
    }
}
