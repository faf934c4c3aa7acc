//! Tests each limit on both sides.

use super::*;
use FindingSeverity::{NotKnown, Ok as Fine, Short, Warning};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A node without problems.
fn good() -> NodeFacts {
    NodeFacts {
        name: "redis-a".into(),
        used: Some(900 * MIB),
        resident: Some(GIB),
        max_memory: Some(2 * GIB),
        policy: Some("noeviction".into()),
        evicted: Some(0),
        replica_buffer: Some(512 * MIB),
        memory: ProcessMemory {
            limit: Some(4 * GIB + 512 * MIB),
            available: Some(GIB),
        },
        last_copied: Some(100 * MIB),
        fork_ms: Some(499),
        hang_timeout_ms: 1000,
        aof_size: Some(GIB),
        aof_good: Some(true),
        disk: Some(DiskSpace {
            free: 2 * GIB + 128 * MIB,
            inodes_free: Some(1000),
        }),
        clients: Some(8000),
        max_clients: Some(10_000),
        clock_off_ms: Some(1000),
    }
}

fn find(code: &str, change: impl FnOnce(&mut NodeFacts)) -> Finding {
    let mut facts = good();
    change(&mut facts);
    let findings = judge_node(&facts);
    let finding = findings.iter().find(|f| f.code == code).unwrap().clone();
    assert_eq!(
        finding.remedy.is_some(),
        matches!(finding.severity, Warning | Short),
        "{finding:?}"
    );
    finding
}

fn found(code: &str, change: impl FnOnce(&mut NodeFacts)) -> FindingSeverity {
    find(code, change).severity
}

#[test]
fn a_good_node_has_every_code_once_and_all_are_ok() {
    let findings = judge_node(&good());
    let codes: Vec<_> = findings.iter().map(|f| f.code).collect();
    assert_eq!(
        codes,
        [
            "maxmemory",
            "memory-use",
            "eviction",
            "fork-headroom",
            "fork-time",
            "rewrite-space",
            "inodes",
            "append-only-file",
            "max-clients",
            "connections",
            "clock",
        ]
    );
    for finding in findings {
        assert_eq!(finding.severity, Fine, "{finding:?}");
    }
}

#[test]
fn what_a_node_does_not_state_is_not_known() {
    for finding in judge_node(&NodeFacts::default()) {
        assert_eq!(finding.severity, NotKnown, "{finding:?}");
        assert_eq!((finding.measured, finding.remedy), (None, None));
    }
}

#[test]
fn maxmemory_must_fit_into_the_limit_with_a_buffer_and_a_fork() {
    let with = |limit| found("maxmemory", |f| f.memory.limit = Some(limit));
    assert_eq!(with(2 * GIB + 512 * MIB - 1), Short);
    assert_eq!(with(2 * GIB + 512 * MIB), Warning);
    assert_eq!(with(4 * GIB + 512 * MIB - 1), Warning);
    assert_eq!(with(4 * GIB + 512 * MIB), Fine);
}

#[test]
fn maxmemory_that_is_not_set_is_a_warning() {
    assert_eq!(found("maxmemory", |f| f.max_memory = Some(0)), Warning);
    assert_eq!(found("maxmemory", |f| f.max_memory = None), NotKnown);
    assert_eq!(found("maxmemory", |f| f.memory.limit = None), NotKnown);
}

#[test]
fn a_lower_maxmemory_is_proposed_only_where_the_data_fits() {
    let remedy = |limit, used| {
        let change = |f: &mut NodeFacts| {
            f.memory.limit = Some(limit);
            f.used = Some(used);
        };
        find("maxmemory", change).remedy.unwrap()
    };
    let fits = remedy(2 * GIB, 700 * MIB);
    assert!(fits.contains("CONFIG SET maxmemory 768mb"), "{fits}");
    let too_much = remedy(2 * GIB, 800 * MIB);
    assert!(!too_much.contains("CONFIG SET"), "{too_much}");
    assert!(too_much.contains("--memory 4608m"), "{too_much}");
}

