//! Each code of a problem, and what it follows from.

use super::*;

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
