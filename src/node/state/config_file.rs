//! The config file of a node's server, updated from `lab.toml` before each start of the server.

use std::fs;
use std::io;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::ExposeSecret;
use tracing::warn;

use crate::access::{Certificates, Secrets, User, acl_file};
use crate::config::{Lab, Node, NodeKind};
use crate::node::buffer;
use crate::node::conf::Conf;
use crate::node::origin::{Difference, Origin, differs, moved_from};
use crate::protocol::copy::PARKED_PORT;
use crate::protocol::vote::{Elected, PASSIVE_QUORUM};

use super::error::{StateError, io_error};
use super::users::{keep_removed, note_apps};
use super::{StateDir, replace};

const REDIS_TEMPLATE: &str = include_str!("../../../redis/redis.conf");
const SENTINEL_TEMPLATE: &str = include_str!("../../../sentinel/sentinel.conf");

/// A login that no server accepts. A parked server has it, so that it can't copy from any server,
/// whoever sends it a `REPLICAOF`.
pub(in crate::node) const PARKED_LOGIN: [(&str, &str); 2] = [
    ("masteruser", "halab-parked"),
    ("masterauth", "halab-parked"),
];

impl StateDir {
    /// Checks whether there is a usable config file of this lab. An unusable one is copied to
    /// `*.damaged`, if it is not empty.
    ///
    /// # Errors
    /// If it belongs to another lab.
    pub(super) fn check_conf(&mut self, lab: &Lab, node: &Node) -> Result<(), StateError> {
        let file = conf_path(&self.folder, node);
        if !file.exists() {
            // The data of a data node shows that there was a config file.
            let aside = || self.aside().exists() || self.restored().exists();
            self.conf_lost = node.kind == NodeKind::Data && (self.has_data() || aside());
            self.first_start = !self.conf_lost;
        } else if let Some(conf) = usable_conf(&file, node.kind) {
            return match differs(&conf, lab, node) {
                None => Ok(()),
                Some(Difference { what, was, now }) => Err(StateError::OtherLab {
                    file,
                    what,
                    was,
                    now,
                }),
            };
        } else {
            self.conf_lost = true;
            if fs::metadata(&file).is_ok_and(|m| m.len() > 0) {
                let kept = file.with_extension("damaged");
                if let Err(error) = fs::copy(&file, &kept) {
                    warn!(file = %file.display(), %error, "the damaged config file could not be copied before it is replaced");
                }
            }
        }
        if self.conf_lost {
            warn!(node = %node.name, file = %file.display(), "the config file is missing, empty or unreadable, so it is \
                made again from lab.toml; data is not changed");
        }
        Ok(())
    }

    /// Whether a Sentinel has lost its state: epochs, votes, the primary, the other servers.
    pub fn state_lost(&self) -> bool {
        self.conf_lost
    }

    /// Sets whether a Sentinel that starts for the first time may lead failovers at once.
    pub fn leads(&mut self, leads: bool) {
        self.passive = !leads;
    }

    /// Sets the primary and epoch for a Sentinel that has lost its state.
    pub fn learn(&mut self, elected: Elected) {
        self.learned = Some(elected);
    }

    /// The present config file, or the template.
    fn conf(&self, node: &Node, file: &Path) -> Conf {
        let template = Conf::parse(match node.kind {
            NodeKind::Data => REDIS_TEMPLATE,
            NodeKind::Sentinel => SENTINEL_TEMPLATE,
        });
        let found = (!self.first_start).then(|| usable_conf(file, node.kind));
        let Some(mut conf) = found.flatten() else {
            return template;
        };
        let missing = conf.complete_from(&template);
        if missing > 0 {
            warn!(node = %node.name, file = %file.display(), missing, "missing directives were added from the template");
        }
        conf
    }

    /// Names and old addresses of nodes that an operator has moved.
    pub fn moved_from(&self, node: &Node) -> Vec<(String, SocketAddrV4)> {
        let conf = usable_conf(&conf_path(&self.folder, node), node.kind);
        conf.as_ref().map_or_else(Vec::new, moved_from)
    }

