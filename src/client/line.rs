//! A connection to one node that is made anew where it was lost, and goes on being made when nobody
//! waits for it any more: a handshake that is given up has cost all the same, and the next one
//! would take as long.

use std::net::SocketAddrV4;

use tokio_util::task::AbortOnDropHandle;

use super::{ClientError, Conn, Connector};

/// The connection to one node, for one who asks at a time.
#[derive(Debug)]
pub struct Line {
    to: SocketAddrV4,
    connector: Connector,
    conn: Option<Conn>,
    opening: Option<AbortOnDropHandle<Result<Conn, ClientError>>>,
}

impl Line {
    /// To the server at `to`; connects at the first question.
    pub fn new(to: SocketAddrV4, connector: Connector) -> Self {
        Line {
            to,
            connector,
            conn: None,
            opening: None,
        }
    }

    /// The connection, if there is one.
    pub fn warm(&mut self) -> Option<&mut Conn> {
        self.conn.as_mut()
    }

    /// The connection. May be given up and called again: what has been begun goes on.
    ///
    /// # Errors
    /// When the server can't be reached, or says nothing within the limit.
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

    /// Takes the connection out, if there is one: it has failed, or is given back by [`Line::put`].
    pub fn take(&mut self) -> Option<Conn> {
        self.conn.take()
    }

    /// Gives the connection back.
    pub fn put(&mut self, conn: Conn) {
        self.conn = Some(conn);
    }
}
