//! Where a reply of a Redis server ends: its frame, in RESP2 or RESP3.
//!
//! See <https://redis.io/docs/latest/develop/reference/protocol-spec/>. The bytes arrive in pieces
//! of any size, and are neither kept nor decoded beyond the frame: what is kept of a reply is its
//! current line, as far as it can be a length, and the number of values still missing. What a reply
//! may be is for its reader to say, by [`ReplyLimits`]; a reply beyond them is refused before it is
//! complete.

/// Maximum bytes of a length line: the type, the number and CR LF.
const LENGTH_LINE_MAX: usize = 23;

/// Which replies are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyLimits {
    /// The kinds of values that RESP3 adds are accepted, too.
    pub is_resp3: bool,
    /// Maximum bytes of one reply.
    pub bytes: u64,
    /// Maximum values of one reply, including nested ones.
    pub values: u64,
    /// Maximum nesting of collections.
    pub depth: usize,
}

/// Why bytes were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// Not RESP.
    #[error("not a reply of a Redis server")]
    NotResp,
    /// Beyond a limit.
    #[error("the reply is longer than any expected one")]
    TooLong,
}

/// The position in the current reply.
#[derive(Debug)]
pub struct ReplyFraming {
    limits: ReplyLimits,
    /// Bytes of this reply so far.
    size: u64,
    /// Values of this reply, including announced ones.
    values: u64,
    /// Values still missing in each open collection.
    open: Vec<u64>,
    /// Bytes still missing of a bulk string, with its CR LF.
    body: u64,
    /// The beginning of the current line.
    line: Vec<u8>,
    /// The last byte of the current line was a CR.
    is_after_cr: bool,
}

impl ReplyFraming {
    /// Before the first reply.
    pub fn new(limits: ReplyLimits) -> Self {
        ReplyFraming {
            limits,
            size: 0,
            values: 0,
            open: Vec::new(),
            body: 0,
            line: Vec::new(),
            is_after_cr: false,
        }
    }

    /// Whether nothing of the current reply has been read.
    pub fn is_at_start(&self) -> bool {
        self.size == 0
    }

    /// Reads bytes up to the end of the current reply. Returns their number, and whether the reply
    /// is complete; if not, all bytes were read.
    ///
    /// # Errors
    /// If they are not RESP, or beyond a limit.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(usize, bool), FramingError> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let (taken, ended) = if self.body > 0 {
                let taken = usize::try_from(self.body).map_or(rest.len(), |b| b.min(rest.len()));
                self.body -= taken as u64;
                (taken, self.body == 0)
            } else {
                self.read_line(rest)?
            };
            at += taken;
            self.size = self.size.saturating_add(taken as u64);
            if self.size > self.limits.bytes {
                return Err(FramingError::TooLong);
            }
            if ended && self.end_value() {
                return Ok((at, true));
            }
        }
        Ok((at, false))
    }

    /// Reads bytes of any number of replies.
    ///
    /// # Errors
    /// As [`ReplyFraming::read`].
    pub fn read_all(&mut self, mut bytes: &[u8]) -> Result<(), FramingError> {
        while !bytes.is_empty() {
            let (taken, _) = self.read(bytes)?;
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// Reads to the end of the current line, of which `rest` has at least one byte. Returns the
    /// number of bytes, and whether a value has ended.
    fn read_line(&mut self, rest: &[u8]) -> Result<(usize, bool), FramingError> {
        let end = memchr::memchr(b'\n', rest);
        let taken = end.map_or(rest.len(), |at| at + 1);
        let room = LENGTH_LINE_MAX - self.line.len();
        self.line.extend(rest.iter().take(taken.min(room)));
        let before_last = match taken.checked_sub(2) {
            Some(at) => rest.get(at) == Some(&b'\r'),
            None => self.is_after_cr,
        };
        if end.is_none() {
            self.is_after_cr = rest.last() == Some(&b'\r');
            // The rest of the line may never come.
            return match self.line.first() {
                Some(kind) if self.accepts(*kind) => Ok((taken, false)),
                _ => Err(FramingError::NotResp),
            };
        }
        self.is_after_cr = false;
        if !before_last {
            return Err(FramingError::NotResp);
        }
        let ended = self.end_line()?;
        self.line.clear();
        Ok((taken, ended))
    }

    /// Whether a value of this kind is accepted.
    fn accepts(&self, kind: u8) -> bool {
        match kind {
            b'+' | b'-' | b':' | b'$' | b'*' => true,
            b'_' | b'#' | b',' | b'(' | b'=' | b'!' | b'~' | b'>' | b'%' | b'|' => {
                self.limits.is_resp3
            }
            _ => false,
        }
    }

    /// Ends the current line. Returns whether it ends a value, too.
    fn end_line(&mut self) -> Result<bool, FramingError> {
        let (kind, number) = self.line.split_first().ok_or(FramingError::NotResp)?;
        if !self.accepts(*kind) {
            return Err(FramingError::NotResp);
        }
        let values = match kind {
            b'$' | b'=' | b'!' => {
                let Some(length) = announced(number)? else {
                    return Ok(true);
                };
                self.body = length.checked_add(2).ok_or(FramingError::TooLong)?;
                if self.body > self.limits.bytes {
                    return Err(FramingError::TooLong);
                }
                return Ok(false);
            }
            b'*' | b'~' | b'>' => announced(number)?.unwrap_or(0),
            b'%' => announced(number)?.unwrap_or(0).saturating_mul(2),
            // Attributes precede the value that they describe.
            b'|' => {
                let names_and_values = announced(number)?.unwrap_or(0).saturating_mul(2);
                names_and_values.saturating_add(1)
            }
            _ => return Ok(true),
        };
        if values == 0 {
            return Ok(true);
        }
        self.values = self.values.saturating_add(values);
        if self.values > self.limits.values || self.open.len() >= self.limits.depth {
            return Err(FramingError::TooLong);
        }
        self.open.push(values);
        Ok(false)
    }

    /// Ends a value. Returns whether that ends the reply.
    fn end_value(&mut self) -> bool {
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return false;
            }
            self.open.pop();
        }
        self.size = 0;
        self.values = 0;
        true
    }
}

