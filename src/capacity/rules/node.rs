//! The requirements of a running data node.

use crate::capacity::{DiskSpace, Finding, FindingSeverity, ProcessMemory, Unit, human_bytes};

use super::host::at_least;
use super::reserve::{
    ENOUGH_INODES, FEW_CLIENTS, FEW_INODES, MAX_CLIENTS, RESERVED_DESCRIPTORS, REWRITE_MIN,
    mebibytes_up,
};

/// A larger clock offset makes the times of records wrong, and certificates expire early or late.
const CLOCK_OFF_MS: u64 = 1000;

/// The facts of a data node, from its server and its supervisor. `None` means *not known*.
#[derive(Debug, Clone, Default)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// `used_memory`: what counts towards `maxmemory`.
    pub used: Option<u64>,
    /// `used_memory_rss`: the server's share of the machine's memory.
    pub resident: Option<u64>,
    /// `maxmemory`; 0 means none.
    pub max_memory: Option<u64>,
    /// `maxmemory_policy`.
    pub policy: Option<String>,
    /// `evicted_keys`.
    pub evicted: Option<u64>,
    /// The limit of a replica's output buffer, which is not part of `maxmemory`; 0 means no limit.
    pub replica_buffer: Option<u64>,
    /// The memory according to the supervisor: the limit of its cgroup or machine, and what is
    /// available.
    pub memory: ProcessMemory,
    /// The most memory that a fork has copied so far (`aof_last_cow_size`, `rdb_last_cow_size`).
    pub last_copied: Option<u64>,
    /// Duration of the last fork, in milliseconds.
    pub fork_ms: Option<u64>,
    /// `hang_timeout_ms` of the lab.
    pub hang_timeout_ms: u64,
    /// `aof_current_size`.
    pub aof_size: Option<u64>,
    /// Whether the last write to the append-only file and its last rewrite succeeded.
    pub aof_good: Option<bool>,
    /// The disk with the state folder, according to the supervisor.
    pub disk: Option<DiskSpace>,
    /// Connected clients and replicas.
    pub clients: Option<u64>,
    /// `maxclients`, after the server has adjusted it to its limit of open files.
    pub max_clients: Option<u64>,
    /// Offset of its clock from this host's, in milliseconds, beyond the duration of the question.
    pub clock_off_ms: Option<u64>,
}

/// All findings on a data node.
pub fn judge_node(facts: &NodeFacts) -> Vec<Finding> {
    vec![
        max_memory(facts),
        memory_use(facts),
        eviction(facts),
        fork_headroom(facts),
        fork_time(facts),
        rewrite_space(facts),
        inodes(facts),
        append_only_file(facts),
        max_clients(facts),
        connections(facts),
        clock(facts),
    ]
}

fn unknown(facts: &NodeFacts, code: &'static str, what: &str) -> Finding {
    Finding::not_known(code, &facts.name, what)
}

/// The remedy: raise the memory of a node.
fn raise_memory(to: u64) -> String {
    let mebibytes = mebibytes_up(to);
    format!(
        "raise the limit of its container (--memory {mebibytes}m) or unit (MemoryMax={mebibytes}M), or give the host that much memory"
    )
}

/// <https://redis.io/docs/latest/operate/oss_and_stack/management/optimization/memory-optimization/>
/// (Memory allocation), and .../management/admin/ (Memory): a rewrite under writes can take up to
/// twice the memory. The output buffers of replicas do not count towards `maxmemory` (redis.conf,
/// "maxmemory").
fn max_memory(facts: &NodeFacts) -> Finding {
    const CODE: &str = "maxmemory";
    const WHY: &str = "in addition to maxmemory a server needs the output buffer of a replica that is copying, and during a rewrite up to \
                       the size of its data again; at the limit the kernel kills it";
    let name = &facts.name;
    let Some(most) = facts.max_memory else {
        return unknown(facts, CODE, "the server does not report maxmemory");
    };
    let Some(limit) = facts.memory.limit else {
        return unknown(facts, CODE, "its node does not report its memory limit");
    };
    let buffer = facts.replica_buffer.unwrap_or(0);
    let fitting = limit.saturating_sub(buffer) / 2;
    let used = facts.used.unwrap_or(0);
    let set = |bytes: u64| {
        let mebibytes = bytes / (1 << 20);
        format!(
            "halab cli {name} CONFIG SET maxmemory {mebibytes}mb (then CONFIG REWRITE, and on every data node)"
        )
    };
    let fits = fitting > used.max(1 << 20);
    let raise = |most: u64| raise_memory(most.saturating_mul(2).saturating_add(buffer));
    if most == 0 {
        let what = format!(
            "maxmemory is not set, and the limit is {}",
            human_bytes(limit)
        );
        return Finding::new(CODE, name, what).judged(
            FindingSeverity::Warning,
            "without maxmemory no write is refused: the server grows until the kernel kills it",
            if fits { set(fitting) } else { raise(used) },
        );
    }
    let least = most.saturating_add(buffer);
    let needed = most.saturating_mul(2).saturating_add(buffer);
    let remedy = if fits {
        format!("{}; or {}", set(fitting), raise(most))
    } else {
        raise(most)
    };
    let what = format!("memory limit for a maxmemory of {}", human_bytes(most));
    Finding::new(CODE, name, what)
        .values(Unit::Bytes, limit, needed)
        .judged(at_least(limit, least, needed), WHY, remedy)
}

