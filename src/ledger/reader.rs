//! Streams a ledger with constant memory, and distinguishes a torn tail from damage.
//!
//! A tail is torn, and ignored, if all of these hold:
//! - it begins with an entry that is cut off or has a wrong checksum;
//! - no complete entry follows;
//! - it is no longer than one write of the writer ([`MAX_TAIL`]), or consists of zero bytes, which
//!   some file systems leave after a crash of the machine.
//!
//! Everything else that cannot be read is an error.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::codec::{self, Codec, CodecError};
use super::{Entry, Error, Header};

/// The longest tail that a crash of the writer can leave, in bytes: one write.
pub(super) const MAX_TAIL: usize = 64 * 1024;

/// Bytes read at a time. With [`MAX_TAIL`] this is all the memory of a reader.
const CHUNK: usize = 64 * 1024;

/// How a ledger ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "end")]
pub enum LedgerEnd {
    /// The writer closed it.
    Closed,
    /// At a complete entry, but not closed: the writer was killed, or is still writing.
    Open,
    /// Its last write is incomplete, and ignored: the writer was killed during it, or is still
    /// writing it.
    Torn {
        /// Where the complete entries end.
        offset: u64,
        /// The number of ignored bytes.
        bytes: u64,
    },
}

/// Reads a ledger, entry by entry: an iterator that ends after the first error.
///
/// It takes no lock, so a run can be read while it is written.
#[derive(Debug)]
pub struct LedgerReader<R: Read = File> {
    source: R,
    path: PathBuf,
    header: Header,
    codec: Codec,
    buffer: Vec<u8>,
    /// The bytes of `buffer` before this index were consumed.
    at: usize,
    source_ended: bool,
    closed: bool,
    end: Option<LedgerEnd>,
    failed: bool,
}

impl LedgerReader<File> {
    /// Opens the ledger and reads its header.
    ///
    /// # Errors
    /// If it cannot be read, is not a ledger of this version, or ends inside its header.
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
    /// Reads a ledger from its first byte in `source`; errors name it by `path`.
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

    /// The header of the ledger.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How the ledger ends; `None` until every entry was read, and after an error.
    pub fn end(&self) -> Option<LedgerEnd> {
        self.end
    }

    /// Continues at the end of a ledger that is still written: the next entries are those that were
    /// appended since.
    pub fn follow(&mut self) {
        self.end = None;
        self.source_ended = false;
    }

    /// The state for writing the next entry; valid once [`LedgerReader::end`] is known.
    pub(super) fn codec(&self) -> Codec {
        self.codec
    }

    fn read_entry(&mut self) -> Result<Option<Entry>, Error> {
        self.fill_to(codec::MAX_FRAME)?;
        let rest = &self.buffer[self.at..];
        if rest.is_empty() {
            self.end = Some(if self.closed {
                LedgerEnd::Closed
            } else {
                LedgerEnd::Open
            });
            return Ok(None);
        }
        let before = self.codec.offset();
        let problem = match self.codec.decode(rest) {
            Ok(Some(entry)) => {
                self.at += usize::try_from(self.codec.offset() - before).unwrap_or(rest.len());
                self.closed = matches!(entry, Entry::Closed { .. });
                return Ok(Some(entry));
            }
            Ok(None) => CodecError::CutOff,
            // The checksum is right, so no crash explains it.
            Err(CodecError::Payload) => return Err(self.damaged(CodecError::Payload)),
            Err(problem) => problem,
        };
        let bytes = self.torn_tail()?.ok_or_else(|| self.damaged(problem))?;
        self.end = Some(LedgerEnd::Torn {
            offset: before,
            bytes,
        });
        Ok(None)
    }

    /// The length of the rest, if it is a torn tail.
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

    /// Buffers at least `len` bytes, unless the source ends before.
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

    fn damaged(&self, source: CodecError) -> Error {
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

/// Reads until `buffer` has `len` bytes; returns whether the source ended before.
fn fill(source: &mut impl Read, buffer: &mut Vec<u8>, len: usize) -> io::Result<bool> {
    let missing = len.saturating_sub(buffer.len());
    let read = source.take(missing as u64).read_to_end(buffer)?;
    Ok(read < missing)
}
