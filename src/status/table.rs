//! A [`Status`] as text: tables, problems, verdict.

use std::fmt::Write;

use comfy_table::{Cell, LineStyle, Table, TableStyle};

use super::{
    DataNodeState, Problem, ProblemCode, Reached, SentinelState, Status, StrangerKind,
    StrangerState,
};

/// Lines above, below, and under the header.
const LINES: TableStyle = TableStyle::new()
    .top_border(LineStyle::none().fill('─').junction('─'))
    .header_separator(LineStyle::none().fill('─').junction('─'))
    .bottom_border(LineStyle::none().fill('─').junction('─'));

/// The tables, the primary and the verdict.
pub fn render(status: &Status) -> String {
    let mut data = table(&[
        "data node",
        "address",
        "pid",
        "role",
        "link",
        "offset",
        "lag",
        "version",
    ]);
    for node in &status.data_nodes {
        let mut row = vec![node.name.clone(), node.address.to_string()];
        match &node.state {
            Reached::Up(state) => row.extend(data_cells(state)),
            Reached::Unreachable(_) => row.extend([String::new(), "unreachable".into()]),
        }
        data.add_row(row.iter().map(Cell::new));
    }
    let mut sentinels = table(&[
        "Sentinel",
        "address",
        "primary",
        "epoch",
        "others",
        "promotable",
        "quorum",
    ]);
    for node in &status.sentinels {
        let mut row = vec![node.name.clone(), node.address.to_string()];
        match &node.state {
            Reached::Up(state) => row.extend(sentinel_cells(state)),
            Reached::Unreachable(_) => row.push("unreachable".into()),
        }
        sentinels.add_row(row.iter().map(Cell::new));
    }
    let strangers = if status.strangers.is_empty() {
        String::new()
    } else {
        format!("{}\n", strangers(status))
    };
    let primary = match &status.primary {
        Some(named) => format!("primary {} at epoch {}", named.node, named.epoch),
        None => "no primary".to_owned(),
    };
    let listed = |faults: bool| {
        let some = status.problems.iter().filter(|p| p.is_fault() == faults);
        let list: Vec<String> = folded(some).iter().map(problem_lines).collect();
        list.join("\n")
    };
    let verdict = if status.healthy {
        "healthy: the loss of any one node loses no acknowledged write".to_owned()
    } else {
        format!(
            "NOT healthy:\n{}{}{}",
            listed(true),
            holdings(status),
            stakes(status)
        )
    };
    let warnings = listed(false);
    let warnings = if warnings.is_empty() {
        warnings
    } else {
        format!("\nwarnings:\n{warnings}")
    };
    format!(
        "{data}\n{sentinels}\n{strangers}{}: {primary}, {verdict}{warnings}",
        status.lab
    )
}

/// Codes whose problems share a line if they differ only in the name of the node. Their texts begin
/// with that name, and their remedies are those of the codes.
const FOLDED: [ProblemCode; 7] = [
    ProblemCode::SentinelDisagrees,
    ProblemCode::PrimaryDown,
    ProblemCode::FailoverUnderWay,
    ProblemCode::MemberUnknown,
    ProblemCode::NotSeenPromotable,
    ProblemCode::Tilt,
    ProblemCode::OtherLabToml,
];

/// Merges problems that differ only in the name of the node.
fn folded<'a>(problems: impl Iterator<Item = &'a Problem>) -> Vec<Problem> {
    let mut found: Vec<(Problem, Vec<&str>, &str)> = Vec::new();
    for problem in problems {
        let name = problem.node.as_deref().unwrap_or_default();
        let rest = problem.what.strip_prefix(name).unwrap_or_default();
        let same = |(first, _, other): &&mut (Problem, Vec<&str>, &str)| {
            FOLDED.contains(&problem.code)
                && first.code == problem.code
                && first.cause == problem.cause
                && *other == rest
        };
        match found.iter_mut().find(same) {
            Some((_, names, _)) => names.push(name),
            None => found.push((problem.clone(), vec![name], rest)),
        }
    }
    let all = |(problem, names, rest): (Problem, Vec<&str>, &str)| match names.as_slice() {
        [_, _, ..] => {
            let all = names.join(", ");
            Problem {
                what: format!("{all}:{rest}"),
                remedy: problem.code.remedy().replace("{node}", &all),
                ..problem
            }
        }
        _ => problem,
    };
    found.into_iter().map(all).collect()
}

