//! The format of the ledger: bytes to entries and back. Pure; `docs/ledger.md` specifies it.
//!
//! A header, then entries. Each entry is a frame: kind and length, payload, CRC-32. The checksum
//! also covers the run and the offset of the frame, so a moved, copied or missing entry is detected
//! like a flipped bit. Numbers are LEB128 varints, encoded as differences to the previous entry
//! where that is shorter. So a frame can be read only after all frames before it.

mod header;

pub use header::{MAGIC, MAX_NAME, VERSION, decode_header, encode_header};

use super::wire::{Cursor, put, put_signed};
use super::{Entry, Header, Invoked, LedgerEvent, RecordOutcome, SettledRecords};
use crate::record::{RunId, SeqRange, Timestamp};

/// The longest payload of an entry, in bytes.
pub const MAX_PAYLOAD: usize = 16 * 1024;

/// The longest frame: kind and length, payload, checksum.
pub const MAX_FRAME: usize = 1 + 3 + MAX_PAYLOAD + CRC_LEN;

/// Most records of one batch: ten times what `lab.toml` permits. The limit keeps a short file from
/// describing a history that no memory can hold.
pub const MAX_BATCH: u64 = 1 << 20;

pub(super) const CRC_LEN: usize = 4;

/// The length in the first byte of a frame which means that the length follows.
const LONG: u8 = 31;

/// What is wrong with the bytes, or with an entry to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The first bytes are not [`MAGIC`].
    #[error("not a ledger; pass the file that `halab write` wrote")]
    NotALedger,
    /// Another version of the format.
    #[error(
        "its format has version {0}, but this program reads version {VERSION}; use the program that wrote it"
    )]
    Version(u16),
    /// A checksum does not match.
    #[error("the checksum does not match")]
    Checksum,
    /// The frame is impossible.
    #[error("no entry can begin like this")]
    Frame,
    /// The checksum matches, but the payload is invalid: a bug of the program that wrote it.
    #[error("the entry contradicts itself or an earlier one")]
    Payload,
    /// A frame that runs past the end, although entries follow its beginning.
    #[error("the entry is cut off, but entries follow")]
    CutOff,
    /// A batch or a range without records, or more than 2^64 of them.
    #[error("a batch needs at least one record")]
    Empty,
    /// An entry longer than [`MAX_PAYLOAD`], a batch of more than [`MAX_BATCH`] records, or a name
    /// longer than [`MAX_NAME`].
    #[error(
        "too long: the limits are {MAX_PAYLOAD} bytes for an entry, {MAX_BATCH} records for a batch, {MAX_NAME} bytes for a name"
    )]
    TooLong,
}

/// The state relative to which the next entry is written and read. A copy of it can be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codec {
    run: RunId,
    offset: u64,
    next_seq: u64,
    count: u64,
    created: Timestamp,
    at_us: u64,
    settled_end: u64,
}

impl Codec {
    /// Ready for the first entry after the header, which is `header_len` bytes long.
    pub fn new(header: &Header, header_len: usize) -> Codec {
        Codec {
            run: header.run,
            offset: header_len as u64,
            next_seq: 0,
            count: 1,
            created: header.start,
            at_us: 0,
            settled_end: 0,
        }
    }

    /// The offset of the next entry in the file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The first sequence number of the next batch.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The time of the last entry, in microseconds since the start of the run.
    pub fn at_us(&self) -> u64 {
        self.at_us
    }

    /// Appends the entry. On an error nothing was appended, and the codec is unchanged.
    ///
    /// A batch must begin at [`Codec::next_seq`], and records must be invoked before they are
    /// settled; otherwise [`CodecError::Payload`].
    pub fn encode(&mut self, entry: &Entry, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let before = (*self, out.len());
        let result = self.encode_frame(entry, out);
        if result.is_err() {
            *self = before.0;
            out.truncate(before.1);
        }
        result
    }

