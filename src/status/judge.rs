//! What follows from what was seen: problems, each with its cause where a parent states one.

mod passwords;

use std::time::Duration;

use crate::protocol::roster::Standing;
use crate::report::{Cause, NodeReport, ago, is_password_error};

use super::{
    Code, DataNodeState, DataNodeStatus, Kind, Problem, Reached, SentinelState, SentinelStatus,
    Status,
};

/// How what a node holds ends in a closed lab.
const CLOSED: &str = ", closed";
/// What a node waits for that only an operator can decide.
const CHOICE: &str = "halab choose";

/// All problems, but for strangers.
pub(super) fn problems(status: &Status) -> Vec<Problem> {
    let mut found = Vec::new();
    let primary = status.primary.as_ref().map(|named| named.node.as_str());
    match primary {
        None => found.push(
            Problem::of_lab(
                Code::NoMajority,
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
        found.push(Problem::of_lab(Code::OwnPasswordRefused, what).because(Some(cause)));
    }
    for node in &status.data_nodes {
        found.extend(data_node(status, node, primary));
        found.extend(beside(status, &node.name, node.state.up().is_some()));
        found.extend(stated(status, &node.name, primary));
    }
    for node in &status.sentinels {
        found.extend(sentinel(status, node));
        found.extend(beside(status, &node.name, node.state.up().is_some()));
        found.extend(second_name(node));
        found.extend(stated(status, &node.name, primary));
    }
    found.extend(status.unstated());
    found.extend(status.elsewhere());
    found.extend(passwords::problems(status));
    found.extend(nobody_promotable(status));
    found
}

/// What is said of a node of either kind beside how its server is.
fn beside(status: &Status, name: &str, runs: bool) -> Vec<Problem> {
    let mut found = Vec::new();
    if runs {
        found.extend(silent_parent(status, name));
    }
    // One that is a member and does not answer is a problem already.
    if runs || status.standing(name).is_none() {
        found.extend(membership(status, name, runs));
    }
    found
}

/// A primary that `lab.toml` does not state.
fn foreign_primary(status: &Status, address: &str) -> Problem {
    let what = format!("{address} is named primary and is not of this lab");
    let problem = Problem::of_lab(Code::ForeignPrimary, what);
    let members = status.members.iter().flat_map(|roster| &roster.data);
    let mut there = members.filter(|member| member.address.to_string() == address);
    match there.next().map(|member| &member.name) {
        Some(name) => Problem {
            what: format!("{address} is named primary and is not in this lab.toml"),
            cause: Some(format!("it is {name}, a member of the lab")),
            remedy: format!("give this command the lab.toml that states {name}"),
            ..problem
        },
        None => problem,
    }
}

/// What the parent of a node states, if it could be asked.
fn report<'a>(status: &'a Status, name: &str) -> Option<&'a NodeReport> {
    status.parents.get(name)?.up()
}

/// Why nodes do not answer here.
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

/// What is said where every node refuses this command's own password, or that is missing.
fn own_password(status: &Status) -> Option<String> {
    let nodes = status.data_nodes.len() + status.sentinels.len();
    let mut refusals = unreachable(status).filter(|why| is_password_error(why));
    let first = refusals.next()?;
    (1 + refusals.count() == nodes).then(|| first.clone())
}

/// That the parent of a server that answers does not.
fn silent_parent(status: &Status, name: &str) -> Option<Problem> {
    let Reached::Unreachable(why) = status.parents.get(name)? else {
        return None;
    };
    let what =
        format!("the parent of {name} does not answer, so what only it knows is not reported");
    Some(Problem::of_node(Code::ParentSilent, name, what).because(Some(why.clone())))
}

