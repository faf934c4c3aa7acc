//! `halab restore`: a backup, put in place on one data node of a lab that holds nothing.
//!
//! What a server starts from is its append-only file: here the data of the backup as its base, and one command behind it, which writes a mark
//! of another term ([`crate::protocol::copy::Mark::restored`]). So the restored copy is no continuation of what the lab did after the
//! backup, and a node that comes back with that neither replaces it nor is replaced by it. Everything else is as at any start: the
//! node takes the role when no other data node can hold more, and the others copy from it.
//!
//! Refused is what would put the backup in the place of a copy, on this host or seen over the network, that is not certainly less.
//! What lies in its place is kept aside, never removed. The backup is put together beside the data, and takes its place in
//! one step, when it is whole and on disk; so one that is cut short leaves nothing that a server would start from.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::access::User;
use crate::backup::folder::{self, Copied, FolderError};
use crate::backup::manifest::Manifest;
use crate::client::{ClientError, Connector, drawn};
use crate::config::{Lab, NodeKind};
use crate::protocol::copy::{Copy, MARK_KEY, Mark, Relation};
use crate::protocol::roster::ROSTER_KEY;

use super::NodeError;
use super::held::held_in;
use super::state::{AOF_LIST, StateDir, StateError, io_error};

/// Limit for a connect or an answer of a node.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// Names as the server gives them, by default (`appendfilename`).
const BASE: &str = "appendonly.aof.1.base.rdb";
const COMMANDS: &str = "appendonly.aof.1.incr.aof";

/// Why nothing was restored. In all cases every copy is where it was, or kept aside.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is no data node of that name.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A Sentinel holds no data.
    #[error("{0} is a Sentinel, which holds no data")]
    Sentinel(String),
    /// A copy that may hold what the backup lacks would be replaced.
    #[error(
        "nothing was restored: the backup holds {backup}, and {}. {remedy}",
        list(held)
    )]
    WouldReplace {
        /// What the backup holds.
        backup: String,
        /// The copies that are not less.
        held: Vec<Held>,
        /// What helps.
        remedy: &'static str,
    },
    /// The backup can't be read, or is damaged.
    #[error(transparent)]
    Backup(#[from] FolderError),
    /// A node runs, or a folder can't be used.
    #[error(transparent)]
    State(#[from] StateError),
}

impl RestoreError {
    /// Whether it was refused before anything was touched.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            RestoreError::Node(_) | RestoreError::Sentinel(_) | RestoreError::WouldReplace { .. }
        )
    }
}

fn list(held: &[Held]) -> String {
    let each = held
        .iter()
        .map(|h| format!("{} holds {} ({})", h.node, h.copy, h.seen));
    each.collect::<Vec<_>>().join("; ")
}

const SET_ASIDE: &str = "If the lab is to go on with the backup all the same: halab restore --set-aside, which keeps what is here on its \
    disk, as data/appendonlydir.kept-N";
const STOP_FIRST: &str = "To go on with what the lab holds, start its nodes. If it is to go on with the backup: stop the data nodes \
    first; those that are started later keep what they hold, wait, and name halab choose";

/// What is to be restored, and where to.
#[derive(Debug, Clone)]
pub struct RestoreOrder {
    /// Folder with the nodes' state.
    pub root: PathBuf,
    /// The data node; otherwise the one that is primary in a lab without state (`seed_primary`).
    pub node: Option<String>,
    /// The backup's folder.
    pub backup: PathBuf,
    /// Copies on this host that are not less are kept aside, instead of refusing.
    pub set_aside: bool,
}

/// What a data node holds, as far as it can be seen from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Its name.
    pub node: String,
    /// What it holds, or why that is not known.
    pub copy: String,
    /// Where that was seen.
    pub seen: &'static str,
}

