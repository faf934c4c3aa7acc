//! `halab member`: data nodes and Sentinels come and go on a lab that runs.
//!
//! Which step follows is decided by [`crate::protocol::membership`], from the roster of the primary and from what is seen. Nothing
//! is noted anywhere but in the roster itself: cut short at any moment, the command is run again, and goes on from there.
//!
//! - `look`: the primary and its roster; who runs with which `lab.toml`; the list of all members
//! - `see`: what a step depends on
//! - `gone`: after the last step of a removal, the node is stopped, and the Sentinels forget it

mod gone;
mod look;
mod see;

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::access::User;
use crate::client::{ClientError, Connector, classify, with_members};
use crate::config::{Lab, Node, NodeKind};
use crate::protocol::WriteError;
use crate::protocol::membership::{Goal, Next, next};
use crate::protocol::roster::{Kind, Roster, Standing};

pub use look::{Listing, Row};

use look::Leading;

/// Limit for a connect or an answer of a node.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long the parents may take to state what they know: one that has just begun, or whose connection was ended, does a moment
/// later.
const STATE_LIMIT: Duration = Duration::from_secs(3);

/// Why the members are not as they were to be. What was done up to there is safe.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// A step that one loss could make fatal, or that has something to come first.
    #[error("refused: {0}")]
    Refused(String),
    /// There is no primary whose list of members could be read.
    #[error("{0}")]
    NotReady(String),
    /// Something did not come about in time.
    #[error("timed out after {limit:?}, waiting: {missing}. Run the same command again to go on")]
    TimedOut {
        /// How long.
        limit: Duration,
        /// What is missing.
        missing: String,
    },
    /// It was asked to stop.
    #[error("stopped; what was done is safe: run the same command again to go on")]
    Stopped,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The node of `lab.toml` becomes a member.
    Add(String),
    /// The node is no longer one.
    Remove(String),
    /// The second becomes a member, and then the first is no longer one.
    Replace(String, String),
}

/// What was done.
#[derive(Debug, Clone, Serialize)]
pub struct Changed {
    /// Only said, not done.
    pub dry_run: bool,
    /// Each step, in words.
    pub steps: Vec<String>,
    /// The data nodes that are members now.
    pub data_nodes: Vec<String>,
    /// The Sentinels that are members now.
    pub sentinels: Vec<String>,
    /// What is left to the operator.
    pub next: Vec<String>,
}

/// How it is done.
pub struct How<'a> {
    /// Check and say, and change nothing.
    pub dry_run: bool,
    /// How long a step may wait for what it needs: a copy, a node that is to be stopped.
    pub patience: Duration,
    /// Ends it between two steps.
    pub stop: &'a CancellationToken,
    /// Who hears of each step.
    pub tell: &'a (dyn Fn(&str) + Sync),
}

/// One command at work.
struct Work<'a> {
    lab: &'a Lab,
    how: &'a How<'a>,
    connector: Connector,
    steps: Vec<String>,
    next: Vec<String>,
}

/// Makes `change` true.
///
/// # Errors
/// Why it is not. What was done until then is safe, and is gone on from when it is called again.
pub async fn change(lab: &Lab, change: &Change, how: &How<'_>) -> Result<Changed, MemberError> {
    let mut work = Work {
        lab,
        how,
        connector: Connector::new(lab, User::Operator, ANSWER_LIMIT),
        steps: Vec::new(),
        next: Vec::new(),
    };
    match change {
        Change::Add(name) => work.add(name).await?,
        Change::Remove(name) => work.remove(name).await?,
        Change::Replace(old, new) => work.replace(old, new).await?,
    }
    let roster = work.leading().await?.held.roster;
    let names = |kind| roster.of(kind).iter().map(|m| m.name.clone()).collect();
    Ok(Changed {
        dry_run: how.dry_run,
        steps: work.steps,
        data_nodes: names(Kind::Data),
        sentinels: names(Kind::Sentinel),
        next: work.next,
    })
}

/// Who is a member of the lab, and which node runs with which `lab.toml`.
///
/// # Errors
/// When no primary is found, or it has no roster.
pub async fn list(lab: &Lab) -> Result<Listing, MemberError> {
    let connector = Connector::new(lab, User::Operator, ANSWER_LIMIT);
    let deadline = Instant::now() + STATE_LIMIT;
    loop {
        match look::list(lab, &connector).await {
            Err(_) if Instant::now() < deadline => sleep(LOOK_AGAIN).await,
            other => return other,
        }
    }
}

