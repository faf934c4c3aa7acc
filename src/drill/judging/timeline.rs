//! The outages and the timeline of a run, from its events and acknowledgements. Pure.
//!
//! All times are microseconds since the start of the run, on one monotonic clock.

use crate::drill::report::{Outage, TimelineEntry, ms, ms_between};
use crate::protocol::sentinel_event::{is_about_failover, subject};

use super::acks::Acks;
use super::events::{EventLog, LabEventKind, ObservedRole};

/// Entries of a timeline, at most; later ones are left out. Far more than any drill has.
const MAX_ENTRIES: usize = 200;
/// The timeline begins this long before the first fault.
const LEAD_US: u64 = 1_000_000;
/// The same event of another Sentinel within this time is left out.
const REPEATED_US: u64 = 3_000_000;

/// The events and the acknowledgements of a run.
#[derive(Debug, Clone, Copy)]
pub struct Timeline<'a> {
    /// The events.
    pub events: &'a EventLog,
    /// The acknowledgements, on the writer's clock.
    pub acks: &'a Acks,
    /// Start of the writer's clock on the clock of the run.
    pub writer_start: u64,
    /// The primary before the first event, if it is known.
    pub before: Option<&'a str>,
}

impl Timeline<'_> {
    /// Each time at which another node became primary. A node that was primary before, and says so
    /// again after a restart, has not become it.
    pub(super) fn promotions(&self) -> impl Iterator<Item = (u64, &str)> {
        let mut primary = self.before;
        self.events.said_primary().filter(move |(_, node)| {
            let before = primary.replace(*node);
            before.is_some_and(|before| before != *node)
        })
    }

    fn on_writer_clock(&self, at: u64) -> u64 {
        at.saturating_sub(self.writer_start)
    }

    /// The injected faults, each with its time and the time of the next one, or `end`.
    fn fault_windows(&self, end: u64) -> Vec<(u64, u64, &str)> {
        let faults = self.events.faults();
        let until = |i: usize| faults.get(i + 1).map_or(end, |(next, _)| *next);
        let windows = faults.iter().enumerate();
        windows
            .map(|(i, (at, text))| (*at, until(i), *text))
            .collect()
    }

    /// The effect of each fault on writes; `end` is the end of the run.
    pub fn outages(&self, end: u64) -> Vec<Outage> {
        let zero = self.events.last_fault().unwrap_or(0);
        let local = |at: u64| self.on_writer_clock(at);
        let mut outages = Vec::new();
        for (i, (at, until, fault)) in self.fault_windows(end).into_iter().enumerate() {
            let gap = self.acks.longest_gap(local(at), local(until));
            // The time before this fault belongs to the previous one.
            let gap = gap.map(|gap| if i == 0 { gap } else { gap.since(local(at)) });
            let tried = self.events.sentinel_event("+try-failover", at, until);
            let elected = self
                .events
                .sentinel_event("+elected-leader", tried.unwrap_or(at), until);
            let promoted = elected.and_then(|from| {
                let mut times = self.promotions().map(|(at, _)| at);
                times.find(|at| (from..until).contains(at))
            });
            let first = promoted
                .and_then(|at| self.acks.first_after(local(at)))
                .map(|t| t + self.writer_start);
            let switched = self.events.sentinel_event("+switch-master", at, until);
            let part = |from: Option<u64>, to: Option<u64>| Some(ms_between(from?, to?));
            outages.push(Outage {
                fault: fault.to_owned(),
                at_ms: ms_between(zero, at),
                rto_ms: gap.map(|gap| ms(gap.len())),
                from_at_ms: gap.map(|gap| ms_between(zero, gap.from + self.writer_start)),
                detect_ms: part(Some(at), tried),
                elect_ms: part(tried, elected),
                promote_ms: part(elected, promoted),
                reconnect_ms: part(promoted, first),
                switch_to_ack_ms: part(switched, first),
            });
        }
        outages
    }

    /// The entries of the timeline, from one second before the first fault on. An event that
    /// several Sentinels publish is one entry, with the Sentinel that published it first.
    pub fn entries(&self, node_name: &dyn Fn(&str) -> String) -> Vec<TimelineEntry> {
        let zero = self.events.last_fault().unwrap_or(0);
        let mut entries = self.lab_entries(node_name);
        entries.extend(self.write_entries());
        entries.sort_by_key(|(at, _)| *at);
        entries.truncate(MAX_ENTRIES);
        let placed = |(at, entry)| TimelineEntry {
            at_ms: ms_between(zero, at),
            ..entry
        };
        entries.into_iter().map(placed).collect()
    }

    /// What the drill did, what the Sentinels published, and the roles of the data nodes.
    fn lab_entries(&self, node_name: &dyn Fn(&str) -> String) -> Vec<(u64, TimelineEntry)> {
        let first = self.events.faults().first().map_or(0, |(at, _)| *at);
        let begin = first.saturating_sub(LEAD_US);
        let mut published: Vec<(&str, &str, u64)> = Vec::new();
        let mut entries = Vec::new();
        for event in self.events.0.iter().filter(|event| event.at >= begin) {
            if let LabEventKind::Sentinel { name, text, .. } = &event.kind {
                let repeated = published
                    .iter()
                    .any(|(n, t, at)| n == name && t == text && event.at - at < REPEATED_US);
                if repeated {
                    continue;
                }
                published.push((name, text, event.at));
            }
            let Some(entry) = TimelineEntry::of(&event.kind, node_name) else {
                continue;
            };
            entries.push((event.at, entry));
        }
        entries
    }

    /// The last write before each outage, the first one after it, and the first one sent again.
    fn write_entries(&self) -> Vec<(u64, TimelineEntry)> {
        let mut entries = Vec::new();
        for (at, until, _) in self.fault_windows(u64::MAX) {
            let local = self.on_writer_clock(at);
            let again = self.acks.sent_again_after(local);
            if let Some(again) = again.map(|again| again + self.writer_start)
                && again < until
            {
                entries.push((again, entry("first write sent again")));
            }
            if let Some(gap) = self.acks.longest_gap(local, self.on_writer_clock(until)) {
                let detail = format!("then none for {:.1} ms", ms(gap.len()));
                let last = entry("last write acknowledged").detail(detail);
                entries.push((gap.from + self.writer_start, last));
                // If it lasts until the next fault, its end is an entry of that one.
                let end = gap.to + self.writer_start;
                if end < until {
                    entries.push((end, entry("first write acknowledged")));
                }
            }
        }
        entries
    }
}

