//! The requirements of a host with data nodes.

use crate::capacity::{DiskSpace, Finding, FindingSeverity, ProcessMemory, Unit};

use super::reserve::{
    ENOUGH_INODES, FEW_CLIENTS, FEW_INODES, MAX_CLIENTS, MIB, RESERVED_DESCRIPTORS, REWRITE_MIN,
    mebibytes_up,
};

const PLACE: &str = "host";

/// `tcp-backlog` in the lab's `redis.conf`.
const LISTEN_BACKLOG: u64 = 128;

/// The memory of an empty data node: server, supervisor, and `repl-backlog-size` of the lab's
/// `redis.conf`.
const EMPTY_NODE: u64 = (128 + 64) * MIB;
/// The largest output buffer of a replica during a full copy: `client-output-buffer-limit` of the
/// lab's `redis.conf`.
const REPLICA_BUFFER: u64 = 512 * MIB;

/// Clock sources that the kernel reads without a system call (vdso(7)). A server reads the time at
/// each command, and Redis warns about other sources at its start.
const FAST_CLOCKS: [&str; 5] = [
    "tsc",
    "kvm-clock",
    "arch_sys_counter",
    "hyperv_clocksource_tsc_page",
    "timebase",
];

/// The facts of a host. `None` means *not known*.
#[derive(Debug, Clone, Default)]
pub struct HostFacts {
    /// `vm.overcommit_memory`.
    pub overcommit: Option<u64>,
    /// The memory that the kernel may still commit; relevant with `vm.overcommit_memory` 2.
    pub commit_left: Option<u64>,
    /// The current setting of `transparent_hugepage/enabled`.
    pub huge_pages: Option<String>,
    /// `net.core.somaxconn`.
    pub listen_backlog: Option<u64>,
    /// The limit of open files of a process started here; `u64::MAX` means no limit.
    pub open_files: Option<u64>,
    /// The memory of a process started here.
    pub memory: ProcessMemory,
    /// The kernel's clock source.
    pub clock_source: Option<String>,
    /// The server that a node here would run, or why there is none. `None` if it was not looked
    /// for.
    pub server: Option<Result<String, String>>,
    /// The disk of the state folder, or why it is not known.
    pub disk: Option<Result<DiskSpace, String>>,
    /// The state folder.
    pub state: String,
    /// The size in bytes of existing append-only files.
    pub stored: u64,
    /// The number of data nodes that run here, or will.
    pub data_nodes: u64,
    /// At least one of them is running.
    pub running: bool,
}

/// All findings on a host.
pub fn judge_host(facts: &HostFacts) -> Vec<Finding> {
    let mut findings = vec![
        server(facts),
        overcommit(facts),
        huge_pages(facts),
        listen_backlog(facts),
        open_files(facts),
        clock_source(facts),
    ];
    // Running nodes already have what they need; each is judged separately.
    if !facts.running {
        findings.push(memory(facts));
    }
    findings.extend(disk(facts));
    findings
}

fn server(facts: &HostFacts) -> Finding {
    const CODE: &str = "server-binary";
    match &facts.server {
        None => Finding::not_known(CODE, PLACE, "the server did not state its version in time"),
        Some(Ok(title)) => Finding::new(CODE, PLACE, format!("{title} is installed")),
        Some(Err(why)) => Finding::new(CODE, PLACE, why).judged(
            FindingSeverity::Short,
            "every node runs a server of Redis 7.0 or later, or Valkey",
            "run ./lab setup, or pass one with --redis-server".into(),
        ),
    }
}

/// <https://redis.io/docs/latest/operate/oss_and_stack/management/admin/> (Linux): "Set the Linux
/// kernel overcommit memory setting to 1". <https://docs.kernel.org/mm/overcommit-accounting.html>:
/// 0 refuses obvious overcommits, 2 refuses everything above the commit limit.
fn overcommit(facts: &HostFacts) -> Finding {
    const CODE: &str = "overcommit-memory";
    let Some(setting) = facts.overcommit else {
        return Finding::not_known(CODE, PLACE, "vm.overcommit_memory cannot be read");
    };
    const WHAT: &str = "vm.overcommit_memory";
    let (severity, what) = match (setting, facts.commit_left) {
        (1, _) => (FindingSeverity::Ok, WHAT.to_owned()),
        (2, Some(left)) if left < EMPTY_NODE * facts.data_nodes.max(1) => (
            FindingSeverity::Short,
            format!(
                "{WHAT}, with which the kernel commits only {} more",
                crate::capacity::human_bytes(left)
            ),
        ),
        _ => (FindingSeverity::Warning, WHAT.to_owned()),
    };
    Finding::new(CODE, PLACE, what)
        .values(Unit::Setting, setting, 1)
        .judged(
            severity,
            "a fork, for a rewrite of the append-only file or a full copy, needs a commitment for as much memory as the server has; \
             without overcommit the kernel may refuse it",
            "sudo sysctl vm.overcommit_memory=1, and add the setting to /etc/sysctl.d/redis.conf".into(),
        )
}

