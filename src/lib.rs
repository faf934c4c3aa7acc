//! redis-ha-lab: a reproducible lab of highly available Redis.
//!
//! It shows that *the lab survives the loss of any one node without losing an acknowledged write.*
//! The program is `halab`; this library contains everything that it does.
//!
//! # Modules
//!
//! Pure, without I/O, clock, tokio, redis or clap:
//! - [`config`]: `lab.toml` to a [`config::Lab`], or to a list of problems, each with its remedy
//!   (I/O only in `config::load`)
//! - [`record`]: records: run, sequence number, key, value
//! - [`ledger`]: the format of the writer's ledger, and the files it is in (the I/O part)
//! - [`checker`]: history to verdict
//! - [`linearizability`]: checks whether the answers to clients are linearizable
//! - [`exit`]: exit codes
//! - [`access`]: users and their rights; password and certificate files (I/O in `access::secrets`
//!   and `access::certificates`)
//! - [`capacity`]: memory, disk and descriptors of a host and a data node, available and required
//!   (I/O in `read`)
//! - [`report`]: a supervisor's report on itself and its server; parsing of the server's log
//! - [`resp`]: where a reply of a Redis server ends
//! - [`protocol`]: when a record is acknowledged, which node is primary, what an error means
//!
//! With I/O (docs/architecture.md has the layers):
//! - [`files`]: files that are replaced in one step
//! - [`client`]: one connection to one node; [`http`]: HTTP, as server and as client
//! - [`sentinel`]: questions to all Sentinels, and their events
//! - [`metrics`]: a registry of metrics, served over HTTP
//! - [`confirmation`]: which writes to the current primary are confirmed
//! - [`handover`]: a planned change of the primary; [`closing`]: a planned stop of all nodes;
//!   [`choosing`]: an operator's choice between copies
//! - [`node`]: `halab node`, the supervisor of one server ([`node::machine`] is pure)
//! - [`proxy`]: any client, with the promise of [`writer`]
//! - [`writer`], [`verifier`], [`status`]: the work of the commands `write`, `verify`, `status`
//! - [`doctor`]: resources of the hosts and data nodes, judged by the rules of [`capacity`]
//! - [`monitoring`]: Prometheus, Grafana and exporters for the lab
//! - [`runner`]: a whole lab as child processes; [`signals`]: requests to end
//! - [`rotation`], [`renewal`]: new passwords and new certificates on a running lab
//! - [`backup`]: a copy of all data, on disk; [`recovery`]: whether a lab has recovered
//! - [`forget`]: strangers removed from the Sentinels
//! - [`membership`]: data nodes and Sentinels added to and removed from a running lab
//! - [`drill`]: a fault under load, healed and judged (`report` and `judging` are pure)
//! - [`watch`]: the lab on one screen
//! - [`cli`]: the command line; [`fuzz`]: properties that input from outside must not break

pub mod access;
pub mod backup;
pub mod capacity;
pub mod checker;
pub mod choosing;
pub mod cli;
pub mod client;
pub mod closing;
pub mod config;
pub mod confirmation;
pub mod doctor;
pub mod drill;
pub mod exit;
pub mod files;
pub mod forget;
pub mod fuzz;
#[cfg(test)]
#[path = "../tests/generated/mod.rs"]
mod generated;
pub mod handover;
pub mod http;
pub mod ledger;
pub mod linearizability;
pub mod membership;
pub mod metrics;
pub mod monitoring;
pub mod node;
pub mod protocol;
pub mod proxy;
pub mod record;
pub mod recovery;
pub mod renewal;
pub mod report;
pub mod resp;
pub mod rotation;
pub mod runner;
pub mod sentinel;
pub mod signals;
pub mod status;
pub mod verifier;
pub mod watch;
pub mod writer;