fn kind_of(node: &Node) -> Kind {
    match node.kind {
        NodeKind::Data => Kind::Data,
        NodeKind::Sentinel => Kind::Sentinel,
    }
}

impl Work<'_> {
    /// A failover, or another change, may be under way.
    async fn leading(&self) -> Result<Leading, MemberError> {
        let deadline = Instant::now() + STATE_LIMIT;
        loop {
            match look::leading(self.lab, &self.connector).await {
                Err(_) if Instant::now() < deadline && !self.how.stop.is_cancelled() => {
                    sleep(LOOK_AGAIN).await;
                }
                other => return other,
            }
        }
    }

    fn stated(&self, name: &str) -> Result<Node, MemberError> {
        let node = self.lab.nodes().find(|n| n.name == name).cloned();
        node.ok_or_else(|| {
            MemberError::Refused(format!(
                "{name} is not in this lab.toml: state its name and address there, and give that file with --config"
            ))
        })
    }

    async fn add(&mut self, name: &str) -> Result<(), MemberError> {
        let node = self.stated(name)?;
        let leading = self.leading().await?;
        let goal = Goal::In {
            kind: kind_of(&node),
            name: node.name.clone(),
            address: node.socket(),
        };
        // Before it is asked for a lab.toml that would not help.
        if let Some(why) = goal.at_odds_with(&leading.held.roster) {
            return Err(MemberError::Refused(why));
        }
        self.check_lab_toml_of_all(&leading, &node).await?;
        self.reach(&goal).await?;
        if !self.how.dry_run {
            self.did(format!("{name} is a full member"));
        }
        Ok(())
    }

    async fn remove(&mut self, name: &str) -> Result<(), MemberError> {
        let leading = self.leading().await?;
        let all = with_members(self.lab, &leading.held.roster);
        let Some(node) = all.nodes().find(|n| n.name == name).cloned() else {
            return Err(MemberError::Refused(format!(
                "{name} is not a member, and not in lab.toml: see halab member list; where halab status shows servers that are not of \
                 the lab: halab forget"
            )));
        };
        self.check_those_that_stay(&leading, &node).await?;
        let goal = Goal::Out {
            kind: kind_of(&node),
            name: name.to_owned(),
        };
        self.reach(&goal).await?;
        if self.how.dry_run {
            return Ok(());
        }
        self.stopped(&node).await?;
        if self
            .leading()
            .await?
            .held
            .roster
            .member(kind_of(&node), name)
            .is_some()
        {
            return Err(MemberError::Refused(format!(
                "{name} has been made a member again meanwhile: start its node"
            )));
        }
        self.forgotten(&node).await?;
        self.left(format!(
            "take {name} out of lab.toml on every host, then start the nodes again one at a time, the primary's last; until then, if \
             all nodes are stopped together, they wait for {name} at the next start"
        ));
        Ok(())
    }

    async fn replace(&mut self, old: &str, new: &str) -> Result<(), MemberError> {
        let node = self.stated(new)?;
        let leading = self.leading().await?;
        let all = with_members(self.lab, &leading.held.roster);
        let Some(goes) = &all.nodes().find(|n| n.name == old).cloned() else {
            return Err(MemberError::Refused(format!(
                "{old} is not a member: see halab member list, and for {new} alone use halab member add {new}"
            )));
        };
        if old == new {
            return Err(MemberError::Refused(
                "a node does not replace itself: one that has lost its disk is only started again, and one that moves to another \
                 address gets another name"
                    .into(),
            ));
        }
        if goes.kind != node.kind {
            return Err(MemberError::Refused(format!(
                "{old} and {new} are not of one kind: a data node replaces a data node, a Sentinel a Sentinel"
            )));
        }
        if leading.node.name == old {
            return Err(is_primary(old));
        }
        if goes.kind == NodeKind::Data && self.lab.node(old).is_none() {
            return Err(MemberError::Refused(format!(
                "{old} is not in this lab.toml: a data node that is replaced is stated beside {new}, on every host, until this command \
                 has taken it out"
            )));
        }
        self.add(new).await?;
        if self.how.dry_run {
            self.check_replaced(goes, new).await?;
            self.did(format!("after that, {old} would be taken out"));
            return Ok(());
        }
        self.remove(old).await
    }

    /// Takes step after step until the goal is reached.
    async fn reach(&mut self, goal: &Goal) -> Result<(), MemberError> {
        let mut deadline = Instant::now() + self.how.patience;
        let begun = Instant::now();
        let mut said = String::new();
        let mut see = see::See::default();
        loop {
            if self.how.stop.is_cancelled() {
                return Err(MemberError::Stopped);
            }
            let missing = match self.step(goal, &mut see).await? {
                Step::Reached => return Ok(()),
                Step::Taken => {
                    deadline = Instant::now() + self.how.patience;
                    continue;
                }
                Step::Waits(missing) => missing,
            };
            if self.how.dry_run && begun.elapsed() >= STATE_LIMIT {
                return Err(MemberError::Refused(format!(
                    "now, it would wait: {missing}"
                )));
            }
            if Instant::now() >= deadline {
                return Err(MemberError::TimedOut {
                    limit: self.how.patience,
                    missing,
                });
            }
            if said != missing {
                (self.how.tell)(&format!("waiting: {missing}"));
                said = missing;
            }
            tokio::select! {
                () = sleep(LOOK_AGAIN) => {}
                () = self.how.stop.cancelled() => {}
            }
        }
    }

    async fn step(&mut self, goal: &Goal, see: &mut see::See) -> Result<Step, MemberError> {
        let leading = match look::leading(self.lab, &self.connector).await {
            Ok(leading) => leading,
            // A failover may be under way.
            Err(error) => return Ok(Step::Waits(error.to_string())),
        };
        let seen = see
            .look(&self.connector, &leading, goal, self.lab.quorum)
            .await;
        let roster = match next(&leading.held.roster, goal, &seen) {
            Next::Done => return Ok(Step::Reached),
            Next::Wait(missing) => return Ok(Step::Waits(missing)),
            Next::Refuse(why) => return Err(MemberError::Refused(why)),
            Next::Write(_) if leading.closed => {
                return Err(MemberError::Refused(
                    "the lab is closed, to be stopped, and takes no change: first have it take writes again, with halab close \
                     --reopen, or start it again"
                        .into(),
                ));
            }
            Next::Write(roster) => roster,
        };
        let step = described(&roster, goal);
        if self.how.dry_run {
            self.did(format!("would begin: {step}"));
            return Ok(Step::Reached);
        }
        let written = async {
            let mut conn = self.connector.open(leading.node.socket()).await?;
            conn.change_roster(Some(&leading.held), &roster).await
        };
        match written.await {
            Ok(()) => {
                self.did(format!("{step} (members, version {})", roster.version));
                Ok(Step::Taken)
            }
            // What has become of it is in the roster.
            Err(error) => Ok(Step::Waits(refusal(&error))),
        }
    }

    /// Refuses while a node that answers runs with a `lab.toml` without `new`, or `new` with one that lacks a member.
    async fn check_lab_toml_of_all(
        &mut self,
        leading: &Leading,
        new: &Node,
    ) -> Result<(), MemberError> {
        let all = with_members(self.lab, &leading.held.roster);
        let others = leading
            .lab
            .data_nodes
            .iter()
            .filter(|n| n.name != leading.node.name);
        let mut alone = true;
        for other in others.filter(|n| n.name != new.name) {
            alone &= self.connector.open(other.socket()).await.is_err();
        }
        // The last copy can't be stopped for it: its node does not take part in the failover to the new one, nor follow it,
        // until it is started again.
        let excused = |n: &Node| alone && n.name == leading.node.name;
        // A Sentinel that this lab.toml does not state is on its way out, and stays as it is.
        let stated = |n: &Node| n.kind == NodeKind::Data || self.lab.node(&n.name).is_some();
        let asked = all.nodes().filter(|n| stated(n) && !excused(n));
        let asked: Vec<Node> = asked.cloned().collect();
        self.check_stated(&asked, std::slice::from_ref(new)).await?;
        let members: Vec<Node> = leading.lab.nodes().filter(|n| stated(n)).cloned().collect();
        self.check_stated(std::slice::from_ref(new), &members)
            .await?;
        let new_one = std::slice::from_ref(new);
        if alone
            && look::without(&self.connector, &leading.node, new_one)
                .await
                .is_some()
        {
            self.left(format!(
                "run halab handover, and start the node of {} again with this lab.toml: until then it does not follow {}",
                leading.node.name, new.name
            ));
        }
        Ok(())
    }

    /// Refuses while one of those that stay runs with a `lab.toml` without another of them. Who does not know the Sentinels that
    /// stay could not reach a majority without the one that goes.
    async fn check_those_that_stay(
        &self,
        leading: &Leading,
        goes: &Node,
    ) -> Result<(), MemberError> {
        if goes.kind == NodeKind::Data {
            return Ok(());
        }
        let stay = leading.lab.sentinels.iter();
        let stay: Vec<Node> = stay.filter(|n| n.name != goes.name).cloned().collect();
        let asked = leading.lab.data_nodes.iter().chain(&stay);
        let asked: Vec<Node> = asked.cloned().collect();
        self.check_stated(&asked, &stay).await
    }

    /// Refuses where `old` may not go once `new` is a full member.
    async fn check_replaced(&self, old: &Node, new: &str) -> Result<(), MemberError> {
        let leading = self.leading().await?;
        self.check_those_that_stay(&leading, old).await?;
        let goal = Goal::Out {
            kind: kind_of(old),
            name: old.name.clone(),
        };
        let mut see = see::See::assuming(new);
        let seen = see
            .look(&self.connector, &leading, &goal, self.lab.quorum)
            .await;
        seen.sound_without.map_err(MemberError::Refused)
    }

    /// Refuses while one of `asked` runs with a `lab.toml` that does not state all of `wanted` at their addresses.
    async fn check_stated(&self, asked: &[Node], wanted: &[Node]) -> Result<(), MemberError> {
        let deadline = Instant::now() + STATE_LIMIT;
        let mut lacking;
        loop {
            lacking = Vec::new();
            for node in asked {
                lacking.extend(look::without(&self.connector, node, wanted).await);
            }
            if lacking.is_empty() {
                return Ok(());
            }
            if self.how.stop.is_cancelled() {
                return Err(MemberError::Stopped);
            }
            if Instant::now() >= deadline {
                break;
            }
            sleep(LOOK_AGAIN).await;
        }
        Err(MemberError::Refused(format!(
            "{}. Put the new lab.toml on its host and start its node again, one node at a time and the primary's last (it hands \
             over), each when halab status shows nothing but the change; then run this again",
            lacking.join("; ")
        )))
    }

    fn did(&mut self, step: String) {
        (self.how.tell)(&step);
        self.steps.push(step);
    }

    /// Something that is left to the operator.
    fn left(&mut self, what: String) {
        if !self.next.contains(&what) {
            self.next.push(what);
        }
    }
}

