//! Which replicas are in sync with this node's server while it is primary.
//!
//! Redis reports a link as online as soon as the full copy has been sent, while the replica still
//! loads it. Until the replica has loaded it and caught up, it has nothing of what was written
//! meanwhile, and this node is the only copy: its mark says so, and writes are witnessed. So a
//! replica counts by the offset that it has confirmed.
//!
//! Once it counts, writes wait for it, and a replica that is slower than the writers catches up. So
//! it counts after some time in any case.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::time::Duration;

use crate::client::ServerInfo;
use crate::protocol::ack::Confirmed;

/// How far behind a replica may be and become in sync: several observations, since it is observed
/// right after it has confirmed.
const NEAR: Duration = Duration::from_millis(300);
/// How far behind a replica in sync may fall. It confirms its offset at least once a second.
const FAR: Duration = Duration::from_secs(2);
/// How long a replica stays in sync that is observed not to be, with its link online: if this
/// node's server was stopped for a moment, confirmations may be unread.
const GRACE: Duration = Duration::from_millis(500);
/// How long a replica that confirms may take to catch up before writes wait for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tracks the replicas of this node's server.
#[derive(Debug, Default)]
pub(super) struct ReplicaTracker {
    /// The history in which offsets count.
    history: String,
    /// This node's offsets in it, as far back as they matter.
    offsets: VecDeque<(Duration, u64)>,
    replicas: Vec<Replica>,
}

/// A replica whose link is online and that has confirmed an offset.
#[derive(Debug, Clone, Copy)]
struct Replica {
    address: SocketAddrV4,
    /// Since when it confirms without a break.
    since: Duration,
    in_sync: bool,
    /// Since when it has been observed not to be in sync, after it was.
    missed: Option<Duration>,
    /// It has what there was a moment ago.
    near: bool,
}

impl ReplicaTracker {
    /// How many replicas are in sync, of those whose confirmation counts.
    pub(super) fn in_sync(
        &mut self,
        now: Duration,
        info: &ServerInfo,
        counts: impl Fn(SocketAddrV4) -> bool,
    ) -> usize {
        if self.history != info.replication_id {
            self.history.clone_from(&info.replication_id);
            self.offsets.clear();
            self.replicas.clear();
        }
        self.offsets.push_back((now, info.offset));
        while (self.offsets.get(1)).is_some_and(|(at, _)| now.saturating_sub(*at) >= FAR) {
            self.offsets.pop_front();
        }
        let confirming = info.online.iter().filter(|r| r.offset > 0);
        let heard = |r: &Confirmed| info.heard.contains(r);
        self.replicas = confirming.map(|r| self.follow(now, *r, heard(r))).collect();
        let in_sync = |r: &&Replica| r.in_sync && counts(r.address);
        self.replicas.iter().filter(in_sync).count()
    }

    /// Whether the replica there has what there was a moment ago. One that is in sync because
    /// writes wait for it may not.
    pub(super) fn is_near(&self, address: SocketAddrV4) -> bool {
        let mut replicas = self.replicas.iter();
        replicas.any(|r| r.address == address && r.near)
    }

    fn follow(&self, now: Duration, confirmed: Confirmed, heard: bool) -> Replica {
        let known = self
            .replicas
            .iter()
            .find(|r| r.address == confirmed.address);
        let before = known.copied().unwrap_or(Replica {
            address: confirmed.address,
            since: now,
            in_sync: false,
            missed: None,
            near: false,
        });
        let has_all_before = |ago| confirmed.offset >= self.offset(now, ago);
        let near = has_all_before(NEAR);
        let good = heard
            && (near
                || now.saturating_sub(before.since) >= PATIENCE
                || before.in_sync && has_all_before(FAR));
        let missed = (!good && before.in_sync).then(|| before.missed.unwrap_or(now));
        Replica {
            since: if heard { before.since } else { now },
            in_sync: good || missed.is_some_and(|since| now.saturating_sub(since) < GRACE),
            missed,
            near,
            ..before
        }
    }

