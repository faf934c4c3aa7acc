//! Answers as a server sends them: where one ends, and how it begins.
//!
//! An answer is passed on as it came, so only its frame is read, in RESP2 or RESP3
//! (<https://redis.io/docs/latest/develop/reference/protocol-spec/>). It may be of any size.

/// Bytes kept of the beginning of an answer: the code of an error, or the kind of a message.
const HEAD_MAX: usize = 64;
/// Maximum nesting; a server has no reason for more.
const DEPTH_MAX: usize = 64;
/// Maximum bytes of a length line: the type, the number and CR LF.
const LENGTH_LINE_MAX: usize = 24;

/// The bytes do not follow the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an answer of a Redis server")]
pub struct NotAnAnswer;

/// The position in the current answer.
#[derive(Debug, Default)]
pub struct AnswerReader {
    /// Values still missing in each open collection.
    open: Vec<u64>,
    /// Bytes still missing of a bulk string, with its CR LF.
    body: u64,
    /// The beginning of the current line.
    line: Vec<u8>,
    /// The last byte of the current line was a CR.
    after_cr: bool,
    /// The beginning of the answer.
    head: Vec<u8>,
    /// Something of the answer has been received.
    has_begun: bool,
}

impl AnswerReader {
    /// Reads bytes up to the end of the current answer. Returns their number, and whether the
    /// answer is complete; if not, all bytes were read.
    ///
    /// # Errors
    /// If the bytes do not follow the protocol.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(usize, bool), NotAnAnswer> {
        if !self.has_begun && !bytes.is_empty() {
            self.head.clear();
            self.has_begun = true;
        }
        let mut at = 0;
        while at < bytes.len() {
            let begin = at;
            let ended = if self.body > 0 {
                let left = bytes.len() - at;
                let taken = usize::try_from(self.body).map_or(left, |body| body.min(left));
                self.body -= taken as u64;
                at += taken;
                self.body == 0
            } else {
                self.read_line(bytes, &mut at)?
            };
            let room = HEAD_MAX - self.head.len();
            self.head.extend(bytes[begin..at].iter().take(room));
            if ended && self.end_value() {
                self.has_begun = false;
                return Ok((at, true));
            }
        }
        Ok((at, false))
    }

    /// Whether a part of an answer has been received.
    #[cfg(test)]
    fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// The beginning of the answer that was read last.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Reads to the end of the current line. Returns whether a value has ended.
    fn read_line(&mut self, bytes: &[u8], at: &mut usize) -> Result<bool, NotAnAnswer> {
        let rest = &bytes[*at..];
        let (taken, is_whole) = match memchr::memchr(b'\n', rest) {
            Some(end) => (end + 1, true),
            None => (rest.len(), false),
        };
        let room = LENGTH_LINE_MAX - self.line.len();
        self.line.extend(rest.iter().take(taken.min(room)));
        let before_lf = match taken.checked_sub(2) {
            Some(i) => rest[i] == b'\r',
            None => self.after_cr,
        };
        self.after_cr = rest[taken - 1] == b'\r';
        *at += taken;
        if !is_whole {
            return match self.line.first() {
                Some(kind) if is_kind(*kind) => Ok(false),
                _ => Err(NotAnAnswer),
            };
        }
        if !before_lf {
            return Err(NotAnAnswer);
        }
        let ended = self.end_line();
        self.line.clear();
        self.after_cr = false;
        ended
    }

    /// Ends the current line. Returns whether it ends a value, too.
    fn end_line(&mut self) -> Result<bool, NotAnAnswer> {
        let (kind, number) = self.line.split_first().ok_or(NotAnAnswer)?;
        match kind {
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => Ok(true),
            b'$' | b'=' | b'!' => match length(number)? {
                None => Ok(true),
                Some(length) => {
                    self.body = length.checked_add(2).ok_or(NotAnAnswer)?;
                    Ok(false)
                }
            },
            b'*' | b'~' | b'>' => self.open(length(number)?.unwrap_or(0)),
            b'%' => self.open(length(number)?.unwrap_or(0).saturating_mul(2)),
            // Attributes precede the value that they describe.
            b'|' => self.open(
                length(number)?
                    .unwrap_or(0)
                    .saturating_mul(2)
                    .saturating_add(1),
            ),
            _ => Err(NotAnAnswer),
        }
    }

    fn open(&mut self, values: u64) -> Result<bool, NotAnAnswer> {
        if values == 0 {
            return Ok(true);
        }
        if self.open.len() == DEPTH_MAX {
            return Err(NotAnAnswer);
        }
        self.open.push(values);
        Ok(false)
    }

    /// Ends a value. Returns whether that ends the answer.
    fn end_value(&mut self) -> bool {
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return false;
            }
            self.open.pop();
        }
        true
    }
}

