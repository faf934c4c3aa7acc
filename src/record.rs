//! The records that the lab writes: a timestamp and a random number under a key of their own.
//!
//! A record is unique to (run, sequence number). Its key and value follow from the run, the
//! sequence number and the timestamp alone, so that sending it again is harmless and the ledger
//! need not store values. The random number is drawn from a generator seeded by run and sequence
//! number.
//!
//! | part | form | bytes |
//! |---|---|---|
//! | key | `halab:<run>:<seq>`, run as 16 hex digits, seq in decimal | 24 to 43 |
//! | value | `<RFC 3339, UTC, microseconds> <random number>` | [`VALUE_LEN`] |
//!
//! for example `halab:00c0ffee00c0ffee:42` and `2026-03-01T12:00:00.000000Z 5339612750132470`.
//!
//! The random number has always 16 digits, for two reasons: a value of 44 bytes is the longest that
//! Redis keeps in one allocation with its object (`embstr`), and a number below 2^53 survives every
//! JSON reader. It is output number `seq` of SplitMix64 (Steele, Lea, Flood, 2014) seeded with the
//! run: the one well-studied generator whose n-th output needs no state but n, so a verifier draws
//! it again for any record, in any order.
//!
//! This module is pure: no clock, no I/O. All records of a batch share one creation time, so
//! [`Batch`] formats it once and then writes keys and values without allocating.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

/// The prefix of every key of the lab, so that an ACL can name them (`~halab:*`).
pub const KEY_PREFIX: &str = "halab:";

/// Bytes of every value: 27 of timestamp, a space, 16 digits.
pub const VALUE_LEN: usize = STAMP_LEN + 1 + 16;

/// Bytes of `2026-03-01T12:00:00.000000Z`.
const STAMP_LEN: usize = 27;

/// Bytes of `halab:<run>:`.
const RUN_PREFIX_LEN: usize = KEY_PREFIX.len() + 16 + 1;

/// The random numbers lie in `RANDOM_MIN..RANDOM_MIN + RANDOM_SPAN`: 16 digits, below 2^53.
const RANDOM_MIN: u64 = 1_000_000_000_000_000;
const RANDOM_SPAN: u64 = 8_000_000_000_000_000;

/// Why a text cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseRunError {
    /// Not a run.
    #[error("`{0}` is not a run: a run is 16 hexadecimal digits, as `halab write` prints it")]
    NotARun(String),
}

/// One run of the writer: 64 random bits, shown as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(u64);

impl RunId {
    /// The run with these 64 bits. A new run takes them from `rand::random()`.
    pub const fn new(bits: u64) -> RunId {
        RunId(bits)
    }

