//! How a client reaches the primary.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use crate::access::{Account, User};
use crate::client::{ClientError, Conn, Connector};
use crate::config::Lab;
use crate::sentinel::SentinelClients;

use super::calls::APPLICATION;

/// Time limit of a call through a proxy: longer than it waits for a primary, and for a
/// confirmation.
const PROXY_LIMIT: Duration = Duration::from_secs(30);
/// Time limit of a call at a server, as applications have one.
const SERVER_LIMIT: Duration = Duration::from_secs(5);

/// How clients reach the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Through a proxy at that address.
    Proxy(SocketAddrV4),
    /// At the node that the Sentinels name as primary.
    Direct,
}

/// Opens the connections of one client.
#[derive(Debug)]
pub(super) struct ClientConnector {
    connector: Connector,
    at: Destination,
}

#[derive(Debug)]
enum Destination {
    Proxy(SocketAddrV4),
    Named(Arc<SentinelClients>),
}

impl Route {
    /// The connections of one client. Must be called within a runtime.
    pub(super) fn connect(self, lab: &Lab) -> ClientConnector {
        let mut lab = lab.clone();
        if let Route::Proxy(_) = self {
            lab.security.tls = lab.proxy_uses_tls();
            lab.security.mutual_tls &= lab.security.tls;
        }
        let connector = match Account::named(&lab, APPLICATION) {
            Some(account) => Connector::new(&lab, account),
            None => Connector::new(&lab, User::Operator),
        };
        match self {
            Route::Proxy(address) => ClientConnector {
                connector: connector.with_answer_limit(PROXY_LIMIT),
                at: Destination::Proxy(address),
            },
            Route::Direct => ClientConnector {
                at: Destination::Named(Arc::new(SentinelClients::new(&lab, connector.clone()))),
                connector: connector.with_answer_limit(SERVER_LIMIT),
            },
        }
    }
}

impl ClientConnector {
    /// Opens a connection; none if there is no primary, or it can't be reached.
    pub(super) async fn open(&self) -> Option<Conn> {
        let to = match &self.at {
            Destination::Proxy(address) => *address,
            Destination::Named(sentinels) => sentinels.ask().await.elect().ok()?.address,
        };
        let opened: Result<Conn, ClientError> = self.connector.open(to).await;
        opened.ok()
    }
}