/// What was restored.
#[derive(Debug, Clone, Serialize)]
pub struct Restored {
    /// The node that has it.
    pub node: String,
    /// What it holds now.
    pub holds: String,
    /// What the backup holds.
    pub backup: String,
    /// Everything that was acknowledged before that moment is there.
    pub complete_before: chrono::DateTime<chrono::Utc>,
    /// Where copies that lay here are kept.
    pub kept: Vec<PathBuf>,
    /// Data nodes that could not be seen. Should one hold more, it keeps that and waits.
    pub not_seen: Vec<Held>,
}

/// Puts a backup in place.
///
/// # Errors
/// Why nothing was restored.
pub async fn restore(
    lab: &Lab,
    order: &RestoreOrder,
    stop: &CancellationToken,
) -> Result<Restored, RestoreError> {
    let name = order.node.as_deref().unwrap_or(&lab.seed_primary);
    let node = lab
        .node(name)
        .ok_or_else(|| NodeError::unknown(lab, name))?;
    if node.kind != NodeKind::Data {
        return Err(RestoreError::Sentinel(name.to_owned()));
    }
    let manifest = folder::describe(&order.backup)?;
    let (up, not_seen) = seen_up(lab).await;
    refuse(&manifest, up, STOP_FIRST)?;
    // All of this host: none of them runs, or is started meanwhile.
    let mut here = Vec::new();
    for node in lab
        .data_nodes
        .iter()
        .filter(|n| n.name == name || order.root.join(&n.name).exists())
    {
        StateDir::refuse_in_use(&order.root, node)?;
        here.push((node, StateDir::open(&order.root, lab, node)?));
    }
    let mut held = Vec::new();
    for (node, state) in &here {
        let copy = held_in(&state.files()).unwrap_or_else(|error| {
            warn!(node = %node.name, %error, "what it holds can't be read, so it counts as data without a mark");
            Copy::Unmarked
        });
        held.push((node.name.clone(), copy, "on this host"));
    }
    if !order.set_aside {
        refuse(&manifest, held.clone(), SET_ASIDE)?;
    }
    let Some((_, target)) = here.iter().find(|(n, _)| n.name == name) else {
        return Err(NodeError::unknown(lab, name).into());
    };
    let mark = manifest.mark.restored(name, drawn());
    let restoring = target.restoring();
    let made = put_together(&restoring, &order.backup, &manifest, &mark, stop)
        .and_then(|()| Ok(owned_as(&target.data(), &restoring)?))
        .and_then(|()| match stop.is_cancelled() {
            true => Err(FolderError::Stopped.into()),
            false => Ok(()),
        });
    if let Err(error) = made {
        // It costs room, and the next one removes it too.
        let _ = fs::remove_dir_all(&restoring);
        return Err(error);
    }
    let mut kept = Vec::new();
    for ((node, state), (_, held, _)) in here.iter().zip(&held) {
        // Others that hold less copy anew by themselves.
        let goes = node.name == name || !is_less(&manifest.mark, held);
        if goes && state.files().exists() {
            kept.push(state.keep_aside()?);
        }
    }
    let (from, to) = (target.restoring(), target.files());
    fs::rename(&from, &to).map_err(io_error("cannot move", &from))?;
    folder::sync_folder(&target.data())?;
    target.note_holding(&mark.to_string());
    Ok(Restored {
        node: name.to_owned(),
        holds: mark.to_string(),
        backup: manifest.holds,
        complete_before: manifest.complete_before,
        kept,
        not_seen,
    })
}

