//! redis-ha-lab: a reproducible lab of highly available Redis.
//!
//! The claim it proves: *the lab survives the loss of any one node without losing an acknowledged
//! write.* The program is `halab`; this library holds everything behind it.
//!
//! # Map of the modules
//!
//! Pure, without I/O, clock, tokio, redis or clap:
//! - [`config`]: `lab.toml` to a [`config::Lab`], with every problem and its remedy (`config::load`
//!   is the one I/O part there)
//! - [`record`]: the records that are written: run, sequence number, key, value
//! - [`ledger`]: the format of the writer's ledger (its file handling is the one I/O part there)
//! - [`checker`]: history to verdict
//! - [`exit`]: exit codes
//! - [`access`]: who may do what on the servers (the files of passwords and certificates, `access::secrets` and
//!   `access::certificates`, are the I/O part there)
//! - [`capacity`]: what a host and a data node have of memory, disk and descriptors, and what they need (`read` is the I/O
//!   part there)
//! - [`report`]: what a node states about itself, and how a server's log is read
//! - [`protocol`]: when a record is acknowledged, who is primary, what an error means
//!
//! With I/O, each on top of the ones before it:
//! - [`files`]: files that are replaced in one step
//! - [`client`]: one connection to one node; [`http`]: HTTP, as server and as client
//! - [`sentinel`]: asking all Sentinels, hearing their events
//! - [`metrics`]: a registry of metrics, served over HTTP
//! - [`handover`]: a planned change of the primary; [`closing`]: a stop of all nodes as one act;
//!   [`choosing`]: an operator's decision between copies
//! - [`node`]: `halab node`, one node that starts safely ([`node::machine`] is pure)
//! - [`writer`], [`verifier`], [`status`]: what the commands of these names do
//! - [`doctor`]: asks host and nodes what they have, and judges it by the rules of [`capacity`]
//! - [`monitoring`]: Prometheus, Grafana and exporters, started for the lab at hand
//! - [`runner`]: a whole lab as child processes; [`signals`]: requests to end
//! - [`rotation`], [`renewal`]: new passwords, new certificates while the lab runs
//! - [`backup`]: a copy of all that the lab holds, on disk
//! - [`forget`]: the Sentinels forget whom `lab.toml` does not state
//! - [`membership`]: data nodes and Sentinels come and go on a lab that runs
//! - [`drill`]: a fault under load, healed and judged (`fault`, `report` and more there are pure)
//! - [`watch`]: the lab on one screen
//! - [`cli`]: the command line; [`fuzz`]: what bytes from outside may not do, for tests

pub mod access;
pub mod backup;
pub mod capacity;
pub mod checker;
pub mod choosing;
pub mod cli;
pub mod client;
pub mod closing;
pub mod config;
pub mod doctor;
pub mod drill;
pub mod exit;
pub mod files;
pub mod forget;
pub mod fuzz;
pub mod handover;
pub mod http;
pub mod ledger;
pub mod membership;
pub mod metrics;
pub mod monitoring;
pub mod node;
pub mod protocol;
pub mod record;
pub mod recovery;
pub mod renewal;
pub mod report;
pub mod rotation;
pub mod runner;
pub mod sentinel;
pub mod signals;
pub mod status;
pub mod verifier;
pub mod watch;
pub mod writer;