    /// Its 64 bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The glob that matches the keys of this run and no others, for `SCAN ... MATCH`.
    pub fn key_pattern(self) -> String {
        format!("{KEY_PREFIX}{self}:*")
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for RunId {
    type Err = ParseRunError;

    /// Accepts exactly what `Display` prints, so a run has only one text.
    fn from_str(text: &str) -> Result<RunId, ParseRunError> {
        parse_run(text.as_bytes()).ok_or_else(|| ParseRunError::NotARun(text.to_owned()))
    }
}

impl Serialize for RunId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A point of wall-clock time: microseconds since the Unix epoch, UTC, up to the year 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// 9999-12-31T23:59:59.999999Z, the last that RFC 3339 can write.
    pub const MAX: Timestamp = Timestamp(253_402_300_799_999_999);

    /// The point `micros` microseconds after the epoch; `None` past [`Timestamp::MAX`].
    pub const fn from_micros(micros: u64) -> Option<Timestamp> {
        if micros <= Timestamp::MAX.0 {
            Some(Timestamp(micros))
        } else {
            None
        }
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Microseconds from `start` to this point; 0 where the clock went backwards.
    pub const fn micros_since(self, start: Timestamp) -> u64 {
        self.0.saturating_sub(start.0)
    }

    /// `2026-03-01T12:00:00.000000Z`
    fn stamp(self) -> [u8; STAMP_LEN] {
        let mut stamp = *b"0000-00-00T00:00:00.000000Z";
        // Every value of the type is in chrono's range, and 27 bytes long up to the year 9999.
        let micros = i64::try_from(self.0).unwrap_or(i64::MAX);
        let time = DateTime::from_timestamp_micros(micros).unwrap_or_default();
        let text = time.to_rfc3339_opts(SecondsFormat::Micros, true);
        for (to, from) in stamp.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        stamp
    }
}

impl From<SystemTime> for Timestamp {
    /// Truncated to whole microseconds and to the range of the type.
    fn from(time: SystemTime) -> Timestamp {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        Timestamp(micros.min(Timestamp::MAX.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.stamp()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Consecutive sequence numbers: `start` is the first, `end` the one after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SeqRange {
    /// The first sequence number.
    pub start: u64,
    /// The one after the last.
    pub end: u64,
}

impl SeqRange {
    /// `start..end`; empty if `end` is not after `start`.
    pub const fn new(start: u64, end: u64) -> SeqRange {
        SeqRange { start, end }
    }

    /// How many there are.
    pub const fn len(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// Whether `seq` is one of them.
    pub const fn contains(self, seq: u64) -> bool {
        self.start <= seq && seq < self.end
    }

    /// The same numbers in ranges of `length`, of which the last may be shorter; a `length` of 0
    /// counts as 1.
    pub fn chunks(self, length: u64) -> impl Iterator<Item = SeqRange> {
        let length = length.max(1);
        let count = self.len().div_ceil(length);
        (0..count).map(move |i| {
            let start = self.start + i * length;
            SeqRange::new(start, start + length.min(self.end - start))
        })
    }

    /// Each of them, in order.
    pub fn iter(self) -> std::ops::Range<u64> {
        self.start..self.end
    }
}

impl fmt::Display for SeqRange {
    /// `7` for one, `3-9` (including the last) for more.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.len() {
            0 => f.write_str("none"),
            1 => write!(f, "{}", self.start),
            _ => write!(f, "{}-{}", self.start, self.end - 1),
        }
    }
}

/// The random number of record `seq` of `run`: 16 digits.
pub const fn random_number(run: RunId, seq: u64) -> u64 {
    RANDOM_MIN + splitmix64(run.0, seq) % RANDOM_SPAN
}

/// Output number `index`, from 0, of SplitMix64 with the seed `seed`.
const fn splitmix64(seed: u64, index: u64) -> u64 {
    let step = 0x9e37_79b9_7f4a_7c15_u64;
    let mut z = seed.wrapping_add(step.wrapping_mul(index.wrapping_add(1)));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Writes and checks the records of one run with one creation time.
///
/// Creating one formats the timestamp; keys and values are then written without allocating, unless
/// the given buffer has to grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    run: RunId,
    created: Timestamp,
    key_prefix: [u8; RUN_PREFIX_LEN],
    stamp: [u8; STAMP_LEN],
}

impl Batch {
    /// The records of `run` created at `created`.
    pub fn new(run: RunId, created: Timestamp) -> Batch {
        let mut key_prefix = [b':'; RUN_PREFIX_LEN];
        key_prefix[..KEY_PREFIX.len()].copy_from_slice(KEY_PREFIX.as_bytes());
        for (i, digit) in key_prefix[KEY_PREFIX.len()..RUN_PREFIX_LEN - 1]
            .iter_mut()
            .enumerate()
        {
            let nibble = (run.0 >> (60 - 4 * i)) & 0xf;
            *digit = b"0123456789abcdef"[nibble as usize];
        }
        Batch {
            run,
            created,
            key_prefix,
            stamp: created.stamp(),
        }
    }

    /// When they were created.
    pub fn created(&self) -> Timestamp {
        self.created
    }

    /// The same run at another time: free if the time is the same, cheap within a second.
    pub fn at(&mut self, created: Timestamp) -> &mut Batch {
        const SECOND: u64 = 1_000_000;
        if created.0 / SECOND != self.created.0 / SECOND {
            self.stamp = created.stamp();
        } else if created != self.created {
            // Formatting the full date is too slow for batches of one record.
            let mut rest = created.0 % SECOND;
            for digit in self.stamp[STAMP_LEN - 7..STAMP_LEN - 1].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        self.created = created;
        self
    }

    /// Bytes of the key of record `seq`.
    pub fn key_len(seq: u64) -> usize {
        RUN_PREFIX_LEN + decimal_len(seq)
    }

    /// Appends the key of record `seq`.
    pub fn push_key(&self, seq: u64, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(&self.key_prefix);
        let mut digits = [0; 20];
        buffer.extend_from_slice(decimal(seq, &mut digits));
    }

    /// Appends the value of record `seq`: [`VALUE_LEN`] bytes.
    pub fn push_value(&self, seq: u64, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(&self.value(seq));
    }

    /// The value of record `seq`.
    pub fn value(&self, seq: u64) -> [u8; VALUE_LEN] {
        let mut value = [b' '; VALUE_LEN];
        value[..STAMP_LEN].copy_from_slice(&self.stamp);
        let mut digits = [0; 20];
        let number = decimal(random_number(self.run, seq), &mut digits);
        value[STAMP_LEN + 1..].copy_from_slice(number);
        value
    }

    /// Whether `value` is the value of record `seq`, byte for byte.
    pub fn value_matches(&self, seq: u64, value: &[u8]) -> bool {
        value == self.value(seq)
    }
}

/// The run and sequence number of a key that [`Batch::push_key`] wrote; `None` for any other key.
pub fn parse_key(key: &[u8]) -> Option<(RunId, u64)> {
    let rest = key.strip_prefix(KEY_PREFIX.as_bytes())?;
    let (run, rest) = rest.split_at_checked(16)?;
    let digits = rest.strip_prefix(b":")?;
    let leading_zero = digits.len() > 1 && digits[0] == b'0';
    if leading_zero || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some((
        parse_run(run)?,
        std::str::from_utf8(digits).ok()?.parse().ok()?,
    ))
}

fn parse_run(hex: &[u8]) -> Option<RunId> {
    let lower = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if hex.len() != 16 || !hex.iter().all(lower) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(hex).ok()?, 16)
        .ok()
        .map(RunId)
}

fn decimal_len(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// `number` in decimal, at the end of `digits`.
fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

#[cfg(test)]
mod tests;
