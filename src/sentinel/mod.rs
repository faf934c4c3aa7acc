//! Asking all Sentinels at once, and hearing their events.
//!
//! A [`Panel`] keeps one warm connection to each Sentinel of the lab, in a `seat`. Nothing here
//! trusts a single Sentinel: answers go to [`crate::protocol::vote`], events are hints to ask
//! again.

mod events;
pub(crate) mod reply;
mod seat;

use std::net::SocketAddrV4;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::client::{ClientError, Connector};
use crate::config::{Lab, Node};
use crate::protocol::members::promotable_strangers;
use crate::protocol::vote::{Elected, NoPrimary, SentinelView, elect};
use crate::report::is_password_error;

pub use events::{Event, WAITING, follow_events};
use seat::Seat;

/// How long a majority that has answered waits for those who have not, beyond what is usual for
/// them. A Sentinel that is gone refuses at once; only a hung one lets this run out.
const STRAGGLER_GRACE: Duration = Duration::from_millis(50);

/// All Sentinels of a lab, with a warm connection to each.
#[derive(Debug)]
pub struct Panel {
    seats: Vec<Seat>,
    data_nodes: Vec<SocketAddrV4>,
    primary_name: String,
    majority: usize,
    connector: Connector,
    /// One for each seat; they end with the panel.
    _tasks: JoinSet<()>,
}

/// The answer of one Sentinel, or why there is none.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The Sentinel's name.
    pub sentinel: String,
    /// What it said.
    pub view: Result<SentinelView, String>,
}

/// The answers of all Sentinels to one round of questions.
#[derive(Debug, Clone)]
pub struct Answers {
    /// One answer a Sentinel, those that did not answer in time included.
    pub all: Vec<Answer>,
    majority: usize,
}

impl Answers {
    /// The views of those who answered.
    pub fn views(&self) -> Vec<SentinelView> {
        self.all
            .iter()
            .filter_map(|a| a.view.as_ref().ok().cloned())
            .collect()
    }

    /// A password that was refused, or is missing.
    fn refusal(&self) -> Option<String> {
        let errors = self.all.iter().filter_map(|a| a.view.as_ref().err());
        errors.into_iter().find(|e| is_password_error(e)).cloned()
    }

    /// The primary that a majority shares.
    ///
    /// # Errors
    /// When there is none.
    pub fn elect(&self) -> Result<Elected, NoPrimary> {
        elect(&self.views(), self.all.len(), self.majority).map_err(|none| match none {
            NoPrimary::TooFewAnswers {
                answered,
                asked,
                needed,
                ..
            } => NoPrimary::TooFewAnswers {
                answered,
                asked,
                needed,
                why: self.refusal(),
            },
            other => other,
        })
    }
}

impl Panel {
    /// The Sentinels of `lab`, reached by `connector`; connects at the first question. To be called
    /// within a runtime.
    pub fn new(lab: &Lab, connector: Connector) -> Self {
        let mut tasks = JoinSet::new();
        let seats = lab.sentinels.iter();
        let seats = seats
            .map(|node| Seat::start(node, &lab.primary_name, &connector, &mut tasks))
            .collect();
        Panel {
            seats,
            data_nodes: lab.data_nodes.iter().map(Node::socket).collect(),
            primary_name: lab.primary_name.clone(),
            majority: lab.majority(),
            connector,
            _tasks: tasks,
        }
    }

    /// Sentinels that make a majority.
    pub fn majority(&self) -> usize {
        self.majority
    }

    /// A replica that a Sentinel with that view could promote and that is no data node of the lab.
    pub fn promotable_stranger(&self, view: &SentinelView) -> Option<SocketAddrV4> {
        promotable_strangers(view, &self.data_nodes).next()
    }

    /// Why a Sentinel with that view is not to be asked for a failover, if so: it is to lead none,
    /// or could promote a server that is no data node of the lab.
    pub fn could_promote_a_stranger(&self, view: &SentinelView) -> Option<String> {
        if view.passive {
            return Some("it is not a full member of the lab: halab member list".to_owned());
        }
        self.promotable_stranger(view).map(|stranger| {
            format!(
                "it could promote {stranger}, which is no data node of lab.toml: end that server, then `halab forget`"
            )
        })
    }

    /// Asks all Sentinels at once for their view. Returns when all have answered or failed, or a
    /// moment after a majority has answered, and those who have not take longer than they usually
    /// do.
    pub async fn ask(&self) -> Answers {
        self.ask_with_grace(Some(STRAGGLER_GRACE)).await
    }

    /// The same, and waits for each until it has answered or counts as lost: it has refused, or
    /// said nothing within the connector's limits. For questions that every Sentinel has a veto
    /// on.
    pub async fn ask_each(&self) -> Answers {
        self.ask_with_grace(None).await
    }

