use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

use super::*;
use crate::protocol::roster::{MemberKind as Of, Roster, Standing as As};
use crate::report::{Description, LogProblem, MemoryUse, RefusedLogin};
use crate::status::{Listed, Named};

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
        state: Reached::Up(state),
    }
}

fn named() -> Named {
    Named {
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
        strangers: Vec::<Listed>::new(),
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
    let parent = |name: &str| {
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
        parents: NODES
            .iter()
            .map(|name| parent(name))
            .collect::<BTreeMap<_, _>>(),
        description: Description::default(),
        stated: NODES.iter().map(|name| stated(name)).collect(),
    }
}

/// As [`data`] and [`view`] have it.
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

fn of_b(status: &mut Status) -> &mut DataNodeState {
    up(&mut status.data_nodes[1].state)
}

fn of_1(status: &mut Status) -> &mut SentinelState {
    up(&mut status.sentinels[0].state)
}

fn parent<'a>(status: &'a mut Status, name: &str) -> &'a mut NodeReport {
    up(status.parents.get_mut(name).unwrap())
}

fn lose_b(status: &mut Status) {
    status.data_nodes[1].state = Reached::Unreachable("Connection refused".into());
    parent(status, "redis-b").running = false;
}

fn says(status: &mut Status, cause: Cause, line: &str) {
    parent(status, "redis-b").said = Some(LogProblem {
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

/// A change of a healthy lab, the code that follows, about which node, and a part of its text.
type Case = (Code, Option<&'static str>, &'static str, fn(&mut Status));

const CASES: &[Case] = &[
    (Code::NoMajority, None, "no majority", |s| s.primary = None),
    (
        Code::ForeignPrimary,
        None,
        "10.0.0.1:6379 is named primary",
        |s| {
            s.primary.as_mut().unwrap().node = "10.0.0.1:6379".into();
        },
    ),
    (
        Code::NobodyPromotable,
        None,
        "redis-b holds a copy up to offset 7",
        |s| {
            s.data_nodes[0].state = Reached::Unreachable("refused".into());
            for sentinel in &mut s.sentinels {
                up(&mut sentinel.state).known_replicas = 0;
            }
        },
    ),
    (Code::NodeDown, Some("redis-b"), "Connection refused", |s| {
        lose_b(s);
        s.parents
            .insert("redis-b".into(), Reached::Unreachable("refused".into()));
    }),
    (
        Code::ServerEnded,
        Some("redis-b"),
        "signal: 9; it said last, 12 s ago: what",
        |s| {
            lose_b(s);
            parent(s, "redis-b").last_end = Some("signal: 9".into());
            says(s, Cause::Other, "what");
        },
    ),
    (
        Code::Unreachable,
        Some("redis-b"),
        "Connection refused",
        |s| {
            lose_b(s);
            s.parents.clear();
        },
    ),
    (Code::ParentSilent, Some("redis-b"), "timed out", |s| {
        s.parents
            .insert("redis-b".into(), Reached::Unreachable("timed out".into()));
    }),
    (Code::ConfigRefused, Some("redis-b"), "line 5", |s| {
        lose_b(s);
        says(s, Cause::ConfigRefused, "line 5, \"foo 1\": Bad directive");
    }),
    (
        Code::DataUnreadable,
        Some("redis-b"),
        "Bad file format",
        |s| {
            lose_b(s);
            says(s, Cause::DataUnreadable, "Bad file format");
        },
    ),
    (
        Code::DataTooNew,
        Some("redis-b"),
        "RDB format version 12",
        |s| {
            of_b(s).link_up = Some(false);
            says(s, Cause::DataTooNew, "Can't handle RDB format version 12");
        },
    ),
    (Code::DiskRefuses, Some("redis-b"), "it is read-only", |s| {
        lose_b(s);
        parent(s, "redis-b").disk = Some("it is read-only".into());
    }),
    (Code::PasswordRefused, Some("redis-b"), "WRONGPASS", |s| {
        s.data_nodes[1].state = Reached::Unreachable("our password (WRONGPASS)".into());
    }),
    (
        Code::ReplicaPasswordRefused,
        Some("redis-b"),
        "Unable to AUTH",
        |s| {
            of_b(s).link_up = Some(false);
            says(s, Cause::PasswordRefused, "Unable to AUTH to MASTER");
        },
    ),
    (Code::OwnPasswordRefused, None, "WRONGPASS", |s| {
        for node in &mut s.data_nodes {
            node.state = Reached::Unreachable("our password (WRONGPASS)".into());
        }
        for node in &mut s.sentinels {
            node.state = Reached::Unreachable("our password (WRONGPASS)".into());
        }
    }),
    (Code::Loading, Some("redis-b"), "loads its data", |s| {
        of_b(s).role = "loading"
    }),
    (Code::NoRole, Some("redis-b"), "waits for the others", |s| {
        of_b(s).role = "parked";
        parent(s, "redis-b").waiting = Some("the others".into());
    }),
    (Code::NeedsChoice, Some("redis-b"), "an operator", |s| {
        of_b(s).link_up = Some(false);
        parent(s, "redis-b").waiting = Some("an operator: halab choose NODE".into());
    }),
    (
        Code::NotPrimary,
        Some("redis-a"),
        "says that it is a replica",
        |s| {
            up(&mut s.data_nodes[0].state).role = "replica";
        },
    ),
    (Code::SecondPrimary, Some("redis-b"), "primary too", |s| {
        of_b(s).role = "primary";
        of_b(s).replica_of = None;
    }),
    (
        Code::WrongPrimary,
        Some("redis-b"),
        "is a replica of redis-c",
        |s| {
            of_b(s).replica_of = Some("redis-c".into());
        },
    ),
    (
        Code::NotInSync,
        Some("redis-b"),
        "its link is down: its server says, 12 s ago: x",
        |s| {
            of_b(s).link_up = Some(false);
            says(s, Cause::Other, "x");
        },
    ),
    (
        Code::NotPromotable,
        Some("redis-b"),
        "not promotable yet",
        |s| {
            of_b(s).promotable = Some(false);
        },
    ),
    (
        Code::NotFullMember,
        Some("redis-b"),
        "is not a full member of the lab: it only copies",
        |s| {
            of_b(s).promotable = Some(false);
            parent(s, "redis-b").not_full = Some("it only copies".into());
        },
    ),
    (
        Code::MemberUnstated,
        Some("redis-c"),
        "not in the lab.toml of redis-a: every writer asks it",
        |s| {
            parent(s, "redis-a").members_unstated = vec!["redis-c".into()];
        },
    ),
    (
        Code::Closed,
        Some("redis-a"),
        "is closed, to be stopped",
        |s| {
            s.data_nodes[0].holds = Some("term 1, closed".into());
        },
    ),
    (
        Code::MembersUnusable,
        Some("redis-a"),
        "does not know whom to ask, and waits",
        |s| up(&mut s.data_nodes[0].state).members_unusable = Some("it is damaged".into()),
    ),
    (Code::MemoryFull, Some("redis-a"), "11 of 10 bytes", |s| {
        parent(s, "redis-a").memory = Some(MemoryUse {
            used: 11,
            limit: 10,
        });
    }),
    (
        Code::SentinelDisagrees,
        Some("sentinel-1"),
        "calls redis-b primary",
        |s| {
            of_1(s).primary.node = "redis-b".into();
        },
    ),
    (
        Code::PrimaryDown,
        Some("sentinel-1"),
        "redis-a refuses its password for the user sentinel",
        |s| {
            of_1(s).primary_down = true;
            parent(s, "sentinel-1").refused = vec![refusal("redis-a")];
        },
    ),
    (
        Code::FailoverUnderWay,
        Some("sentinel-1"),
        "failover is under way",
        |s| {
            of_1(s).failover_in_progress = true;
        },
    ),
    (
        Code::MemberUnknown,
        Some("sentinel-1"),
        "does not know redis-b",
        |s| {
            of_1(s).unknown = vec!["redis-b".into()];
        },
    ),
    (
        Code::NotSeenPromotable,
        Some("sentinel-1"),
        "could not promote redis-b",
        |s| {
            of_1(s).promotable.clear();
        },
    ),
    (Code::QuorumLost, Some("sentinel-1"), "NOQUORUM", |s| {
        of_1(s).quorum_ok = false;
        of_1(s).quorum = "NOQUORUM".into();
    }),
    (
        Code::SecondName,
        Some("sentinel-1"),
        "monitors other",
        |s| {
            of_1(s).other_names = vec!["other".into()];
        },
    ),
    (Code::Tilt, Some("sentinel-1"), "in TILT", |s| {
        parent(s, "sentinel-1").tilt = true
    }),
    (
        Code::OtherLabToml,
        Some("redis-b"),
        "it has redis-c 1.1.1.1:1",
        |s| {
            parent(s, "redis-b").lab = Description {
                digest: "1:00".into(),
                members: vec!["redis-c 1.1.1.1:1".into()],
                rules: vec![],
            };
        },
    ),
    (
        Code::UsersAdded,
        Some("redis-a"),
        "shop; after a failover they are missing",
        |s| {
            parent(s, "redis-a").users_added = vec!["shop".into()];
        },
    ),
    (
        Code::UsersRemoved,
        Some("redis-b"),
        "has lost users that were not of the lab: shop",
        |s| {
            parent(s, "redis-b").users_removed = vec!["shop".into()];
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
    let left = Code::ALL.iter().filter(|c| !tested.contains(c.as_str()));
    let left: Vec<Code> = left.copied().collect();
    // Found by `members`, and while it is waited for.
    assert_eq!(left, [Code::Stranger, Code::NotRecovered]);
}

/// The node and the sentence of each problem with a password.
fn of_passwords(status: &Status) -> Vec<(Option<String>, String)> {
    let found = problems(status).into_iter();
    found
        .filter(|problem| problem.code == Code::PasswordRefused)
        .map(|problem| (problem.node, problem.what))
        .collect()
}

fn refuses(status: &mut Status, by: &str, asker: &str, user: &str) {
    let refusal = RefusedLogin {
        user: user.into(),
        ..refusal(by)
    };
    parent(status, asker).refused.push(refusal);
}

#[test]
fn the_node_that_refuses_all_others_is_to_be_mended() {
    let mut status = healthy();
    for name in NODES.iter().filter(|name| **name != "redis-b") {
        refuses(&mut status, "redis-b", name, "sentinel");
    }
    let found = of_passwords(&status);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].0.as_deref(), Some("redis-b"));
}

#[test]
fn the_node_that_all_others_refuse_is_to_be_mended() {
    let mut status = healthy();
    for name in NODES.iter().filter(|name| **name != "redis-b") {
        refuses(&mut status, name, "redis-b", "node");
    }
    let found = of_passwords(&status);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].0.as_deref(), Some("redis-b"));
    assert!(
        found[0].1.contains("another password than redis-a"),
        "{found:?}"
    );
}

#[test]
fn a_node_with_other_secrets_altogether_is_one_problem() {
    let mut status = healthy();
    for name in NODES.iter().filter(|name| **name != "redis-b") {
        refuses(&mut status, name, "redis-b", "node");
        let user = if *name == "redis-a" {
            "replication"
        } else {
            "sentinel"
        };
        refuses(&mut status, "redis-b", name, user);
    }
    refuses(&mut status, "redis-a", "redis-b", "replication");
    let found = of_passwords(&status);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].0.as_deref(), Some("redis-b"));
}

