//! A connection to one node that is opened again after it was lost.
//!
//! It is opened in a task of its own, which continues when the caller stops waiting: an abandoned
//! handshake has already cost its time, and the next one would take as long.

use std::net::SocketAddrV4;

use tokio_util::task::AbortOnDropHandle;

use super::{ClientError, Conn, Connector};

/// The connection to one node, for one user at a time.
#[derive(Debug)]
pub struct ReconnectingConn {
    to: SocketAddrV4,
    connector: Connector,
    conn: Option<Conn>,
    opening: Option<AbortOnDropHandle<Result<Conn, ClientError>>>,
}

impl ReconnectingConn {
    /// A connection to the server at `to`; it is opened at the first use.
    pub fn new(to: SocketAddrV4, connector: Connector) -> Self {
        ReconnectingConn {
            to,
            connector,
            conn: None,
            opening: None,
        }
    }

    /// The connection, if it is open.
    pub fn opened(&mut self) -> Option<&mut Conn> {
        self.conn.as_mut()
    }

    /// The connection, opened if necessary. Cancel-safe: the next call continues.
    ///
    /// # Errors
    /// If the server can't be reached, or does not answer within the limit.
    pub async fn conn(&mut self) -> Result<&mut Conn, ClientError> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => {
                let opening = self.opening.get_or_insert_with(|| {
                    let (connector, to) = (self.connector.clone(), self.to);
                    AbortOnDropHandle::new(tokio::spawn(async move { connector.open(to).await }))
                });
                let opened = opening.await;
                self.opening = None;
                opened.map_err(|ended| ClientError::Connect {
                    to: self.to,
                    why: ended.to_string(),
                })??
            }
        };
        Ok(self.conn.insert(conn))
    }

    /// Takes the connection out, if it is open, to drop it or to return it by
    /// [`ReconnectingConn::put`].
    pub fn take(&mut self) -> Option<Conn> {
        self.conn.take()
    }

    /// Returns the connection.
    pub fn put(&mut self, conn: Conn) {
        self.conn = Some(conn);
    }
}
