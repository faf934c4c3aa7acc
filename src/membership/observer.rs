//! Observes the conditions of a step: asks the data nodes and the Sentinels.

use tokio::time::Instant;

use crate::client::{ClientError, Connector};
use crate::config::{Lab, Node, NodeKind};
use crate::protocol::ack::ASSURANCE_CHANNEL;
use crate::protocol::member_change::{Conditions, Goal};
use crate::protocol::member_list::MemberKind;
use crate::sentinel::{Answers, SentinelClients};

use super::conditions::{DataNodeReply, MembersObservation, NodeState};
use super::primary::PrimaryView;

/// Observes the conditions repeatedly. Some of them compare two observations.
#[derive(Debug, Default)]
pub(super) struct ConditionObserver {
    /// The primary's replication history and offset at the previous observation.
    last_offset: Option<(String, u64)>,
    /// Since when the Sentinel to remove has been silent.
    silent_since: Option<Instant>,
    /// A node that is taken for a sound, answering full member, as it will be before the step.
    assumed: Option<String>,
}

impl ConditionObserver {
    /// Observes the conditions as they would be once `new` is a full member.
    pub(super) fn assuming(new: &str) -> Self {
        ConditionObserver {
            assumed: Some(new.to_owned()),
            ..ConditionObserver::default()
        }
    }

    pub(super) async fn observe(
        &mut self,
        connector: &Connector,
        primary: &PrimaryView,
        goal: &Goal,
        quorum: usize,
    ) -> Conditions {
        let nodes = data_nodes(primary, goal);
        let replies = nodes.iter().map(|node| ask(connector, primary, node));
        let replies = futures_util::future::join_all(replies).await;
        let sentinels = SentinelClients::new(&lab_with_sentinel(primary, goal), connector.clone());
        let answers = sentinels.ask_each().await;
        let views = answers.views();
        let silent = is_silent(&answers, goal);
        self.silent_since = silent.then(|| self.silent_since.unwrap_or_else(Instant::now));
        let observation = MembersObservation {
            silent_for: self.silent_since.map(|since| since.elapsed()),
            assumed: self.assumed.as_deref(),
            primary,
            replies: &replies,
            answers: &answers,
            views: &views,
            quorum,
        };
        let conditions = conditions_of(&observation, goal, self.last_offset.as_ref());
        self.last_offset = observation
            .info_of(&primary.node.name)
            .map(|info| (info.replication_id.clone(), info.offset));
        conditions
    }
}

/// The data nodes, with the one to be added.
fn data_nodes(primary: &PrimaryView, goal: &Goal) -> Vec<Node> {
    let mut nodes = primary.lab.data_nodes.clone();
    if let Goal::Added {
        kind: MemberKind::Data,
        name,
        address,
    } = goal
        && nodes.iter().all(|n| n.name != *name)
    {
        nodes.push(Node {
            name: name.clone(),
            address: *address.ip(),
            port: address.port(),
            ..primary.node.clone()
        });
    }
    nodes
}

/// The lab, with the Sentinel to be added.
fn lab_with_sentinel(primary: &PrimaryView, goal: &Goal) -> Lab {
    let mut lab = primary.lab.clone();
    if let Goal::Added {
        kind: MemberKind::Sentinel,
        name,
        address,
    } = goal
        && lab.sentinels.iter().all(|n| n.name != *name)
    {
        lab.sentinels.push(Node {
            name: name.clone(),
            kind: NodeKind::Sentinel,
            address: *address.ip(),
            port: address.port(),
        });
    }
    lab
}

/// Whether the Sentinel to be removed does not answer.
fn is_silent(answers: &Answers, goal: &Goal) -> bool {
    match goal {
        Goal::Removed {
            kind: MemberKind::Sentinel,
            name,
        } => {
            let mut all = answers.all.iter();
            all.any(|a| a.sentinel == *name && a.view.is_err())
        }
        _ => false,
    }
}

/// The conditions of the steps to `goal`. `last_offset`: the primary's replication history and
/// offset at the previous observation.
fn conditions_of(
    observation: &MembersObservation<'_>,
    goal: &Goal,
    last_offset: Option<&(String, u64)>,
) -> Conditions {
    match goal {
        Goal::Added {
            kind: MemberKind::Data,
            name,
            ..
        } => Conditions {
            distributed: observation.list_is_distributed(None),
            ready: observation.is_copied(name, last_offset),
            inactive: Ok(()),
            sufficient_without: Ok(()),
        },
        Goal::Added {
            kind: MemberKind::Sentinel,
            name,
            ..
        } => Conditions {
            distributed: observation.list_is_distributed(None),
            ready: observation.is_known(name),
            inactive: Ok(()),
            sufficient_without: Ok(()),
        },
        Goal::Removed {
            kind: MemberKind::Data,
            name,
        } => Conditions {
            distributed: observation.list_is_distributed(Some(name)),
            ready: Ok(()),
            inactive: observation.not_promotable(name),
            sufficient_without: observation.copies_without(name),
        },
        Goal::Removed {
            kind: MemberKind::Sentinel,
            name,
        } => Conditions {
            distributed: observation.list_is_distributed(None),
            ready: Ok(()),
            inactive: observation.leads_no_failover(name),
            sufficient_without: observation.sentinels_without(name),
        },
    }
}

async fn ask(connector: &Connector, primary: &PrimaryView, node: &Node) -> DataNodeReply {
    let asked = async {
        let mut conn = connector.open(node.socket()).await?;
        let stored = conn.member_list().await?;
        // Asked after the list: a node that then gives the assurance acts on that list.
        let (info, _, assured) = conn.info_copy_and_presence(ASSURANCE_CHANNEL).await?;
        let current = stored.is_some_and(|stored| stored.text == primary.stored.text);
        Ok::<_, ClientError>(NodeState {
            info,
            current,
            assured,
        })
    };
    DataNodeReply {
        node: node.clone(),
        state: asked.await.map_err(|error| error.to_string()),
    }
}
