//! What a host needs to run data nodes.

use crate::capacity::{Disk, Finding, Memory, Severity, Unit};

use super::reserve::{
    ENOUGH_INODES, FEW_CLIENTS, FEW_INODES, MAX_CLIENTS, MIB, RESERVED_DESCRIPTORS, REWRITE_MIN,
    mebibytes_up,
};

const PLACE: &str = "host";

/// `tcp-backlog` in the lab's `redis.conf`.
const LISTEN_BACKLOG: u64 = 128;

/// What a data node takes without any data: server, parent, and `repl-backlog-size` of the lab's `redis.conf`.
const EMPTY_NODE: u64 = (128 + 64) * MIB;
/// What a replica's output buffer may take during a full copy: `client-output-buffer-limit` of the lab's `redis.conf`.
const REPLICA_BUFFER: u64 = 512 * MIB;

/// Clock sources that the kernel reads without a system call (vdso(7)). Redis warns of others at its start, and a server
/// asks for the time at each command.
const FAST_CLOCKS: [&str; 5] = [
    "tsc",
    "kvm-clock",
    "arch_sys_counter",
    "hyperv_clocksource_tsc_page",
    "timebase",
];

/// What is known of a host. `None` is *not known*.
#[derive(Debug, Clone, Default)]
pub struct HostFacts {
    /// `vm.overcommit_memory`.
    pub overcommit: Option<u64>,
    /// What may still be promised, which counts with `vm.overcommit_memory` 2.
    pub commit_left: Option<u64>,
    /// The chosen word of `transparent_hugepage/enabled`.
    pub huge_pages: Option<String>,
    /// `net.core.somaxconn`.
    pub listen_backlog: Option<u64>,
    /// Open files that a process started here may have; `u64::MAX`: no limit.
    pub open_files: Option<u64>,
    /// What a process started here may have of memory.
    pub memory: Memory,
    /// The kernel's clock source.
    pub clock_source: Option<String>,
    /// The server that a node here would run, or why there is none. `None`: it was not looked for.
    pub server: Option<Result<String, String>>,
    /// The disk of the state folder, or why it is not known.
    pub disk: Option<Result<Disk, String>>,
    /// The state folder.
    pub state: String,
    /// Bytes of append-only files that are there already.
    pub stored: u64,
    /// Data nodes that run here, or will.
    pub data_nodes: u64,
    /// One of them runs.
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
    // Nodes that run have taken what they need; each is looked at by itself.
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
            Severity::Short,
            "every node runs a server of Redis 7.0 or later, or Valkey",
            "./lab setup, or name one by --redis-server".into(),
        ),
    }
}

/// <https://redis.io/docs/latest/operate/oss_and_stack/management/admin/> (Linux): "Set the Linux kernel overcommit memory
/// setting to 1". <https://docs.kernel.org/mm/overcommit-accounting.html>: 0 refuses what is obviously too much, 2 what was
/// not promised.
fn overcommit(facts: &HostFacts) -> Finding {
    const CODE: &str = "overcommit-memory";
    let Some(setting) = facts.overcommit else {
        return Finding::not_known(CODE, PLACE, "vm.overcommit_memory can't be read");
    };
    const WHAT: &str = "vm.overcommit_memory";
    let (severity, what) = match (setting, facts.commit_left) {
        (1, _) => (Severity::Ok, WHAT.to_owned()),
        (2, Some(left)) if left < EMPTY_NODE * facts.data_nodes.max(1) => (
            Severity::Short,
            format!(
                "{WHAT}, with which the kernel promises only {} more",
                crate::capacity::human_bytes(left)
            ),
        ),
        _ => (Severity::Warning, WHAT.to_owned()),
    };
    Finding::new(CODE, PLACE, what)
        .values(Unit::Setting, setting, 1)
        .judged(
            severity,
            "a fork, for a rewrite of the append-only file or a full copy, is promised as much memory again as the server has; \
             without overcommit the kernel may refuse it",
            "sudo sysctl vm.overcommit_memory=1, and the same line in /etc/sysctl.d/redis.conf".into(),
        )
}

