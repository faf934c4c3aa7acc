use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

use super::*;
use crate::access::SecretsError;
use crate::protocol::roster::{MemberKind, Roster, Standing};
use crate::report::{
    Cause, Description, END_NOTE, LogProblem, MemoryUse, RefusedLogin, lacks_password,
};
use crate::status::{NamedPrimary, StrangerEntry};

fn data(name: &str, role: &'static str) -> DataNodeStatus {
    let replica = role == "replica";
    let state = DataNodeState {
        pid: 1,
        role,
        replica_of: replica.then(|| "redis-a".into()),
        link_up: replica.then_some(true),
        promotable: replica.then_some(true),
        offset: 7,
        lag_bytes: None,
        replicas: None,
        version: "7.0.15".into(),
        members_unusable: None,
    };
    DataNodeStatus {
        name: name.into(),
        address: "127.0.0.11:6379".parse().unwrap(),
        holds: None,
        closed: false,
        state: Reached::Up(state),
    }
}

fn named() -> NamedPrimary {
    NamedPrimary {
        node: "redis-a".into(),
        epoch: 3,
    }
}

fn view(name: &str) -> SentinelStatus {
    let state = SentinelState {
        primary: named(),
        primary_down: false,
        failover_in_progress: false,
        other_sentinels: 2,
        known_replicas: 1,
        promotable: vec!["redis-b".into()],
        unknown: vec![],
        strangers: Vec::<StrangerEntry>::new(),
        other_names: vec![],
        quorum_ok: true,
        quorum: "OK".into(),
    };
    SentinelStatus {
        name: name.into(),
        address: "127.0.0.21:26379".parse().unwrap(),
        state: Reached::Up(state),
    }
}

const NODES: [&str; 5] = [
    "redis-a",
    "redis-b",
    "sentinel-1",
    "sentinel-2",
    "sentinel-3",
];

pub(in crate::status) fn healthy() -> Status {
    let supervisor = |name: &str| {
        let report = NodeReport {
            node: name.into(),
            running: true,
            ..NodeReport::default()
        };
        (name.to_owned(), Reached::Up(report))
    };
    Status {
        lab: "lab".into(),
        primary: Some(named()),
        data_nodes: vec![data("redis-a", "primary"), data("redis-b", "replica")],
        sentinels: NODES[2..].iter().map(|name| view(name)).collect(),
        strangers: vec![],
        members: None,
        healthy: true,
        stakes: vec![],
        problems: vec![],
        supervisors: NODES
            .iter()
            .map(|name| supervisor(name))
            .collect::<BTreeMap<_, _>>(),
        description: Description::default(),
        stated: NODES.iter().map(|name| stated(name)).collect(),
    }
}

/// Name and address as in [`data`] and [`view`].
fn stated(name: &str) -> (String, SocketAddrV4) {
    let at = match name.starts_with("redis") {
        true => "127.0.0.11:6379",
        false => "127.0.0.21:26379",
    };
    (name.to_owned(), at.parse().unwrap())
}

pub(in crate::status) fn up<T>(state: &mut Reached<T>) -> &mut T {
    match state {
        Reached::Up(state) => state,
        Reached::Unreachable(why) => panic!("unreachable: {why}"),
    }
}

fn state_b(status: &mut Status) -> &mut DataNodeState {
    up(&mut status.data_nodes[1].state)
}

fn state_1(status: &mut Status) -> &mut SentinelState {
    up(&mut status.sentinels[0].state)
}

fn report_of<'a>(status: &'a mut Status, name: &str) -> &'a mut NodeReport {
    up(status.supervisors.get_mut(name).unwrap())
}

fn lose_b(status: &mut Status) {
    status.data_nodes[1].state = Reached::Unreachable("Connection refused".into());
    report_of(status, "redis-b").running = false;
}

fn set_log(status: &mut Status, cause: Cause, line: &str) {
    report_of(status, "redis-b").log_problem = Some(LogProblem {
        cause,
        line: line.into(),
        ago_s: Some(12),
    });
}

fn refusal(by: &str) -> RefusedLogin {
    RefusedLogin {
        by: by.into(),
        user: "sentinel".into(),
        why: "(WRONGPASS)".into(),
    }
}

/// The expected code, node and part of the text, and the change of a healthy lab that causes it.
type ProblemCase = (
    ProblemCode,
    Option<&'static str>,
    &'static str,
    fn(&mut Status),
);

