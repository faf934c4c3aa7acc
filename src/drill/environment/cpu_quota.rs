//! Nodes with a CPU quota, by the cgroup of each (`halab node --cgroup`).

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Microseconds of CPU time that a node has in each [`PERIOD`]: a tenth of a processor.
const QUOTA: u32 = 10_000;
/// Microseconds; the kernel's default.
const PERIOD: u32 = 100_000;
/// Time that a node may take to join its cgroup.
const JOIN_LIMIT: Duration = Duration::from_secs(10);
/// Interval at which that is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
const ROOT: &str = "/sys/fs/cgroup";

/// The wrapper script of a node that joins a cgroup of its own.
pub const SCRIPT: &str = "export HALAB_CGROUP=true\nexec";

/// The CPU quota of a node. Its cgroup outlives the node, so the quota holds when the node is
/// started again. The cgroup is removed when this is dropped, which has to be after the node's end.
#[derive(Debug)]
pub struct CpuQuota {
    /// Its path in the hierarchies.
    cgroup: PathBuf,
}

/// Why nodes can't have a CPU quota on this machine, as far as is known before one is started.
pub fn missing() -> Option<String> {
    let root = Path::new(ROOT);
    let v2 = root.join("cgroup.controllers");
    let can = if v2.exists() {
        fs::read_to_string(&v2).is_ok_and(|has| has.split_whitespace().any(|c| c == "cpu"))
    } else {
        // Made by the first node anyway, and shared by all nodes.
        let halab = root.join("cpu/halab");
        fs::create_dir_all(&halab).is_ok() && {
            let file = halab.join("cpu.cfs_quota_us");
            fs::OpenOptions::new().write(true).open(file).is_ok()
        }
    };
    (!can).then(|| "a CPU quota for a node needs root and the cgroup controller cpu".into())
}

impl CpuQuota {
    /// Limits the node with that parent process, and all its children, to a tenth of a processor.
    ///
    /// # Errors
    /// Why the system does not permit it.
    pub fn begin(parent: u32) -> Result<Self, String> {
        let deadline = Instant::now() + JOIN_LIMIT;
        let (hierarchy, cgroup) = loop {
            if let Some(found) = cgroup_of(parent) {
                break found;
            }
            if Instant::now() >= deadline {
                return Err("the node is in no cgroup of its own: its log says why".into());
            }
            sleep(POLL_INTERVAL);
        };
        let folder = Path::new(ROOT).join(hierarchy).join(&cgroup);
        let v1 = folder.join("cpu.cfs_quota_us");
        let (file, value) = if v1.exists() {
            (v1, QUOTA.to_string())
        } else {
            (folder.join("cpu.max"), format!("{QUOTA} {PERIOD}"))
        };
        fs::write(&file, value).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(CpuQuota { cgroup })
    }
}

impl Drop for CpuQuota {
    fn drop(&mut self) {
        // One in each hierarchy; cgroup v2 has a single one. A folder that remains is empty.
        let hierarchies = fs::read_dir(ROOT).into_iter().flatten().flatten();
        for hierarchy in hierarchies.map(|entry| entry.path()).chain([ROOT.into()]) {
            let _ = fs::remove_dir(hierarchy.join(&self.cgroup));
        }
    }
}

/// The cgroup that limits the CPU time of that process, once it is one of the node's own: the
/// folder of its hierarchy, and its path in there.
fn cgroup_of(process: u32) -> Option<(&'static str, PathBuf)> {
    let lines = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
    lines.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        if !path.contains("/halab/") {
            return None;
        }
        let hierarchy = match controllers {
            "" => "",
            _ if controllers.split(',').any(|c| c == "cpu") => "cpu",
            _ => return None,
        };
        Some((hierarchy, PathBuf::from(path.trim_start_matches('/'))))
    })
}
