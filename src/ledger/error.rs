//! The errors of a ledger, each with its remedy.

use std::io;
use std::path::PathBuf;

use super::codec::CodecError;
use crate::record::SeqRange;

/// Why the ledger cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file to create exists.
    #[error(
        "the ledger {path} already exists; continue its run with `halab write --resume`, \
         or use another file"
    )]
    Exists {
        /// The ledger.
        path: PathBuf,
    },
    /// Another process is writing it.
    #[error("another process is writing the ledger {path}; stop that writer first")]
    Locked {
        /// The ledger.
        path: PathBuf,
    },
    /// The device is full, or a quota or file size limit was reached.
    #[error(
        "no space left for the ledger {path}; no record was sent that is not in it: \
         free space, then continue with `halab write --resume`"
    )]
    Full {
        /// The ledger.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Another system error.
    #[error("cannot {action} the ledger {path}: {source}")]
    Io {
        /// The failed action, as a verb.
        action: &'static str,
        /// The ledger.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A write failed, and its partial entry could not be removed.
    #[error(
        "the ledger {path} could not be restored after a failed write; stop this writer, then \
         continue with `halab write --resume`, which removes the torn tail"
    )]
    Broken {
        /// The ledger.
        path: PathBuf,
    },
    /// The file ends inside its header.
    #[error(
        "the ledger {path} ends inside its header, so no record of its run was ever sent; \
         move it away and start a new run"
    )]
    HeaderTorn {
        /// The ledger.
        path: PathBuf,
    },
    /// The header cannot be read by this program.
    #[error("cannot read the ledger {path}: {source}")]
    Header {
        /// The ledger.
        path: PathBuf,
        /// The problem.
        source: CodecError,
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
        /// The problem.
        source: CodecError,
    },
    /// The entry to write is invalid.
    #[error("cannot write this entry to the ledger {path}: {source}")]
    Refused {
        /// The ledger.
        path: PathBuf,
        /// The problem.
        source: CodecError,
    },
    /// The caller settles records that were never invoked.
    #[error("cannot settle records {seqs}: the ledger only has records below {next_seq}")]
    NotInvoked {
        /// The records to settle.
        seqs: SeqRange,
        /// The first sequence number that was not assigned yet.
        next_seq: u64,
    },
}

impl Error {
    /// Whether the given file is the wrong one: not a ledger, or that of another run.
    pub fn is_wrong_file(&self) -> bool {
        matches!(
            self,
            Error::Exists { .. } | Error::HeaderTorn { .. } | Error::Header { .. }
        )
    }
}
