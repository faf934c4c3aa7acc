//! The conditions of a step, judged from one observation of all nodes.

use std::net::SocketAddrV4;
use std::time::Duration;

use crate::client::ServerInfo;
use crate::config::Node;
use crate::protocol::ack::{Evidence, NoWitness, UncoveredWrites, witness};
use crate::protocol::member_list::{MemberKind, Standing};
use crate::protocol::vote::{Elected, SentinelView};
use crate::sentinel::Answers;

use super::is_primary;
use super::primary::PrimaryView;

/// With fewer full Sentinels, the loss of one more leaves no majority.
const MIN_SENTINELS: usize = 3;
/// With fewer sound copies, the loss of one more leaves none.
const MIN_COPIES: usize = 2;

/// A Sentinel that is silent for this long counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(3);

/// One data node's reply.
#[derive(Debug)]
pub(super) struct DataNodeReply {
    pub(super) node: Node,
    /// `Err`: it does not answer.
    pub(super) state: Result<NodeState, String>,
}

#[derive(Debug)]
pub(super) struct NodeState {
    pub(super) info: ServerInfo,
    /// It has the same list of members as the primary.
    pub(super) current: bool,
    /// It gives the assurance that it cannot be promoted.
    pub(super) assured: bool,
}

/// One observation.
pub(super) struct MembersObservation<'a> {
    pub(super) primary: &'a PrimaryView,
    pub(super) replies: &'a [DataNodeReply],
    pub(super) answers: &'a Answers,
    pub(super) views: &'a [SentinelView],
    pub(super) quorum: usize,
    /// How long the Sentinel to remove has been silent.
    pub(super) silent_for: Option<Duration>,
    /// See [`super::observer::ConditionObserver`].
    pub(super) assumed: Option<&'a str>,
}

