//! `halab member`: data nodes and Sentinels come and go on a lab that runs.
//!
//! Which step follows is decided by [`crate::protocol::membership`], from the roster of the primary and from what is seen. Nothing
//! is noted anywhere but in the roster itself: cut short at any moment, the command is run again, and goes on from there.
//!
//! - `look`: the primary and its roster; who runs with which `lab.toml`; the list of all members
//! - `see`: what a step depends on

mod look;
mod see;

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::access::User;
use crate::client::{ClientError, Connector, with_members};
use crate::config::{Lab, Node, NodeKind};
use crate::forget::{ForgetError, forget};
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
/// How long a node has to be silent to count as stopped.
const QUIET: Duration = Duration::from_secs(1);

/// Why the members are not as they were to be. What was done up to there is safe.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// A step that one loss could make fatal, or that has something to come first.
    #[error("refused: {0}")]
    Refused(String),
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
        self.check_lab_toml_of_all(&leading, &node).await?;
        let goal = Goal::In {
            kind: kind_of(&node),
            name: node.name.clone(),
            address: node.socket(),
        };
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
        if node.kind == NodeKind::Sentinel {
            // Who does not know those that stay could not reach a majority without the one that goes.
            let stay: Vec<Node> = (leading.lab.sentinels.iter())
                .filter(|n| n.name != name)
                .cloned()
                .collect();
            let asked = leading.lab.data_nodes.iter().chain(&stay);
            self.check_stated(&asked.cloned().collect::<Vec<_>>(), &stay)
                .await?;
        }
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
        let Some(goes) = all.nodes().find(|n| n.name == old) else {
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
        self.add(new).await?;
        if self.how.dry_run {
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

    /// Waits until nobody answers where the node is: an operator is to stop it.
    async fn stopped(&mut self, node: &Node) -> Result<(), MemberError> {
        let connector = self.connector.clone();
        let answers = async || connector.open(node.socket()).await.is_ok();
        let deadline = Instant::now() + self.how.patience;
        let mut told = false;
        let mut quiet_since = None;
        loop {
            if !answers().await {
                let since = *quiet_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= QUIET {
                    return Ok(());
                }
            } else {
                quiet_since = None;
                if !told {
                    told = true;
                    self.did(format!(
                        "{} is not a member any more: stop its node now, and keep it from starting with its host (this waits)",
                        node.name
                    ));
                }
            }
            if self.how.stop.is_cancelled() {
                return Err(MemberError::Stopped);
            }
            if Instant::now() >= deadline {
                return Err(MemberError::TimedOut {
                    limit: self.how.patience,
                    missing: format!("{} still answers: stop its node", node.name),
                });
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Has all Sentinels forget the node. What keeps them from it is not of this change: it is left to the operator.
    async fn forgotten(&mut self, node: &Node) -> Result<(), MemberError> {
        let roster = self.leading().await?.held.roster;
        let mut lab = with_members(self.lab, &roster);
        lab.data_nodes.retain(|n| n.name != node.name);
        lab.sentinels.retain(|n| n.name != node.name);
        // The Sentinels call it down only then.
        let deadline = Instant::now() + lab.timing.down_after + STATE_LIMIT;
        let forgotten = loop {
            match forget(&lab, self.how.stop).await {
                Err(ForgetError::Running(_) | ForgetError::NotHealthy(_))
                    if Instant::now() < deadline =>
                {
                    sleep(LOOK_AGAIN).await;
                }
                other => break other,
            }
        };
        match forgotten {
            Ok(done) => {
                if !done.reset.is_empty() {
                    self.did(format!("no Sentinel knows {} any more", node.name));
                }
            }
            Err(ForgetError::Stopped(_)) => return Err(MemberError::Stopped),
            Err(error) => self.left(format!(
                "have the Sentinels forget {}, with halab forget, when this is mended: {error}",
                node.name
            )),
        }
        Ok(())
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
    let text = error.to_string();
    if text.contains("NOREPLICAS") {
        format!("{text}: the lab is closed, or too few replicas are there; halab close --reopen")
    } else {
        text
    }
}
