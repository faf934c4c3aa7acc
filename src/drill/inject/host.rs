//! Faults of the host: what a server needs of its machine and does not get, and what its disk gives back.
//!
//! Each is undone here, also after an error: it is done to a lab of the drill's own, which ends with the drill.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{Conn, room_for};
use crate::drill::ground::GroundError;
use crate::drill::limits::OPEN_FILES;
use crate::drill::slow::Held;

use super::files::Harm;
use super::{GO_ON_LIMIT, Scene, Trouble};

/// Connections that say nothing.
const IDLE: usize = 5000;
/// How long one of them may take to be accepted.
const ACCEPT_LIMIT: Duration = Duration::from_secs(2);

impl Scene<'_> {
    /// Less memory than the server uses.
    pub(super) async fn maxmemory_reached(&mut self, p: &str) -> Result<(), Trouble> {
        self.strike(format!("maxmemory of {p} set below what it uses"));
        let mut admin = self.open(p).await?;
        self.set(&mut admin, p, "maxmemory", 1).await?;
        let watched = self.no_failover_from(p).await;
        let said = self.load.refused().unwrap_or_default();
        self.note_told("the writer", "raise it or delete keys", &said);
        self.set(&mut admin, p, "maxmemory", 0).await?;
        watched
    }

    pub(super) async fn idle_connections(&mut self, p: &str) -> Result<(), Trouble> {
        room_for(IDLE).map_err(unavailable)?;
        self.strike(format!("{IDLE} connections to {p} that say nothing"));
        let held = self.connect_idle(p, IDLE).await?;
        let watched = self.no_failover_from(p).await;
        drop(held);
        watched
    }

    pub(super) async fn torn_append_only_file(&mut self, p: &str) -> Result<(), Trouble> {
        self.restart_with(p, Harm::Tear).await?;
        self.writes_go_on(GO_ON_LIMIT).await
    }

    pub(super) async fn damaged_append_only_file(&mut self, p: &str) -> Result<(), Trouble> {
        let before = self.ground.log_of(p).len();
        self.restart_with(p, Harm::Damage).await?;
        self.hear(p, before, "copied anew from there").await?;
        self.writes_go_on(GO_ON_LIMIT).await
    }

    pub(super) async fn no_connections_left(&mut self, p: &str) -> Result<(), Trouble> {
        let before = self.ground.log_of(p).len();
        self.strike(format!("all connections of {p} are taken"));
        let held = self.connect_idle(p, OPEN_FILES).await?;
        self.is_refused(p).await?;
        let watched = self.no_failover_from(p).await;
        self.hear(p, before, "ulimit -n").await?;
        drop(held);
        watched
    }

    pub(super) async fn slow_disk(&mut self, p: &str) -> Result<(), Trouble> {
        self.strike(format!("the disk of {p} is slow"));
        self.ground.slow_disk(p, Held::WritesAndSyncs).await?;
        self.no_failover_from(p).await
    }

    pub(super) async fn clock_steps(&mut self, p: &str) -> Result<(), Trouble> {
        let sentinel = self.ground.lab.sentinels.first().map(|n| n.name.clone());
        let sentinel = sentinel.ok_or_else(|| Trouble::Missed("there is no Sentinel".into()))?;
        let before = self.ground.log_of(&sentinel).len();
        let nodes = [sentinel.clone(), p.to_owned()];
        for (by, where_to) in [("+1h", "ahead"), ("-1h", "behind")] {
            let names = nodes.join(" and ");
            self.strike(format!("the clocks of {names} an hour {where_to}"));
            for name in &nodes {
                self.ground.step_clock(name, by)?;
            }
            self.no_failover_from(p).await?;
        }
        self.hear(&sentinel, before, "slewed, not stepped").await
    }

    /// That the node takes no newcomer. What that one is told may be lost with the connection: Redis closes it with
    /// the newcomer's own words unread.
    async fn is_refused(&self, node: &str) -> Result<(), Trouble> {
        let role = match self.open(node).await {
            Ok(mut conn) => conn.role().await.is_ok(),
            Err(_) => false,
        };
        if role {
            return Err(Trouble::Missed(format!("{node} takes one more connection")));
        }
        Ok(())
    }

    pub(super) async fn open(&self, node: &str) -> Result<Conn, GroundError> {
        let socket = self.ground.lab.node(node).map(crate::config::Node::socket);
        let socket = socket.ok_or_else(|| refused(node, "there is no such node"))?;
        let opened = self.observer.connector.open(socket).await;
        opened.map_err(|e| refused(node, e))
    }

    /// `CONFIG SET`, on a connection to that node.
    pub(super) async fn set(
        &self,
        admin: &mut Conn,
        node: &str,
        parameter: &str,
        value: usize,
    ) -> Result<(), GroundError> {
        let mut cmd = redis::cmd("CONFIG");
        cmd.arg("SET").arg(parameter).arg(value);
        let set = admin.query::<redis::Value>(&cmd).await;
        set.map(drop).map_err(|e| refused(node, e))
    }

    async fn connect_idle(&self, node: &str, count: usize) -> Result<Vec<TcpStream>, Trouble> {
        let lab = &self.ground.lab;
        let socket = lab.node(node).map(crate::config::Node::socket);
        let mut held = Vec::with_capacity(count);
        for _ in 0..count {
            let Some(socket) = socket else { break };
            match timeout(ACCEPT_LIMIT, TcpStream::connect(socket)).await {
                Ok(stream) => held.push(stream.map_err(unavailable)?),
                Err(_) => {
                    let text = format!("{node} accepts no more than {} connections", held.len());
                    return Err(Trouble::Missed(text));
                }
            }
        }
        Ok(held)
    }

    /// Kills the node, does that to its append-only file, and starts it again at once.
    async fn restart_with(&mut self, primary: &str, harm: Harm) -> Result<(), Trouble> {
        self.fill_file(primary).await?;
        self.strike(format!("SIGKILL to the node {primary}"));
        self.ground.kill_node(primary)?;
        self.harm(primary, harm)?;
        self.did(format!("{primary} started again"));
        self.ground.start_node(primary)?;
        self.steps.begin("observe");
        Ok(())
    }
}

pub(super) fn refused(node: &str, why: impl ToString) -> GroundError {
    GroundError::Server {
        node: node.to_owned(),
        why: why.to_string(),
    }
}

/// Where the machine does not permit it, the drill shows nothing.
pub(super) fn unavailable(error: io::Error) -> Trouble {
    GroundError::Unavailable(error.to_string()).into()
}