/// <https://redis.io/docs/latest/operate/oss_and_stack/management/optimization/latency/> (Latency
/// induced by transparent huge pages). A server disables them for itself if it may (`disable-thp`,
/// since 6.2).
fn huge_pages(facts: &HostFacts) -> Finding {
    const CODE: &str = "transparent-huge-pages";
    let Some(chosen) = &facts.huge_pages else {
        return Finding::not_known(CODE, PLACE, "the setting cannot be read");
    };
    let severity = match chosen.as_str() {
        "madvise" | "never" => FindingSeverity::Ok,
        _ => FindingSeverity::Warning,
    };
    Finding::new(CODE, PLACE, format!("the setting is {chosen}")).judged(
        severity,
        "after a fork the first write to each page copies 2 MiB instead of 4 KiB, which costs time and memory",
        "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled, at each boot".into(),
    )
}

/// listen(2): a longer backlog is reduced to `net.core.somaxconn`.
fn listen_backlog(facts: &HostFacts) -> Finding {
    const CODE: &str = "listen-backlog";
    let Some(most) = facts.listen_backlog else {
        return Finding::not_known(CODE, PLACE, "net.core.somaxconn cannot be read");
    };
    let severity = if most < LISTEN_BACKLOG {
        FindingSeverity::Warning
    } else {
        FindingSeverity::Ok
    };
    Finding::new(CODE, PLACE, "net.core.somaxconn")
        .values(Unit::Setting, most, LISTEN_BACKLOG)
        .judged(
            severity,
            "the number of clients that can connect at the same time, as all do after a failover; others wait for a second",
            format!("sudo sysctl net.core.somaxconn={LISTEN_BACKLOG}"),
        )
}

/// <https://redis.io/docs/latest/develop/reference/clients/> (Maximum concurrent connected
/// clients): a server with a lower limit of open files reduces `maxclients` by itself.
fn open_files(facts: &HostFacts) -> Finding {
    const CODE: &str = "open-files";
    const NEEDED: u64 = MAX_CLIENTS + RESERVED_DESCRIPTORS;
    let Some(limit) = facts.open_files else {
        return Finding::not_known(CODE, PLACE, "the limit cannot be read");
    };
    let severity = match limit {
        NEEDED.. => FindingSeverity::Ok,
        limit if limit >= FEW_CLIENTS + RESERVED_DESCRIPTORS => FindingSeverity::Warning,
        _ => FindingSeverity::Short,
    };
    Finding::new(CODE, PLACE, "open files of a process started here")
        .values(Unit::Descriptors, limit, NEEDED)
        .judged(
            severity,
            "each client of a server is an open file; with a lower limit the server reduces maxclients and refuses other clients",
            format!("run ulimit -Hn {NEEDED} before the start, or set LimitNOFILE={NEEDED} in the unit"),
        )
}

fn clock_source(facts: &HostFacts) -> Finding {
    const CODE: &str = "clock-source";
    let Some(source) = &facts.clock_source else {
        return Finding::not_known(CODE, PLACE, "the clock source cannot be read");
    };
    let fast = FAST_CLOCKS.contains(&source.as_str());
    Finding::new(CODE, PLACE, format!("the clock source is {source}")).judged(
        if fast { FindingSeverity::Ok } else { FindingSeverity::Warning },
        "a server reads the time at each command; with another source each read is at least one system call",
        "cat /sys/devices/system/clocksource/clocksource0/available_clocksource, and choose tsc if it is listed".into(),
    )
}