enum Step {
    Reached,
    Taken,
    Waits(String),
}

fn is_primary(name: &str) -> MemberError {
    MemberError::Refused(see::is_primary(name))
}

fn described(next: &Roster, goal: &Goal) -> String {
    let (kind, name) = match goal {
        Goal::In { kind, name, .. } | Goal::Out { kind, name } => (*kind, name),
    };
    match (next.standing(kind, name), kind, goal) {
        (None, _, _) => format!("writers do not ask {name} any more"),
        (Some(Standing::Counted), Kind::Data, Goal::In { .. }) => {
            format!("every writer asks for the confirmation of {name}")
        }
        (Some(Standing::Counted), Kind::Sentinel, Goal::In { .. }) => {
            format!("every writer asks {name}")
        }
        (Some(Standing::Counted), Kind::Data, Goal::Out { .. }) => {
            format!("{name} is not to be promotable any more")
        }
        (Some(Standing::Counted), Kind::Sentinel, Goal::Out { .. }) => {
            format!("{name} is not to lead failovers any more")
        }
        (Some(Standing::Full), Kind::Data, _) => format!("{name} may be promotable"),
        (Some(Standing::Full), Kind::Sentinel, _) => format!("{name} may lead failovers"),
    }
}

fn refusal(error: &ClientError) -> String {
    match error {
        ClientError::Redis { source, .. } if source.code() == Some("NOREPLICAS") => {
            format!("{error}: too few replicas are in sync")
        }
        ClientError::Redis { to, source } if classify(source) == WriteError::ConnectionLost => {
            format!("{to} has ended the connection; what has become of the step is read again")
        }
        _ => error.to_string(),
    }
}
