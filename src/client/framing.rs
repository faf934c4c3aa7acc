//! Limits on replies, below the parser of the crate `redis`.
//!
//! That parser accepts a reply of any size and buffers it until it is complete. A peer that sends
//! an endless reply fills the memory, at the speed of the network, until a time limit ends the
//! request. So the bytes of each reply are counted as they arrive ([`crate::resp`]). A reply that
//! is longer, more deeply nested or of more values than any that the lab asks for, or that is not
//! RESP2, is an error of the connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::resp::{ReplyFraming, ReplyLimits};

/// The replies that the lab asks for.
pub const LIMITS: ReplyLimits = ReplyLimits {
    is_resp3: false,
    // The longest is that to the verifier's `MGET`, some 40 bytes a record.
    bytes: 1 << 20,
    values: 1 << 16,
    // `ROLE` has two.
    depth: 8,
};

/// A stream that fails when the peer exceeds the limits.
#[derive(Debug)]
pub(super) struct LimitedStream<S> {
    stream: S,
    framing: ReplyFraming,
}

impl<S> LimitedStream<S> {
    pub(super) fn new(stream: S) -> Self {
        LimitedStream {
            stream,
            framing: ReplyFraming::new(LIMITS),
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
            .read_all(new)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::resp::FramingError;

    use super::*;

    const MAX_BYTES: usize = LIMITS.bytes as usize;

    fn fed(bytes: &[u8]) -> Result<bool, FramingError> {
        let mut framing = ReplyFraming::new(LIMITS);
        framing.read_all(bytes)?;
        Ok(framing.is_at_start())
    }

    #[test]
    fn replies_pass_in_pieces_of_any_size() {
        let replies: &[u8] = b"+OK\r\n:-7\r\n$-1\r\n$0\r\n\r\n*-1\r\n*0\r\n-ERR no\r\n\
            $2\r\n\r\n\r\n*3\r\n$6\r\nmaster\r\n:42\r\n*1\r\n*3\r\n\
            $10\r\n127.0.0.12\r\n$4\r\n6379\r\n$2\r\n42\r\n";
        assert_eq!(fed(replies), Ok(true));
        for cut in 1..replies.len() {
            let mut framing = ReplyFraming::new(LIMITS);
            for piece in replies.chunks(cut) {
                framing.read_all(piece).unwrap();
            }
            assert!(framing.is_at_start(), "by {cut}");
        }
        // More than the limit in total: each reply is counted by itself.
        let many = b"$3\r\nabc\r\n".repeat(MAX_BYTES / 4);
        assert_eq!(fed(&many), Ok(true));
    }

    #[test]
    fn replies_beyond_a_limit_are_rejected_before_they_are_complete() {
        let endless_line = [b"+".as_slice(), &vec![b'a'; MAX_BYTES]].concat();
        let deep = b"*1\r\n".repeat(LIMITS.depth + 1);
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
