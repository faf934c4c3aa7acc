//! Nodes of `lab.toml` that are not full members of the lab.

use crate::protocol::member_list::Standing;

use super::{Problem, ProblemCode, Status, report};

/// Why a node is not a full member, by the list of members, or without a list by its supervisor's
/// report.
pub fn not_full(status: &Status, name: &str) -> Option<String> {
    if status.members.is_none() {
        return report(status, name).and_then(|report| report.not_full.clone());
    }
    match status.standing(name) {
        Some(Standing::Full) => None,
        Some(Standing::Counted) => Some("it is being added or removed by halab member".to_owned()),
        None => Some("it is not in the list of members".to_owned()),
    }
}

/// A node of `lab.toml` is not a full member.
pub(super) fn problem(status: &Status, name: &str, answers: bool) -> Option<Problem> {
    let why = not_full(status, name)?;
    let what = if answers {
        format!("{name} is not a full member of the lab")
    } else {
        format!("{name} is not a member of the lab and does not run")
    };
    let problem = Problem::of_node(ProblemCode::NotFullMember, name, what).because(Some(why));
    let remedy = match (answers, status.standing(name)) {
        (true, None) => return Some(problem),
        (true, Some(_)) => format!(
            "run the interrupted halab member command again; to keep {name}: halab member add {name}; to remove it: \
             halab member remove {name}"
        ),
        (false, _) => format!(
            "remove {name} from lab.toml on every host and restart the nodes one at a time, the primary last; or start it \
             and make it a member: halab member add {name}"
        ),
    };
    Some(Problem { remedy, ..problem })
}
