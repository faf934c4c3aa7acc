//! The faults: what each does, what must hold in it, what it needs. Pure.
//!
//! How a fault is carried out and healed is in `inject`; whether what must hold did hold, in `judge`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::control::Control;

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// SIGKILL to the primary's server.
    KillPrimary,
    /// SIGKILL to the primary's server and its parent.
    KillPrimaryNode,
    /// SIGSTOP to the primary's server.
    HangPrimary,
    /// SIGSTOP to the primary's server and its parent, until another node is primary.
    HangPrimaryNode,
    /// The same, until a Sentinel begins the failover.
    WakePrimaryInFailover,
    /// SIGTERM to the primary's node.
    StopPrimary,
    /// A planned handover.
    Handover,
    /// Every node stopped and started, one after the other.
    RollingRestart,
    /// The same, with another server from then on: Sentinels, then replicas, then the primary.
    RollingUpgrade,
    /// A data node becomes a member, and then is none any more.
    AddAndRemoveDataNode,
    /// A Sentinel is replaced by another, and that one by the first.
    ReplaceSentinel,
    /// The whole lab moves to other addresses, with its data, and back.
    MoveLab,
    /// `SENTINEL FAILOVER`, as an operator would call it.
    SentinelFailover,
    /// The primary is cut off from every other node and from the writer.
    IsolatePrimary,
    /// The primary and the writer together are cut off from every other node.
    IsolatePrimaryWithWriter,
    /// The two data nodes are cut off from each other.
    CutReplicationLink,
    /// SIGKILL to the replica's server and its parent.
    KillReplica,
    /// SIGSTOP to the replica's server and its parent.
    HangReplica,
    /// One Sentinel is killed, then the primary's node.
    KillSentinelThenPrimary,
    /// Two Sentinels are killed, then the primary's node.
    KillTwoSentinelsThenPrimary,
    /// The primary's node is killed and started again at once.
    RestartPrimaryInDownAfter,
    /// The same, and its state folder is removed in between.
    RestartPrimaryWithoutData,
    /// The new primary is killed once the old one is back in sync.
    KillBothInTurn,
    /// After a failover, every node is stopped, then all are started.
    RestartAllAfterFailover,
    /// Little bandwidth between the primary and the other nodes.
    SlowLink,
    /// Packets vanish between all nodes.
    LossyLink,
    /// Nothing but the load.
    FullLoad,
    /// The primary's `maxmemory` is below what it uses.
    MaxmemoryReached,
    /// Thousands of connections to the primary that say nothing.
    IdleConnections,
    /// The primary's node is killed, the end of its append-only file is torn, and it is started again at once.
    TornAppendOnlyFile,
    /// The same, with bytes in the middle overwritten.
    DamagedAppendOnlyFile,
    /// No space is left on the disk of the primary's state folder.
    FullDisk,
    /// No space is left on the disk of the writer's ledger.
    FullDiskOfLedger,
    /// The state folders of the primary and of a Sentinel are read-only.
    ReadOnlyState,
    /// All connections that the primary may have are taken.
    NoConnectionsLeft,
    /// Writing to disk, and having it stored, takes the primary's server long.
    SlowDisk,
    /// The clocks of the primary and of a Sentinel are an hour ahead, then an hour behind.
    ClockSteps,
    /// The whole lab is stopped, and the primary's state folder removed before all are started.
    LoseDiskInStop,
    /// The same, with an older snapshot put in its place.
    RollBackDiskInStop,
    /// The same, with bytes in the middle of the primary's append-only file overwritten.
    DamageFileInStop,
    /// The same, with its second half cut off.
    ShortenFileInStop,
    /// The whole lab is stopped, and all but the primary's node started.
    StartWithoutPrimary,
    /// SIGKILL to every node at once, then all are started.
    CrashAll,
    /// The same, while every sync of an append-only file takes long.
    CrashAllOnSlowDisks,
    /// A planned handover, and SIGKILL to the new primary's server within half a second.
    HandoverThenKillNew,
    /// The same with its whole node, which is started again some seconds later.
    HandoverThenKillNewNode,
    /// The primary's node is killed, where a round trip between any two takes 50 ms.
    SlowNetwork,
    /// The same with 200 ms.
    SlowerNetwork,
    /// The primary's node is killed, where each node has a tenth of a processor.
    LittleCpu,
    /// A backup under load; then every node is killed and everything on their disks removed, and the backup restored.
    BackupAndRestore,
}

