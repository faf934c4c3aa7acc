//! How fast the own server takes writes while a replica copies from it.
//!
//! What is written during a full copy waits in the primary's memory until the replica has loaded the copy. At a limit
//! (`client-output-buffer-limit`) the server drops the replica, which begins again. A load that reaches the limit sooner
//! than the copy is loaded would leave the lab with one copy for as long as it lasts. So the limit follows the size
//! of the data, as far as there is memory, and writes are held up in short pauses, as many as are needed for the buffer to last.
//!
//! The allowance at any moment: a share of the limit that grows from the begin of the copy on, fast at first, and never reaches
//! the whole. A load that stays below it is not held up at all.

use std::fs;
use std::net::SocketAddrV4;
use std::time::Duration;

use tracing::{debug, info};

use crate::capacity;
use crate::client::{ClientError, ReplicationInfo};

use super::super::conf::Conf;
use super::DataNode;
use super::following::Following;

/// What a full copy and its loading do each second, on a machine that is slow and busy.
const BYTES_PER_SECOND: u64 = 50_000_000;
/// Shortest time that a copy is allowed for.
const SHORTEST: Duration = Duration::from_secs(10);
/// The limit of a server whose file has none.
const DEFAULT_LIMIT: u64 = 256 << 20;
/// The limit grows by the data's size, or what there is of memory, divided by this.
const SHARE_OF_DATA: u64 = 4;
/// Percentages of the limit: what is allowed at once, and what is never passed.
const AT_ONCE: u64 = 5;
const MOST: u64 = 80;
/// One pause: until after the next look, which asks the server something. It sees the end of a pause at the next command, and
/// then lets in all that has come.
const PAUSE_MS: u64 = 30;
/// Pauses may follow each other for no longer than a part of `down_after_ms`: Sentinels, whose messages are held up too,
/// call a server down that is silent. Then what has come meanwhile is let in.
const PART_OF_DOWN_AFTER: u32 = 4;
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A full copy under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Transfer {
    to: SocketAddrV4,
    since: Duration,
    /// What is written from here on waits for the replica.
    from: u64,
    /// It is loaded up to here.
    confirmed: u64,
    /// It waits for the server to begin.
    waits: bool,
}

/// What a transfer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Bytes after which the server drops the replica.
    limit: u64,
    /// How long the copy and its loading may take.
    span: Duration,
}

impl Room {
    /// How many bytes may wait, so long after the begin.
    fn allows(&self, after: Duration) -> u64 {
        let (after, span) = (after.as_millis(), self.span.as_millis());
        let grown = u128::from(self.limit) * u128::from(MOST - AT_ONCE) * after / (after + span);
        let grown = u64::try_from(grown / 100).unwrap_or(u64::MAX);
        (self.limit / 100 * AT_ONCE).saturating_add(grown)
    }
}

/// The copies that replicas make of the own server.
#[derive(Debug, Default)]
pub(super) struct Pacing {
    history: String,
    offset: u64,
    transfers: Vec<Transfer>,
    room: Option<Room>,
    /// The server's limit is not that of its file.
    raised: bool,
    /// Since when writes are held up without a break.
    paused: Option<Duration>,
}

impl Pacing {
    /// What the own server, as primary, says of its replicas.
    pub(super) fn see(&mut self, now: Duration, info: &ReplicationInfo, following: &Following) {
        if self.history != info.replication_id {
            self.history.clone_from(&info.replication_id);
            self.transfers.clear();
        }
        self.offset = info.offset;
        let known = |to: SocketAddrV4| self.transfers.iter().find(|t| t.to == to).copied();
        let begin = |to, waits| Transfer {
            to,
            since: now,
            from: info.offset,
            confirmed: 0,
            waits,
        };
        let copying = info.copying.iter().map(|copying| {
            match known(copying.to).filter(|_| !copying.waits) {
                // A limit that is passed ends the connection: it is another copy.
                Some(before) if before.confirmed == 0 && !self.is_past_limit(&before, info) => {
                    Transfer {
                        waits: false,
                        ..before
                    }
                }
                _ => begin(copying.to, copying.waits),
            }
        });
        // Loading what was sent, or catching up.
        let loading = info.online.iter().filter_map(|replica| {
            let before = known(replica.address)?;
            (!following.is_in_sync(replica.address)).then_some(Transfer {
                confirmed: replica.offset,
                waits: false,
                ..before
            })
        });
        self.transfers = copying.chain(loading).collect();
    }

