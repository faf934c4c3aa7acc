//! The answers of a data node's server and supervisor as [`NodeFacts`].

use std::collections::HashMap;

use crate::capacity::{DiskSpace, NodeFacts, ProcessMemory};

/// The answers of one data node.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NodeAnswers<'a> {
    /// `INFO`.
    pub(super) info: &'a str,
    /// The metrics of the supervisor.
    pub(super) metrics: Option<&'a str>,
    /// `CONFIG GET client-output-buffer-limit`.
    pub(super) buffers: Option<&'a str>,
    /// Local time in microseconds before `INFO` was sent and after it was answered.
    pub(super) asked: (u64, u64),
}

impl NodeAnswers<'_> {
    /// The facts in these answers.
    pub(super) fn facts(&self, name: &str, hang_timeout_ms: u64) -> NodeFacts {
        let info: HashMap<&str, &str> = self
            .info
            .lines()
            .filter_map(|line| line.trim_end().split_once(':'))
            .collect();
        let number = |key: &str| -> Option<u64> { info.get(key)?.parse().ok() };
        let all = |keys: [&str; 2]| keys.map(number).into_iter().flatten();
        let writes = |key: &str| info.get(key).map(|status| *status == "ok");
        let metric = |name: &str| self.metrics.and_then(|text| metric(text, name));
        // Replicas are counted separately, and count against the same limit.
        let clients = number("connected_clients")
            .map(|clients| clients + number("connected_slaves").unwrap_or(0));
        NodeFacts {
            name: name.to_owned(),
            used: number("used_memory"),
            resident: number("used_memory_rss"),
            max_memory: number("maxmemory"),
            policy: info.get("maxmemory_policy").map(|&p| p.to_owned()),
            evicted: number("evicted_keys"),
            replica_buffer: self.buffers.and_then(replica_buffer),
            memory: ProcessMemory {
                limit: metric("halab_node_memory_limit_bytes"),
                available: metric("halab_node_memory_available_bytes"),
            },
            last_copied: all(["aof_last_cow_size", "rdb_last_cow_size"]).max(),
            fork_ms: number("latest_fork_usec").map(|us| us / 1000),
            hang_timeout_ms,
            aof_size: number("aof_current_size"),
            aof_good: writes("aof_last_write_status")
                .zip(writes("aof_last_bgrewrite_status"))
                .map(|(write, rewrite)| write && rewrite),
            disk: metric("halab_node_disk_free_bytes").map(|free| DiskSpace {
                free,
                inodes_free: metric("halab_node_disk_inodes_free"),
            }),
            clients,
            max_clients: number("maxclients"),
            clock_off_ms: number("server_time_usec")
                .map(|there| clock_difference(there, self.asked)),
        }
    }
}

/// Clock difference in milliseconds, beyond the time that the question took.
fn clock_difference(there: u64, (before, after): (u64, u64)) -> u64 {
    let early = before.saturating_sub(there);
    let late = there.saturating_sub(after);
    early.max(late) / 1000
}

/// The value of a metric without labels. `None` also for NaN, which means not known.
fn metric(text: &str, name: &str) -> Option<u64> {
    let value: f64 = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?
        .trim()
        .parse()
        .ok()?;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and a float that is too large becomes the largest number"
    )]
    (value >= 0.0).then_some(value as u64)
}

/// The hard limit of a replica's output buffer in
/// `normal 0 0 0 slave 536870912 0 0 pubsub 33554432 8388608 60`.
fn replica_buffer(limits: &str) -> Option<u64> {
    let mut words = limits.split_whitespace();
    words.find(|word| ["slave", "replica"].contains(word))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nserver_time_usec:5000000\r\n# Clients\r\nconnected_clients:7\r\nmaxclients:224\r\n\
        # Memory\r\nused_memory:1000\r\nused_memory_rss:2000\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n\
        # Persistence\r\nrdb_last_cow_size:5\r\naof_last_cow_size:300\r\naof_last_write_status:ok\r\n\
        aof_last_bgrewrite_status:err\r\naof_current_size:88\r\n# Stats\r\nevicted_keys:0\r\nlatest_fork_usec:1999\r\n\
        # Replication\r\nconnected_slaves:1\r\n";
    const METRICS: &str = "# HELP halab_node_disk_free_bytes x\n# TYPE halab_node_disk_free_bytes gauge\n\
        halab_node_disk_free_bytes 56000000000.0\nhalab_node_disk_inodes_free NaN\n\
        halab_node_memory_limit_bytes 25276510208.0\nhalab_node_memory_available_bytes NaN\n# EOF\n";

    #[test]
    fn server_and_supervisor_together_have_all_facts() {
        let answers = NodeAnswers {
            info: INFO,
            metrics: Some(METRICS),
            buffers: Some("normal 0 0 0 slave 536870912 0 0 pubsub 33554432 8388608 60"),
            asked: (5_500_000, 5_600_000),
        };
        let facts = answers.facts("redis-a", 1000);
        assert_eq!((facts.used, facts.resident), (Some(1000), Some(2000)));
        assert_eq!((facts.max_memory, facts.evicted), (Some(0), Some(0)));
        assert_eq!(facts.policy.as_deref(), Some("noeviction"));
        assert_eq!(facts.replica_buffer, Some(512 << 20));
        assert_eq!(facts.last_copied, Some(300));
        assert_eq!(facts.fork_ms, Some(1));
        assert_eq!((facts.aof_size, facts.aof_good), (Some(88), Some(false)));
        assert_eq!((facts.clients, facts.max_clients), (Some(8), Some(224)));
        assert_eq!(facts.memory.limit, Some(25_276_510_208));
        assert_eq!(facts.memory.available, None);
        let disk = facts.disk.unwrap();
        assert_eq!((disk.free, disk.inodes_free), (56_000_000_000, None));
        assert_eq!(facts.clock_off_ms, Some(500));
    }

    #[test]
    fn a_difference_within_the_time_of_the_question_is_no_difference() {
        assert_eq!(clock_difference(5, (4, 6)), 0);
        assert_eq!(clock_difference(2_000_000, (4_000_000, 6_000_000)), 2000);
        assert_eq!(clock_difference(9_000_000, (4_000_000, 6_000_000)), 3000);
    }

    #[test]
    fn without_answers_nothing_is_known() {
        let facts = NodeAnswers::default().facts("redis-a", 1000);
        assert_eq!((facts.used, facts.max_clients), (None, None));
        assert_eq!((facts.disk, facts.memory), (None, ProcessMemory::default()));
        assert_eq!(facts.clock_off_ms, None);
        assert_eq!(replica_buffer("normal 0 0 0"), None);
        assert_eq!(
            metric(
                "halab_node_disk_free_bytes -1",
                "halab_node_disk_free_bytes"
            ),
            None
        );
    }
}
