//! Slows writes down while a replica makes a full copy of this node's server.
//!
//! Writes during a full copy wait in the primary's memory until the replica has loaded the copy. At
//! a limit (`client-output-buffer-limit`) the server drops the replica, which starts again. A load
//! that reaches the limit before the copy is loaded would leave the lab with one copy for as long
//! as it lasts. So the limit is enlarged with the size of the data, as far as memory allows, and
//! writes are paused briefly, as often as needed to stay below it.
//!
//! The budget at any moment is a share of the limit that grows from the start of the copy, fast at
//! first, and never reaches the whole. A load below it is not paused at all. Pacing ends when the
//! replica has caught up. For a replica that fails copy after copy, fewer and fewer copies are
//! paced.

mod transfers;

use std::time::Duration;

use tracing::{debug, info, warn};

use crate::capacity;
use crate::client::ClientError;

use super::super::buffer::{self, OutputBufferLimit};
use super::super::machine::ServerState;
use super::DataNode;

pub(super) use transfers::Pacing;
use transfers::{BufferBudget, EnlargedLimit, PAUSE};

/// Rate of a full copy and its loading, on a slow and busy machine.
const BYTES_PER_SECOND: u64 = 50_000_000;
/// Shortest duration that is assumed for a copy.
const SHORTEST: Duration = Duration::from_secs(10);
/// The limit is enlarged by the size of the data, or the available memory if less, divided by this.
const SHARE_OF_DATA: u64 = 4;
/// Consecutive pauses may last no longer than this part of `down_after_ms`. The pauses also delay
/// the messages of Sentinels, which call a silent server down, and drop a link on which nothing
/// arrives for three of their periods (250 ms). After that, the waiting writes are let in.
const PART_OF_DOWN_AFTER: u32 = 4;
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

impl DataNode {
    /// Pauses writes if a replica could not complete its copy otherwise. `seen`: the state of the
    /// own server at this step. Returns whether a copy is in progress.
    pub(super) async fn pace(&mut self, seen: ServerState) -> bool {
        match seen {
            ServerState::Primary { .. } => {}
            // Commands are sent only to a server that has just answered.
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
            let budget = self.enlarge_buffer_limit().await;
            debug!(node = %self.node.name, ?budget, "a replica makes a full copy");
            self.pacing.budget = Some(budget);
        }
        let now = self.started.elapsed();
        let longest = (self.lab.timing.down_after / PART_OF_DOWN_AFTER).min(LONGEST_PAUSE);
        if self.pacing.pauses(now, longest) {
            if !std::mem::replace(&mut self.pacing.logged, true) {
                info!(node = %self.node.name, "writes are slowed down so that a replica can complete its copy");
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
            info!(node = %self.node.name, "writes are no longer slowed down");
        }
        self.pacing.budget = None;
        self.pacing.paused = None;
        let Some(enlarged) = self.pacing.enlarged else {
            return;
        };
        let Ok(now) = self.buffer_limit().await else {
            return;
        };
        // Another limit was set by an operator.
        if now != Some(enlarged.to) || self.set_limit(enlarged.before).await {
            self.pacing.enlarged = None;
        }
    }

    /// Enlarges the limit by a share of the data, as far as memory allows.
    async fn enlarge_buffer_limit(&mut self) -> BufferBudget {
        let used = self.used_memory().await.unwrap_or_else(|error| {
            debug!(node = %self.node.name, %error, "the size of the data is unknown");
            0
        });
        let span = Duration::from_secs(used / BYTES_PER_SECOND).max(SHORTEST);
        let limit = match self.buffer_limit().await {
            Ok(Some(limit)) => limit,
            other => {
                warn!(node = %self.node.name, answer = ?other, "the output buffer limit for replicas is unknown, so writes are not slowed down");
                return BufferBudget { limit: 0, span };
            }
        };
        let before = self.pacing.enlarged.filter(|enlarged| enlarged.to == limit);
        let before = before.map_or(limit, |enlarged| enlarged.before);
        let available = capacity::memory().available.unwrap_or(0);
        let to = before.enlarged(used.min(available) / SHARE_OF_DATA);
        if before.hard > 0 && to != limit {
            if let Err(error) = buffer::note(self.state.folder(), before, to) {
                debug!(node = %self.node.name, %error, "the enlarged limit could not be noted");
            }
            self.pacing.enlarged = Some(EnlargedLimit { before, to });
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

    async fn set_limit(&mut self, limit: OutputBufferLimit) -> bool {
        self.set(buffer::DIRECTIVE, &limit.to_string()).await
    }

    /// The limit as it is now.
    async fn buffer_limit(&mut self) -> Result<Option<OutputBufferLimit>, ClientError> {
        let cmd = redis::cmd("CONFIG")
            .arg("GET")
            .arg(buffer::DIRECTIVE)
            .clone();
        let answer: Vec<String> = self.own_conn().await?.query(&cmd).await?;
        Ok(answer.get(1).and_then(|value| OutputBufferLimit::of(value)))
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
