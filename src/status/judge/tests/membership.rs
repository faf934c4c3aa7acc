//! Nodes that are not members, or are being added or removed.

use super::*;

/// A list of members with all nodes of the status.
fn listed(status: &Status) -> MemberList {
    let data = status
        .data_nodes
        .iter()
        .map(|n| (n.name.clone(), n.address));
    let sentinels = status.sentinels.iter();
    MemberList::first(data, sentinels.map(|n| (n.name.clone(), n.address)))
}

fn codes(status: &Status) -> Vec<(ProblemCode, Option<String>)> {
    let found = problems(status).into_iter();
    found.map(|problem| (problem.code, problem.node)).collect()
}

#[test]
fn consequences_of_a_node_that_is_down_are_not_reported_for_the_sentinels() {
    let mut status = healthy();
    lose_b(&mut status);
    for sentinel in &mut status.sentinels {
        up(&mut sentinel.state).promotable.clear();
    }
    assert_eq!(
        codes(&status),
        [(ProblemCode::ServerEnded, Some("redis-b".into()))]
    );

    let mut status = healthy();
    status.data_nodes[0].state = Reached::Unreachable("Connection refused".into());
    for sentinel in &mut status.sentinels {
        up(&mut sentinel.state).primary_down = true;
    }
    assert!(
        codes(&status)
            .iter()
            .all(|(code, _)| *code != ProblemCode::PrimaryDown),
        "{:?}",
        codes(&status)
    );
}

/// A lab with one data node and one Sentinel more than the healthy one, all members, and all
/// answering.
fn larger() -> Status {
    let mut status = healthy();
    status.data_nodes.push(data("redis-c", "replica"));
    status.sentinels.push(view("sentinel-4"));
    for sentinel in &mut status.sentinels {
        let state = up(&mut sentinel.state);
        state.other_sentinels = 3;
        state.known_replicas = 2;
        state.promotable.push("redis-c".into());
    }
    for name in ["redis-c", "sentinel-4"] {
        status.stated.push(stated(name));
        let report = NodeReport {
            node: name.into(),
            running: true,
            ..NodeReport::default()
        };
        status.supervisors.insert(name.into(), Reached::Up(report));
    }
    status.members = Some(listed(&status));
    assert_eq!(problems(&status), []);
    status
}

#[test]
fn a_node_that_is_not_a_member_is_not_needed() {
    let mut status = larger();
    status.members = Some(listed(&status).without(MemberKind::Data, "redis-b"));
    lose_b(&mut status);
    for sentinel in &mut status.sentinels {
        let state = up(&mut sentinel.state);
        state.promotable.retain(|name| name != "redis-b");
        state.unknown = vec!["redis-b".into()];
    }
    let found = problems(&status);
    let [problem] = found.as_slice() else {
        panic!("{found:#?}");
    };
    assert_eq!(problem.code, ProblemCode::NotFullMember);
    assert!(!problem.is_fault());
    assert!(
        problem.remedy.starts_with("remove redis-b from lab.toml"),
        "{problem:?}"
    );
    // The same for a Sentinel.
    let mut status = larger();
    status.members = Some(listed(&status).without(MemberKind::Sentinel, "sentinel-3"));
    status.sentinels[2].state = Reached::Unreachable("refused".into());
    assert_eq!(
        codes(&status),
        [(ProblemCode::NotFullMember, Some("sentinel-3".into()))]
    );
}

#[test]
fn a_primary_that_is_down_is_a_fault_even_if_it_is_not_in_the_list() {
    let mut status = larger();
    status.members = Some(listed(&status).without(MemberKind::Data, "redis-a"));
    status.data_nodes[0].state = Reached::Unreachable("refused".into());
    report_of(&mut status, "redis-a").running = false;
    let found = problems(&status);
    let faults: Vec<_> = found.iter().filter(|p| p.is_fault()).collect();
    assert_eq!(faults[0].code, ProblemCode::ServerEnded, "{found:#?}");
}

