//! Answers as a server sends them: where one ends, and how it begins.
//!
//! An answer is passed on as it came, so only its frame is read ([`crate::resp`]).

use crate::resp::{FramingError, ReplyFraming, ReplyLimits};

/// Bytes kept of the beginning of an answer: the code of an error, or the kind of a message.
const HEAD_MAX: usize = 64;
/// An answer may be of any size. A server has no reason for more nesting.
const LIMITS: ReplyLimits = ReplyLimits {
    is_resp3: true,
    bytes: u64::MAX,
    values: u64::MAX,
    depth: 64,
};

/// The position in the current answer.
#[derive(Debug)]
pub struct AnswerReader {
    framing: ReplyFraming,
    /// The beginning of the answer.
    head: Vec<u8>,
}

impl Default for AnswerReader {
    fn default() -> Self {
        AnswerReader {
            framing: ReplyFraming::new(LIMITS),
            head: Vec::new(),
        }
    }
}

impl AnswerReader {
    /// Reads bytes up to the end of the current answer. Returns their number, and whether the
    /// answer is complete; if not, all bytes were read.
    ///
    /// # Errors
    /// If the bytes do not follow the protocol.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(usize, bool), FramingError> {
        if self.framing.is_at_start() && !bytes.is_empty() {
            self.head.clear();
        }
        let (taken, ended) = self.framing.read(bytes)?;
        let room = HEAD_MAX - self.head.len();
        self.head.extend_from_slice(&bytes[..taken.min(room)]);
        Ok((taken, ended))
    }

    /// The beginning of the answer that was read last.
    pub fn head(&self) -> &[u8] {
        &self.head
    }
}

/// What precedes the refusal of a whole transaction, which was refused at its `EXEC`.
const ABORT: &[u8] = b"EXECABORT Transaction discarded because of: ";

/// The code of an error answer, given its beginning; `None` for any other answer. That of a
/// transaction which was refused as a whole is the code of the refusal.
pub fn error_code(head: &[u8]) -> Option<&str> {
    let text = match head {
        [b'-', text @ ..] => text,
        // A bulk error: the length, then the text.
        [b'!', rest @ ..] => rest.splitn(2, |b| *b == b'\n').nth(1)?,
        _ => return None,
    };
    let text = text.strip_prefix(ABORT).unwrap_or(text);
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
    fn all(bytes: &[u8], cut: usize) -> Result<Vec<Vec<u8>>, FramingError> {
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
        assert!(reader.framing.is_at_start());
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
                Err(FramingError::NotResp),
                "{bytes:?}"
            );
        }
        let deep = b"*1\r\n".repeat(LIMITS.depth + 1);
        assert_eq!(
            AnswerReader::default().read(&deep),
            Err(FramingError::TooLong)
        );
    }

    #[test]
    fn codes_and_kinds_are_found() {
        assert_eq!(error_code(b"-READONLY You can't\r\n"), Some("READONLY"));
        assert_eq!(error_code(b"!9\r\nERR wrong\r\n"), Some("ERR"));
        assert_eq!(error_code(b"+OK\r\n"), None);
        let aborted = |why: &str| format!("-EXECABORT Transaction discarded because of{why}\r\n");
        let (refused, failed) = (
            aborted(": READONLY You can't"),
            aborted(" previous errors."),
        );
        assert_eq!(error_code(refused.as_bytes()), Some("READONLY"));
        assert_eq!(error_code(failed.as_bytes()), Some("EXECABORT"));
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