/// A node that does not answer here.
fn silent(status: &Status, name: &str, why: &str) -> Problem {
    let what = format!("{name} is not reachable");
    let cause = Some(why.to_owned());
    if is_password_error(why) {
        return Problem::of_node(Code::PasswordRefused, name, what).because(cause);
    }
    let report = match status.parents.get(name) {
        Some(Reached::Up(report)) => report,
        Some(Reached::Unreachable(_)) => {
            return Problem::of_node(Code::NodeDown, name, what).because(cause);
        }
        None => return Problem::of_node(Code::Unreachable, name, what).because(cause),
    };
    if let Some(disk) = &report.disk {
        let cause = format!("its disk takes no writes: {disk}");
        return Problem::of_node(Code::DiskRefuses, name, what).because(Some(cause));
    }
    if let Some(problem) = of_versions(name, &what, report) {
        return problem;
    }
    if report.running {
        return of_log(name, &what, report)
            .unwrap_or_else(|| Problem::of_node(Code::Unreachable, name, what).because(cause));
    }
    let end = report
        .last_end
        .as_deref()
        .unwrap_or("it was not started yet");
    if let Some(problem) = of_log(name, &what, report) {
        return problem;
    }
    let problem = Problem::of_node(Code::ServerEnded, name, what);
    let cause = format!("its server does not run: {end}");
    match &report.said {
        Some(said) => problem.because_said(&format!("{cause}; it said last"), said),
        None => problem.because(Some(cause)),
    }
}

/// A node that has ended with an error, or was stopped, by its own note. `now` is in seconds since 1970.
pub(super) fn ended(name: &str, what: &str, note: &NodeReport, now: u64) -> Problem {
    if let (Some(at), None) = (note.stopped_at, &note.ended) {
        let cause = format!("it was stopped on request, {}", ago(now.saturating_sub(at)));
        return Problem::of_node(Code::NodeDown, name, what).because(Some(cause));
    }
    let why = note.ended.as_deref();
    let problem = of_log(name, what, note);
    let problem = problem.unwrap_or_else(|| Problem::of_node(Code::NodeDown, name, what));
    let cause = why.map(|why| match note.ended_at {
        Some(at) => {
            let ago = ago(now.saturating_sub(at));
            format!("its node has ended {ago}: {why}")
        }
        None => format!("its node has ended: {why}"),
    });
    match cause {
        Some(cause) => problem.because(Some(cause)),
        None => problem,
    }
}

/// That the server's version does not go with the data, or with that of the primary.
fn of_versions(name: &str, what: &str, report: &NodeReport) -> Option<Problem> {
    let why = report.version_refused.clone()?;
    Some(Problem::of_node(Code::DataTooNew, name, what).because(Some(why)))
}

/// What the server's log says, where that is a known reason.
fn of_log(name: &str, what: &str, report: &NodeReport) -> Option<Problem> {
    let said = report.said.as_ref()?;
    let code = match said.cause {
        Cause::ConfigRefused => Code::ConfigRefused,
        Cause::DataUnreadable => Code::DataUnreadable,
        Cause::DataTooNew => Code::DataTooNew,
        Cause::PasswordRefused => Code::ReplicaPasswordRefused,
        Cause::DiskRefuses => Code::DiskRefuses,
        Cause::MemoryShort | Cause::AddressTaken | Cause::UsersRefused | Cause::Other => {
            return None;
        }
    };
    Some(Problem::of_node(code, name, what).because_said("its server says", said))
}

/// The cause of a problem, as far as the server's log has one.
fn by_log(status: &Status, problem: Problem) -> Problem {
    let node = problem.node.clone().unwrap_or_default();
    let Some(report) = report(status, &node) else {
        return problem;
    };
    if let Some(refused) = of_versions(&node, &problem.what, report) {
        return refused;
    }
    if let Some(address) = &report.foreign_primary {
        let cause = format!(
            "the Sentinels name {address} primary, which the lab.toml of {node} does not state"
        );
        return Problem {
            cause: Some(cause),
            remedy: format!(
                "start {node} again with the lab's current lab.toml; if {address} is not of the lab, end the server there"
            ),
            ..problem
        };
    }
    if let Some(waiting) = &report.waiting {
        let cause = Some(format!("its node waits for {waiting}"));
        let code = if waiting.contains(CHOICE) {
            Code::NeedsChoice
        } else {
            problem.code
        };
        return Problem::of_node(code, &node, problem.what).because(cause);
    }
    match (of_log(&node, &problem.what, report), &report.said) {
        (Some(known), _) => known,
        (None, Some(said)) => problem.because_said("its server says", said),
        (None, None) => problem,
    }
}

