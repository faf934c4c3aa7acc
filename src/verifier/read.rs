//! One reading of the records on one node. Memory use is constant: the ledger is streamed, and only
//! a few chunks are in flight at a time.

use std::path::Path;

use futures_util::stream::{self, StreamExt};

use crate::checker::{CheckReport, History, NodeReading};
use crate::client::{ClientError, Conn, Connector};
use crate::config::Node;
use crate::ledger::{self, Entry, LedgerReader};
use crate::record::{Batch, Timestamp, parse_key};

/// Keys of one `MGET`.
const CHUNK: usize = 256;
/// Chunks in flight at a time, each on its own connection.
const IN_FLIGHT: usize = 4;
/// `COUNT` of one `SCAN`.
const SCAN_COUNT: usize = 1000;
/// Number of unknown records that a scan collects before it looks them up in the ledger.
const MAX_SUSPECTS: usize = 100_000;

/// What is read, and how.
pub(super) struct Source<'a> {
    /// The ledger as it was before anything was read.
    pub(super) history: &'a History,
    /// The path of the ledger.
    pub(super) ledger: &'a Path,
    /// Also scan for records that are not in the ledger.
    pub(super) scan: bool,
    pub(super) connector: &'a Connector,
}

/// Why a reading failed.
pub(super) enum ReadError {
    /// The ledger cannot be read, so no other reading could succeed.
    Ledger(ledger::Error),
    /// The connection to the node failed.
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
    ) -> Result<CheckReport, ReadError> {
        let mut reading = NodeReading::new(self.history, &node.name);
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

    /// Scans all keys of this run for records that are not in the ledger.
    async fn scan(&self, conn: &Conn, reading: &mut NodeReading<'_>) -> Result<(), ReadError> {
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
            if cursor == 0 || suspects.len() >= MAX_SUSPECTS {
                self.report_strays(&mut suspects, reading)?;
            }
            if cursor == 0 {
                return Ok(());
            }
        }
    }

    /// Reports the suspects that are not in the ledger now either. A running writer writes a record
    /// into the ledger before it sends it, so its newest records are found there.
    fn report_strays(
        &self,
        suspects: &mut Vec<u64>,
        reading: &mut NodeReading<'_>,
    ) -> Result<(), ReadError> {
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

/// The records of a history in chunks of one `MGET`. Later entries of the ledger are ignored.
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

    /// The next record with its creation time.
    fn next_record(&mut self) -> Result<Option<(u64, Timestamp)>, ledger::Error> {
        loop {
            if let Some((range, created)) = &mut self.current
                && let Some(seq) = range.next()
            {
                // Sequence numbers are ascending without gaps.
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
