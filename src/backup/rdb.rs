//! What a file of data says of itself: that an RDB is whole, and which mark is in it. Pure.
//!
//! An RDB ends with a checksum over all of it. The mark is found by its key, without reading the values of all types that
//! there are: a plain string whose name and value stand behind each other, in an RDB as well as in the commands of an append-only file.
//! See <https://rdb.fnordig.de/file_format.html>.

use std::sync::LazyLock;

use crc::{CRC_64_REDIS, Crc, Digest, Table};
use memchr::memmem::Finder;

use crate::protocol::copy::{MARK_KEY, Mark};

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);
static KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(MARK_KEY));

/// What begins an RDB: `REDIS`, or `VALKEY` where it is of a Valkey that left Redis' versions, and the version's digits.
const HEADS: [&[u8]; 2] = [b"REDIS", b"VALKEY"];
/// Length of the begin, with the version.
const HEAD: usize = 9;
/// The checksum, and before it the code that says that there is nothing more.
const FOOT: usize = 9;
const EOF: u8 = 0xff;
/// Longest value that is taken for a mark.
const LONGEST: usize = 1 << 20;
/// What stands before the key at most, where it matters.
const BEFORE: usize = 5;

/// What is wrong with a file that should be an RDB.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It does not begin as one.
    #[error("it is no RDB")]
    NoRdb,
    /// It does not end as one.
    #[error("its end is missing")]
    Cut,
    /// The checksum at its end is not that of what it holds.
    #[error("the checksum at its end is {said:016x}, and that of its content {is:016x}")]
    Checksum {
        /// At its end.
        said: u64,
        /// Of its content.
        is: u64,
    },
    /// The server that wrote it was told to leave the checksum out.
    #[error("it has no checksum: set rdbchecksum to yes on its server")]
    Unchecked,
    /// It has no mark of a lab.
    #[error("there is no mark of a lab in it")]
    Unmarked,
    /// There is more than one that could be the mark.
    #[error("it holds several values that look like the mark of a lab")]
    Ambiguous,
}

impl Damage {
    /// Whether the server's next copy has it too: it is not of the way that this one took.
    pub fn stays(&self) -> bool {
        matches!(
            self,
            Damage::Unchecked | Damage::Unmarked | Damage::Ambiguous
        )
    }
}

/// What is in an RDB that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The version of its format.
    pub version: u32,
    /// The mark of the copy.
    pub mark: Mark,
}

/// An RDB that is read from its begin to its end, part by part.
pub struct Scan {
    head: Vec<u8>,
    /// The last bytes, of which the checksum is not taken yet.
    foot: Vec<u8>,
    crc: Digest<'static, u64, Table<16>>,
    marks: Marks,
}

impl Default for Scan {
    fn default() -> Self {
        Scan {
            head: Vec::new(),
            foot: Vec::new(),
            crc: CRC.digest(),
            marks: Marks::default(),
        }
    }
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan").finish_non_exhaustive()
    }
}

impl Scan {
    /// Takes the next part.
    pub fn push(&mut self, part: &[u8]) {
        let missing = HEAD.saturating_sub(self.head.len()).min(part.len());
        self.head.extend_from_slice(&part[..missing]);
        self.marks.push(part);
        self.foot.extend_from_slice(part);
        let known = self.foot.len().saturating_sub(FOOT);
        self.crc.update(&self.foot[..known]);
        self.foot.drain(..known);
    }

    /// What it was, at its end.
    ///
    /// # Errors
    /// When it is not whole, or is no copy of a lab.
    pub fn finish(mut self) -> Result<Content, Damage> {
        let version = version(&self.head).ok_or(Damage::NoRdb)?;
        let (code, said) = self.foot.split_first().ok_or(Damage::Cut)?;
        let said: [u8; 8] = said.try_into().map_err(|_| Damage::Cut)?;
        if *code != EOF {
            return Err(Damage::Cut);
        }
        self.crc.update(&[EOF]);
        let (said, is) = (u64::from_le_bytes(said), self.crc.finalize());
        if said == 0 {
            return Err(Damage::Unchecked);
        }
        if said != is {
            return Err(Damage::Checksum { said, is });
        }
        match self.marks {
            Marks { several: true, .. } => Err(Damage::Ambiguous),
            Marks { last: None, .. } => Err(Damage::Unmarked),
            Marks {
                last: Some(mark), ..
            } => Ok(Content { version, mark }),
        }
    }
}