    /// This node's offset so long ago; of a new primary the first.
    fn offset(&self, now: Duration, ago: Duration) -> u64 {
        let old = |(at, _): &&(Duration, u64)| now.saturating_sub(*at) >= ago;
        let newest = self.offsets.iter().rev().find(old);
        let offset = newest.or_else(|| self.offsets.front());
        offset.map_or(u64::MAX, |(_, offset)| *offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a primary says that has one replica, whose link is online.
    fn info(history: &str, offset: u64, confirmed: u64, lag: u64) -> ServerInfo {
        ServerInfo::parse(&format!(
            "role:master\r\nmaster_replid:{history}\r\nmaster_repl_offset:{offset}\r\n\
             slave0:ip=127.0.0.12,port=6379,state=online,offset={confirmed},lag={lag}\r\n"
        ))
    }

    /// A primary that is looked at ten times a second, and is written to at 1000 bytes a second.
    #[derive(Default)]
    struct Primary {
        replicas: ReplicaTracker,
        at: u64,
    }

    impl Primary {
        /// The next look: the replica has confirmed what there was so many milliseconds ago.
        fn sees(&mut self, behind: Option<u64>, lag: u64) -> usize {
            self.at += 100;
            let offset = 100_000 + self.at;
            let confirmed = behind.map_or(0, |behind| offset - behind);
            let now = Duration::from_millis(self.at);
            self.replicas
                .in_sync(now, &info("now", offset, confirmed, lag), |_| true)
        }
    }

    #[test]
    fn a_replica_that_loads_its_copy_or_catches_up_is_not_in_sync() {
        let mut primary = Primary::default();
        for _ in 0..200 {
            assert_eq!(primary.sees(None, 0), 0, "it loads");
        }
        for behind in [20_000, 10_000, 5000, 400] {
            assert_eq!(primary.sees(Some(behind), 0), 0, "{behind} ms behind");
        }
        assert_eq!(primary.sees(Some(200), 0), 1, "it has caught up");
        // It confirms once a second.
        for behind in [1000, 1900] {
            assert_eq!(primary.sees(Some(behind), 0), 1, "{behind} ms behind");
        }
        for _ in 0..5 {
            assert_eq!(primary.sees(Some(2500), 0), 1, "it may be unread");
        }
        assert_eq!(primary.sees(Some(2500), 0), 0, "it has fallen behind");
        assert_eq!(primary.sees(Some(1000), 0), 0, "and is not back yet");
        assert_eq!(primary.sees(Some(0), 0), 1);
    }

    #[test]
    fn a_replica_that_is_silent_for_longer_than_a_moment_or_gone_is_not_in_sync() {
        let mut primary = Primary::default();
        assert_eq!(primary.sees(Some(0), 0), 1);
        for silent in [2, 2, 2, 0, 2, 2, 2, 2, 2] {
            assert_eq!(primary.sees(Some(0), silent), 1);
        }
        assert_eq!(primary.sees(Some(0), 2), 0);
        assert_eq!(primary.sees(Some(0), 0), 1);
        primary.at += 100;
        let gone =
            ServerInfo::parse("role:master\r\nmaster_replid:now\r\nmaster_repl_offset:1000000\r\n");
        let now = Duration::from_millis(primary.at);
        assert_eq!(primary.replicas.in_sync(now, &gone, |_| true), 0);
    }

    #[test]
    fn one_that_is_too_slow_to_catch_up_is_waited_for_after_some_time() {
        let mut primary = Primary::default();
        primary.sees(None, 0);
        for _ in 0..100 {
            assert_eq!(primary.sees(Some(30_000), 0), 0);
        }
        assert_eq!(primary.sees(Some(30_000), 0), 1);
    }

    #[test]
    fn a_replica_of_a_new_primary_is_in_sync_when_it_has_what_there_was_at_first() {
        let mut replicas = ReplicaTracker::default();
        let ms = Duration::from_millis;
        assert_eq!(
            replicas.in_sync(ms(0), &info("old", 9000, 9000, 0), |_| true),
            1
        );
        assert_eq!(
            replicas.in_sync(ms(3000), &info("new", 500, 499, 0), |_| true),
            0
        );
        assert_eq!(
            replicas.in_sync(ms(3100), &info("new", 900, 500, 0), |_| true),
            1
        );
    }

    #[test]
    fn without_writes_a_replica_stays_in_sync() {
        let mut replicas = ReplicaTracker::default();
        for at in [0, 100, 5000, 60_000] {
            let now = Duration::from_millis(at);
            assert_eq!(
                replicas.in_sync(now, &info("now", 700, 700, 1), |_| true),
                1
            );
        }
    }
}
