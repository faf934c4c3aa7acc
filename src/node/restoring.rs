//! `halab restore`: restores a backup on one data node of a lab without data.
//!
//! A server starts from its append-only file: here the data of the backup as its base, and a
//! command after it that writes a mark of another term ([`crate::protocol::copy::Mark::restored`]).
//! So the restored copy does not continue what the lab did after the backup: it neither replaces a
//! node that comes back with that, nor is replaced by it. Everything else is as at any start: the
//! node becomes primary when no other data node can hold more, and the others copy from it.
//!
//! A restore is refused if the backup would replace a copy, on this host or seen over the network,
//! that does not certainly hold less. Replaced files are set aside, never removed. The backup is
//! prepared beside the data, and replaces it when it is complete and on disk
//! ([`StateDir::mark_complete`]). After a kill at any moment the node has its earlier data or the
//! backup. The same command, run again, completes the restore.
//!
//! The copies of other nodes on this host are set aside in an order that is safe after a kill:
//! - Before the backup is in place: data without a mark. Its node would follow the restored node,
//!   and replace that data by a copy of the backup.
//! - After that: data that holds more than the backup, or is apart from it. Its node waits.
//!
//! - `copies`: which copies the backup may replace
//! - `files`: makes the append-only files from the backup
//! - `error`: why nothing was restored

mod copies;
mod error;
mod files;

use std::fs;
use std::path::PathBuf;

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::backup::folder::{self, FolderError};
use crate::backup::manifest::Manifest;
use crate::client::random_ids;
use crate::config::{Lab, Node, NodeKind};
use crate::protocol::copy::{DataCopy, Mark, Relation};

use super::NodeError;
use super::on_disk::copy_in;
use super::state::StateDir;
use super::state::error::StateError;

use copies::{SET_ASIDE, STOP_FIRST, is_less, refuse, seen_up};
pub use error::{HeldCopy, Kept, RestoreError};

/// A step that a restore has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    /// The state folders of this host are locked, and the one of the node is there.
    Locked,
    /// There is a folder for the files.
    FolderMade,
    /// A part of the data is written.
    PartWritten,
    /// A file beside the data is written.
    FileWritten,
    /// All files are on disk, and the node's.
    PutTogether,
    /// From here on it is to be put in place.
    Whole,
    /// What lay in its place is set aside.
    OldKept,
    /// It is in place.
    InPlace,
    /// What another node of this host held, and would have copied over, is set aside.
    FollowerKept,
    /// What another node of this host held is set aside.
    OtherKept,
}

/// The backup, and where to restore it.
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

/// The result of a restore.
#[derive(Debug, Clone, Serialize)]
pub struct Restored {
    /// The node that has it.
    pub node: String,
    /// A restore before this one had put it there, and it has not changed since.
    pub already: bool,
    /// What it holds now.
    pub holds: String,
    /// What the backup holds.
    pub backup: String,
    /// Everything that was acknowledged before that moment is there.
    pub complete_before: chrono::DateTime<chrono::Utc>,
    /// Where copies that lay here are kept.
    pub kept: Vec<PathBuf>,
    /// Data nodes that could not be seen. Should one hold more, it keeps that and waits.
    pub not_seen: Vec<HeldCopy>,
}

/// Restores a backup.
///
/// # Errors
/// If it was not restored, or not completely.
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
    let here = HostRestore {
        lab,
        order,
        node,
        manifest,
        not_seen,
    };
    here.restore(stop, &mut |_| ())
}

/// A restore on this host, after the nodes on the network were checked.
struct HostRestore<'a> {
    lab: &'a Lab,
    order: &'a RestoreOrder,
    node: &'a Node,
    manifest: Manifest,
    not_seen: Vec<HeldCopy>,
}

/// A data node of this host, with its locked state and its copy.
struct LocalNode<'a> {
    node: &'a Node,
    state: StateDir,
    holds: DataCopy,
}

