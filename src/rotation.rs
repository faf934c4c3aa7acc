//! New passwords for all users of a running lab, without a failed write.
//!
//! Redis accepts several passwords for one user. The steps are:
//!
//! 1. Every server accepts the new passwords as well.
//! 2. The files change, which clients read at each connection.
//! 3. The servers use the new passwords between each other.
//! 4. The servers stop accepting the old passwords.
//!
//! So at every moment each server accepts the passwords in the files and those that servers use.
//! The next run completes an interrupted one, and leaves one password for each user.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::access::{Account, Secrets, SecretsError, User, allow, only};
use crate::client::{ClientError, Conn, Connector};
use crate::config::{Lab, Node, NodeKind, SecretsFolder};
use crate::signals::poll_until;
use secrecy::{ExposeSecret, SecretString};

/// Shortest limit of a connect or an answer; the lab's own may be longer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How long a Sentinel may take to reconnect to all data nodes; it tries once a second.
const RECONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Pause between two observations of it.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Why passwords were not changed, or only in part.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// An error of the password files.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// A node did not answer before anything was changed.
    #[error(
        "{node} cannot get new passwords, so no password was changed: {source}; start it, then run this again"
    )]
    Unchanged {
        /// The node.
        node: String,
        /// The error.
        source: ClientError,
    },
    /// A server was started before `lab.toml` had a user.
    #[error(
        "{node} does not know the user {user}, so no password was changed; restart its node, which reads lab.toml then, \
         and run this again"
    )]
    UnknownUser {
        /// The node.
        node: String,
        /// The user.
        user: String,
    },
    /// A node did not answer later.
    #[error(
        "{node} did not answer during the change: {source}; old and new passwords are both accepted until you run this again"
    )]
    Incomplete {
        /// The node.
        node: String,
        /// The error.
        source: ClientError,
    },
    /// A Sentinel has not reconnected.
    #[error(
        "{0} is not connected to all data nodes after {RECONNECT_LIMIT:?}; old and new passwords are both accepted until you \
         run this again"
    )]
    Disconnected(String),
    /// A signal stopped the command before anything was changed.
    #[error("stopped; no password was changed")]
    Stopped,
    /// A signal stopped the command later.
    #[error("stopped half-way; old and new passwords are both accepted until you run this again")]
    StoppedLater,
}

/// Gives every user of `lab` a new password. Calls `exporter` when the password of redis_exporter
/// has changed. If `stop` is cancelled, it ends between two nodes, while both passwords are
/// accepted, and the next run completes it.
///
/// # Errors
/// If a node does not answer, a file cannot be written, or `stop` is cancelled.
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
    // Of two concurrent commands, one waits.
    let _lock = match secrets.try_lock()? {
        Some(lock) => lock,
        None => {
            info!("another command changes these passwords or certificates: waiting for it");
            poll_until(stop, async || secrets.try_lock(), POLL_INTERVAL)
                .await?
                .ok_or(RotationError::Stopped)?
        }
    };
    // The current passwords must exist: without them no server accepts a login.
    let users: Vec<Account> = Account::all(lab).collect();
    for user in &users {
        secrets.password(user)?;
    }
    let rotation = Rotation {
        lab,
        secrets: &secrets,
        stop,
    };
    rotation.add_next_passwords().await?;
    info!("every node accepts the old and the new passwords");
    for user in &users {
        secrets.promote(user)?;
    }
    rotation.switch_servers().await?;
    exporter().await;
    info!("all clients and servers use the new passwords");
    rotation.check_stop()?;
    // Before the servers do: a server that starts from now on does not read them again.
    for user in &users {
        secrets.forget(user)?;
    }
    rotation.remove_old_passwords().await
}

struct Rotation<'a> {
    lab: &'a Lab,
    secrets: &'a Secrets,
    stop: &'a CancellationToken,
}

