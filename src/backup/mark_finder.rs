//! Finds the marks in an RDB or an append-only file. Pure.
//!
//! The mark is found by its key, without parsing values of all types: it is a plain string, whose
//! name and value are adjacent, in an RDB as well as in the commands of an append-only file. See
//! <https://rdb.fnordig.de/file_format.html>.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::protocol::copy::{MARK_KEY, Mark};

static KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(MARK_KEY));

/// Longest value that is accepted as a mark.
const MAX_VALUE_LEN: usize = 1 << 20;
/// Longest relevant prefix of the key.
const MAX_PREFIX_LEN: usize = 5;

/// Finds the marks in a file that is read in parts.
#[derive(Debug, Default)]
pub struct MarkFinder {
    /// The last mark.
    pub last: Option<Mark>,
    /// Another mark was found before it.
    pub(super) several: bool,
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
mod tests {
    use super::super::rdb::tests::mark;
    use super::*;

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
