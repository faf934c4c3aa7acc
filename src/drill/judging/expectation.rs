//! What a fault has to lead to, and what it must not lead to. Pure.

/// Whether the lab has to fail over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failover {
    /// Another node has to become primary, at least this many times.
    AtLeast(u32),
    /// The primary has to stay.
    Forbidden,
    /// The primary has to stay until the fault is healed: there is no majority of Sentinels.
    ForbiddenUntilHealed,
    /// Both are correct.
    Allowed,
}

/// The effect on writes while the fault lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// Writes are acknowledged again before the fault is healed.
    Continue,
    /// As `Continue`, and the pause is shorter than `down_after`.
    ShortPause,
    /// Writes may stop until the fault is healed.
    MayStop,
    /// Nobody can confirm a write from the first moment on, so none is acknowledged until the fault
    /// is healed.
    MustStop,
}

/// What must hold in a run, beside the invariants that hold for every fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expectation {
    /// Whether the lab has to fail over.
    pub failover: Failover,
    /// The effect on writes, under the policy of the run.
    pub writes: Writes,
}