#[test]
fn a_node_being_added_or_removed_is_a_warning_with_or_without_supervisors() {
    for with_supervisors in [true, false] {
        let mut status = larger();
        let (_, at) = stated("redis-c");
        status.members =
            Some(listed(&status).with(MemberKind::Data, "redis-c", at, Standing::Counted));
        up(&mut status.data_nodes[2].state).promotable = Some(false);
        for sentinel in &mut status.sentinels {
            up(&mut sentinel.state)
                .promotable
                .retain(|name| name != "redis-c");
        }
        if !with_supervisors {
            status.supervisors.clear();
        }
        let found = problems(&status);
        let [problem] = found.as_slice() else {
            panic!("{found:#?}");
        };
        assert_eq!(problem.code, ProblemCode::NotFullMember);
        assert!(
            problem.remedy.contains("halab member remove redis-c"),
            "{problem:?}"
        );
    }
}

#[test]
fn a_member_that_is_down_is_a_fault_whatever_its_standing() {
    for standing in [Standing::Counted, Standing::Full] {
        let mut status = healthy();
        let at = status.data_nodes[1].address;
        status.members = Some(listed(&status).with(MemberKind::Data, "redis-b", at, standing));
        lose_b(&mut status);
        assert_eq!(
            codes(&status),
            [(ProblemCode::ServerEnded, Some("redis-b".into()))]
        );
    }
}

#[test]
fn a_member_at_another_address_gets_no_remedy_to_add_it() {
    let mut status = healthy();
    let elsewhere = "127.0.0.99:6379".parse().unwrap();
    status.members =
        Some(listed(&status).with(MemberKind::Data, "redis-b", elsewhere, Standing::Full));
    let found = problems(&status);
    let [of_b] = found.as_slice() else {
        panic!("{found:#?}");
    };
    assert_eq!(of_b.code, ProblemCode::MemberUnstated);
    assert!(of_b.remedy.contains("a name of its own"), "{of_b:?}");
    assert!(of_b.to_string().contains("127.0.0.99"), "{of_b}");
}

#[test]
fn a_member_missing_in_lab_toml_is_one_problem_that_names_all_processes() {
    let mut status = healthy();
    let at = "127.0.0.13:6379".parse().unwrap();
    status.members = Some(listed(&status).with(MemberKind::Data, "redis-c", at, Standing::Full));
    report_of(&mut status, "redis-a").members_unstated = vec!["redis-c".into()];
    let found = problems(&status);
    let [problem] = found.as_slice() else {
        panic!("{found:#?}");
    };
    assert_eq!(problem.code, ProblemCode::MemberUnstated);
    let text = "not in the lab.toml of redis-a and of this command";
    assert!(problem.what.ends_with(text), "{problem}");
    // It may even be the primary.
    status.primary.as_mut().unwrap().node = at.to_string();
    let found = problems(&status);
    let primary = found
        .iter()
        .find(|p| p.code == ProblemCode::ForeignPrimary)
        .unwrap();
    assert!(
        primary.remedy.contains("the lab.toml that has redis-c"),
        "{primary:?}"
    );
}

#[test]
fn a_node_whose_lab_toml_lacks_the_primary_does_not_wait_for_the_sentinels() {
    let mut status = healthy();
    state_b(&mut status).role = "parked";
    let report = report_of(&mut status, "redis-b");
    report.waiting = Some("a majority of the Sentinels".into());
    report.foreign_primary = Some("127.0.0.13:6379".into());
    let found = problems(&status);
    let problem = found
        .iter()
        .find(|p| p.code == ProblemCode::NoRole)
        .unwrap();
    assert!(
        problem.to_string().contains("name 127.0.0.13:6379 primary"),
        "{problem}"
    );
    assert!(problem.remedy.contains("current lab.toml"), "{problem:?}");
}