/// What a fault can be carried out with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Signals to processes, and questions to servers: works on any running lab.
    Signals,
    /// Nodes that the drill has started, so that it can start them again.
    OwnNodes,
    /// A network of the drill's own, to cut links in.
    OwnNetwork,
    /// Leave to trace a server, and strace.
    Tracing,
    /// Servers whose clocks can be stepped, by libfaketime.
    OwnClocks,
    /// Servers that may have few open files.
    OwnLimits,
    /// A second server, which reads what the first one writes.
    OtherServer,
    /// File systems of the drill's own, to fill them.
    OwnDisks,
    /// A network of the drill's own, on which a round trip takes so many milliseconds from the start.
    RoundTrips(u32),
    /// Nodes that have little of a processor from the start, by their cgroups.
    LittleCpu,
}

/// Whether the lab has to fail over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failover {
    /// Another node has to become primary, so many times.
    Must(u32),
    /// The primary has to stay.
    MustNot,
    /// Either is right.
    May,
}

/// What becomes of writes while the fault lasts, under the policy `available`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// Acknowledged again before the fault is healed.
    GoOn,
    /// None is acknowledged until it is healed.
    Wait,
    /// They go on, and the pause is shorter than `down_after`.
    ShortPause,
}

/// A fault, described.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Its name on the command line and in reports.
    pub name: &'static str,
    /// What it does.
    pub does: &'static str,
    /// What must hold, beside no loss.
    pub must: &'static str,
    /// What it is carried out with.
    pub needs: Needs,
    /// Whether the lab has to fail over.
    pub failover: Failover,
    /// What becomes of writes while it lasts.
    pub writes: Writes,
    /// What shows that its drill can fail.
    pub control: Control,
}

