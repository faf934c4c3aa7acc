//! `halab doctor`: missing resources of this host and of the data nodes, with remedies.
//!
//! [`examine`] reads everything at once, each within a time limit. [`crate::capacity`] judges the
//! values, and [`render`] shows the findings. Nothing is changed.

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

/// Time limit for questions to the system: a disk may hang, or a server not print its version.
const HOST_LIMIT: Duration = Duration::from_secs(2);

/// Options of [`examine`].
#[derive(Debug, Clone)]
pub struct DoctorOptions {
    /// The folder with the state of the nodes.
    pub state: PathBuf,
    /// The server program of `--redis-server`.
    pub redis_server: Option<PathBuf>,
    /// Examine this host even if it has no address of a data node.
    pub force_host: bool,
}

/// All findings on a lab.
#[derive(Debug, Clone, Serialize)]
pub struct DoctorReport {
    /// Name of the lab.
    pub lab: String,
    /// Whether nothing is short.
    pub enough: bool,
    /// The findings: of the host, then of the data nodes in the order of `lab.toml`.
    pub findings: Vec<Finding>,
}

impl DoctorReport {
    fn of(lab: &Lab, findings: Vec<Finding>) -> Self {
        DoctorReport {
            lab: lab.name.clone(),
            enough: findings.iter().all(|f| f.severity < FindingSeverity::Short),
            findings,
        }
    }

    /// Number of findings of a severity.
    pub fn count(&self, severity: FindingSeverity) -> usize {
        let findings = self.findings.iter();
        findings.filter(|f| f.severity == severity).count()
    }
}

/// Examines this host and every data node.
pub async fn examine(lab: &Lab, options: &DoctorOptions) -> DoctorReport {
    let local: Vec<&Node> = lab
        .data_nodes
        .iter()
        .filter(|node| is_of_this_host(lab.listens(node)))
        .collect();
    let (host, nodes) = tokio::join!(examine_host(options, &local), examine_nodes(lab));
    let running = local.iter().any(|node| {
        nodes
            .iter()
            .any(|(name, facts)| *name == node.name && facts.is_ok())
    });
    let mut findings = if local.is_empty() && !options.force_host {
        vec![Finding::not_known(
            "host",
            "host",
            "this host has no address of a data node, so it was not examined; run this command on the hosts of the data nodes, or with --here",
        )]
    } else {
        judge_host(&HostFacts { running, ..host })
    };
    for (name, facts) in nodes {
        findings.extend(match facts {
            Ok(facts) => judge_node(&facts),
            Err(why) => vec![Finding::not_known("answer", &name, why)],
        });
    }
    DoctorReport::of(lab, findings)
}

async fn examine_nodes(lab: &Lab) -> Vec<(String, Result<capacity::NodeFacts, String>)> {
    let reader = Connector::new(lab, User::Verifier);
    let operator = Connector::new(lab, User::Operator);
    let nodes = lab.data_nodes.iter();
    let questions = nodes.map(|node| async {
        let facts = ask::node(lab, node, &reader, &operator).await;
        (node.name.clone(), facts)
    });
    join_all(questions).await
}

async fn examine_host(options: &DoctorOptions, local: &[&Node]) -> HostFacts {
    let state = options.state.clone();
    let disk = in_thread(move || capacity::disk_at(&state).map_err(|e| e.to_string()));
    let program = options.redis_server.clone();
    let server = in_thread(move || {
        let found = ServerBinary::find(program.as_deref());
        found.map(|s| s.title()).map_err(|e| e.to_string())
    });
    let names: Vec<String> = local.iter().map(|node| node.name.clone()).collect();
    let state = options.state.clone();
    let stored = in_thread(move || stored(&state, &names));
    let facts = in_thread(capacity::host);
    let (disk, server, stored, facts) = tokio::join!(disk, server, stored, facts);
    HostFacts {
        server,
        disk,
        state: options.state.display().to_string(),
        stored: stored.unwrap_or(0),
        data_nodes: local.len() as u64,
        ..facts.unwrap_or_default()
    }
}

fn stored(state: &Path, names: &[String]) -> u64 {
    capacity::stored_under(state, names.iter().map(String::as_str))
}

/// Asks the system in a separate thread. A hung thread is not waited for, and ends with the
/// process.
async fn in_thread<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (to, answer) = oneshot::channel();
    thread::Builder::new()
        .name("doctor".into())
        .spawn(move || drop(to.send(ask())))
        .ok()?;
    timeout(HOST_LIMIT, answer).await.ok()?.ok()
}

/// Whether this host has the address, by listening on it.
fn is_of_this_host(address: Ipv4Addr) -> bool {
    TcpListener::bind(SocketAddrV4::new(address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_address_is_of_this_host_and_a_documentation_address_is_not() {
        assert!(is_of_this_host(Ipv4Addr::new(127, 254, 254, 7)));
        // RFC 5737: reserved for documentation.
        assert!(!is_of_this_host(Ipv4Addr::new(192, 0, 2, 1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_hangs_is_not_waited_for() {
        let (_keep, hung) = std::sync::mpsc::channel::<()>();
        let answer = in_thread(move || hung.recv()).await;
        assert!(answer.is_none());
    }

    #[test]
    fn only_short_resources_make_the_result_not_enough() {
        let lab = Lab::parse(include_str!("../../lab.toml"), None).unwrap();
        let with = |severity| {
            let mut finding = Finding::new("memory", "host", "x");
            finding.severity = severity;
            DoctorReport::of(&lab, vec![finding]).enough
        };
        assert!(with(FindingSeverity::Warning) && with(FindingSeverity::NotKnown));
        assert!(!with(FindingSeverity::Short));
    }
}
