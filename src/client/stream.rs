//! The stream below every connection: authenticates without waiting for the answer.
//!
//! `AUTH` is sent as soon as the connection is established, and the first command right after it.
//! So a password costs no round trip, which after a failover would be time without an acknowledged
//! write. The answer to `AUTH` is removed from the received bytes. A refusal is an error of the
//! connection, with its reason.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_util::either::Either;
use tracing::debug;
use zeroize::Zeroizing;

use crate::access::Login;

use super::backoff::Attempt;
use super::tls::{Transport, explain};

/// Longest accepted answer to `AUTH`.
const LONGEST: usize = 512;
/// The start of the answer of a server that has its maximum number of clients
/// (`acceptCommonHandler`).
const TOO_MANY_CLIENTS: &[u8] = b"-ERR max number of clients";

/// The first byte of a TLS alert.
const ALERT: u8 = 0x15;

/// A connection on which `AUTH` has been sent, if the lab uses passwords.
#[derive(Debug)]
pub struct Stream {
    transport: Transport,
    /// Set until the first answer.
    attempt: Option<Attempt>,
    /// Set until the answer to `AUTH`.
    unanswered: Option<Login>,
    /// Received bytes that were not passed on yet.
    buffered: BytesMut,
    /// Why `AUTH` was refused. Later requests fail with this reason, not with that of a closed
    /// connection.
    refused: Arc<OnceLock<String>>,
}

impl Stream {
    /// Sends `AUTH`, if there is a login. With `waits`, waits for the answer.
    pub(super) async fn start(
        mut transport: Transport,
        mut attempt: Attempt,
        login: Option<&Login>,
        waits: bool,
    ) -> io::Result<Self> {
        let mut sent = Ok(());
        if let Some(login) = login {
            let password = login.password().map_err(|error| {
                attempt.failed();
                io::Error::other(error)
            })?;
            let (name, password) = (login.name(), password.expose_secret());
            let mut auth = Zeroizing::new(Vec::with_capacity(64 + password.len() + name.len()));
            auth.extend_from_slice(b"*3\r\n$4\r\nAUTH\r\n");
            for word in [name, password] {
                auth.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                auth.extend_from_slice(word.as_bytes());
                auth.extend_from_slice(b"\r\n");
            }
            // This much fits into the buffer of a new socket.
            sent = async {
                transport.write_all(&auth).await?;
                transport.flush().await
            }
            .await;
        }
        let mut stream = Stream {
            transport,
            attempt: Some(attempt),
            unanswered: login.cloned(),
            buffered: BytesMut::new(),
            refused: Arc::default(),
        };
        if waits {
            // Before an error of sending: the answer has the reason for it.
            poll_fn(|cx| stream.poll_answer(cx)).await?;
        }
        if sent.is_err() {
            stream.failed();
        }
        sent.map(|()| stream)
    }

    /// The connection failed; without an answer so far, the attempt counts as failed.
    fn failed(&mut self) {
        if let Some(mut attempt) = self.attempt.take() {
            attempt.failed();
        }
    }

    /// The server has answered.
    fn answered(&mut self) {
        if let Some(mut attempt) = self.attempt.take() {
            attempt.answered();
        }
    }

    /// Of what was written, the kernel drops what it has not sent when the connection is closed: a
    /// server that cannot be reached now does not receive it later.
    pub fn drop_unsent(&self) {
        let socket = match &self.transport {
            Either::Left(socket) => socket,
            Either::Right(tls) => tls.get_ref().0,
        };
        if let Err(error) = socket.set_zero_linger() {
            debug!(%error, "the kernel may still send what was written");
        }
    }

    /// The underlying connection.
    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The reason of a refused `AUTH`, once it is known.
    pub(super) fn refused(&self) -> Arc<OnceLock<String>> {
        self.refused.clone()
    }

