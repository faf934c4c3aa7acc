//! Exit codes, the same for every command.

/// How a command ended, as its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::VariantArray)]
pub enum Exit {
    /// 0: the claim holds, the lab is healthy, the work is done.
    Holds,
    /// 1: the answer is no: an acknowledged record is missing, the lab is not healthy.
    Negative,
    /// 2: the command line or `lab.toml` is wrong; nothing was touched.
    Usage,
    /// 3: the verdict is inconclusive (nothing was written, or it could not be read).
    Inconclusive,
    /// 4: the lab or the tool failed.
    Failed,
    /// 5: the lab is not in a state for it; nothing was changed.
    Refused,
}

impl Exit {
    /// All exit codes, in order.
    pub const ALL: &'static [Exit] = <Exit as strum::VariantArray>::VARIANTS;

    /// The number of the exit code.
    pub fn code(self) -> u8 {
        match self {
            Exit::Holds => 0,
            Exit::Negative => 1,
            Exit::Usage => 2,
            Exit::Inconclusive => 3,
            Exit::Failed => 4,
            Exit::Refused => 5,
        }
    }

    /// Its meaning, in one line.
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Holds => "holds: done, healthy, every acknowledged record found",
            Exit::Negative => {
                "no: an acknowledged record is missing, or the lab is not healthy or not complete"
            }
            Exit::Usage => "usage: the command line or lab.toml is wrong; nothing was touched",
            Exit::Inconclusive => "inconclusive: nothing was written, or it could not be read back",
            Exit::Failed => "failed: the lab or the tool failed",
            Exit::Refused => "refused: the lab is not in a state for it; nothing was changed",
        }
    }
}
