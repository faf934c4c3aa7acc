//! Checks that an RDB file is complete, and finds the mark in it. Pure.
//!
//! An RDB ends with a checksum of all its content. The mark is found by its key, without parsing
//! values of all types: it is a plain string, whose name and value are adjacent, in an RDB as well
//! as in the commands of an append-only file. See <https://rdb.fnordig.de/file_format.html>.

use std::sync::LazyLock;

use crc::{CRC_64_REDIS, Crc, Digest, Table};
use memchr::memmem::Finder;

use crate::protocol::copy::{MARK_KEY, Mark};

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);
static KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(MARK_KEY));

/// The beginning of an RDB: `REDIS`, or `VALKEY` for later Valkey versions, followed by the format
/// version.
const MAGICS: [&[u8]; 2] = [b"REDIS", b"VALKEY"];
/// Length of the beginning with the version.
const HEADER_LEN: usize = 9;
/// Length of the end: the end code and the checksum.
const TRAILER_LEN: usize = 9;
const EOF: u8 = 0xff;
/// Longest value that is accepted as a mark.
const MAX_VALUE_LEN: usize = 1 << 20;
/// Longest relevant prefix of the key.
const MAX_PREFIX_LEN: usize = 5;

/// What is wrong with an RDB file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It does not begin like an RDB.
    #[error("not an RDB file")]
    NotAnRdb,
    /// It does not end like an RDB.
    #[error("its end is missing")]
    Truncated,
    /// The stored checksum does not match the content.
    #[error("its stored checksum is {stored:016x}, but that of its content is {actual:016x}")]
    Checksum {
        /// The stored checksum.
        stored: u64,
        /// The checksum of the content.
        actual: u64,
    },
    /// The server that wrote it does not write checksums.
    #[error("it has no checksum: set rdbchecksum to yes on its server")]
    Unchecked,
    /// It contains no mark of a lab.
    #[error("it contains no mark of a lab")]
    Unmarked,
    /// It contains several values that could be the mark.
    #[error("it contains several values that look like the mark of a lab")]
    Ambiguous,
}

impl Damage {
    /// Whether the server's next copy would have it too, because it does not come from the
    /// transfer.
    pub fn is_permanent(&self) -> bool {
        matches!(
            self,
            Damage::Unchecked | Damage::Unmarked | Damage::Ambiguous
        )
    }
}

/// The content of a complete RDB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The version of its format.
    pub version: u32,
    /// The mark of the copy.
    pub mark: Mark,
}

/// Scans an RDB from its beginning to its end, in parts.
pub struct RdbScan {
    header: Vec<u8>,
    /// The last bytes, which are not part of the checksum yet.
    trailer: Vec<u8>,
    crc: Digest<'static, u64, Table<16>>,
    marks: MarkFinder,
}

impl Default for RdbScan {
    fn default() -> Self {
        RdbScan {
            header: Vec::new(),
            trailer: Vec::new(),
            crc: CRC.digest(),
            marks: MarkFinder::default(),
        }
    }
}

impl std::fmt::Debug for RdbScan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RdbScan").finish_non_exhaustive()
    }
}

impl RdbScan {
    /// Scans the next part.
    pub fn push(&mut self, part: &[u8]) {
        let missing = HEADER_LEN.saturating_sub(self.header.len()).min(part.len());
        self.header.extend_from_slice(&part[..missing]);
        self.marks.push(part);
        self.trailer.extend_from_slice(part);
        let known = self.trailer.len().saturating_sub(TRAILER_LEN);
        self.crc.update(&self.trailer[..known]);
        self.trailer.drain(..known);
    }

    /// The content, after the last part.
    ///
    /// # Errors
    /// If the RDB is not complete, or is not a copy of a lab.
    pub fn finish(mut self) -> Result<Content, Damage> {
        let version = version(&self.header).ok_or(Damage::NotAnRdb)?;
        let (code, stored) = self.trailer.split_first().ok_or(Damage::Truncated)?;
        let stored: [u8; 8] = stored.try_into().map_err(|_| Damage::Truncated)?;
        if *code != EOF {
            return Err(Damage::Truncated);
        }
        self.crc.update(&[EOF]);
        let (stored, actual) = (u64::from_le_bytes(stored), self.crc.finalize());
        if stored == 0 {
            return Err(Damage::Unchecked);
        }
        if stored != actual {
            return Err(Damage::Checksum { stored, actual });
        }
        match self.marks {
            MarkFinder { several: true, .. } => Err(Damage::Ambiguous),
            MarkFinder { last: None, .. } => Err(Damage::Unmarked),
            MarkFinder {
                last: Some(mark), ..
            } => Ok(Content { version, mark }),
        }
    }
}

