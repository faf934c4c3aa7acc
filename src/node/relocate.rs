//! `halab move`: moves the state of a stopped lab to other addresses or another name of the
//! primary.
//!
//! It first locks the folders of all nodes, so that none of them runs, and computes all files
//! before it writes the first. Each file is replaced in one step, together with the note of its
//! lab, so an interrupted move is completed by running it again.

mod moved;

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::{Lab, Node};

use super::conf::Conf;
use super::origin::Origin;
use super::state::config_file::{conf_path, usable_conf};
use super::state::error::StateError;
use super::state::{lock, replace};

use moved::move_conf;

/// Why nothing was moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// There is no state to move.
    #[error("no state of a node of this lab in {0}: give the folder with --state")]
    NothingHere(PathBuf),
    /// The state of a node can't be moved.
    #[error("nothing was moved: {node}: {why}")]
    Refused {
        /// The node.
        node: String,
        /// The reason.
        why: String,
    },
    /// A node runs, or a folder can't be used.
    #[error("{0}")]
    State(#[from] StateError),
}

/// The result of a move.
#[derive(Debug, Clone, Serialize)]
pub struct Move {
    /// Every node of the new lab.
    pub nodes: Vec<NodeMove>,
}

/// The result for one node.
#[derive(Debug, Clone, Serialize)]
pub struct NodeMove {
    /// Its name.
    pub node: String,
    /// What was done.
    pub outcome: MoveOutcome,
    /// Each change, in words.
    pub changes: Vec<String>,
}

/// What was done with a node's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MoveOutcome {
    /// It belongs to the new lab now.
    Moved,
    /// It belonged to the new lab before.
    Already,
    /// This machine has none.
    NotHere,
    /// Its config file is missing or empty; the node makes it again at its start.
    Empty,
}

/// Moves the state of every node of `new` that is under `root`. `from` is the lab that it belongs
/// to; `None`: the lab noted in it.
///
/// # Errors
/// If nothing was moved, or, after an error of the file system, not everything.
pub fn move_state(root: &Path, new: &Lab, from: Option<&Lab>) -> Result<Move, MoveError> {
    let to = Origin::of(new);
    let from = from.map(Origin::of);
    let mut locks: Vec<File> = Vec::new();
    let mut planned = Vec::new();
    for node in new.nodes() {
        let folder = root.join(&node.name);
        let file = conf_path(&folder, node);
        let outcome = match (file.exists(), folder.join("data/appendonlydir").exists()) {
            (true, _) => None,
            (false, true) => Some(MoveOutcome::Empty),
            (false, false) => Some(MoveOutcome::NotHere),
        };
        if let Some(outcome) = outcome {
            planned.push((node, None, outcome, Vec::new()));
            continue;
        }
        locks.push(lock(&folder)?);
        planned.push(plan(node, file, from.as_ref(), &to)?);
    }
    if locks.is_empty() {
        return Err(MoveError::NothingHere(root.to_owned()));
    }
    let mut nodes = Vec::new();
    for (node, write, outcome, changes) in planned {
        if let Some((file, text)) = write {
            replace(&file, &text)?;
        }
        nodes.push(NodeMove {
            node: node.name.clone(),
            outcome,
            changes,
        });
    }
    Ok(Move { nodes })
}

type Planned<'a> = (
    &'a Node,
    Option<(PathBuf, String)>,
    MoveOutcome,
    Vec<String>,
);

fn plan<'a>(
    node: &'a Node,
    file: PathBuf,
    from: Option<&Origin>,
    to: &Origin,
) -> Result<Planned<'a>, MoveError> {
    let refused = |why: String| MoveError::Refused {
        node: node.name.clone(),
        why,
    };
    let Some(conf) = usable_conf(&file, node.kind) else {
        return Ok((node, None, MoveOutcome::Empty, Vec::new()));
    };
    let noted = Origin::read(&conf);
    if noted.as_ref().is_some_and(|n| n.difference(to).is_none()) {
        return Ok(already(node, file, conf, from, to));
    }
    let old = match (noted, from) {
        (Some(noted), Some(from)) => match noted.difference(from) {
            Some(d) => {
                return Err(refused(format!(
                    "its state does not belong to the lab of --from or --from-subnet: {} is {} there, and {} in the state",
                    d.what, d.now, d.was
                )));
            }
            None => noted,
        },
        (Some(noted), None) => noted,
        (None, Some(from)) => from.clone(),
        (None, None) => {
            return Err(refused(
                "its state was written by an earlier version, without a note of its lab: give the old lab.toml with --from, or \
                 its network with --from-subnet"
                    .into(),
            ));
        }
    };
    let done = move_conf(&conf, (&node.name, node.kind), &old, to).map_err(refused)?;
    Ok((
        node,
        Some((file, done.conf.text())),
        MoveOutcome::Moved,
        done.changes,
    ))
}