const CASES: &[ProblemCase] = &[
    (ProblemCode::NoMajority, None, "no majority", |s| {
        s.primary = None
    }),
    (
        ProblemCode::ForeignPrimary,
        None,
        "10.0.0.1:6379 is named primary",
        |s| {
            s.primary.as_mut().unwrap().node = "10.0.0.1:6379".into();
        },
    ),
    (
        ProblemCode::NobodyPromotable,
        None,
        "redis-b holds a copy up to offset 7",
        |s| {
            s.data_nodes[0].state = Reached::Unreachable("refused".into());
            for sentinel in &mut s.sentinels {
                up(&mut sentinel.state).known_replicas = 0;
            }
        },
    ),
    (
        ProblemCode::NodeDown,
        Some("redis-b"),
        "Connection refused",
        |s| {
            lose_b(s);
            s.supervisors
                .insert("redis-b".into(), Reached::Unreachable("refused".into()));
        },
    ),
    (
        ProblemCode::ServerEnded,
        Some("redis-b"),
        "signal: 9; its last log line, 12 s ago: what",
        |s| {
            lose_b(s);
            report_of(s, "redis-b").last_end = Some("signal: 9".into());
            set_log(s, Cause::Other, "what");
        },
    ),
    (
        ProblemCode::Unreachable,
        Some("redis-b"),
        "Connection refused",
        |s| {
            lose_b(s);
            s.supervisors.clear();
        },
    ),
    (
        ProblemCode::SupervisorSilent,
        Some("redis-b"),
        "timed out",
        |s| {
            s.supervisors
                .insert("redis-b".into(), Reached::Unreachable("timed out".into()));
        },
    ),
    (ProblemCode::ConfigRefused, Some("redis-b"), "line 5", |s| {
        lose_b(s);
        set_log(s, Cause::ConfigRefused, "line 5, \"foo 1\": Bad directive");
    }),
    (
        ProblemCode::DataUnreadable,
        Some("redis-b"),
        "Bad file format",
        |s| {
            lose_b(s);
            set_log(s, Cause::DataUnreadable, "Bad file format");
        },
    ),
    (
        ProblemCode::DataTooNew,
        Some("redis-b"),
        "RDB format version 12",
        |s| {
            state_b(s).link_up = Some(false);
            set_log(s, Cause::DataTooNew, "Can't handle RDB format version 12");
        },
    ),
    (
        ProblemCode::CommandRefused,
        Some("redis-b"),
        "after processing the command",
        |s| {
            state_b(s).link_up = Some(false);
            let line =
                "This replica is sending an error to its primary after processing the command 'x'";
            set_log(s, Cause::CommandRefused, line);
        },
    ),
    (
        ProblemCode::DiskRefuses,
        Some("redis-b"),
        "it is read-only",
        |s| {
            lose_b(s);
            report_of(s, "redis-b").disk = Some("it is read-only".into());
        },
    ),
    (
        ProblemCode::PasswordRefused,
        Some("redis-b"),
        "WRONGPASS",
        |s| {
            s.data_nodes[1].state = Reached::Unreachable("our password (WRONGPASS)".into());
        },
    ),
    (
        ProblemCode::ReplicaPasswordRefused,
        Some("redis-b"),
        "Unable to AUTH",
        |s| {
            state_b(s).link_up = Some(false);
            set_log(s, Cause::PasswordRefused, "Unable to AUTH to MASTER");
        },
    ),
    (ProblemCode::OwnPasswordRefused, None, "WRONGPASS", |s| {
        for node in &mut s.data_nodes {
            node.state = Reached::Unreachable("our password (WRONGPASS)".into());
        }
        for node in &mut s.sentinels {
            node.state = Reached::Unreachable("our password (WRONGPASS)".into());
        }
    }),
    (
        ProblemCode::Loading,
        Some("redis-b"),
        "is loading its data",
        |s| state_b(s).role = "loading",
    ),
    (
        ProblemCode::NoRole,
        Some("redis-b"),
        "waits for the others",
        |s| {
            state_b(s).role = "parked";
            report_of(s, "redis-b").waiting = Some("the others".into());
        },
    ),
    (
        ProblemCode::NeedsChoice,
        Some("redis-b"),
        "an operator",
        |s| {
            state_b(s).link_up = Some(false);
            let report = report_of(s, "redis-b");
            report.waiting = Some("an operator: halab choose NODE".into());
            report.needs_choice = true;
        },
    ),
    (
        ProblemCode::NotPrimary,
        Some("redis-a"),
        "reports that it is a replica",
        |s| {
            up(&mut s.data_nodes[0].state).role = "replica";
        },
    ),
    (
        ProblemCode::SecondPrimary,
        Some("redis-b"),
        "primary too",
        |s| {
            state_b(s).role = "primary";
            state_b(s).replica_of = None;
        },
    ),
    (
        ProblemCode::WrongPrimary,
        Some("redis-b"),
        "is a replica of redis-c",
        |s| {
            state_b(s).replica_of = Some("redis-c".into());
        },
    ),
    (
        ProblemCode::NotInSync,
        Some("redis-b"),
        "its link is down: its server says, 12 s ago: x",
        |s| {
            state_b(s).link_up = Some(false);
            set_log(s, Cause::Other, "x");
        },
    ),
    (
        ProblemCode::NotPromotable,
        Some("redis-b"),
        "not promotable yet",
        |s| {
            state_b(s).promotable = Some(false);
        },
    ),
    (
        ProblemCode::NotFullMember,
        Some("redis-b"),
        "is not a full member of the lab: it only copies",
        |s| {
            state_b(s).promotable = Some(false);
            report_of(s, "redis-b").not_full = Some("it only copies".into());
        },
    ),
    (
        ProblemCode::MemberUnstated,
        Some("redis-c"),
        "not in the lab.toml of redis-a: writers wait for its confirmation",
        |s| {
            report_of(s, "redis-a").members_unstated = vec!["redis-c".into()];
        },
    ),
    (
        ProblemCode::Closed,
        Some("redis-a"),
        "is closed for a stop",
        |s| {
            s.data_nodes[0].closed = true;
        },
    ),
    (
        ProblemCode::MembersUnusable,
        Some("redis-a"),
        "so writers that connect wait: it is damaged",
        |s| up(&mut s.data_nodes[0].state).members_unusable = Some("it is damaged".into()),
    ),
    (
        ProblemCode::MemoryFull,
        Some("redis-a"),
        "11 of 10 bytes",
        |s| {
            report_of(s, "redis-a").memory = Some(MemoryUse {
                used: 11,
                limit: 10,
            });
        },
    ),
    (
        ProblemCode::SentinelDisagrees,
        Some("sentinel-1"),
        "names redis-b as primary",
        |s| {
            state_1(s).primary.node = "redis-b".into();
        },
    ),
    (
        ProblemCode::PrimaryDown,
        Some("sentinel-1"),
        "redis-a refuses its password for the user sentinel",
        |s| {
            state_1(s).primary_down = true;
            report_of(s, "sentinel-1").refused = vec![refusal("redis-a")];
        },
    ),
    (
        ProblemCode::FailoverUnderWay,
        Some("sentinel-1"),
        "failover is in progress",
        |s| {
            state_1(s).failover_in_progress = true;
        },
    ),
    (
        ProblemCode::MemberUnknown,
        Some("sentinel-1"),
        "does not know redis-b",
        |s| {
            state_1(s).unknown = vec!["redis-b".into()];
        },
    ),
    (
        ProblemCode::NotSeenPromotable,
        Some("sentinel-1"),
        "could not promote redis-b",
        |s| {
            state_1(s).promotable.clear();
        },
    ),
    (
        ProblemCode::QuorumLost,
        Some("sentinel-1"),
        "NOQUORUM",
        |s| {
            state_1(s).quorum_ok = false;
            state_1(s).quorum = "NOQUORUM".into();
        },
    ),
    (
        ProblemCode::SecondName,
        Some("sentinel-1"),
        "monitors other",
        |s| {
            state_1(s).other_names = vec!["other".into()];
        },
    ),
    (ProblemCode::Tilt, Some("sentinel-1"), "in TILT", |s| {
        report_of(s, "sentinel-1").tilt = true
    }),
    (
        ProblemCode::OtherLabToml,
        Some("redis-b"),
        "it has redis-c 1.1.1.1:1",
        |s| {
            report_of(s, "redis-b").lab = Description {
                digest: "1:00".into(),
                members: vec!["redis-c 1.1.1.1:1".into()],
                rules: vec![],
            };
        },
    ),
    (
        ProblemCode::UsersAdded,
        Some("redis-a"),
        "shop; after a failover they are missing",
        |s| {
            report_of(s, "redis-a").users_added = vec!["shop".into()];
        },
    ),
    (
        ProblemCode::UsersRemoved,
        Some("redis-b"),
        "has lost users that are not of the lab: shop",
        |s| {
            report_of(s, "redis-b").users_removed = vec!["shop".into()];
        },
    ),
];

