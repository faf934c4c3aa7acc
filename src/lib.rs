//! redis-ha-lab: a reproducible lab of highly available Redis.
//!
//! It shows that *the lab survives the loss of any one node without losing an acknowledged write.*
//! The program is `halab`; this library contains everything that it does.
//!
//! What each module does, what it uses and whether it is pure is in the table of
//! `docs/architecture.md`; `tests/layers` checks it against the code.

// Tests may print, and state a long story in one function.
#![cfg_attr(
    not(test),
    warn(clippy::print_stderr, clippy::print_stdout, clippy::too_many_lines)
)]

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
pub mod web;
pub mod writer;
