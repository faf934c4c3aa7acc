//! The events of a run, as they were observed. Pure.
//!
//! All times are microseconds since the start of the run, on one monotonic clock.

/// One observed event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabEvent {
    /// Time of the event.
    pub at: u64,
    /// The event.
    pub kind: LabEventKind,
}

/// The kind of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabEventKind {
    /// The drill injected a fault; the text names it and the affected node.
    Fault(String),
    /// Another action of the drill: it healed the lab, or started a node.
    Action(String),
    /// A Sentinel published an event.
    Sentinel {
        /// The Sentinel.
        sentinel: String,
        /// Name of the event, as `+switch-master`.
        name: String,
        /// Its text.
        text: String,
    },
    /// A data node's answer to `ROLE` has changed.
    Role {
        /// The node.
        node: String,
        /// Its role now.
        role: ObservedRole,
    },
}

/// The role of a data node, as it states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObservedRole {
    /// It says that it is primary.
    Primary,
    /// It says that it is a replica.
    Replica {
        /// Its primary: the name of a node, or an address.
        of: String,
        /// Its link is up and the first sync done.
        in_sync: bool,
    },
    /// It gives no answer.
    Silent,
}

/// The events of a run, in the order of time.
#[derive(Debug, Clone, Default)]
pub struct EventLog(pub Vec<LabEvent>);

impl EventLog {
    /// The events from one time until another.
    pub fn between(&self, from: u64, to: u64) -> EventLog {
        let inside = |event: &&LabEvent| event.at >= from && event.at < to;
        EventLog(self.0.iter().filter(inside).cloned().collect())
    }

    /// The injected faults, in order: time and text.
    pub fn faults(&self) -> Vec<(u64, &str)> {
        self.0
            .iter()
            .filter_map(|event| match &event.kind {
                LabEventKind::Fault(text) => Some((event.at, text.as_str())),
                _ => None,
            })
            .collect()
    }

    /// Time of the last injected fault.
    pub fn last_fault(&self) -> Option<u64> {
        self.faults().last().map(|(at, _)| *at)
    }

    /// Time of the first Sentinel event of that name in a window.
    pub(super) fn sentinel_event(&self, wanted: &str, from: u64, to: u64) -> Option<u64> {
        self.first(
            from,
            to,
            |kind| matches!(kind, LabEventKind::Sentinel { name, .. } if name == wanted),
        )
    }

    fn first(&self, from: u64, to: u64, is: impl Fn(&LabEventKind) -> bool) -> Option<u64> {
        self.0
            .iter()
            .filter(|event| event.at >= from && event.at < to && is(&event.kind))
            .map(|event| event.at)
            .min()
    }

    /// Each time at which a data node began to say that it is primary.
    pub fn said_primary(&self) -> impl DoubleEndedIterator<Item = (u64, &str)> {
        self.0.iter().filter_map(|event| match &event.kind {
            LabEventKind::Role {
                node,
                role: ObservedRole::Primary,
            } => Some((event.at, node.as_str())),
            _ => None,
        })
    }
}
