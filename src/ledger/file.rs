//! The ledger as a file: created once, locked against a second writer, resumed after a crash.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::append::{AppendError, Appender};
use super::codec::{self, Codec};
use super::{
    Entry, Error, Header, Invoked, LedgerEnd, LedgerEvent, LedgerReader, Nibbles, RecordOutcome,
};
use crate::record::{SeqRange, Timestamp};

/// Writes the ledger of one run. Holds a lock on the file until it is dropped.
///
/// Synchronous and cheap: a batch costs one short `write(2)`, a settled range a few instructions.
/// The connections share it behind a mutex.
///
/// After an error of [`LedgerWriter::invoked`] the batch must not be sent. Unless the error is
/// [`Error::Broken`], the file is complete and the call may be repeated.
///
/// If it is dropped without [`LedgerWriter::close`], it tries to write what is pending, and the run
/// counts as not ended.
#[derive(Debug)]
pub struct LedgerWriter {
    path: PathBuf,
    header: Header,
    appender: Appender<File>,
}

/// The state of a run that is resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resumed {
    /// The number of acknowledged records.
    pub acknowledged: u64,
    /// The number of records that failed for certain.
    pub failed: u64,
    /// The invoked records without an outcome, in order. They are sent again with the same
    /// creation time, so that their values are the same. Few, unless acknowledgements were
    /// lost for long.
    pub unknown: Vec<Invoked>,
    /// The first sequence number of the next batch.
    pub next_seq: u64,
    /// The latest time in the ledger, in microseconds since the start of the run. Later entries
    /// should not be earlier.
    pub last_at_us: u64,
    /// How the file ended. A torn tail has been removed; nothing in it was ever sent.
    pub end: LedgerEnd,
}

impl LedgerWriter {
    /// Creates the ledger of a new run, and writes its header.
    ///
    /// # Errors
    /// [`Error::Exists`] if there is a file, which stays as it is.
    pub fn create(path: &Path, header: Header) -> Result<LedgerWriter, Error> {
        let mut bytes = Vec::new();
        codec::encode_header(&header, &mut bytes).map_err(|source| Error::Refused {
            path: path.to_owned(),
            source,
        })?;
        let mut file = match OpenOptions::new().append(true).create_new(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(Error::Exists {
                    path: path.to_owned(),
                });
            }
            Err(error) => return Err(system("create", path, error)),
        };
        lock(&file, path)?;
        if let Err(error) = file.write_all(&bytes) {
            // Half a header is useless. If it stays nevertheless, the reader's error states the
            // remedy.
            let _ = std::fs::remove_file(path);
            return Err(system("write", path, error));
        }
        let codec = Codec::new(&header, bytes.len());
        let appender = Appender::new(file, codec);
        Ok(LedgerWriter {
            path: path.to_owned(),
            header,
            appender,
        })
    }

    /// Opens the ledger of a run that was stopped or killed, and removes a torn tail.
    ///
    /// The caller writes [`LedgerEvent::Resumed`]. Reads the file twice, with half a byte of memory
    /// for each record.
    ///
    /// # Errors
    /// [`Error::Locked`] if its writer still runs, and those of [`LedgerReader`]; the file then
    /// stays as it is.
    pub fn resume(path: &Path) -> Result<(LedgerWriter, Resumed), Error> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(path)
            .map_err(|error| system("open", path, error))?;
        lock(&file, path)?;

        let mut reader = LedgerReader::new(&file, path)?;
        let (past, outcomes) = replay(&mut reader)?;
        let (codec, header) = (reader.codec(), reader.header().clone());
        file.seek(SeekFrom::Start(0))
            .map_err(|error| system("read", path, error))?;
        let unknown = unknown(LedgerReader::new(&file, path)?, &outcomes)?;
        let resumed = Resumed { unknown, ..past };

        if let LedgerEnd::Torn { offset, .. } = resumed.end {
            file.set_len(offset)
                .map_err(|error| system("remove the torn tail of", path, error))?;
        }
        let appender = Appender::new(file, codec);
        Ok((
            LedgerWriter {
                path: path.to_owned(),
                header,
                appender,
            },
            resumed,
        ))
    }

    /// The header of the ledger.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The path of the ledger.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The first sequence number of the next batch.
    pub fn next_seq(&self) -> u64 {
        self.appender.next_seq()
    }

    /// Records a batch of `count` records created at `created`, and assigns their sequence numbers.
    /// The batch may be sent only after this has returned.
    ///
    /// # Errors
    /// [`Error::Full`] and the like: the batch is not in the ledger and must not be sent.
    pub fn invoked(&mut self, count: u64, created: Timestamp) -> Result<SeqRange, Error> {
        self.appender
            .invoked(count, created)
            .map_err(|error| self.error(error))
    }

    /// Records the outcome of records, `at_us` microseconds after the start of the run. Buffered;
    /// see [`LedgerWriter::flush`].
    ///
    /// # Errors
    /// [`Error::NotInvoked`] for records that were not handed out.
    pub fn settled(
        &mut self,
        seqs: SeqRange,
        outcome: RecordOutcome,
        at_us: u64,
    ) -> Result<(), Error> {
        self.appender
            .settled(seqs, outcome, at_us)
            .map_err(|error| self.error(error))
    }

    /// Records an event, `at_us` microseconds after the start of the run. Not buffered.
    ///
    /// # Errors
    /// If it cannot be written, or is longer than [`codec::MAX_PAYLOAD`].
    pub fn event(&mut self, at_us: u64, event: LedgerEvent) -> Result<(), Error> {
        let entry = Entry::Event { at_us, event };
        self.appender
            .append_now(&entry)
            .map_err(|error| self.error(error))
    }

    /// Hands everything recorded so far to the system, so that a `kill -9` of the writer loses none
    /// of it. Call it a few times a second, and when the writer becomes idle.
    ///
    /// # Errors
    /// If it cannot be written; it is kept, and written with the next call.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.appender.flush().map_err(|error| self.error(error))
    }

    /// Flushes, and waits until the file is on disk, so that a crash of the machine loses none of
    /// it. Takes milliseconds.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.flush()?;
        self.appender
            .medium()
            .sync_data()
            .map_err(|error| system("sync", &self.path, error))
    }

    /// Records the end of the run, and waits until the file is on disk.
    ///
    /// # Errors
    /// If it cannot be written; then the run counts as not ended.
    pub fn close(mut self, at_us: u64) -> Result<(), Error> {
        let at_us = at_us.max(self.appender.at_us());
        let entry = Entry::Closed { at_us };
        self.appender
            .append_now(&entry)
            .map_err(|error| self.error(error))?;
        self.sync()
    }

    fn error(&self, error: AppendError) -> Error {
        let path = self.path.clone();
        match error {
            AppendError::Write(error) => system("write", &path, error),
            AppendError::Broken => Error::Broken { path },
            AppendError::Entry(source) => Error::Refused { path, source },
            AppendError::NotInvoked(seqs) => Error::NotInvoked {
                seqs,
                next_seq: self.next_seq(),
            },
        }
    }
}

