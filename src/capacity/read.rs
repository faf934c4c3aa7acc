//! Reads the numbers of this host. What cannot be read is `None`.

use std::fs;
use std::io;
use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::cgroup::{CgroupVersion, folders, limit};
use super::meminfo::MemInfo;
use super::rules::HostFacts;
use super::{DiskSpace, ProcessMemory};

/// The mount points of the kernel's file systems; other folders in tests.
#[derive(Debug, Clone, Copy)]
struct Roots<'p> {
    proc: &'p Path,
    sys: &'p Path,
}

fn roots() -> Roots<'static> {
    Roots {
        proc: Path::new("/proc"),
        sys: Path::new("/sys"),
    }
}

/// The facts of this host. The caller adds server, disk and nodes.
pub fn host() -> HostFacts {
    host_at(roots())
}

fn host_at(at: Roots<'_>) -> HostFacts {
    let text = |root: &Path, path: &str| fs::read_to_string(root.join(path)).ok();
    let number = |path: &str| text(at.proc, path)?.trim().parse().ok();
    let info = MemInfo::parse(&text(at.proc, "meminfo").unwrap_or_default());
    let nofile = getrlimit(Resource::Nofile);
    HostFacts {
        overcommit: number("sys/vm/overcommit_memory"),
        commit_left: info
            .commit_limit
            .zip(info.committed)
            .map(|(limit, committed)| limit.saturating_sub(committed)),
        huge_pages: text(at.sys, "kernel/mm/transparent_hugepage/enabled")
            .and_then(|text| chosen(&text)),
        listen_backlog: number("sys/net/core/somaxconn"),
        // A server raises its own limit up to the hard limit.
        open_files: Some(nofile.maximum.unwrap_or(u64::MAX)),
        memory: memory_at(at),
        clock_source: text(
            at.sys,
            "devices/system/clocksource/clocksource0/current_clocksource",
        )
        .map(|text| text.trim().to_owned()),
        ..HostFacts::default()
    }
}

/// The word in brackets, which is the current setting.
fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

/// The memory of this process.
pub fn memory() -> ProcessMemory {
    memory_at(roots())
}

fn memory_at(at: Roots<'_>) -> ProcessMemory {
    let text = |path: &Path| fs::read_to_string(path).ok();
    let info = MemInfo::parse(&text(&at.proc.join("meminfo")).unwrap_or_default());
    let mut memory = ProcessMemory {
        limit: info.total,
        available: info.available,
    };
    let own = text(&at.proc.join("self/cgroup")).unwrap_or_default();
    for (version, path) in folders(&own) {
        let folder = at.sys.join("fs/cgroup").join(path.trim_start_matches('/'));
        let limits = version.limits().iter();
        let lowest = limits
            .filter_map(|name| limit(&text(&folder.join(name))?, info.total))
            .min();
        let Some(lowest) = lowest else { continue };
        memory.limit = Some(memory.limit.map_or(lowest, |other| other.min(lowest)));
        memory.available = left(version, &folder, lowest)
            .zip(memory.available)
            .map(|(here, around)| here.min(around));
    }
    memory
}

/// What is still available below a limit.
fn left(version: CgroupVersion, folder: &Path, limit: u64) -> Option<u64> {
    let text = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let usage: u64 = text(version.usage())?.trim().parse().ok()?;
    let droppable = version.dropped(&text("memory.stat").unwrap_or_default());
    Some(limit.saturating_sub(usage.saturating_sub(droppable)))
}

/// The file system of a path, or of its nearest existing parent folder.
///
/// # Errors
/// If the system does not report it.
pub fn disk_at(path: &Path) -> io::Result<DiskSpace> {
    // A relative path ends at the current folder.
    let path = std::path::absolute(path)?;
    let there = path.ancestors().find(|p| p.exists());
    let disk = rustix::fs::statvfs(there.unwrap_or(Path::new("/")))?;
    Ok(DiskSpace {
        free: disk.f_bavail.saturating_mul(disk.f_frsize),
        inodes_free: (disk.f_files > 0).then_some(disk.f_favail),
    })
}