fn version(head: &[u8]) -> Option<u32> {
    let digits = HEADS.iter().find_map(|name| head.strip_prefix(*name))?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The marks in a file that is read part by part.
#[derive(Debug, Default)]
pub struct Marks {
    /// The last one.
    pub last: Option<Mark>,
    /// There was another before it.
    several: bool,
    /// What may be the begin of one.
    rest: Vec<u8>,
}

impl Marks {
    /// Takes the next part.
    pub fn push(&mut self, part: &[u8]) {
        let mut rest = std::mem::take(&mut self.rest);
        rest.extend_from_slice(part);
        let mut from = 0;
        while let Some(at) = KEY.find(&rest[from..]).map(|at| from + at) {
            let end = at + MARK_KEY.len();
            match value(&rest[..at], &rest[end..]) {
                Value::Text(text) => {
                    if let Some(mark) = String::from_utf8(text)
                        .ok()
                        .and_then(|t| Mark::from_text(&t))
                    {
                        self.several |= self.last.as_ref().is_some_and(|last| *last != mark);
                        self.last = Some(mark);
                    }
                }
                Value::More => {
                    rest.drain(..at.saturating_sub(BEFORE));
                    self.rest = rest;
                    return;
                }
                Value::Other => {}
            }
            from = end;
        }
        // The begin of a key may be at the end, and what belongs to it before that.
        let keep = (MARK_KEY.len() - 1 + BEFORE).min(rest.len());
        let at = (rest.len() - keep).max(from.saturating_sub(BEFORE).min(rest.len()));
        rest.drain(..at);
        self.rest = rest;
    }
}

enum Value {
    Text(Vec<u8>),
    /// It is not all there yet.
    More,
    /// It is none.
    Other,
}

/// The value of a key, between what stands before and behind the key.
fn value(before: &[u8], behind: &[u8]) -> Value {
    // A string, and the length of its name.
    if before.ends_with(&[0, 10]) {
        return rdb_string(behind);
    }
    // The same in a command: SET, or what a script made of it.
    if before.ends_with(b"$10\r\n") {
        return command_string(behind);
    }
    Value::Other
}

fn rdb_string(bytes: &[u8]) -> Value {
    const COMPRESSED: u8 = 0xc3;
    if bytes.first() == Some(&COMPRESSED) {
        let mut rest = &bytes[1..];
        let (Some(compressed), Some(length)) = (length(&mut rest), length(&mut rest)) else {
            return Value::More;
        };
        if compressed > LONGEST || length > LONGEST {
            return Value::Other;
        }
        return match rest.get(..compressed) {
            Some(packed) => unpack(packed, length).map_or(Value::Other, Value::Text),
            None => Value::More,
        };
    }
    if bytes.first().is_some_and(|first| *first >= 0xc0) {
        return Value::Other;
    }
    let mut rest = bytes;
    match length(&mut rest) {
        None => Value::More,
        Some(length) if length > LONGEST => Value::Other,
        Some(length) => rest
            .get(..length)
            .map_or(Value::More, |text| Value::Text(text.to_vec())),
    }
}

/// A length as an RDB has it; nothing while it is not all there. One that does not fit is longer than all that matter.
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

fn command_string(bytes: &[u8]) -> Value {
    // A line break, the length, a line break, the value.
    const LONGEST_LENGTH: usize = 16;
    let Some(rest) = bytes.strip_prefix(b"\r\n$") else {
        return if b"\r\n$".starts_with(bytes) {
            Value::More
        } else {
            Value::Other
        };
    };
    let Some(end) = rest.iter().take(LONGEST_LENGTH).position(|b| *b == b'\r') else {
        return if rest.len() < LONGEST_LENGTH {
            Value::More
        } else {
            Value::Other
        };
    };
    let length = std::str::from_utf8(&rest[..end]).ok();
    match length.and_then(|length| length.parse::<usize>().ok()) {
        Some(length) if length <= LONGEST => rest
            .get(end + 2..end + 2 + length)
            .map_or(Value::More, |text| Value::Text(text.to_vec())),
        _ => Value::Other,
    }
}

/// Unpacks what LZF has packed; nothing when it is not that.
fn unpack(packed: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(length);
    let mut bytes = packed.iter().copied();
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
    use crate::protocol::copy::Drawn;

    pub(crate) fn mark() -> Mark {
        let drawn = Drawn {
            lab: "lab".into(),
            term: "term".into(),
        };
        Mark::begin(None, "redis-a", drawn).confirmed()
    }

    /// An RDB with that in it.
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

    /// An RDB that holds a record and the mark.
    pub(crate) fn marked(mark: &Mark) -> Vec<u8> {
        rdb(&[b"\x00\x01k\x01v", &key(mark.to_text().as_bytes())[..]].concat())
    }

    fn scanned(bytes: &[u8], part: usize) -> Result<Content, Damage> {
        let mut scan = Scan::default();
        for part in bytes.chunks(part) {
            scan.push(part);
        }
        scan.finish()
    }

    #[test]
    fn the_checksum_is_that_of_redis() {
        // crc64.c says so of itself.
        assert_eq!(CRC.checksum(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn an_rdb_says_its_mark_however_it_comes_in() {
        let bytes = marked(&mark());
        for part in 1..=bytes.len() {
            let content = scanned(&bytes, part).unwrap();
            assert_eq!((content.version, content.mark), (10, mark()), "{part}");
        }
    }

    #[test]
    fn any_one_bit_and_any_missing_end_is_seen() {
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
        // Words that only look like it.
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
            let mut marks = Marks::default();
            for part in file.as_bytes().chunks(part) {
                marks.push(part);
            }
            assert_eq!(marks.last.as_ref(), Some(&next), "{part}");
        }
    }

    #[test]
    fn what_lzf_has_packed_is_unpacked() {
        // As Redis 7.0.15 has stored it.
        let packed = b"\x01xx\xe0\x13\x00\x07{\"a\":\"ab\xe0W\x01\x01ab";
        let text = format!("{}{{\"a\":\"{}", "x".repeat(30), "ab".repeat(50));
        assert_eq!(unpack(packed, text.len()), Some(text.clone().into_bytes()));
        assert_eq!(unpack(packed, text.len() - 1), None);
        for cut in 0..packed.len() {
            assert_eq!(unpack(&packed[..cut], text.len()), None);
        }
        let mut value = vec![0xc3, u8::try_from(packed.len()).unwrap(), 0x40, 136];
        value.extend_from_slice(packed);
        assert!(matches!(rdb_string(&value), Value::Text(t) if t == text.as_bytes()));
    }
}
