//! The input of the state machine, an observation, and its output, actions.

use std::fmt;
use std::net::SocketAddrV4;
use std::time::Duration;

use crate::protocol::copy::{Completeness, Relation};

/// The addresses and limits of a node, which do not change while it runs.
#[derive(Debug, Clone)]
pub struct MachineConfig {
    /// Where this node listens.
    pub me: SocketAddrV4,
    /// Where the lab's seed primary listens.
    pub seed: SocketAddrV4,
    /// The node had state before this start.
    pub has_state: bool,
    /// Silence of the server after which it is killed.
    pub hang_timeout: Duration,
    /// Silence after which a Sentinel calls an instance down.
    pub down_after: Duration,
}

/// This node's server, as just observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerState {
    /// There is no process.
    Gone,
    /// The process runs and has not answered since it was started.
    Starting,
    /// It answered before, and has not answered repeated questions for that long.
    Silent(Duration),
    /// It loads its data.
    Loading,
    /// A replica of the address where nothing listens: its role is undecided.
    Parked,
    /// It takes writes.
    Primary {
        /// Replicas that are in sync, or are waited for.
        replicas: usize,
    },
    /// A replica.
    Replica {
        /// Of whom.
        of: SocketAddrV4,
        /// For how long its link has been down; `None`: it is up and in sync.
        link_down_for: Option<Duration>,
        /// It can be promoted.
        promotable: bool,
    },
}

/// What a majority of the Sentinels agrees on, and what they report of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// The primary.
    pub primary: SocketAddrV4,
    /// Since which epoch.
    pub epoch: u64,
    /// At least one Sentinel knows a replica: the lab is not on its first start.
    pub knows_replicas: bool,
    /// For how long the primary has answered none of them, in whatever role.
    pub primary_silent_for: Duration,
    /// A majority has had answers from the primary, in that role, since that long ago or less.
    pub primary_alive_within: Option<Duration>,
    /// All that answered name the primary, have had answers from it, in that role, since that long
    /// ago or less, and run no failover.
    pub primary_settled_within: Option<Duration>,
    /// The youngest INFO that any Sentinel holds of this node as a replica.
    pub my_info_age: Option<Duration>,
    /// Every Sentinel that answered has a connection to this node.
    pub sees_me: bool,
}

/// The data on this node's server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnData {
    /// Not read yet.
    Unread,
    /// Nothing.
    Empty,
    /// Data, and what its mark says.
    Data(MarkSummary),
}

/// The contents of the mark of this node's copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkSummary {
    /// What was known of other copies when it was written; `None`: there is no mark.
    pub state: Option<Completeness>,
    /// The epoch at which its writer was named then.
    pub epoch: Option<u64>,
    /// This node wrote it.
    pub mine: bool,
    /// Its term is confirmed.
    pub confirmed: bool,
    /// It was written in the server's present history of replication.
    pub current: bool,
}

impl MarkSummary {
    /// Data without a mark.
    pub const NONE: MarkSummary = MarkSummary {
        state: None,
        epoch: None,
        mine: false,
        confirmed: false,
        current: false,
    };
}

/// The contents of the next mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextMark {
    /// The epoch at which the node is named.
    pub epoch: Option<u64>,
    /// The term is confirmed.
    pub confirmed: bool,
    /// What is known of other copies.
    pub state: Completeness,
}

/// Another data node, asked directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Where it listens.
    pub address: SocketAddrV4,
    /// How it is.
    pub state: PeerState,
    /// What it holds.
    pub copy: PeerCopy,
    /// This node's server reads what it writes, or its version is not known.
    pub readable: bool,
    /// It is a replica of this node, as it says itself.
    pub follows_me: bool,
}

/// What another data node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCopy {
    /// Against this node's copy; `None`: one of the two has not been read.
    pub relation: Option<Relation>,
    /// It holds something.
    pub data: bool,
    /// As a primary: it has marked the term in which it is one. Before that its mark is one that
    /// it had copied.
    pub settled: bool,
    /// An operator has chosen this copy over this node's.
    pub given_up: bool,
}