    fn encode_frame(&mut self, entry: &Entry, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let begin = out.len();
        out.push(0);
        let kind = self.encode_payload(entry, out)?;
        let len = out.len() - begin - 1;
        if len > MAX_PAYLOAD {
            return Err(CodecError::TooLong);
        }
        if len < usize::from(LONG) {
            out[begin] = kind | ((len as u8) << 3);
        } else {
            out[begin] = kind | (LONG << 3);
            let mut long = Vec::with_capacity(3);
            put(len as u64, &mut long);
            out.splice(begin + 1..begin + 1, long);
        }
        let crc = checksum(self.run, self.offset, &out[begin..]);
        out.extend_from_slice(&crc.to_le_bytes());
        self.offset += (out.len() - begin) as u64;
        Ok(())
    }

    fn encode_payload(&mut self, entry: &Entry, out: &mut Vec<u8>) -> Result<u8, CodecError> {
        match entry {
            Entry::Invoked(Invoked { seqs, created }) => {
                if seqs.is_empty() {
                    return Err(CodecError::Empty);
                }
                if seqs.len() > MAX_BATCH {
                    return Err(CodecError::TooLong);
                }
                if seqs.start != self.next_seq {
                    return Err(CodecError::Payload);
                }
                put_signed(created.micros(), self.created.micros(), out);
                if seqs.len() != self.count {
                    put(seqs.len(), out);
                }
                self.batch(*seqs, *created);
                Ok(KIND_INVOKED)
            }
            Entry::Settled(settled) => {
                if settled.seqs.is_empty() {
                    return Err(CodecError::Empty);
                }
                let took = settled.last_at_us.checked_sub(settled.first_at_us);
                put_signed(settled.first_at_us, self.at_us, out);
                put(took.ok_or(CodecError::Payload)?, out);
                for seqs in &settled.seqs {
                    if seqs.is_empty() {
                        return Err(CodecError::Empty);
                    }
                    if seqs.end > self.next_seq {
                        return Err(CodecError::Payload);
                    }
                    put_signed(seqs.start, self.settled_end, out);
                    put(seqs.len() - 1, out);
                    self.settled_end = seqs.end;
                }
                self.at_us = settled.last_at_us;
                Ok(kind_of(settled.outcome))
            }
            Entry::Event { at_us, event } => {
                put_signed(*at_us, self.at_us, out);
                // Writing to memory cannot fail; a map with non-string keys could, but there is
                // none.
                serde_json::to_writer(&mut *out, event).map_err(|_| CodecError::Payload)?;
                self.at_us = *at_us;
                Ok(KIND_EVENT)
            }
            Entry::Closed { at_us } => {
                put_signed(*at_us, self.at_us, out);
                self.at_us = *at_us;
                Ok(KIND_CLOSED)
            }
        }
    }