/// <https://redis.io/docs/latest/operate/oss_and_stack/management/optimization/latency/> (Latency induced by transparent huge
/// pages). A server turns them off for itself (`disable-thp`, since 6.2), where it may.
fn huge_pages(facts: &HostFacts) -> Finding {
    const CODE: &str = "transparent-huge-pages";
    let Some(chosen) = &facts.huge_pages else {
        return Finding::not_known(CODE, PLACE, "the setting can't be read");
    };
    let severity = match chosen.as_str() {
        "madvise" | "never" => Severity::Ok,
        _ => Severity::Warning,
    };
    Finding::new(CODE, PLACE, format!("they are set to {chosen}")).judged(
        severity,
        "after a fork each first write to a page copies 2 MiB instead of 4 KiB: latency, and much more memory",
        "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled, at each start of the host".into(),
    )
}

/// listen(2): a longer backlog is cut to `net.core.somaxconn`.
fn listen_backlog(facts: &HostFacts) -> Finding {
    const CODE: &str = "listen-backlog";
    let Some(most) = facts.listen_backlog else {
        return Finding::not_known(CODE, PLACE, "net.core.somaxconn can't be read");
    };
    let severity = if most < LISTEN_BACKLOG {
        Severity::Warning
    } else {
        Severity::Ok
    };
    Finding::new(CODE, PLACE, "net.core.somaxconn")
        .values(Unit::Setting, most, LISTEN_BACKLOG)
        .judged(
            severity,
            "so many clients may connect at once, after a failover all of them; others wait for a second",
            format!("sudo sysctl net.core.somaxconn={LISTEN_BACKLOG}"),
        )
}

/// <https://redis.io/docs/latest/develop/reference/clients/> (Maximum concurrent connected clients): a server that may have
/// fewer open files lowers `maxclients` by itself.
fn open_files(facts: &HostFacts) -> Finding {
    const CODE: &str = "open-files";
    const NEEDED: u64 = MAX_CLIENTS + RESERVED_DESCRIPTORS;
    let Some(limit) = facts.open_files else {
        return Finding::not_known(CODE, PLACE, "the limit can't be read");
    };
    let severity = match limit {
        NEEDED.. => Severity::Ok,
        limit if limit >= FEW_CLIENTS + RESERVED_DESCRIPTORS => Severity::Warning,
        _ => Severity::Short,
    };
    Finding::new(CODE, PLACE, "open files of a process started here")
        .values(Unit::Descriptors, limit, NEEDED)
        .judged(
            severity,
            "each client of a server is an open file; with fewer the server lowers maxclients by itself and refuses the rest",
            format!("ulimit -Hn {NEEDED} before the start, or LimitNOFILE={NEEDED} in the unit"),
        )
}

fn clock_source(facts: &HostFacts) -> Finding {
    const CODE: &str = "clock-source";
    let Some(source) = &facts.clock_source else {
        return Finding::not_known(CODE, PLACE, "the clock source can't be read");
    };
    let fast = FAST_CLOCKS.contains(&source.as_str());
    Finding::new(CODE, PLACE, format!("the clock source is {source}")).judged(
        if fast { Severity::Ok } else { Severity::Warning },
        "a server asks for the time at each command; with another source that is a system call, or several",
        "cat /sys/devices/system/clocksource/clocksource0/available_clocksource, and choose tsc where it is there".into(),
    )
}

/// Before the start. <https://redis.io/docs/latest/operate/oss_and_stack/management/admin/> (Memory).
fn memory(facts: &HostFacts) -> Finding {
    const CODE: &str = "memory";
    let nodes = facts.data_nodes.max(1);
    let least = EMPTY_NODE.saturating_mul(nodes);
    let needed = (EMPTY_NODE + REPLICA_BUFFER).saturating_mul(nodes);
    let Some(available) = facts.memory.available else {
        return Finding::not_known(CODE, PLACE, "available memory can't be read");
    };
    let severity = match available {
        available if available < least => Severity::Short,
        available if available < needed => Severity::Warning,
        _ => Severity::Ok,
    };
    Finding::new(CODE, PLACE, format!("memory for {nodes} data node(s), before any data"))
        .values(Unit::Bytes, available, needed)
        .judged(
            severity,
            "a node takes its replication backlog (128 MiB) and some for itself; a full copy to a replica may buffer 512 MiB more. Data comes on top",
            format!(
                "raise the limit of the container (--memory) or unit (MemoryMax=) to at least {}M, or take a larger host",
                mebibytes_up(needed)
            ),
        )
}

