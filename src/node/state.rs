//! The state folder of one node: locked while in use, seeded once, never overwritten.
//!
//! ```text
//! STATE/NAME/lock           held by the node's process
//! STATE/NAME/redis.conf     or sentinel.conf; the server rewrites it
//! STATE/NAME/users.acl     who may do what on the server, with the hashes of their passwords
//! STATE/NAME/buffer-limit   the limit of the server's output buffer before it was raised
//! STATE/NAME/data/          the server's working folder: append-only files
//! STATE/NAME/data/trash/    what is being removed
//! STATE/NAME/data/appendonlydir.restoring/    a backup that is being put in place, by `placing`
//! ```

mod placing;

use std::cell::Cell;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::net::SocketAddrV4;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::StatVfsMountFlags;
use secrecy::ExposeSecret;
use tracing::{debug, info, warn};

use crate::access::{Certificates, Secrets, SecretsError, User, acl_file};
use crate::config::{Lab, Node, NodeKind};
use crate::files;
use crate::protocol::vote::{Elected, PASSIVE_QUORUM};

use crate::protocol::copy::PARKED_PORT;

use super::buffer;
use super::certificate::absolute;
use super::conf::Conf;
use super::origin::{Difference, Origin, differs, moved_from};
use super::trash::Trash;
use super::users::keep_removed;

const REDIS_TEMPLATE: &str = include_str!("../../redis/redis.conf");
const SENTINEL_TEMPLATE: &str = include_str!("../../sentinel/sentinel.conf");

/// A login that nobody knows. A parked server has it, so that it can't copy from anybody, whoever
/// tells it to.
pub(super) const PARKED_LOGIN: [(&str, &str); 2] = [
    ("masteruser", "halab-parked"),
    ("masterauth", "halab-parked"),
];

/// With less than that on its disk a server is not started: it would end with its first writes.
const ROOM: u64 = 1 << 20;
/// A server's list of the parts of its append-only file.
pub(super) const AOF_LIST: &str = "appendonly.aof.manifest";

/// Why the state folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process holds it.
    #[error(
        "the state folder {0} is in use by another halab node: stop that one, or give --state another folder"
    )]
    InUse(PathBuf),
    /// It is of another lab, or of this one before its name or addresses were changed.
    #[error(
        "{file}: {what} was {was} when this state was made, and is {now} in lab.toml (with --subnet, if given). Put lab.toml back as \
         it was, or stop all nodes and have `halab move` change the state, which keeps the data. A node at another address that comes \
         to a lab that runs gets a name of its own"
    )]
    OtherLab {
        /// The config file.
        file: PathBuf,
        /// What differs.
        what: String,
        /// In the state.
        was: String,
        /// In `lab.toml`.
        now: String,
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

pub(super) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
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
    /// The config file was there and holds nothing any more, or can't be read.
    conf_lost: bool,
    /// Whom the other Sentinels name, for a Sentinel that has lost its memory.
    learned: Option<Elected>,
    /// A Sentinel that starts for the first time leads no failover.
    passive: bool,
    trash: Trash,
    /// Unfinished files that were removed, and not counted yet.
    unfinished: Cell<u64>,
}

impl StateDir {
    /// Locks the folder of `node` under `root`, and makes it when it is not there.
    ///
    /// # Errors
    /// When another process holds it, it is of another lab, or it can't be written.
    pub fn open(root: &Path, lab: &Lab, node: &Node) -> Result<Self, StateError> {
        let folder = root.join(&node.name);
        let data = folder.join("data");
        // The records are nobody else's; folders that are there already stay as somebody made them.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&data)
            .map_err(io_error("cannot make", &data))?;
        let lock = lock(&folder)?;
        let folder = fs::canonicalize(&folder).map_err(io_error("cannot find", &folder))?;
        let trash = folder.join("data/trash");
        let trash = Trash::at(trash.clone()).map_err(io_error("cannot begin to empty", &trash))?;
        let mut state = StateDir {
            trash,
            folder,
            _lock: lock,
            first_start: false,
            conf_lost: false,
            learned: None,
            passive: false,
            unfinished: Cell::new(0),
        };
        state.look_at_conf(lab, node)?;
        state.restore_aside()?;
        state.settle_placing()?;
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

    /// The node's state folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the node has never been started here.
    pub fn first_start(&self) -> bool {
        self.first_start
    }

    /// Why the disk under the folder takes no writes of a server, if so. Asked of the file system,
    /// which costs nothing: the node of a primary that has just died has more urgent things to
    /// do than to write.
    pub fn no_room(&self) -> Option<String> {
        let disk = rustix::fs::statvfs(&self.folder).ok()?;
        if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
            return Some("it is read-only".into());
        }
        let left = disk.f_bavail.saturating_mul(disk.f_frsize);
        (left < ROOM).then(|| format!("{} KiB are left", left / 1024))
    }

