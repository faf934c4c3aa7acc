//! The state of the modelled lab: small, comparable, without a clock.
//!
//! A log is a set of entries: writes and marks. Each attempt to write is a new number, and numbers
//! grow, so a set is an ordered log, and a prefix of it has its lowest members. [`History`] has the
//! meaning of the numbers.

use std::hash::{Hash, Hasher};

use super::lost_writes::Proxied;
use super::marks::History;

/// The largest number of data nodes.
pub const NODES: usize = 3;
/// The number of Sentinels. Quorum and majority are both 2.
pub const SENTINELS: usize = 3;
/// The number of Sentinels in a majority.
pub const MAJORITY: usize = 2;

/// A set of entries, one bit each.
pub type Log = u16;

/// The replication link of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Link {
    /// Down; or a full copy is being received, and the old data still exists.
    Down,
    /// A full copy of what the primary had then is being loaded. The data is incomplete, and the
    /// server refuses a change of its role (`-LOADING`).
    Loading(Log),
    Up,
}

/// The clients that wait for a confirmation of something that is older than an INFO, one bit each.
pub type Clients = u8;
/// The writer, for its pending write.
pub const WRITER: Clients = 1;
/// The reader, for its pending read.
pub const READER: Clients = 2;

/// The role of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A replica of nobody; or the server is not running.
    Parked,
    Replica {
        of: usize,
        link: Link,
    },
    Primary,
}

/// The processes of a data node: the server and its supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Process {
    Up,
    /// Server and supervisor are stopped, and keep their state.
    Paused,
    /// The server has ended, and its supervisor runs. `just`: the supervisor has not noticed yet.
    ServerGone {
        just: bool,
    },
    NodeGone,
}

/// The memory of a supervisor; see `redis_ha_lab::node::machine::Machine`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Memory {
    pub was_primary: bool,
    /// This process has started the server, which has had a role.
    pub served: bool,
    /// Another node was promoted over it, and it has not been in sync with that node yet.
    pub deposed: bool,
    /// The epoch at which a majority named it, since it has been primary without interruption.
    pub named_at: Option<u8>,
    /// It was stopped, and may consider its server hung now.
    pub overslept: bool,
    /// Peers last seen as replicas, one bit each.
    pub known: u8,
    /// It has marked the present term of its server.
    pub in_term: bool,
    /// By its own decision.
    pub decided: bool,
    /// It stands for the role.
    pub standing: bool,
    /// Its server was promoted without being a candidate to its supervisor.
    pub unasked: bool,
}

/// A data node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Data {
    pub process: Process,
    pub role: Role,
    pub log: Log,
    /// It knows its position in its primary's stream; a restarted server does not.
    pub placed: bool,
    /// Its `replica-priority` is not 0.
    pub promotable: bool,
    /// A raise is in progress: the primary's log when its offset was read.
    pub raising: Option<Log>,
    /// The part of its log that is certainly on disk.
    pub synced: Log,
    /// It has an unknown login, so it cannot copy from any node.
    pub blocked: bool,
    /// The node's process found an empty state folder.
    pub first: bool,
    pub memory: Memory,
}

/// The age of a Sentinel's last INFO of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Info {
    Never,
    /// Older than the period: asked for at once after a reconnect.
    Old,
    Recent,
}

/// One Sentinel's view of one data node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sight {
    /// Neither down nor disconnected.
    pub up: bool,
    /// The cached priority is not 0; a new entry begins with 100.
    pub promotable: bool,
    pub info: Info,
    /// In that INFO it is a primary, which does not update its priority.
    pub says_primary: bool,
    /// For these, the INFO is newer than what they wait for.
    pub fresh: Clients,
}

impl Sight {
    /// A new entry, as after `+switch-master` or a restart of the Sentinel.
    pub const NEW: Sight = Sight {
        up: false,
        promotable: true,
        info: Info::Never,
        says_primary: false,
        fresh: 0,
    };
}

/// A failover that a Sentinel leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Failover {
    pub epoch: u8,
    pub chosen: Option<usize>,
    /// `REPLICAOF NO ONE` was executed.
    pub promoted: bool,
}

/// The process of a Sentinel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Watch {
    Up,
    /// Stopped, or cut off from everything: it keeps its view.
    Paused,
    /// Cut off from all nodes, but it answers the writer.
    Alone,
    Gone,
}

/// A Sentinel.
#[derive(Debug, Clone, Copy)]
pub struct Sentinel {
    /// Only for reports; equal states may differ in it.
    pub name: u8,
    pub watch: Watch,
    pub primary: usize,
    pub epoch: u8,
    pub sights: [Sight; NODES],
    pub failover: Option<Failover>,
    /// It is on the other side of the cut.
    pub cut: bool,
    /// It knows data nodes other than the primary.
    pub knows: bool,
}

type SentinelKey = (
    Watch,
    usize,
    u8,
    [Sight; NODES],
    Option<Failover>,
    (bool, bool),
);

impl Sentinel {
    /// Everything except the name.
    pub fn key(&self) -> SentinelKey {
        (
            self.watch,
            self.primary,
            self.epoch,
            self.sights,
            self.failover,
            (self.cut, self.knows),
        )
    }
}

impl PartialEq for Sentinel {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Sentinel {}

impl Hash for Sentinel {
    fn hash<H: Hasher>(&self, to: &mut H) {
        self.key().hash(to);
    }
}

/// A data node that is cut off from some others; Sentinels are marked by their own field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cut {
    pub node: usize,
    pub from_data: bool,
    pub from_writer: bool,
}

/// The write with an open outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pending {
    pub write: u8,
    /// The time after which an INFO counts as fresh has passed.
    pub stamped: bool,
}