/// <https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/> (Log rewriting): the old file stays until the
/// new one is complete.
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
    // The file grows to that much, and its rewrite takes as much again, beside what is there.
    let least = facts
        .stored
        .saturating_add(nodes.saturating_mul(2 * REWRITE_MIN));
    let needed = least.saturating_mul(2);
    let space = Finding::new(SPACE, PLACE, format!("free space under {state}, for {nodes} data node(s)"))
        .values(Unit::Bytes, disk.free, needed)
        .judged(
            at_least(disk.free, least, needed),
            "an append-only file grows by 64 MiB or more before it is rewritten, and a rewrite needs as much as the data beside it; \
             on a full disk the server refuses writes",
            "make that disk larger, or free space outside of the state folder, which holds the data".into(),
        );
    let inodes = match disk.inodes_free {
        None => Finding::new(INODES, PLACE, "the disk has no limit of files"),
        Some(free) => Finding::new(
            INODES,
            PLACE,
            format!("files that can be made under {state}"),
        )
        .values(Unit::Inodes, free, ENOUGH_INODES)
        .judged(
            at_least(free, FEW_INODES, ENOUGH_INODES),
            "without a free inode no file can be made, however much space is left",
            "make room for files on that disk (df -i), outside of the state folder, which holds the data".into(),
        ),
    };
    vec![space, inodes]
}

/// Short below `least`, a warning below `needed`.
pub(super) fn at_least(value: u64, least: u64, needed: u64) -> Severity {
    match value {
        value if value < least => Severity::Short,
        value if value < needed => Severity::Warning,
        _ => Severity::Ok,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Severity::{NotKnown, Ok as Fine, Short, Warning};

    const GIB: u64 = 1 << 30;

    /// A host on which nothing is said.
    fn good() -> HostFacts {
        HostFacts {
            overcommit: Some(1),
            commit_left: Some(0),
            huge_pages: Some("madvise".into()),
            listen_backlog: Some(128),
            open_files: Some(10_032),
            memory: Memory {
                limit: Some(4 * GIB),
                available: Some(2 * 704 * MIB),
            },
            clock_source: Some("tsc".into()),
            server: Some(Ok("Redis 7.0.15".into())),
            disk: Some(Ok(Disk {
                free: 512 * MIB,
                inodes_free: Some(1000),
            })),
            state: "/state".into(),
            stored: 0,
            data_nodes: 2,
            running: false,
        }
    }

    /// What is found under a code when a good host is changed like that.
    fn found(code: &str, change: impl FnOnce(&mut HostFacts)) -> Severity {
        let mut facts = good();
        change(&mut facts);
        let findings = judge_host(&facts);
        let finding = findings.iter().find(|f| f.code == code).unwrap();
        assert_eq!(finding.severity > Warning, finding.severity == Short);
        assert_eq!(
            finding.mend.is_some(),
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
            assert_eq!((finding.measured, finding.mend), (None, None));
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
                f.disk = Some(Ok(Disk {
                    free,
                    inodes_free: None,
                }));
            })
        };
        assert_eq!(with(256 * MIB - 1, 0), Short);
        assert_eq!(with(256 * MIB, 0), Warning);
        assert_eq!(with(512 * MIB - 1, 0), Warning);
        assert_eq!(with(512 * MIB, 0), Fine);
        // What is there already has to be rewritten too.
        assert_eq!(with(GIB + 256 * MIB - 1, GIB), Short);
        assert_eq!(with(GIB + 256 * MIB, GIB), Warning);
    }

    #[test]
    fn inodes() {
        let with = |inodes_free| {
            found("disk-inodes", |f| {
                f.disk = Some(Ok(Disk {
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