/// A length or a number of values, followed by CR LF; `None` for -1, which is *null*.
fn announced(line: &[u8]) -> Result<Option<u64>, FramingError> {
    let number = line.strip_suffix(b"\r\n").ok_or(FramingError::NotResp)?;
    if number == b"-1" {
        return Ok(None);
    }
    let text = std::str::from_utf8(number).map_err(|_| FramingError::NotResp)?;
    text.parse().map(Some).map_err(|_| FramingError::NotResp)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: ReplyLimits = ReplyLimits {
        is_resp3: false,
        bytes: 24,
        values: 3,
        depth: 2,
    };

    fn read(limits: ReplyLimits, bytes: &[u8]) -> Result<(usize, bool), FramingError> {
        ReplyFraming::new(limits).read(bytes)
    }

    #[test]
    fn only_the_first_reply_is_read_and_only_up_to_its_end() {
        assert_eq!(read(SMALL, b"+OK\r\n+OK\r\n"), Ok((5, true)));
        assert_eq!(read(SMALL, b"*2\r\n:1\r\n"), Ok((8, false)));
        assert_eq!(read(SMALL, b""), Ok((0, false)));
        let mut framing = ReplyFraming::new(SMALL);
        assert_eq!(framing.read_all(b"+OK\r\n:1\r\n$1"), Ok(()));
        assert!(!framing.is_at_start());
        assert_eq!(framing.read(b"\r\nx\r\n:1\r\n"), Ok((5, true)));
        assert!(framing.is_at_start());
    }

    #[test]
    fn the_kinds_of_resp3_are_accepted_only_if_wanted() {
        let resp3 = ReplyLimits {
            is_resp3: true,
            ..SMALL
        };
        for reply in [
            &b"_\r\n"[..],
            b"#t\r\n",
            b",1.5\r\n",
            b"(1\r\n",
            b"=5\r\ntxt:a\r\n",
            b"!3\r\nERR\r\n",
            b"~1\r\n:1\r\n",
            b">1\r\n:1\r\n",
            b"%1\r\n:1\r\n:2\r\n",
            b"|1\r\n:1\r\n:2\r\n:3\r\n",
        ] {
            assert_eq!(read(SMALL, reply), Err(FramingError::NotResp), "{reply:?}");
            assert_eq!(
                read(SMALL, &reply[..1]),
                Err(FramingError::NotResp),
                "the beginning of {reply:?}"
            );
            assert_eq!(read(resp3, reply), Ok((reply.len(), true)), "{reply:?}");
        }
        for reply in [&b"x\r\n"[..], b"x"] {
            assert_eq!(read(resp3, reply), Err(FramingError::NotResp), "{reply:?}");
        }
    }

    #[test]
    fn each_limit_is_one_of_a_single_reply() {
        for (too_long, longest) in [
            // 25 bytes, 24 bytes.
            (
                &b"$18\r\n123456789012345678\r\n"[..],
                &b"$17\r\n12345678901234567\r\n"[..],
            ),
            (
                b"+1234567890123456789012\r\n",
                b"+123456789012345678901\r\n",
            ),
            (b"*4\r\n", b"*3\r\n:1\r\n:1\r\n:1\r\n"),
            (b"*2\r\n*2\r\n", b"*2\r\n*1\r\n:1\r\n:1\r\n"),
            (b"*1\r\n*1\r\n*1\r\n", b"*1\r\n*1\r\n:1\r\n"),
        ] {
            let text = String::from_utf8_lossy(too_long);
            assert_eq!(read(SMALL, too_long), Err(FramingError::TooLong), "{text}");
            let mut framing = ReplyFraming::new(SMALL);
            for _ in 0..3 {
                assert_eq!(framing.read(longest), Ok((longest.len(), true)), "{text}");
            }
        }
    }
}