fn is_kind(byte: u8) -> bool {
    matches!(
        byte,
        b'+' | b'-'
            | b':'
            | b'_'
            | b'#'
            | b','
            | b'('
            | b'$'
            | b'='
            | b'!'
            | b'*'
            | b'~'
            | b'>'
            | b'%'
            | b'|'
    )
}

/// A length or a number of values, followed by CR LF; `None` for -1, which is *null*.
fn length(line: &[u8]) -> Result<Option<u64>, NotAnAnswer> {
    let number = line.strip_suffix(b"\r\n").ok_or(NotAnAnswer)?;
    if number == b"-1" {
        return Ok(None);
    }
    let text = std::str::from_utf8(number).map_err(|_| NotAnAnswer)?;
    text.parse().map(Some).map_err(|_| NotAnAnswer)
}

/// The code of an error answer, given its beginning; `None` for any other answer.
pub fn error_code(head: &[u8]) -> Option<&str> {
    let text = match head {
        [b'-', text @ ..] => text,
        // A bulk error: the length, then the text.
        [b'!', rest @ ..] => rest.splitn(2, |b| *b == b'\n').nth(1)?,
        _ => return None,
    };
    let end = text.iter().position(|b| b.is_ascii_whitespace());
    std::str::from_utf8(&text[..end.unwrap_or(text.len())]).ok()
}

/// The first word of a message of the server that answers no command: one of RESP3 (`>`), or one of
/// RESP2 to a client with subscriptions.
pub fn message_kind(head: &[u8]) -> Option<&[u8]> {
    if !matches!(head.first(), Some(b'>' | b'*')) {
        return None;
    }
    let mut lines = head.split(|b| *b == b'\n').map(|l| l.trim_ascii_end());
    match lines.nth(1)?.first()? {
        b'$' => lines.next(),
        b'+' => head
            .split(|b| *b == b'\n')
            .nth(1)
            .map(|line| &line.trim_ascii_end()[1..]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The answers in `bytes`, which arrive in pieces of `cut` bytes.
    fn all(bytes: &[u8], cut: usize) -> Result<Vec<Vec<u8>>, NotAnAnswer> {
        let mut reader = AnswerReader::default();
        let mut found = vec![Vec::new()];
        for mut piece in bytes.chunks(cut) {
            while !piece.is_empty() {
                let (taken, ended) = reader.read(piece)?;
                found.last_mut().unwrap().extend_from_slice(&piece[..taken]);
                piece = &piece[taken..];
                if ended {
                    found.push(Vec::new());
                }
            }
        }
        assert!(!reader.has_begun());
        found.pop();
        Ok(found)
    }

    #[test]
    fn answers_of_both_protocols_are_found_in_pieces_of_any_size() {
        let answers: [&[u8]; 16] = [
            b"+OK\r\n",
            b"-ERR no\r\n",
            b":-7\r\n",
            b"$-1\r\n",
            b"$0\r\n\r\n",
            b"$4\r\na\r\nb\r\n",
            b"*-1\r\n",
            b"*0\r\n",
            b"*2\r\n*1\r\n:1\r\n$1\r\nx\r\n",
            b"_\r\n",
            b"#t\r\n",
            b",1.5\r\n",
            b"%1\r\n+a\r\n~2\r\n:1\r\n:2\r\n",
            b"=7\r\ntxt:abc\r\n",
            b"|1\r\n+ttl\r\n:3\r\n*1\r\n:4\r\n",
            b">2\r\n+invalidate\r\n_\r\n",
        ];
        let bytes = answers.concat();
        for cut in 1..bytes.len() {
            assert_eq!(all(&bytes, cut).unwrap(), answers, "by {cut}");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for bytes in [
            &b"HTTP/1.1 400\r\n"[..],
            b"$x\r\n",
            b"+OK\n",
            b"*1\r\nx\r\n",
        ] {
            assert_eq!(
                AnswerReader::default().read(bytes),
                Err(NotAnAnswer),
                "{bytes:?}"
            );
        }
        let deep = b"*1\r\n".repeat(DEPTH_MAX + 1);
        assert_eq!(AnswerReader::default().read(&deep), Err(NotAnAnswer));
    }

    #[test]
    fn codes_and_kinds_are_found() {
        assert_eq!(error_code(b"-READONLY You can't\r\n"), Some("READONLY"));
        assert_eq!(error_code(b"!9\r\nERR wrong\r\n"), Some("ERR"));
        assert_eq!(error_code(b"+OK\r\n"), None);
        let message = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n";
        assert_eq!(message_kind(message), Some(&b"message"[..]));
        assert_eq!(
            message_kind(b">2\r\n+invalidate\r\n_\r\n"),
            Some(&b"invalidate"[..])
        );
        assert_eq!(message_kind(b":1\r\n"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = AnswerReader::default().read(&bytes);
        }
    }
}