impl Fault {
    /// All faults, in the order in which `all` runs them.
    pub const ALL: [Fault; 50] = [
        Fault::KillPrimary,
        Fault::KillPrimaryNode,
        Fault::HangPrimary,
        Fault::HangPrimaryNode,
        Fault::WakePrimaryInFailover,
        Fault::StopPrimary,
        Fault::Handover,
        Fault::RollingRestart,
        Fault::RollingUpgrade,
        Fault::AddAndRemoveDataNode,
        Fault::ReplaceSentinel,
        Fault::MoveLab,
        Fault::SentinelFailover,
        Fault::IsolatePrimary,
        Fault::IsolatePrimaryWithWriter,
        Fault::CutReplicationLink,
        Fault::KillReplica,
        Fault::HangReplica,
        Fault::KillSentinelThenPrimary,
        Fault::KillTwoSentinelsThenPrimary,
        Fault::RestartPrimaryInDownAfter,
        Fault::RestartPrimaryWithoutData,
        Fault::KillBothInTurn,
        Fault::RestartAllAfterFailover,
        Fault::SlowLink,
        Fault::LossyLink,
        Fault::FullLoad,
        Fault::MaxmemoryReached,
        Fault::IdleConnections,
        Fault::TornAppendOnlyFile,
        Fault::DamagedAppendOnlyFile,
        Fault::FullDisk,
        Fault::FullDiskOfLedger,
        Fault::ReadOnlyState,
        Fault::NoConnectionsLeft,
        Fault::SlowDisk,
        Fault::ClockSteps,
        Fault::LoseDiskInStop,
        Fault::RollBackDiskInStop,
        Fault::DamageFileInStop,
        Fault::ShortenFileInStop,
        Fault::StartWithoutPrimary,
        Fault::CrashAll,
        Fault::CrashAllOnSlowDisks,
        Fault::HandoverThenKillNew,
        Fault::HandoverThenKillNewNode,
        Fault::SlowNetwork,
        Fault::SlowerNetwork,
        Fault::LittleCpu,
        Fault::BackupAndRestore,
    ];

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// Why it can't be carried out where the nodes are containers, if so. An engine starts them again, and takes
    /// one out of a network; it can't cut a part of its links, nor reach what it keeps.
    pub fn not_in_containers(self) -> Option<&'static str> {
        match self {
            Fault::IsolatePrimaryWithWriter
            | Fault::CutReplicationLink
            | Fault::SlowLink
            | Fault::LossyLink => {
                Some("an engine connects a container with all others or with none")
            }
            Fault::AddAndRemoveDataNode | Fault::ReplaceSentinel | Fault::MoveLab => {
                Some("an engine has no container that is not in its compose file")
            }
            Fault::RestartPrimaryWithoutData
            | Fault::LoseDiskInStop
            | Fault::RollBackDiskInStop
            | Fault::BackupAndRestore => Some("an engine does not empty a volume that is in use"),
            Fault::RollingUpgrade => Some("a container of another image is another container"),
            Fault::MaxmemoryReached
            | Fault::IdleConnections
            | Fault::TornAppendOnlyFile
            | Fault::DamagedAppendOnlyFile
            | Fault::DamageFileInStop
            | Fault::ShortenFileInStop
            | Fault::FullDisk
            | Fault::FullDiskOfLedger
            | Fault::ReadOnlyState
            | Fault::NoConnectionsLeft
            | Fault::SlowDisk
            | Fault::CrashAllOnSlowDisks
            | Fault::ClockSteps
            | Fault::SlowNetwork
            | Fault::SlowerNetwork
            | Fault::LittleCpu => {
                Some("it changes a server or its files in a way that an engine has no word for")
            }
            _ => None,
        }
    }

    /// Whether it is about the append-only file, which plain servers keep only when told to.
    pub fn harms_append_only_file(self) -> bool {
        matches!(
            self,
            Fault::TornAppendOnlyFile
                | Fault::DamagedAppendOnlyFile
                | Fault::DamageFileInStop
                | Fault::ShortenFileInStop
                | Fault::CrashAllOnSlowDisks
        )
    }

    /// Whether it begins with a planned handover, and goes on after the promotion.
    pub fn begins_with_a_handover(self) -> bool {
        matches!(
            self,
            Fault::HandoverThenKillNew | Fault::HandoverThenKillNewNode
        )
    }

    /// Its description.
    pub fn spec(self) -> Spec {
        use Failover::{May, Must, MustNot};
        use Needs::{
            OtherServer, OwnClocks, OwnDisks, OwnLimits, OwnNetwork, OwnNodes, Signals, Tracing,
        };
        use Writes::{GoOn, ShortPause, Wait};
        let spec = |name, does, must, needs, failover, writes| Spec {
            name,
            does,
            must,
            needs,
            failover,
            writes,
            control: self.control(),
        };
        match self {
            Fault::KillPrimary => spec(
                "kill-primary",
                "SIGKILL to the primary's server",
                "its parent calls for the failover at once; it comes back as a replica",
                Signals,
                Must(1),
                GoOn,
            ),
            Fault::KillPrimaryNode => spec(
                "kill-primary-node",
                "SIGKILL to the primary's server and its parent; started again after the failover",
                "fails over after down-after; it comes back as a replica",
                OwnNodes,
                Must(1),
                GoOn,
            ),
            Fault::HangPrimary => spec(
                "hang-primary",
                "SIGSTOP to the primary's server",
                "its parent kills it after hang-timeout, then as kill-primary",
                Signals,
                Must(1),
                GoOn,
            ),
            Fault::HangPrimaryNode => spec(
                "hang-primary-node",
                "SIGSTOP to the primary's server and its parent; SIGCONT after the failover",
                "fails over; nothing that the old primary takes counts; it becomes a replica",
                Signals,
                Must(1),
                GoOn,
            ),
            Fault::WakePrimaryInFailover => spec(
                "wake-primary-in-failover",
                "SIGSTOP to the primary's server and its parent; SIGCONT when a Sentinel begins the failover",
                "what the old primary takes after it woke does not count",
                Signals,
                May,
                GoOn,
            ),
            Fault::StopPrimary => spec(
                "stop-primary",
                "SIGTERM to the primary's node; started again after the failover",
                "hands over before it ends: a pause shorter than down-after, no failed write",
                OwnNodes,
                Must(1),
                ShortPause,
            ),
            Fault::Handover => spec(
                "handover",
                "a planned handover, as by halab handover",
                "a pause shorter than down-after, no failed write",
                Signals,
                Must(1),
                ShortPause,
            ),
            Fault::RollingRestart => spec(
                "rolling-restart",
                "every node stopped and started again, one after the other, each once the lab has recovered",
                "pauses shorter than down-after, no failed write",
                OwnNodes,
                Must(1),
                ShortPause,
            ),
            Fault::RollingUpgrade => spec(
                "rolling-upgrade",
                "the server replaced by another (--to, or one on PATH that reads what it writes), and every node stopped and started again: Sentinels, replicas, the primary, each once the lab has recovered",
                "pauses shorter than down-after, no failed write; every data node runs the other server",
                OtherServer,
                Must(1),
                ShortPause,
            ),
            Fault::AddAndRemoveDataNode => spec(
                "add-and-remove-data-node",
                "a data node is started, made a member, and taken out again, as by halab member; before and after, every node is \
                 started again with the new lab.toml",
                "pauses shorter than down-after, no failed write; the writer is not started again",
                OwnNodes,
                May,
                ShortPause,
            ),
            Fault::ReplaceSentinel => spec(
                "replace-sentinel",
                "a Sentinel is replaced by one at another address, and that one by the first, as by halab member; each time every \
                 node is started again with the new lab.toml",
                "pauses shorter than down-after, no failed write; the writer is not started again",
                OwnNodes,
                May,
                ShortPause,
            ),
            Fault::MoveLab => spec(
                "move-lab",
                "every node is stopped as one act, moved to another address as by halab move, and started; a second writer writes there; \
                 then all of it once more, back to the first addresses",
                "every record comes along; what the second writer had acknowledged is read back; the first one waits, and goes on",
                OwnNodes,
                May,
                GoOn,
            ),
            Fault::SentinelFailover => spec(
                "sentinel-failover",
                "SENTINEL FAILOVER on a healthy lab, without a pause of writes",
                "the other node becomes primary; nothing that the old one took in between counts",
                Signals,
                Must(1),
                GoOn,
            ),
            Fault::IsolatePrimary => spec(
                "isolate-primary",
                "the primary's packets to and from every other node and the writer are dropped, until after the failover",
                "fails over; the old primary becomes a replica when it is heard again",
                OwnNetwork,
                Must(1),
                GoOn,
            ),
            Fault::IsolatePrimaryWithWriter => spec(
                "isolate-primary-with-writer",
                "the primary and the writer can reach each other and no other node, until after the failover",
                "fails over; nothing is acknowledged on the isolated side",
                OwnNetwork,
                Must(1),
                Wait,
            ),
            Fault::CutReplicationLink => spec(
                "cut-replication-link",
                "packets between the two data nodes are dropped, and nothing else",
                "no failover; writes go on",
                OwnNetwork,
                MustNot,
                GoOn,
            ),
            Fault::KillReplica => spec(
                "kill-replica",
                "SIGKILL to the replica's server and its parent",
                "no failover; writes go on",
                OwnNodes,
                MustNot,
                GoOn,
            ),
            Fault::HangReplica => spec(
                "hang-replica",
                "SIGSTOP to the replica's server and its parent",
                "no failover; writes go on",
                Signals,
                MustNot,
                GoOn,
            ),
            Fault::KillSentinelThenPrimary => spec(
                "kill-sentinel-then-primary",
                "one Sentinel killed, then the primary's node",
                "fails over all the same",
                OwnNodes,
                Must(1),
                GoOn,
            ),
            Fault::KillTwoSentinelsThenPrimary => spec(
                "kill-two-sentinels-then-primary",
                "two Sentinels killed, then the primary's node; all started again",
                "no failover while two are gone: the writer waits; afterwards writes go on",
                OwnNodes,
                May,
                Wait,
            ),
            Fault::RestartPrimaryInDownAfter => spec(
                "restart-primary-in-down-after",
                "the primary's node killed, and started again at once with its data",
                "no replica takes over an older state of the data",
                OwnNodes,
                May,
                GoOn,
            ),
            Fault::RestartPrimaryWithoutData => spec(
                "restart-primary-without-data",
                "the primary's node killed, its data removed, and started again at once",
                "the empty node does not become primary again",
                OwnNodes,
                Must(1),
                GoOn,
            ),
            Fault::KillBothInTurn => spec(
                "kill-both-in-turn",
                "the primary's server killed; once the lab has recovered, the new primary's",
                "fails over twice",
                Signals,
                Must(2),
                GoOn,
            ),
            Fault::RestartAllAfterFailover => spec(
                "restart-all-after-failover",
                "the primary's node killed; after failover and recovery every node stopped, then all started",
                "the promoted node is still primary",
                OwnNodes,
                Must(1),
                GoOn,
            ),
            Fault::SlowLink => spec(
                "slow-link",
                "2 MB/s, with up to 150 ms of delay, between the primary and every other node",
                "no failover; writes go on",
                OwnNetwork,
                MustNot,
                GoOn,
            ),
            Fault::FullLoad => spec(
                "full-load",
                "nothing: the writer alone, as fast as it may",
                "no failover; writes go on",
                Signals,
                MustNot,
                GoOn,
            ),
            Fault::MaxmemoryReached => spec(
                "maxmemory-reached",
                "the primary's maxmemory is set below what it uses, until it is healed",
                "no failover; the writer says what helps, waits, and sends the refused writes again",
                OwnNodes,
                MustNot,
                Wait,
            ),
            Fault::IdleConnections => spec(
                "idle-connections",
                "5000 connections to the primary that say nothing",
                "no failover; writes go on",
                OwnNodes,
                MustNot,
                GoOn,
            ),
            Fault::TornAppendOnlyFile => spec(
                "torn-append-only-file",
                "the primary's node killed, the last bytes of its append-only file cut off, and started again at once",
                "the tail is repaired, and the node does not become primary again with less than the other has",
                OwnNodes,
                May,
                GoOn,
            ),
            Fault::DamagedAppendOnlyFile => spec(
                "damaged-append-only-file",
                "the primary's node killed, bytes in the middle of its append-only file overwritten, and started again at once",
                "the other node takes over, as its own says; the damaged data is set aside, not truncated, and copied anew from there",
                OwnNodes,
                Must(1),
                GoOn,
            ),
            Fault::FullDisk => spec(
                "full-disk",
                "no space is left on the disk of the primary's state folder, until after the failover",
                "its node says what helps, and has the other one take over; it comes back as a replica when there is room",
                OwnDisks,
                Must(1),
                GoOn,
            ),
            Fault::FullDiskOfLedger => spec(
                "full-disk-of-ledger",
                "no space is left on the disk of the writer's ledger; then there is, and the run is resumed",
                "the writer ends and says what helps: it claims nothing that the ledger does not hold, and goes on when resumed",
                OwnDisks,
                MustNot,
                Wait,
            ),
            Fault::ReadOnlyState => spec(
                "read-only-state",
                "the state folders of the primary and of one Sentinel are read-only, the primary's node is killed and started again",
                "the other one takes over; the node refuses to start, and says what helps",
                OwnDisks,
                Must(1),
                GoOn,
            ),
            Fault::NoConnectionsLeft => spec(
                "no-connections-left",
                "servers that may have 256 open files (ulimit -n): connections take all that the primary has for them",
                "no failover; writes go on; the node says what helps",
                OwnLimits,
                MustNot,
                GoOn,
            ),
            Fault::SlowDisk => spec(
                "slow-disk",
                "each write of the primary's server to its append-only file takes 50 ms longer, each sync 300 ms, by strace",
                "no failover; writes go on",
                Tracing,
                MustNot,
                GoOn,
            ),
            Fault::ClockSteps => spec(
                "clock-steps",
                "the clocks of the primary and of one Sentinel step an hour ahead, then an hour behind",
                "no failover; writes go on; the Sentinel is started again, or it would see nothing for an hour",
                OwnClocks,
                MustNot,
                GoOn,
            ),
            Fault::LoseDiskInStop => spec(
                "lose-disk-in-stop",
                "every node stopped as one act, the primary's state folder removed, all started again",
                "the other node, which has everything, takes the role; nobody copies from the empty one",
                OwnNodes,
                Must(1),
                GoOn,
            ),
            Fault::RollBackDiskInStop => spec(
                "roll-back-disk-in-stop",
                "every node stopped as one act, an older snapshot put in place of the primary's state folder, all started again",
                "the other node, which holds more, takes the role; no copy is replaced by the older one",
                OwnNodes,
                Must(1),
                GoOn,
            ),
            Fault::DamageFileInStop => spec(
                "damage-file-in-stop",
                "every node stopped as one act, bytes in the middle of the primary's append-only file overwritten, all started again",
                "the other node takes the role; the damaged data is set aside and copied anew from there",
                OwnNodes,
                Must(1),
                GoOn,
            ),
            Fault::ShortenFileInStop => spec(
                "shorten-file-in-stop",
                "every node stopped as one act, the primary's append-only file cut off in its middle, as redis-check-aof --fix leaves it, all started again",
                "the other node, which holds more, takes the role",
                OwnNodes,
                Must(1),
                GoOn,
            ),
            Fault::StartWithoutPrimary => spec(
                "start-without-primary",
                "every node stopped as one act, all started again but the primary's",
                "the other node has everything and knows it: it takes the role without an operator",
                OwnNodes,
                Must(1),
                GoOn,
            ),
            Fault::CrashAll => spec(
                "crash-all",
                "SIGKILL to every node at once, all started again",
                "the nodes compare what they hold, and one takes the role",
                OwnNodes,
                May,
                GoOn,
            ),
            Fault::CrashAllOnSlowDisks => spec(
                "crash-all-on-slow-disks",
                "each sync of an append-only file takes 1.5 s, on both disks, by strace; then SIGKILL to every node at once",
                "what was answered is written, synced or not; the nodes compare what they hold, and one takes the role",
                Tracing,
                May,
                GoOn,
            ),
            Fault::HandoverThenKillNew => spec(
                "handover-then-kill-new",
                "a planned handover, and SIGKILL to the new primary's server within 0.5 s",
                "one of the two is primary again, and the other follows it",
                Signals,
                Must(1),
                GoOn,
            ),
            Fault::HandoverThenKillNewNode => spec(
                "handover-then-kill-new-node",
                "a planned handover, SIGKILL to the new primary's node within 0.5 s, and started again some seconds later",
                "one of the two is primary again, and the other follows it",
                OwnNodes,
                Must(1),
                GoOn,
            ),
            Fault::SlowNetwork => spec(
                "slow-network",
                "a round trip between any two nodes, and from the writer to any, takes 50 ms from the start; SIGKILL to the primary's server and its parent",
                "fails over after down-after; it comes back as a replica, and becomes promotable",
                Needs::RoundTrips(50),
                Must(1),
                GoOn,
            ),
            Fault::SlowerNetwork => spec(
                "slower-network",
                "the same with 200 ms",
                "fails over after down-after; it comes back as a replica, and becomes promotable",
                Needs::RoundTrips(200),
                Must(1),
                GoOn,
            ),
            Fault::LittleCpu => spec(
                "little-cpu",
                "each node, server and parent, has a tenth of a processor from the start; SIGKILL to those of the primary",
                "fails over after down-after; it comes back as a replica, and becomes promotable",
                Needs::LittleCpu,
                Must(1),
                GoOn,
            ),
            Fault::BackupAndRestore => spec(
                "backup-and-restore",
                "a backup under load; then SIGKILL to every node, all that they had on disk is removed, and the backup is restored",
                "what was acknowledged before the backup was begun, or after the restore, is there; writes go on",
                OwnNodes,
                May,
                GoOn,
            ),
            Fault::LossyLink => spec(
                "lossy-link",
                "2 % of the packets between the nodes are dropped",
                "no failover; writes go on",
                OwnNetwork,
                MustNot,
                GoOn,
            ),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Not the name of a fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no fault \"{0}\"; `halab drill --list` shows them")]
pub struct UnknownFault(pub String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        Fault::ALL
            .into_iter()
            .find(|fault| fault.name() == text)
            .ok_or_else(|| UnknownFault(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_fault_and_is_the_one_in_reports() {
        for fault in Fault::ALL {
            assert_eq!(fault.name().parse(), Ok(fault));
            let json = serde_json::to_string(&fault).unwrap();
            assert_eq!(json, format!("\"{}\"", fault.name()));
        }
        assert!("kill".parse::<Fault>().is_err());
    }
}