impl HostRestore<'_> {
    /// Calls `done` after each step. It does not await anything; only `stop` interrupts it.
    fn restore(
        self,
        stop: &CancellationToken,
        done: &mut dyn FnMut(Step),
    ) -> Result<Restored, RestoreError> {
        let nodes = self.lock_local_nodes()?;
        let (target, others): (Vec<_>, Vec<_>) =
            nodes.iter().partition(|on| on.node.name == self.node.name);
        let [target] = target[..] else {
            return Err(NodeError::unknown(self.lab, &self.node.name).into());
        };
        let before = files::restored_before(&target.state.files(), &self.manifest, &target.holds);
        let already = before.is_some();
        if !self.order.set_aside {
            let in_the_way = nodes
                .iter()
                .filter(|on| !(already && on.node.name == self.node.name));
            let held =
                in_the_way.map(|on| (on.node.name.clone(), on.holds.clone(), "on this host"));
            refuse(&self.manifest, held.collect(), SET_ASIDE)?;
        }
        done(Step::Locked);
        let mut kept = Vec::new();
        let mark = match before {
            Some(mark) => mark,
            None => self.put_together(&target.state, stop, done)?,
        };
        // Others that hold less copy anew by themselves.
        let in_the_way = others.into_iter();
        let in_the_way = in_the_way.filter(|on| !is_less(&self.manifest.mark, &on.holds));
        let restored = DataCopy::Marked(Box::new(mark.clone()));
        let waits = |on: &&LocalNode<'_>| {
            let relation = restored.against(&on.holds, false);
            matches!(relation, Relation::More | Relation::Apart)
        };
        let (waiting, following): (Vec<_>, Vec<_>) = in_the_way.partition(waits);
        let mut in_place = false;
        let set_aside = || -> Result<(), StateError> {
            for on in following {
                on.keep(&mut kept)?;
                done(Step::FollowerKept);
            }
            if !already {
                target.state.mark_complete()?;
                done(Step::Whole);
                target.keep(&mut kept)?;
                done(Step::OldKept);
                target.state.put_in_place()?;
                in_place = true;
                done(Step::InPlace);
            }
            for on in waiting {
                on.keep(&mut kept)?;
                done(Step::OtherKept);
            }
            Ok(())
        };
        if let Err(source) = set_aside() {
            let placed = (already || in_place).then(|| Box::new(target.placed()));
            return Err(match (&placed, kept.is_empty()) {
                (None, true) => source.into(),
                _ => RestoreError::CutShort {
                    source: Box::new(source),
                    placed,
                    kept,
                },
            });
        }
        target.state.note_holding(&mark.to_string());
        Ok(Restored {
            node: self.node.name.clone(),
            already,
            holds: mark.to_string(),
            backup: self.manifest.holds,
            complete_before: self.manifest.complete_before,
            kept: kept.into_iter().map(|kept| kept.at).collect(),
            not_seen: self.not_seen,
        })
    }

    /// Locks the data nodes of this host, so that none of them runs or is started meanwhile.
    fn lock_local_nodes(&self) -> Result<Vec<LocalNode<'_>>, RestoreError> {
        let root = &self.order.root;
        let mut nodes = Vec::new();
        for node in self
            .lab
            .data_nodes
            .iter()
            .filter(|n| n.name == self.node.name || root.join(&n.name).exists())
        {
            StateDir::refuse_in_use(root, node)?;
            let state = StateDir::open(root, self.lab, node)?;
            let holds = copy_in(&state.files()).unwrap_or_else(|error| {
                warn!(node = %node.name, %error, "the copy cannot be read, so it counts as data without a mark");
                DataCopy::Unmarked
            });
            nodes.push(LocalNode { node, state, holds });
        }
        Ok(nodes)
    }

    /// Prepares the backup beside the node's files. Returns the mark of the restored copy.
    fn put_together(
        &self,
        target: &StateDir,
        stop: &CancellationToken,
        done: &mut dyn FnMut(Step),
    ) -> Result<Mark, RestoreError> {
        let mark = self.manifest.mark.restored(&self.node.name, random_ids());
        let folder = target.restoring();
        let backup = (self.order.backup.as_path(), &self.manifest);
        let made = files::put_together(&folder, backup, &mark, stop, done)
            .and_then(|()| Ok(files::owned_as(&target.data(), &folder)?))
            .and_then(|()| match stop.is_cancelled() {
                true => Err(FolderError::Stopped.into()),
                false => Ok(()),
            });
        if let Err(error) = made {
            // A failure only costs disk space, and the next restore removes it too.
            let _ = fs::remove_dir_all(&folder);
            return Err(error);
        }
        done(Step::PutTogether);
        Ok(mark)
    }
}

impl LocalNode<'_> {
    /// The restored files, and where to move them to undo the restore.
    fn placed(&self) -> Kept {
        let files = self.state.files();
        Kept {
            node: self.node.name.clone(),
            at: files.with_extension("not-complete"),
            files,
        }
    }

    /// Keeps the present files aside, if there are any.
    fn keep(&self, kept: &mut Vec<Kept>) -> Result<(), StateError> {
        let files = self.state.files();
        if files.exists() {
            let at = self.state.keep_aside()?;
            let node = self.node.name.clone();
            kept.push(Kept { node, files, at });
        }
        Ok(())
    }
}

#[cfg(test)]
mod cut_short;
#[cfg(test)]
mod tests;