/// The limit is nine tenths, as in the alert `MemoryNearLimit`.
fn memory_use(facts: &NodeFacts) -> Finding {
    const CODE: &str = "memory-use";
    let name = &facts.name;
    let (used, most, what) = match (
        facts.max_memory,
        facts.used,
        facts.resident,
        facts.memory.limit,
    ) {
        (Some(most @ 1..), Some(used), _, _) => (used, most, "used of maxmemory"),
        (Some(0), _, Some(resident), Some(limit)) => {
            (resident, limit, "resident of the memory limit")
        }
        _ => return unknown(facts, CODE, "memory in use or its limit is not reported"),
    };
    let near = most / 10 * 9;
    let severity = match used {
        used if used >= most => FindingSeverity::Short,
        used if used > near => FindingSeverity::Warning,
        _ => FindingSeverity::Ok,
    };
    Finding::new(CODE, name, format!("{what}, {}", human_bytes(most)))
        .values(Unit::Bytes, used, near)
        .judged(
            severity,
            "at maxmemory every write is refused (noeviction); at the limit of the container or host the kernel kills the server",
            format!("delete unneeded keys, or raise maxmemory and {}", raise_memory(most.saturating_mul(2))),
        )
}

/// <https://redis.io/docs/latest/develop/reference/eviction/>: any other policy removes keys.
fn eviction(facts: &NodeFacts) -> Finding {
    const CODE: &str = "eviction";
    let name = &facts.name;
    let Some(policy) = &facts.policy else {
        return unknown(facts, CODE, "the server does not report maxmemory-policy");
    };
    let evicted = facts.evicted.unwrap_or(0);
    let severity = if policy == "noeviction" && evicted == 0 {
        FindingSeverity::Ok
    } else {
        FindingSeverity::Short
    };
    Finding::new(CODE, name, format!("maxmemory-policy is {policy}"))
        .values(Unit::Keys, evicted, 0)
        .judged(
            severity,
            "an evicted record is a lost acknowledged write",
            format!("halab cli {name} CONFIG SET maxmemory-policy noeviction (then CONFIG REWRITE, and on every data node)"),
        )
}

/// .../management/admin/ (Memory): "up to 2 times the memory normally used" during a rewrite or a
/// full copy under writes. Half of that suffices until half of the pages have been written once.
fn fork_headroom(facts: &NodeFacts) -> Finding {
    const CODE: &str = "fork-headroom";
    let name = &facts.name;
    let (Some(resident), Some(available)) = (facts.resident, facts.memory.available) else {
        return unknown(facts, CODE, "resident or available memory is not reported");
    };
    let least = facts.last_copied.unwrap_or(0).max(resident / 2);
    let needed = resident.max(least);
    let what = format!("available memory for a fork of {}", human_bytes(resident));
    Finding::new(CODE, name, what)
        .values(Unit::Bytes, available, needed)
        .judged(
            at_least(available, least, needed),
            "a rewrite of the append-only file and a full copy fork the server, and each page that is written meanwhile is copied; \
             when no memory is left the kernel kills the server",
            raise_memory(facts.memory.limit.unwrap_or(0).saturating_add(needed.saturating_sub(available))),
        )
}

/// .../optimization/latency/ (Latency generated by fork). The server does not answer during the
/// fork, and its supervisor kills a server that is silent for `hang_timeout_ms`.
fn fork_time(facts: &NodeFacts) -> Finding {
    const CODE: &str = "fork-time";
    let Some(took) = facts.fork_ms else {
        return unknown(
            facts,
            CODE,
            "the server does not report the duration of its last fork",
        );
    };
    let most = facts.hang_timeout_ms;
    let severity = match took {
        took if took >= most => FindingSeverity::Short,
        took if took >= most.div_ceil(2) => FindingSeverity::Warning,
        _ => FindingSeverity::Ok,
    };
    Finding::new(CODE, &facts.name, "the last fork of the server")
        .values(Unit::Milliseconds, took, most / 2)
        .judged(
            severity,
            "the server does not answer while it forks; after hang_timeout_ms its node considers it hung and kills it",
            format!("set hang_timeout_ms = {} in lab.toml (below down_after_ms), or store less data", took.saturating_mul(3)),
        )
}

