//! The state folder of one node: locked while in use, seeded once, never overwritten.
//!
//! ```text
//! STATE/NAME/lock           held by the node's process
//! STATE/NAME/redis.conf     or sentinel.conf; the server rewrites it
//! STATE/NAME/users.acl     who may do what on the server, with the hashes of their passwords
//! STATE/NAME/data/          the server's working folder: append-only files
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::StatVfsMountFlags;
use secrecy::ExposeSecret;

use crate::access::{Certificates, Secrets, SecretsError, User, acl_file};
use crate::config::{Lab, Node, NodeKind};

use super::certificate::absolute;
use super::conf::Conf;

const REDIS_TEMPLATE: &str = include_str!("../../redis/redis.conf");
const SENTINEL_TEMPLATE: &str = include_str!("../../sentinel/sentinel.conf");

/// The port of the address where a data node is parked as a replica: nothing listens there (port 1,
/// `tcpmux`), so the node is never writable before its role is decided.
const PARKED_PORT: u16 = 1;

/// A login that nobody knows. A parked server has it, so that it can't copy from anybody, whoever tells it to.
pub(super) const PARKED_LOGIN: [(&str, &str); 2] = [
    ("masteruser", "halab-parked"),
    ("masterauth", "halab-parked"),
];

/// With less than that on its disk a server is not started: it would end with its first writes.
const ROOM: u64 = 1 << 20;

/// Why the state folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process holds it.
    #[error(
        "the state folder {0} is in use by another halab node: stop that one, or give --state another folder"
    )]
    InUse(PathBuf),
    /// It was made for another address.
    #[error(
        "{file} was made for {was}, and lab.toml says {now}: put the address back, or remove {folder} \
         and let the node start anew"
    )]
    OtherAddress {
        /// The config file.
        file: PathBuf,
        /// The address it holds.
        was: String,
        /// The address `lab.toml` gives.
        now: String,
        /// The node's folder.
        folder: PathBuf,
    },
    /// The passwords.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// It can't be read or written.
    #[error("{what} {path}: {source}{}", remedy(source))]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What helps against the commonest of them.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free space there, then start the node again"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "; make it writable (mount -o remount,rw), or give --state another folder, then start the node again"
        }
        io::ErrorKind::PermissionDenied => {
            "; give the folder to the user that runs the node, or give --state another one"
        }
        _ => "",
    }
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Io { what, path, source }
}

/// A node's state folder, locked.
#[derive(Debug)]
pub struct StateDir {
    folder: PathBuf,
    /// Dropped, and so unlocked, with the process at the latest, `kill -9` included.
    _lock: File,
    first_start: bool,
}

