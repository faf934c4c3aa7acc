//! Problems of Sentinels.

use super::causes::silent_node;
use super::{
    Problem, ProblemCode, Reached, SentinelState, SentinelStatus, Status, StrangerKind, data_nodes,
    is_gone, not_full, report,
};

/// The most important problem of a Sentinel.
pub(super) fn problem(status: &Status, node: &SentinelStatus) -> Option<Problem> {
    let name = node.name.as_str();
    let state = match &node.state {
        Reached::Unreachable(why) => return silent_node(status, name, why, None),
        Reached::Up(state) => state,
    };
    let problem = |code, what: String| Some(Problem::of_node(code, name, what));
    let others = status.sentinels.len() - 1;
    let knows_stranger_sentinels = state
        .strangers
        .iter()
        .any(|s| s.kind == StrangerKind::Sentinel);
    let unpromotable = unpromotable(status, state);
    let unknown = unknown(status, state);
    let why_down = why_down(status, name, &state.primary.node);
    if status.primary.as_ref().is_some_and(|p| *p != state.primary) {
        let what = format!("{name} names {} as primary", state.primary.node);
        problem(ProblemCode::SentinelDisagrees, what)
    } else if state.primary_down && (why_down.is_some() || !is_gone(status, &state.primary.node)) {
        let what = format!("{name} considers the primary down");
        let problem = Problem::of_node(ProblemCode::PrimaryDown, name, what);
        Some(problem.because(why_down))
    } else if state.failover_in_progress {
        let what = format!("{name} reports that a failover is in progress");
        problem(ProblemCode::FailoverUnderWay, what)
    } else if !unknown.is_empty() {
        let what = format!("{name} does not know {}", unknown.join(", "));
        problem(ProblemCode::MemberUnknown, what)
    } else if state.unknown.is_empty()
        && state.other_sentinels != others as u64
        && !knows_stranger_sentinels
    {
        let known = state.other_sentinels;
        let what = format!("{name} knows {known} other Sentinels instead of {others}");
        problem(ProblemCode::MemberUnknown, what)
    } else if !unpromotable.is_empty() {
        let what = format!("{name} could not promote {}", unpromotable.join(", "));
        problem(ProblemCode::NotSeenPromotable, what)
    } else if !state.quorum_ok && !knows_stranger_sentinels && not_full(status, name).is_none() {
        // Sentinels that are strangers are counted in the quorum; they are reported separately.
        problem(ProblemCode::QuorumLost, format!("{name}: {}", state.quorum))
    } else {
        None
    }
}

/// Why a Sentinel considers the primary down, if its supervisor knows: a refused password.
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

/// The full members, without the primary, that a Sentinel could not promote though they have no
/// problem of their own.
fn unpromotable<'a>(status: &'a Status, state: &SentinelState) -> Vec<&'a str> {
    let replicas = status.data_nodes.iter();
    let replicas = replicas.filter(|n| n.name != state.primary.node);
    replicas
        .filter(|r| !state.promotable.contains(&r.name))
        .filter(|r| not_full(status, &r.name).is_none())
        .filter(|r| data_nodes::problem(status, r, Some(&state.primary.node)).is_none())
        .map(|r| r.name.as_str())
        .collect()
}

/// A Sentinel monitors a second name besides that of the lab.
pub(super) fn second_name(node: &SentinelStatus) -> Option<Problem> {
    let names = &node.state.up()?.other_names;
    let what = format!(
        "{} monitors {} besides the lab's primary",
        node.name,
        names.join(", ")
    );
    (!names.is_empty()).then(|| Problem::of_node(ProblemCode::SecondName, &node.name, what))
}
