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

#[test]
fn scratch() {
    let env = |k: &str| std::env::var(k).unwrap_or_default();
    let kinds: &'static [Kind] = Box::leak(
        env("KINDS")
            .split(',')
            .map(|k| match k {
                "server" => Kind::Server,
                "node" => Kind::Node,
                "pause" => Kind::Pause,
                "cut" => Kind::Cut,
                _ => Kind::Sentinel,
            })
            .collect::<Vec<_>>()
            .into_boxed_slice(),
    );
    let n = |k: &str, d: usize| env(k).parse().unwrap_or(d);
    let bounds = Bounds {
        nodes: n("N", 2),
        writes: n("W", 2) as u8,
        faults: n("F", 1) as u8,
        max_epoch: n("E", 3) as u8,
        kinds,
    };
    let off = env("OFF");
    let has = |k: &str| off.split(',').any(|x| x == k);
    let mut rules = Rules::ALL;
    if has("fresh") {
        rules.fresh_after_raise = false;
    }
    if has("prio") {
        rules.promotability = false;
    }
    if has("guard") {
        rules.guard = false;
    }
    if has("named") {
        rules.named_only = false;
    }
    if has("veto") {
        rules.dissent_vetoes = false;
    }
    if has("role") {
        rules.role_read = false;
    }
    if has("one") {
        rules.witness = rules::WitnessRule::OneSentinel;
    }
    if has("age") {
        rules.witness = rules::WitnessRule::AnyAge;
    }
    if has("ok") {
        rules.witness = rules::WitnessRule::PlainOk;
    }
    let t = std::time::Instant::now();
    let found = explore(rules, bounds);
    println!(
        "RESULT {} states, depth {}, {:?}, {:?}",
        found.states,
        found.depth,
        found.tally,
        t.elapsed()
    );
    println!("{}", found.loss.unwrap_or("SAFE".into()));
}