/// The check before the start.
/// <https://redis.io/docs/latest/operate/oss_and_stack/management/admin/> (Memory).
fn memory(facts: &HostFacts) -> Finding {
    const CODE: &str = "memory";
    let nodes = facts.data_nodes.max(1);
    let least = EMPTY_NODE.saturating_mul(nodes);
    let needed = (EMPTY_NODE + REPLICA_BUFFER).saturating_mul(nodes);
    let Some(available) = facts.memory.available else {
        return Finding::not_known(CODE, PLACE, "available memory cannot be read");
    };
    let severity = match available {
        available if available < least => FindingSeverity::Short,
        available if available < needed => FindingSeverity::Warning,
        _ => FindingSeverity::Ok,
    };
    Finding::new(CODE, PLACE, format!("memory for {nodes} data node(s), before any data"))
        .values(Unit::Bytes, available, needed)
        .judged(
            severity,
            "a node needs its replication backlog (128 MiB) and some for itself, and a full copy to a replica may buffer 512 MiB more; data is not included",
            format!(
                "raise the limit of the container (--memory) or unit (MemoryMax=) to at least {}M, or use a larger host",
                mebibytes_up(needed)
            ),
        )
}

/// <https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/> (Log rewriting):
/// the old file stays until the new one is complete.
fn disk(facts: &HostFacts) -> Vec<Finding> {
    const SPACE: &str = "disk-space";
    const INODES: &str = "disk-inodes";
    let state = &facts.state;
    let disk = match &facts.disk {
        Some(Ok(disk)) => disk,
        Some(Err(why)) => {
            return vec![Finding::not_known(SPACE, PLACE, format!("{state}: {why}"))];
        }
        None => {
            let what = format!("the disk of {state} did not answer in time");
            return vec![Finding::not_known(SPACE, PLACE, what)];
        }
    };
    let nodes = facts.data_nodes.max(1);
    // The file grows by that much, and a rewrite needs the same again, besides what is stored.
    let least = facts
        .stored
        .saturating_add(nodes.saturating_mul(2 * REWRITE_MIN));
    let needed = least.saturating_mul(2);
    let space = Finding::new(SPACE, PLACE, format!("free space under {state}, for {nodes} data node(s)"))
        .values(Unit::Bytes, disk.free, needed)
        .judged(
            at_least(disk.free, least, needed),
            "an append-only file grows by 64 MiB or more before it is rewritten, and a rewrite needs additional space for all data; \
             on a full disk the server refuses writes",
            "enlarge that disk, or free space outside the state folder, which contains the data".into(),
        );
    let inodes = match disk.inodes_free {
        None => Finding::new(INODES, PLACE, "the disk has no limit on files"),
        Some(free) => Finding::new(
            INODES,
            PLACE,
            format!("files that can be created under {state}"),
        )
        .values(Unit::Inodes, free, ENOUGH_INODES)
        .judged(
            at_least(free, FEW_INODES, ENOUGH_INODES),
            "without a free inode no file can be created, however much space is left",
            "delete files on that disk (df -i) that are neither in the state folder, which \
             contains the data, nor backups"
                .into(),
        ),
    };
    vec![space, inodes]
}