fn version(header: &[u8]) -> Option<u32> {
    let digits = MAGICS.iter().find_map(|name| header.strip_prefix(*name))?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Finds the marks in a file that is read in parts.
#[derive(Debug, Default)]
pub struct MarkFinder {
    /// The last mark.
    pub last: Option<Mark>,
    /// Another mark was found before it.
    several: bool,
    /// What may be the beginning of one.
    rest: Vec<u8>,
}

impl MarkFinder {
    /// Scans the next part.
    pub fn push(&mut self, part: &[u8]) {
        let mut rest = std::mem::take(&mut self.rest);
        rest.extend_from_slice(part);
        let mut from = 0;
        while let Some(at) = KEY.find(&rest[from..]).map(|at| from + at) {
            let end = at + MARK_KEY.len();
            match value(&rest[..at], &rest[end..]) {
                FoundValue::Text(text) => {
                    if let Some(mark) = String::from_utf8(text)
                        .ok()
                        .and_then(|t| Mark::from_text(&t))
                    {
                        self.several |= self.last.as_ref().is_some_and(|last| *last != mark);
                        self.last = Some(mark);
                    }
                }
                FoundValue::Incomplete => {
                    rest.drain(..at.saturating_sub(MAX_PREFIX_LEN));
                    self.rest = rest;
                    return;
                }
                FoundValue::Other => {}
            }
            from = end;
        }
        // The beginning of a key, with its prefix, may be at the end.
        let keep = (MARK_KEY.len() - 1 + MAX_PREFIX_LEN).min(rest.len());
        let at = (rest.len() - keep).max(from.saturating_sub(MAX_PREFIX_LEN).min(rest.len()));
        rest.drain(..at);
        self.rest = rest;
    }
}

enum FoundValue {
    Text(Vec<u8>),
    /// It is not complete yet.
    Incomplete,
    /// It is not a value of the key.
    Other,
}

/// The value of a key, from the bytes before and behind the key.
fn value(before: &[u8], behind: &[u8]) -> FoundValue {
    // A string, and the length of its name.
    if before.ends_with(&[0, 10]) {
        return rdb_string(behind);
    }
    // The same in a command: SET, or the effect of a script.
    if before.ends_with(b"$10\r\n") {
        return command_string(behind);
    }
    FoundValue::Other
}

fn rdb_string(bytes: &[u8]) -> FoundValue {
    const COMPRESSED: u8 = 0xc3;
    if bytes.first() == Some(&COMPRESSED) {
        let mut rest = &bytes[1..];
        let (Some(compressed), Some(length)) = (length(&mut rest), length(&mut rest)) else {
            return FoundValue::Incomplete;
        };
        if compressed > MAX_VALUE_LEN || length > MAX_VALUE_LEN {
            return FoundValue::Other;
        }
        return match rest.get(..compressed) {
            Some(compressed_bytes) => {
                decompress(compressed_bytes, length).map_or(FoundValue::Other, FoundValue::Text)
            }
            None => FoundValue::Incomplete,
        };
    }
    if bytes.first().is_some_and(|first| *first >= 0xc0) {
        return FoundValue::Other;
    }
    let mut rest = bytes;
    match length(&mut rest) {
        None => FoundValue::Incomplete,
        Some(length) if length > MAX_VALUE_LEN => FoundValue::Other,
        Some(length) => rest.get(..length).map_or(FoundValue::Incomplete, |text| {
            FoundValue::Text(text.to_vec())
        }),
    }
}

/// A length in an RDB; `None` if it is not complete yet. One that does not fit counts as too long.
fn length(bytes: &mut &[u8]) -> Option<usize> {
    let (first, rest) = bytes.split_first()?;
    let (length, rest) = match first >> 6 {
        0 => (usize::from(first & 0x3f), rest),
        1 => {
            let (second, rest) = rest.split_first()?;
            (usize::from(first & 0x3f) << 8 | usize::from(*second), rest)
        }
        _ if *first == 0x80 => {
            let (four, rest) = rest.split_first_chunk::<4>()?;
            let length = u32::from_be_bytes(*four);
            (usize::try_from(length).unwrap_or(usize::MAX), rest)
        }
        _ => (usize::MAX, rest),
    };
    *bytes = rest;
    Some(length)
}

fn command_string(bytes: &[u8]) -> FoundValue {
    // Line break, length, line break, value.
    const MAX_LENGTH_DIGITS: usize = 16;
    let Some(rest) = bytes.strip_prefix(b"\r\n$") else {
        return if b"\r\n$".starts_with(bytes) {
            FoundValue::Incomplete
        } else {
            FoundValue::Other
        };
    };
    let Some(end) = rest
        .iter()
        .take(MAX_LENGTH_DIGITS)
        .position(|b| *b == b'\r')
    else {
        return if rest.len() < MAX_LENGTH_DIGITS {
            FoundValue::Incomplete
        } else {
            FoundValue::Other
        };
    };
    let length = std::str::from_utf8(&rest[..end]).ok();
    match length.and_then(|length| length.parse::<usize>().ok()) {
        Some(length) if length <= MAX_VALUE_LEN => rest
            .get(end + 2..end + 2 + length)
            .map_or(FoundValue::Incomplete, |text| {
                FoundValue::Text(text.to_vec())
            }),
        _ => FoundValue::Other,
    }
}

/// Decompresses LZF; `None` if it is not valid.
fn decompress(compressed_bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(length);
    let mut bytes = compressed_bytes.iter().copied();
    while let Some(control) = bytes.next() {
        let control = usize::from(control);
        if control < 32 {
            for _ in 0..=control {
                out.push(bytes.next()?);
            }
        } else {
            let mut run = control >> 5;
            if run == 7 {
                run += usize::from(bytes.next()?);
            }
            let back = ((control & 0x1f) << 8) + usize::from(bytes.next()?) + 1;
            let from = out.len().checked_sub(back)?;
            for at in from..from + run + 2 {
                out.push(*out.get(at)?);
            }
        }
        if out.len() > length {
            return None;
        }
    }
    (out.len() == length).then_some(out)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::protocol::copy::RandomIds;

    pub(crate) fn mark() -> Mark {
        let drawn = RandomIds {
            lab: "lab".into(),
            term: "term".into(),
        };
        Mark::begin(None, "redis-a", drawn).confirmed()
    }

    /// An RDB with that content.
    pub(crate) fn rdb(content: &[u8]) -> Vec<u8> {
        let mut bytes = [b"REDIS0010", content, &[EOF]].concat();
        let crc = CRC.checksum(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn key(value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len()).unwrap() | 0x4000;
        [&[0, 10], MARK_KEY.as_bytes(), &length.to_be_bytes(), value].concat()
    }

    /// An RDB with a record and the mark.
    pub(crate) fn marked(mark: &Mark) -> Vec<u8> {
        rdb(&[b"\x00\x01k\x01v", &key(mark.to_text().as_bytes())[..]].concat())
    }

    fn scanned(bytes: &[u8], part: usize) -> Result<Content, Damage> {
        let mut scan = RdbScan::default();
        for part in bytes.chunks(part) {
            scan.push(part);
        }
        scan.finish()
    }

    #[test]
    fn the_checksum_is_that_of_redis() {
        // The check value in crc64.c.
        assert_eq!(CRC.checksum(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn the_mark_is_found_however_the_rdb_is_split() {
        let bytes = marked(&mark());
        for part in 1..=bytes.len() {
            let content = scanned(&bytes, part).unwrap();
            assert_eq!((content.version, content.mark), (10, mark()), "{part}");
        }
    }

    #[test]
    fn any_flipped_bit_and_any_missing_end_is_detected() {
        let bytes = marked(&mark());
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1 << (at % 8);
            assert!(scanned(&wrong, 64).is_err(), "bit of {at}");
            assert!(scanned(&bytes[..at], 64).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_copy_without_a_mark_or_with_two_is_no_backup() {
        assert_eq!(scanned(&rdb(b"\x00\x01k\x01v"), 3), Err(Damage::Unmarked));
        let text = mark().to_text();
        let other = mark()
            .next(None, crate::protocol::copy::Completeness::Open)
            .to_text();
        let both = [key(text.as_bytes()), key(other.as_bytes())].concat();
        assert_eq!(scanned(&rdb(&both), 5), Err(Damage::Ambiguous));
        // Strings that only look like a mark.
        let alike = [
            &key(b"{}")[..],
            b"halab-mark halab-mark",
            &key(text.as_bytes()),
        ]
        .concat();
        assert_eq!(scanned(&rdb(&alike), 7).unwrap().mark, mark());
        let mut unchecked = marked(&mark());
        let end = unchecked.len() - 8;
        unchecked[end..].fill(0);
        assert_eq!(scanned(&unchecked, 9), Err(Damage::Unchecked));
    }

    #[test]
    fn the_last_mark_of_an_append_only_file_is_found() {
        let next = mark().next(None, crate::protocol::copy::Completeness::Open);
        let set = |mark: &Mark| {
            let text = mark.to_text();
            format!(
                "*3\r\n$3\r\nSET\r\n$10\r\n{MARK_KEY}\r\n${}\r\n{text}\r\n",
                text.len()
            )
        };
        let file = set(&mark()) + "*2\r\n$3\r\nGET\r\n$10\r\nhalab-mark\r\n*1\r\n" + &set(&next);
        for part in 1..file.len() {
            let mut marks = MarkFinder::default();
            for part in file.as_bytes().chunks(part) {
                marks.push(part);
            }
            assert_eq!(marks.last.as_ref(), Some(&next), "{part}");
        }
    }

    #[test]
    fn lzf_data_is_decompressed() {
        // As stored by Redis 7.0.15.
        let compressed_bytes = b"\x01xx\xe0\x13\x00\x07{\"a\":\"ab\xe0W\x01\x01ab";
        let text = format!("{}{{\"a\":\"{}", "x".repeat(30), "ab".repeat(50));
        assert_eq!(
            decompress(compressed_bytes, text.len()),
            Some(text.clone().into_bytes())
        );
        assert_eq!(decompress(compressed_bytes, text.len() - 1), None);
        for cut in 0..compressed_bytes.len() {
            assert_eq!(decompress(&compressed_bytes[..cut], text.len()), None);
        }
        let mut value = vec![
            0xc3,
            u8::try_from(compressed_bytes.len()).unwrap(),
            0x40,
            136,
        ];
        value.extend_from_slice(compressed_bytes);
        assert!(matches!(rdb_string(&value), FoundValue::Text(t) if t == text.as_bytes()));
    }
}
