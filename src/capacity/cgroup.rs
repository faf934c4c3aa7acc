//! Finds the memory limits of a process (cgroups(7), the kernel's cgroup-v1/memory.rst and
//! cgroup-v2.rst).
//!
//! The limits of all cgroups around the process apply. In a container the kernel may state the
//! paths of the host, of which only the root exists. So each path is checked from its end up to the
//! root.

/// The cgroup version, which determines the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CgroupVersion {
    /// cgroup v1, the hierarchy `memory`.
    One,
    /// cgroup v2.
    Two,
}

impl CgroupVersion {
    /// The files with a limit. A process above `memory.high` is throttled until it stands still.
    pub(super) fn limits(self) -> &'static [&'static str] {
        match self {
            CgroupVersion::One => &["memory.limit_in_bytes"],
            CgroupVersion::Two => &["memory.max", "memory.high"],
        }
    }

    /// The file with the usage.
    pub(super) fn usage(self) -> &'static str {
        match self {
            CgroupVersion::One => "memory.usage_in_bytes",
            CgroupVersion::Two => "memory.current",
        }
    }

    /// The names in `memory.stat` of memory that the kernel can drop: file pages.
    fn droppable(self) -> [&'static str; 2] {
        match self {
            CgroupVersion::One => ["total_inactive_file", "total_active_file"],
            CgroupVersion::Two => ["inactive_file", "active_file"],
        }
    }

    /// The bytes that the kernel can drop, from the text of `memory.stat`.
    pub(super) fn dropped(self, stat: &str) -> u64 {
        let value = |name: &str| -> u64 {
            let line = stat
                .lines()
                .find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|v| v.trim().parse().ok()).unwrap_or(0)
        };
        self.droppable()
            .iter()
            .fold(0, |sum, name| u64::saturating_add(sum, value(name)))
    }
}

/// The folders, relative to the cgroup root, that may contain limits of a process, from the text of
/// its `/proc/PID/cgroup`.
pub(super) fn folders(own: &str) -> Vec<(CgroupVersion, String)> {
    let mut folders = Vec::new();
    for line in own.lines() {
        // hierarchy-ID:controllers:path
        let mut parts = line.splitn(3, ':');
        let (Some(number), Some(controllers), Some(path)) =
            (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        if controllers.split(',').any(|c| c == "memory") {
            folders.extend(upwards(path).map(|path| (CgroupVersion::One, format!("memory{path}"))));
        } else if number == "0" && controllers.is_empty() {
            folders.extend(upwards(path).map(|path| (CgroupVersion::Two, path)));
        }
    }
    folders
}

/// `/a/b`, `/a`, and the root, which is the empty string.
fn upwards(path: &str) -> impl Iterator<Item = String> {
    let parts: Vec<String> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != "..")
        .map(str::to_owned)
        .collect();
    (0..=parts.len()).rev().map(move |length| {
        parts[..length]
            .iter()
            .fold(String::new(), |path, part| format!("{path}/{part}"))
    })
}

/// The limit in a file; `None` if there is none.
pub(super) fn limit(text: &str, machine: Option<u64>) -> Option<u64> {
    let bytes: u64 = text.trim().parse().ok()?;
    // In v1 "none" is a number near 2^63; a limit above the machine's memory has no effect.
    let most = machine.unwrap_or(1 << 62);
    (bytes < most).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_v1_the_memory_hierarchy_counts_up_to_its_root() {
        let own = "9:name=systemd:/\n4:cpu,memory:/docker/37a2\n0::/\n";
        let expected = [
            (CgroupVersion::One, "memory/docker/37a2"),
            (CgroupVersion::One, "memory/docker"),
            (CgroupVersion::One, "memory"),
            (CgroupVersion::Two, ""),
        ]
        .map(|(version, path)| (version, path.to_owned()));
        assert_eq!(folders(own), expected);
    }

    #[test]
    fn with_v2_every_cgroup_around_the_process_counts() {
        let expected = ["/lab.slice/redis-a.service", "/lab.slice", ""]
            .map(|path| (CgroupVersion::Two, path.to_owned()));
        assert_eq!(folders("0::/lab.slice/redis-a.service\n"), expected);
        // In a container this is above the namespace.
        let seen: Vec<_> = folders("0::/../x\n").into_iter().map(|f| f.1).collect();
        assert_eq!(seen, ["/x", ""]);
        assert_eq!(folders("nonsense\n"), []);
    }

    #[test]
    fn what_limits_nothing_is_no_limit() {
        let machine = Some(1_000_000);
        assert_eq!(limit("9223372036854771712\n", machine), None);
        assert_eq!(limit("9223372036854771712\n", None), None);
        assert_eq!(limit("max\n", machine), None);
        assert_eq!(limit("1000000\n", machine), None);
        assert_eq!(limit("999999\n", machine), Some(999_999));
        assert_eq!(limit("", machine), None);
    }

    #[test]
    fn pages_of_files_can_be_dropped() {
        let v1 = "cache 9\ninactive_file 1\ntotal_inactive_file 300\ntotal_active_file 20\n";
        assert_eq!(CgroupVersion::One.dropped(v1), 320);
        assert_eq!(
            CgroupVersion::Two.dropped("inactive_file 7\nactive_file x\n"),
            7
        );
        assert_eq!(CgroupVersion::Two.dropped(""), 0);
    }
}