    /// Whether the data node's own append-only file is there. That says nothing of what it holds.
    fn has_data(&self) -> bool {
        let Ok(entries) = fs::read_dir(self.files()) else {
            return false;
        };
        entries
            .flatten()
            .any(|e| e.path().extension().is_some_and(|x| x == "manifest"))
    }

    /// Sets the append-only files aside before a start without them. They come back with
    /// [`StateDir::open`], unless [`StateDir::discard_aside`] says that they are not needed any
    /// more.
    ///
    /// # Errors
    /// When they can't be moved; then they are where they were.
    pub fn set_aside(&self) -> Result<(), StateError> {
        let (files, aside) = (self.files(), self.aside());
        if aside.exists() {
            // What is there now is a copy that never got complete.
            self.throw_copy(&files)
        } else if files.exists() {
            fs::rename(&files, &aside).map_err(io_error("cannot move", &files))
        } else {
            Ok(())
        }
    }

    /// Has what was set aside removed: the copy that replaces it is complete.
    ///
    /// # Errors
    /// When it can't be moved away; then it comes back with the next [`StateDir::open`].
    pub fn discard_aside(&self) -> Result<(), StateError> {
        let aside = self.aside();
        self.trash
            .throw(&aside)
            .map_err(io_error("cannot move", &aside))
    }

    /// Removes a copy that never got complete. Where it can't be moved away, a full disk say, it is
    /// removed where it is.
    fn throw_copy(&self, files: &Path) -> Result<(), StateError> {
        self.trash.throw(files).or_else(|_| remove_folder(files))
    }

    /// Notes what the node holds, for whoever asks while its server is down. It decides nothing.
    pub fn note_holding(&self, holds: &str) {
        let file = self.folder.join("holds");
        if let Err(error) = fs::write(&file, format!("{holds}\n")) {
            debug!(file = %file.display(), %error, "cannot note what the node holds");
        }
    }

    /// Keeps the append-only files aside for good, before a start without them. Returns where they
    /// are.
    ///
    /// # Errors
    /// When they can't be moved; then they are where they were.
    pub fn keep_aside(&self) -> Result<PathBuf, StateError> {
        self.keep(&self.files())
    }

    /// Keeps for good what was set aside, instead of putting it back at the next
    /// [`StateDir::open`]: the node serves with what it has now.
    ///
    /// # Errors
    /// When it can't be moved; then it is where it was.
    pub fn keep_set_aside(&self) -> Result<(), StateError> {
        if self.aside().exists() {
            self.keep(&self.aside())?;
        }
        Ok(())
    }

    fn keep(&self, files: &Path) -> Result<PathBuf, StateError> {
        let mut numbers = 1..;
        let kept = loop {
            // There are fewer folders than numbers.
            let number = numbers.next().unwrap_or(u64::MAX);
            let path = self.data().join(format!("appendonlydir.kept-{number}"));
            if !path.exists() {
                break path;
            }
        };
        if files.exists() {
            fs::rename(files, &kept).map_err(io_error("cannot move", files))?;
        }
        Ok(kept)
    }

    /// Puts back what was set aside, when the copy that was to replace it never got complete.
    ///
    /// # Errors
    /// When it can't be moved; then it is set aside still.
    pub fn restore_aside(&self) -> Result<(), StateError> {
        let (files, aside) = (self.files(), self.aside());
        if aside.exists() {
            self.throw_copy(&files)?;
            fs::rename(&aside, &files).map_err(io_error("cannot move", &aside))?;
        }
        Ok(())
    }