    fn is_past_limit(&self, transfer: &Transfer, info: &ReplicationInfo) -> bool {
        let limit = self.room.map_or(u64::MAX, |room| room.limit);
        info.offset.saturating_sub(transfer.from) > limit
    }

    /// The own server is no primary.
    pub(super) fn ended(&mut self) {
        self.transfers.clear();
    }

    fn under_way(&self) -> bool {
        !self.transfers.is_empty()
    }

    /// Whether more waits for a replica than is allowed by now.
    fn is_ahead(&self, now: Duration) -> bool {
        let Some(room) = self.room.filter(|room| room.limit > 0) else {
            return false;
        };
        self.transfers.iter().filter(|t| !t.waits).any(|transfer| {
            let from = transfer.from.max(transfer.confirmed);
            let waiting = self.offset.saturating_sub(from);
            waiting > room.allows(now.saturating_sub(transfer.since))
        })
    }

    /// Whether writes are to be held up now.
    fn pauses(&mut self, now: Duration, longest: Duration) -> bool {
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
}

impl DataNode {
    /// Holds writes up where a replica could not complete its copy otherwise. Whether a copy is under way.
    pub(super) async fn pace(&mut self) -> bool {
        if !self.pacing.under_way() {
            self.end_pacing().await;
            return false;
        }
        if self.pacing.room.is_none() {
            let room = self.make_room().await;
            debug!(node = %self.node.name, ?room, "a replica copies");
            self.pacing.room = Some(room);
        }
        let longest = (self.lab.timing.down_after / PART_OF_DOWN_AFTER).min(LONGEST_PAUSE);
        if self.pacing.pauses(self.started.elapsed(), longest) {
            if !self.slowed {
                info!(node = %self.node.name, "writes are slowed down, so that a replica completes its copy");
                self.slowed = true;
            }
            let mut pause = redis::cmd("CLIENT");
            pause.arg("PAUSE").arg(PAUSE_MS).arg("WRITE");
            if self.send(&pause).await {
                self.metrics.paused_for_copy(PAUSE_MS);
            }
        }
        true
    }

    async fn end_pacing(&mut self) {
        if self.slowed {
            info!(node = %self.node.name, "writes are not slowed down any more");
            self.slowed = false;
        }
        if self.pacing.raised {
            let limit = self.limit_of_file();
            self.pacing.raised = !self.set_limit(limit).await;
        }
        self.pacing.room = None;
        self.pacing.paused = None;
    }

    /// Raises the limit by a share of the data, where there is memory for it.
    async fn make_room(&mut self) -> Room {
        let used = match self.used_memory().await {
            Ok(used) => used,
            Err(error) => {
                debug!(node = %self.node.name, %error, "the size of the data is not known");
                0
            }
        };
        let span = Duration::from_secs(used / BYTES_PER_SECOND).max(SHORTEST);
        let limit = self.limit_of_file();
        let available = capacity::memory().available.unwrap_or(0);
        let more = used.min(available) / SHARE_OF_DATA;
        // Without a limit there is nothing to be kept.
        if limit == 0 || more == 0 {
            return Room { limit, span };
        }
        self.pacing.raised = self.set_limit(limit + more).await;
        let limit = if self.pacing.raised {
            limit + more
        } else {
            limit
        };
        Room { limit, span }
    }

    async fn set_limit(&mut self, limit: u64) -> bool {
        self.set(
            "client-output-buffer-limit",
            &format!("replica {limit} 0 0"),
        )
        .await
    }

    async fn used_memory(&mut self) -> Result<u64, ClientError> {
        let cmd = redis::cmd("INFO").arg("memory").clone();
        let text: String = self.own().await?.query(&cmd).await?;
        let used = text
            .lines()
            .find_map(|line| line.strip_prefix("used_memory:"));
        Ok(used
            .and_then(|used| used.trim_end().parse().ok())
            .unwrap_or(0))
    }

