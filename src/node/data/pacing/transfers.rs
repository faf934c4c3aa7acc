//! The full copies that replicas make of this node's server: how much waits for each, and how much
//! may. No I/O.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use crate::client::ServerInfo;
use crate::node::buffer::OutputBufferLimit;
use crate::node::data::in_sync::ReplicaTracker;

/// Percentages of the limit: the budget at the start, and the budget that is never exceeded.
const AT_ONCE: u64 = 5;
const MOST: u64 = 80;
/// Length of one pause: until after the next observation, which sends the server a command. The
/// server notices the end of a pause at the next command, and then lets in all waiting writes.
pub(super) const PAUSE: Duration = Duration::from_millis(30);
/// Incomplete copies of a replica after which only some further copies are paced.
const PATIENT_COPIES: u32 = 3;

/// A full copy in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FullCopy {
    to: SocketAddrV4,
    since: Duration,
    /// The offset from which on writes wait for the replica.
    from: u64,
    /// The offset that the replica has confirmed.
    confirmed: u64,
    /// The server has not begun it yet.
    waits: bool,
    /// It has been sent, and is being loaded.
    sent: bool,
}

/// How much may wait during a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BufferBudget {
    /// Bytes after which the server drops the replica; 0: it never does.
    pub(super) limit: u64,
    /// How long the copy and its loading may take.
    pub(super) span: Duration,
}

impl BufferBudget {
    /// How many bytes may wait at this time after the start.
    fn allows(&self, after: Duration) -> u64 {
        let (after, span) = (after.as_millis(), self.span.as_millis());
        let grown = u128::from(self.limit) * u128::from(MOST - AT_ONCE) * after / (after + span);
        let grown = u64::try_from(grown / 100).unwrap_or(u64::MAX);
        (self.limit / 100 * AT_ONCE).saturating_add(grown)
    }
}

/// An enlarged limit of the server, and the limit before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EnlargedLimit {
    pub(super) before: OutputBufferLimit,
    pub(super) to: OutputBufferLimit,
}

/// The full copies in progress, and the state of the pacing.
#[derive(Debug, Default)]
pub(in crate::node::data) struct Pacing {
    history: String,
    offset: u64,
    transfers: Vec<FullCopy>,
    /// Copies that each replica has begun and not completed, in a row.
    incomplete: HashMap<SocketAddrV4, u32>,
    pub(super) budget: Option<BufferBudget>,
    /// Set even if the server's answer was lost.
    pub(super) enlarged: Option<EnlargedLimit>,
    /// Since when writes have been paused without a break.
    pub(super) paused: Option<Duration>,
    /// The last pause.
    last_pause: Option<Duration>,
    /// The slowdown has been logged.
    pub(super) logged: bool,
}

impl Pacing {
    /// Takes over the replicas that this node's server reports as primary; only `members` count.
    pub(in crate::node::data) fn see(
        &mut self,
        now: Duration,
        info: &ServerInfo,
        replicas: &ReplicaTracker,
        members: impl Fn(SocketAddrV4) -> bool,
    ) {
        if self.history != info.replication_id {
            self.history.clone_from(&info.replication_id);
            self.transfers.clear();
            self.incomplete.clear();
        }
        self.offset = info.offset;
        let mut transfers: Vec<FullCopy> = Vec::new();
        for copying in info.copying.iter().filter(|copying| members(copying.to)) {
            let known = self.transfers.iter().find(|t| t.to == copying.to);
            // The server makes one copy at a time, for all replicas that had asked when it began.
            let another = |t: &FullCopy| t.to != copying.to && !t.waits && !t.sent;
            let waits = copying.waits
                || known.is_none_or(|known| known.waits) && self.transfers.iter().any(another);
            let goes_on = known.filter(|known| !known.waits && !waits && !known.sent);
            // The server closes the connection at its limit, so this is another copy.
            transfers.push(match goes_on.filter(|known| !self.is_past_limit(known)) {
                Some(known) => *known,
                None => {
                    if known.is_some_and(|known| !known.waits) {
                        *self.incomplete.entry(copying.to).or_default() += 1;
                    }
                    FullCopy {
                        to: copying.to,
                        since: now,
                        from: info.offset,
                        confirmed: 0,
                        waits,
                        sent: false,
                    }
                }
            });
        }
        for replica in &info.online {
            let Some(known) = self.transfers.iter().find(|t| t.to == replica.address) else {
                continue;
            };
            if replicas.is_near(replica.address) {
                self.incomplete.remove(&replica.address);
            } else {
                // It is being loaded, or the replica catches up.
                transfers.push(FullCopy {
                    confirmed: replica.offset,
                    waits: false,
                    sent: true,
                    ..*known
                });
            }
        }
        for gone in &self.transfers {
            let there = |t: &FullCopy| t.to == gone.to;
            let online = info.online.iter().any(|r| r.address == gone.to);
            if !gone.waits && !online && !transfers.iter().any(there) {
                *self.incomplete.entry(gone.to).or_default() += 1;
            }
        }
        self.transfers = transfers;
    }

