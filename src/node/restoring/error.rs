//! Why a backup was not restored, and how to go back to what was held before.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use crate::backup::folder::FolderError;
use crate::node::NodeError;
use crate::node::state::error::StateError;

/// Why a backup was not restored, or not completely. Every copy is unchanged or kept aside.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is not a data node of that name.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The node is a Sentinel.
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
        held: Vec<HeldCopy>,
        /// The remedy.
        remedy: &'static str,
    },
    /// The backup can't be read, or is damaged.
    #[error(transparent)]
    Backup(#[from] FolderError),
    /// A node runs, or a folder can't be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// It failed after the backup was put in place or a copy was set aside.
    #[error(
        "{source}. The restore is not complete. {}",
        how_to_bring_back(placed.as_deref(), kept)
    )]
    CutShort {
        /// Why it failed.
        source: Box<StateError>,
        /// The backup, if it is in place.
        placed: Option<Box<Kept>>,
        /// The copies that are set aside.
        kept: Vec<Kept>,
    },
}

/// A copy that was set aside for the backup, or the backup itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The node that held it.
    pub node: String,
    /// Where it was, and would be again.
    pub files: PathBuf,
    /// Where it is.
    pub at: PathBuf,
}

fn how_to_bring_back(placed: Option<&Kept>, kept: &[Kept]) -> String {
    let mut text = String::from(
        "To continue with the backup, remove the cause and run the same command again before any node is started. To go back to \
         the previous data, while the nodes are stopped:",
    );
    if let Some(Kept { node, files, at }) = placed.filter(|p| kept.iter().all(|k| k.node != p.node))
    {
        let (files, at) = (files.display(), at.display());
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n  {node} had no data, and has the backup; to remove it:\n    mv -T '{files}' '{at}'"
        );
    }
    for Kept { node, files, at } in kept {
        let (files, at) = (files.display(), at.display());
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n  the data of {node} is in {at}; to put it back:\n    \
             test ! -e '{files}' || mv -T '{files}' '{files}.not-complete'; mv -T '{at}' '{files}'"
        );
    }
    text
}

impl RestoreError {
    /// Whether it was refused before anything was touched.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            RestoreError::WouldReplace { .. } | RestoreError::State(StateError::InUse(_))
        )
    }
}

fn list(held: &[HeldCopy]) -> String {
    let each = held
        .iter()
        .map(|h| format!("{} holds {} ({})", h.node, h.copy, h.seen));
    each.collect::<Vec<_>>().join("; ")
}

/// What a data node holds, as far as it can be seen from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldCopy {
    /// Its name.
    pub node: String,
    /// What it holds, or why that is not known.
    pub copy: String,
    /// Where that was seen.
    pub seen: &'static str,
}