    /// The limit in the server's file.
    fn limit_of_file(&self) -> u64 {
        let text = fs::read_to_string(&self.conf).unwrap_or_default();
        limit_of(&Conf::parse(&text))
    }
}

/// The hard limit for replicas; 0: none.
fn limit_of(conf: &Conf) -> u64 {
    let lines = conf.get_all(&["client-output-buffer-limit"]);
    let classes: Vec<&[String]> = lines.iter().flat_map(|line| line.chunks_exact(4)).collect();
    let of_replicas = |class: &&&[String]| ["replica", "slave"].contains(&class[0].as_str());
    let limit = classes.iter().rev().find(of_replicas);
    limit
        .and_then(|class| bytes(&class[1]))
        .unwrap_or(DEFAULT_LIMIT)
}

/// A size as servers write it: `512mb`, `1g`, `1000`.
fn bytes(size: &str) -> Option<u64> {
    let size = size.to_ascii_lowercase();
    let digits = size.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &size[digits.len()..] {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1_000_000;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// What a primary says that has one replica.
    fn says(offset: u64, state: &str, confirmed: u64) -> ReplicationInfo {
        let (state, saves) = match state {
            "waits" => ("wait_bgsave", 0),
            "copies" => ("wait_bgsave", 1),
            other => (other, 0),
        };
        ReplicationInfo::parse(&format!(
            "role:master\r\nrdb_bgsave_in_progress:{saves}\r\nmaster_replid:now\r\nmaster_repl_offset:{offset}\r\n\
             slave0:ip=127.0.0.12,port=6379,state={state},offset={confirmed},lag=0\r\n"
        ))
    }

    fn pacing() -> Pacing {
        Pacing {
            room: Some(Room {
                limit: LIMIT,
                span: at(10_000),
            }),
            ..Pacing::default()
        }
    }

    /// A load that writes `speed` bytes in 20 ms wherever it is not held up, until the copy is loaded or the limit is passed.
    /// Returns what waited in the end and for how long it was held up at a time, or when the limit was passed.
    fn copied_under(speed: u64, copy_ms: u64) -> Result<(u64, u64), u64> {
        let (mut pacing, following) = (pacing(), Following::default());
        let mut offset = 5000;
        let (mut longest, mut held_up) = (0, 0);
        for now in (0..copy_ms).step_by(20) {
            pacing.see(at(now), &says(offset, "copies", 0), &following);
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
        let (mut pacing, following) = (pacing(), Following::default());
        pacing.see(at(0), &says(0, "waits", 0), &following);
        pacing.see(at(100), &says(900_000, "waits", 0), &following);
        assert!(!pacing.is_ahead(at(100)), "nothing waits before it begins");
        pacing.see(at(200), &says(950_000, "copies", 0), &following);
        assert!(!pacing.is_ahead(at(200)));
        pacing.see(at(300), &says(1_800_000, "copies", 0), &following);
        assert!(pacing.is_ahead(at(300)));
        // The server has dropped it, and it is back.
        pacing.see(at(400), &says(2_100_000, "copies", 0), &following);
        assert!(!pacing.is_ahead(at(400)));
    }

    #[test]
    fn one_that_catches_up_is_counted_by_what_it_has_confirmed_until_it_is_in_sync() {
        let (mut pacing, mut following) = (pacing(), Following::default());
        pacing.see(at(0), &says(0, "copies", 0), &following);
        let loads = says(900_000, "online", 0);
        following.in_sync(at(1000), &loads);
        pacing.see(at(1000), &loads, &following);
        assert!(pacing.is_ahead(at(1000)), "it loads");
        let behind = says(950_000, "online", 850_000);
        following.in_sync(at(1100), &behind);
        pacing.see(at(1100), &behind, &following);
        assert!(pacing.under_way() && !pacing.is_ahead(at(1100)));
        let level = says(950_000, "online", 950_000);
        following.in_sync(at(1200), &level);
        pacing.see(at(1200), &level, &following);
        assert!(!pacing.under_way());
    }

    #[test]
    fn a_replica_that_went_on_where_it_was_is_no_copy() {
        let (mut pacing, following) = (pacing(), Following::default());
        pacing.see(at(0), &says(900_000, "online", 1000), &following);
        assert!(!pacing.under_way());
    }

    #[test]
    fn the_limit_is_that_of_the_file_however_the_server_wrote_it() {
        let of = |text: &str| limit_of(&Conf::parse(text));
        assert_eq!(
            of("client-output-buffer-limit replica 512mb 0 0\n"),
            512 << 20
        );
        let all = "client-output-buffer-limit normal 0 0 0 slave 1000 64mb 60 pubsub 32mb 8mb 60\n";
        assert_eq!(of(all), 1000);
        assert_eq!(of("client-output-buffer-limit replica 0 0 0\n"), 0);
        assert_eq!(of("port 1\n"), DEFAULT_LIMIT);
        assert_eq!(
            (bytes("1k"), bytes("2GB"), bytes("x")),
            (Some(1000), Some(2 << 30), None)
        );
    }
}
