//! How fast the own server takes writes while a replica copies from it.
//!
//! What is written during a full copy waits in the primary's memory until the replica has loaded
//! the copy. At a limit (`client-output-buffer-limit`) the server drops the replica, which begins
//! again. A load that reaches the limit sooner than the copy is loaded would leave the lab with one
//! copy for as long as it lasts. So the limit follows the size of the data, as far as there is
//! memory, and writes are held up in short pauses, as many as are needed for the buffer to last.
//!
//! The allowance at any moment: a share of the limit that grows from the start of the copy on, fast
//! at first, and never reaches the whole. A load that stays below it is not held up at all. It ends
//! when the replica has caught up. A replica that does not get there, copy after copy, is waited
//! for at fewer and fewer of them.

mod transfers;

use std::time::Duration;

use tracing::{debug, info, warn};

use crate::capacity;
use crate::client::ClientError;

use super::super::buffer::{self, Limit};
use super::super::machine::ServerState;
use super::DataNode;

pub(super) use transfers::Pacing;
use transfers::{BufferBudget, PAUSE, RaisedLimit};

/// What a full copy and its loading do each second, on a machine that is slow and busy.
const BYTES_PER_SECOND: u64 = 50_000_000;
/// Shortest time that a copy is allowed for.
const SHORTEST: Duration = Duration::from_secs(10);
/// The limit grows by the data's size, or what there is of memory, divided by this.
const SHARE_OF_DATA: u64 = 4;
/// Pauses may follow each other for no longer than a part of `down_after_ms`: Sentinels, whose
/// messages are held up too, call a server down that is silent, and drop a link on which nothing
/// comes for three of their periods (250 ms). Then what has come meanwhile is let in.
const PART_OF_DOWN_AFTER: u32 = 4;
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

impl DataNode {
    /// Holds writes up where a replica could not complete its copy otherwise. `seen`: at this look.
    /// Returns whether a copy is under way.
    pub(super) async fn pace(&mut self, seen: ServerState) -> bool {
        match seen {
            ServerState::Primary { .. } => {}
            // Only a server that has just answered is told anything.
            ServerState::Replica { .. } | ServerState::Parked => {
                self.end_pacing().await;
                return false;
            }
            _ => return false,
        }
        if !self.pacing.under_way() {
            self.end_pacing().await;
            return false;
        }
        if self.pacing.budget.is_none() {
            let budget = self.raise_limit().await;
            debug!(node = %self.node.name, ?budget, "a replica copies");
            self.pacing.budget = Some(budget);
        }
        let now = self.started.elapsed();
        let longest = (self.lab.timing.down_after / PART_OF_DOWN_AFTER).min(LONGEST_PAUSE);
        if self.pacing.pauses(now, longest) {
            if !std::mem::replace(&mut self.pacing.logged, true) {
                info!(node = %self.node.name, "writes are slowed down, so that a replica completes its copy");
            }
            let mut pause = redis::cmd("CLIENT");
            pause
                .arg("PAUSE")
                .arg(PAUSE.as_millis().to_string())
                .arg("WRITE");
            if self.send(&pause).await {
                self.metrics.paused_for_copy(self.pacing.begins_pause(now));
            }
        }
        true
    }

    async fn end_pacing(&mut self) {
        if std::mem::take(&mut self.pacing.logged) {
            info!(node = %self.node.name, "writes are not slowed down any more");
        }
        self.pacing.budget = None;
        self.pacing.paused = None;
        let Some(raised) = self.pacing.raised else {
            return;
        };
        let Ok(now) = self.buffer_limit().await else {
            return;
        };
        // Another one is an operator's.
        if now != Some(raised.to) || self.set_limit(raised.before).await {
            self.pacing.raised = None;
        }
    }

    /// Raises the limit by a share of the data, where there is memory for it.
    async fn raise_limit(&mut self) -> BufferBudget {
        let used = self.used_memory().await.unwrap_or_else(|error| {
            debug!(node = %self.node.name, %error, "the size of the data is not known");
            0
        });
        let span = Duration::from_secs(used / BYTES_PER_SECOND).max(SHORTEST);
        let limit = match self.buffer_limit().await {
            Ok(Some(limit)) => limit,
            other => {
                warn!(node = %self.node.name, answer = ?other, "the limit of the replicas' output buffer is not known, so a load                     that reaches it is not slowed down while a replica copies");
                return BufferBudget { limit: 0, span };
            }
        };
        let before = self.pacing.raised.filter(|raised| raised.to == limit);
        let before = before.map_or(limit, |raised| raised.before);
        let available = capacity::memory().available.unwrap_or(0);
        let to = before.raised(used.min(available) / SHARE_OF_DATA);
        if before.hard > 0 && to != limit {
            if let Err(error) = buffer::note(self.state.folder(), before, to) {
                debug!(node = %self.node.name, %error, "the raised limit is not noted");
            }
            self.pacing.raised = Some(RaisedLimit { before, to });
            if self.set_limit(to).await {
                return BufferBudget {
                    limit: to.for_long(),
                    span,
                };
            }
        }
        BufferBudget {
            limit: limit.for_long(),
            span,
        }
    }

    async fn set_limit(&mut self, limit: Limit) -> bool {
        self.set(buffer::DIRECTIVE, &limit.to_string()).await
    }

    /// The limit as it is now.
    async fn buffer_limit(&mut self) -> Result<Option<Limit>, ClientError> {
        let cmd = redis::cmd("CONFIG")
            .arg("GET")
            .arg(buffer::DIRECTIVE)
            .clone();
        let answer: Vec<String> = self.own_conn().await?.query(&cmd).await?;
        Ok(answer.get(1).and_then(|value| Limit::of(value)))
    }

    async fn used_memory(&mut self) -> Result<u64, ClientError> {
        let cmd = redis::cmd("INFO").arg("memory").clone();
        let text: String = self.own_conn().await?.query(&cmd).await?;
        let used = text
            .lines()
            .find_map(|line| line.strip_prefix("used_memory:"));
        Ok(used
            .and_then(|used| used.trim_end().parse().ok())
            .unwrap_or(0))
    }
}
