//! The rules under test, and those that are taken out to see that each is needed.

/// What makes a write acknowledged while a node is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WitnessRule {
    /// `redis_ha_lab::protocol::ack::witness`, a majority.
    Majority,
    /// The same, of one Sentinel.
    OneSentinel,
    /// The same, but a cached priority of 0 counts however old it is.
    AnyAge,
    /// The server's `+OK`.
    PlainOk,
}

/// Which rules hold.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub witness: WitnessRule,
    /// Every Sentinel that can be asked is heard before a write counts as witnessed; otherwise any
    /// majority is enough, whatever the third would say.
    pub dissent_vetoes: bool,
    /// A priority of 0 in an INFO counts only when it was said after any raise that was under way when the write
    /// was executed.
    pub fresh_after_raise: bool,
    /// A node's own word that its priority is 0 counts only as an assurance, which it does not give while a raise is
    /// under way.
    pub assurance: bool,
    /// A cached priority of a node that now says it is a primary is no evidence.
    pub role_read: bool,
    /// An old primary that follows the new one counts only while it says that its priority is 0, and not
    /// against a Sentinel that already knows it as a replica; otherwise its following is enough.
    pub submission_checked: bool,
    /// A server starts with priority 0, and is raised only after it has caught up.
    pub promotability: bool,
    /// A restarted server starts parked; otherwise as what the Sentinels call it.
    pub guard: bool,
    /// A parent calls for a failover, and restarts its server at once, only while a majority of the
    /// Sentinels names its node; otherwise whenever its server was primary.
    pub named_only: bool,
    /// The parent of a primary that has ended calls for a failover only where a replica says that it can be promoted; otherwise always.
    pub candidate_called: bool,
    /// Copies are compared by their marks; otherwise that there is data decides, whatever it is.
    pub compare: bool,
    /// Who holds more than the named node stands for the role.
    pub stand: bool,
    /// A named node that follows one that does not serve decides anew.
    pub park: bool,
    /// A planned stop puts a closing mark into each copy.
    pub closing: bool,
    /// A write is witnessed only when the term of its primary has been marked.
    pub term_first: bool,
    /// A term counts only when it was announced, or the named node has submitted.
    pub confirm: bool,
    /// A term that a node began by its own decision counts only when the Sentinels see it as a primary, with no failover under way.
    pub settle: bool,
    /// Nobody follows a primary that holds less.
    pub keep_more: bool,
    /// A parked server that is promoted, and did not stand, parks again.
    pub candidate: bool,
    /// The old primary of a handover follows one that went on from its own history, and no other.
    pub same_history: bool,
    /// A primary that was replaced, and one that was promoted though it was no candidate, does not take the role while
    /// others are silent, before it has been in sync again.
    pub deposed: bool,
    /// Of two copies with one mark that says *only copy*, that of its writer holds more.
    pub sole_writer: bool,
    /// A Sentinel's first configuration is not made anew where the lab has one already.
    pub name_checked: bool,
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
    };

    /// The rules before copies carried marks.
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
    pub faults: u8,
    /// The highest epoch that is tried.
    pub max_epoch: u8,
    /// Epochs that all Sentinels have left behind don't count, so that there are always more.
    pub endless: bool,
    /// The server of the primary may end while the other node is not recovered, once the Sentinels know
    /// of that. The primary is the only copy then, and writes to disk before it answers.
    pub overlap: bool,
    /// The writer goes on when everything was stopped and started again.
    pub busy: bool,
    /// The faults come in the order of their kinds, each while the one before is not over; and of a lab that is stopped, before
    /// any of it is started again.
    pub at_once: bool,
    /// All Sentinels notice what there is at the same time, and no two lead a failover at once.
    pub calm: bool,
    pub kinds: &'static [super::faults::Kind],
}

impl Bounds {
    /// The highest epoch, where the lowest that a Sentinel has is 1.
    pub fn highest(&self, past: u8) -> u8 {
        self.max_epoch.saturating_sub(past)
    }
}
