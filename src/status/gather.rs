//! The questions to all nodes of one round, and their answers as a [`Status`].

use std::net::SocketAddrV4;

use futures_util::future::join_all;

use crate::access::User;
use crate::client::{ClientError, Connector, ServerInfo, node_addresses, with_members};
use crate::config::{Lab, Node};
use crate::protocol::copy::{Completeness, DataCopy, PARKED_PORT};
use crate::protocol::member_list::MemberList;
use crate::protocol::vote::{Elected, SentinelView};
use crate::report::Description;
use crate::sentinel::{Answers, SentinelClients};

use super::known_servers::KnownServers;
use super::{
    DataNodeState, DataNodeStatus, NamedPrimary, Problem, Reached, SentinelState, SentinelStatus,
    Status, Stranger, known_servers, member_list, stakes, supervisors,
};

/// Asks every node of the lab once. If the list of members has other nodes or addresses than
/// `lab.toml`, asks again, the members included: the members decide whether the lab is healthy.
pub async fn gather(lab: &Lab) -> Status {
    let status = ask_all(lab, lab, None).await;
    match &status.members {
        Some(member_list) if member_list::differs(lab, member_list) => {
            ask_all(lab, &with_members(lab, member_list), Some(member_list)).await
        }
        _ => status,
    }
}

/// Asks every node of `lab` once. `lab` has the nodes of `stated`, the lab of `lab.toml`, and all
/// `members`.
async fn ask_all(stated: &Lab, lab: &Lab, members: Option<&MemberList>) -> Status {
    let connector = Connector::new(lab, User::Verifier);
    let clients = SentinelClients::new(lab, connector.clone());
    let nodes = lab.data_nodes.iter();
    let data_answers = join_all(nodes.map(|node| ask_data_node(node, &connector)));
    let (answers, quorums, known, data_answers, supervisors) = tokio::join!(
        clients.ask_each(),
        clients.check_quorum(),
        known_servers::ask(lab, &connector),
        data_answers,
        supervisors::ask(lab),
    );
    let elected = member_list::elected(&answers, members);
    let named_at = elected.map(|elected| elected.address);
    let quorums = quorums.into_iter().map(|(_, quorum)| quorum);
    let sentinels = sentinels(stated, lab, answers, quorums.zip(known));
    let asked = lab.data_nodes.iter().zip(&data_answers);
    let lists = asked.filter_map(|(node, answer)| {
        let member_list = answer.as_ref().ok()?.member_list.as_ref()?;
        Some((node.socket(), member_list))
    });
    let members = member_list::of_lab(named_at, &lists.collect::<Vec<_>>());
    let mut status = Status {
        lab: lab.name.clone(),
        primary: elected.map(|e| named(lab, e.address, e.epoch)),
        data_nodes: data_nodes(lab, elected, &data_answers),
        strangers: known_servers::strangers(&sentinels),
        sentinels,
        members,
        healthy: false,
        stakes: Vec::new(),
        problems: Vec::new(),
        supervisors,
        description: Description::of(stated),
        stated: node_addresses(stated),
    };
    member_list::remove_stated_strangers(&mut status);
    status.problems = status.problems_without_strangers();
    let strangers = status.strangers.iter().map(Stranger::problem);
    status.problems.extend(strangers);
    status.healthy = !status.problems.iter().any(Problem::is_fault);
    status.stakes = stakes::stakes(&status);
    status
}

fn data_nodes(
    lab: &Lab,
    elected: Option<Elected>,
    answers: &[Result<DataNodeAnswer, String>],
) -> Vec<DataNodeStatus> {
    let offset = primary_offset(lab, elected, answers);
    let nodes = lab.data_nodes.iter().zip(answers);
    nodes
        .map(|(node, answer)| {
            let copy = answer.as_ref().ok().and_then(|a| a.copy.as_ref());
            DataNodeStatus {
                name: node.name.clone(),
                address: node.socket(),
                holds: copy.map(ToString::to_string),
                closed: copy
                    .and_then(DataCopy::mark)
                    .is_some_and(|mark| mark.state == Completeness::Closed),
                state: match answer {
                    Ok(answer) => Reached::Up(data_node_state(lab, answer, offset)),
                    Err(why) => Reached::Unreachable(why.clone()),
                },
            }
        })
        .collect()
}