    /// The folder of the append-only files.
    pub fn files(&self) -> PathBuf {
        self.data().join("appendonlydir")
    }

    fn aside(&self) -> PathBuf {
        self.data().join("appendonlydir.aside")
    }

    /// The server's working folder.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Whether there is a config file, of use and of this lab. One that is of no use is copied
    /// beside itself, if anything is in it.
    ///
    /// # Errors
    /// When it is of another lab.
    fn look_at_conf(&mut self, lab: &Lab, node: &Node) -> Result<(), StateError> {
        let file = conf_path(&self.folder, node);
        if !file.exists() {
            // A data node's data says what the file would.
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
                    warn!(file = %file.display(), %error, "cannot be copied before it is made anew");
                }
            }
        }
        if self.conf_lost {
            warn!(node = %node.name, file = %file.display(), "the config file is missing, empty or unreadable: it is made anew from \
                what lab.toml says; data is not touched");
        }
        Ok(())
    }

    /// Whether a Sentinel has lost what it knew: epochs, votes, who is primary, who is there.
    pub fn memory_lost(&self) -> bool {
        self.conf_lost
    }

    /// Whether a Sentinel that starts for the first time leads failovers from the begin.
    pub fn leads(&mut self, leads: bool) {
        self.passive = !leads;
    }

    /// Whom a Sentinel that has lost its memory is to monitor, and since which epoch.
    pub fn learn(&mut self, elected: Elected) {
        self.learned = Some(elected);
    }

    /// The config file as it is, or as it begins.
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
            warn!(node = %node.name, file = %file.display(), missing, "directives of the template were missing and are added");
        }
        conf
    }

    /// Removes what a server left that was killed while it rewrote its append-only file, or copied
    /// from its primary: unfinished or replaced, as large as its data, and never read or
    /// removed by any server.
    fn remove_unfinished(&self) {
        let entries = fs::read_dir(self.data()).into_iter().flatten().flatten();
        let unfinished = entries.filter(|e| is_unfinished(&e.file_name().to_string_lossy()));
        let unfinished = unfinished.map(|e| e.path());
        for path in unfinished.chain(unlisted(&self.files())) {
            let bytes = fs::metadata(&path).map_or(0, |m| m.len());
            // Not worth a refusal to start: it costs room, and where that is missed the server is
            // not started and says so.
            match self.trash.throw(&path).or_else(|_| fs::remove_file(&path)) {
                Ok(()) => {
                    info!(file = %path.display(), bytes, "removed: a killed server left it, unfinished or replaced");
                    self.unfinished.set(self.unfinished.get() + 1);
                }
                Err(error) => {
                    warn!(file = %path.display(), bytes, %error, "a killed server left it, unfinished or replaced, and it can't be removed");
                }
            }
        }
    }

    /// From where an operator has moved nodes of the lab: names and addresses of before.
    pub fn moved_from(&self, node: &Node) -> Vec<(String, SocketAddrV4)> {
        let conf = usable_conf(&conf_path(&self.folder, node), node.kind);
        conf.as_ref().map_or_else(Vec::new, moved_from)
    }

    /// How many unfinished files were removed since this was asked last.
    pub fn take_unfinished(&self) -> u64 {
        self.unfinished.take()
    }

    /// Writes what `lab.toml` says into the node's config file, from the template at the first
    /// start, and clears the server's folder of what a killed one left unfinished. Before each
    /// start of the server, while none runs. Returns the file's path.
    ///
    /// # Errors
    /// When it can't be read or written.
    pub fn apply(&self, lab: &Lab, node: &Node) -> Result<PathBuf, StateError> {
        self.remove_unfinished();
        let file = conf_path(&self.folder, node);
        let mut conf = self.conf(node, &file);
        Origin::of(lab).note(&mut conf);
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
                // The node sets these while the server runs, and a Sentinel may have had that
                // written down.
                conf.set(&["appendfsync"], &["no"]);
                conf.set(&["min-replicas-to-write"], &["0"]);
                buffer::put_back(&self.folder, &mut conf);
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
        keep_removed(&self.folder, &file, node)?;
        replace(&file, &users)?;
        // A server without that file writes its users into this one, and then takes no other.
        conf.remove(&["user"]);
        conf.set(&["aclfile"], &[&file.to_string_lossy()]);
        Ok(())
    }

    /// `sentinel monitor` names the seed primary once; later the file knows better than `lab.toml`.
    fn apply_sentinel(&self, lab: &Lab, address: &str, port: &str, conf: &mut Conf) {
        let name = lab.primary_name.as_str();
        let monitored = conf.get(&["sentinel", "monitor", name]);
        let noted = monitored
            .as_ref()
            .and_then(|words| words.get(2)?.parse().ok());
        // One that was not a full member stays so until it has heard otherwise.
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
                // As one that was there, and has voted in all epochs up to this.
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

/// The port and what it speaks. A server shows its certificate also to those that it connects to
/// itself.
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

/// As whom a Sentinel talks to data nodes (`auth-user`), and to the other Sentinels
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
pub fn parked_at(lab: &Lab, node: &Node) -> std::net::SocketAddrV4 {
    // Of this machine, so that it is refused at once.
    std::net::SocketAddrV4::new(lab.listens(node), PARKED_PORT)
}

/// Parts of an append-only file that its list does not name: a rewrite has replaced them, and the
/// server was killed before it had removed them. None where the list is not whole, for then nobody
/// knows what belongs together.
fn unlisted(files: &Path) -> Vec<PathBuf> {
    let Ok(list) = fs::read_to_string(files.join(AOF_LIST)) else {
        return Vec::new();
    };
    let mut named = Vec::new();
    for line in list.lines() {
        match line.split_whitespace().nth(1) {
            Some(name) if line.starts_with("file ") && files.join(name).exists() => {
                named.push(name)
            }
            _ => return Vec::new(),
        }
    }
    if named.is_empty() {
        return Vec::new();
    }
    let entries = fs::read_dir(files).into_iter().flatten().flatten();
    let parts = entries.filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let part = name.starts_with("appendonly.aof.")
            && [".base.rdb", ".base.aof", ".incr.aof"]
                .iter()
                .any(|end| name.ends_with(end));
        part && !named.contains(&&*name)
    });
    parts.map(|entry| entry.path()).collect()
}