/// A state that belongs to the new lab already. The old addresses of the nodes are noted, if `from`
/// has them and they are not noted yet: an earlier version that noted nothing moved it, or its
/// config file was lost and made again.
fn already<'a>(
    node: &'a Node,
    file: PathBuf,
    mut conf: Conf,
    from: Option<&Origin>,
    to: &Origin,
) -> Planned<'a> {
    let before = conf.text();
    if let Some(from) = from {
        to.note_move(from, &mut conf);
    }
    let after = conf.text();
    if after == before {
        return (node, None, MoveOutcome::Already, Vec::new());
    }
    let changes = vec!["noted: where the nodes were before".to_owned()];
    (node, Some((file, after)), MoveOutcome::Moved, changes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::state::StateDir;
    use super::*;

    fn lab() -> Lab {
        let mut lab = Lab::parse(include_str!("../../lab.toml"), None).unwrap();
        lab.security.acl = false;
        lab
    }

    fn other() -> Lab {
        let mut lab = lab().relocated([127, 0, 7]);
        lab.primary_name = "other".into();
        // Two nodes have each other's address of before.
        let mut addresses = lab.data_nodes.iter_mut().map(|n| &mut n.address);
        let (a, b) = (addresses.next().unwrap(), addresses.next().unwrap());
        std::mem::swap(a, b);
        lab
    }

    fn files(root: &Path, lab: &Lab) -> Vec<String> {
        let read = |node: &Node| fs::read_to_string(conf_path(&root.join(&node.name), node));
        lab.nodes().map(|node| read(node).unwrap()).collect()
    }

    fn made(lab: &Lab) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for node in lab.nodes() {
            let state = StateDir::open(root.path(), lab, node).unwrap();
            state.apply(lab, node).unwrap();
        }
        root
    }

    #[test]
    fn a_move_that_was_cut_short_after_any_file_is_completed_by_the_next() {
        let whole = made(&lab());
        let done = move_state(whole.path(), &other(), None).unwrap();
        assert!(done.nodes.iter().all(|n| n.outcome == MoveOutcome::Moved));
        let wanted = files(whole.path(), &lab());
        for cut in 0..wanted.len() {
            let root = made(&lab());
            // What a kill after so many files leaves.
            for node in lab().nodes().take(cut) {
                let path = |root: &Path| conf_path(&root.join(&node.name), node);
                fs::copy(path(whole.path()), path(root.path())).unwrap();
            }
            let done = move_state(root.path(), &other(), Some(&lab())).unwrap();
            let already = done
                .nodes
                .iter()
                .filter(|n| n.outcome == MoveOutcome::Already);
            assert_eq!(already.count(), cut);
            let text = files(root.path(), &lab()).join("").replace(
                &root.path().display().to_string(),
                &whole.path().display().to_string(),
            );
            assert_eq!(text, wanted.join(""));
            // And the nodes start with it.
            for node in other().nodes() {
                StateDir::open(root.path(), &other(), node).unwrap();
            }
        }
    }

    #[test]
    fn nothing_is_moved_while_a_node_runs_or_when_one_state_is_of_a_third_lab() {
        let root = made(&lab());
        let before = files(root.path(), &lab());
        let sentinel = &lab().sentinels[2];
        let running = StateDir::open(root.path(), &lab(), sentinel).unwrap();
        let refused = move_state(root.path(), &other(), None).unwrap_err();
        assert!(matches!(refused, MoveError::State(StateError::InUse(_))));
        drop(running);
        let third = lab().relocated([127, 0, 9]);
        let refused = move_state(root.path(), &other(), Some(&third)).unwrap_err();
        assert!(matches!(refused, MoveError::Refused { .. }), "{refused}");
        assert_eq!(files(root.path(), &lab()), before);
        let nowhere = tempfile::tempdir().unwrap();
        let refused = move_state(nowhere.path(), &other(), None).unwrap_err();
        assert!(matches!(refused, MoveError::NothingHere(_)));
    }

    #[test]
    fn a_state_that_was_moved_without_a_note_gets_it_by_from() {
        let root = tempfile::tempdir().unwrap();
        let (old, new) = (lab(), lab().relocated([127, 0, 7]));
        let node = &new.data_nodes[0];
        let state = StateDir::open(root.path(), &new, node).unwrap();
        state.apply(&new, node).unwrap();
        assert_eq!(state.moved_from(node), []);
        drop(state);
        let outcome = |from: Option<&Lab>| {
            let done = move_state(root.path(), &new, from).unwrap();
            done.nodes
                .into_iter()
                .find(|n| n.node == node.name)
                .unwrap()
                .outcome
        };
        assert_eq!(outcome(None), MoveOutcome::Already);
        assert_eq!(outcome(Some(&old)), MoveOutcome::Moved);
        assert_eq!(outcome(Some(&old)), MoveOutcome::Already);
        let state = StateDir::open(root.path(), &new, node).unwrap();
        let from = state.moved_from(node);
        assert!(from.contains(&(node.name.clone(), old.data_nodes[0].socket())));
        assert_eq!(from.len(), old.nodes().count());
    }
}