#[test]
fn a_healthy_lab_has_no_problems() {
    assert_eq!(problems(&healthy()), []);
}

#[test]
fn each_code_follows_from_what_is_seen() {
    for (code, node, text, change) in CASES {
        let mut status = healthy();
        change(&mut status);
        let found = problems(&status);
        let Some(problem) = found.iter().find(|p| p.code == *code) else {
            panic!("no {} in {found:#?}", code.as_str());
        };
        assert_eq!(problem.node.as_deref(), *node, "{problem:?}");
        assert!(problem.to_string().contains(text), "{text:?} in {problem}");
        assert!(!problem.remedy.is_empty(), "{problem:?}");
    }
}

#[test]
fn every_code_has_its_case() {
    let tested: BTreeSet<&str> = CASES.iter().map(|(code, ..)| code.as_str()).collect();
    let left = ProblemCode::ALL
        .iter()
        .filter(|c| !tested.contains(c.as_str()));
    let left: Vec<ProblemCode> = left.copied().collect();
    // The first is found by `known_servers`, the second by `wait_healthy`.
    assert_eq!(left, [ProblemCode::Stranger, ProblemCode::NotRecovered]);
}

/// Node and text of each problem with a password.
fn of_passwords(status: &Status) -> Vec<(Option<String>, String)> {
    let found = problems(status).into_iter();
    found
        .filter(|problem| problem.code == ProblemCode::PasswordRefused)
        .map(|problem| (problem.node, problem.what))
        .collect()
}