/// Everything except the unknown records, and the outcome of each record.
fn replay(reader: &mut LedgerReader<&File>) -> Result<(Resumed, Nibbles), Error> {
    let mut outcomes = Nibbles::default();
    let (mut acknowledged, mut failed) = (0, 0);
    for entry in reader.by_ref() {
        let Entry::Settled(settled) = entry? else {
            continue;
        };
        let new = settled.outcome as u8 + 1;
        for seq in settled.seqs.iter().flat_map(|seqs| seqs.iter()) {
            let old = outcomes.get(seq);
            if new <= old {
                continue;
            }
            outcomes.set(seq, new);
            match settled.outcome {
                RecordOutcome::Failed => failed += 1,
                _ if old <= RecordOutcome::Failed as u8 + 1 => {
                    acknowledged += 1;
                    failed -= u64::from(old != 0);
                }
                _ => {}
            }
        }
    }
    let codec = reader.codec();
    let past = Resumed {
        acknowledged,
        failed,
        unknown: Vec::new(),
        next_seq: codec.next_seq(),
        last_at_us: codec.at_us(),
        end: reader.end().unwrap_or(LedgerEnd::Open),
    };
    Ok((past, outcomes))
}

/// The invoked records without an outcome, as ranges of one creation time.
fn unknown(reader: LedgerReader<&File>, outcomes: &Nibbles) -> Result<Vec<Invoked>, Error> {
    let mut unknown: Vec<Invoked> = Vec::new();
    for entry in reader {
        let Entry::Invoked(Invoked { seqs, created }) = entry? else {
            continue;
        };
        for seq in seqs.iter().filter(|seq| outcomes.get(*seq) == 0) {
            match unknown.last_mut() {
                Some(last) if last.created == created && last.seqs.end == seq => {
                    last.seqs.end += 1;
                }
                _ => unknown.push(Invoked {
                    seqs: SeqRange::new(seq, seq + 1),
                    created,
                }),
            }
        }
    }
    Ok(unknown)
}

fn lock(file: &File, path: &Path) -> Result<(), Error> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Error::Locked {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(system("lock", path, error)),
    }
}

fn system(action: &'static str, path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            Error::Full { path, source }
        }
        _ => Error::Io {
            action,
            path,
            source,
        },
    }
}
