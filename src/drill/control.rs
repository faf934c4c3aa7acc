//! The control of each fault: the same, without a rule of ours, in which acknowledged records have
//! to be lost. Pure.

use std::fmt;

use crate::protocol::ack::Policy;

use super::fault::Fault;
use super::report::{NodesKind, Setting};

/// What shows that a drill of a fault can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Set like this, it loses acknowledged records.
    Loses(Without),
    /// Nothing can be lost in it, and why.
    Nothing(&'static str),
}

/// What a control does without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Without {
    /// Who runs the servers.
    pub nodes: NodesKind,
    /// What counts as acknowledged.
    pub policy: Policy,
    /// The load outruns the replica.
    pub outrun: bool,
}

impl Without {
    /// Whether that drill was set so.
    pub fn is(self, setting: &Setting) -> bool {
        setting.nodes == self.nodes
            && setting.policy == self.policy.as_str()
            && setting.link_bytes_per_second.is_some() == self.outrun
    }
}

impl fmt::Display for Without {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} nodes, policy {}", self.nodes, self.policy.as_str())?;
        if self.outrun {
            f.write_str(", outrun")?;
        }
        Ok(())
    }
}

/// Plain servers and a writer that waits for the replica all the same.
const PLAIN: Control = Control::Loses(Without {
    nodes: NodesKind::Stock,
    policy: Policy::Available,
    outrun: false,
});
/// Plain servers, and a writer that trusts `+OK`.
const PLAIN_TRUSTED: Control = Control::Loses(Without {
    nodes: NodesKind::Stock,
    policy: Policy::None,
    outrun: false,
});
/// The same, and the replica does not keep up.
const PLAIN_OUTRUN: Control = Control::Loses(Without {
    nodes: NodesKind::Stock,
    policy: Policy::None,
    outrun: true,
});
/// Our nodes, a writer that trusts `+OK`, and a replica that does not keep up.
const OUTRUN: Control = Control::Loses(Without {
    nodes: NodesKind::Ours,
    policy: Policy::None,
    outrun: true,
});
/// Our nodes, and a writer that trusts `+OK`.
const TRUSTED: Control = Control::Loses(Without {
    nodes: NodesKind::Ours,
    policy: Policy::None,
    outrun: false,
});
/// Nobody takes over, and nothing is taken from the primary.
const STAYS: Control =
    Control::Nothing("the primary stays, with everything that it has taken, whoever runs it");

impl Fault {
    /// What loses records in it.
    pub fn control(self) -> Control {
        match self {
            Fault::KillPrimary
            | Fault::KillPrimaryNode
            | Fault::HangPrimary
            | Fault::HangPrimaryNode
            | Fault::IsolatePrimary
            | Fault::KillSentinelThenPrimary
            | Fault::KillBothInTurn
            | Fault::RestartAllAfterFailover
            | Fault::SlowNetwork
            | Fault::SlowerNetwork
            | Fault::LittleCpu
            | Fault::HandoverThenKillNew
            | Fault::HandoverThenKillNewNode
            | Fault::FullDisk => OUTRUN,
            Fault::StopPrimary
            | Fault::RollingRestart
            | Fault::StartWithoutPrimary
            | Fault::BackupAndRestore => PLAIN_OUTRUN,
            Fault::WakePrimaryInFailover
            | Fault::SentinelFailover
            | Fault::IsolatePrimaryWithWriter => TRUSTED,
            Fault::Handover | Fault::RollingUpgrade | Fault::TornAppendOnlyFile => PLAIN_TRUSTED,
            Fault::KillTwoSentinelsThenPrimary
            | Fault::RestartPrimaryInDownAfter
            | Fault::RestartPrimaryWithoutData
            | Fault::DamagedAppendOnlyFile
            | Fault::ReadOnlyState
            | Fault::LoseDiskInStop
            | Fault::RollBackDiskInStop
            | Fault::DamageFileInStop
            | Fault::ShortenFileInStop
            | Fault::CrashAll
            | Fault::CrashAllOnSlowDisks => PLAIN,
            Fault::CutReplicationLink
            | Fault::KillReplica
            | Fault::HangReplica
            | Fault::SlowLink
            | Fault::LossyLink
            | Fault::FullLoad
            | Fault::IdleConnections
            | Fault::NoConnectionsLeft
            | Fault::SlowDisk
            | Fault::ClockSteps => STAYS,
            Fault::MaxmemoryReached => Control::Nothing(
                "a server without memory refuses writes, and keeps what it has, whoever runs it",
            ),
            Fault::AddAndRemoveDataNode | Fault::ReplaceSentinel | Fault::MoveLab => {
                Control::Nothing(
                    "a planned change that only these nodes know; rolling-restart is its part that loses elsewhere",
                )
            }
            Fault::FullDiskOfLedger => {
                Control::Nothing("the nodes are not touched; what is judged is the writer's word")
            }
        }
    }
}
