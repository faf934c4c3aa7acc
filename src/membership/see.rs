//! What the next step depends on: [`Seen`].

use std::net::SocketAddrV4;
use std::time::Duration;

use tokio::time::Instant;

use crate::client::{Connector, ReplicationInfo};
use crate::config::Node;
use crate::protocol::ack::{ASSURANCE_CHANNEL, Degraded, NoWitness, Testimony, witness};
use crate::protocol::membership::{Goal, Seen};
use crate::protocol::roster::{Kind, Standing};
use crate::protocol::vote::{Elected, SentinelView};
use crate::sentinel::{Answers, Panel};

use super::look::Leading;

/// Fewer full Sentinels than that have no majority when one is lost.
const FEWEST_SENTINELS: usize = 3;
/// Fewer sound copies than that are none when one is lost.
const FEWEST_COPIES: usize = 2;

/// A Sentinel that is silent for so long is lost, and not only slow.
const LOST: Duration = Duration::from_secs(3);

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub(super) struct See {
    /// The primary's offset a look before, and the history that it counts in.
    mark: Option<(String, u64)>,
    /// Since when the Sentinel that goes is silent.
    silent_since: Option<Instant>,
    /// A node that counts as a full member, sound and answering: it is to be one before the step.
    assumed: Option<String>,
}

/// What one data node says.
#[derive(Debug)]
struct Word {
    node: Node,
    /// `Err`: it does not answer.
    said: Result<Said, String>,
}

#[derive(Debug)]
struct Said {
    info: ReplicationInfo,
    /// It has the very roster of the primary.
    current: bool,
    /// It assures that it can't be promoted.
    assured: bool,
}

pub(super) fn is_primary(name: &str) -> String {
    format!("{name} is primary: hand over first, with halab handover")
}

impl See {
    /// What would be seen once `new` is a full member.
    pub(super) fn assuming(new: &str) -> Self {
        See {
            assumed: Some(new.to_owned()),
            ..See::default()
        }
    }

    pub(super) async fn look(
        &mut self,
        connector: &Connector,
        leading: &Leading,
        goal: &Goal,
        quorum: usize,
    ) -> Seen {
        let mut nodes = leading.lab.data_nodes.clone();
        if let Goal::In {
            kind: Kind::Data,
            name,
            address,
        } = goal
            && nodes.iter().all(|n| n.name != *name)
        {
            nodes.push(Node {
                name: name.clone(),
                address: *address.ip(),
                port: address.port(),
                ..leading.node.clone()
            });
        }
        let words = nodes.iter().map(|node| ask(connector, leading, node));
        let words = futures_util::future::join_all(words).await;
        let mut lab = leading.lab.clone();
        if let Goal::In {
            kind: Kind::Sentinel,
            name,
            address,
        } = goal
            && lab.sentinels.iter().all(|n| n.name != *name)
        {
            lab.sentinels.push(Node {
                name: name.clone(),
                kind: crate::config::NodeKind::Sentinel,
                address: *address.ip(),
                port: address.port(),
            });
        }
        let panel = Panel::new(&lab, connector.clone());
        let answers = panel.ask_each().await;
        let views = answers.views();
        let silent = match goal {
            Goal::Out {
                kind: Kind::Sentinel,
                name,
            } => {
                let mut all = answers.all.iter();
                all.any(|a| a.sentinel == *name && a.view.is_err())
            }
            _ => false,
        };
        self.silent_since = silent.then(|| self.silent_since.unwrap_or_else(Instant::now));
        let case = Case {
            silent_for: self.silent_since.map(|since| since.elapsed()),
            assumed: self.assumed.as_deref(),
            leading,
            words: &words,
            answers: &answers,
            views: &views,
            quorum,
        };
        let seen = match goal {
            Goal::In {
                kind: Kind::Data,
                name,
                ..
            } => Seen {
                held: case.held(None),
                ready: case.copied(name, self.mark.as_ref()),
                harmless: Ok(()),
                sound_without: Ok(()),
            },
            Goal::In {
                kind: Kind::Sentinel,
                name,
                ..
            } => Seen {
                held: case.held(None),
                ready: case.acquainted(name),
                harmless: Ok(()),
                sound_without: Ok(()),
            },
            Goal::Out {
                kind: Kind::Data,
                name,
            } => Seen {
                held: case.held(Some(name)),
                ready: Ok(()),
                harmless: case.not_promotable(name),
                sound_without: case.copies_without(name),
            },
            Goal::Out {
                kind: Kind::Sentinel,
                name,
            } => Seen {
                held: case.held(None),
                ready: Ok(()),
                harmless: case.does_not_lead(name),
                sound_without: case.sentinels_without(name),
            },
        };
        self.mark = case
            .info_of(&leading.node.name)
            .map(|info| (info.replication_id.clone(), info.offset));
        seen
    }
}