#[test]
fn memory_use() {
    let of_maxmemory = |used| {
        found("memory-use", |f| {
            (f.used, f.max_memory) = (Some(used), Some(1000));
        })
    };
    assert_eq!((of_maxmemory(900), of_maxmemory(901)), (Fine, Warning));
    assert_eq!((of_maxmemory(999), of_maxmemory(1000)), (Warning, Short));
    let of_limit = |resident| {
        found("memory-use", |f| {
            (f.resident, f.max_memory) = (Some(resident), Some(0));
            f.memory.limit = Some(1000);
        })
    };
    assert_eq!((of_limit(900), of_limit(901)), (Fine, Warning));
    assert_eq!((of_limit(999), of_limit(1000)), (Warning, Short));
}

#[test]
fn eviction() {
    let with = |policy: &str, evicted| {
        found("eviction", |f| {
            (f.policy, f.evicted) = (Some(policy.to_owned()), Some(evicted));
        })
    };
    assert_eq!(with("noeviction", 0), Fine);
    assert_eq!(with("noeviction", 1), Short);
    assert_eq!(with("allkeys-lru", 0), Short);
}

#[test]
fn fork_headroom() {
    let with = |available, copied| {
        found("fork-headroom", |f| {
            f.memory.available = Some(available);
            f.last_copied = Some(copied);
        })
    };
    assert_eq!(with(GIB / 2 - 1, 0), Short);
    assert_eq!(with(GIB / 2, 0), Warning);
    assert_eq!(with(GIB - 1, 0), Warning);
    assert_eq!(with(GIB, 0), Fine);
    // A fork may copy as much as an earlier one.
    assert_eq!(with(600 * MIB - 1, 600 * MIB), Short);
    assert_eq!(with(600 * MIB, 600 * MIB), Warning);
}

#[test]
fn fork_time() {
    let with = |took| found("fork-time", |f| f.fork_ms = Some(took));
    assert_eq!((with(499), with(500)), (Fine, Warning));
    assert_eq!((with(999), with(1000)), (Warning, Short));
}

#[test]
fn rewrite_space() {
    let with = |free| {
        found("rewrite-space", |f| {
            f.disk = Some(DiskSpace {
                free,
                inodes_free: None,
            });
        })
    };
    assert_eq!(with(GIB + 64 * MIB - 1), Short);
    assert_eq!(with(GIB + 64 * MIB), Warning);
    assert_eq!(with(2 * GIB + 128 * MIB - 1), Warning);
    assert_eq!(with(2 * GIB + 128 * MIB), Fine);
    assert_eq!(found("rewrite-space", |f| f.aof_size = None), NotKnown);
}

#[test]
fn inodes() {
    let with = |inodes_free| {
        found("inodes", |f| {
            f.disk = Some(DiskSpace {
                free: GIB,
                inodes_free,
            });
        })
    };
    assert_eq!((with(Some(99)), with(Some(100))), (Short, Warning));
    assert_eq!((with(Some(999)), with(Some(1000))), (Warning, Fine));
    assert_eq!(with(None), Fine);
}

#[test]
fn append_only_file() {
    let with = |good| found("append-only-file", |f| f.aof_good = Some(good));
    assert_eq!((with(true), with(false)), (Fine, Short));
}

#[test]
fn max_clients() {
    let with = |most| found("max-clients", |f| f.max_clients = Some(most));
    assert_eq!((with(991), with(992)), (Short, Warning));
    assert_eq!((with(9999), with(10_000)), (Warning, Fine));
}

#[test]
fn connections() {
    let with = |now| found("connections", |f| f.clients = Some(now));
    assert_eq!((with(8000), with(8001)), (Fine, Warning));
    assert_eq!((with(9999), with(10_000)), (Warning, Short));
}

#[test]
fn clock() {
    let with = |off| found("clock", |f| f.clock_off_ms = Some(off));
    assert_eq!((with(1000), with(1001)), (Fine, Warning));
}
