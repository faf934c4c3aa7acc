//! Parses `/proc/meminfo` (proc(5)).

/// The memory of the machine, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct MemInfo {
    pub(super) total: Option<u64>,
    /// Without swapping: free memory, and what the kernel can drop.
    pub(super) available: Option<u64>,
    /// With `vm.overcommit_memory` 2: the commit limit, and what is committed.
    pub(super) commit_limit: Option<u64>,
    pub(super) committed: Option<u64>,
}

impl MemInfo {
    pub(super) fn parse(text: &str) -> Self {
        let value = |name: &str| -> Option<u64> {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            kib.checked_mul(1024)
        };
        MemInfo {
            total: value("MemTotal"),
            available: value("MemAvailable"),
            commit_limit: value("CommitLimit"),
            committed: value("Committed_AS"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_not_known() {
        let text = "MemTotal:       24684092 kB\nMemFree:  5 kB\nMemAvailable:   21186912 kB\nCommitLimit: many\n";
        let info = MemInfo::parse(text);
        assert_eq!(info.total, Some(24_684_092 * 1024));
        assert_eq!(info.available, Some(21_186_912 * 1024));
        assert_eq!((info.commit_limit, info.committed), (None, None));
        assert_eq!(MemInfo::parse(""), MemInfo::default());
    }
}