impl Rotation<'_> {
    /// Ends the command here if a signal arrived: between two nodes, with both passwords accepted.
    fn check_stop(&self) -> Result<(), RotationError> {
        if self.stop.is_cancelled() {
            return Err(RotationError::StoppedLater);
        }
        Ok(())
    }

    async fn open(&self, node: &Node) -> Result<Conn, ClientError> {
        // With the operator's current password.
        Connector::new(self.lab, User::Operator)
            .with_min_limit(ANSWER_LIMIT)
            .open(node.socket())
            .await
    }

    /// Makes every server accept the next password of each user as well.
    async fn add_next_passwords(&self) -> Result<(), RotationError> {
        let mut conns = Vec::new();
        for node in self.lab.nodes() {
            let failed = |source| RotationError::Unchanged {
                node: node.name.clone(),
                source,
            };
            let mut conn = self.open(node).await.map_err(failed)?;
            // Also checks that the node answers and accepts the operator.
            let known: Vec<String> = conn
                .query(redis::cmd("ACL").arg("USERS"))
                .await
                .map_err(failed)?;
            let unknown = users_of(self.lab, node.kind)
                .flat_map(|user| user.names(node.kind))
                .find(|name| !known.contains(name));
            if let Some(user) = unknown {
                return Err(RotationError::UnknownUser {
                    node: node.name.clone(),
                    user,
                });
            }
            conns.push((node, conn));
            if self.stop.is_cancelled() {
                return Err(RotationError::Stopped);
            }
        }
        for (node, mut conn) in conns {
            self.check_stop()?;
            for user in users_of(self.lab, node.kind) {
                let Some(next) = self.secrets.next(&user)? else {
                    continue;
                };
                set_user(&mut conn, (&user, node.kind), &[allow(&next)])
                    .await
                    .map_err(|source| RotationError::Unchanged {
                        node: node.name.clone(),
                        source,
                    })?;
            }
        }
        Ok(())
    }

    /// Makes the servers use the new passwords between each other: data nodes first, then the
    /// Sentinels.
    async fn switch_servers(&self) -> Result<(), RotationError> {
        let replication = self.secrets.password(User::Replication)?;
        let sentinel = self.secrets.password(User::Sentinel)?;
        for node in &self.lab.data_nodes {
            self.check_stop()?;
            self.switch_data_node(node, &replication)
                .await
                .map_err(|source| incomplete(node, source))?;
        }
        // One at a time: a Sentinel drops its connections for this, and a majority has to keep
        // theirs.
        for node in &self.lab.sentinels {
            self.check_stop()?;
            let connected = self.switch_sentinel(node, &sentinel).await;
            self.check_stop()?;
            if !connected.map_err(|source| incomplete(node, source))? {
                return Err(RotationError::Disconnected(node.name.clone()));
            }
        }
        Ok(())
    }

    async fn switch_data_node(
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
    async fn switch_sentinel(
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
        let poll = async || Ok(is_connected(&mut conn, name).await?.then_some(()));
        match timeout(RECONNECT_LIMIT, poll_until(self.stop, poll, POLL_INTERVAL)).await {
            Ok(polled) => Ok(polled?.is_some()),
            Err(_) => Ok(false),
        }
    }

    /// Makes every server accept only the current passwords.
    async fn remove_old_passwords(&self) -> Result<(), RotationError> {
        for node in self.lab.nodes() {
            let mut conn = self.open(node).await.map_err(|e| incomplete(node, e))?;
            for user in users_of(self.lab, node.kind) {
                let password = self.secrets.password(&user)?;
                set_user(&mut conn, (&user, node.kind), &only(&password))
                    .await
                    .map_err(|source| incomplete(node, source))?;
            }
        }
        Ok(())
    }
}

fn incomplete(node: &Node, source: ClientError) -> RotationError {
    RotationError::Incomplete {
        node: node.name.clone(),
        source,
    }
}

fn users_of(lab: &Lab, kind: NodeKind) -> impl Iterator<Item = Account> {
    Account::all(lab).filter(move |user| user.is_on(kind))
}

/// Adds the rules to a user of a server, under each of its names there.
async fn set_user(
    conn: &mut Conn,
    (user, on): (&Account, NodeKind),
    rules: &[String],
) -> Result<(), ClientError> {
    let mut pipe = redis::pipe();
    for name in user.names(on) {
        pipe.cmd("ACL").arg("SETUSER").arg(name).arg(rules);
    }
    conn.all(&pipe).await.map(drop)
}

/// Whether a Sentinel is connected to the primary and to each replica.
async fn is_connected(conn: &mut Conn, name: &str) -> Result<bool, ClientError> {
    type FieldMap = HashMap<String, String>;
    let ask = |what: &str| redis::cmd("SENTINEL").arg(what).arg(name).clone();
    let primary: FieldMap = conn.query(&ask("MASTER")).await?;
    let replicas: Vec<FieldMap> = conn.query(&ask("REPLICAS")).await?;
    let connected = |fields: &FieldMap| {
        let flags = fields.get("flags").map(String::as_str).unwrap_or_default();
        !flags.split(',').any(|flag| flag == "disconnected")
    };
    Ok(connected(&primary) && replicas.iter().all(connected))
}