    /// Reads. If the server rejects our certificate, the error occurs here, after the handshake.
    fn poll_transport(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.transport).poll_read(cx, buf);
        read.map_err(explain)
    }

    /// Removes the answer to `AUTH` from the received bytes.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unanswered.is_none() {
            return Poll::Ready(Ok(()));
        }
        let removed = self.remove_answer(cx);
        match &removed {
            Poll::Ready(Ok(())) if self.unanswered.is_none() => self.answered(),
            Poll::Ready(_) => self.failed(),
            Poll::Pending => {}
        }
        removed
    }

    fn remove_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(login) = &self.unanswered {
            if let Some(end) = self.buffered.windows(2).position(|w| w == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffered[..end]).into_owned();
                if line == "+OK" {
                    self.buffered.advance(end + 2);
                } else if let Some(refusal) = refusal(&line, login) {
                    if refusal.kind() == io::ErrorKind::PermissionDenied {
                        // Set once: the first refusal is the reason.
                        let _ = self.refused.set(refusal.to_string());
                    }
                    return Poll::Ready(Err(refusal));
                }
                // Anything else is not an answer to AUTH: the parser reports it.
                self.unanswered = None;
                break;
            }
            if self.buffered.len() > LONGEST {
                self.unanswered = None;
                break;
            }
            let mut bytes = [0; LONGEST];
            let mut buffer = ReadBuf::new(&mut bytes);
            match self.poll_transport(cx, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => match closed_early(self) {
                    Some(error) => return Poll::Ready(Err(error)),
                    None => break,
                },
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Poll::Ready(Err(closed_early(self).unwrap_or(error)));
                }
                Poll::Ready(Ok(())) => self.buffered.extend_from_slice(buffer.filled()),
                other => return other,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The error of a connection that was closed before the first answer. A server with TLS closes it
/// because `AUTH` is not a handshake, with an alert at most. A server that ends closes it too, so
/// this is only a broken connection.
fn closed_early(stream: &Stream) -> Option<io::Error> {
    let alert = stream.buffered.is_empty() || stream.buffered.starts_with(&[ALERT]);
    (alert && matches!(stream.transport, Either::Left(_))).then(|| {
        let why = "it closed the connection before its first answer: it has just stopped, or it \
                   requires TLS and security.tls is not set here";
        io::Error::new(io::ErrorKind::ConnectionReset, why)
    })
}

/// The error of a server that has its maximum number of clients; `None` if `answer` does not begin
/// like that.
fn too_many_clients(answer: &[u8]) -> Option<io::Error> {
    answer.starts_with(TOO_MANY_CLIENTS).then(|| {
        io::Error::new(
            io::ErrorKind::QuotaExceeded,
            "max number of clients reached",
        )
    })
}

/// The error of a refused `AUTH`; `None` if the line is not a refusal.
fn refusal(line: &str, login: &Login) -> Option<io::Error> {
    if let Some(refusal) = too_many_clients(line.as_bytes()) {
        return Some(refusal);
    }
    let user = login.name();
    let why = if line.starts_with("-WRONGPASS") {
        format!(
            "authentication failed for user {user} (WRONGPASS); check that both use the same \
             secrets folder"
        )
    } else if line.starts_with("-ERR AUTH") || line.starts_with("-ERR unknown command") {
        format!(
            "it does not accept users ({}); check that it was started with security.acl",
            &line[1..]
        )
    } else {
        return None;
    };
    Some(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match this.poll_answer(cx) {
            Poll::Ready(Ok(())) => {}
            other => return other,
        }
        if !this.buffered.is_empty() {
            let some = this.buffered.len().min(buf.remaining());
            buf.put_slice(&this.buffered[..some]);
            this.buffered.advance(some);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = std::task::ready!(this.poll_transport(cx, buf));
        if this.attempt.is_some() {
            let answer = &buf.filled()[before..];
            if let Some(refusal) = too_many_clients(answer) {
                this.failed();
                return Poll::Ready(Err(refusal));
            }
            match &read {
                Ok(()) if !answer.is_empty() => this.answered(),
                _ => this.failed(),
            }
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.transport).poll_write(cx, buf) {
            Poll::Ready(Err(error)) => {
                self.failed();
                let reason = self.unanswered.is_some().then(|| closed_early(&self));
                Poll::Ready(Err(reason.flatten().unwrap_or(error)))
            }
            other => other,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.transport).poll_flush(cx);
        if let Poll::Ready(Err(_)) = flushed {
            self.failed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}
