//! From what was seen to a timeline, and to the parts of an outage. Pure.
//!
//! All times are microseconds since the start of the run, on one monotonic clock.

use crate::protocol::sentinel_event::{is_about_failover, subject};

use super::acks::Acks;
use super::report::{Moment, Outage, ms, ms_between};

/// Moments of a timeline at most; what comes later is left out. Far more than any drill has.
const MOST: usize = 200;

/// Something that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub at: u64,
    /// What.
    pub what: What,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The drill injected a fault; the text says which and where.
    Fault(String),
    /// The drill did something else: healed, started a node.
    Did(String),
    /// A Sentinel published an event.
    Event {
        /// The Sentinel.
        sentinel: String,
        /// Its name, as `+switch-master`.
        name: String,
        /// Its text.
        text: String,
    },
    /// A data node's answer to `ROLE` is another one than before.
    Role {
        /// The node.
        node: String,
        /// Its role now.
        role: RoleSeen,
    },
}

/// How a data node answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleSeen {
    /// It says that it is primary.
    Primary,
    /// It says that it is a replica.
    Replica {
        /// Of this node, or address.
        of: String,
        /// Its link is up and the first sync done.
        in_sync: bool,
    },
    /// It gives no answer.
    Silent,
}

/// All that was seen in a run, in the order of time.
#[derive(Debug, Clone, Default)]
pub struct Seens(pub Vec<Seen>);

impl Seens {
    /// What was seen between two times.
    pub fn between(&self, from: u64, to: u64) -> Seens {
        let inside = |seen: &&Seen| seen.at >= from && seen.at < to;
        Seens(self.0.iter().filter(inside).cloned().collect())
    }

    /// The injected faults, in order: when, and which.
    pub fn faults(&self) -> Vec<(u64, &str)> {
        let fault = |seen: &'_ Seen| matches!(seen.what, What::Fault(_));
        self.0
            .iter()
            .filter(|seen| fault(seen))
            .map(|seen| match &seen.what {
                What::Fault(text) => (seen.at, text.as_str()),
                _ => (seen.at, ""),
            })
            .collect()
    }

    /// The first event of that name in a window.
    fn event(&self, wanted: &str, from: u64, to: u64) -> Option<u64> {
        self.first(
            from,
            to,
            |what| matches!(what, What::Event { name, .. } if name == wanted),
        )
    }

    fn first(&self, from: u64, to: u64, is: impl Fn(&What) -> bool) -> Option<u64> {
        self.0
            .iter()
            .filter(|seen| seen.at >= from && seen.at < to && is(&seen.what))
            .map(|seen| seen.at)
            .min()
    }

    /// The first time in a window at which a data node begins to say that it is primary.
    pub fn promotion(&self, from: u64, to: u64) -> Option<u64> {
        self.first(from, to, |what| {
            matches!(
                what,
                What::Role {
                    role: RoleSeen::Primary,
                    ..
                }
            )
        })
    }

    /// Each time that a data node began to say that it is primary.
    pub fn promotions(&self) -> impl Iterator<Item = (u64, &str)> {
        self.0.iter().filter_map(|seen| match &seen.what {
            What::Role {
                node,
                role: RoleSeen::Primary,
            } => Some((seen.at, node.as_str())),
            _ => None,
        })
    }

    /// What each fault did to writes. `offset` is the start of the writer, on the clock of the run; `end` the
    /// end of it.
    pub fn outages(&self, acks: &Acks, offset: u64, end: u64) -> Vec<Outage> {
        let faults = self.faults();
        let zero = faults.last().map_or(0, |(at, _)| *at);
        let mut outages = Vec::new();
        for (i, (at, fault)) in faults.iter().enumerate() {
            let until = faults.get(i + 1).map_or(end, |(next, _)| *next);
            let local = |t: u64| t.saturating_sub(offset);
            let gap = acks.longest_gap(local(*at), local(until));
            // What was before is of the fault before.
            let gap = gap.map(|gap| if i == 0 { gap } else { gap.since(local(*at)) });
            let tried = self.event("+try-failover", *at, until);
            let elected = self.event("+elected-leader", tried.unwrap_or(*at), until);
            let promoted = elected.and_then(|from| self.promotion(from, until));
            let first = promoted
                .and_then(|at| acks.first_after(local(at)))
                .map(|t| t + offset);
            let switched = self.event("+switch-master", *at, until);
            let part = |from: Option<u64>, to: Option<u64>| Some(ms_between(from?, to?));
            outages.push(Outage {
                fault: (*fault).to_owned(),
                at_ms: ms_between(zero, *at),
                rto_ms: gap.map(|gap| ms(gap.len())),
                from_at_ms: gap.map(|gap| ms_between(zero, gap.from + offset)),
                detect_ms: part(Some(*at), tried),
                elect_ms: part(tried, elected),
                promote_ms: part(elected, promoted),
                reconnect_ms: part(promoted, first),
                switch_to_ack_ms: part(switched, first),
            });
        }
        outages
    }