impl PeerCopy {
    /// Not read.
    pub const UNREAD: PeerCopy = PeerCopy {
        relation: None,
        data: false,
        settled: false,
        given_up: false,
    };
}

/// How another data node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerState {
    /// It has not answered for that long.
    Unreachable(Duration),
    /// It takes writes.
    Primary,
    /// It is a replica, or parked.
    Replica {
        /// It can be promoted.
        promotable: bool,
    },
}

/// One moment's observations.
#[derive(Debug, Clone)]
pub struct Observation {
    /// Time since the node's process started.
    pub now: Duration,
    /// This node's server.
    pub server: ServerState,
    /// The disk under the state folder takes no writes: as the server says while it runs, as the
    /// file system says while it is gone.
    pub disk_refuses: bool,
    /// The server that would be started can't read what is on disk: a newer one wrote it, or one
    /// of another product.
    pub unreadable: bool,
    /// The server writes to disk before each answer (`true`) or once a second, as it was last told
    /// and has confirmed; `None`: not known.
    pub sync_always: Option<bool>,
    /// What this node's server holds.
    pub own: OwnData,
    /// This node's server is empty, and `own` is what was set aside for a copy that is not
    /// complete yet.
    pub set_aside: bool,
    /// As a primary: the term in which it is one has been marked.
    pub in_term: bool,
    /// Something was written since the last mark.
    pub written: bool,
    /// An operator has chosen this node's copy.
    pub chosen: bool,
    /// The vote of the Sentinels; `None`: no majority.
    pub vote: Option<Vote>,
    /// The other data nodes.
    pub peers: Vec<Peer>,
}

/// What to do. Its name is also a label of metrics.
#[derive(Debug, Clone, PartialEq, Eq, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum Action {
    /// Start the server, parked.
    Start,
    /// Start the server, parked and without its data, which is set aside: another node has been
    /// promoted, and all that this one keeps will be copied from there. Loading it first would
    /// only take time.
    StartAfresh,
    /// Kill the server: it hangs.
    Kill,
    /// Become primary (`REPLICAOF NO ONE`), begin a term, and why.
    Promote(&'static str),
    /// Become promotable though parked: this copy holds more than that of the node that is named,
    /// and why.
    Stand(&'static str),
    /// Become parked: a replica of no node, which takes no writes and copies nothing.
    Park(&'static str),
    /// Restart the server with the data that was set aside: no copy has replaced it.
    #[strum(serialize = "put_back")]
    RestoreSetAside,
    /// Mark the begin of the term in which this node is primary.
    BeginTerm,
    /// Write the next mark of the term.
    Mark(NextMark),
    /// Reopen a closed lab: accept writes, then mark the new term.
    Reopen,
    /// Set this node's data aside for good, and start without it: an operator has chosen another
    /// copy.
    #[strum(serialize = "yield")]
    GiveUpCopy,
    /// Become a replica of that node, and why.
    Follow(SocketAddrV4, &'static str),
    /// Ask a Sentinel for a failover now, and why.
    CallFailover(&'static str),
    /// Become promotable once caught up with the primary.
    Raise,
    /// Cease to be promotable, and why.
    Lower(&'static str),
    /// Write to disk before each answer (`true`) or once a second.
    SyncAlways(bool),
    /// Pause writes: this primary may be isolated.
    Fence,
    /// Resume writes.
    Unfence,
    /// Report once what the node waits for, and what helps.
    Waiting(Wait),
    /// Report that the disk takes no writes, and what helps.
    DiskRefuses,
    /// Report that the server can't read the files on disk and is not started, and what helps.
    CannotLoad,
    /// Report that this node's server can't read that primary's data and does not follow it, and
    /// what helps.
    CannotFollow(SocketAddrV4),
    /// End the node: its server ends repeatedly.
    GiveUp,
}

/// What a node waits for, as text that follows *waiting for*, with what helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Other nodes: the wait can end without an operator's choice, even if a choice may end it too.
    Nodes(&'static str),
    /// An operator, who has to choose a copy (`halab choose`).
    Choice(&'static str),
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wait::Nodes(what) | Wait::Choice(what) => f.write_str(what),
        }
    }
}