#[test]
fn of_two_that_differ_nobody_is_accused() {
    let mut status = healthy();
    refuses(&mut status, "redis-a", "redis-b", "replication");
    refuses(&mut status, "redis-b", "redis-a", "replication");
    let found = of_passwords(&status);
    let what = "redis-a and redis-b have different passwords for the user replication";
    assert_eq!(found, [(None, what.to_owned())]);
}

#[test]
fn two_nodes_with_wrong_passwords_are_two_problems() {
    let mut status = healthy();
    for name in ["redis-a", "sentinel-1", "sentinel-2"] {
        refuses(&mut status, name, "redis-b", "node");
        refuses(&mut status, name, "sentinel-3", "sentinel");
    }
    let nodes: Vec<_> = of_passwords(&status)
        .into_iter()
        .map(|(node, _)| node)
        .collect();
    assert_eq!(nodes, [Some("redis-b".into()), Some("sentinel-3".into())]);
}

#[test]
fn a_node_that_lacks_a_password_is_the_one_to_be_mended() {
    let mut status = healthy();
    let why = "no password for the user replication: x does not exist".into();
    let refusal = RefusedLogin {
        why,
        user: "replication".into(),
        ..refusal("redis-a")
    };
    parent(&mut status, "redis-b").refused.push(refusal);
    assert_eq!(of_passwords(&status)[0].0.as_deref(), Some("redis-b"));
}

