//! Limits on replies, below the parser of the crate `redis`.
//!
//! That parser accepts a reply of any size and buffers it until it is complete. A peer that sends
//! an endless reply fills the memory, at the speed of the network, until a time limit ends the
//! request. So this module counts the bytes of each reply as they arrive. A reply that is longer,
//! more deeply nested or of more values than any that the lab asks for, or that is not RESP2, is an
//! error of the connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Maximum bytes of one reply. The longest is that to the verifier's `MGET`, some 40 bytes a
/// record.
const MAX_BYTES: usize = 1 << 20;
/// Maximum values of one reply, including nested ones.
const MAX_VALUES: u64 = 1 << 16;
/// Maximum nesting of arrays; `ROLE` has two.
const MAX_DEPTH: usize = 8;
/// Maximum bytes of a length line: the type, the number and CR LF.
const MAX_LENGTH_LINE: usize = 23;

/// A stream that fails when the peer exceeds the limits.
#[derive(Debug)]
pub(super) struct LimitedStream<S> {
    stream: S,
    framing: Framing,
}

impl<S> LimitedStream<S> {
    pub(super) fn new(stream: S) -> Self {
        LimitedStream {
            stream,
            framing: Framing::default(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LimitedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let me = &mut *self;
        std::task::ready!(Pin::new(&mut me.stream).poll_read(cx, buf))?;
        let new = buf.filled().get(before..).unwrap_or_default();
        me.framing
            .feed(new)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LimitedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Why bytes were rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// Not RESP2.
    #[error("not a reply of a Redis server")]
    NotResp,
    /// Beyond a limit.
    #[error("the reply is longer than any expected one")]
    TooLong,
}

/// The position in the current reply.
#[derive(Debug, Default)]
pub struct Framing {
    /// Bytes of this reply so far.
    size: usize,
    /// Values of this reply, including announced ones.
    values: u64,
    /// Values still missing in each open array.
    open: Vec<u64>,
    /// Bytes still missing of a bulk string, with its CR LF.
    body: usize,
    /// The beginning of the current line.
    line_start: Vec<u8>,
    /// The last byte received of the current line.
    last: Option<u8>,
}

impl Framing {
    /// Counts received bytes.
    ///
    /// # Errors
    /// If they are not RESP2, or beyond a limit.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), FramingError> {
        while !bytes.is_empty() {
            let ended;
            let taken = if self.body > 0 {
                let taken = bytes.len().min(self.body);
                self.body -= taken;
                ended = self.body == 0;
                taken
            } else {
                let end = bytes.iter().position(|b| *b == b'\n');
                let taken = end.map_or(bytes.len(), |at| at + 1);
                let room = MAX_LENGTH_LINE - self.line_start.len();
                self.line_start.extend(bytes.iter().take(taken.min(room)));
                if !matches!(
                    self.line_start.first(),
                    Some(b'+' | b'-' | b':' | b'$' | b'*')
                ) {
                    return Err(FramingError::NotResp);
                }
                if let Some(at) = end {
                    let before = at.checked_sub(1).and_then(|i| bytes.get(i));
                    if *before.or(self.last.as_ref()).unwrap_or(&0) != b'\r' {
                        return Err(FramingError::NotResp);
                    }
                }
                ended = end.is_some() && self.end_line()?;
                self.last = bytes.get(taken - 1).copied();
                taken
            };
            self.size += taken;
            if self.size > MAX_BYTES {
                return Err(FramingError::TooLong);
            }
            bytes = bytes.get(taken..).unwrap_or_default();
            if ended {
                self.end_value();
            }
        }
        Ok(())
    }

    /// Ends the current line. Returns whether it ends a value, too.
    fn end_line(&mut self) -> Result<bool, FramingError> {
        let ended = match self.line_start.split_first() {
            Some((b'$', number)) => match announced(number)? {
                None => true,
                Some(length) => {
                    let length = usize::try_from(length).unwrap_or(usize::MAX);
                    self.body = length.checked_add(2).ok_or(FramingError::TooLong)?;
                    if self.body > MAX_BYTES {
                        return Err(FramingError::TooLong);
                    }
                    false
                }
            },
            Some((b'*', number)) => match announced(number)?.unwrap_or(0) {
                0 => true,
                values => {
                    self.values = self.values.saturating_add(values);
                    if self.values > MAX_VALUES || self.open.len() >= MAX_DEPTH {
                        return Err(FramingError::TooLong);
                    }
                    self.open.push(values);
                    false
                }
            },
            _ => true,
        };
        self.line_start.clear();
        Ok(ended)
    }

    fn end_value(&mut self) {
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return;
            }
            self.open.pop();
        }
        self.size = 0;
        self.values = 0;
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
    use proptest::prelude::*;

    use super::*;

    fn fed(bytes: &[u8]) -> Result<bool, FramingError> {
        let mut framing = Framing::default();
        framing.feed(bytes)?;
        Ok(framing.size == 0)
    }

    #[test]
    fn replies_pass_in_pieces_of_any_size() {
        let replies: &[u8] = b"+OK\r\n:-7\r\n$-1\r\n$0\r\n\r\n*-1\r\n*0\r\n-ERR no\r\n\
            $2\r\n\r\n\r\n*3\r\n$6\r\nmaster\r\n:42\r\n*1\r\n*3\r\n\
            $10\r\n127.0.0.12\r\n$4\r\n6379\r\n$2\r\n42\r\n";
        assert_eq!(fed(replies), Ok(true));
        for cut in 1..replies.len() {
            let mut framing = Framing::default();
            for piece in replies.chunks(cut) {
                framing.feed(piece).unwrap();
            }
            assert_eq!((framing.size, framing.open.len()), (0, 0), "by {cut}");
        }
        // More than the limit in total: each reply is counted by itself.
        let many = b"$3\r\nabc\r\n".repeat(MAX_BYTES / 4);
        assert_eq!(fed(&many), Ok(true));
    }

    #[test]
    fn replies_beyond_a_limit_are_rejected_before_they_are_complete() {
        let endless_line = [b"+".as_slice(), &vec![b'a'; MAX_BYTES]].concat();
        let deep = b"*1\r\n".repeat(MAX_DEPTH + 1);
        let wide = b"*60000\r\n*60000\r\n";
        for (bytes, error) in [
            (
                b"HTTP/1.1 400 Bad Request\r\n".as_slice(),
                FramingError::NotResp,
            ),
            (b"\r\n", FramingError::NotResp),
            (b"%1\r\n", FramingError::NotResp),
            (b"$x\r\n", FramingError::NotResp),
            (b"$-2\r\n", FramingError::NotResp),
            (b"$5\n", FramingError::NotResp),
            (b"+OK\nX\r\n", FramingError::NotResp),
            (b"$1000000000\r\n", FramingError::TooLong),
            (b"$18446744073709551615\r\n", FramingError::TooLong),
            (b"*1000000000\r\n", FramingError::TooLong),
            (
                b"$99999999999999999999999999999999\r\n",
                FramingError::NotResp,
            ),
            (&deep, FramingError::TooLong),
            (wide, FramingError::TooLong),
            (&endless_line, FramingError::TooLong),
        ] {
            assert_eq!(
                fed(bytes),
                Err(error),
                "{:?}",
                &bytes[..bytes.len().min(40)]
            );
        }
    }

    proptest! {
        #[test]
        fn every_reply_passes_as_one(text in "([+:$*\\-][0-9a\\-]{0,3}\r\n){1,12}") {
            if let Ok(Some((_, length))) = super::super::reply::read(text.as_bytes()) {
                prop_assert_eq!(fed(&text.as_bytes()[..length]), Ok(true));
            }
        }

        #[test]
        fn any_bytes_are_framed_or_rejected(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = fed(&bytes);
        }
    }
}