/// The section on what is at stake.
fn stakes(status: &Status) -> String {
    let lines: Vec<String> = (status.stakes.iter())
        .map(|line| format!("\n    {line}"))
        .collect();
    format!("\n  at stake:{}", lines.concat())
}

/// A problem in a line with its code; cause and remedy below.
fn problem_lines(problem: &Problem) -> String {
    let mut text = format!("  - {} [{}]", problem.what, problem.code.as_str());
    if let Some(cause) = &problem.cause {
        let _ = write!(text, "\n      cause: {cause}");
    }
    let _ = write!(text, "\n      remedy: {}", problem.remedy);
    text
}

/// The section on what each data node holds.
fn holdings(status: &Status) -> String {
    let lines: Vec<String> = status
        .data_nodes
        .iter()
        .map(|node| {
            let holds = node.holds.as_deref().unwrap_or("not known");
            format!("    {}: {holds}", node.name)
        })
        .collect();
    format!("\n  what the data nodes hold:\n{}", lines.join("\n"))
}

fn strangers(status: &Status) -> Table {
    let mut table = table(&["stranger", "as", "state", "known to"]);
    for stranger in &status.strangers {
        let kind = match stranger.entry.kind {
            StrangerKind::Replica => "replica",
            StrangerKind::Sentinel => "Sentinel",
        };
        let state = match stranger.entry.state {
            StrangerState::Promotable => "promotable",
            StrangerState::Up => "up",
            StrangerState::Down => "down",
        };
        let row = [
            stranger.address(),
            kind.into(),
            state.into(),
            stranger.known_to.join(", "),
        ];
        table.add_row(row.map(Cell::new));
    }
    table
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(LINES).set_header(header);
    table
}

fn data_cells(state: &DataNodeState) -> [String; 6] {
    let role = match (&state.replica_of, state.replicas) {
        (Some(of), _) => format!("{} of {of}", state.role),
        (None, Some(n)) => format!("{}, {n} in sync", state.role),
        _ => state.role.to_owned(),
    };
    let link = match (state.link_up, state.promotable) {
        (Some(true), Some(true)) => "up",
        (Some(true), _) => "up, not promotable",
        (Some(false), _) => "down",
        (None, _) => "",
    };
    let lag = state
        .lag_bytes
        .map_or_else(String::new, |bytes| format!("{bytes} B"));
    [
        state.pid.to_string(),
        role,
        link.into(),
        state.offset.to_string(),
        lag,
        state.version.clone(),
    ]
}

fn sentinel_cells(state: &SentinelState) -> [String; 5] {
    let mut primary = state.primary.node.clone();
    if state.primary_down {
        primary.push_str(" (down)");
    }
    if state.failover_in_progress {
        primary.push_str(" (failover)");
    }
    [
        primary,
        state.primary.epoch.to_string(),
        state.other_sentinels.to_string(),
        state.promotable.join(", "),
        if state.quorum_ok {
            "ok".into()
        } else {
            "NOT ok".into()
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_that_differ_only_in_the_name_share_a_line() {
        let other = |name: &str, cause: &str| {
            let what = format!("{name} runs with another lab.toml");
            Problem::of_node(ProblemCode::OtherLabToml, name, what).because(Some(cause.into()))
        };
        let alone = Problem::of_lab(ProblemCode::NoMajority, "no majority");
        let all = [
            other("redis-a", "it has x"),
            alone.clone(),
            other("redis-b", "it has x"),
            other("redis-c", "it has y"),
        ];
        let folded = folded(all.iter());
        let whats: Vec<&str> = folded.iter().map(|p| p.what.as_str()).collect();
        let expected = [
            "redis-a, redis-b: runs with another lab.toml",
            "no majority",
            "redis-c runs with another lab.toml",
        ];
        assert_eq!(whats, expected);
        assert!(
            folded[0].remedy.contains("restart redis-a, redis-b"),
            "{}",
            folded[0].remedy
        );
        assert_eq!((&folded[1], &folded[2]), (&alone, &all[3]));
    }
}
