//! The rules under test. Each can be removed to show that it is needed.

/// How a write is acknowledged while a node is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WitnessRule {
    /// `redis_ha_lab::protocol::ack::witness` with a majority.
    Majority,
    /// The same with one Sentinel.
    OneSentinel,
    /// The same, but a cached priority of 0 counts whatever its age.
    AnyAge,
    /// The server's `+OK`.
    PlainOk,
}

/// When the answer to a read is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadRule {
    /// When a round that began after the answer shows that each other node has followed the primary
    /// beyond its offset at the beginning of the round, or, by the witnesses, cannot be promoted.
    Linearizable,
    /// The same, but it is enough that a node has confirmed that offset, whenever it did so.
    AnyConfirmation,
    /// The same as the first, but with a round that began before the answer.
    EarlierRound,
    /// At once.
    Local,
}

/// What becomes of a write that a lost primary has executed, and that was not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FateRule {
    /// `redis_ha_lab::protocol::history::ReplicationHistory::survival`.
    Survival,
    /// The same, with the end of the old history one too high.
    EndTooHigh,
    /// The same, with the end of the old history one too low.
    EndTooLow,
    /// The same, but the end counts whichever history it belongs to.
    AnyHistory,
    /// The same as the first, but executions by primaries before the last one are forgotten.
    LastExecution,
}

/// The rules that apply.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub witness: WitnessRule,
    /// A write is witnessed only after every reachable Sentinel was heard. Otherwise any majority
    /// is enough, whatever the third would answer.
    pub dissent_vetoes: bool,
    /// A priority of 0 in an INFO counts only if the INFO is later than any raise that was in
    /// progress when the write was executed.
    pub fresh_after_raise: bool,
    /// A node's own report of priority 0 counts only as an assurance, which it does not give
    /// during a raise.
    pub assurance: bool,
    /// A cached priority of a node that now reports to be primary is no evidence.
    pub role_read: bool,
    /// An old primary that follows the new one counts only while it reports priority 0, and not
    /// for a Sentinel that already knows it as a replica. Otherwise following is enough.
    pub submission_checked: bool,
    /// A server starts with priority 0, and is raised only after it has caught up.
    pub promotability: bool,
    /// A restarted server starts parked. Otherwise it starts in the role that the Sentinels
    /// report.
    pub guard: bool,
    /// A supervisor calls for a failover, and restarts its server at once, only while a majority
    /// of the Sentinels names its node. Otherwise it does so whenever its server was primary.
    pub named_only: bool,
    /// The supervisor of a primary that has ended calls for a failover only if a replica reports
    /// that it can be promoted. Otherwise it always does.
    pub candidate_called: bool,
    /// A handover begins only if each node that a Sentinel could promote itself reports that it
    /// can be. Otherwise the view of the Sentinels is enough.
    pub handover_asks: bool,
    /// Copies are compared by their marks. Otherwise only the existence of data counts.
    pub compare: bool,
    /// A node that holds more than the named node stands for the role.
    pub stand: bool,
    /// A named node that follows a node which does not serve decides again.
    pub park: bool,
    /// A planned stop writes a closing mark into each copy.
    pub closing: bool,
    /// A write is witnessed only when the primary has marked its term.
    pub term_first: bool,
    /// A term is confirmed only when it was announced, or the named node has submitted.
    pub confirm: bool,
    /// A term that a node began by its own decision is confirmed only when the Sentinels see it as
    /// primary with no failover in progress.
    pub settle: bool,
    /// No node follows a primary that holds less.
    pub keep_more: bool,
    /// A parked server that is promoted without standing parks again.
    pub candidate: bool,
    /// The old primary of a handover follows only a primary that continued its own history.
    pub same_history: bool,
    /// A replaced primary, and a server that was promoted without being a candidate, do not take
    /// the role while others are silent, until they have been in sync again.
    pub deposed: bool,
    /// Of two copies with the same *only copy* mark, that of its writer holds more.
    pub sole_writer: bool,
    /// A Sentinel's first configuration is not written again if the lab already has one.
    pub name_checked: bool,
    pub reads: ReadRule,
    pub fate: FateRule,
}

impl Rules {
    /// All rules.
    pub const ALL: Rules = Rules {
        witness: WitnessRule::Majority,
        dissent_vetoes: true,
        fresh_after_raise: true,
        assurance: true,
        role_read: true,
        submission_checked: true,
        promotability: true,
        guard: true,
        named_only: true,
        candidate_called: true,
        handover_asks: true,
        compare: true,
        stand: true,
        park: true,
        closing: true,
        term_first: true,
        confirm: true,
        settle: true,
        keep_more: true,
        candidate: true,
        same_history: true,
        deposed: true,
        sole_writer: true,
        name_checked: true,
        reads: ReadRule::Linearizable,
        fate: FateRule::Survival,
    };

    /// The rules from before copies had marks.
    pub const BEFORE_MARKS: Rules = Rules {
        compare: false,
        stand: false,
        park: false,
        closing: false,
        term_first: false,
        confirm: false,
        settle: false,
        keep_more: false,
        candidate: false,
        same_history: false,
        deposed: false,
        sole_writer: false,
        name_checked: false,
        ..Rules::ALL
    };
}

/// The bounds of one exploration.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub nodes: usize,
    pub writes: u8,
    pub reads: u8,
    /// A write that a lost primary has executed, and that was not confirmed, is judged at the next
    /// one. Otherwise its outcome stays unknown.
    pub judged: bool,
    pub faults: u8,
    /// The highest epoch.
    pub max_epoch: u8,
    /// Epochs that all Sentinels have passed do not count, so there are always more.
    pub endless: bool,
    /// The server of the primary may end while the other node is not recovered, once the Sentinels
    /// know that. The primary is then the only copy, and writes to disk before it answers.
    pub overlap: bool,
    /// The writer continues after everything was stopped and started again.
    pub busy: bool,
    /// The faults come in the order of their kinds, each before the one before is over; in a
    /// stopped lab, before any part of it is started again.
    pub at_once: bool,
    /// All Sentinels notice events at the same time, and no two lead a failover at once.
    pub calm: bool,
    pub kinds: &'static [super::faults::Kind],
}

impl Bounds {
    /// The highest epoch, if the lowest of a Sentinel is 1.
    pub fn highest(&self, past: u8) -> u8 {
        self.max_epoch.saturating_sub(past)
    }
}