/// A node that does not answer; nothing where it is no member: nobody needs it.
fn silent_member(status: &Status, name: &str, why: &str, primary: Option<&str>) -> Option<Problem> {
    let needed = status.standing(name).is_some() || primary == Some(name);
    let problem = needed.then(|| silent(status, name, why))?;
    if status.stated_at(name).is_some() {
        return Some(problem);
    }
    let remedy = format!(
        "{}; if it is lost for good, or was taken out: halab member remove {name}",
        problem.remedy
    );
    Some(Problem { remedy, ..problem })
}

fn data_node(status: &Status, node: &DataNodeStatus, primary: Option<&str>) -> Option<Problem> {
    let name = node.name.as_str();
    let state = match &node.state {
        Reached::Unreachable(why) => return silent_member(status, name, why, primary),
        Reached::Up(state) => state,
    };
    let problem = |code, what: String| Some(Problem::of_node(code, name, what));
    if state.role == "loading" {
        return problem(Code::Loading, format!("{name} loads its data"));
    }
    if state.role == "parked" {
        let known = report(status, name).is_some_and(|r| r.waiting.is_some());
        let what = if known {
            format!("{name} has no role yet")
        } else {
            format!("{name} has no role yet: its node's log says what it waits for")
        };
        return Some(by_log(status, Problem::of_node(Code::NoRole, name, what)));
    }
    let primary = primary?;
    if name == primary {
        return named_primary(status, node, state);
    }
    match (&state.replica_of, state.link_up) {
        (None, _) if gone(status, primary) => problem(
            Code::FailoverUnderWay,
            format!("{name} was promoted, and the Sentinels have not announced it yet"),
        ),
        (None, _) => problem(
            Code::SecondPrimary,
            format!("{name} says that it is primary too"),
        ),
        (Some(of), _) if of != primary => Some(by_log(
            status,
            Problem::of_node(
                Code::WrongPrimary,
                name,
                format!("{name} is a replica of {of}"),
            ),
        )),
        (_, Some(false)) => Some(by_log(
            status,
            Problem::of_node(
                Code::NotInSync,
                name,
                format!("{name} is not in sync: its link is down"),
            ),
        )),
        _ if not_full(status, name).is_some() => None,
        _ if state.promotable == Some(false) => {
            problem(Code::NotPromotable, not_raised(name, None))
        }
        _ => None,
    }
}

fn named_primary(status: &Status, node: &DataNodeStatus, state: &DataNodeState) -> Option<Problem> {
    let name = node.name.as_str();
    if state.role != "primary" {
        let what = format!("{name} is named primary and says that it is a replica");
        let problem = Problem::of_node(Code::NotPrimary, name, what);
        return Some(by_log(status, problem));
    }
    if is_closed(node) {
        let what = format!("{name} is closed, to be stopped, and refuses writes");
        return Some(Problem::of_node(Code::Closed, name, what));
    }
    if let Some(why) = &state.members_unusable {
        let what = format!(
            "the list of members on {name} can't be used: a writer that connects does not know whom to ask, and waits"
        );
        let problem = Problem::of_node(Code::MembersUnusable, name, what);
        return Some(problem.because(Some(why.clone())));
    }
    let memory = report(status, name)?.memory.filter(|m| m.is_full())?;
    let what = format!("{name} is at its maxmemory and refuses writes that need memory");
    let cause = format!("{} of {} bytes are in use", memory.used, memory.limit);
    Some(Problem::of_node(Code::MemoryFull, name, what).because(Some(cause)))
}

/// The lab is closed there, to be stopped.
pub(super) fn is_closed(node: &DataNodeStatus) -> bool {
    node.holds.as_deref().is_some_and(|h| h.ends_with(CLOSED))
}

/// A replica in sync that is not promotable, and for how long that was seen.
pub(super) fn not_raised(name: &str, so_long: Option<Duration>) -> String {
    match so_long.map(|so_long| so_long.as_secs()) {
        None | Some(0) => format!("{name} is in sync and not promotable yet"),
        Some(seconds) => {
            format!("{name} is in sync and not promotable for {seconds} s: its log says why")
        }
    }
}