/// `Short` below `least`, `Warning` below `needed`.
pub(super) fn at_least(value: u64, least: u64, needed: u64) -> FindingSeverity {
    match value {
        value if value < least => FindingSeverity::Short,
        value if value < needed => FindingSeverity::Warning,
        _ => FindingSeverity::Ok,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use FindingSeverity::{NotKnown, Ok as Fine, Short, Warning};

    const GIB: u64 = 1 << 30;

    /// A host without problems.
    fn good() -> HostFacts {
        HostFacts {
            overcommit: Some(1),
            commit_left: Some(0),
            huge_pages: Some("madvise".into()),
            listen_backlog: Some(128),
            open_files: Some(10_032),
            memory: ProcessMemory {
                limit: Some(4 * GIB),
                available: Some(2 * 704 * MIB),
            },
            clock_source: Some("tsc".into()),
            server: Some(Ok("Redis 7.0.15".into())),
            disk: Some(Ok(DiskSpace {
                free: 512 * MIB,
                inodes_free: Some(1000),
            })),
            state: "/state".into(),
            stored: 0,
            data_nodes: 2,
            running: false,
        }
    }

    /// The severity of the finding with this code on a good host with one change.
    fn found(code: &str, change: impl FnOnce(&mut HostFacts)) -> FindingSeverity {
        let mut facts = good();
        change(&mut facts);
        let findings = judge_host(&facts);
        let finding = findings.iter().find(|f| f.code == code).unwrap();
        assert_eq!(finding.severity > Warning, finding.severity == Short);
        assert_eq!(
            finding.remedy.is_some(),
            matches!(finding.severity, Warning | Short),
            "{finding:?}"
        );
        finding.severity
    }

    #[test]
    fn a_good_host_has_every_code_once_and_all_are_ok() {
        let findings = judge_host(&good());
        let codes: Vec<_> = findings.iter().map(|f| f.code).collect();
        assert_eq!(
            codes,
            [
                "server-binary",
                "overcommit-memory",
                "transparent-huge-pages",
                "listen-backlog",
                "open-files",
                "clock-source",
                "memory",
                "disk-space",
                "disk-inodes",
            ]
        );
        for finding in findings {
            assert_eq!(finding.severity, Fine, "{finding:?}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_not_known() {
        let findings = judge_host(&HostFacts::default());
        for finding in findings {
            assert_eq!(finding.severity, NotKnown, "{finding:?}");
            assert_eq!((finding.measured, finding.remedy), (None, None));
        }
    }

    #[test]
    fn overcommit() {
        let with = |setting, left| {
            found("overcommit-memory", |f| {
                (f.overcommit, f.commit_left) = (Some(setting), left);
            })
        };
        assert_eq!(with(0, Some(0)), Warning);
        assert_eq!(with(1, Some(0)), Fine);
        assert_eq!(with(2, Some(2 * 192 * MIB - 1)), Short);
        assert_eq!(with(2, Some(2 * 192 * MIB)), Warning);
        assert_eq!(with(2, None), Warning);
    }

    #[test]
    fn huge_pages() {
        for (chosen, severity) in [("always", Warning), ("madvise", Fine), ("never", Fine)] {
            let found = found("transparent-huge-pages", |f| {
                f.huge_pages = Some(chosen.into());
            });
            assert_eq!(found, severity, "{chosen}");
        }
    }

    #[test]
    fn listen_backlog() {
        let with = |most| found("listen-backlog", |f| f.listen_backlog = Some(most));
        assert_eq!((with(127), with(128)), (Warning, Fine));
    }

    #[test]
    fn open_files() {
        let with = |limit| found("open-files", |f| f.open_files = Some(limit));
        assert_eq!((with(1023), with(1024)), (Short, Warning));
        assert_eq!((with(10_031), with(10_032)), (Warning, Fine));
        assert_eq!(with(u64::MAX), Fine);
    }

    #[test]
    fn clock_source() {
        for (source, severity) in [("tsc", Fine), ("kvm-clock", Fine), ("acpi_pm", Warning)] {
            let found = found("clock-source", |f| f.clock_source = Some(source.into()));
            assert_eq!(found, severity, "{source}");
        }
    }

    #[test]
    fn memory_before_the_start() {
        let with = |available| found("memory", |f| f.memory.available = Some(available));
        assert_eq!(with(2 * 192 * MIB - 1), Short);
        assert_eq!(with(2 * 192 * MIB), Warning);
        assert_eq!(with(2 * 704 * MIB - 1), Warning);
        assert_eq!(with(2 * 704 * MIB), Fine);
        let mut running = good();
        running.running = true;
        assert!(judge_host(&running).iter().all(|f| f.code != "memory"));
    }

    #[test]
    fn disk() {
        let with = |free, stored| {
            found("disk-space", |f| {
                f.stored = stored;
                f.disk = Some(Ok(DiskSpace {
                    free,
                    inodes_free: None,
                }));
            })
        };
        assert_eq!(with(256 * MIB - 1, 0), Short);
        assert_eq!(with(256 * MIB, 0), Warning);
        assert_eq!(with(512 * MIB - 1, 0), Warning);
        assert_eq!(with(512 * MIB, 0), Fine);
        // Stored data has to be rewritten too.
        assert_eq!(with(GIB + 256 * MIB - 1, GIB), Short);
        assert_eq!(with(GIB + 256 * MIB, GIB), Warning);
    }

    #[test]
    fn inodes() {
        let with = |inodes_free| {
            found("disk-inodes", |f| {
                f.disk = Some(Ok(DiskSpace {
                    free: GIB,
                    inodes_free,
                }));
            })
        };
        assert_eq!((with(Some(99)), with(Some(100))), (Short, Warning));
        assert_eq!((with(Some(999)), with(Some(1000))), (Warning, Fine));
        assert_eq!(with(None), Fine);
    }

    #[test]
    fn without_a_server_nothing_starts() {
        let with = |server| found("server-binary", |f| f.server = Some(server));
        assert_eq!(with(Err("none".into())), Short);
        assert_eq!(with(Ok("Valkey 8.0.1".into())), Fine);
    }
}