#[test]
fn a_node_that_ended_with_an_error_is_told_by_its_note() {
    let note = NodeReport {
        ended: Some("the server refuses its config file".into()),
        ended_at: Some(100),
        said: Some(LogProblem {
            cause: Cause::ConfigRefused,
            line: "line 5".into(),
            ago_s: Some(1),
        }),
        ..NodeReport::default()
    };
    let problem = ended("redis-b", "redis-b is not reachable", &note, 280);
    assert_eq!(problem.code, Code::ConfigRefused);
    assert!(
        problem
            .to_string()
            .contains("its node has ended 3 min ago: the server refuses"),
        "{problem}"
    );
    let other = NodeReport {
        ended: Some("cannot listen".into()),
        ..NodeReport::default()
    };
    let problem = ended("redis-b", "x", &other, 0);
    assert_eq!(problem.code, Code::NodeDown);
    assert_eq!(problem.to_string(), "x: its node has ended: cannot listen");
    let stopped = NodeReport {
        stopped_at: Some(100),
        ..NodeReport::default()
    };
    let problem = ended("redis-b", "x", &stopped, 112);
    assert_eq!(problem.code, Code::NodeDown);
    assert_eq!(
        problem.to_string(),
        "x: it was stopped on request, 12 s ago"
    );
}

