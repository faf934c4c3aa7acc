//! What a node's parent (`halab node`) states about itself and its server, for whoever asks why something is wrong.
//!
//! Pure: values, and how they are read from a server's log. Invariants: nothing secret is in a report, since whoever may read
//! metrics may read it. What a reader does not know is ignored, and what is missing has a default, so that programs of
//! different versions understand each other.

mod description;
mod said;

use serde::{Deserialize, Serialize};

pub use description::Description;
pub use said::{Cause, Reading, Said, ago};

/// What a server's refusal of a password has in it.
const REFUSED: [&str; 2] = ["(WRONGPASS)", "NOAUTH"];
/// What errors about the own file of a password have in them.
const NO_FILE: [&str; 2] = [
    "there is no password of the user",
    "is no password: one line",
];

/// Whether an error, as it is shown, says that a password was refused or is missing.
pub fn is_of_password(error: &str) -> bool {
    lacks_password(error) || REFUSED.iter().any(|part| error.contains(part))
}

/// Whether an error, as it is shown, says that there was no password to be tried.
pub fn lacks_password(error: &str) -> bool {
    NO_FILE.iter().any(|part| error.contains(part))
}

/// The state of one node, as its parent sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The node's name.
    pub node: String,
    /// The version of `halab`.
    pub version: String,
    /// The server's product and version, as `Redis 7.0.15`.
    pub server: String,
    /// The server's process runs.
    pub running: bool,
    /// How the server ended last, in this life of the parent: its exit status or signal.
    pub last_end: Option<String>,
    /// Why the parent itself has ended; only in the note that it leaves in its state folder.
    pub ended: Option<String>,
    /// When it has ended so, in seconds since 1970; only in that note.
    pub ended_at: Option<u64>,
    /// When the parent was stopped on request, in seconds since 1970; only in that note.
    pub stopped_at: Option<u64>,
    /// What the parent waits for before it gives its server a role.
    pub waiting: Option<String>,
    /// Whom the Sentinels name primary, where that is no data node of the parent's `lab.toml`: it is not followed.
    pub foreign_primary: Option<String>,
    /// Why the server is not started, or does not follow the primary, for the versions of the two.
    pub version_refused: Option<String>,
    /// What the server's log said last about something that is wrong, until it says that it is over.
    pub said: Option<Said>,
    /// The lab as the parent knows it.
    pub lab: Description,
    /// Nodes that refuse a password that this node uses, or passwords that this node lacks.
    pub refused: Vec<Refused>,
    /// Users on the server that are not of the lab: they are gone at its next start.
    pub users_added: Vec<String>,
    /// Users that were on the server, were not of the lab, and are gone.
    pub users_removed: Vec<String>,
    /// Why the disk under the state folder takes no writes.
    pub disk: Option<String>,
    /// Why the node is not a full member of the lab, where that is so: it is not promotable, or leads no failover.
    pub not_full: Option<String>,
    /// Of a primary: the members that its lab.toml does not state.
    pub members_unstated: Vec<String>,
    /// A Sentinel in TILT: it judges nothing.
    pub tilt: bool,
    /// The memory of a data node's server, where that has a limit.
    pub memory: Option<Memory>,
}

/// A login that did not succeed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Refused {
    /// By which node.
    pub by: String,
    /// As which user.
    pub user: String,
    /// What was said.
    pub why: String,
}

/// Memory against its limit, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// In use, as far as the limit counts it.
    pub used: u64,
    /// `maxmemory`.
    pub limit: u64,
}

impl Memory {
    /// The server refuses writes that need memory.
    pub fn is_full(&self) -> bool {
        self.limit > 0 && self.used >= self.limit
    }

    /// From the text of `INFO memory`; nothing without a limit.
    pub fn of_info(text: &str) -> Option<Self> {
        let number = |key: &str| -> Option<u64> {
            let mut lines = text.lines();
            lines.find_map(|line| line.trim_end().strip_prefix(key)?.parse().ok())
        };
        let limit = number("maxmemory:").filter(|limit| *limit > 0)?;
        let used = number("used_memory:")?;
        // Buffers of replicas and of the append-only file.
        let beside = number("mem_not_counted_for_evict:").unwrap_or(0);
        Some(Memory {
            used: used.saturating_sub(beside),
            limit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_counts_what_the_limit_counts() {
        let info =
            "# Memory\r\nused_memory:1100\r\nmaxmemory:1000\r\nmem_not_counted_for_evict:50\r\n";
        let memory = Memory::of_info(info).unwrap();
        assert_eq!((memory.used, memory.limit), (1050, 1000));
        assert!(memory.is_full());
        assert_eq!(Memory::of_info("used_memory:1\r\nmaxmemory:0\r\n"), None);
    }

    #[test]
    fn a_report_of_another_version_is_read() {
        let older = r#"{"node":"redis-a","said":{"cause":"of-the-future","line":"x"},"new":1}"#;
        let report: Report = serde_json::from_str(older).unwrap();
        assert_eq!(report.node, "redis-a");
        assert_eq!(report.said.unwrap().cause, Cause::Other);
        assert_eq!(report.users_added, Vec::<String>::new());
    }
}