fn add_refusal(status: &mut Status, by: &str, client: &str, user: &str) {
    let refusal = RefusedLogin {
        user: user.into(),
        ..refusal(by)
    };
    report_of(status, client).refused.push(refusal);
}

#[test]
fn the_node_that_refuses_all_others_has_the_wrong_password() {
    let mut status = healthy();
    for name in NODES.iter().filter(|name| **name != "redis-b") {
        add_refusal(&mut status, "redis-b", name, "sentinel");
    }
    let found = of_passwords(&status);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].0.as_deref(), Some("redis-b"));
}

#[test]
fn the_node_that_all_others_refuse_has_the_wrong_password() {
    let mut status = healthy();
    for name in NODES.iter().filter(|name| **name != "redis-b") {
        add_refusal(&mut status, name, "redis-b", "node");
    }
    let found = of_passwords(&status);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].0.as_deref(), Some("redis-b"));
    assert!(
        found[0].1.contains("a different password than redis-a"),
        "{found:?}"
    );
}

#[test]
fn a_node_with_a_different_secrets_folder_is_one_problem() {
    let mut status = healthy();
    for name in NODES.iter().filter(|name| **name != "redis-b") {
        add_refusal(&mut status, name, "redis-b", "node");
        let user = if *name == "redis-a" {
            "replication"
        } else {
            "sentinel"
        };
        add_refusal(&mut status, "redis-b", name, user);
    }
    add_refusal(&mut status, "redis-a", "redis-b", "replication");
    let found = of_passwords(&status);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].0.as_deref(), Some("redis-b"));
}

#[test]
fn two_nodes_that_refuse_each_other_are_both_named() {
    let mut status = healthy();
    add_refusal(&mut status, "redis-a", "redis-b", "replication");
    add_refusal(&mut status, "redis-b", "redis-a", "replication");
    let found = of_passwords(&status);
    let what = "redis-a and redis-b have different passwords for the user replication";
    assert_eq!(found, [(None, what.to_owned())]);
}

#[test]
fn two_nodes_with_wrong_passwords_are_two_problems() {
    let mut status = healthy();
    for name in ["redis-a", "sentinel-1", "sentinel-2"] {
        add_refusal(&mut status, name, "redis-b", "node");
        add_refusal(&mut status, name, "sentinel-3", "sentinel");
    }
    let nodes: Vec<_> = of_passwords(&status)
        .into_iter()
        .map(|(node, _)| node)
        .collect();
    assert_eq!(nodes, [Some("redis-b".into()), Some("sentinel-3".into())]);
}

#[test]
fn a_node_without_a_password_is_the_one_named() {
    let mut status = healthy();
    let missing = SecretsError::Missing {
        user: "replication".into(),
        path: "x".into(),
    };
    let malformed = SecretsError::Malformed { path: "x".into() };
    assert!(lacks_password(&malformed.to_string()));
    let why = missing.to_string();
    let refusal = RefusedLogin {
        why,
        user: "replication".into(),
        ..refusal("redis-a")
    };
    report_of(&mut status, "redis-b").refused.push(refusal);
    assert_eq!(of_passwords(&status)[0].0.as_deref(), Some("redis-b"));
}

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
    let refused = "Redis 7.0.15 can't read what Redis 8.0.2 wrote on this disk";
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

/// A list of members with all nodes of the status.
fn listed(status: &Status) -> Roster {
    let data = status
        .data_nodes
        .iter()
        .map(|n| (n.name.clone(), n.address));
    let sentinels = status.sentinels.iter();
    Roster::first(data, sentinels.map(|n| (n.name.clone(), n.address)))
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
