//! A model of how data nodes are added and removed, explored exhaustively within its bounds.
//!
//! Three nodes, of which the first two are members at first. The third is added and then one of the
//! first two removed, while a writer writes and nodes are lost one at a time. The list of members
//! and the steps of the command are the program's own. Witnesses, the agreement of the Sentinels
//! and terms are in the other model (`tests/model.rs`): here a failover takes one step, and every
//! view is up to date. For each rule of `docs/protocol.md`, *Members*, a test removes the rule, and
//! the model must find the loss that it prevents.
// Tests may index and panic; the program may not.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "members/change.rs"]
mod change;
#[path = "members/lab.rs"]
mod lab;

use lab::{Model, RULES, Rules, explore};

/// Two writes, and two losses, the second after the lab has recovered from the first.
const BOUNDS: Model = Model {
    rules: RULES,
    writes: 2,
    losses: 2,
};

fn loses(rules: Rules) {
    loses_within(Model { rules, ..BOUNDS });
}

fn loses_within(model: Model) {
    let found = explore(model);
    let loss = found.loss.expect("no loss found without the rule");
    println!("{} states\n{loss}", found.states);
}

#[test]
fn no_loss_of_one_node_loses_a_write_while_members_change() {
    let found = explore(BOUNDS);
    println!("{} states, depth {}", found.states, found.depth);
    if let Some(loss) = found.loss {
        panic!("an acknowledged write is lost:\n{loss}");
    }
    assert!(found.replaced, "the change never completes");
    assert!(found.promoted_new, "the new node never becomes primary");
}

#[test]
fn a_node_is_not_full_before_it_is_counted() {
    loses(Rules {
        counted_first: false,
        ..RULES
    });
}

#[test]
fn the_next_step_waits_until_every_candidate_has_the_one_before() {
    loses(Rules {
        distributed: false,
        ..RULES
    });
}

#[test]
fn a_candidate_that_came_back_meanwhile_is_waited_for_too() {
    // A node is lost and comes back, its primary is lost, then the node is lost again.
    loses_within(Model {
        rules: Rules {
            candidates_rechecked: false,
            ..RULES
        },
        writes: 1,
        losses: 3,
    });
}

#[test]
fn only_a_full_member_becomes_promotable() {
    loses(Rules {
        raise_by_list: false,
        ..RULES
    });
}

#[test]
fn a_session_ends_when_the_members_change() {
    loses(Rules {
        sessions_end: false,
        ..RULES
    });
}

#[test]
fn a_node_is_removed_only_when_it_cannot_be_promoted() {
    loses(Rules {
        inactive: false,
        ..RULES
    });
}
