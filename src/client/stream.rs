//! The stream below every connection: says who we are, without waiting for the answer.
//!
//! `AUTH` is sent as soon as the connection stands, and the first command right behind it, so that a password costs
//! no round trip: after a failover that is time without an acknowledged write. Its answer is taken out of what comes
//! back; a refusal is an error of the connection, by its reason.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use crate::access::Login;

/// Longest answer to `AUTH` that is read.
const LONGEST: usize = 512;

/// A TCP connection on which we have said who we are.
#[derive(Debug)]
pub(super) struct Stream {
    tcp: TcpStream,
    /// The answer to `AUTH` is still to come.
    awaited: Option<Login>,
    /// What came in and was not handed on yet.
    ahead: BytesMut,
}

impl Stream {
    /// Says who we are, if there is anything to say.
    pub(super) async fn greet(mut tcp: TcpStream, login: Option<&Login>) -> io::Result<Self> {
        if let Some(login) = login {
            let password = login.password().map_err(io::Error::other)?;
            let (name, password) = (login.user().name(), password.expose_secret());
            let mut auth = Zeroizing::new(Vec::with_capacity(64 + password.len() + name.len()));
            auth.extend_from_slice(b"*3\r\n$4\r\nAUTH\r\n");
            for word in [name, password] {
                auth.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                auth.extend_from_slice(word.as_bytes());
                auth.extend_from_slice(b"\r\n");
            }
            // An empty socket takes so little at once.
            tcp.write_all(&auth).await?;
        }
        Ok(Stream {
            tcp,
            awaited: login.cloned(),
            ahead: BytesMut::new(),
        })
    }

    /// Takes the answer to `AUTH` out of what has come in.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(login) = &self.awaited {
            if let Some(end) = self.ahead.windows(2).position(|w| w == b"\r\n") {
                let line = String::from_utf8_lossy(&self.ahead[..end]).into_owned();
                if line == "+OK" {
                    self.ahead.advance(end + 2);
                } else if let Some(refusal) = refusal(&line, login) {
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
            match Pin::new(&mut self.tcp).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => break,
                Poll::Ready(Ok(())) => self.ahead.extend_from_slice(buffer.filled()),
                other => return other,
            }
        }
        Poll::Ready(Ok(()))
    }
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
        if this.awaited.is_some() {
            match this.poll_answer(cx) {
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
        }
        if !this.ahead.is_empty() {
            let some = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead[..some]);
            this.ahead.advance(some);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