    fn is_past_limit(&self, transfer: &FullCopy) -> bool {
        let limit = self.budget.map_or(u64::MAX, |budget| budget.limit);
        limit > 0 && self.offset.saturating_sub(transfer.from) > limit
    }

    /// This node's server is not primary any more.
    pub(in crate::node::data) fn ended(&mut self) {
        self.transfers.clear();
        self.incomplete.clear();
    }

    pub(super) fn under_way(&self) -> bool {
        !self.transfers.is_empty()
    }

    /// Whether writes are paused for that replica: for its first copies, then for fewer and fewer.
    fn waits_for(&self, to: SocketAddrV4) -> bool {
        let incomplete = self.incomplete.get(&to).copied().unwrap_or_default();
        incomplete < PATIENT_COPIES || incomplete.is_power_of_two()
    }

    /// Whether more waits for a replica than its budget allows now.
    fn is_ahead(&self, now: Duration) -> bool {
        let Some(budget) = self.budget.filter(|budget| budget.limit > 0) else {
            return false;
        };
        let paced = |t: &&FullCopy| !t.waits && self.waits_for(t.to);
        self.transfers.iter().filter(paced).any(|transfer| {
            let from = transfer.from.max(transfer.confirmed);
            let waiting = self.offset.saturating_sub(from);
            waiting > budget.allows(now.saturating_sub(transfer.since))
        })
    }

    /// Whether writes are to be paused now.
    pub(super) fn pauses(&mut self, now: Duration, longest: Duration) -> bool {
        if !self.is_ahead(now) {
            self.paused = None;
            return false;
        }
        let since = *self.paused.get_or_insert(now);
        if now.saturating_sub(since) >= longest {
            self.paused = None;
            return false;
        }
        true
    }

