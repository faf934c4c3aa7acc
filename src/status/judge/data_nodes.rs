//! Problems of data nodes.

use std::time::Duration;

use super::causes::{silent_node, with_cause};
use super::{
    DataNodeState, DataNodeStatus, Problem, ProblemCode, Reached, Status, is_gone, not_full, report,
};

/// The most important problem of a data node.
pub(super) fn problem(
    status: &Status,
    node: &DataNodeStatus,
    primary: Option<&str>,
) -> Option<Problem> {
    let name = node.name.as_str();
    let state = match &node.state {
        Reached::Unreachable(why) => return silent_node(status, name, why, primary),
        Reached::Up(state) => state,
    };
    let problem = |code, what: String| Problem::of_node(code, name, what);
    if state.role == "loading" {
        return Some(problem(
            ProblemCode::Loading,
            format!("{name} is loading its data"),
        ));
    }
    if state.role == "parked" {
        let known = report(status, name).is_some_and(|r| r.waiting.is_some());
        let what = if known {
            format!("{name} has no role yet")
        } else {
            format!("{name} has no role yet; its log says what it waits for")
        };
        return Some(with_cause(status, problem(ProblemCode::NoRole, what)));
    }
    let primary = primary?;
    if name == primary {
        return of_primary(status, node, state);
    }
    match (&state.replica_of, state.link_up) {
        (None, _) if is_gone(status, primary) => Some(problem(
            ProblemCode::FailoverUnderWay,
            format!("{name} was promoted, and the Sentinels have not announced it yet"),
        )),
        (None, _) => Some(problem(
            ProblemCode::SecondPrimary,
            format!("{name} reports that it is primary too"),
        )),
        (Some(of), _) if of != primary => {
            let what = format!("{name} is a replica of {of}");
            Some(with_cause(status, problem(ProblemCode::WrongPrimary, what)))
        }
        (_, Some(false)) => {
            let what = format!("{name} is not in sync: its link is down");
            Some(with_cause(status, problem(ProblemCode::NotInSync, what)))
        }
        _ if not_full(status, name).is_some() => None,
        _ if state.promotable == Some(false) => {
            Some(problem(ProblemCode::NotPromotable, not_raised(name, None)))
        }
        _ => None,
    }
}

/// The problem of the node that the Sentinels name as primary.
fn of_primary(status: &Status, node: &DataNodeStatus, state: &DataNodeState) -> Option<Problem> {
    let name = node.name.as_str();
    if state.role != "primary" {
        let what = format!("{name} is named primary and reports that it is a replica");
        let problem = Problem::of_node(ProblemCode::NotPrimary, name, what);
        return Some(with_cause(status, problem));
    }
    if node.closed {
        let what = format!("{name} is closed for a stop and refuses writes");
        return Some(Problem::of_node(ProblemCode::Closed, name, what));
    }
    if let Some(why) = &state.members_unusable {
        let what =
            format!("the list of members on {name} cannot be used, so writers that connect wait");
        let problem = Problem::of_node(ProblemCode::MembersUnusable, name, what);
        return Some(problem.because(Some(why.clone())));
    }
    let memory = report(status, name)?.memory.filter(|m| m.is_full())?;
    let what = format!("{name} is at its maxmemory and refuses writes that need memory");
    let cause = format!("{} of {} bytes are in use", memory.used, memory.limit);
    Some(Problem::of_node(ProblemCode::MemoryFull, name, what).because(Some(cause)))
}

/// The text on a replica that is in sync and not promotable, with the time for which that is known.
pub fn not_raised(name: &str, duration: Option<Duration>) -> String {
    match duration.map(|duration| duration.as_secs()) {
        None | Some(0) => format!("{name} is in sync and not promotable yet"),
        Some(seconds) => {
            format!("{name} is in sync and not promotable for {seconds} s; see its log")
        }
    }
}
