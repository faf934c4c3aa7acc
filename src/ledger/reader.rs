//! Streams a ledger with constant memory, and tells a torn tail from damage.
//!
//! A tail is torn, and left out, if it begins with an entry that is cut off or does not fit its
//! checksum, no whole entry follows, and it is no longer than one write of the writer could leave
//! ([`MAX_TAIL`]), or holds nothing but zero bytes (what some file systems leave after a crash of
//! the machine). Everything else that cannot be read is an error.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::codec::{self, Codec};
use super::{Entry, Error, Header};

/// The longest tail that a crash of the writer can leave, in bytes: one write.
pub(super) const MAX_TAIL: usize = 64 * 1024;

/// Bytes read at a time; with [`MAX_TAIL`] the whole memory of a reader.
const CHUNK: usize = 64 * 1024;

/// How a ledger ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "end")]
pub enum End {
    /// The writer closed it.
    Closed,
    /// At a whole entry, but not closed: the writer was killed, or still writes.
    Open,
    /// The last write is incomplete and left out: the writer was killed in it, or is in it.
    Torn {
        /// Where the whole entries end.
        offset: u64,
        /// How many bytes were left out.
        bytes: u64,
    },
}

/// Reads a ledger, entry by entry: an iterator that ends after the first error.
///
/// It takes no lock, so that a run can be looked at while it is written.
#[derive(Debug)]
pub struct LedgerReader<R: Read = File> {
    source: R,
    path: PathBuf,
    header: Header,
    codec: Codec,
    buffer: Vec<u8>,
    /// The bytes of `buffer` before this were consumed.
    at: usize,
    source_ended: bool,
    closed: bool,
    end: Option<End>,
    failed: bool,
}

impl LedgerReader<File> {
    /// Opens the ledger and reads its header.
    ///
    /// # Errors
    /// If it cannot be read, or is no ledger of this version, or ends inside its header.
    pub fn open(path: &Path) -> Result<LedgerReader<File>, Error> {
        let source = File::open(path).map_err(|source| Error::Io {
            action: "open",
            path: path.to_owned(),
            source,
        })?;
        LedgerReader::new(source, path)
    }
}

impl<R: Read> LedgerReader<R> {
    /// Reads a ledger from its first byte in `source`; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`LedgerReader::open`].
    pub fn new(mut source: R, path: &Path) -> Result<LedgerReader<R>, Error> {
        let path = path.to_owned();
        let mut buffer = Vec::new();
        let source_ended = match fill(&mut source, &mut buffer, CHUNK) {
            Ok(ended) => ended,
            Err(source) => {
                return Err(Error::Io {
                    action: "read",
                    path,
                    source,
                });
            }
        };
        match codec::decode_header(&buffer) {
            Ok(Some((header, at))) => Ok(LedgerReader {
                codec: Codec::new(&header, at),
                source,
                path,
                header,
                buffer,
                at,
                source_ended,
                closed: false,
                end: None,
                failed: false,
            }),
            Ok(None) => Err(Error::HeaderTorn { path }),
            Err(source) => Err(Error::Header { path, source }),
        }
    }

    /// What the ledger says about its run.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How the ledger ends; `None` until every entry was read, and after an error.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// The state to go on writing with; stands at the end once [`LedgerReader::end`] is known.
    pub(super) fn codec(&self) -> Codec {
        self.codec
    }

    fn read_entry(&mut self) -> Result<Option<Entry>, Error> {
        self.fill_to(codec::MAX_FRAME)?;
        let rest = &self.buffer[self.at..];
        if rest.is_empty() {
            self.end = Some(if self.closed { End::Closed } else { End::Open });
            return Ok(None);
        }
        let before = self.codec.offset();
        let problem = match self.codec.decode(rest) {
            Ok(Some(entry)) => {
                self.at += usize::try_from(self.codec.offset() - before).unwrap_or(rest.len());
                self.closed = matches!(entry, Entry::Closed { .. });
                return Ok(Some(entry));
            }
            Ok(None) => codec::Error::CutOff,
            // Written like that on purpose, so no crash explains it.
            Err(codec::Error::Payload) => return Err(self.damaged(codec::Error::Payload)),
            Err(problem) => problem,
        };
        let bytes = self.torn_tail()?.ok_or_else(|| self.damaged(problem))?;
        self.end = Some(End::Torn {
            offset: before,
            bytes,
        });
        Ok(None)
    }

    /// The length of what is left, if it is a torn tail.
    fn torn_tail(&mut self) -> Result<Option<u64>, Error> {
        self.fill_to(MAX_TAIL + 1)?;
        let tail = &self.buffer[self.at..];
        if tail.len() <= MAX_TAIL {
            let torn = !self.codec.entry_follows(tail);
            return Ok(torn.then_some(tail.len() as u64));
        }
        let mut bytes = 0;
        loop {
            let rest = &self.buffer[self.at..];
            if rest.is_empty() {
                return Ok(Some(bytes));
            }
            if rest.iter().any(|byte| *byte != 0) {
                return Ok(None);
            }
            bytes += rest.len() as u64;
            self.at = self.buffer.len();
            self.fill_to(CHUNK)?;
        }
    }

    /// Has at least `len` bytes at hand, unless the source ends before.
    fn fill_to(&mut self, len: usize) -> Result<(), Error> {
        if self.source_ended || self.buffer.len() - self.at >= len {
            return Ok(());
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        let ended = fill(&mut self.source, &mut self.buffer, len.max(CHUNK));
        self.source_ended = ended.map_err(|source| Error::Io {
            action: "read",
            path: self.path.clone(),
            source,
        })?;
        Ok(())
    }

    fn damaged(&self, source: codec::Error) -> Error {
        Error::Damaged {
            path: self.path.clone(),
            offset: self.codec.offset(),
            source,
        }
    }
}

impl<R: Read> Iterator for LedgerReader<R> {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Result<Entry, Error>> {
        if self.failed || self.end.is_some() {
            return None;
        }
        let entry = self.read_entry().transpose();
        self.failed = matches!(entry, Some(Err(_)));
        entry
    }
}

/// Reads until `buffer` holds `len` bytes; tells whether the source ended before.
fn fill(source: &mut impl Read, buffer: &mut Vec<u8>, len: usize) -> io::Result<bool> {
    let missing = len.saturating_sub(buffer.len());
    let read = source.take(missing as u64).read_to_end(buffer)?;
    Ok(read < missing)
}