    /// Notes that a pause begins. Returns how much longer it delays writes.
    pub(super) fn begins_pause(&mut self, now: Duration) -> Duration {
        let before = self.last_pause.replace(now);
        before.map_or(PAUSE, |before| now.saturating_sub(before).min(PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1_000_000;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// What a primary says that has one replica.
    fn says(offset: u64, state: &str, confirmed: u64) -> ServerInfo {
        let (state, saves) = match state {
            "waits" => ("wait_bgsave", 0),
            "copies" => ("wait_bgsave", 1),
            other => (other, 0),
        };
        ServerInfo::parse(&format!(
            "role:master\r\nrdb_bgsave_in_progress:{saves}\r\nmaster_replid:now\r\nmaster_repl_offset:{offset}\r\n\
             slave0:ip=127.0.0.12,port=6379,state={state},offset={confirmed},lag=0\r\n"
        ))
    }

    fn see(pacing: &mut Pacing, now: u64, info: &ServerInfo, replicas: &ReplicaTracker) {
        pacing.see(at(now), info, replicas, |_| true);
    }

    fn pacing() -> Pacing {
        Pacing {
            budget: Some(BufferBudget {
                limit: LIMIT,
                span: at(10_000),
            }),
            ..Pacing::default()
        }
    }

    /// A load that writes `speed` bytes in 20 ms wherever it is not held up, until the copy is
    /// loaded or the limit is passed. Returns what waited in the end and for how long it was
    /// held up at a time, or when the limit was passed.
    fn copied_under(speed: u64, copy_ms: u64) -> Result<(u64, u64), u64> {
        let (mut pacing, replicas) = (pacing(), ReplicaTracker::default());
        let mut offset = 5000;
        let (mut longest, mut held_up) = (0, 0);
        for now in (0..copy_ms).step_by(20) {
            see(&mut pacing, now, &says(offset, "copies", 0), &replicas);
            if pacing.pauses(at(now), at(500)) {
                held_up += 20;
                longest = longest.max(held_up);
            } else {
                held_up = 0;
                offset += speed;
            }
            if offset - 5000 > LIMIT {
                return Err(now);
            }
        }
        Ok((offset - 5000, longest))
    }

    #[test]
    fn a_load_that_passes_the_limit_before_the_copy_is_loaded_is_held_up_in_short_pauses() {
        // Unpaced, the limit is passed after 10 s, and after 5 s.
        for speed in [2000, 4000] {
            let (waiting, longest) = copied_under(speed, 20_000).unwrap();
            assert!(waiting > LIMIT / 4, "{waiting} of {LIMIT} are used");
            assert!(longest <= 500, "held up for {longest} ms");
        }
    }

    #[test]
    fn a_load_that_the_buffer_has_room_for_is_not_held_up() {
        let (waiting, longest) = copied_under(500, 10_000).unwrap();
        assert_eq!((waiting, longest), (250_000, 0));
    }

    #[test]
    fn the_limit_is_for_one_copy_and_begins_anew_with_the_next() {
        let (mut pacing, replicas) = (pacing(), ReplicaTracker::default());
        see(&mut pacing, 0, &says(0, "waits", 0), &replicas);
        see(&mut pacing, 100, &says(900_000, "waits", 0), &replicas);
        assert!(!pacing.is_ahead(at(100)), "nothing waits before it begins");
        see(&mut pacing, 200, &says(950_000, "copies", 0), &replicas);
        assert!(!pacing.is_ahead(at(200)));
        see(&mut pacing, 300, &says(1_800_000, "copies", 0), &replicas);
        assert!(pacing.is_ahead(at(300)));
        // The server has dropped it, and it is back.
        see(&mut pacing, 400, &says(2_100_000, "copies", 0), &replicas);
        assert!(!pacing.is_ahead(at(400)));
    }

    #[test]
    fn one_that_catches_up_is_counted_by_what_it_has_confirmed_until_it_is_in_sync() {
        let (mut pacing, mut replicas) = (pacing(), ReplicaTracker::default());
        see(&mut pacing, 0, &says(0, "copies", 0), &replicas);
        let loads = says(900_000, "online", 0);
        replicas.in_sync(at(1000), &loads, |_| true);
        see(&mut pacing, 1000, &loads, &replicas);
        assert!(pacing.is_ahead(at(1000)), "it loads");
        let behind = says(950_000, "online", 850_000);
        replicas.in_sync(at(1100), &behind, |_| true);
        see(&mut pacing, 1100, &behind, &replicas);
        assert!(pacing.under_way() && !pacing.is_ahead(at(1100)));
        let level = says(950_000, "online", 950_000);
        replicas.in_sync(at(1200), &level, |_| true);
        see(&mut pacing, 1200, &level, &replicas);
        assert!(!pacing.under_way());
    }

    #[test]
    fn a_replica_that_went_on_where_it_was_is_no_copy() {
        let (mut pacing, replicas) = (pacing(), ReplicaTracker::default());
        see(&mut pacing, 0, &says(900_000, "online", 1000), &replicas);
        assert!(!pacing.under_way());
    }

    #[test]
    fn one_that_is_in_sync_since_writes_wait_for_it_is_paced_until_it_has_caught_up() {
        let (mut pacing, mut replicas) = (pacing(), ReplicaTracker::default());
        for now in (0..1000).step_by(100) {
            let copies = says(now * 100, "copies", 0);
            replicas.in_sync(at(now), &copies, |_| true);
            see(&mut pacing, now, &copies, &replicas);
        }
        for now in (1000..=12_000).step_by(100) {
            let slow = says(now * 100, "online", now * 50);
            let in_sync = replicas.in_sync(at(now), &slow, |_| true);
            see(&mut pacing, now, &slow, &replicas);
            assert!(pacing.under_way(), "after {now} ms, {in_sync} in sync");
        }
        let slow = says(1_200_000, "online", 600_000);
        assert_eq!(replicas.in_sync(at(12_000), &slow, |_| true), 1);
        let level = says(1_200_000, "online", 1_200_000);
        replicas.in_sync(at(12_100), &level, |_| true);
        see(&mut pacing, 12_100, &level, &replicas);
        assert!(!pacing.under_way());
    }

    #[test]
    fn a_stranger_slows_nobody_down() {
        let (mut pacing, replicas) = (pacing(), ReplicaTracker::default());
        for now in [0, 100] {
            let info = says(now * 90_000, "copies", 0);
            pacing.see(at(now), &info, &replicas, |_| false);
        }
        assert!(!pacing.under_way());
    }

    #[test]
    fn a_replica_that_never_completes_a_copy_is_waited_for_less_and_less() {
        let (mut pacing, replicas) = (pacing(), ReplicaTracker::default());
        let gone =
            ServerInfo::parse("role:master\r\nmaster_replid:now\r\nmaster_repl_offset:0\r\n");
        let mut paced = Vec::new();
        for copy in 0..12 {
            let now = copy * 1000;
            see(&mut pacing, now, &says(0, "copies", 0), &replicas);
            see(
                &mut pacing,
                now + 100,
                &says(900_000, "copies", 0),
                &replicas,
            );
            if pacing.is_ahead(at(now + 100)) {
                paced.push(copy);
            }
            see(&mut pacing, now + 200, &gone, &replicas);
        }
        assert_eq!(paced, [0, 1, 2, 4, 8]);
    }

    #[test]
    fn one_that_asks_while_another_copies_begins_when_that_is_sent() {
        let (mut pacing, replicas) = (pacing(), ReplicaTracker::default());
        let both = |offset: u64, first: &str| {
            ServerInfo::parse(&format!(
                "role:master\r\nrdb_bgsave_in_progress:1\r\nmaster_replid:now\r\nmaster_repl_offset:{offset}\r\n\
                 slave0:ip=127.0.0.12,port=6379,state={first},offset=0,lag=0\r\n\
                 slave1:ip=127.0.0.13,port=6379,state=wait_bgsave,offset=0,lag=0\r\n"
            ))
        };
        see(&mut pacing, 0, &says(0, "copies", 0), &replicas);
        see(&mut pacing, 1000, &both(100_000, "wait_bgsave"), &replicas);
        let second = pacing.transfers[1];
        assert!(second.waits);
        see(&mut pacing, 2000, &both(200_000, "online"), &replicas);
        see(&mut pacing, 2100, &both(210_000, "online"), &replicas);
        let second = pacing.transfers.iter().find(|t| t.to == second.to).unwrap();
        assert_eq!(
            (second.waits, second.from, second.since),
            (false, 210_000, at(2100))
        );
    }

    #[test]
    fn a_pause_counts_for_as_long_as_it_holds_writes_up() {
        let mut pacing = pacing();
        let counted = [0, 20, 41, 500].map(|now| pacing.begins_pause(at(now)).as_millis());
        assert_eq!(counted, [30, 20, 21, 30]);
    }
}