/// A node, what it holds, and where that was seen.
type Seen = (String, Copy, &'static str);

/// What the data nodes hold that are up, and those that are not, or don't say.
async fn seen_up(lab: &Lab) -> (Vec<Seen>, Vec<Held>) {
    let connector = Connector::new(lab, User::Verifier, ANSWER_LIMIT);
    let all = lab.data_nodes.iter().map(|node| {
        let connector = &connector;
        async move {
            let ask = async { connector.open(node.socket()).await?.holding().await };
            let answer: Result<_, ClientError> = ask.await;
            (node.name.clone(), answer)
        }
    });
    let (mut up, mut not_seen) = (Vec::new(), Vec::new());
    for (node, answer) in join_all(all).await {
        let copy = match answer {
            Ok((_, Some(copy))) => {
                up.push((node, copy, "it is up"));
                continue;
            }
            Ok((_, None)) => "not known: it loads its data".to_owned(),
            Err(error) => format!("not known: {error}"),
        };
        let seen = "over the network";
        not_seen.push(Held { node, copy, seen });
    }
    (up, not_seen)
}

/// Whether a copy may give way to the backup: it holds nothing, or certainly less.
fn is_less(backup: &Mark, held: &Copy) -> bool {
    let backup = Copy::Marked(Box::new(backup.clone()));
    match held {
        Copy::Empty => true,
        // What somebody put there is nobody's to replace.
        Copy::Unmarked => false,
        Copy::Marked(_) => backup.against(held, false) == Relation::Less,
    }
}

fn refuse(manifest: &Manifest, held: Vec<Seen>, remedy: &'static str) -> Result<(), RestoreError> {
    let more: Vec<Held> = held
        .into_iter()
        .filter(|(_, copy, _)| !is_less(&manifest.mark, copy))
        .map(|(node, copy, seen)| Held {
            node,
            copy: copy.to_string(),
            seen,
        })
        .collect();
    if more.is_empty() {
        return Ok(());
    }
    Err(RestoreError::WouldReplace {
        backup: manifest.holds.clone(),
        held: more,
        remedy,
    })
}

/// Puts the files together that a server starts from, and has them stored.
fn put_together(
    folder: &Path,
    backup: &Path,
    manifest: &Manifest,
    mark: &Mark,
    stop: &CancellationToken,
) -> Result<(), RestoreError> {
    DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .map_err(io_error("cannot make", folder))?;
    let mut base = Copied::begin(folder.join(BASE))?;
    folder::read_data(backup, manifest, |part| {
        if stop.is_cancelled() {
            return Err(FolderError::Stopped);
        }
        base.push(part)
    })?;
    // It is what was checked while it was read.
    drop(base.finish(BASE)?);
    let commands = commands(mark);
    let list = format!("file {BASE} seq 1 type b\nfile {COMMANDS} seq 1 type i\n");
    for (name, text) in [(COMMANDS, commands), (AOF_LIST, list)] {
        let path = folder.join(name);
        let write = || -> io::Result<()> {
            let mut file = File::create_new(&path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(io_error("cannot write", &path))?;
    }
    Ok(folder::sync_folder(folder)?)
}

/// Gives a folder and its files to the owner of `like`: the node's user is to read what root has put there.
fn owned_as(like: &Path, folder: &Path) -> Result<(), StateError> {
    let owner = |path: &Path| fs::metadata(path).map(|m| (m.uid(), m.gid()));
    let hand_over = || -> io::Result<()> {
        let (uid, gid) = owner(like)?;
        let mut paths = vec![folder.to_owned()];
        for entry in fs::read_dir(folder)? {
            paths.push(entry?.path());
        }
        for path in paths {
            if owner(&path)? != (uid, gid) {
                chown(&path, Some(uid), Some(gid))?;
            }
        }
        Ok(())
    };
    hand_over().map_err(io_error(
        "cannot give to the owner of the state folder",
        folder,
    ))
}

/// The commands behind the data, which write the mark and remove the list of members.
fn commands(mark: &Mark) -> String {
    let text = mark.to_text();
    let mut out = String::new();
    // The members are those of lab.toml, not of the time of the backup.
    let all = [
        &["SELECT", "0"][..],
        &["SET", MARK_KEY, &text],
        &["DEL", ROSTER_KEY],
    ];
    for words in all {
        // Writing to a String cannot fail.
        let _ = write!(out, "*{}\r\n", words.len());
        for word in words {
            let _ = write!(out, "${}\r\n{word}\r\n", word.len());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::folder::tests::backup_in;
    use crate::backup::rdb::tests::{mark, marked};
    use crate::protocol::copy::Completeness;

    /// A lab at addresses where nothing listens, an order for its seed, and a backup with that mark.
    fn ordered(backup: &Mark) -> (tempfile::TempDir, Lab, RestoreOrder) {
        let root = tempfile::tempdir().unwrap();
        let mut lab = Lab::parse(include_str!("../../lab.toml"), None)
            .unwrap()
            .relocated([127, 254, 253]);
        lab.security.acl = false;
        let order = RestoreOrder {
            root: root.path().join("state"),
            node: None,
            backup: backup_in(root.path(), backup),
            set_aside: false,
        };
        (root, lab, order)
    }

    fn data(order: &RestoreOrder, node: &str) -> PathBuf {
        order.root.join(node).join("data")
    }

    /// What a node with that mark has on disk.
    fn put(order: &RestoreOrder, node: &str, base: &Mark, then: Option<&Mark>) {
        let files = data(order, node).join("appendonlydir");
        fs::create_dir_all(&files).unwrap();
        let list = "file a.1.base.rdb seq 1 type h\nfile a.2.base.rdb seq 2 type b\nfile a.2.incr.aof seq 2 type i\n";
        fs::write(files.join("a.manifest"), list).unwrap();
        fs::write(files.join("a.2.base.rdb"), marked(base)).unwrap();
        fs::write(
            files.join("a.2.incr.aof"),
            then.map_or(String::new(), commands),
        )
        .unwrap();
    }

    fn later(mark: &Mark) -> Mark {
        mark.next(Some(1), Completeness::Open)
    }

    fn never() -> CancellationToken {
        CancellationToken::new()
    }

    #[tokio::test]
    async fn a_restored_node_has_the_data_and_a_mark_of_another_term() {
        let backup = later(&mark());
        let (_root, lab, order) = ordered(&backup);
        let restored = restore(&lab, &order, &never()).await.unwrap();
        assert_eq!(
            (restored.node.as_str(), restored.kept.len()),
            ("redis-a", 0)
        );
        assert_eq!(restored.not_seen.len(), 2);
        let files = data(&order, "redis-a").join("appendonlydir");
        assert_eq!(fs::read(files.join(BASE)).unwrap(), marked(&backup));
        let Copy::Marked(now) = held_in(&files).unwrap() else {
            panic!("no mark");
        };
        assert_eq!(now.to_string(), restored.holds);
        let (now, was) = (Copy::Marked(now), Copy::Marked(Box::new(backup)));
        assert_eq!(now.against(&was, false), Relation::Apart);
        // Once is enough, and a second time would begin another term.
        let refused = restore(&lab, &order, &never()).await.unwrap_err();
        assert!(refused.is_refusal(), "{refused}");
        // The node starts from it.
        StateDir::open(&order.root, &lab, &lab.data_nodes[0]).unwrap();
        assert_eq!(held_in(&files).unwrap(), now);
    }

    #[tokio::test]
    async fn only_what_is_certainly_less_gives_way_and_it_is_kept() {
        let backup = later(&later(&mark()));
        let (_root, lab, mut order) = ordered(&backup);
        // The commands count, not what they are behind.
        put(&order, "redis-a", &mark(), Some(&later(&backup)));
        put(&order, "redis-b", &mark(), None);
        let refused = restore(&lab, &order, &never()).await.unwrap_err();
        let said = refused.to_string();
        assert!(refused.is_refusal(), "{said}");
        for part in [
            "redis-a holds term 1 (redis-a), mark 4 (on this host)",
            "--set-aside",
        ] {
            assert!(said.contains(part), "{said}");
        }
        assert!(!said.contains("redis-b"), "{said}");
        put(&order, "redis-a", &mark(), Some(&later(&mark())));
        let restored = restore(&lab, &order, &never()).await.unwrap();
        let kept = data(&order, "redis-a")
            .canonicalize()
            .unwrap()
            .join("appendonlydir.kept-1");
        assert_eq!(restored.kept, std::slice::from_ref(&kept));
        assert_eq!(
            fs::read(kept.join("a.2.base.rdb")).unwrap(),
            marked(&mark())
        );
        // That of the other node holds less: it follows.
        let other = data(&order, "redis-b").join("appendonlydir/a.2.base.rdb");
        assert!(other.exists());

        // Somebody's own data, and a newer copy of the other node.
        put(&order, "redis-b", &later(&backup), None);
        let files = data(&order, "redis-a").join("appendonlydir");
        fs::write(files.join(BASE), "something").unwrap();
        fs::write(files.join(COMMANDS), "").unwrap();
        let said = restore(&lab, &order, &never())
            .await
            .unwrap_err()
            .to_string();
        for part in ["redis-a holds data without a mark", "redis-b holds term 1"] {
            assert!(said.contains(part), "{said}");
        }
        order.set_aside = true;
        let restored = restore(&lab, &order, &never()).await.unwrap();
        assert_eq!(restored.kept.len(), 2, "{restored:?}");
        assert!(restored.kept.iter().all(|kept| kept.exists()));
        assert!(!data(&order, "redis-b").join("appendonlydir").exists());
    }

    #[tokio::test]
    async fn what_was_set_aside_for_a_copy_that_is_not_complete_is_seen_too() {
        let backup = later(&mark());
        let (_root, lab, order) = ordered(&backup);
        put(&order, "redis-a", &later(&backup), None);
        let files = data(&order, "redis-a").join("appendonlydir");
        fs::rename(&files, files.with_extension("aside")).unwrap();
        let refused = restore(&lab, &order, &never()).await.unwrap_err();
        assert!(refused.is_refusal(), "{refused}");
    }

    #[tokio::test]
    async fn a_damaged_backup_and_a_node_that_runs_leave_all_as_it_was() {
        let backup = later(&mark());
        let (_root, lab, order) = ordered(&backup);
        put(&order, "redis-a", &mark(), None);
        let before = held_in(&data(&order, "redis-a").join("appendonlydir")).unwrap();
        let running = StateDir::open(&order.root, &lab, &lab.data_nodes[0]).unwrap();
        let refused = restore(&lab, &order, &never()).await.unwrap_err();
        assert!(
            matches!(refused, RestoreError::State(StateError::InUse(_))),
            "{refused}"
        );
        drop(running);
        let file = order.backup.join(folder::DATA);
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..whole.len() - 1]).unwrap();
        let refused = restore(&lab, &order, &never()).await.unwrap_err();
        assert!(matches!(refused, RestoreError::Backup(_)), "{refused}");
        assert_eq!(
            held_in(&data(&order, "redis-a").join("appendonlydir")).unwrap(),
            before
        );
        fs::write(&file, &whole).unwrap();
        let restored = restore(&lab, &order, &never()).await.unwrap();
        assert_eq!(restored.kept.len(), 1);
        let sentinel = RestoreOrder {
            node: Some("sentinel-1".into()),
            ..order
        };
        assert!(
            restore(&lab, &sentinel, &never())
                .await
                .unwrap_err()
                .is_refusal()
        );
    }

    #[tokio::test]
    async fn one_that_is_stopped_changes_nothing() {
        let (_root, lab, order) = ordered(&later(&mark()));
        let stop = never();
        stop.cancel();
        let stopped = restore(&lab, &order, &stop).await.unwrap_err();
        assert!(
            stopped.to_string().contains("nothing was changed"),
            "{stopped}"
        );
        let data = data(&order, "redis-a");
        assert!(!data.join("appendonlydir.restoring").exists());
        assert!(!data.join("appendonlydir").exists());
    }
}
