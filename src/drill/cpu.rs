//! Nodes that have a part of a processor and no more, by the cgroup that each is in (`halab node --cgroup`).

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Microseconds of a processor's time that a node has in each [`PERIOD`]: a tenth.
const QUOTA: u32 = 10_000;
/// Microseconds; the kernel's own.
const PERIOD: u32 = 100_000;
/// How long a node may take to be in its cgroup.
const JOIN_LIMIT: Duration = Duration::from_secs(10);
/// Pause between two looks whether it is.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const ROOT: &str = "/sys/fs/cgroup";

/// The lines before a node that is to be in a cgroup: see [`super::wrapped`].
pub const LINES: &str = "export HALAB_CGROUP=true\nexec";

/// A node that has little of a processor. Its cgroup outlives it, and so does what it may have, when it is started again;
/// it is removed when this is dropped, which is to be after the node.
#[derive(Debug)]
pub struct Little {
    /// Its path in the hierarchies.
    cgroup: PathBuf,
}

/// Why no node can be given little here, as far as can be told before there is one.
pub fn missing() -> Option<String> {
    let root = Path::new(ROOT);
    let v2 = root.join("cgroup.controllers");
    let can = if v2.exists() {
        fs::read_to_string(&v2).is_ok_and(|has| has.split_whitespace().any(|c| c == "cpu"))
    } else {
        // Made by the first node anyway, and shared by all of them.
        let halab = root.join("cpu/halab");
        fs::create_dir_all(&halab).is_ok() && {
            let file = halab.join("cpu.cfs_quota_us");
            fs::OpenOptions::new().write(true).open(file).is_ok()
        }
    };
    (!can).then(|| {
        "a node can't be given less of a processor: that takes root and the cgroup controller cpu"
            .into()
    })
}

impl Little {
    /// Leaves the node of that parent process, and all that it starts, a tenth of a processor.
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
            sleep(LOOK_AGAIN);
        };
        let folder = Path::new(ROOT).join(hierarchy).join(&cgroup);
        let v1 = folder.join("cpu.cfs_quota_us");
        let (file, value) = if v1.exists() {
            (v1, QUOTA.to_string())
        } else {
            (folder.join("cpu.max"), format!("{QUOTA} {PERIOD}"))
        };
        fs::write(&file, value).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(Little { cgroup })
    }
}

impl Drop for Little {
    fn drop(&mut self) {
        // One in each hierarchy; with v2 there is one. What can't be removed is an empty folder.
        let hierarchies = fs::read_dir(ROOT).into_iter().flatten().flatten();
        for hierarchy in hierarchies.map(|entry| entry.path()).chain([ROOT.into()]) {
            let _ = fs::remove_dir(hierarchy.join(&self.cgroup));
        }
    }
}

/// Of the cgroup that counts the processor's time of that process, once it is one of the node's own: the folder of its
/// hierarchy, and its path in there.
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