    /// Updates the node's config file from `lab.toml`, starting from the template at the first
    /// start, and removes the unfinished files of a killed server. Called before each start of
    /// the server, while none runs. Returns the path of the file.
    ///
    /// # Errors
    /// If a file can't be read or written.
    pub fn apply(&self, lab: &Lab, node: &Node) -> Result<PathBuf, StateError> {
        self.remove_unfinished();
        let file = conf_path(&self.folder, node);
        let mut conf = self.conf(node, &file);
        Origin::of(lab).note(&mut conf);
        let address = node.address.to_string();
        let port = node.port.to_string();
        let listens = lab.listens(node).to_string();
        conf.set(&["bind"], &[&listens]);
        // So that a firewall rule can cut this node off in both directions.
        conf.set(&["bind-source-addr"], &[&listens]);
        conf.set(&["dir"], &[&self.data().to_string_lossy()]);
        apply_tls(lab, node, &mut conf)?;
        let secrets = Secrets::load_or_generate(lab)?;
        self.apply_users(lab, node, secrets.as_ref(), &mut conf)?;
        match node.kind {
            NodeKind::Data => {
                conf.set(&["replica-announce-ip"], &[&address]);
                conf.set(&["replica-announce-port"], &[&port]);
                conf.set(&["replicaof"], &[&listens, &PARKED_PORT.to_string()]);
                conf.set(&["replica-priority"], &["0"]);
                for (key, value) in PARKED_LOGIN {
                    conf.set(&[key], &[value]);
                }
                // The node changes these at run time, and a Sentinel may have made the server write
                // its config file.
                conf.set(&["appendfsync"], &["no"]);
                conf.set(&["min-replicas-to-write"], &["0"]);
                // The config file may be older than this line of the template.
                conf.set(&["propagation-error-behavior"], &["panic"]);
                buffer::put_back(&self.folder, &mut conf);
                // A stopping node sets `no`, which may have been written likewise.
                conf.set(&["replica-announced"], &["yes"]);
            }
            NodeKind::Sentinel => {
                self.apply_sentinel(lab, &address, &port, &mut conf);
                apply_passwords(lab, secrets.as_ref(), &mut conf)?;
            }
        }
        replace(&file, &conf.text())?;
        Ok(file)
    }

    /// Writes the users of the server and their rights.
    fn apply_users(
        &self,
        lab: &Lab,
        node: &Node,
        secrets: Option<&Secrets>,
        conf: &mut Conf,
    ) -> Result<(), StateError> {
        let file = self.folder.join("users.acl");
        let Some(secrets) = secrets else {
            conf.remove(&["aclfile"]);
            return remove_file(&file);
        };
        let users = acl_file(lab, node.kind, |user| secrets.accepted(user))?;
        keep_removed(&self.folder, &file, node, lab)?;
        replace(&file, &users)?;
        note_apps(&self.folder, lab)?;
        // Without an ACL file, a server writes its users here, and then refuses an ACL file.
        conf.remove(&["user"]);
        conf.set(&["aclfile"], &[&file.to_string_lossy()]);
        Ok(())
    }

    /// `sentinel monitor` is set to the seed primary once. Later the file is newer than `lab.toml`.
    fn apply_sentinel(&self, lab: &Lab, address: &str, port: &str, conf: &mut Conf) {
        let name = lab.primary_name.as_str();
        let monitored = conf.get(&["sentinel", "monitor", name]);
        let noted = monitored
            .as_ref()
            .and_then(|words| words.get(2)?.parse().ok());
        // One that was not a full member stays passive until the lists of members say otherwise.
        let passive = self.passive || noted.is_some_and(|quorum: u64| quorum >= PASSIVE_QUORUM);
        let quorum = if passive {
            PASSIVE_QUORUM
        } else {
            lab.quorum as u64
        }
        .to_string();
        let (ip, at) = match (monitored.as_deref(), self.learned) {
            (Some([ip, at, ..]), _) => (ip.clone(), at.clone()),
            (_, Some(Elected { address, epoch })) => {
                // As if it had voted in all epochs up to this one.
                let epoch = epoch.to_string();
                conf.set(&["sentinel", "config-epoch", name], &[&epoch]);
                conf.set(&["sentinel", "leader-epoch", name], &[&epoch]);
                conf.set(&["sentinel", "current-epoch"], &[&epoch]);
                (address.ip().to_string(), address.port().to_string())
            }
            _ => match lab.node(&lab.seed_primary) {
                Some(seed) => (seed.address.to_string(), seed.port.to_string()),
                None => return,
            },
        };
        conf.set(&["sentinel", "announce-ip"], &[address]);
        conf.set(&["sentinel", "announce-port"], &[port]);
        conf.set(&["sentinel", "monitor", name], &[&ip, &at, &quorum]);
        let ms = |d: Duration| d.as_millis().to_string();
        conf.set(
            &["sentinel", "down-after-milliseconds", name],
            &[&ms(lab.timing.down_after)],
        );
        conf.set(
            &["sentinel", "failover-timeout", name],
            &[&ms(lab.timing.failover_timeout)],
        );
        conf.set(&["sentinel", "parallel-syncs", name], &["1"]);
    }
}

