//! What is known of a fault without injecting it: its texts, its requirement, what must hold, and
//! its negative control. Pure.

use std::fmt;

use crate::drill::environment::Requirement;
use crate::drill::judging::{Expectation, Failover, Writes};
use crate::drill::report::{NodesKind, Setting};
use crate::protocol::ack::Policy;

/// A fault, described.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// What it does.
    pub does: &'static str,
    /// What must hold, beside the invariants of every fault.
    pub must: &'static str,
    /// What it needs of the environment.
    pub requirement: Requirement,
    /// Whether the lab has to fail over.
    pub failover: Failover,
    /// The effect on writes while it lasts.
    pub writes: Writes,
    /// The settings with which it loses records.
    pub control: Control,
    /// Why it can't be injected into containers, if so.
    pub not_in_containers: Option<&'static str>,
    /// Further properties.
    pub properties: Properties,
}

/// Properties that few faults have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Properties {
    /// For a time only one data node runs or is reachable, so no write can be *replicated* then.
    pub one_data_node_left: bool,
    /// It damages or delays the append-only file, which stock servers keep only for such faults.
    pub needs_append_only_file: bool,
    /// It begins with a planned handover, and continues after the promotion.
    pub begins_with_handover: bool,
    /// It limits the bandwidth of links, as `--outrun` does.
    pub limits_bandwidth: bool,
    /// It discards acknowledged records on purpose. A soak run can't use it: that has one verdict
    /// over all records.
    pub discards_records: bool,
}

impl Properties {
    /// None of them.
    pub const NONE: Properties = Properties {
        one_data_node_left: false,
        needs_append_only_file: false,
        begins_with_handover: false,
        limits_bandwidth: false,
        discards_records: false,
    };
}

impl Definition {
    /// What must hold under that policy. With one data node, the policy `replicated` has writes
    /// wait.
    pub fn expectation_under(&self, policy: Policy) -> Expectation {
        let stops = policy == Policy::Replicated && self.properties.one_data_node_left;
        Expectation {
            failover: self.failover,
            writes: if stops { Writes::MayStop } else { self.writes },
        }
    }
}

/// Not in containers: the fault cuts some of the links of a node.
pub(super) const CUTS_SOME_LINKS: Option<&str> =
    Some("an engine connects a container with all others or with none");
/// Not in containers: the fault adds or moves nodes.
pub(super) const ADDS_NODES: Option<&str> =
    Some("an engine has no container that is not in its compose file");
/// Not in containers: the fault removes the files of a node.
pub(super) const REMOVES_FILES: Option<&str> =
    Some("an engine does not empty a volume that is in use");
/// Not in containers: the fault changes a server, its files or its resources.
pub(super) const CHANGES_SERVERS: Option<&str> =
    Some("it changes a server or its files in a way that an engine does not offer");

/// The negative control of a fault: settings with which its drill loses acknowledged records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// With these settings it loses acknowledged records.
    Loses(ControlSetting),
    /// It can't lose anything with any settings, and why.
    Nothing(&'static str),
}

/// The settings of a control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlSetting {
    /// The kind of nodes.
    pub nodes: NodesKind,
    /// The acknowledgement policy.
    pub policy: Policy,
    /// The load outruns the replica.
    pub outrun: bool,
}

impl ControlSetting {
    /// Whether a drill had these settings.
    pub fn matches(self, setting: &Setting) -> bool {
        setting.nodes == self.nodes
            && setting.policy == self.policy.as_str()
            && setting.link_bytes_per_second.is_some() == self.outrun
    }
}

impl fmt::Display for ControlSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nodes: {}, policy: {}", self.nodes, self.policy.as_str())?;
        if self.outrun {
            f.write_str(", outrun")?;
        }
        Ok(())
    }
}

impl Control {
    /// Stock servers, and a writer that waits for the replica all the same.
    pub(super) const STOCK: Control = Control::loses(NodesKind::Stock, Policy::Available, false);
    /// Stock servers, and a writer that trusts `+OK`.
    pub(super) const STOCK_TRUSTED: Control = Control::loses(NodesKind::Stock, Policy::None, false);
    /// The same, and the load outruns the replica.
    pub(super) const STOCK_OUTRUN: Control = Control::loses(NodesKind::Stock, Policy::None, true);
    /// Nodes run by `halab node`, and a writer that trusts `+OK`.
    pub(super) const TRUSTED: Control = Control::loses(NodesKind::Ours, Policy::None, false);
    /// The same, and the load outruns the replica.
    pub(super) const OUTRUN: Control = Control::loses(NodesKind::Ours, Policy::None, true);
    /// There is no failover, and no data is removed from the primary.
    pub(super) const STAYS: Control =
        Control::Nothing("the primary stays, with all its data, with any kind of nodes");
    /// A planned change of the members.
    pub(super) const PLANNED_CHANGE: Control = Control::Nothing(
        "a planned change that only these nodes know; rolling-restart is its part that loses \
         elsewhere",
    );

    const fn loses(nodes: NodesKind, policy: Policy, outrun: bool) -> Control {
        Control::Loses(ControlSetting {
            nodes,
            policy,
            outrun,
        })
    }
}