    async fn ask_with_grace(&self, grace: Option<Duration>) -> Answers {
        let begun = Instant::now();
        let mut pending: FuturesUnordered<_> = self
            .seats
            .iter()
            .enumerate()
            .map(|(i, seat)| async move { (i, seat.view().await) })
            .collect();
        let mut all: Vec<Answer> = self
            .seats
            .iter()
            .map(|s| Answer {
                sentinel: s.node.name.clone(),
                view: Err("no answer yet".into()),
            })
            .collect();
        let mut answered = vec![false; all.len()];
        let mut good = 0;
        let mut majority_at = None;
        let mut deadline: Option<Instant> = None;
        loop {
            let next = match deadline {
                None => pending.next().await,
                Some(at) => tokio::select! {
                    biased;
                    next = pending.next() => next,
                    () = sleep_until(at) => None,
                },
            };
            let Some((i, view)) = next else { break };
            good += usize::from(view.is_ok());
            if let Some(answer) = all.get_mut(i) {
                answer.view = view;
                answered[i] = true;
            }
            if good >= self.majority
                && let Some(grace) = grace
            {
                let silent = self.seats.iter().zip(&answered).filter(|(_, done)| !**done);
                // A question may have to wait for the answer to one before it, which was given up.
                let usual = silent.filter_map(|(seat, _)| seat.usual()).max();
                let usual = begun + usual.unwrap_or_default() * 2;
                let enough = *majority_at.get_or_insert_with(Instant::now);
                deadline = Some(usual.max(enough) + grace);
            }
        }
        Answers {
            all,
            majority: self.majority,
        }
    }

    /// Sends one command to the Sentinel named `sentinel`.
    ///
    /// # Errors
    /// When it can't be reached, or answers with an error.
    pub async fn command<T: redis::FromRedisValue>(
        &self,
        node: &Node,
        cmd: &redis::Cmd,
    ) -> Result<T, ClientError> {
        self.connector.open(node.socket()).await?.query(cmd).await
    }

    /// `SENTINEL CKQUORUM` of every Sentinel: whether it reaches the quorum and a majority.
    pub async fn check_quorum(&self) -> Vec<(String, Result<String, String>)> {
        let cmd = redis::cmd("SENTINEL")
            .arg("CKQUORUM")
            .arg(&self.primary_name)
            .clone();
        join_all(self.seats.iter().map(|seat| async {
            let answer = self.command::<String>(&seat.node, &cmd).await;
            (seat.node.name.clone(), answer.map_err(|e| e.to_string()))
        }))
        .await
    }

    /// Asks for a failover from `from` without waiting for down-after (`SENTINEL FAILOVER`). All
    /// Sentinels are asked at once whom they name, so that a silent one delays nothing; then
    /// one after the other is called, until one takes it, because two calls at once would start
    /// two failovers. One that names another primary is not called: the command names no node,
    /// and would depose that one. Nor is one that could promote a server that is not of the lab.
    /// Returns who took it.
    ///
    /// # Errors
    /// What the last one said, when none took it.
    pub async fn call_failover(&self, from: SocketAddrV4) -> Result<String, String> {
        let mut last = "no Sentinel is configured".to_owned();
        let mut left: Vec<&Seat> = self.seats.iter().collect();
        while let Some(seat) = self.first_to_name(from, &mut left, &mut last).await {
            match seat.fail_over(from).await {
                Ok(by) => return Ok(by),
                Err(why) => last = why,
            }
        }
        Err(last)
    }

    /// Asks those that are left, all at once, and takes the first one out that names `primary`, so
    /// that it is called right after its answer. Takes out, too, who answers something else,
    /// and notes what.
    async fn first_to_name<'a>(
        &'a self,
        primary: SocketAddrV4,
        left: &mut Vec<&'a Seat>,
        last: &mut String,
    ) -> Option<&'a Seat> {
        let mut asked: FuturesUnordered<_> = left
            .iter()
            .copied()
            .map(|seat| async move { (seat, seat.view().await) })
            .collect();
        while let Some((seat, view)) = asked.next().await {
            left.retain(|other| !std::ptr::eq(*other, seat));
            let name = &seat.node.name;
            match view {
                Ok(view) if view.primary == primary => match self.could_promote_a_stranger(&view) {
                    None => return Some(seat),
                    Some(why) => *last = format!("{name} is not asked: {why}"),
                },
                Ok(view) => *last = format!("{name} names {} already", view.primary),
                Err(error) => *last = format!("{name}: {error}"),
            }
        }
        None
    }
}
