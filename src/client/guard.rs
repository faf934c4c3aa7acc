//! A limit on what a peer may say, below the parser of the crate `redis`.
//!
//! That parser takes a reply of any size, and asks for more until it is whole: a peer that begins
//! one and never stops fills the memory, at the speed of the network, until a time limit ends the
//! question. Here the bytes are counted as they come in, reply by reply; what is longer, deeper or
//! of more parts than any answer that the lab asks for, or no RESP2 at all, is an error of the
//! connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes of one reply. The longest that is asked for is the `MGET` of the verifier, some 40
/// bytes a record.
const LONGEST: usize = 1 << 20;
/// Most values of one reply, with those in it.
const PARTS: u64 = 1 << 16;
/// Most arrays in each other; `ROLE` has two.
const DEEPEST: usize = 8;
/// A length or a number of parts, with what says which.
const HEAD: usize = 23;

/// A connection whose other end can't say more than it is asked for.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    stream: S,
    framing: Framing,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S) -> Self {
        Guarded {
            stream,
            framing: Framing::default(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
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
            .map_err(|refused| io::Error::new(io::ErrorKind::InvalidData, refused))?;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
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

/// What a peer said that nobody listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not RESP2.
    #[error("what answers there is no Redis server")]
    NotResp,
    /// More than any answer has.
    #[error("its answer is longer than any that was asked for")]
    TooLong,
}

/// Where in which reply the bytes are.
#[derive(Debug, Default)]
pub struct Framing {
    /// Bytes of this reply.
    size: usize,
    /// Values of this reply, announced ones too.
    parts: u64,
    /// Values that are left in each array that is open.
    open: Vec<u64>,
    /// Bytes of a bulk string that are left, with its CR LF.
    body: usize,
    /// The beginning of the line.
    head: Vec<u8>,
    /// The last byte of what has come in of the line.
    last: Option<u8>,
}

impl Framing {
    /// Takes what has come in.
    ///
    /// # Errors
    /// When it is not part of a reply that can be expected.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Refused> {
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
                let room = HEAD - self.head.len();
                self.head.extend(bytes.iter().take(taken.min(room)));
                if !matches!(self.head.first(), Some(b'+' | b'-' | b':' | b'$' | b'*')) {
                    return Err(Refused::NotResp);
                }
                if let Some(at) = end {
                    let before = at.checked_sub(1).and_then(|i| bytes.get(i));
                    if *before.or(self.last.as_ref()).unwrap_or(&0) != b'\r' {
                        return Err(Refused::NotResp);
                    }
                }
                ended = end.is_some() && self.line()?;
                self.last = bytes.get(taken - 1).copied();
                taken
            };
            self.size += taken;
            if self.size > LONGEST {
                return Err(Refused::TooLong);
            }
            bytes = bytes.get(taken..).unwrap_or_default();
            if ended {
                self.value_ended();
            }
        }
        Ok(())
    }

    /// A line has ended; whether a value has, too.
    fn line(&mut self) -> Result<bool, Refused> {
        let ended = match self.head.split_first() {
            Some((b'$', number)) => match announced(number)? {
                None => true,
                Some(length) => {
                    let length = usize::try_from(length).unwrap_or(usize::MAX);
                    self.body = length.checked_add(2).ok_or(Refused::TooLong)?;
                    if self.body > LONGEST {
                        return Err(Refused::TooLong);
                    }
                    false
                }
            },
            Some((b'*', number)) => match announced(number)?.unwrap_or(0) {
                0 => true,
                parts => {
                    self.parts = self.parts.saturating_add(parts);
                    if self.parts > PARTS || self.open.len() >= DEEPEST {
                        return Err(Refused::TooLong);
                    }
                    self.open.push(parts);
                    false
                }
            },
            _ => true,
        };
        self.head.clear();
        Ok(ended)
    }

    fn value_ended(&mut self) {
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return;
            }
            self.open.pop();
        }
        self.size = 0;
        self.parts = 0;
    }
}

/// A length or a number of parts, with its CR LF; -1 stands for *null*.
fn announced(line: &[u8]) -> Result<Option<u64>, Refused> {
    let number = line.strip_suffix(b"\r\n").ok_or(Refused::NotResp)?;
    if number == b"-1" {
        return Ok(None);
    }
    let text = std::str::from_utf8(number).map_err(|_| Refused::NotResp)?;
    text.parse().map(Some).map_err(|_| Refused::NotResp)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fed(bytes: &[u8]) -> Result<bool, Refused> {
        let mut framing = Framing::default();
        framing.feed(bytes)?;
        Ok(framing.size == 0)
    }

    #[test]
    fn replies_pass_however_they_are_cut() {
        let replies: &[u8] = b"+OK\r\n:-7\r\n$-1\r\n$0\r\n\r\n*-1\r\n*0\r\n-ERR no\r\n$2\r\n\r\n\r\n\
            *3\r\n$6\r\nmaster\r\n:42\r\n*1\r\n*3\r\n$10\r\n127.0.0.12\r\n$4\r\n6379\r\n$2\r\n42\r\n";
        assert_eq!(fed(replies), Ok(true));
        for cut in 1..replies.len() {
            let mut framing = Framing::default();
            for piece in replies.chunks(cut) {
                framing.feed(piece).unwrap();
            }
            assert_eq!((framing.size, framing.open.len()), (0, 0), "by {cut}");
        }
        // As many as there may be, one after the other: each counts for itself.
        let many = b"$3\r\nabc\r\n".repeat(LONGEST / 4);
        assert_eq!(fed(&many), Ok(true));
    }

    #[test]
    fn what_has_no_end_is_refused_before_it_is_there() {
        let endless_line = [b"+".as_slice(), &vec![b'a'; LONGEST]].concat();
        let deep = b"*1\r\n".repeat(DEEPEST + 1);
        let wide = b"*60000\r\n*60000\r\n";
        for (bytes, refused) in [
            (b"HTTP/1.1 400 Bad Request\r\n".as_slice(), Refused::NotResp),
            (b"\r\n", Refused::NotResp),
            (b"%1\r\n", Refused::NotResp),
            (b"$x\r\n", Refused::NotResp),
            (b"$-2\r\n", Refused::NotResp),
            (b"$5\n", Refused::NotResp),
            (b"+OK\nX\r\n", Refused::NotResp),
            (b"$1000000000\r\n", Refused::TooLong),
            (b"$18446744073709551615\r\n", Refused::TooLong),
            (b"*1000000000\r\n", Refused::TooLong),
            (b"$99999999999999999999999999999999\r\n", Refused::NotResp),
            (&deep, Refused::TooLong),
            (wide, Refused::TooLong),
            (&endless_line, Refused::TooLong),
        ] {
            assert_eq!(
                fed(bytes),
                Err(refused),
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
        fn any_bytes_are_framed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = fed(&bytes);
        }
    }
}
