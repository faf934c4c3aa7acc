//! Capacity: memory, disk, descriptors and kernel settings of a host and a data node, available and
//! required.
//!
//! - `finding`: one result of a check (pure)
//! - `rules`: numbers in, findings out, each with its source (pure)
//! - `cgroup`, `meminfo`: the kernel's files about memory (pure)
//! - `read`: the numbers of this host
//!
//! A value that cannot be read is *not known*; rules do not guess it. Nothing here requires root.

mod cgroup;
mod finding;
mod meminfo;
mod read;
mod rules;

pub use finding::{Finding, FindingSeverity, Measure, Unit, human_bytes};
pub use read::{disk_at, host, memory, stored_under};
pub use rules::{HostFacts, NodeFacts, judge_host, judge_node};

/// Memory of a process. Swap does not count: a server that is swapped out answers too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessMemory {
    /// The lowest limit of the cgroups around the process, or the memory of the machine.
    pub limit: Option<u64>,
    /// What is still available of it. File pages that the kernel can drop count as available.
    pub available: Option<u64>,
}

/// The free space of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes available to this user.
    pub free: u64,
    /// Files that can still be created; `None` if the file system has no such limit.
    pub inodes_free: Option<u64>,
}
