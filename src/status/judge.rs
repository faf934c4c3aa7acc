//! The problems that follow from the answers of all nodes, each with its cause if a supervisor
//! reports one.
//!
//! Pure. [`data_nodes`] and [`sentinels`] judge a node that answers, [`causes`] finds out why a
//! node does not answer or does not work, [`membership`] compares nodes with the list of members,
//! and [`passwords`] finds the node with the wrong password.

mod causes;
mod data_nodes;
mod membership;
mod passwords;
mod sentinels;

use crate::report::{NodeReport, is_password_error};

use super::{
    DataNodeState, DataNodeStatus, Problem, ProblemCode, Reached, SentinelState, SentinelStatus,
    Status, StrangerKind,
};

pub(super) use causes::ended;
pub(super) use data_nodes::not_raised;
pub(super) use membership::not_full;

/// All problems but those of strangers.
pub(super) fn problems(status: &Status) -> Vec<Problem> {
    let mut found = Vec::new();
    let primary = status.primary.as_ref().map(|named| named.node.as_str());
    match primary {
        None => found.push(
            Problem::of_lab(
                ProblemCode::NoMajority,
                "no majority of the Sentinels agrees on a primary",
            )
            .because(own_password(status)),
        ),
        Some(name) if !status.data_nodes.iter().any(|n| n.name == name) => {
            found.push(foreign_primary(status, name));
        }
        Some(_) => {}
    }
    if let Some(cause) = own_password(status) {
        let what = "every node refuses the password of this command";
        found.push(Problem::of_lab(ProblemCode::OwnPasswordRefused, what).because(Some(cause)));
    }
    for node in &status.data_nodes {
        found.extend(data_nodes::problem(status, node, primary));
        found.extend(of_any_node(status, &node.name, node.state.up().is_some()));
        found.extend(reported(status, &node.name, primary));
    }
    for node in &status.sentinels {
        found.extend(sentinels::problem(status, node));
        found.extend(of_any_node(status, &node.name, node.state.up().is_some()));
        found.extend(sentinels::second_name(node));
        found.extend(reported(status, &node.name, primary));
    }
    found.extend(status.unstated());
    found.extend(status.elsewhere());
    found.extend(passwords::problems(status));
    found.extend(nobody_promotable(status));
    found
}

/// Problems of a data node or a Sentinel that do not depend on what its server answers.
fn of_any_node(status: &Status, name: &str, answers: bool) -> Vec<Problem> {
    let mut found = Vec::new();
    if answers {
        found.extend(silent_supervisor(status, name));
    }
    // A member that does not answer is a problem already.
    if answers || status.standing(name).is_none() {
        found.extend(membership::problem(status, name, answers));
    }
    found
}

/// The primary is not a node of `lab.toml`.
fn foreign_primary(status: &Status, address: &str) -> Problem {
    let what = format!("{address} is named primary and is not in this lab");
    let problem = Problem::of_lab(ProblemCode::ForeignPrimary, what);
    let members = status
        .members
        .iter()
        .flat_map(|member_list| &member_list.data);
    let mut at_address = members.filter(|member| member.address.to_string() == address);
    match at_address.next().map(|member| &member.name) {
        Some(name) => Problem {
            what: format!("{address} is named primary and is not in this lab.toml"),
            cause: Some(format!("it is {name}, a member of the lab")),
            remedy: format!("run this command with the lab.toml that has {name}"),
            ..problem
        },
        None => problem,
    }
}

/// The report of a node's supervisor, if it answered.
fn report<'a>(status: &'a Status, name: &str) -> Option<&'a NodeReport> {
    status.supervisors.get(name)?.up()
}

/// The reasons of all nodes that are not reachable.
fn unreachable(status: &Status) -> impl Iterator<Item = &String> {
    let data = status.data_nodes.iter().filter_map(|n| match &n.state {
        Reached::Unreachable(why) => Some(why),
        Reached::Up(_) => None,
    });
    data.chain(status.sentinels.iter().filter_map(|n| match &n.state {
        Reached::Unreachable(why) => Some(why),
        Reached::Up(_) => None,
    }))
}