impl MembersObservation<'_> {
    fn state(&self, name: &str) -> Option<&NodeState> {
        let reply = self.replies.iter().find(|reply| reply.node.name == name)?;
        reply.state.as_ref().ok()
    }

    pub(super) fn info_of(&self, name: &str) -> Option<&ServerInfo> {
        self.state(name).map(|state| &state.info)
    }

    fn is_full(&self, kind: MemberKind, name: &str) -> bool {
        self.primary.stored.member_list.standing(kind, name) == Some(Standing::Full)
    }

    /// The names of the full members of that kind.
    fn full(&self, kind: MemberKind) -> impl Iterator<Item = &str> {
        let members = self.primary.stored.member_list.full(kind);
        let listed = members.map(|member| member.name.as_str());
        let assumed = self.assumed.filter(|name| !self.is_full(kind, name));
        listed.chain(assumed)
    }

    fn majority(&self) -> usize {
        self.primary.lab.majority()
    }

    fn enough_sentinels(&self) -> Result<(), String> {
        if self.views.len() < self.majority() {
            let (got, needed) = (self.views.len(), self.majority());
            return Err(format!("{got} Sentinels answer, but {needed} are needed"));
        }
        Ok(())
    }

    /// Every member, except that one, that answers or that a Sentinel could promote has this list.
    /// A member that does neither must be in sync with the primary before it can be promoted,
    /// and has the list then.
    pub(super) fn list_is_distributed(&self, except: Option<&str>) -> Result<(), String> {
        self.enough_sentinels()?;
        let member_list = &self.primary.stored.member_list;
        for reply in self.replies {
            let name = reply.node.name.as_str();
            if Some(name) == except || member_list.member(MemberKind::Data, name).is_none() {
                continue;
            }
            match &reply.state {
                Ok(state) if state.current => {}
                Ok(_) => {
                    return Err(format!(
                        "{name} does not have this list of members yet; if it cannot copy, stop it"
                    ));
                }
                Err(why) if self.could_be_promoted(reply.node.socket()) => {
                    return Err(format!(
                        "a Sentinel could still promote {name}, which does not answer: {why}"
                    ));
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn could_be_promoted(&self, at: SocketAddrV4) -> bool {
        self.views.iter().any(|view| {
            view.primary == at || view.replica(at).is_some_and(|replica| replica.promotable())
        })
    }

    /// The node follows the primary and has confirmed the primary's offset of the previous
    /// observation, so writes that wait for it will not wait long.
    pub(super) fn is_copied(
        &self,
        name: &str,
        last_offset: Option<&(String, u64)>,
    ) -> Result<(), String> {
        let primary = &self.primary.node;
        if primary.name == name {
            return Ok(());
        }
        let reply = self.replies.iter().find(|reply| reply.node.name == name);
        let reply = reply.ok_or_else(|| format!("{name} was not asked"))?;
        let info = match &reply.state {
            Ok(state) => &state.info,
            Err(why) => {
                return Err(format!(
                    "{name} does not answer ({why}): start halab node {name} with this lab.toml"
                ));
            }
        };
        if info.is_primary || info.primary != Some(primary.socket()) {
            return Err(format!("{name} does not follow {} yet", primary.name));
        }
        if !info.link_up || info.syncing || info.loading {
            return Err(format!("{name} is copying; its log shows the progress"));
        }
        if self.is_full(MemberKind::Data, name) {
            if info.priority == 0 {
                return Err(format!("{name} is not promotable yet"));
            }
            let at = reply.node.socket();
            let sees = |view: &SentinelView| view.replica(at).is_some_and(|r| r.promotable());
            let mut answers = self.answers.all.iter();
            let blind = answers.find(|a| a.view.as_ref().is_ok_and(|view| !sees(view)));
            return match blind {
                Some(answer) => Err(format!("{} could not promote {name} yet", answer.sentinel)),
                None => Ok(()),
            };
        }
        let primary_info = self.info_of(&primary.name);
        let primary_info =
            primary_info.ok_or_else(|| format!("{} does not answer", primary.name))?;
        let confirmed = primary_info.online.iter();
        let confirmed = confirmed.filter(|c| c.address == reply.node.socket());
        let confirmed = confirmed.map(|c| c.offset).max().unwrap_or(0);
        match last_offset {
            Some((history, offset))
                if *history == primary_info.replication_id && confirmed >= *offset =>
            {
                Ok(())
            }
            _ => Err(format!("{name} has not caught up yet")),
        }
    }

    /// The Sentinel answers and names the same primary as the others, and every Sentinel that
    /// answers knows all the others that answer. A lost one is unknown to new ones.
    pub(super) fn is_known(&self, name: &str) -> Result<(), String> {
        let its = self.answers.all.iter().find(|a| a.sentinel == name);
        if let Some(Err(why)) = its.map(|answer| &answer.view) {
            return Err(format!(
                "{name} does not answer ({why}): start halab node {name} with this lab.toml"
            ));
        }
        let passive = its
            .and_then(|answer| answer.view.as_ref().ok())
            .is_some_and(|view| view.passive);
        if passive && self.is_full(MemberKind::Sentinel, name) {
            return Err(format!(
                "{name} has not learned yet that it leads failovers"
            ));
        }
        let mut named = None;
        for answer in &self.answers.all {
            let Ok(view) = &answer.view else { continue };
            let this = (view.primary, view.config_epoch);
            if *named.get_or_insert(this) != this {
                return Err("the Sentinels name different primaries or epochs".into());
            }
            if view.failover_in_progress {
                return Err("a failover is in progress".into());
            }
            if view.other_sentinels + 1 < self.views.len() as u64 {
                return Err(format!("{} does not know all others yet", answer.sentinel));
            }
        }
        Ok(())
    }

    /// Applies the rule of the writers to a write made now.
    pub(super) fn not_promotable(&self, name: &str) -> Result<(), String> {
        let Some(member) = self
            .primary
            .stored
            .member_list
            .member(MemberKind::Data, name)
        else {
            return Ok(());
        };
        let at = member.address;
        let submitted = self.state(name).is_some_and(|state| {
            state.current && state.assured && !state.info.is_primary && state.info.priority == 0
        });
        let assured: &[SocketAddrV4] = if submitted { &[at] } else { &[] };
        let case = UncoveredWrites {
            primary: Elected {
                address: self.primary.node.socket(),
                epoch: self.primary.epoch,
            },
            uncovered: vec![at],
        };
        let evidence = Evidence {
            views: self.views,
            majority: self.majority(),
            assured,
            age: Duration::ZERO,
            raise_limit: self.primary.lab.timing.raise_limit,
        };
        witness(&case, evidence).map_err(|why| match why {
            NoWitness::Promotable(_) => {
                format!("{name} could still be promoted; if it does not get in sync, stop it")
            }
            NoWitness::OtherPrimary => "the Sentinels name different primaries".into(),
            NoWitness::FailoverInProgress => "a failover is in progress".into(),
            NoWitness::TooFewAnswers | NoWitness::TermNotMarked => {
                "too few Sentinels answer".into()
            }
        })
    }

    /// Two sound copies remain.
    pub(super) fn copies_without(&self, name: &str) -> Result<(), String> {
        let primary = &self.primary.node;
        if primary.name == name {
            return Err(is_primary(name));
        }
        let sound = |member: &str| {
            member == primary.name
                || self.assumed == Some(member)
                || self.info_of(member).is_some_and(|info| {
                    !info.is_primary
                        && info.primary == Some(primary.socket())
                        && info.link_up
                        && !info.syncing
                        && info.priority > 0
                })
        };
        let full = self.full(MemberKind::Data);
        let left: Vec<&str> = full
            .filter(|member| *member != name && sound(member))
            .collect();
        if left.len() >= MIN_COPIES {
            return Ok(());
        }
        Err(format!(
            "without {name}, {} would have the only sound copy, and its loss would lose acknowledged records: first add another data \
             node with halab member add NAME, or repair those that are not in sync",
            left.join(", ")
        ))
    }

    /// The Sentinel itself reports that it leads no failover, or it is lost.
    pub(super) fn leads_no_failover(&self, name: &str) -> Result<(), String> {
        self.enough_sentinels()?;
        let its = self.answers.all.iter().find(|a| a.sentinel == name);
        match its.map(|answer| &answer.view) {
            Some(Ok(view)) if !view.passive => Err(format!(
                "{name} could still lead a failover; if it does not learn of the change, stop it"
            )),
            Some(Err(_)) if self.silent_for.is_none_or(|silent| silent < LOST_AFTER) => {
                Err(format!("{name} does not answer: is it lost?"))
            }
            _ => Ok(()),
        }
    }

    /// A majority remains if one more is lost.
    pub(super) fn sentinels_without(&self, name: &str) -> Result<(), String> {
        let full = self.full(MemberKind::Sentinel);
        let left: Vec<&str> = full.filter(|member| *member != name).collect();
        if left.len() < MIN_SENTINELS || left.len() < self.quorum {
            return Err(format!(
                "without {name} there would be {} ({}), and no failover after the loss of one more: first add another Sentinel with \
                 halab member add NAME",
                left.len(),
                left.join(", ")
            ));
        }
        let answers = |member: &&&str| {
            let mut all = self.answers.all.iter();
            self.assumed == Some(**member) || all.any(|a| a.sentinel == **member && a.view.is_ok())
        };
        let answering = left.iter().filter(answers).count();
        if answering <= left.len() / 2 {
            return Err(format!(
                "of {} only {answering} answer: without {name} no failover would be possible; start the others first",
                left.join(", ")
            ));
        }
        Ok(())
    }
}
