//! Capacity: what a host and a data node have of memory, disk, descriptors and kernel settings, and what they need.
//!
//! - `finding`: one result of a check (pure)
//! - `rules`: numbers in, findings out, each with its source (pure)
//! - `cgroup`, `meminfo`: what the kernel's texts say of memory (pure)
//! - `read`: the numbers of this host
//!
//! What can't be read is *not known*, and no rule guesses it. Nothing here needs root.

mod cgroup;
mod finding;
mod meminfo;
mod read;
mod rules;

pub use finding::{Finding, Measure, Severity, Unit, human_bytes};
pub use read::{disk_at, host, memory, stored_under};
pub use rules::{HostFacts, NodeFacts, judge_host, judge_node};

/// What a process may have of memory. Swap does not count: a server that is swapped out answers too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// The lowest limit: of the cgroups around the process, or the memory of the machine.
    pub limit: Option<u64>,
    /// What can still be taken of it. File pages that the kernel can drop count as free.
    pub available: Option<u64>,
}

/// A file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Bytes that are free for this user.
    pub free: u64,
    /// Files that can still be made; `None` where the file system has no such limit.
    pub inodes_free: Option<u64>,
}
