//! New passwords for all users of a lab that runs, without a failed write.
//!
//! Redis takes several passwords of one user. So every server is taught the new ones first, then the files change,
//! from which everyone reads at each connection, then what servers use among each other; and only then do the
//! servers forget the old ones. At every moment each server accepts what the files hold and what servers use. Cut short
//! at any of them, it is completed by the next run: that goes on where it was, and ends with one password a user.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::access::{Secrets, SecretsError, User, allow, only};
use crate::client::{ClientError, Conn, Connector};
use crate::config::{Lab, Node, NodeKind, SecretsFolder};
use crate::signals::look_until;
use secrecy::{ExposeSecret, SecretString};

/// Limit for a connect or an answer of a node.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How long a Sentinel may take to be connected to all data nodes again: it tries once a second.
const RECONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Pause between two looks at it.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Why passwords were not changed, or not all the way.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The files.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// A node does not answer before anything was changed.
    #[error(
        "{node} does not take new passwords, so no password was changed: {source}; start it, then run this again"
    )]
    NotAll {
        /// Which one.
        node: String,
        /// Why.
        source: ClientError,
    },
    /// A node does not answer later on.
    #[error(
        "{node} did not answer half-way: {source}; old and new passwords are both accepted until you run this again"
    )]
    HalfWay {
        /// Which one.
        node: String,
        /// Why.
        source: ClientError,
    },
    /// A Sentinel has not come back.
    #[error(
        "{0} is not connected to all data nodes after {RECONNECT_LIMIT:?}; old and new passwords are both accepted until you \
         run this again"
    )]
    Disconnected(String),
    /// It was asked to end before anything was changed.
    #[error("stopped; no password was changed")]
    Stopped,
    /// It was asked to end later on.
    #[error("stopped half-way; old and new passwords are both accepted until you run this again")]
    StoppedHalfWay,
}

/// Gives every user of `lab` a new password. `exporter` is called once the file of redis_exporter's has changed. Ends
/// between two nodes when `stop` is cancelled: everyone is let in then, and the next run completes it.
///
/// # Errors
/// When not all nodes answer, a file can't be written, or it is asked to end.
pub async fn rotate(
    lab: &Lab,
    stop: &CancellationToken,
    exporter: impl AsyncFnOnce(),
) -> Result<(), RotationError> {
    let secrets = match &lab.security.secrets {
        _ if !lab.security.acl => return Err(SecretsError::Off.into()),
        Some(SecretsFolder::Own(folder)) => Secrets::at(folder),
        Some(SecretsFolder::Given(folder)) => {
            return Err(SecretsError::NotOwn(folder.clone()).into());
        }
        None => return Err(SecretsError::Off.into()),
    };
    // Of two at once, one waits.
    let _lock = match secrets.try_lock()? {
        Some(lock) => lock,
        None => {
            info!("another command changes these passwords or certificates: waiting for it");
            look_until(stop, async || secrets.try_lock(), LOOK_AGAIN)
                .await?
                .ok_or(RotationError::Stopped)?
        }
    };
    // The one in use has to be there: without it no server lets anyone in.
    for user in User::ALL {
        secrets.password(user)?;
    }
    let rotation = Rotation {
        lab,
        secrets: &secrets,
        stop,
    };
    rotation.teach().await?;
    info!("every node accepts the old and the new passwords");
    for user in User::ALL {
        secrets.promote(user)?;
    }
    rotation.tell_servers().await?;
    exporter().await;
    info!("everyone uses the new passwords");
    rotation.go_on()?;
    // Before the servers do: one that starts from now on does not learn them again.
    for user in User::ALL {
        secrets.forget(user)?;
    }
    rotation.forget().await
}

struct Rotation<'a> {
    lab: &'a Lab,
    secrets: &'a Secrets,
    stop: &'a CancellationToken,
}

