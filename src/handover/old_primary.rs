//! The old primary of a handover: its writes are paused, then it becomes a replica.

use std::net::SocketAddrV4;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::access::name_by_proxy;
use crate::client::{
    ClientError, Conn, Connector, Role, disconnect_clients, disconnect_clients_of, set_mark,
};
use crate::config::{Lab, Node};
use crate::protocol::copy::DataCopy;

use super::RETRY_PAUSE;

/// Time limit to resume writes on the old primary.
const RESUME_LIMIT: Duration = Duration::from_secs(1);

/// The old primary. A connection that fails is opened again.
pub(super) struct OldPrimary<'a> {
    pub(super) node: &'a Node,
    pub(super) connector: &'a Connector,
    /// Maximum pause of writes, in case this process dies, and time limit to follow the promoted
    /// node.
    pub(super) limit: Duration,
    pub(super) conn: Option<Conn>,
    /// The users whose clients are disconnected; `None` for all.
    pub(super) users: Option<Vec<String>>,
    /// Its replication history when writes were paused.
    pub(super) history: Option<String>,
    /// Why writes could not be paused.
    pub(super) pause_error: Option<ClientError>,
}

impl OldPrimary<'_> {
    /// Marks the copy and pauses writes; retries until it succeeds.
    pub(super) async fn pause(&mut self) -> Instant {
        while let Err(error) = self.mark_and_pause().await {
            debug!(%error, "handover: writes are not paused yet");
            self.pause_error = Some(error);
            sleep(RETRY_PAUSE).await;
        }
        Instant::now()
    }

    /// Marks the copy and pauses writes in one step, so that a copy with the mark has every write
    /// before the pause.
    async fn mark_and_pause(&mut self) -> Result<(), ClientError> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.connector.open(self.node.socket()).await?,
        };
        let (info, held) = conn.info_and_copy().await?;
        let mut pipe = redis::pipe();
        // During an earlier pause, the write of the mark would wait for its end.
        pipe.cmd("CLIENT").arg("UNPAUSE");
        if let Some(mark) = held.as_ref().and_then(DataCopy::mark) {
            pipe.add_command(set_mark(&mark.next(mark.epoch, mark.state)));
        }
        let limit_ms = u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX);
        pipe.cmd("CLIENT").arg("PAUSE").arg(limit_ms).arg("WRITE");
        conn.all(&pipe).await?;
        self.history = Some(info.replication_id);
        self.conn = Some(conn);
        Ok(())
    }

    /// Ends the pause of writes.
    pub(super) async fn resume(&mut self) -> Result<(), ClientError> {
        let cmd = redis::cmd("CLIENT").arg("UNPAUSE").clone();
        let deadline = Instant::now() + RESUME_LIMIT;
        loop {
            match self.send(&cmd).await {
                Err(_) if Instant::now() < deadline => sleep(RETRY_PAUSE).await,
                done => return done,
            }
        }
    }

    async fn send(&mut self, cmd: &redis::Cmd) -> Result<(), ClientError> {
        // Taken out while in use, so that a connection is not used again after a failed or
        // abandoned command.
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.connector.open(self.node.socket()).await?,
        };
        conn.query::<redis::Value>(cmd).await?;
        self.conn = Some(conn);
        Ok(())
    }

    /// Makes it a replica of `new`.
    pub(super) async fn follow(&mut self, new: SocketAddrV4) -> Result<(), ClientError> {
        let deadline = Instant::now() + self.limit;
        loop {
            match self.try_to_follow(new).await {
                Err(error) if Instant::now() < deadline => {
                    debug!(%error, "handover: the old primary does not follow yet");
                    sleep(RETRY_PAUSE).await;
                }
                done => return done,
            }
        }
    }

    async fn try_to_follow(&mut self, new: SocketAddrV4) -> Result<(), ClientError> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => {
                let mut conn = self.connector.open(self.node.socket()).await?;
                // The answer was lost, or its supervisor or a Sentinel was first.
                if matches!(conn.role().await?, Role::Replica { .. }) {
                    return Ok(());
                }
                conn
            }
        };
        let disconnect = match &self.users {
            None => vec![disconnect_clients()],
            Some(users) => users
                .iter()
                .map(|user| disconnect_clients_of(user))
                .collect(),
        };
        change_primary(&mut conn, new, None, disconnect).await
    }
}

/// The users whose clients a handover disconnects: all but those of clients of `halab proxy`, if
/// there are any. Their paused writes are refused (`READONLY`), so the proxy knows that they were
/// not executed. A client that is disconnected does not know that.
pub(super) async fn users_to_disconnect(conn: &mut Conn, lab: &Lab) -> Option<Vec<String>> {
    let all: Vec<String> = conn.query(redis::cmd("ACL").arg("USERS")).await.ok()?;
    let by_proxy: Vec<String> = lab
        .apps
        .iter()
        .map(|app| name_by_proxy(&app.name))
        .collect();
    let is_other = |user: &String| !by_proxy.contains(user);
    let others: Vec<String> = all.iter().filter(|user| is_other(user)).cloned().collect();
    (others.len() < all.len()).then_some(others)
}

/// Makes the server a replica of `new`, and disconnects its clients, in one transaction: no client
/// takes it for a primary any longer. `first` is executed first in the same transaction.
///
/// # Errors
/// If it can't be reached.
pub async fn demote(
    old: &mut Conn,
    new: SocketAddrV4,
    first: Option<redis::Cmd>,
) -> Result<(), ClientError> {
    change_primary(old, new, first, vec![disconnect_clients()]).await
}

/// Also ends a pause of writes. A paused write is not executed: the server is a replica by then.
async fn change_primary(
    old: &mut Conn,
    new: SocketAddrV4,
    first: Option<redis::Cmd>,
    disconnect: Vec<redis::Cmd>,
) -> Result<(), ClientError> {
    let mut pipe = redis::pipe();
    pipe.cmd("MULTI");
    if let Some(first) = first {
        pipe.add_command(first);
    }
    pipe.cmd("REPLICAOF")
        .arg(new.ip().to_string())
        .arg(new.port());
    for cmd in disconnect {
        pipe.add_command(cmd);
    }
    pipe.cmd("CLIENT").arg("UNPAUSE");
    pipe.cmd("EXEC");
    old.all(&pipe).await?;
    Ok(())
}
