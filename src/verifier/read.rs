//! One pass over the records of one node. Memory stays flat: the ledger is streamed, and only some chunks are on
//! their way at a time.

use std::path::Path;

use futures_util::stream::{self, StreamExt};

use crate::checker::{History, Reading, Report};
use crate::client::{ClientError, Conn, Connector};
use crate::config::Node;
use crate::ledger::{self, Entry, LedgerReader};
use crate::record::{Batch, Timestamp, parse_key};

/// Keys of one `MGET`.
const CHUNK: usize = 256;
/// Chunks on their way at a time, on as many connections.
const IN_FLIGHT: usize = 4;
/// Keys that one `SCAN` looks at.
const SCAN_COUNT: usize = 1000;
/// Records beyond the known ones that a scan finds before it looks into the ledger for them.
const SUSPECTS: usize = 100_000;

/// What is read, and how.
pub(super) struct Source<'a> {
    /// The ledger as it was before anything was read.
    pub(super) history: &'a History,
    /// Where it is.
    pub(super) ledger: &'a Path,
    /// Look also for records that it does not know.
    pub(super) scan: bool,
    pub(super) connector: &'a Connector,
}

/// Why a pass did not come to its end.
pub(super) enum ReadError {
    /// The ledger can't be read: no other pass could.
    Ledger(ledger::Error),
    /// The node was lost.
    Node(ClientError),
}

impl From<ledger::Error> for ReadError {
    fn from(error: ledger::Error) -> Self {
        ReadError::Ledger(error)
    }
}

impl From<ClientError> for ReadError {
    fn from(error: ClientError) -> Self {
        ReadError::Node(error)
    }
}

impl Source<'_> {
    /// Reads all records of the history from `node`.
    pub(super) async fn read(
        &self,
        node: &Node,
        progress: &impl Fn(u64),
    ) -> Result<Report, ReadError> {
        let mut reading = Reading::new(self.history, &node.name);
        let mut conns = Vec::new();
        for _ in 0..IN_FLIGHT {
            conns.push(self.connector.open(node.socket()).await?);
        }
        let conns = &conns;
        let chunks = Chunks::open(self.ledger, self.history)?;
        let fetched = stream::iter(chunks.enumerate()).map(|(i, chunk)| async move {
            let chunk = chunk?;
            // `i % n` is within the list.
            let values = conns[i % conns.len()]
                .shared_query::<Vec<Option<Vec<u8>>>>(&chunk.command)
                .await?;
            Ok::<_, ReadError>((chunk.records, values))
        });
        let mut fetched = std::pin::pin!(fetched.buffered(IN_FLIGHT));
        let mut read = 0;
        while let Some(next) = fetched.next().await {
            let (records, values) = next?;
            for ((seq, created), value) in records.iter().zip(&values) {
                reading.observe(*seq, *created, value.as_deref());
            }
            read += records.len() as u64;
            progress(read);
        }
        if self.scan
            && let Some(conn) = conns.first()
        {
            self.scan(conn, &mut reading).await?;
        }
        Ok(reading.finish())
    }

    /// Looks at every key of this run for records that the ledger does not know.
    async fn scan(&self, conn: &Conn, reading: &mut Reading<'_>) -> Result<(), ReadError> {
        let run = self.history.header().run;
        let mut suspects = Vec::new();
        let mut cursor = 0_u64;
        loop {
            let mut cmd = redis::cmd("SCAN");
            cmd.arg(cursor)
                .arg("MATCH")
                .arg(run.key_pattern())
                .arg("COUNT")
                .arg(SCAN_COUNT);
            let (next, keys): (u64, Vec<Vec<u8>>) = conn.shared_query(&cmd).await?;
            let seqs = keys
                .iter()
                .filter_map(|key| parse_key(key))
                .filter(|(r, _)| *r == run)
                .map(|(_, seq)| seq);
            suspects.extend(seqs.filter(|seq| *seq >= self.history.invoked()));
            cursor = next;
            if cursor == 0 || suspects.len() >= SUSPECTS {
                self.judge(&mut suspects, reading)?;
            }
            if cursor == 0 {
                return Ok(());
            }
        }
    }

    /// Tells those of the suspects that the ledger does not know now either. A writer that is still at work writes a
    /// record into the ledger before it sends it, so those of its newest records that were found are there.
    fn judge(&self, suspects: &mut Vec<u64>, reading: &mut Reading<'_>) -> Result<(), ReadError> {
        if suspects.is_empty() {
            return Ok(());
        }
        let mut invoked = 0;
        for entry in LedgerReader::open(self.ledger)? {
            if let Entry::Invoked(batch) = entry? {
                invoked = invoked.max(batch.seqs.end);
            }
        }
        for seq in suspects.drain(..).filter(|seq| *seq >= invoked) {
            reading.observe_stray(seq);
        }
        Ok(())
    }
}

/// The records of a history in pieces of one `MGET`. What the ledger has got since is left out.
struct Chunks {
    reader: LedgerReader<std::fs::File>,
    records: Batch,
    invoked: u64,
    current: Option<(std::ops::Range<u64>, Timestamp)>,
}

struct Chunk {
    records: Vec<(u64, Timestamp)>,
    command: redis::Cmd,
}

impl Chunks {
    fn open(path: &Path, history: &History) -> Result<Self, ledger::Error> {
        Ok(Chunks {
            reader: LedgerReader::open(path)?,
            records: Batch::new(history.header().run, Timestamp::default()),
            invoked: history.invoked(),
            current: None,
        })
    }

    /// The next record, with the time of its creation.
    fn next_record(&mut self) -> Result<Option<(u64, Timestamp)>, ledger::Error> {
        loop {
            if let Some((range, created)) = &mut self.current
                && let Some(seq) = range.next()
            {
                // Sequence numbers have no gaps, and rise.
                return Ok((seq < self.invoked).then_some((seq, *created)));
            }
            match self.reader.next().transpose()? {
                None => return Ok(None),
                Some(Entry::Invoked(batch)) => {
                    self.current = Some((batch.seqs.iter(), batch.created));
                }
                Some(_) => {}
            }
        }
    }
}

impl Iterator for Chunks {
    type Item = Result<Chunk, ledger::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut chunk = Chunk {
            records: Vec::with_capacity(CHUNK),
            command: redis::cmd("MGET"),
        };
        let mut key = Vec::with_capacity(64);
        while chunk.records.len() < CHUNK {
            match self.next_record() {
                Ok(Some((seq, created))) => {
                    key.clear();
                    self.records.push_key(seq, &mut key);
                    chunk.command.arg(key.as_slice());
                    chunk.records.push((seq, created));
                }
                Ok(None) => break,
                Err(error) => return Some(Err(error)),
            }
        }
        (!chunk.records.is_empty()).then_some(Ok(chunk))
    }
}
