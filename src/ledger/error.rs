//! Everything that can go wrong with a ledger, each with its remedy.

use std::io;
use std::path::PathBuf;

use super::codec;
use crate::record::SeqRange;

/// Why the ledger cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `create` found a file.
    #[error(
        "the ledger {path} exists already; continue its run with `halab write --resume`, \
         or name another file"
    )]
    Exists {
        /// The ledger.
        path: PathBuf,
    },
    /// Another process writes it.
    #[error("the ledger {path} is being written by another process; end that writer first")]
    Locked {
        /// The ledger.
        path: PathBuf,
    },
    /// The device is full, or a quota or file size limit is reached.
    #[error(
        "no space left for the ledger {path}; nothing that it does not know was sent: \
         free space, then continue with `halab write --resume`"
    )]
    Full {
        /// The ledger.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another error of the system.
    #[error("cannot {action} the ledger {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The ledger.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A write failed and what it left could not be cut off.
    #[error(
        "the ledger {path} could not be restored after a failed write; end this writer, then \
         continue with `halab write --resume`, which cuts the torn tail off"
    )]
    Broken {
        /// The ledger.
        path: PathBuf,
    },
    /// The file ends inside its header.
    #[error(
        "the ledger {path} ends inside its header, so nothing of its run was ever sent; \
         set it aside and start a new run"
    )]
    HeaderTorn {
        /// The ledger.
        path: PathBuf,
    },
    /// The header is not one that this program reads.
    #[error("cannot read the ledger {path}: {source}")]
    Header {
        /// The ledger.
        path: PathBuf,
        /// What is wrong with it.
        source: codec::Error,
    },
    /// An entry is damaged, and it is not the torn tail of a crash.
    #[error(
        "the ledger {path} is damaged at byte {offset}: {source}; nothing after that byte can be \
         trusted: restore the file from a copy, or start a new run (this one is inconclusive)"
    )]
    Damaged {
        /// The ledger.
        path: PathBuf,
        /// Where the damaged entry begins.
        offset: u64,
        /// What is wrong with it.
        source: codec::Error,
    },
    /// The caller wants to write what cannot be.
    #[error("cannot write this to the ledger {path}: {source}")]
    Refused {
        /// The ledger.
        path: PathBuf,
        /// Why not.
        source: codec::Error,
    },
    /// The caller settles what was never invoked.
    #[error("records {seqs} cannot be settled: the ledger knows records up to {next_seq} only")]
    NotInvoked {
        /// What was to be settled.
        seqs: SeqRange,
        /// The first sequence number that was not handed out yet.
        next_seq: u64,
    },
}

impl Error {
    /// Whether the file that was named is not one to work on: it is no ledger, or one of another run.
    pub fn is_wrong_file(&self) -> bool {
        matches!(
            self,
            Error::Exists { .. } | Error::HeaderTorn { .. } | Error::Header { .. }
        )
    }
}