#[test]
fn a_refusal_for_the_version_is_the_cause_and_not_a_choice() {
    let refused = "Redis 7.0.15 can't read what Redis 8.0.2 wrote on this disk";
    // Its server is not started.
    let mut status = healthy();
    lose_b(&mut status);
    parent(&mut status, "redis-b").version_refused = Some(refused.into());
    // It does not follow, and waited for something else before.
    let mut parked = healthy();
    of_b(&mut parked).role = "parked";
    let report = parent(&mut parked, "redis-b");
    report.version_refused = Some(refused.into());
    report.waiting = Some("an operator: halab choose NODE".into());
    for status in [status, parked] {
        let found = problems(&status);
        let problem = found.iter().find(|p| p.node.as_deref() == Some("redis-b"));
        let problem = problem.unwrap();
        assert_eq!(problem.code, Code::DataTooNew, "{problem:?}");
        assert_eq!(problem.cause.as_deref(), Some(refused));
    }
}

#[test]
fn no_role_without_a_parent_points_to_the_log() {
    let mut status = healthy();
    of_b(&mut status).role = "parked";
    status.parents.clear();
    let found = problems(&status);
    assert!(
        found[0]
            .what
            .contains("its node's log says what it waits for"),
        "{}",
        found[0]
    );
}

/// A list of members with all of the healthy lab, `lab.toml`'s addresses included.
fn listed(status: &Status) -> Roster {
    let data = status
        .data_nodes
        .iter()
        .map(|n| (n.name.clone(), n.address));
    let sentinels = status.sentinels.iter();
    Roster::first(data, sentinels.map(|n| (n.name.clone(), n.address)))
}

fn codes(status: &Status) -> Vec<(Code, Option<String>)> {
    let found = problems(status).into_iter();
    found.map(|problem| (problem.code, problem.node)).collect()
}

