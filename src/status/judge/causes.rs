//! Why a node does not answer or does not work: its supervisor's report, the server's log, and the
//! note that an ended node leaves.

use crate::report::{Cause, NodeReport, ago, is_password_error};

use super::{Problem, ProblemCode, Reached, Status, report};

/// A node that does not answer. `None` for a node that is not a member: the lab does not need it.
pub(super) fn silent_node(
    status: &Status,
    name: &str,
    why: &str,
    primary: Option<&str>,
) -> Option<Problem> {
    let needed = status.standing(name).is_some() || primary == Some(name);
    let problem = needed.then(|| unreachable_node(status, name, why))?;
    if status.stated_at(name).is_some() {
        return Some(problem);
    }
    let remedy = format!(
        "{}; if it is lost for good or was taken out of lab.toml: halab member remove {name}",
        problem.remedy
    );
    Some(Problem { remedy, ..problem })
}

fn unreachable_node(status: &Status, name: &str, why: &str) -> Problem {
    let what = format!("{name} is not reachable");
    let cause = Some(why.to_owned());
    if is_password_error(why) {
        return Problem::of_node(ProblemCode::PasswordRefused, name, what).because(cause);
    }
    let report = match status.supervisors.get(name) {
        Some(Reached::Up(report)) => report,
        Some(Reached::Unreachable(_)) => {
            return Problem::of_node(ProblemCode::NodeDown, name, what).because(cause);
        }
        None => return Problem::of_node(ProblemCode::Unreachable, name, what).because(cause),
    };
    if let Some(disk) = &report.disk {
        let cause = format!("its disk refuses writes: {disk}");
        return Problem::of_node(ProblemCode::DiskRefuses, name, what).because(Some(cause));
    }
    if let Some(problem) = from_versions(name, &what, report) {
        return problem;
    }
    if let Some(problem) = from_log(name, &what, report) {
        return problem;
    }
    if report.running {
        return Problem::of_node(ProblemCode::Unreachable, name, what).because(cause);
    }
    let end = report
        .last_end
        .as_deref()
        .unwrap_or("it has not been started yet");
    let problem = Problem::of_node(ProblemCode::ServerEnded, name, what);
    let cause = format!("its server does not run: {end}");
    match &report.log_problem {
        Some(line) => problem.because_of_log(&format!("{cause}; its last log line"), line),
        None => problem.because(Some(cause)),
    }
}

/// A node that ended with an error or was stopped, by its own note. `now` is in seconds since 1970.
pub fn ended(name: &str, what: &str, note: &NodeReport, now: u64) -> Problem {
    if let (Some(at), None) = (note.stopped_at, &note.ended) {
        let cause = format!("it was stopped on request, {}", ago(now.saturating_sub(at)));
        return Problem::of_node(ProblemCode::NodeDown, name, what).because(Some(cause));
    }
    let problem = from_log(name, what, note);
    let problem = problem.unwrap_or_else(|| Problem::of_node(ProblemCode::NodeDown, name, what));
    let cause = note.ended.as_deref().map(|why| match note.ended_at {
        Some(at) => {
            let ago = ago(now.saturating_sub(at));
            format!("its node exited {ago}: {why}")
        }
        None => format!("its node exited: {why}"),
    });
    match cause {
        Some(cause) => problem.because(Some(cause)),
        None => problem,
    }
}

/// The version of the server does not fit that of the data or of the primary.
fn from_versions(name: &str, what: &str, report: &NodeReport) -> Option<Problem> {
    let why = report.version_refused.clone()?;
    Some(Problem::of_node(ProblemCode::DataTooNew, name, what).because(Some(why)))
}

/// The problem that the server's log shows, if the line is a known one.
fn from_log(name: &str, what: &str, report: &NodeReport) -> Option<Problem> {
    let line = report.log_problem.as_ref()?;
    let code = match line.cause {
        Cause::ConfigRefused => ProblemCode::ConfigRefused,
        Cause::DataUnreadable => ProblemCode::DataUnreadable,
        Cause::DataTooNew => ProblemCode::DataTooNew,
        Cause::CommandRefused => ProblemCode::CommandRefused,
        Cause::PasswordRefused => ProblemCode::ReplicaPasswordRefused,
        Cause::DiskRefuses => ProblemCode::DiskRefuses,
        Cause::MemoryShort | Cause::AddressTaken | Cause::UsersRefused | Cause::Other => {
            return None;
        }
    };
    Some(Problem::of_node(code, name, what).because_of_log("its server says", line))
}

/// The same problem with the cause that the supervisor reports, if any.
pub(super) fn with_cause(status: &Status, problem: Problem) -> Problem {
    let node = problem.node.clone().unwrap_or_default();
    let Some(report) = report(status, &node) else {
        return problem;
    };
    if let Some(refused) = from_versions(&node, &problem.what, report) {
        return refused;
    }
    if let Some(address) = &report.foreign_primary {
        let cause =
            format!("the Sentinels name {address} primary, which is not in the lab.toml of {node}");
        return Problem {
            cause: Some(cause),
            remedy: format!(
                "restart {node} with the lab's current lab.toml; if {address} is not in the lab, stop the server there"
            ),
            ..problem
        };
    }
    if let Some(waiting) = &report.waiting {
        let cause = Some(format!("its node waits for {waiting}"));
        let code = if report.needs_choice {
            ProblemCode::NeedsChoice
        } else {
            problem.code
        };
        return Problem::of_node(code, &node, problem.what).because(cause);
    }
    match (from_log(&node, &problem.what, report), &report.log_problem) {
        (Some(known), _) => known,
        (None, Some(line)) => problem.because_of_log("its server says", line),
        (None, None) => problem,
    }
}