async fn ask(connector: &Connector, leading: &Leading, node: &Node) -> Word {
    let asked = async {
        let mut conn = connector.open(node.socket()).await?;
        let held = conn.roster().await?;
        // After the roster: whoever assures it then acts on that roster.
        let (info, _, assured) = conn.holding_and_presence(ASSURANCE_CHANNEL).await?;
        let current = held.is_some_and(|held| held.text == leading.held.text);
        Ok::<_, crate::client::ClientError>(Said {
            info,
            current,
            assured,
        })
    };
    Word {
        node: node.clone(),
        said: asked.await.map_err(|error| error.to_string()),
    }
}

/// One look.
struct Case<'a> {
    leading: &'a Leading,
    words: &'a [Word],
    answers: &'a Answers,
    views: &'a [SentinelView],
    quorum: usize,
    /// How long the Sentinel that goes has been silent.
    silent_for: Option<Duration>,
    /// As [`See`] has it.
    assumed: Option<&'a str>,
}

impl Case<'_> {
    fn said(&self, name: &str) -> Option<&Said> {
        let word = self.words.iter().find(|word| word.node.name == name)?;
        word.said.as_ref().ok()
    }

    fn info_of(&self, name: &str) -> Option<&ReplicationInfo> {
        self.said(name).map(|said| &said.info)
    }

    fn is_full(&self, kind: Kind, name: &str) -> bool {
        self.leading.held.roster.standing(kind, name) == Some(Standing::Full)
    }

    /// The full members of that kind, by name.
    fn full(&self, kind: Kind) -> impl Iterator<Item = &str> {
        let members = self.leading.held.roster.full(kind);
        let listed = members.map(|member| member.name.as_str());
        let assumed = self.assumed.filter(|name| !self.is_full(kind, name));
        listed.chain(assumed)
    }

    fn majority(&self) -> usize {
        self.leading.lab.majority()
    }

    fn enough_sentinels(&self) -> Result<(), String> {
        if self.views.len() < self.majority() {
            let (got, needed) = (self.views.len(), self.majority());
            return Err(format!("{got} Sentinels answer, {needed} are needed"));
        }
        Ok(())
    }

    /// Every member but that one that answers, or that a Sentinel could promote, has this roster. One that does neither has to be
    /// in sync with the primary before it can be promoted, and has it then.
    fn held(&self, but: Option<&str>) -> Result<(), String> {
        self.enough_sentinels()?;
        let roster = &self.leading.held.roster;
        for word in self.words {
            let name = word.node.name.as_str();
            if Some(name) == but || roster.member(Kind::Data, name).is_none() {
                continue;
            }
            match &word.said {
                Ok(said) if said.current => {}
                Ok(_) => {
                    return Err(format!(
                        "{name} does not have the list of members yet; if it can't copy, stop it"
                    ));
                }
                Err(why) if self.could_be_promoted(word.node.socket()) => {
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

    /// The node follows the primary and has confirmed what that had a look before: writes that wait for it do not wait long.
    fn copied(&self, name: &str, mark: Option<&(String, u64)>) -> Result<(), String> {
        let primary = &self.leading.node;
        if primary.name == name {
            return Ok(());
        }
        let word = self.words.iter().find(|word| word.node.name == name);
        let word = word.ok_or_else(|| format!("{name} is not asked"))?;
        let info = match &word.said {
            Ok(said) => &said.info,
            Err(why) => {
                return Err(format!(
                    "{name} does not answer ({why}): start its node, as halab node {name} with this lab.toml"
                ));
            }
        };
        if info.is_primary || info.primary != Some(primary.socket()) {
            return Err(format!("{name} does not follow {} yet", primary.name));
        }
        if !info.link_up || info.syncing || info.loading {
            return Err(format!("{name} copies; its log says how far it is"));
        }
        if self.is_full(Kind::Data, name) {
            if info.priority == 0 {
                return Err(format!("{name} is not promotable yet"));
            }
            let at = word.node.socket();
            let sees = |view: &SentinelView| view.replica(at).is_some_and(|r| r.promotable());
            let mut answers = self.answers.all.iter();
            let blind = answers.find(|a| a.view.as_ref().is_ok_and(|view| !sees(view)));
            return match blind {
                Some(answer) => Err(format!("{} could not promote {name} yet", answer.sentinel)),
                None => Ok(()),
            };
        }
        let leading = self.info_of(&primary.name);
        let leading = leading.ok_or_else(|| format!("{} does not answer", primary.name))?;
        let confirmed = leading.online.iter();
        let confirmed = confirmed.filter(|c| c.address == word.node.socket());
        let confirmed = confirmed.map(|c| c.offset).max().unwrap_or(0);
        match mark {
            Some((history, offset))
                if *history == leading.replication_id && confirmed >= *offset =>
            {
                Ok(())
            }
            _ => Err(format!("{name} catches up")),
        }
    }

    /// The Sentinel answers, names the same primary as the others, and all that answer know as many. One that is lost is known to no
    /// new one.
    fn acquainted(&self, name: &str) -> Result<(), String> {
        let its = self.answers.all.iter().find(|a| a.sentinel == name);
        if let Some(Err(why)) = its.map(|answer| &answer.view) {
            return Err(format!(
                "{name} does not answer ({why}): start its node, as halab node {name} with this lab.toml"
            ));
        }
        let passive = its
            .and_then(|answer| answer.view.as_ref().ok())
            .is_some_and(|view| view.passive);
        if passive && self.is_full(Kind::Sentinel, name) {
            return Err(format!("{name} has not heard yet that it leads failovers"));
        }
        let mut named = None;
        for answer in &self.answers.all {
            let Ok(view) = &answer.view else { continue };
            let this = (view.primary, view.config_epoch);
            if *named.get_or_insert(this) != this {
                return Err("the Sentinels name different primaries or epochs".into());
            }
            if view.failover_in_progress {
                return Err("a failover is under way".into());
            }
            if view.other_sentinels + 1 < self.views.len() as u64 {
                return Err(format!("{} does not know all others yet", answer.sentinel));
            }
        }
        Ok(())
    }

    /// By the rule that writers go by, of writes that were made just now.
    fn not_promotable(&self, name: &str) -> Result<(), String> {
        let Some(member) = self.leading.held.roster.member(Kind::Data, name) else {
            return Ok(());
        };
        let at = member.address;
        let submitted = self.said(name).is_some_and(|said| {
            said.current && said.assured && !said.info.is_primary && said.info.priority == 0
        });
        let own_word: &[SocketAddrV4] = if submitted { &[at] } else { &[] };
        let case = Degraded {
            primary: Elected {
                address: self.leading.node.socket(),
                epoch: self.leading.epoch,
            },
            uncovered: vec![at],
        };
        let heard = Testimony {
            views: self.views,
            majority: self.majority(),
            own_word,
            age: Duration::ZERO,
            raise_limit: self.leading.lab.timing.raise_limit,
        };
        witness(&case, heard).map_err(|why| match why {
            NoWitness::Promotable(_) => {
                format!("{name} could still be promoted; if it does not come into sync, stop it")
            }
            NoWitness::OtherPrimary => "the Sentinels name different primaries".into(),
            NoWitness::FailoverInProgress => "a failover is under way".into(),
            NoWitness::TooFewAnswers | NoWitness::TermNotMarked => {
                "too few Sentinels answer".into()
            }
        })
    }

    /// Two sound copies are left.
    fn copies_without(&self, name: &str) -> Result<(), String> {
        let primary = &self.leading.node;
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
        let full = self.full(Kind::Data);
        let left: Vec<&str> = full
            .filter(|member| *member != name && sound(member))
            .collect();
        if left.len() >= FEWEST_COPIES {
            return Ok(());
        }
        Err(format!(
            "without {name} the only sound copy would be that of {}, and its loss would lose acknowledged records: add another data \
             node first, with halab member add NAME, or mend those that are not in sync",
            left.join(", ")
        ))
    }

    /// The Sentinel says itself that it leads no failover, or it is lost.
    fn does_not_lead(&self, name: &str) -> Result<(), String> {
        self.enough_sentinels()?;
        let its = self.answers.all.iter().find(|a| a.sentinel == name);
        match its.map(|answer| &answer.view) {
            Some(Ok(view)) if !view.passive => Err(format!(
                "{name} could still lead a failover; if it does not hear of it, stop it"
            )),
            Some(Err(_)) if self.silent_for.is_none_or(|silent| silent < LOST) => {
                Err(format!("{name} does not answer: is it lost?"))
            }
            _ => Ok(()),
        }
    }

    /// A majority is left when one more is lost.
    fn sentinels_without(&self, name: &str) -> Result<(), String> {
        let full = self.full(Kind::Sentinel);
        let left: Vec<&str> = full.filter(|member| *member != name).collect();
        if left.len() < FEWEST_SENTINELS || left.len() < self.quorum {
            return Err(format!(
                "without {name} there would be {} ({}): with one more lost nobody could fail over; add another Sentinel first, with \
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
                "of {} only {answering} answer: without {name} nobody could fail over; start the others first",
                left.join(", ")
            ));
        }
        Ok(())
    }
}

/// The standing of a node, in words.
pub(super) fn standing(standing: Option<Standing>) -> &'static str {
    match standing {
        Some(Standing::Full) => "full",
        Some(Standing::Counted) => "counted",
        None => "none",
    }
}