fn entry(what: &str) -> TimelineEntry {
    TimelineEntry {
        at_ms: 0.0,
        what: what.to_owned(),
        node: None,
        by: None,
        detail: None,
    }
}

impl TimelineEntry {
    /// What was observed, at time 0; none for an event that is not about a failover. `node_name`
    /// translates an address to a name.
    pub fn of(kind: &LabEventKind, node_name: &dyn Fn(&str) -> String) -> Option<Self> {
        match kind {
            LabEventKind::Fault(text) => Some(entry("fault").detail(text.clone())),
            LabEventKind::Action(text) => Some(entry("drill").detail(text.clone())),
            LabEventKind::Sentinel {
                sentinel,
                name,
                text,
            } => is_about_failover(name, text).then(|| {
                let (node, detail) = subject(name, text, node_name);
                TimelineEntry {
                    node,
                    by: Some(sentinel.clone()),
                    detail,
                    ..entry(name)
                }
            }),
            LabEventKind::Role { node, role } => Some(role_entry(node, role)),
        }
    }

    fn detail(self, detail: String) -> Self {
        TimelineEntry {
            detail: Some(detail),
            ..self
        }
    }
}

fn role_entry(node: &str, role: &ObservedRole) -> TimelineEntry {
    let (what, detail) = match role {
        ObservedRole::Primary => ("says primary", None),
        ObservedRole::Replica { of, in_sync: true } => {
            ("in sync", Some(format!("replica of {of}")))
        }
        ObservedRole::Replica { of, in_sync: false } => {
            ("says replica", Some(format!("of {of}, link down")))
        }
        ObservedRole::Silent => ("silent", None),
    };
    TimelineEntry {
        node: Some(node.to_owned()),
        detail,
        ..entry(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::judging::LabEvent;
    use crate::ledger::{Entry, Invoked, RecordOutcome, SettledRecords};
    use crate::record::{SeqRange, Timestamp};

    fn event(at: u64, sentinel: &str, name: &str, text: &str) -> LabEvent {
        LabEvent {
            at,
            kind: LabEventKind::Sentinel {
                sentinel: sentinel.into(),
                name: name.into(),
                text: text.into(),
            },
        }
    }

    fn at(at: u64, kind: LabEventKind) -> LabEvent {
        LabEvent { at, kind }
    }

    fn timeline<'a>(events: &'a EventLog, acks: &'a Acks) -> Timeline<'a> {
        Timeline {
            events,
            acks,
            writer_start: 500_000,
            before: Some("redis-a"),
        }
    }

    /// A failover after a fault at 2 s; the writer started at 0.5 s.
    fn failover() -> (EventLog, Acks) {
        let events = EventLog(vec![
            at(2_000_000, LabEventKind::Fault("SIGKILL to redis-a".into())),
            event(3_000_000, "s1", "+sdown", "master halab 127.0.0.11 6379"),
            event(3_010_000, "s2", "+sdown", "master halab 127.0.0.11 6379"),
            event(
                3_050_000,
                "s1",
                "+sdown",
                "sentinel x 127.0.0.21 26379 @ halab 127.0.0.11 6379",
            ),
            event(
                3_100_000,
                "s1",
                "+odown",
                "master halab 127.0.0.11 6379 #quorum 2/2",
            ),
            event(
                3_101_000,
                "s1",
                "+try-failover",
                "master halab 127.0.0.11 6379",
            ),
            event(
                3_200_000,
                "s1",
                "+elected-leader",
                "master halab 127.0.0.11 6379",
            ),
            at(
                3_300_000,
                LabEventKind::Role {
                    node: "redis-b".into(),
                    role: ObservedRole::Primary,
                },
            ),
            event(
                4_300_000,
                "s1",
                "+switch-master",
                "halab 127.0.0.11 6379 127.0.0.12 6379",
            ),
        ]);
        let mut acks = Acks::new(Timestamp::default());
        acks.push(&Entry::Invoked(Invoked {
            seqs: SeqRange::new(0, 20),
            created: Timestamp::default(),
        }));
        for (start, at) in [(0, 1_499_000), (10, 2_900_000)] {
            acks.push(&Entry::Settled(SettledRecords {
                outcome: RecordOutcome::Replicated,
                first_at_us: at,
                last_at_us: at,
                seqs: vec![SeqRange::new(start, start + 10)],
            }));
        }
        (events, acks.sorted())
    }

    #[test]
    fn an_outage_is_split_into_its_parts() {
        let (events, acks) = failover();
        let outages = timeline(&events, &acks).outages(10_000_000);
        assert_eq!(
            outages,
            [Outage {
                fault: "SIGKILL to redis-a".into(),
                at_ms: 0.0,
                rto_ms: Some(1401.0),
                from_at_ms: Some(-1.0),
                detect_ms: Some(1101.0),
                elect_ms: Some(99.0),
                promote_ms: Some(100.0),
                reconnect_ms: Some(100.0),
                switch_to_ack_ms: Some(-900.0),
            }]
        );
    }

    #[test]
    fn a_primary_that_is_primary_again_is_no_promotion() {
        let (mut events, acks) = failover();
        for event in &mut events.0 {
            if let LabEventKind::Role { node, .. } = &mut event.kind {
                *node = "redis-a".into();
            }
        }
        let [outage] = &timeline(&events, &acks).outages(10_000_000)[..] else {
            panic!("one outage");
        };
        assert_eq!(outage.elect_ms, Some(99.0));
        assert_eq!((outage.promote_ms, outage.reconnect_ms), (None, None));
        // Nor is the first one that says so, if nobody knows who was it before.
        let unknown = Timeline {
            before: None,
            ..timeline(&events, &acks)
        };
        assert_eq!(unknown.promotions().count(), 0);
    }

    #[test]
    fn the_timeline_has_each_event_once_and_leaves_out_those_about_sentinels() {
        let (events, acks) = failover();
        let name = |ip: &str| ip.replace("127.0.0.1", "redis-");
        let entries = timeline(&events, &acks).entries(&name);
        let lines: Vec<String> = entries
            .iter()
            .map(|m| {
                format!(
                    "{} {} {}",
                    m.at_ms,
                    m.what,
                    m.detail.as_deref().unwrap_or("")
                )
            })
            .collect();
        assert_eq!(
            lines,
            [
                "-1 last write acknowledged then none for 1401.0 ms",
                "0 fault SIGKILL to redis-a",
                "1000 +sdown ",
                "1100 +odown quorum 2/2",
                "1101 +try-failover ",
                "1200 +elected-leader ",
                "1300 says primary ",
                "1400 first write acknowledged ",
                "2300 +switch-master instead of redis-1",
            ]
        );
    }
}
