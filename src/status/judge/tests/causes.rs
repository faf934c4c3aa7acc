//! Causes and remedies of problems.

use super::*;

#[test]
fn the_cause_of_an_ended_node_comes_from_its_note() {
    let note = NodeReport {
        ended: Some("the server refuses its config file".into()),
        ended_at: Some(100),
        log_problem: Some(LogProblem {
            cause: Cause::ConfigRefused,
            line: "line 5".into(),
            ago_s: Some(1),
        }),
        ..NodeReport::default()
    };
    let problem = ended("redis-b", "redis-b is not reachable", &note, 280);
    assert_eq!(problem.code, ProblemCode::ConfigRefused);
    assert!(
        problem
            .to_string()
            .contains("its node exited 3 min ago: the server refuses"),
        "{problem}"
    );
    let other = NodeReport {
        ended: Some("cannot listen".into()),
        ..NodeReport::default()
    };
    let problem = ended("redis-b", "x", &other, 0);
    assert_eq!(problem.code, ProblemCode::NodeDown);
    assert_eq!(problem.to_string(), "x: its node exited: cannot listen");
    let stopped = NodeReport {
        stopped_at: Some(100),
        ..NodeReport::default()
    };
    let problem = ended("redis-b", "x", &stopped, 112);
    assert_eq!(problem.code, ProblemCode::NodeDown);
    assert_eq!(
        problem.to_string(),
        "x: it was stopped on request, 12 s ago"
    );
}

#[test]
fn a_refused_version_is_the_cause_and_not_a_choice() {
    let refused = "Redis 7.0.15 cannot read what Redis 8.0.2 wrote on this disk";
    // The server is not started.
    let mut status = healthy();
    lose_b(&mut status);
    report_of(&mut status, "redis-b").version_refused = Some(refused.into());
    // The server does not follow, and its node waited for something else before.
    let mut parked = healthy();
    state_b(&mut parked).role = "parked";
    let report = report_of(&mut parked, "redis-b");
    report.version_refused = Some(refused.into());
    report.waiting = Some("an operator: halab choose NODE".into());
    report.needs_choice = true;
    for status in [status, parked] {
        let found = problems(&status);
        let problem = found.iter().find(|p| p.node.as_deref() == Some("redis-b"));
        let problem = problem.unwrap();
        assert_eq!(problem.code, ProblemCode::DataTooNew, "{problem:?}");
        assert_eq!(problem.cause.as_deref(), Some(refused));
    }
}

#[test]
fn a_node_that_waits_for_another_needs_no_choice_though_one_would_end_the_wait() {
    let mut status = healthy();
    state_b(&mut status).role = "parked";
    let text = "the others; start them, or choose a copy: halab choose NODE";
    report_of(&mut status, "redis-b").waiting = Some(text.into());
    let found = problems(&status);
    let problem = found.iter().find(|p| p.node.as_deref() == Some("redis-b"));
    let problem = problem.unwrap();
    assert_eq!(problem.code, ProblemCode::NoRole, "{problem:?}");
    assert!(problem.remedy.starts_with("start the node"), "{problem:?}");
    assert!(problem.to_string().contains(text), "{problem}");
}

#[test]
fn no_role_without_a_supervisor_points_to_the_log() {
    let mut status = healthy();
    state_b(&mut status).role = "parked";
    status.supervisors.clear();
    let found = problems(&status);
    assert!(
        found[0].what.contains("its log says what it waits for"),
        "{}",
        found[0]
    );
}

#[test]
fn the_age_of_a_log_line_grows_after_its_node_has_ended() {
    let mut status = healthy();
    status.data_nodes[1].state = Reached::Unreachable("Connection refused".into());
    status
        .supervisors
        .insert("redis-b".into(), Reached::Unreachable("refused".into()));
    status.problems = problems(&status);
    let note = NodeReport {
        ended: Some("the server refuses its config file".into()),
        ended_at: Some(1000),
        log_problem: Some(LogProblem {
            cause: Cause::ConfigRefused,
            line: "line 5".into(),
            ago_s: Some(2),
        }),
        ..NodeReport::default()
    };
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("redis-b")).unwrap();
    let file = root.path().join("redis-b").join(END_NOTE);
    std::fs::write(file, serde_json::to_vec(&note).unwrap()).unwrap();
    // The second time, the clock was set back.
    for (now, age) in [(1040, 42), (960, 2)] {
        let mut status = status.clone();
        status.add_end_notes(root.path(), now);
        // The cause is the error of the node, not a quoted log line.
        let of_b = |p: &&Problem| p.code == ProblemCode::ConfigRefused;
        let found = status.problems.iter().find(of_b).unwrap();
        assert_eq!(found.log_line_ago_s, None, "{found}");
        let report = serde_json::to_value(&status.supervisors["redis-b"]).unwrap();
        assert_eq!(report["up"]["log_problem"]["ago_s"], age, "{report:#}");
    }
}

#[test]
fn a_node_promoted_for_a_lost_one_is_a_failover_under_way() {
    let mut status = healthy();
    status.data_nodes[0].state = Reached::Unreachable("refused".into());
    state_b(&mut status).role = "primary";
    state_b(&mut status).replica_of = None;
    let found = problems(&status);
    let of_b = found.iter().find(|p| p.node.as_deref() == Some("redis-b"));
    assert_eq!(
        of_b.unwrap().code,
        ProblemCode::FailoverUnderWay,
        "{found:#?}"
    );
}

#[test]
fn a_remedy_has_the_start_command_with_the_unit_or_the_name() {
    let mut status = healthy();
    status.data_nodes[1].state = Reached::Unreachable("Connection refused".into());
    status.sentinels[0].state = Reached::Unreachable("Connection refused".into());
    for name in ["redis-b", "sentinel-1"] {
        let gone = Reached::Unreachable("Connection refused".into());
        status.supervisors.insert(name.into(), gone);
    }
    status.problems = problems(&status);
    let remedy_with = |command: &str, node: &str| {
        let mut status = status.clone();
        status.add_start_command(command);
        let mut down = status.problems.iter();
        let down = down.find(|p| p.node.as_deref() == Some(node)).unwrap();
        down.remedy.clone()
    };
    for (command, node, by) in [
        (
            "systemctl start {unit}",
            "redis-b",
            "systemctl start halab-data-node@redis-b",
        ),
        (
            "systemctl start {unit}",
            "sentinel-1",
            "systemctl start halab-sentinel@sentinel-1",
        ),
        ("./lab start", "redis-b", "./lab start redis-b"),
    ] {
        let remedy = remedy_with(command, node);
        assert!(
            remedy.contains(&format!("start the node {node} ({by})")),
            "{remedy}"
        );
    }
}