impl Rotation<'_> {
    /// Ends it here, if that was asked for: between two nodes, with both passwords accepted.
    fn go_on(&self) -> Result<(), RotationError> {
        if self.stop.is_cancelled() {
            return Err(RotationError::StoppedHalfWay);
        }
        Ok(())
    }

    async fn open(&self, node: &Node) -> Result<Conn, ClientError> {
        // With the operator's password as it is now.
        Connector::new(self.lab, User::Operator, ANSWER_LIMIT)
            .open(node.socket())
            .await
    }

    /// Every server accepts the next password of each user too.
    async fn teach(&self) -> Result<(), RotationError> {
        let mut conns = Vec::new();
        for node in self.lab.nodes() {
            let failed = |source| RotationError::NotAll {
                node: node.name.clone(),
                source,
            };
            let mut conn = self.open(node).await.map_err(failed)?;
            // Answers, and lets the operator in.
            conn.query::<redis::Value>(redis::cmd("ACL").arg("WHOAMI"))
                .await
                .map_err(failed)?;
            conns.push((node, conn));
            if self.stop.is_cancelled() {
                return Err(RotationError::Stopped);
            }
        }
        for (node, mut conn) in conns {
            self.go_on()?;
            for user in users_of(node.kind) {
                let Some(next) = self.secrets.next(user)? else {
                    continue;
                };
                set_user(&mut conn, user, &[allow(&next)])
                    .await
                    .map_err(|source| RotationError::NotAll {
                        node: node.name.clone(),
                        source,
                    })?;
            }
        }
        Ok(())
    }

    /// Servers use the new passwords among each other: data nodes first, which Sentinels then find so.
    async fn tell_servers(&self) -> Result<(), RotationError> {
        let replication = self.secrets.password(User::Replication)?;
        let sentinel = self.secrets.password(User::Sentinel)?;
        for node in &self.lab.data_nodes {
            self.go_on()?;
            self.tell_data_node(node, &replication)
                .await
                .map_err(|source| half_way(node, source))?;
        }
        // One after the other: a Sentinel that is told drops its connections, and never may a majority have none.
        for node in &self.lab.sentinels {
            self.go_on()?;
            let connected = self.tell_sentinel(node, &sentinel).await;
            self.go_on()?;
            if !connected.map_err(|source| half_way(node, source))? {
                return Err(RotationError::Disconnected(node.name.clone()));
            }
        }
        Ok(())
    }

    async fn tell_data_node(
        &self,
        node: &Node,
        password: &SecretString,
    ) -> Result<(), ClientError> {
        let mut conn = self.open(node).await?;
        let mut cmd = redis::cmd("CONFIG");
        cmd.arg("SET")
            .arg("masterauth")
            .arg(password.expose_secret());
        conn.query::<redis::Value>(&cmd).await.map(drop)
    }

    /// Returns whether it is connected to all data nodes again.
    async fn tell_sentinel(
        &self,
        node: &Node,
        password: &SecretString,
    ) -> Result<bool, ClientError> {
        let mut conn = self.open(node).await?;
        let name = self.lab.primary_name.as_str();
        let password = password.expose_secret();
        for words in [
            ["CONFIG", "SET", "sentinel-pass", password],
            ["SET", name, "auth-pass", password],
        ] {
            let mut cmd = redis::cmd("SENTINEL");
            cmd.arg(&words);
            conn.query::<redis::Value>(&cmd).await?;
        }
        let look = async || Ok(is_connected(&mut conn, name).await?.then_some(()));
        match timeout(RECONNECT_LIMIT, look_until(self.stop, look, LOOK_AGAIN)).await {
            Ok(looked) => Ok(looked?.is_some()),
            Err(_) => Ok(false),
        }
    }

    /// No server accepts any other password than the one in use.
    async fn forget(&self) -> Result<(), RotationError> {
        for node in self.lab.nodes() {
            let mut conn = self.open(node).await.map_err(|e| half_way(node, e))?;
            for user in users_of(node.kind) {
                let password = self.secrets.password(user)?;
                set_user(&mut conn, user, &only(&password))
                    .await
                    .map_err(|source| half_way(node, source))?;
            }
        }
        Ok(())
    }
}

fn half_way(node: &Node, source: ClientError) -> RotationError {
    RotationError::HalfWay {
        node: node.name.clone(),
        source,
    }
}

fn users_of(kind: NodeKind) -> impl Iterator<Item = User> {
    let exists = move |user: &User| !user.rights(kind).is_empty();
    User::ALL.into_iter().filter(exists)
}

async fn set_user(conn: &mut Conn, user: User, rules: &[String]) -> Result<(), ClientError> {
    let mut cmd = redis::cmd("ACL");
    cmd.arg("SETUSER").arg(user.name()).arg(rules);
    conn.query::<redis::Value>(&cmd).await.map(drop)
}

/// Whether a Sentinel has a connection to the primary and to each replica.
async fn is_connected(conn: &mut Conn, name: &str) -> Result<bool, ClientError> {
    type Fields = HashMap<String, String>;
    let ask = |what: &str| redis::cmd("SENTINEL").arg(what).arg(name).clone();
    let primary: Fields = conn.query(&ask("MASTER")).await?;
    let replicas: Vec<Fields> = conn.query(&ask("REPLICAS")).await?;
    let connected = |fields: &Fields| {
        let flags = fields.get("flags").map(String::as_str).unwrap_or_default();
        !flags.split(',').any(|flag| flag == "disconnected")
    };
    Ok(connected(&primary) && replicas.iter().all(connected))
}