#[test]
fn what_follows_from_a_node_that_is_down_is_not_said_of_the_sentinels() {
    let mut status = healthy();
    lose_b(&mut status);
    for sentinel in &mut status.sentinels {
        up(&mut sentinel.state).promotable.clear();
    }
    assert_eq!(
        codes(&status),
        [(Code::ServerEnded, Some("redis-b".into()))]
    );

    let mut status = healthy();
    status.data_nodes[0].state = Reached::Unreachable("Connection refused".into());
    for sentinel in &mut status.sentinels {
        up(&mut sentinel.state).primary_down = true;
    }
    assert!(
        codes(&status)
            .iter()
            .all(|(code, _)| *code != Code::PrimaryDown),
        "{:?}",
        codes(&status)
    );
}

/// A lab with one data node and one Sentinel more than the healthy one, all members, and all answering.
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
        status.parents.insert(name.into(), Reached::Up(report));
    }
    status.members = Some(listed(&status));
    assert_eq!(problems(&status), []);
    status
}

#[test]
fn a_node_that_is_no_member_is_not_needed() {
    let mut status = larger();
    status.members = Some(listed(&status).without(Of::Data, "redis-b"));
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
    assert_eq!(problem.code, Code::NotFullMember);
    assert!(!problem.is_fault());
    assert!(
        problem.remedy.starts_with("take redis-b out of lab.toml"),
        "{problem:?}"
    );
    // A Sentinel likewise.
    let mut status = larger();
    status.members = Some(listed(&status).without(Of::Sentinel, "sentinel-3"));
    status.sentinels[2].state = Reached::Unreachable("refused".into());
    assert_eq!(
        codes(&status),
        [(Code::NotFullMember, Some("sentinel-3".into()))]
    );
}

#[test]
fn a_primary_that_is_down_is_a_fault_though_the_list_does_not_have_it() {
    let mut status = larger();
    status.members = Some(listed(&status).without(Of::Data, "redis-a"));
    status.data_nodes[0].state = Reached::Unreachable("refused".into());
    parent(&mut status, "redis-a").running = false;
    let found = problems(&status);
    let faults: Vec<_> = found.iter().filter(|p| p.is_fault()).collect();
    assert_eq!(faults[0].code, Code::ServerEnded, "{found:#?}");
}

#[test]
fn a_node_on_its_way_in_or_out_is_a_warning_with_or_without_its_parent() {
    for with_parents in [true, false] {
        let mut status = larger();
        let (_, at) = stated("redis-c");
        status.members = Some(listed(&status).with(Of::Data, "redis-c", at, As::Counted));
        up(&mut status.data_nodes[2].state).promotable = Some(false);
        for sentinel in &mut status.sentinels {
            up(&mut sentinel.state)
                .promotable
                .retain(|name| name != "redis-c");
        }
        if !with_parents {
            status.parents.clear();
        }
        let found = problems(&status);
        let [problem] = found.as_slice() else {
            panic!("{found:#?}");
        };
        assert_eq!(problem.code, Code::NotFullMember);
        assert!(
            problem.remedy.contains("halab member remove redis-c"),
            "{problem:?}"
        );
    }
}

#[test]
fn a_member_that_is_down_is_a_fault_whatever_its_standing() {
    for standing in [As::Counted, As::Full] {
        let mut status = healthy();
        let at = status.data_nodes[1].address;
        status.members = Some(listed(&status).with(Of::Data, "redis-b", at, standing));
        lose_b(&mut status);
        assert_eq!(
            codes(&status),
            [(Code::ServerEnded, Some("redis-b".into()))]
        );
    }
}

#[test]
fn a_name_at_another_address_is_not_to_be_added() {
    let mut status = healthy();
    let elsewhere = "127.0.0.99:6379".parse().unwrap();
    status.members = Some(listed(&status).with(Of::Data, "redis-b", elsewhere, As::Full));
    let found = problems(&status);
    let [of_b] = found.as_slice() else {
        panic!("{found:#?}");
    };
    assert_eq!(of_b.code, Code::MemberUnstated);
    assert!(of_b.remedy.contains("a name of its own"), "{of_b:?}");
    assert!(of_b.to_string().contains("127.0.0.99"), "{of_b}");
}

