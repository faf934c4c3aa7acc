//! The connection to the primary on behalf of one client.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::client::Stream;
use crate::confirmation::Session;
use crate::protocol::ack::Coverage;

use super::BUFFER_MAX;
use super::pipeline::AnswerState;

/// Bytes of one read.
const READ: usize = 16 * 1024;

/// The connection to the primary.
#[derive(Debug)]
pub(super) struct PrimaryLink {
    pub(super) session: Arc<Session>,
    pub(super) coverage: watch::Receiver<Coverage>,
    pub(super) stream: Stream,
    /// To be written to the primary.
    pub(super) out: BytesMut,
    pub(super) answers: AnswerState,
    pub(super) opened: Instant,
    /// The keeper asks on behalf of this client.
    is_asking: bool,
}

impl Drop for PrimaryLink {
    fn drop(&mut self) {
        self.ask(false);
    }
}

impl PrimaryLink {
    /// A new connection, on which nothing has been sent.
    pub(super) fn new(session: Arc<Session>, stream: Stream) -> Self {
        PrimaryLink {
            coverage: session.coverage(),
            session,
            stream,
            out: BytesMut::new(),
            answers: AnswerState::default(),
            opened: Instant::now(),
            is_asking: false,
        }
    }

    /// Whether more commands may be sent.
    pub(super) fn can_send(&self) -> bool {
        self.out.len() < BUFFER_MAX
    }

    /// Whether the keeper asks on behalf of this client.
    pub(super) fn is_asking(&self) -> bool {
        self.is_asking
    }

    /// Has the keeper ask, or no longer.
    pub(super) fn ask(&mut self, wanted: bool) {
        match (self.is_asking, wanted) {
            (false, true) => self.session.sent(),
            (true, false) => self.session.done(),
            _ => {}
        }
        self.is_asking = wanted;
    }
}

/// Writes as much as possible; ready when all is written.
pub(super) fn poll_write_all<S: AsyncWrite + Unpin>(
    stream: &mut S,
    bytes: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while !bytes.is_empty() {
        let written = std::task::ready!(Pin::new(&mut *stream).poll_write(cx, bytes))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        bytes.advance(written);
    }
    // With TLS, a part may still be in the local buffer, also if all was written before.
    Pin::new(stream).poll_flush(cx)
}

/// Reads once; 0 at the end.
pub(super) fn poll_read_some<S: AsyncRead + Unpin>(
    stream: &mut S,
    to: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut chunk = [std::mem::MaybeUninit::uninit(); READ];
    let mut chunk = ReadBuf::uninit(&mut chunk);
    std::task::ready!(Pin::new(stream).poll_read(cx, &mut chunk))?;
    to.extend_from_slice(chunk.filled());
    Poll::Ready(Ok(chunk.filled().len()))
}
