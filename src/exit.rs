//! Exit codes, the same for every command.

/// How a command ended, as its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: the claim holds, the lab is healthy, the work is done.
    Holds,
    /// 1: the claim is violated (an acknowledged record is missing), or the lab is not healthy.
    Violated,
    /// 2: the command line or `lab.toml` is wrong; nothing was touched.
    Usage,
    /// 3: the verdict is inconclusive (nothing was written, or it could not be read).
    Inconclusive,
    /// 4: the lab or the tool failed.
    Failed,
}

impl Exit {
    /// All exit codes, in order.
    pub const ALL: [Exit; 5] = [
        Exit::Holds,
        Exit::Violated,
        Exit::Usage,
        Exit::Inconclusive,
        Exit::Failed,
    ];

    /// The number of the exit code.
    pub fn code(self) -> u8 {
        match self {
            Exit::Holds => 0,
            Exit::Violated => 1,
            Exit::Usage => 2,
            Exit::Inconclusive => 3,
            Exit::Failed => 4,
        }
    }

    /// Its meaning, in one line.
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Holds => "holds: done, healthy, every acknowledged record found",
            Exit::Violated => {
                "violated: an acknowledged record is missing, or the lab is not healthy"
            }
            Exit::Usage => "usage: the command line or lab.toml is wrong; nothing was touched",
            Exit::Inconclusive => "inconclusive: nothing was written, or it could not be read back",
            Exit::Failed => "failed: the lab or the tool failed",
        }
    }
}