    /// The timeline, from one second before the first fault on. An event that several Sentinels publish is told
    /// once, with the first who did.
    pub fn moments(&self, acks: &Acks, offset: u64, lab: &dyn Fn(&str) -> String) -> Vec<Moment> {
        let faults = self.faults();
        let zero = faults.last().map_or(0, |(at, _)| *at);
        let begin = faults
            .first()
            .map_or(0, |(at, _)| *at)
            .saturating_sub(1_000_000);
        let mut moments: Vec<(u64, Moment)> = Vec::new();
        let mut add = |at: u64,
                       what: &str,
                       node: Option<String>,
                       by: Option<String>,
                       detail: Option<String>| {
            let moment = Moment {
                at_ms: ms_between(zero, at),
                what: what.to_owned(),
                node,
                by,
                detail,
            };
            moments.push((at, moment));
        };
        let mut told: Vec<(&str, &str, u64)> = Vec::new();
        for seen in self.0.iter().filter(|seen| seen.at >= begin) {
            match &seen.what {
                What::Fault(text) => add(seen.at, "fault", None, None, Some(text.clone())),
                What::Did(text) => add(seen.at, "drill", None, None, Some(text.clone())),
                What::Event {
                    sentinel,
                    name,
                    text,
                } if is_about_failover(name, text) => {
                    let again = told
                        .iter()
                        .any(|(n, t, at)| n == name && t == text && seen.at - at < 3_000_000);
                    if !again {
                        told.push((name, text, seen.at));
                        let (node, detail) = subject(name, text, lab);
                        add(seen.at, name, node, Some(sentinel.clone()), detail);
                    }
                }
                What::Event { .. } => {}
                What::Role { node, role } => {
                    let (what, detail) = match role {
                        RoleSeen::Primary => ("says primary", None),
                        RoleSeen::Replica { of, in_sync: true } => {
                            ("in sync", Some(format!("replica of {of}")))
                        }
                        RoleSeen::Replica { of, in_sync: false } => {
                            ("says replica", Some(format!("of {of}, link down")))
                        }
                        RoleSeen::Silent => ("silent", None),
                    };
                    add(seen.at, what, Some(node.clone()), None, detail);
                }
            }
        }
        for (i, (at, _)) in faults.iter().enumerate() {
            let until = faults.get(i + 1).map_or(u64::MAX, |(next, _)| *next);
            let local = at.saturating_sub(offset);
            if let Some(again) = acks.sent_again_after(local)
                && again + offset < until
            {
                add(again + offset, "first write sent again", None, None, None);
            }
            if let Some(gap) = acks.longest_gap(local, until.saturating_sub(offset)) {
                let detail = format!("then none for {:.1} ms", ms(gap.len()));
                add(
                    gap.from + offset,
                    "last write acknowledged",
                    None,
                    None,
                    Some(detail),
                );
                // Where it lasts until the next fault, it is told there.
                if gap.to + offset < until {
                    let at = gap.to + offset;
                    add(at, "first write acknowledged", None, None, None);
                }
            }
        }
        moments.sort_by_key(|(at, _)| *at);
        moments.truncate(MOST);
        moments.into_iter().map(|(_, moment)| moment).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Entry, Invoked, RecordOutcome, SettledRecords};
    use crate::record::{SeqRange, Timestamp};

    fn event(at: u64, sentinel: &str, name: &str, text: &str) -> Seen {
        Seen {
            at,
            what: What::Event {
                sentinel: sentinel.into(),
                name: name.into(),
                text: text.into(),
            },
        }
    }

    fn seen(at: u64, what: What) -> Seen {
        Seen { at, what }
    }

    /// A failover after a fault at 2 s; the writer started at 0.5 s.
    fn failover() -> (Seens, Acks) {
        let seens = Seens(vec![
            seen(2_000_000, What::Fault("SIGKILL to redis-a".into())),
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
            seen(
                3_300_000,
                What::Role {
                    node: "redis-b".into(),
                    role: RoleSeen::Primary,
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
        (seens, acks.sorted())
    }

    #[test]
    fn an_outage_is_split_into_its_parts() {
        let (seens, acks) = failover();
        let outages = seens.outages(&acks, 500_000, 10_000_000);
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
    fn the_timeline_tells_each_event_once_and_leaves_out_those_about_sentinels() {
        let (seens, acks) = failover();
        let name = |ip: &str| ip.replace("127.0.0.1", "redis-");
        let moments = seens.moments(&acks, 500_000, &name);
        let told: Vec<String> = moments
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
            told,
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
