mod causes;
mod codes;
mod membership;
mod passwords;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

use super::*;
use crate::access::SecretsError;
use crate::protocol::member_list::{MemberKind, MemberList, Standing};
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
