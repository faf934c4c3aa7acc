//! `halab doctor`: what a host and the data nodes are short of, and how to mend it.
//!
//! [`examine`] asks, everything at once and each thing within a limit; [`crate::capacity`] judges; [`render`] shows.
//! Nothing is changed anywhere.

mod ask;
mod facts;
mod table;

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::access::User;
use crate::capacity::{self, Finding, FindingSeverity, HostFacts, judge_host, judge_node};
use crate::client::Connector;
use crate::config::{Lab, Node};
use crate::node::ServerBinary;

pub use table::render;

/// Limit for a connect or an answer of a node.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);
/// Limit for what the system is asked: a disk that hangs, a server that does not state its version.
const HOST_LIMIT: Duration = Duration::from_secs(2);

/// What is examined.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder with the nodes' state.
    pub state: PathBuf,
    /// The server that was asked for, if one was.
    pub redis_server: Option<PathBuf>,
    /// Examine this host though no address of the lab is its own.
    pub here: bool,
}

/// All findings on a lab.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The lab's name.
    pub lab: String,
    /// Nothing is short.
    pub enough: bool,
    /// The findings: the host, then the data nodes in the order of `lab.toml`.
    pub findings: Vec<Finding>,
}

impl Report {
    fn of(lab: &Lab, findings: Vec<Finding>) -> Self {
        Report {
            lab: lab.name.clone(),
            enough: findings.iter().all(|f| f.severity < FindingSeverity::Short),
            findings,
        }
    }

    /// How many findings there are of a severity.
    pub fn count(&self, severity: FindingSeverity) -> usize {
        let of = self.findings.iter().filter(|f| f.severity == severity);
        of.count()
    }
}

/// Looks at this host and at every data node.
pub async fn examine(lab: &Lab, options: &Options) -> Report {
    let mine: Vec<&Node> = lab
        .data_nodes
        .iter()
        .filter(|node| is_of_this_host(lab.listens(node)))
        .collect();
    let (host, nodes) = tokio::join!(look_at_host(options, &mine), look_at_nodes(lab));
    let running = mine.iter().any(|node| {
        nodes
            .iter()
            .any(|(name, seen)| *name == node.name && seen.is_ok())
    });
    let mut findings = if mine.is_empty() && !options.here {
        vec![Finding::not_known(
            "host",
            "host",
            "no data node has an address of this host, so it was not examined: run this on their hosts, or with --here",
        )]
    } else {
        judge_host(&HostFacts { running, ..host })
    };
    for (name, seen) in nodes {
        findings.extend(match seen {
            Ok(facts) => judge_node(&facts),
            Err(why) => vec![Finding::not_known("answer", &name, why)],
        });
    }
    Report::of(lab, findings)
}

async fn look_at_nodes(lab: &Lab) -> Vec<(String, Result<capacity::NodeFacts, String>)> {
    let reader = Connector::new(lab, User::Verifier, ANSWER_LIMIT);
    let operator = Connector::new(lab, User::Operator, ANSWER_LIMIT);
    let nodes = lab.data_nodes.iter();
    let seen = nodes.map(|node| async {
        let facts = ask::node(lab, node, &reader, &operator).await;
        (node.name.clone(), facts)
    });
    join_all(seen).await
}

async fn look_at_host(options: &Options, mine: &[&Node]) -> HostFacts {
    let state = options.state.clone();
    let disk = beside(move || capacity::disk_at(&state).map_err(|e| e.to_string()));
    let asked = options.redis_server.clone();
    let server = beside(move || {
        let found = ServerBinary::find(asked.as_deref());
        found.map(|s| s.title()).map_err(|e| e.to_string())
    });
    let names: Vec<String> = mine.iter().map(|node| node.name.clone()).collect();
    let state = options.state.clone();
    let stored = beside(move || stored(&state, &names));
    let facts = beside(capacity::host);
    let (disk, server, stored, facts) = tokio::join!(disk, server, stored, facts);
    HostFacts {
        server,
        disk,
        state: options.state.display().to_string(),
        stored: stored.unwrap_or(0),
        data_nodes: mine.len() as u64,
        ..facts.unwrap_or_default()
    }
}

fn stored(state: &Path, names: &[String]) -> u64 {
    capacity::stored_under(state, names.iter().map(String::as_str))
}

/// Asks the system in a thread that nobody waits for: one that hangs ends with the process.
async fn beside<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (to, answer) = oneshot::channel();
    thread::Builder::new()
        .name("doctor".into())
        .spawn(move || drop(to.send(ask())))
        .ok()?;
    timeout(HOST_LIMIT, answer).await.ok()?.ok()
}

/// Whether this host has the address: nobody can listen on one that it has not.
fn is_of_this_host(address: Ipv4Addr) -> bool {
    TcpListener::bind(SocketAddrV4::new(address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_address_is_of_this_host_and_one_for_documents_is_not() {
        assert!(is_of_this_host(Ipv4Addr::new(127, 254, 254, 7)));
        // RFC 5737: of no host.
        assert!(!is_of_this_host(Ipv4Addr::new(192, 0, 2, 1)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_not_waited_for() {
        let (_keep, hung) = std::sync::mpsc::channel::<()>();
        let answer = beside(move || hung.recv()).await;
        assert!(answer.is_none());
    }

    #[test]
    fn only_what_is_short_makes_it_not_enough() {
        let lab = Lab::parse(include_str!("../../lab.toml"), None).unwrap();
        let with = |severity| {
            let mut finding = Finding::new("memory", "host", "x");
            finding.severity = severity;
            Report::of(&lab, vec![finding]).enough
        };
        assert!(with(FindingSeverity::Warning) && with(FindingSeverity::NotKnown));
        assert!(!with(FindingSeverity::Short));
    }
}
