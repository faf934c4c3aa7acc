//! Commands and idle connections to a server.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::Conn;
use crate::drill::environment::EnvironmentError;
use crate::drill::faults::{FaultContext, InjectionError};

/// Time that a connection may take to be accepted.
const ACCEPT_LIMIT: Duration = Duration::from_secs(2);

impl FaultContext<'_> {
    /// A connection with the rights of the operator.
    pub(in crate::drill::faults) async fn open(&self, node: &str) -> Result<Conn, InjectionError> {
        let socket = self.node(node)?.socket();
        let opened = self.observer.connector.open(socket).await;
        Ok(opened.map_err(|error| EnvironmentError::server(node, error))?)
    }

    /// Opens idle connections.
    pub(in crate::drill::faults) async fn open_idle(
        &self,
        node: &str,
        count: usize,
    ) -> Result<Vec<TcpStream>, InjectionError> {
        let socket = self.node(node)?.socket();
        let mut open = Vec::with_capacity(count);
        for _ in 0..count {
            match timeout(ACCEPT_LIMIT, TcpStream::connect(socket)).await {
                Ok(stream) => open.push(stream.map_err(EnvironmentError::unavailable)?),
                Err(_) => {
                    let text = format!("{node} accepts no more than {} connections", open.len());
                    return Err(InjectionError::Missed(text));
                }
            }
        }
        Ok(open)
    }
}

/// `CONFIG SET`, on a connection to that node.
pub(in crate::drill::faults) async fn set_config(
    conn: &mut Conn,
    node: &str,
    parameter: &str,
    value: usize,
) -> Result<(), InjectionError> {
    let mut cmd = redis::cmd("CONFIG");
    cmd.arg("SET").arg(parameter).arg(value);
    let set = conn.query::<redis::Value>(&cmd).await;
    set.map_err(|error| EnvironmentError::server(node, error))?;
    Ok(())
}