/// Whether a server gives that name to a file that it has not finished: `rewriteAppendOnlyFile` in
/// aof.c, `rdbSave` in rdb.c, `syncWithMaster` in replication.c.
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

pub(super) fn conf_path(folder: &Path, node: &Node) -> PathBuf {
    folder.join(match node.kind {
        NodeKind::Data => "redis.conf",
        NodeKind::Sentinel => "sentinel.conf",
    })
}

/// A config file that can be read, and holds what it is there for.
pub(super) fn usable_conf(file: &Path, kind: NodeKind) -> Option<Conf> {
    let conf = Conf::parse(&fs::read_to_string(file).ok()?);
    let usable = match kind {
        NodeKind::Data => !conf.is_empty(),
        NodeKind::Sentinel => conf.get(&["sentinel", "monitor"]).is_some(),
    };
    usable.then_some(conf)
}

/// Takes the lock of a node's folder.
pub(super) fn lock(folder: &Path) -> Result<File, StateError> {
    let path = folder.join("lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io_error("cannot open", &path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(StateError::InUse(folder.to_owned())),
        Err(TryLockError::Error(source)) => {
            return Err(StateError::Io {
                what: "cannot lock",
                path,
                source,
            });
        }
    }
    Ok(lock)
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
pub(super) fn replace(file: &Path, text: &str) -> Result<(), StateError> {
    // Passwords may be in it.
    files::replace(file, files::PRIVATE, text.as_bytes()).map_err(io_error("cannot write", file))
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
            let state = StateDir::open(root.path(), lab, &node).unwrap();
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
    fn what_was_set_aside_does_not_come_back_over_what_the_node_has_served_with() {
        let root = tempfile::tempdir().unwrap();
        let lab = Lab::parse(include_str!("../../lab.toml"), None).unwrap();
        let node = &lab.data_nodes[0];
        let state = StateDir::open(root.path(), &lab, node).unwrap();
        let write = |state: &StateDir, text| {
            fs::create_dir_all(state.files()).unwrap();
            fs::write(state.files().join("x.manifest"), text).unwrap();
        };
        write(&state, "old");
        state.set_aside().unwrap();
        write(&state, "new");
        state.keep_set_aside().unwrap();
        state.keep_set_aside().unwrap();
        drop(state);
        let state = StateDir::open(root.path(), &lab, node).unwrap();
        let read = |folder: PathBuf| fs::read_to_string(folder.join("x.manifest")).unwrap();
        assert_eq!(read(state.files()), "new");
        assert_eq!(read(state.data().join("appendonlydir.kept-1")), "old");
    }

    #[test]
    fn what_was_set_aside_comes_back_until_it_is_discarded() {
        let root = tempfile::tempdir().unwrap();
        let lab = Lab::parse(include_str!("../../lab.toml"), None).unwrap();
        let node = &lab.data_nodes[0];
        let content = |state: &StateDir| fs::read_to_string(state.files().join("x.manifest")).ok();
        let write = |state: &StateDir, text| {
            fs::create_dir_all(state.files()).unwrap();
            fs::write(state.files().join("x.manifest"), text).unwrap();
        };
        let state = StateDir::open(root.path(), &lab, node).unwrap();
        write(&state, "old");
        state.set_aside().unwrap();
        write(&state, "half a copy");
        state.set_aside().unwrap();
        assert!(!state.has_data());
        write(&state, "another half");
        drop(state);
        let state = StateDir::open(root.path(), &lab, node).unwrap();
        assert_eq!(content(&state).as_deref(), Some("old"));
        state.set_aside().unwrap();
        write(&state, "a copy");
        state.discard_aside().unwrap();
        drop(state);
        let state = StateDir::open(root.path(), &lab, node).unwrap();
        assert_eq!(content(&state).as_deref(), Some("a copy"));
    }

    /// The state of the first data node, in a folder of its own.
    fn opened() -> (tempfile::TempDir, Lab, Node, StateDir) {
        let root = tempfile::tempdir().unwrap();
        let mut lab = Lab::parse(include_str!("../../lab.toml"), None).unwrap();
        lab.security.acl = false;
        let node = lab.data_nodes[0].clone();
        let state = StateDir::open(root.path(), &lab, &node).unwrap();
        (root, lab, node, state)
    }

    #[test]
    fn what_killed_rewrites_left_is_gone_before_the_next_start_and_nothing_else() {
        let (_root, lab, node, state) = opened();
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
        assert_eq!((state.take_unfinished(), state.take_unfinished()), (4, 0));
        assert_eq!(
            kept.iter().filter(|name| is_there(name)).count(),
            kept.len()
        );
    }

    #[test]
    fn parts_that_a_rewrite_has_replaced_are_removed_and_none_where_the_list_is_not_whole() {
        let (_root, lab, node, state) = opened();
        let files = state.files();
        fs::create_dir_all(&files).unwrap();
        let write = |name: &str, text: &str| fs::write(files.join(name), text).unwrap();
        let parts = [
            "appendonly.aof.2.base.rdb",
            "appendonly.aof.2.incr.aof",
            "appendonly.aof.3.base.rdb",
            "appendonly.aof.3.incr.aof",
            "appendonly.aof.20.incr.aof",
        ];
        let all = || parts.map(|name| files.join(name).exists());
        for name in parts.iter().chain(&["written-by", "notes.aof"]) {
            write(name, "x");
        }
        let list = "file appendonly.aof.3.base.rdb seq 3 type b\n\
            file appendonly.aof.3.incr.aof seq 3 type i\n";
        for damaged in [
            "",
            "nonsense\n",
            &format!("{list}file appendonly.aof.4.incr.aof seq 4 type i\n"),
        ] {
            write(AOF_LIST, damaged);
            state.apply(&lab, &node).unwrap();
            assert_eq!(all(), [true; 5], "{damaged}");
        }
        write(AOF_LIST, list);
        state.apply(&lab, &node).unwrap();
        assert_eq!(all(), [false, false, true, true, false]);
        assert!(files.join("written-by").exists() && files.join("notes.aof").exists());
    }

    #[test]
    fn a_config_file_that_is_gone_empty_or_unreadable_is_made_anew_beside_the_data() {
        let root = tempfile::tempdir().unwrap();
        let mut lab = Lab::parse(include_str!("../../lab.toml"), None).unwrap();
        lab.security.acl = false;
        let node = &lab.data_nodes[0];
        let open = || StateDir::open(root.path(), &lab, node).unwrap();
        let state = open();
        assert!(state.first_start());
        let file = state.apply(&lab, node).unwrap();
        let manifest = state.files().join("appendonly.aof.manifest");
        fs::create_dir_all(state.files()).unwrap();
        fs::write(&manifest, "data").unwrap();
        drop(state);
        let before = fs::read_to_string(&file).unwrap();
        fs::remove_file(&file).unwrap();
        for damage in [
            None,
            Some(&b""[..]),
            Some(b"# nothing\n\n"),
            Some(b"\xff\xfe"),
        ] {
            if let Some(damage) = damage {
                fs::write(&file, damage).unwrap();
            }
            let state = open();
            assert!(!state.first_start() && state.has_data(), "{damage:?}");
            state.apply(&lab, node).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), before, "{damage:?}");
        }
        // What it was is there still.
        assert_eq!(
            fs::read(file.with_extension("damaged")).unwrap(),
            b"\xff\xfe"
        );
        // Half of it: without `appendonly yes` the server would start without its data.
        let half = before.replace("appendonly yes\n", "");
        fs::write(&file, &half).unwrap();
        open().apply(&lab, node).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("\nappendonly yes\n"), "{text}");
        assert_eq!(fs::read_to_string(&manifest).unwrap(), "data");
    }

    #[test]
    fn a_sentinel_without_its_memory_is_seeded_with_what_the_others_name() {
        let root = tempfile::tempdir().unwrap();
        let mut lab = Lab::parse(include_str!("../../lab.toml"), None).unwrap();
        lab.security.acl = false;
        let node = &lab.sentinels[0];
        let state = StateDir::open(root.path(), &lab, node).unwrap();
        assert!(state.first_start() && !state.memory_lost());
        let file = state.apply(&lab, node).unwrap();
        drop(state);
        fs::write(&file, "").unwrap();
        let mut state = StateDir::open(root.path(), &lab, node).unwrap();
        assert!(state.memory_lost());
        state.learn(Elected {
            address: lab.data_nodes[1].socket(),
            epoch: 7,
        });
        let text = fs::read_to_string(state.apply(&lab, node).unwrap()).unwrap();
        for line in [
            "sentinel monitor halab 127.0.0.12 6379 2",
            "sentinel config-epoch halab 7",
            "sentinel leader-epoch halab 7",
            "sentinel current-epoch 7",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn a_state_of_another_lab_is_refused_with_what_keeps_the_data() {
        let (root, mut lab, node, state) = opened();
        state.apply(&lab, &node).unwrap();
        drop(state);
        let moved = lab.relocated([127, 0, 7]);
        lab.primary_name = "other".into();
        for (lab, what) in [
            (&lab, "primary_name was halab"),
            (&moved, "redis-a was 127.0.0.11:6379"),
        ] {
            let node = &lab.data_nodes[0];
            let refused = StateDir::open(root.path(), lab, node)
                .unwrap_err()
                .to_string();
            assert!(
                refused.contains(what) && refused.contains("`halab move`"),
                "{refused}"
            );
            assert!(!refused.contains("remove"), "{refused}");
        }
    }

    #[test]
    fn the_state_of_a_node_is_for_its_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let lab = Lab::parse(include_str!("../../lab.toml"), None).unwrap();
        let node = &lab.data_nodes[0];
        let _state = StateDir::open(root.path(), &lab, node).unwrap();
        let folder = root.path().join(&node.name);
        let mode = fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