/// The size in bytes of the append-only files of the data nodes under a state folder; 0 if there
/// are none.
pub fn stored_under<'n>(state: &Path, nodes: impl Iterator<Item = &'n str>) -> u64 {
    nodes
        .map(|node| {
            let files = fs::read_dir(state.join(node).join("data/appendonlydir"));
            files
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(|entry| Some(entry.metadata().ok()?.len()))
                .sum::<u64>()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake(tempfile::TempDir);

    impl Fake {
        fn new(own: &str) -> Self {
            let fake = Fake(tempfile::tempdir().unwrap());
            fake.write("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 600 kB\n");
            fake.write("proc/self/cgroup", own);
            fake
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn memory(&self) -> ProcessMemory {
            let (proc, sys) = (self.0.path().join("proc"), self.0.path().join("sys"));
            memory_at(Roots {
                proc: &proc,
                sys: &sys,
            })
        }
    }

    #[test]
    fn without_a_limit_it_is_the_machines_memory() {
        let fake = Fake::new("4:memory:/\n0::/\n");
        fake.write(
            "sys/fs/cgroup/memory/memory.limit_in_bytes",
            "9223372036854771712\n",
        );
        let memory = fake.memory();
        assert_eq!(memory.limit, Some(1000 * 1024));
        assert_eq!(memory.available, Some(600 * 1024));
    }

    #[test]
    fn with_v1_the_lowest_limit_around_the_process_holds() {
        let fake = Fake::new("4:memory:/a/b\n");
        let base = "sys/fs/cgroup/memory/a";
        fake.write(&format!("{base}/memory.limit_in_bytes"), "300000\n");
        fake.write(&format!("{base}/memory.usage_in_bytes"), "250000\n");
        fake.write(&format!("{base}/memory.stat"), "total_inactive_file 1000\n");
        fake.write(&format!("{base}/b/memory.limit_in_bytes"), "400000\n");
        fake.write(&format!("{base}/b/memory.usage_in_bytes"), "100\n");
        let memory = fake.memory();
        assert_eq!(memory.limit, Some(300_000));
        assert_eq!(memory.available, Some(51_000));
    }

    #[test]
    fn with_v2_the_high_mark_is_a_limit_too() {
        let fake = Fake::new("0::/lab.slice\n");
        fake.write("sys/fs/cgroup/lab.slice/memory.max", "max\n");
        fake.write("sys/fs/cgroup/lab.slice/memory.high", "200000\n");
        fake.write("sys/fs/cgroup/lab.slice/memory.current", "150000\n");
        let memory = fake.memory();
        assert_eq!(memory.limit, Some(200_000));
        assert_eq!(memory.available, Some(50_000));
    }

    #[test]
    fn a_usage_that_cannot_be_read_is_not_guessed() {
        let fake = Fake::new("0::/\n");
        fake.write("sys/fs/cgroup/memory.max", "200000\n");
        let memory = fake.memory();
        assert_eq!(memory.limit, Some(200_000));
        assert_eq!(memory.available, None);
    }

    #[test]
    fn a_host_that_tells_nothing_is_not_known() {
        let empty = tempfile::tempdir().unwrap();
        let facts = host_at(Roots {
            proc: empty.path(),
            sys: empty.path(),
        });
        assert_eq!((facts.overcommit, facts.listen_backlog), (None, None));
        assert_eq!((facts.huge_pages, facts.clock_source), (None, None));
        assert_eq!(facts.memory, ProcessMemory::default());
    }

    #[test]
    fn the_word_in_brackets_is_the_one_that_is_set() {
        assert_eq!(
            chosen("always [madvise] never\n").as_deref(),
            Some("madvise")
        );
        assert_eq!(chosen("always"), None);
    }

    #[test]
    fn the_disk_of_a_folder_that_is_yet_to_be_made_is_that_above_it() {
        let root = tempfile::tempdir().unwrap();
        let here = disk_at(root.path()).unwrap();
        let below = disk_at(&root.path().join("not/there")).unwrap();
        assert_eq!(here.inodes_free.is_some(), below.inodes_free.is_some());
        assert!(here.free > 0);
    }

    #[test]
    fn stored_is_what_the_append_only_files_take() {
        let root = tempfile::tempdir().unwrap();
        let files = root.path().join("redis-a/data/appendonlydir");
        fs::create_dir_all(&files).unwrap();
        fs::write(files.join("x.base.rdb"), "12345").unwrap();
        let nodes = ["redis-a", "redis-b"];
        assert_eq!(stored_under(root.path(), nodes.into_iter()), 5);
    }
}