#[test]
fn a_member_that_is_stated_nowhere_is_one_problem_that_names_who_lacks_it() {
    let mut status = healthy();
    let at = "127.0.0.13:6379".parse().unwrap();
    status.members = Some(listed(&status).with(Of::Data, "redis-c", at, As::Full));
    parent(&mut status, "redis-a").members_unstated = vec!["redis-c".into()];
    let found = problems(&status);
    let [problem] = found.as_slice() else {
        panic!("{found:#?}");
    };
    assert_eq!(problem.code, Code::MemberUnstated);
    let text = "not in the lab.toml of redis-a and of this command";
    assert!(problem.what.ends_with(text), "{problem}");
    // It may even be primary.
    status.primary.as_mut().unwrap().node = at.to_string();
    let found = problems(&status);
    let primary = found
        .iter()
        .find(|p| p.code == Code::ForeignPrimary)
        .unwrap();
    assert!(
        primary.remedy.contains("the lab.toml that states redis-c"),
        "{primary:?}"
    );
}

#[test]
fn a_node_that_does_not_state_the_primary_does_not_wait_for_the_sentinels() {
    let mut status = healthy();
    of_b(&mut status).role = "parked";
    let report = parent(&mut status, "redis-b");
    report.waiting = Some("a majority of the Sentinels".into());
    report.foreign_primary = Some("127.0.0.13:6379".into());
    let found = problems(&status);
    let problem = found.iter().find(|p| p.code == Code::NoRole).unwrap();
    assert!(
        problem.to_string().contains("name 127.0.0.13:6379 primary"),
        "{problem}"
    );
    assert!(problem.remedy.contains("current lab.toml"), "{problem:?}");
}

#[test]
fn the_age_of_what_a_server_said_goes_on_after_its_node_has_ended() {
    let mut status = healthy();
    status.data_nodes[1].state = Reached::Unreachable("Connection refused".into());
    status
        .parents
        .insert("redis-b".into(), Reached::Unreachable("refused".into()));
    status.problems = problems(&status);
    let note = NodeReport {
        ended: Some("the server refuses its config file".into()),
        ended_at: Some(1000),
        said: Some(LogProblem {
            cause: Cause::ConfigRefused,
            line: "line 5".into(),
            ago_s: Some(2),
        }),
        ..NodeReport::default()
    };
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("redis-b")).unwrap();
    let file = root.path().join("redis-b/ended.json");
    std::fs::write(file, serde_json::to_vec(&note).unwrap()).unwrap();
    // The second time as after the clock was set back.
    for (now, age) in [(1040, 42), (960, 2)] {
        let mut status = status.clone();
        status.recall_ends(root.path(), now);
        // The cause is why the node has ended, and no quotation.
        let of_b = |p: &&Problem| p.code == Code::ConfigRefused;
        let told = status.problems.iter().find(of_b).unwrap();
        assert_eq!(told.said_ago_s, None, "{told}");
        let report = serde_json::to_value(&status.parents["redis-b"]).unwrap();
        assert_eq!(report["up"]["said"]["ago_s"], age, "{report:#}");
    }
}

#[test]
fn a_node_that_was_promoted_for_a_lost_one_is_not_to_be_ended() {
    let mut status = healthy();
    status.data_nodes[0].state = Reached::Unreachable("refused".into());
    of_b(&mut status).role = "primary";
    of_b(&mut status).replica_of = None;
    let found = problems(&status);
    let of_b = found.iter().find(|p| p.node.as_deref() == Some("redis-b"));
    assert_eq!(of_b.unwrap().code, Code::FailoverUnderWay, "{found:#?}");
}

#[test]
fn a_remedy_says_the_unit_of_a_node_where_the_command_has_a_place_for_it_and_else_the_name() {
    let mut status = healthy();
    status.data_nodes[1].state = Reached::Unreachable("Connection refused".into());
    status.sentinels[0].state = Reached::Unreachable("Connection refused".into());
    for name in ["redis-b", "sentinel-1"] {
        let gone = Reached::Unreachable("Connection refused".into());
        status.parents.insert(name.into(), gone);
    }
    status.problems = problems(&status);
    let told = |command: &str, node: &str| {
        let mut status = status.clone();
        status.name_start_command(command);
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
        let remedy = told(command, node);
        assert!(
            remedy.contains(&format!("start the node {node} ({by})")),
            "{remedy}"
        );
    }
}