    /// The entry at the start of `bytes`; `None` if they end inside its frame.
    ///
    /// [`Codec::offset`] is then the offset of the next entry. On an error the codec is unchanged.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Option<Entry>, CodecError> {
        let Some(frame) = Frame::read(bytes)? else {
            return Ok(None);
        };
        if !frame.is_whole(self.run, self.offset) {
            return Err(CodecError::Checksum);
        }
        let mut after = *self;
        let mut payload = Cursor::new(frame.payload);
        let entry = after
            .decode_payload(frame.kind, &mut payload)
            .ok_or(CodecError::Payload)?;
        if !payload.is_empty() {
            return Err(CodecError::Payload);
        }
        after.offset += frame.len as u64;
        *self = after;
        Ok(Some(entry))
    }

    fn decode_payload(&mut self, kind: u8, payload: &mut Cursor<'_>) -> Option<Entry> {
        match kind {
            KIND_INVOKED => {
                let created = Timestamp::from_micros(payload.signed(self.created.micros())?)?;
                let same = payload.is_empty();
                let count = if same { self.count } else { payload.varint()? };
                let seqs = SeqRange::new(self.next_seq, self.next_seq.checked_add(count)?);
                if seqs.is_empty() || seqs.len() > MAX_BATCH {
                    return None;
                }
                self.batch(seqs, created);
                Some(Entry::Invoked(Invoked { seqs, created }))
            }
            KIND_EVENT => {
                let at_us = payload.signed(self.at_us)?;
                let event: LedgerEvent = serde_json::from_slice(payload.rest()).ok()?;
                self.at_us = at_us;
                Some(Entry::Event { at_us, event })
            }
            KIND_CLOSED => {
                self.at_us = payload.signed(self.at_us)?;
                Some(Entry::Closed { at_us: self.at_us })
            }
            _ => {
                let outcome = RecordOutcome::ALL
                    .iter()
                    .copied()
                    .find(|o| kind_of(*o) == kind)?;
                let first_at_us = payload.signed(self.at_us)?;
                let last_at_us = first_at_us.checked_add(payload.varint()?)?;
                let mut seqs = Vec::new();
                while seqs.is_empty() || !payload.is_empty() {
                    let start = payload.signed(self.settled_end)?;
                    let end = start.checked_add(payload.varint()?)?.checked_add(1)?;
                    if end > self.next_seq {
                        return None;
                    }
                    self.settled_end = end;
                    seqs.push(SeqRange::new(start, end));
                }
                self.at_us = last_at_us;
                Some(Entry::Settled(SettledRecords {
                    outcome,
                    first_at_us,
                    last_at_us,
                    seqs,
                }))
            }
        }
    }

    fn batch(&mut self, seqs: SeqRange, created: Timestamp) {
        self.next_seq = seqs.end;
        self.count = seqs.len();
        self.created = created;
    }

    /// Whether a complete entry begins anywhere in `tail` after its first byte. `tail` is the rest
    /// of the file from [`Codec::offset`] on. This distinguishes a torn tail from damage in the
    /// middle.
    pub fn entry_follows(&self, tail: &[u8]) -> bool {
        (1..tail.len()).any(|skip| match Frame::read(&tail[skip..]) {
            Ok(Some(frame)) => frame.is_whole(self.run, self.offset + skip as u64),
            Ok(None) | Err(_) => false,
        })
    }
}

const KIND_INVOKED: u8 = 1;
const KIND_EVENT: u8 = 6;
const KIND_CLOSED: u8 = 7;

/// No kind is 0, so zero bytes, which some file systems leave after a crash of the machine, are not
/// an entry.
const fn kind_of(outcome: RecordOutcome) -> u8 {
    match outcome {
        RecordOutcome::Failed => 2,
        RecordOutcome::Unconfirmed => 3,
        RecordOutcome::Witnessed => 4,
        RecordOutcome::Replicated => 5,
    }
}

/// An entry as stored in the file.
struct Frame<'a> {
    kind: u8,
    payload: &'a [u8],
    covered: &'a [u8],
    crc: u32,
    len: usize,
}

impl<'a> Frame<'a> {
    fn read(bytes: &'a [u8]) -> Result<Option<Frame<'a>>, CodecError> {
        let mut rest = Cursor::new(bytes);
        let Some([first]) = rest.array() else {
            return Ok(None);
        };
        let (kind, mut payload_len) = (first & 7, usize::from(first >> 3));
        if kind == 0 {
            return Err(CodecError::Frame);
        }
        if first >> 3 == LONG {
            // The longest length takes three bytes; if as many are available, it is not cut off.
            let available = rest.len();
            let Some(long) = rest.varint() else {
                return if available < 3 {
                    Ok(None)
                } else {
                    Err(CodecError::Frame)
                };
            };
            payload_len = usize::try_from(long).unwrap_or(usize::MAX);
            if !(usize::from(LONG)..=MAX_PAYLOAD).contains(&payload_len) {
                return Err(CodecError::Frame);
            }
        }
        let Some(payload) = rest.take(payload_len) else {
            return Ok(None);
        };
        let covered = &bytes[..bytes.len() - rest.len()];
        let Some(crc) = rest.array() else {
            return Ok(None);
        };
        let len = covered.len() + CRC_LEN;
        Ok(Some(Frame {
            kind,
            payload,
            covered,
            crc: u32::from_le_bytes(crc),
            len,
        }))
    }

    fn is_whole(&self, run: RunId, offset: u64) -> bool {
        self.crc == checksum(run, offset, self.covered)
    }
}

fn checksum(run: RunId, offset: u64, covered: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&run.bits().to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(covered);
    hasher.finalize()
}
