//! The stream below every connection: says who we are, without waiting for the answer.
//!
//! `AUTH` is sent as soon as the connection stands, and the first command right behind it, so that
//! a password costs no round trip: after a failover that is time without an acknowledged write. Its
//! answer is taken out of what comes back; a refusal is an error of the connection, by its reason.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_util::either::Either;
use zeroize::Zeroizing;

use crate::access::Login;

use super::retry::Call;
use super::tls::{Transport, explained};

/// Longest answer to `AUTH` that is read.
const LONGEST: usize = 512;

/// The first byte of an alert of TLS.
const ALERT: u8 = 0x15;

/// A connection on which we have said who we are.
#[derive(Debug)]
pub(super) struct Stream {
    transport: Transport,
    /// There was no answer yet.
    call: Option<Call>,
    /// The answer to `AUTH` is still to come.
    awaited: Option<Login>,
    /// What came in and was not handed on yet.
    ahead: BytesMut,
    /// Why we were refused. Who asks something a moment later is told that, and not that the
    /// connection is closed.
    refused: Arc<OnceLock<String>>,
}

impl Stream {
    /// Says who we are, if there is anything to say. `waits`: until that is answered.
    pub(super) async fn greet(
        mut transport: Transport,
        mut call: Call,
        login: Option<&Login>,
        waits: bool,
    ) -> io::Result<Self> {
        let mut said = Ok(());
        if let Some(login) = login {
            let password = login.password().map_err(|error| {
                call.in_vain();
                io::Error::other(error)
            })?;
            let (name, password) = (login.user().name(), password.expose_secret());
            let mut auth = Zeroizing::new(Vec::with_capacity(64 + password.len() + name.len()));
            auth.extend_from_slice(b"*3\r\n$4\r\nAUTH\r\n");
            for word in [name, password] {
                auth.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                auth.extend_from_slice(word.as_bytes());
                auth.extend_from_slice(b"\r\n");
            }
            // An empty socket takes so little at once.
            said = async {
                transport.write_all(&auth).await?;
                transport.flush().await
            }
            .await;
        }
        let mut stream = Stream {
            transport,
            call: Some(call),
            awaited: login.cloned(),
            ahead: BytesMut::new(),
            refused: Arc::default(),
        };
        if waits {
            // Before what it may say of our own word: why it did not listen.
            poll_fn(|cx| stream.poll_answer(cx)).await?;
        }
        if said.is_err() {
            stream.in_vain();
        }
        said.map(|()| stream)
    }

    /// The connection came to nothing, if it had no answer yet.
    fn in_vain(&mut self) {
        if let Some(mut call) = self.call.take() {
            call.in_vain();
        }
    }

    /// There is an answer.
    fn answered(&mut self) {
        if let Some(mut call) = self.call.take() {
            call.answered();
        }
    }

    /// What the connection runs on.
    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Why we were refused, as soon as that is known.
    pub(super) fn refused(&self) -> Arc<OnceLock<String>> {
        self.refused.clone()
    }

    /// Reads. A server's judgement of our certificate comes after the handshake, as an error here.
    fn poll_transport(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.transport).poll_read(cx, buf);
        read.map_err(explained)
    }

    /// Takes the answer to `AUTH` out of what has come in.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.awaited.is_none() {
            return Poll::Ready(Ok(()));
        }
        let taken = self.take_answer(cx);
        match &taken {
            Poll::Ready(Ok(())) if self.awaited.is_none() => self.answered(),
            Poll::Ready(_) => self.in_vain(),
            Poll::Pending => {}
        }
        taken
    }

    fn take_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(login) = &self.awaited {
            if let Some(end) = self.ahead.windows(2).position(|w| w == b"\r\n") {
                let line = String::from_utf8_lossy(&self.ahead[..end]).into_owned();
                if line == "+OK" {
                    self.ahead.advance(end + 2);
                } else if let Some(refusal) = refusal(&line, login) {
                    // Set once: the first refusal is the reason.
                    let _ = self.refused.set(refusal.to_string());
                    return Poll::Ready(Err(refusal));
                }
                // Anything else is no answer to AUTH: whoever reads on will say what it is.
                self.awaited = None;
                break;
            }
            if self.ahead.len() > LONGEST {
                self.awaited = None;
                break;
            }
            let mut room = [0; LONGEST];
            let mut buffer = ReadBuf::new(&mut room);
            match self.poll_transport(cx, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => match hung_up(self) {
                    Some(error) => return Poll::Ready(Err(error)),
                    None => break,
                },
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Poll::Ready(Err(hung_up(self).unwrap_or(error)));
                }
                Poll::Ready(Ok(())) => self.ahead.extend_from_slice(buffer.filled()),
                other => return other,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// A server with TLS takes our first word for a broken handshake: it hangs up, with an alert at
/// most. One that dies does too, so this is no more than a connection that broke.
fn hung_up(stream: &Stream) -> Option<io::Error> {
    let alert = stream.ahead.is_empty() || stream.ahead.starts_with(&[ALERT]);
    (alert && matches!(stream.transport, Either::Left(_))).then(|| {
        let why =
            "it ended the connection at our first word: it has just ended, or it speaks TLS and security.tls is not set here";
        io::Error::new(io::ErrorKind::ConnectionReset, why)
    })
}

/// What a refusal of `AUTH` is as an error; nothing when the line is none.
fn refusal(line: &str, login: &Login) -> Option<io::Error> {
    let user = login.user().name();
    let why = if line.starts_with("-WRONGPASS") {
        format!(
            "it knows no user {user} with our password (WRONGPASS): are both of one lab, and its secrets?"
        )
    } else if line.starts_with("-ERR AUTH") || line.starts_with("-ERR unknown command") {
        format!(
            "it has no users ({}): was it started without security.acl?",
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
        if !this.ahead.is_empty() {
            let some = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead[..some]);
            this.ahead.advance(some);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = std::task::ready!(this.poll_transport(cx, buf));
        if this.call.is_some() {
            match &read {
                Ok(()) if buf.filled().len() > before => this.answered(),
                _ => this.in_vain(),
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
            Poll::Ready(Err(error)) if self.awaited.is_some() => {
                Poll::Ready(Err(hung_up(&self).unwrap_or(error)))
            }
            other => other,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}