fn sentinels(
    stated: &Lab,
    lab: &Lab,
    answers: Answers,
    others: impl Iterator<Item = (Result<String, String>, Option<KnownServers>)>,
) -> Vec<SentinelStatus> {
    let nodes = lab.sentinels.iter().zip(answers.all).zip(others);
    nodes
        .map(|((node, answer), (quorum, known))| SentinelStatus {
            name: node.name.clone(),
            address: node.socket(),
            state: match answer.view {
                Ok(view) => {
                    let mut state = sentinel_state(lab, &view, quorum);
                    let sentinel = known_servers::SentinelAnswer {
                        node,
                        view: &view,
                        known: known.as_ref(),
                    };
                    known_servers::compare(lab, stated, &sentinel, &mut state);
                    Reached::Up(state)
                }
                Err(why) => Reached::Unreachable(why),
            },
        })
        .collect()
}

/// The answer of a data node's server.
pub(super) struct DataNodeAnswer {
    pub(super) info: ServerInfo,
    copy: Option<DataCopy>,
    member_list: Option<MemberList>,
    /// Why its list of members cannot be used.
    member_list_unusable: Option<String>,
}

pub(super) async fn ask_data_node(
    node: &Node,
    connector: &Connector,
) -> Result<DataNodeAnswer, String> {
    let mut conn = connector
        .open(node.socket())
        .await
        .map_err(|e| e.to_string())?;
    let (info, copy) = conn.info_and_copy().await.map_err(|e| e.to_string())?;
    // A server that is loading its data answers this with an error.
    let held = conn.member_list().await;
    let unreadable = held.as_ref().is_err_and(ClientError::is_of_members);
    let mut member_list = held.ok().flatten().map(|held| held.member_list);
    let mismatch = member_list
        .as_ref()
        .and_then(|member_list| member_list::mismatch(member_list, node, info.is_primary));
    if mismatch.is_some() {
        member_list = None;
    }
    Ok(DataNodeAnswer {
        info,
        copy,
        member_list,
        member_list_unusable: match unreadable {
            true => Some("it is of a later version of halab, or damaged".into()),
            false => mismatch,
        },
    })
}

fn primary_offset(
    lab: &Lab,
    elected: Option<Elected>,
    answers: &[Result<DataNodeAnswer, String>],
) -> Option<u64> {
    let index = lab
        .data_nodes
        .iter()
        .position(|n| Some(n.socket()) == elected.map(|e| e.address))?;
    answers.get(index)?.as_ref().ok().map(|a| a.info.offset)
}

fn name_of(lab: &Lab, address: SocketAddrV4) -> String {
    lab.data_node_at(address)
        .map_or_else(|| address.to_string(), |n| n.name.clone())
}

fn named(lab: &Lab, address: SocketAddrV4, epoch: u64) -> NamedPrimary {
    NamedPrimary {
        node: name_of(lab, address),
        epoch,
    }
}

fn data_node_state(
    lab: &Lab,
    answer: &DataNodeAnswer,
    primary_offset: Option<u64>,
) -> DataNodeState {
    let info = &answer.info;
    let parked = info.primary.is_some_and(|p| p.port() == PARKED_PORT);
    let replica = !info.is_primary && !parked;
    DataNodeState {
        pid: info.pid,
        role: match (info.loading, info.is_primary) {
            (true, _) => "loading",
            (_, true) => "primary",
            _ if parked => "parked",
            _ => "replica",
        },
        replica_of: info.primary.filter(|_| replica).map(|p| name_of(lab, p)),
        link_up: replica.then_some(info.link_up && !info.syncing),
        promotable: replica.then_some(info.priority > 0),
        offset: info.offset,
        // The two offsets were not read at the same time.
        lag_bytes: primary_offset
            .filter(|_| replica)
            .map(|offset| offset.saturating_sub(info.offset)),
        replicas: info.is_primary.then_some(info.online.len()),
        version: info.version.clone(),
        members_unusable: answer.member_list_unusable.clone(),
    }
}

fn sentinel_state(lab: &Lab, view: &SentinelView, quorum: Result<String, String>) -> SentinelState {
    SentinelState {
        primary: named(lab, view.primary, view.config_epoch),
        primary_down: view.primary_s_down,
        failover_in_progress: view.failover_in_progress,
        other_sentinels: view.other_sentinels,
        known_replicas: view.known_replicas,
        unknown: Vec::new(),
        strangers: Vec::new(),
        other_names: Vec::new(),
        promotable: view
            .replicas
            .iter()
            .filter(|r| r.promotable())
            .map(|r| name_of(lab, r.address))
            .collect(),
        quorum_ok: quorum.is_ok(),
        quorum: quorum.unwrap_or_else(|e| e),
    }
}