/// Why a node is considered primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// A majority of the Sentinels names it, at this epoch.
    Elected(u8),
    /// It was promoted, and the Sentinels still name `over`, at this epoch.
    Promoted { over: usize, epoch: u8 },
}

/// The writer: one write at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Writer {
    /// Where it writes, and why.
    pub target: Option<(usize, Standing)>,
    pub pending: Option<Pending>,
    pub next: u8,
    pub acknowledged: Log,
}

/// A read that was answered by the reader's target, and is not passed on yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PendingRead {
    /// The writes in the answer.
    pub seen: Log,
    /// The writes that had been acknowledged, to anyone, when it was asked.
    pub due: Log,
}

/// Another client: one read at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reader {
    /// Where it reads, and why.
    pub target: Option<(usize, Standing)>,
    /// The message of its round of questions, an entry of its target's log.
    pub round: Option<u8>,
    pub pending: Option<PendingRead>,
    /// Reads that were passed on.
    pub done: u8,
    /// One of them lacked a write that was acknowledged before it was asked.
    pub stale: bool,
    /// For each primary, what each replica had confirmed to it when it left. The primary may not
    /// have noticed that, and lists it still.
    pub heard: [[Log; NODES]; NODES],
}

/// The node that is lost now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lost {
    Nothing,
    Data(usize),
    Sentinel,
    /// Everything was stopped.
    All,
}

/// The whole lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    pub data: [Data; NODES],
    pub sentinels: [Sentinel; SENTINELS],
    pub writer: Writer,
    /// `None` where nothing is read.
    pub reader: Option<Reader>,
    /// `None` where a write of a lost primary is not judged.
    pub proxied: Option<Proxied>,
    pub cut: Option<Cut>,
    pub lost: Lost,
    pub faults: u8,
    /// The combined logs of all data nodes when, after the last fault, every Sentinel had found
    /// every node again.
    pub found: Option<Log>,
    /// The meaning of the numbers in logs.
    pub history: History,
    /// The old primary of a planned handover in progress.
    pub handing: Option<usize>,
    /// The node promoted in it continued the old primary's history.
    pub went_on: bool,
    /// The host that does not come back.
    pub absent: Option<usize>,
    /// A decision may be left to an operator: a host is missing after an unplanned stop.
    pub operator: bool,
    /// The number of epochs that all Sentinels have passed, where they are counted.
    pub past: u8,
    /// A copy with an acknowledged write was replaced by one without it.
    pub replaced: bool,
}

impl State {
    /// A healthy lab: the first node is primary, all others are in sync.
    pub fn healthy(nodes: usize) -> State {
        let replica = Data {
            process: Process::Up,
            role: Role::Replica {
                of: 0,
                link: Link::Up,
            },
            log: 1,
            placed: true,
            promotable: true,
            raising: None,
            synced: 0,
            blocked: false,
            first: false,
            memory: Memory {
                decided: false,
                was_primary: false,
                served: true,
                named_at: None,
                overslept: false,
                deposed: false,
                known: 0,
                in_term: false,
                standing: false,
                unasked: false,
            },
        };
        let mut data = [replica; NODES];
        data[0].role = Role::Primary;
        data[0].promotable = false;
        data[0].memory.was_primary = true;
        data[0].memory.named_at = Some(1);
        data[0].memory.in_term = true;
        data[0].memory.known = (1_u8 << nodes) - 2;
        let known = Sight {
            up: true,
            promotable: true,
            info: Info::Recent,
            says_primary: false,
            fresh: 0,
        };
        let sentinel = |name| Sentinel {
            name,
            watch: Watch::Up,
            primary: 0,
            epoch: 1,
            sights: [known; NODES],
            failover: None,
            cut: false,
            knows: true,
        };
        State {
            data,
            sentinels: [sentinel(1), sentinel(2), sentinel(3)],
            writer: Writer {
                target: Some((0, Standing::Elected(1))),
                pending: None,
                next: 0,
                acknowledged: 0,
            },
            reader: None,
            proxied: None,
            cut: None,
            lost: Lost::Nothing,
            faults: 0,
            found: None,
            history: History::new(),
            handing: None,
            went_on: false,
            absent: None,
            operator: false,
            past: 0,
            replaced: false,
        }
    }

    /// Whether the network connects the data nodes `a` and `b`.
    pub fn data_reach(&self, a: usize, b: usize) -> bool {
        !self
            .cut
            .is_some_and(|c| c.from_data && (c.node == a || c.node == b))
    }

    /// Whether the network connects the Sentinel and the data node, and the Sentinel runs.
    pub fn sentinel_reaches(&self, s: usize, d: usize) -> bool {
        let sentinel = &self.sentinels[s];
        sentinel.watch == Watch::Up && !(sentinel.cut && self.cut.is_some_and(|c| c.node == d))
    }

    /// Whether the node's server answers the Sentinel.
    pub fn answers_sentinel(&self, s: usize, d: usize) -> bool {
        self.sentinel_reaches(s, d) && self.data[d].process == Process::Up
    }

    /// Whether the node's server answers the writer.
    pub fn answers_writer(&self, d: usize) -> bool {
        self.data[d].process == Process::Up
            && !self.cut.is_some_and(|c| c.from_writer && c.node == d)
    }

    /// Whether `d` can copy from `p` now.
    pub fn can_replicate(&self, d: usize, p: usize) -> bool {
        self.data[d].process == Process::Up
            && !self.data[d].blocked
            && self.data[p].process == Process::Up
            && self.data[p].role == Role::Primary
            && self.data_reach(d, p)
    }
}
