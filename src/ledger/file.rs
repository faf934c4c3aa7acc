//! The ledger as a file: created once, locked against a second writer, resumed after a crash.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::append::{Appender, Refusal};
use super::codec::{self, Codec};
use super::{End, Entry, Error, Event, Header, Invoked, LedgerReader, Nibbles, Outcome};
use crate::record::{SeqRange, Timestamp};

/// Writes the ledger of one run. Holds a lock on the file until it is dropped.
///
/// Synchronous and cheap: a batch costs one `write(2)` of some bytes, a settled range a few
/// instructions. Shared between connections behind a mutex.
///
/// After an error of [`LedgerWriter::invoked`] the batch must not be sent. Unless the error is
/// [`Error::Broken`], the file is whole and the call may be repeated.
///
/// Dropped without [`LedgerWriter::close`], it still writes what it holds, as best it can, and the
/// run counts as not ended.
#[derive(Debug)]
pub struct LedgerWriter {
    path: PathBuf,
    header: Header,
    appender: Appender<File>,
}

/// What a resumed run has to know about its past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resumed {
    /// How many records were acknowledged.
    pub acknowledged: u64,
    /// How many failed for certain.
    pub failed: u64,
    /// Invoked and not settled: to be sent again, with the same creation time, so that their values
    /// are the same. In order; few, unless acknowledgements were lost for long.
    pub unknown: Vec<Invoked>,
    /// The sequence number that the next batch begins with.
    pub next_seq: u64,
    /// The latest time in the ledger, in microseconds since the start of the run. Later entries
    /// should not lie before it.
    pub last_at_us: u64,
    /// How the file ended. A torn tail is cut off by now; nothing in it was ever sent.
    pub end: End,
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
            // Half a header is of no use; if it stays nevertheless, readers say what to do.
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

    /// Opens the ledger of a run that was stopped or killed, cuts a torn tail off, and goes on.
    ///
    /// The caller writes [`Event::Resumed`]. Reads the file twice, with half a byte of memory a
    /// record.
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

        if let End::Torn { offset, .. } = resumed.end {
            file.set_len(offset)
                .map_err(|error| system("cut the torn tail of", path, error))?;
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

    /// What the ledger says about its run.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Where the ledger is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The sequence number that the next batch begins with.
    pub fn next_seq(&self) -> u64 {
        self.appender.next_seq()
    }

    /// Notes a batch of `count` records created at `created`, and hands out their sequence numbers.
    /// Only after it returned may the batch be sent.
    ///
    /// # Errors
    /// [`Error::Full`] and the like: the batch is not in the ledger and must not be sent.
    pub fn invoked(&mut self, count: u64, created: Timestamp) -> Result<SeqRange, Error> {
        self.appender
            .invoked(count, created)
            .map_err(|refusal| self.error(refusal))
    }

    /// Notes that records are acknowledged or failed for certain, `at_us` microseconds after the
    /// start of the run. Buffered; see [`LedgerWriter::flush`].
    ///
    /// # Errors
    /// [`Error::NotInvoked`] for records that were not handed out.
    pub fn settled(&mut self, seqs: SeqRange, outcome: Outcome, at_us: u64) -> Result<(), Error> {
        self.appender
            .settled(seqs, outcome, at_us)
            .map_err(|refusal| self.error(refusal))
    }

    /// Notes what happened, `at_us` microseconds after the start of the run. Not buffered.
    ///
    /// # Errors
    /// If it cannot be written, or is longer than [`codec::MAX_PAYLOAD`].
    pub fn event(&mut self, at_us: u64, event: Event) -> Result<(), Error> {
        let entry = Entry::Event { at_us, event };
        self.appender
            .append_now(&entry)
            .map_err(|refusal| self.error(refusal))
    }

    /// Hands everything noted so far to the system: after that a `kill -9` of the writer loses none
    /// of it. Call it a few times a second, and when the writer falls idle.
    ///
    /// # Errors
    /// If it cannot be written; it is kept, and written with the next call.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.appender.flush().map_err(|refusal| self.error(refusal))
    }

    /// Flushes and waits until the file is on disk: after that a crash of the machine loses none of
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

    /// Ends the run in good order: notes it, and waits until the file is on disk.
    ///
    /// # Errors
    /// If it cannot be written; then the run counts as not ended.
    pub fn close(mut self, at_us: u64) -> Result<(), Error> {
        let at_us = at_us.max(self.appender.at_us());
        let entry = Entry::Closed { at_us };
        self.appender
            .append_now(&entry)
            .map_err(|refusal| self.error(refusal))?;
        self.sync()
    }

    fn error(&self, refusal: Refusal) -> Error {
        let path = self.path.clone();
        match refusal {
            Refusal::Write(error) => system("write", &path, error),
            Refusal::Broken => Error::Broken { path },
            Refusal::Entry(source) => Error::Refused { path, source },
            Refusal::NotInvoked(seqs) => Error::NotInvoked {
                seqs,
                next_seq: self.next_seq(),
            },
        }
    }
}

/// Everything but the unknown records, and the outcome of each record.
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
                Outcome::Failed => failed += 1,
                _ if old <= Outcome::Failed as u8 + 1 => {
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
        end: reader.end().unwrap_or(End::Open),
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