/// Why a node is not a full member, by the list of members; where there is none to go by, as its parent states it.
pub(super) fn not_full(status: &Status, name: &str) -> Option<String> {
    if status.members.is_none() {
        return report(status, name).and_then(|report| report.not_full.clone());
    }
    match status.standing(name) {
        Some(Standing::Full) => None,
        Some(Standing::Counted) => {
            Some("halab member has it on its way in or out of the lab".to_owned())
        }
        None => Some("it is not in the list of members".to_owned()),
    }
}

/// That a node of `lab.toml` is not a full member.
fn membership(status: &Status, name: &str, runs: bool) -> Option<Problem> {
    let why = not_full(status, name)?;
    let what = if runs {
        format!("{name} is not a full member of the lab")
    } else {
        format!("{name} is not a member of the lab, and does not run")
    };
    let problem = Problem::of_node(Code::NotFullMember, name, what).because(Some(why));
    let remedy = match (runs, status.standing(name)) {
        (true, None) => return Some(problem),
        (true, Some(_)) => format!(
            "run the halab member command that was cut short again; to keep {name}: halab member add {name}; to take it out: halab \
             member remove {name}"
        ),
        (false, _) => format!(
            "take {name} out of lab.toml on every host, and start the nodes again one at a time, the primary's last; or start it and \
             make it a member: halab member add {name}"
        ),
    };
    Some(Problem { remedy, ..problem })
}

/// What a parent states that is wrong by itself.
fn stated(status: &Status, name: &str, primary: Option<&str>) -> Vec<Problem> {
    let Some(report) = report(status, name) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    if let Some(difference) = status.description.difference(&report.lab) {
        let what = format!("{name} runs with another description of the lab than that of lab.toml");
        found.push(Problem::of_node(Code::OtherLabToml, name, what).because(Some(difference)));
    }
    if report.tilt {
        let what = format!("{name} is in TILT and judges nothing");
        found.push(Problem::of_node(Code::Tilt, name, what));
    }
    if let Some(disk) = report.disk.as_ref().filter(|_| report.running) {
        let what = format!("the disk of {name} takes no writes");
        found.push(Problem::of_node(Code::DiskRefuses, name, what).because(Some(disk.clone())));
    }
    if !report.users_added.is_empty() {
        let users = report.users_added.join(", ");
        let what = format!("{name} has users that are not of the lab: {users}");
        let cause = "a server starts with the users of the lab only".to_owned();
        let mut problem = Problem::of_node(Code::UsersAdded, name, what).because(Some(cause));
        if primary == Some(name) {
            problem.what.push_str("; after a failover they are missing");
        }
        found.push(problem);
    }
    if !report.users_removed.is_empty() {
        let users = report.users_removed.join(", ");
        let what = format!("{name} has lost users that were not of the lab: {users}");
        let cause = "it was started again, with the users of the lab only".to_owned();
        found.push(Problem::of_node(Code::UsersRemoved, name, what).because(Some(cause)));
    }
    found
}

