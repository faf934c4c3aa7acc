//! A supervisor's report on itself and its server, which shows why something is wrong.
//!
//! Pure: values, and the parser of the server's log. A report contains no secrets, because every
//! client that may read metrics may read it. Unknown fields are ignored and missing ones have
//! defaults, so programs of different versions understand each other.

mod description;
mod server_log;

use serde::{Deserialize, Serialize};

pub use description::Description;
pub use server_log::{Cause, LogProblem, LogReader, ago};

/// File in a node's state folder with the copy that it holds, in words. For display only.
pub const COPY_NOTE: &str = "holds";
/// File in the state folder of a node that has failed or was stopped: its last report, and how it
/// ended.
pub const END_NOTE: &str = "ended.json";
/// Parts of a server's errors that refuse a password.
const REFUSED_PARTS: [&str; 2] = ["(WRONGPASS)", "NOAUTH"];
/// Parts of the errors of an unavailable password: of `access::SecretsError`, whose test holds
/// them.
const UNAVAILABLE_PARTS: [&str; 2] = ["no password for the user", "is not a password: expected"];

/// Whether an error text states that a password was refused or is unavailable.
pub fn is_password_error(error: &str) -> bool {
    lacks_password(error) || REFUSED_PARTS.iter().any(|part| error.contains(part))
}

/// Whether an error text states that a password is unavailable.
pub fn lacks_password(error: &str) -> bool {
    UNAVAILABLE_PARTS.iter().any(|part| error.contains(part))
}

/// The state of one node, as its supervisor sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeReport {
    /// The node's name.
    pub node: String,
    /// The version of `halab`.
    pub version: String,
    /// The server's product and version, such as `Redis 7.0.15`.
    pub server: String,
    /// The server's process is running.
    pub running: bool,
    /// How often the server has ended under this supervisor.
    pub ends: u64,
    /// How the server last ended under this supervisor: its exit status or signal.
    pub last_end: Option<String>,
    /// Why the supervisor itself has ended; only in the note that it leaves in its state folder.
    pub ended: Option<String>,
    /// When it ended, in seconds since 1970; only in that note.
    pub ended_at: Option<u64>,
    /// When the supervisor was stopped on request, in seconds since 1970; only in that note.
    pub stopped_at: Option<u64>,
    /// What the supervisor waits for before it gives its server a role.
    pub waiting: Option<String>,
    /// It waits for an operator to choose a copy (`halab choose`).
    pub needs_choice: bool,
    /// The primary named by the Sentinels, if it is not a data node of the supervisor's
    /// `lab.toml`. It is not followed.
    pub foreign_primary: Option<String>,
    /// Why the server is not started or does not follow the primary, if their versions are the
    /// reason.
    pub version_refused: Option<String>,
    /// The last problem in the server's log, until the log shows that it is over.
    #[serde(alias = "said")]
    pub log_problem: Option<LogProblem>,
    /// The lab as the supervisor knows it.
    pub lab: Description,
    /// Logins that failed because a node refuses a password of this node, or this node has none.
    pub refused: Vec<RefusedLogin>,
    /// Users on the server that are not the lab's. They are removed at its next start.
    pub users_added: Vec<String>,
    /// Users on the server that were not the lab's and were removed.
    pub users_removed: Vec<String>,
    /// Why the disk with the state folder accepts no writes.
    pub disk: Option<String>,
    /// Why the node is not a full member, if it is not: it is not promotable, or leads no
    /// failover.
    pub not_full: Option<String>,
    /// On a primary: the members that are not in its `lab.toml`.
    pub members_unstated: Vec<String>,
    /// A Sentinel is in TILT and does not act.
    pub tilt: bool,
    /// The memory of a data node's server.
    pub memory: Option<MemoryUse>,
}

/// A failed login.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RefusedLogin {
    /// The node that refused it.
    pub by: String,
    /// The user.
    pub user: String,
    /// The error.
    pub why: String,
}

/// Memory in use and its limit, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryUse {
    /// Memory in use, as the limit counts it.
    pub used: u64,
    /// `maxmemory`; 0: no limit.
    pub limit: u64,
}

impl MemoryUse {
    /// Whether the server refuses writes that need memory.
    pub fn is_full(&self) -> bool {
        self.limit > 0 && self.used >= self.limit
    }

    /// From the text of `INFO memory`.
    pub fn of_info(text: &str) -> Option<Self> {
        let number = |key: &str| -> Option<u64> {
            let mut lines = text.lines();
            lines.find_map(|line| line.trim_end().strip_prefix(key)?.parse().ok())
        };
        let limit = number("maxmemory:")?;
        let used = number("used_memory:")?;
        // Buffers of the replicas and of the append-only file.
        let not_counted = number("mem_not_counted_for_evict:").unwrap_or(0);
        Some(MemoryUse {
            used: used.saturating_sub(not_counted),
            limit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_in_use_is_what_the_limit_counts() {
        let info =
            "# Memory\r\nused_memory:1100\r\nmaxmemory:1000\r\nmem_not_counted_for_evict:50\r\n";
        let memory = MemoryUse::of_info(info).unwrap();
        assert_eq!((memory.used, memory.limit), (1050, 1000));
        assert!(memory.is_full());
        let unlimited = MemoryUse::of_info("used_memory:1\r\nmaxmemory:0\r\n").unwrap();
        assert_eq!((unlimited.used, unlimited.limit), (1, 0));
        assert!(!unlimited.is_full());
    }

    #[test]
    fn a_report_of_another_version_is_read() {
        let older = r#"{"node":"redis-a","said":{"cause":"of-the-future","line":"x"},"new":1}"#;
        let report: NodeReport = serde_json::from_str(older).unwrap();
        assert_eq!(report.node, "redis-a");
        assert_eq!(report.log_problem.unwrap().cause, Cause::Other);
        assert_eq!(report.users_added, Vec::<String>::new());
        assert!(!report.needs_choice);
    }
}
