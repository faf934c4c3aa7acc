//! A small model of the acknowledgement protocol, explored exhaustively within its bounds.
//!
//! It looks for the shortest way in which an acknowledged write is lost while at most one node is lost
//! at a time. Each rule is then taken out, and the model has to find the loss that the rule prevents.
//! What it covers and what it leaves out is in `docs/protocol.md`.
// A test states its claim with indexing and panics; the program may not.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "model/explore.rs"]
mod explore;
#[path = "model/faults.rs"]
mod faults;
#[path = "model/parent.rs"]
mod parent;
#[path = "model/replication.rs"]
mod replication;
#[path = "model/rules.rs"]
mod rules;
#[path = "model/sentinel.rs"]
mod sentinel;
#[path = "model/state.rs"]
mod state;
#[path = "model/writer.rs"]
mod writer;

use explore::explore;
use faults::Kind;
use rules::{Bounds, Rules};

const CRASHES: Bounds = Bounds {
    nodes: 2,
    writes: 2,
    faults: 1,
    max_epoch: 3,
    kinds: &[Kind::Server],
};

#[test]
fn no_acknowledged_write_is_lost_when_servers_crash() {
    let t = std::time::Instant::now();
    let found = explore(Rules::ALL, CRASHES);
    println!("{} states, depth {}, {:?}, {:?}", found.states, found.depth, found.tally, t.elapsed());
    if let Some(loss) = found.loss {
        panic!("an acknowledged write is lost:\n{loss}");
    }
}