/// That the primary is gone and no Sentinel knows a replica: after a `SENTINEL RESET` of all, which they recover from
/// by the primary's INFO alone.
fn nobody_promotable(status: &Status) -> Option<Problem> {
    let primary = &status.primary.as_ref()?.node;
    let gone = |n: &DataNodeStatus| n.name == *primary && n.state.up().is_none();
    let mut views = status.sentinels.iter().filter_map(|n| n.state.up());
    if !status.data_nodes.iter().any(gone) || views.any(|view| view.known_replicas > 0) {
        return None;
    }
    let copies = status.data_nodes.iter().filter_map(|node| {
        let state = node.state.up()?;
        let of = state.replica_of.as_deref().unwrap_or("nobody");
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
        "no Sentinel knows a replica of {primary} (as after SENTINEL RESET), so nobody can be promoted"
    );
    Some(Problem {
        remedy: format!(
            "start {primary}, from which they learn the others, but first see docs/runbook.md, Nobody can be promoted"
        ),
        ..Problem::of_lab(Code::NobodyPromotable, what).because(Some(copies))
    })
}

fn sentinel(status: &Status, node: &SentinelStatus) -> Option<Problem> {
    let name = node.name.as_str();
    let state = match &node.state {
        Reached::Unreachable(why) => return silent_member(status, name, why, None),
        Reached::Up(state) => state,
    };
    let problem = |code, what: String| Some(Problem::of_node(code, name, what));
    let others = status.sentinels.len() - 1;
    let strange = |kind| state.strangers.iter().any(|s| s.kind == kind);
    let unseen = unseen(status, state);
    let unknown = unknown(status, state);
    let why_down = why_down(status, name, &state.primary.node);
    if status.primary.as_ref().is_some_and(|p| *p != state.primary) {
        let what = format!("{name} calls {} primary", state.primary.node);
        problem(Code::SentinelDisagrees, what)
    } else if state.primary_down && (why_down.is_some() || !gone(status, &state.primary.node)) {
        let what = format!("{name} calls the primary down");
        let problem = Problem::of_node(Code::PrimaryDown, name, what);
        Some(problem.because(why_down))
    } else if state.failover_in_progress {
        let what = format!("{name} says that a failover is under way");
        problem(Code::FailoverUnderWay, what)
    } else if !unknown.is_empty() {
        let what = format!("{name} does not know {}", unknown.join(", "));
        problem(Code::MemberUnknown, what)
    } else if state.unknown.is_empty()
        && state.other_sentinels != others as u64
        && !strange(Kind::Sentinel)
    {
        let known = state.other_sentinels;
        let what = format!("{name} knows {known} other Sentinels, not {others}");
        problem(Code::MemberUnknown, what)
    } else if !unseen.is_empty() {
        let what = format!("{name} could not promote {}", unseen.join(", "));
        problem(Code::NotSeenPromotable, what)
    } else if !state.quorum_ok && !strange(Kind::Sentinel) && not_full(status, name).is_none() {
        // With strangers among those that it counts, that is what they cause.
        problem(Code::QuorumLost, format!("{name}: {}", state.quorum))
    } else {
        None
    }
}

/// Why a Sentinel calls the primary down, where its parent knows: it is not let in there.
fn why_down(status: &Status, name: &str, primary: &str) -> Option<String> {
    let refused = &report(status, name)?.refused;
    let refusal = refused.iter().find(|refusal| refusal.by == primary)?;
    Some(format!(
        "{primary} refuses its password for the user {}",
        refusal.user
    ))
}

/// The members that a Sentinel does not know.
fn unknown<'a>(status: &Status, state: &'a SentinelState) -> Vec<&'a str> {
    let unknown = state.unknown.iter().map(String::as_str);
    unknown
        .filter(|name| status.standing(name).is_some())
        .collect()
}

/// The full members that a Sentinel could not promote, beside the primary, and with which nothing else is wrong.
fn unseen<'a>(status: &'a Status, state: &SentinelState) -> Vec<&'a str> {
    let replicas = status.data_nodes.iter();
    let replicas = replicas.filter(|n| n.name != state.primary.node);
    replicas
        .filter(|r| !state.promotable.contains(&r.name))
        .filter(|r| not_full(status, &r.name).is_none())
        .filter(|r| data_node(status, r, Some(&state.primary.node)).is_none())
        .map(|r| r.name.as_str())
        .collect()
}

/// The data node does not answer here either.
fn gone(status: &Status, name: &str) -> bool {
    let mut nodes = status.data_nodes.iter();
    nodes.any(|node| node.name == name && node.state.up().is_none())
}

/// That a Sentinel monitors something beside the lab's primary.
fn second_name(node: &SentinelStatus) -> Option<Problem> {
    let names = &node.state.up()?.other_names;
    let what = format!(
        "{} monitors {} beside the lab's primary",
        node.name,
        names.join(", ")
    );
    (!names.is_empty()).then(|| Problem::of_node(Code::SecondName, &node.name, what))
}

#[cfg(test)]
pub(super) mod tests;