/// The first refusal, if every node refuses the password of this command, or if that is missing.
fn own_password(status: &Status) -> Option<String> {
    let nodes = status.data_nodes.len() + status.sentinels.len();
    let mut refusals = unreachable(status).filter(|why| is_password_error(why));
    let first = refusals.next()?;
    (1 + refusals.count() == nodes).then(|| first.clone())
}

/// The server answers and its supervisor does not.
fn silent_supervisor(status: &Status, name: &str) -> Option<Problem> {
    let Reached::Unreachable(why) = status.supervisors.get(name)? else {
        return None;
    };
    let what = format!(
        "the supervisor of {name} does not answer, so problems that only it knows are not reported"
    );
    Some(Problem::of_node(ProblemCode::SupervisorSilent, name, what).because(Some(why.clone())))
}

/// Problems that follow from the report of a node's supervisor alone.
fn reported(status: &Status, name: &str, primary: Option<&str>) -> Vec<Problem> {
    let Some(report) = report(status, name) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    if let Some(difference) = status.description.difference(&report.lab) {
        let what = format!("{name} runs with another lab.toml than this command");
        found.push(
            Problem::of_node(ProblemCode::OtherLabToml, name, what).because(Some(difference)),
        );
    }
    if report.tilt {
        let what = format!("{name} is in TILT and does not act");
        found.push(Problem::of_node(ProblemCode::Tilt, name, what));
    }
    if let Some(disk) = report.disk.as_ref().filter(|_| report.running) {
        let what = format!("the disk of {name} refuses writes");
        found.push(
            Problem::of_node(ProblemCode::DiskRefuses, name, what).because(Some(disk.clone())),
        );
    }
    if !report.users_added.is_empty() {
        let users = report.users_added.join(", ");
        let what = format!("{name} has users that are not of the lab: {users}");
        let cause = "a server starts with the users of the lab only".to_owned();
        let mut problem =
            Problem::of_node(ProblemCode::UsersAdded, name, what).because(Some(cause));
        if primary == Some(name) {
            problem.what.push_str("; after a failover they are missing");
        }
        found.push(problem);
    }
    if !report.users_removed.is_empty() {
        let users = report.users_removed.join(", ");
        let what = format!("{name} has lost users that are not of the lab: {users}");
        let cause = "it was restarted, with the users of the lab only".to_owned();
        found.push(Problem::of_node(ProblemCode::UsersRemoved, name, what).because(Some(cause)));
    }
    found
}

/// The primary is gone and no Sentinel knows a replica, as after `SENTINEL RESET` of all Sentinels.
/// They can learn the replicas only from the primary's INFO.
fn nobody_promotable(status: &Status) -> Option<Problem> {
    let primary = &status.primary.as_ref()?.node;
    let mut views = status.sentinels.iter().filter_map(|n| n.state.up());
    if !is_gone(status, primary) || views.any(|view| view.known_replicas > 0) {
        return None;
    }
    let copies = status.data_nodes.iter().filter_map(|node| {
        let state = node.state.up()?;
        let of = state.replica_of.as_deref().unwrap_or("no node");
        Some(format!(
            "{} holds a copy up to offset {} and is a replica of {of}",
            node.name, state.offset
        ))
    });
    let copies: Vec<String> = copies.collect();
    let copies = if copies.is_empty() {
        "no other data node answers".to_owned()
    } else {
        copies.join(", ")
    };
    let what = format!(
        "no Sentinel knows a replica of {primary} (as after SENTINEL RESET), so no node can be promoted"
    );
    Some(Problem {
        remedy: format!(
            "read docs/runbook.md, Nobody can be promoted; then start {primary}, from which the Sentinels learn the replicas"
        ),
        ..Problem::of_lab(ProblemCode::NobodyPromotable, what).because(Some(copies))
    })
}

/// The data node does not answer this command.
fn is_gone(status: &Status, name: &str) -> bool {
    let mut nodes = status.data_nodes.iter();
    nodes.any(|node| node.name == name && node.state.up().is_none())
}

#[cfg(test)]
pub(super) mod tests;