/// The port, with or without TLS. A server also uses its certificate as a client.
fn apply_tls(lab: &Lab, node: &Node, conf: &mut Conf) -> Result<(), StateError> {
    const KEYS: [&str; 6] = [
        "tls-port",
        "tls-cert-file",
        "tls-key-file",
        "tls-ca-cert-file",
        "tls-auth-clients",
        // Sentinels apply it too, to connections to data nodes and among themselves.
        "tls-replication",
    ];
    let port = node.port.to_string();
    let Some(certificates) = Certificates::of(lab) else {
        for key in KEYS {
            conf.remove(&[key]);
        }
        conf.set(&["port"], &[&port]);
        return Ok(());
    };
    // Absolute, because the server has another working folder.
    let absolute = |path: PathBuf| {
        let path = fs::canonicalize(&path).map_err(io_error("cannot find", &path))?;
        Ok::<_, StateError>(path.to_string_lossy().into_owned())
    };
    let ca = absolute(certificates.ca())?;
    let own = absolute(certificates.node(&node.name))?;
    let clients = if lab.security.mutual_tls { "yes" } else { "no" };
    for (key, value) in KEYS
        .iter()
        .zip([port.as_str(), &own, &own, &ca, clients, "yes"])
    {
        conf.set(&[*key], &[value]);
    }
    conf.set(&["port"], &["0"]);
    Ok(())
}

/// The users with which a Sentinel logs in to data nodes (`auth-user`) and to the other Sentinels
/// (`sentinel-user`).
fn apply_passwords(
    lab: &Lab,
    secrets: Option<&Secrets>,
    conf: &mut Conf,
) -> Result<(), StateError> {
    let name = lab.primary_name.as_str();
    let users: [&[&str]; 2] = [
        &["sentinel", "auth-user", name],
        &["sentinel", "sentinel-user"],
    ];
    let passwords: [&[&str]; 2] = [
        &["sentinel", "auth-pass", name],
        &["sentinel", "sentinel-pass"],
    ];
    match secrets {
        Some(secrets) => {
            let password = secrets.password(User::Sentinel)?;
            for key in users {
                conf.set(key, &[User::Sentinel.name()]);
            }
            for key in passwords {
                conf.set(key, &[password.expose_secret()]);
            }
        }
        None => {
            for key in users.into_iter().chain(passwords) {
                conf.remove(key);
            }
        }
    }
    Ok(())
}

/// The address where `node` is parked while its role is undecided.
pub(in crate::node) fn parked_at(lab: &Lab, node: &Node) -> SocketAddrV4 {
    // An address of this machine, so that a connection is refused at once.
    SocketAddrV4::new(lab.listens(node), PARKED_PORT)
}

pub(in crate::node) fn conf_path(folder: &Path, node: &Node) -> PathBuf {
    folder.join(match node.kind {
        NodeKind::Data => "redis.conf",
        NodeKind::Sentinel => "sentinel.conf",
    })
}

/// The config file, if it can be read and has its essential directives.
pub(in crate::node) fn usable_conf(file: &Path, kind: NodeKind) -> Option<Conf> {
    let conf = Conf::parse(&fs::read_to_string(file).ok()?);
    let usable = match kind {
        NodeKind::Data => !conf.is_empty(),
        NodeKind::Sentinel => conf.get(&["sentinel", "monitor"]).is_some(),
    };
    usable.then_some(conf)
}

fn remove_file(path: &Path) -> Result<(), StateError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("cannot remove", path)(error))
        }
        _ => Ok(()),
    }
}