/// .../management/persistence/ (Log rewriting): the old files stay until the new one is complete.
/// On a replica a full copy is stored in a file first, and then the append-only file is written
/// anew: twice the data.
fn rewrite_space(facts: &NodeFacts) -> Finding {
    const CODE: &str = "rewrite-space";
    let Some(disk) = facts.disk else {
        return unknown(
            facts,
            CODE,
            "its node does not report the free space of its disk",
        );
    };
    let Some(size) = facts.aof_size else {
        return unknown(
            facts,
            CODE,
            "the server does not report the size of its append-only file",
        );
    };
    let least = size.saturating_add(REWRITE_MIN);
    let needed = least.saturating_mul(2);
    let what = format!(
        "free disk space for an append-only file of {}",
        human_bytes(size)
    );
    Finding::new(CODE, &facts.name, what)
        .values(Unit::Bytes, disk.free, needed)
        .judged(
            at_least(disk.free, least, needed),
            "a rewrite writes all data once more, a full copy twice; on a full disk the server refuses writes",
            format!("free {} MiB on the disk of its state folder, outside that folder, or enlarge the disk", mebibytes_up(needed.saturating_sub(disk.free))),
        )
}

fn inodes(facts: &NodeFacts) -> Finding {
    const CODE: &str = "inodes";
    let Some(disk) = facts.disk else {
        return unknown(
            facts,
            CODE,
            "its node does not report the free inodes of its disk",
        );
    };
    match disk.inodes_free {
        None => Finding::new(CODE, &facts.name, "the disk has no limit on files"),
        Some(free) => Finding::new(
            CODE,
            &facts.name,
            "files that can still be created on its disk",
        )
        .values(Unit::Inodes, free, ENOUGH_INODES)
        .judged(
            at_least(free, FEW_INODES, ENOUGH_INODES),
            "without a free inode no file can be created, however much space is left",
            "delete files on that disk (df -i) that are neither in the state folder, which \
             contains the data, nor backups"
                .into(),
        ),
    }
}

/// INFO persistence: `aof_last_write_status`, `aof_last_bgrewrite_status`.
fn append_only_file(facts: &NodeFacts) -> Finding {
    const CODE: &str = "append-only-file";
    let name = &facts.name;
    let Some(good) = facts.aof_good else {
        return unknown(
            facts,
            CODE,
            "the server does not report whether the append-only file could be written",
        );
    };
    let (severity, what) = if good {
        (
            FindingSeverity::Ok,
            "the append-only file was written and rewritten",
        )
    } else {
        (
            FindingSeverity::Short,
            "the last write or rewrite of the append-only file failed",
        )
    };
    Finding::new(CODE, name, what).judged(
        severity,
        "while it cannot be written the server refuses writes; while it cannot be rewritten it grows until the disk is full",
        format!("free disk space or memory, according to the log of {name}; the server retries by itself"),
    )
}

/// .../develop/reference/clients/: the server reduces `maxclients` to fit its limit of open files.
fn max_clients(facts: &NodeFacts) -> Finding {
    const CODE: &str = "max-clients";
    let Some(most) = facts.max_clients else {
        return unknown(facts, CODE, "the server does not report maxclients");
    };
    Finding::new(CODE, &facts.name, "connections that the server accepts")
        .values(Unit::Connections, most, MAX_CLIENTS)
        .judged(
            at_least(most, FEW_CLIENTS, MAX_CLIENTS),
            "with a low limit of open files a server reduces maxclients and refuses further writers, Sentinels and replicas",
            format!(
                "set LimitNOFILE={0} in its unit or --ulimit nofile={0} for its container, or run ulimit -Hn {0} before its start; then restart the node",
                MAX_CLIENTS + RESERVED_DESCRIPTORS
            ),
        )
}

/// The limit is eight tenths, as in the alert `ConnectionsNearLimit`.
fn connections(facts: &NodeFacts) -> Finding {
    const CODE: &str = "connections";
    let (Some(now), Some(most)) = (facts.clients, facts.max_clients) else {
        return unknown(facts, CODE, "the server does not report its connections");
    };
    let near = most.saturating_mul(8) / 10;
    let severity = match now {
        now if now >= most => FindingSeverity::Short,
        now if now > near => FindingSeverity::Warning,
        _ => FindingSeverity::Ok,
    };
    Finding::new(CODE, &facts.name, format!("connections, of {most}"))
        .values(Unit::Connections, now, near)
        .judged(
            severity,
            "at the limit writers, Sentinels and replicas are refused",
            format!(
                "halab cli {} CLIENT LIST shows the clients; close idle ones, or raise maxclients and the limit of open files",
                facts.name
            ),
        )
}

fn clock(facts: &NodeFacts) -> Finding {
    const CODE: &str = "clock";
    let Some(off) = facts.clock_off_ms else {
        return unknown(facts, CODE, "the server does not report its time");
    };
    let severity = if off > CLOCK_OFF_MS {
        FindingSeverity::Warning
    } else {
        FindingSeverity::Ok
    };
    Finding::new(CODE, &facts.name, "offset of its clock from this host's")
        .values(Unit::Milliseconds, off, CLOCK_OFF_MS)
        .judged(
            severity,
            "no decision depends on it, but records contain the time, and certificates expire by it",
            "synchronize both hosts with a time server: timedatectl set-ntp true, or chronyd".into(),
        )
}

#[cfg(test)]
mod tests;