impl StateDir {
    /// Locks the folder of `node` under `root`, and makes it when it is not there.
    ///
    /// # Errors
    /// When another process holds it, it was made for another address, or it can't be written.
    pub fn open(root: &Path, node: &Node) -> Result<Self, StateError> {
        let folder = root.join(&node.name);
        let data = folder.join("data");
        // The records are nobody else's; folders that are there already stay as somebody made them.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&data)
            .map_err(io_error("cannot make", &data))?;
        let path = folder.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io_error("cannot open", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::InUse(folder)),
            Err(TryLockError::Error(source)) => {
                return Err(StateError::Io {
                    what: "cannot lock",
                    path,
                    source,
                });
            }
        }
        let folder = fs::canonicalize(&folder).map_err(io_error("cannot find", &folder))?;
        let state = StateDir {
            first_start: !conf_path(&folder, node).exists(),
            folder,
            _lock: lock,
        };
        state.refuse_other_address(node)?;
        state.restore_aside()?;
        Ok(state)
    }

    /// Refuses when another process holds the folder; makes nothing.
    ///
    /// # Errors
    /// When it does.
    pub fn refuse_in_use(root: &Path, node: &Node) -> Result<(), StateError> {
        let folder = root.join(&node.name);
        match File::open(folder.join("lock")).map(|file| file.try_lock()) {
            Ok(Err(TryLockError::WouldBlock)) => Err(StateError::InUse(folder)),
            // Not there, or free; anything else shows when the folder is opened.
            _ => Ok(()),
        }
    }

    /// Whether the node has never been started here.
    pub fn first_start(&self) -> bool {
        self.first_start
    }

    /// Why the disk under the folder takes no writes of a server, if so. Asked of the file system, which costs nothing:
    /// the node of a primary that has just died has more urgent things to do than to write.
    pub fn no_room(&self) -> Option<String> {
        let disk = rustix::fs::statvfs(&self.folder).ok()?;
        if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
            return Some("it is read-only".into());
        }
        let left = disk.f_bavail.saturating_mul(disk.f_frsize);
        (left < ROOM).then(|| format!("{} KiB are left", left / 1024))
    }

    /// Sets the append-only files aside before a start without them. They come back with
    /// [`StateDir::open`], unless [`StateDir::discard_aside`] says that they are not needed any more.
    ///
    /// # Errors
    /// When they can't be moved; then they are where they were.
    pub fn set_aside(&self) -> Result<(), StateError> {
        let (files, aside) = (self.files(), self.aside());
        if aside.exists() {
            // What is there now is a copy that never got complete.
            remove_folder(&files)
        } else if files.exists() {
            fs::rename(&files, &aside).map_err(io_error("cannot move", &files))
        } else {
            Ok(())
        }
    }

    /// Removes what was set aside: the copy that replaces it is complete.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn discard_aside(&self) -> Result<(), StateError> {
        // In one step first, so that half of it is never taken for all of it.
        let (aside, trash) = (self.aside(), self.folder.join("data/trash"));
        if aside.exists() {
            remove_folder(&trash)?;
            fs::rename(&aside, &trash).map_err(io_error("cannot move", &aside))?;
        }
        remove_folder(&trash)
    }

    /// Keeps the append-only files aside for good, before a start without them. Returns where they are.
    ///
    /// # Errors
    /// When they can't be moved; then they are where they were.
    pub fn keep_aside(&self) -> Result<PathBuf, StateError> {
        let files = self.files();
        let free = (1..).map(|n| self.data().join(format!("appendonlydir.kept-{n}")));
        // There are fewer than numbers.
        let kept = free
            .into_iter()
            .find(|path| !path.exists())
            .unwrap_or_else(|| self.data().join("appendonlydir.kept"));
        if files.exists() {
            fs::rename(&files, &kept).map_err(io_error("cannot move", &files))?;
        }
        Ok(kept)
    }

    /// Puts back what was set aside, when the copy that was to replace it never got complete.
    fn restore_aside(&self) -> Result<(), StateError> {
        let (files, aside) = (self.files(), self.aside());
        if aside.exists() {
            remove_folder(&files)?;
            fs::rename(&aside, &files).map_err(io_error("cannot move", &aside))?;
        }
        Ok(())
    }

    fn files(&self) -> PathBuf {
        self.data().join("appendonlydir")
    }

    fn aside(&self) -> PathBuf {
        self.data().join("appendonlydir.aside")
    }

    /// The server's working folder.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn refuse_other_address(&self, node: &Node) -> Result<(), StateError> {
        if self.first_start {
            return Ok(());
        }
        let file = conf_path(&self.folder, node);
        let conf = read_conf(&file)?;
        let value = |key: &str| {
            let value = match node.kind {
                NodeKind::Data => conf.get(&[&format!("replica-{key}")]),
                NodeKind::Sentinel => conf.get(&["sentinel", key]),
            };
            value.and_then(|a| a.first().cloned()).unwrap_or_default()
        };
        // As the others know it; where it listens may be another place at each start.
        let was = format!(
            "{}:{}",
            value("announce-ip").trim_matches('"'),
            value("announce-port")
        );
        let now = node.socket().to_string();
        if was == now {
            return Ok(());
        }
        Err(StateError::OtherAddress {
            file,
            was,
            now,
            folder: self.folder.clone(),
        })
    }

    /// Removes what a server left that was killed while it rewrote its append-only file, or copied from its primary:
    /// unfinished, as large as its data, and never read or removed by any server.
    fn remove_unfinished(&self) {
        let entries = fs::read_dir(self.data()).into_iter().flatten().flatten();
        for entry in entries.filter(|e| is_unfinished(&e.file_name().to_string_lossy())) {
            // Not worth a refusal to start: it costs room, and where that is missed the server is not started and says so.
            let _ = fs::remove_file(entry.path());
        }
    }

    /// Writes what `lab.toml` says into the node's config file, from the template at the first start, and clears the
    /// server's folder of what a killed one left unfinished. Before each start of the server, while none runs.
    /// Returns the file's path.
    ///
    /// # Errors
    /// When it can't be read or written.
    pub fn apply(&self, lab: &Lab, node: &Node) -> Result<PathBuf, StateError> {
        self.remove_unfinished();
        let file = conf_path(&self.folder, node);
        let mut conf = if self.first_start {
            Conf::parse(match node.kind {
                NodeKind::Data => REDIS_TEMPLATE,
                NodeKind::Sentinel => SENTINEL_TEMPLATE,
            })
        } else {
            read_conf(&file)?
        };
        let address = node.address.to_string();
        let port = node.port.to_string();
        let listens = lab.listens(node).to_string();
        conf.set(&["bind"], &[&listens]);
        // So that a firewall rule can cut this node off, whoever opens the connection.
        conf.set(&["bind-source-addr"], &[&listens]);
        conf.set(&["dir"], &[&self.data().to_string_lossy()]);
        apply_tls(lab, node, &mut conf)?;
        let secrets = Secrets::of_lab(lab)?;
        self.apply_users(node, secrets.as_ref(), &mut conf)?;
        match node.kind {
            NodeKind::Data => {
                conf.set(&["replica-announce-ip"], &[&address]);
                conf.set(&["replica-announce-port"], &[&port]);
                conf.set(&["replicaof"], &[&listens, &PARKED_PORT.to_string()]);
                conf.set(&["replica-priority"], &["0"]);
                for (key, value) in PARKED_LOGIN {
                    conf.set(&[key], &[value]);
                }
                // A node that leaves says no, and a Sentinel may have had that written down.
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

    /// Who may do what there.
    fn apply_users(
        &self,
        node: &Node,
        secrets: Option<&Secrets>,
        conf: &mut Conf,
    ) -> Result<(), StateError> {
        let file = self.folder.join("users.acl");
        let Some(secrets) = secrets else {
            conf.remove(&["aclfile"]);
            return remove_file(&file);
        };
        let users = acl_file(node.kind, |user| secrets.accepted(user))?;
        replace(&file, &users)?;
        // A server without that file writes its users into this one, and then takes no other.
        conf.remove(&["user"]);
        conf.set(&["aclfile"], &[&file.to_string_lossy()]);
        Ok(())
    }

    /// `sentinel monitor` names the seed primary once; later the file knows better than `lab.toml`.
    fn apply_sentinel(&self, lab: &Lab, address: &str, port: &str, conf: &mut Conf) {
        let name = lab.primary_name.as_str();
        let quorum = lab.quorum.to_string();
        let monitored = conf.get(&["sentinel", "monitor", name]);
        let (ip, at) = match monitored.as_deref() {
            Some([ip, at, ..]) => (ip.clone(), at.clone()),
            _ => match lab.node(&lab.seed_primary) {
                Some(seed) => (seed.address.to_string(), seed.port.to_string()),
                None => return,
            },
        };
        conf.set(&["sentinel", "announce-ip"], &[address]);
        conf.set(&["sentinel", "announce-port"], &[port]);
        conf.set(&["sentinel", "monitor", name], &[&ip, &at, &quorum]);
        let ms = |d: std::time::Duration| d.as_millis().to_string();
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

/// The port and what it speaks. A server shows its certificate also to those that it connects to itself.
fn apply_tls(lab: &Lab, node: &Node, conf: &mut Conf) -> Result<(), StateError> {
    const KEYS: [&str; 6] = [
        "tls-port",
        "tls-cert-file",
        "tls-key-file",
        "tls-ca-cert-file",
        "tls-auth-clients",
        // Sentinels go by it too, towards data nodes and among themselves.
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
    // The server has a working folder of its own.
    let absolute = |path: PathBuf| {
        let path = absolute(&path).map_err(io_error("cannot find", &path))?;
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

/// As whom a Sentinel talks to data nodes (`auth-user`), and to the other Sentinels (`sentinel-user`).
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
pub fn parked_at(lab: &Lab, node: &Node) -> std::net::SocketAddrV4 {
    // Of this machine, so that it is refused at once.
    std::net::SocketAddrV4::new(lab.listens(node), PARKED_PORT)
}

/// Whether a server gives that name to a file that it has not finished: `rewriteAppendOnlyFile` in aof.c, `rdbSave` in
/// rdb.c, `syncWithMaster` in replication.c.
fn is_unfinished(name: &str) -> bool {
    let numbers =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let Some((stem, extension)) = name.strip_prefix("temp-").and_then(|n| n.rsplit_once('.'))
    else {
        return false;
    };
    match extension {
        "rdb" => numbers(stem),
        "aof" => stem
            .strip_prefix("rewriteaof-")
            .is_some_and(|n| numbers(n.strip_prefix("bg-").unwrap_or(n))),
        _ => false,
    }
}

fn conf_path(folder: &Path, node: &Node) -> PathBuf {
    folder.join(match node.kind {
        NodeKind::Data => "redis.conf",
        NodeKind::Sentinel => "sentinel.conf",
    })
}

fn read_conf(file: &Path) -> Result<Conf, StateError> {
    Ok(Conf::parse(
        &fs::read_to_string(file).map_err(io_error("cannot read", file))?,
    ))
}

fn remove_folder(path: &Path) -> Result<(), StateError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("cannot remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn remove_file(path: &Path) -> Result<(), StateError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("cannot remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Replaces a file in one step, so that a kill at any moment leaves the old one or the new one.
fn replace(file: &Path, text: &str) -> Result<(), StateError> {
    let new = file.with_extension("new");
    let write = || -> io::Result<()> {
        // Passwords may be in it.
        let mut out = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&new)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        fs::rename(&new, file)
    };
    write().map_err(io_error("cannot write", file))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn users_that_a_server_wrote_while_it_let_everyone_in_are_gone_when_it_has_some() {
        let root = tempfile::tempdir().unwrap();
        let mut lab = Lab::parse(include_str!("../../lab.toml"), None).unwrap();
        lab.security = lab.security.for_state(root.path());
        let node = lab.sentinels[0].clone();
        let started = |acl: bool, lab: &mut Lab| {
            lab.security.acl = acl;
            let state = StateDir::open(root.path(), &node).unwrap();
            state.apply(lab, &node).unwrap()
        };
        let file = started(false, &mut lab);
        let mut text = fs::read_to_string(&file).unwrap();
        text.push_str("user default on nopass ~* &* +@all\n");
        fs::write(&file, text).unwrap();
        started(true, &mut lab);
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            !text.contains("\nuser ") && text.contains("\naclfile "),
            "{text}"
        );
    }

    #[test]
    fn what_killed_rewrites_left_is_gone_before_the_next_start_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let mut lab = Lab::parse(include_str!("../../lab.toml"), None).unwrap();
        lab.security.acl = false;
        let node = lab.data_nodes[0].clone();
        let state = StateDir::open(root.path(), &node).unwrap();
        let left = [
            "temp-4711.rdb",
            "temp-1764318000.4711.rdb",
            "temp-rewriteaof-4711.aof",
            "temp-rewriteaof-bg-4711.aof",
        ];
        let kept = [
            "dump.rdb",
            "temp-notes.txt",
            "temp-mine.rdb",
            "x-temp-1.rdb",
        ];
        for name in left.iter().chain(&kept) {
            fs::write(state.data().join(name), "x").unwrap();
        }
        state.apply(&lab, &node).unwrap();
        let is_there = |name: &&str| state.data().join(name).exists();
        assert_eq!(left.into_iter().filter(is_there).count(), 0);
        assert_eq!(
            kept.iter().filter(|name| is_there(name)).count(),
            kept.len()
        );
    }

    #[test]
    fn the_state_of_a_node_is_for_its_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let lab = Lab::parse(include_str!("../../lab.toml"), None).unwrap();
        let node = &lab.data_nodes[0];
        let _state = StateDir::open(root.path(), node).unwrap();
        let folder = root.path().join(&node.name);
        let mode = fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
