//! Which node has the wrong password.

use super::*;

/// Node and text of each problem with a password.
fn of_passwords(status: &Status) -> Vec<(Option<String>, String)> {
    let found = problems(status).into_iter();
    found
        .filter(|problem| problem.code == ProblemCode::PasswordRefused)
        .map(|problem| (problem.node, problem.what))
        .collect()
}

fn add_refusal(status: &mut Status, by: &str, client: &str, user: &str) {
    let refusal = RefusedLogin {
        user: user.into(),
        ..refusal(by)
    };
    report_of(status, client).refused.push(refusal);
}

#[test]
fn the_node_that_refuses_all_others_has_the_wrong_password() {
    let mut status = healthy();
    for name in NODES.iter().filter(|name| **name != "redis-b") {
        add_refusal(&mut status, "redis-b", name, "sentinel");
    }
    let found = of_passwords(&status);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].0.as_deref(), Some("redis-b"));
}

#[test]
fn the_node_that_all_others_refuse_has_the_wrong_password() {
    let mut status = healthy();
    for name in NODES.iter().filter(|name| **name != "redis-b") {
        add_refusal(&mut status, name, "redis-b", "node");
    }
    let found = of_passwords(&status);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].0.as_deref(), Some("redis-b"));
    assert!(
        found[0].1.contains("a different password than redis-a"),
        "{found:?}"
    );
}

#[test]
fn a_node_with_a_different_secrets_folder_is_one_problem() {
    let mut status = healthy();
    for name in NODES.iter().filter(|name| **name != "redis-b") {
        add_refusal(&mut status, name, "redis-b", "node");
        let user = if *name == "redis-a" {
            "replication"
        } else {
            "sentinel"
        };
        add_refusal(&mut status, "redis-b", name, user);
    }
    add_refusal(&mut status, "redis-a", "redis-b", "replication");
    let found = of_passwords(&status);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].0.as_deref(), Some("redis-b"));
}

#[test]
fn two_nodes_that_refuse_each_other_are_both_named() {
    let mut status = healthy();
    add_refusal(&mut status, "redis-a", "redis-b", "replication");
    add_refusal(&mut status, "redis-b", "redis-a", "replication");
    let found = of_passwords(&status);
    let what = "redis-a and redis-b have different passwords for the user replication";
    assert_eq!(found, [(None, what.to_owned())]);
}

#[test]
fn two_nodes_with_wrong_passwords_are_two_problems() {
    let mut status = healthy();
    for name in ["redis-a", "sentinel-1", "sentinel-2"] {
        add_refusal(&mut status, name, "redis-b", "node");
        add_refusal(&mut status, name, "sentinel-3", "sentinel");
    }
    let nodes: Vec<_> = of_passwords(&status)
        .into_iter()
        .map(|(node, _)| node)
        .collect();
    assert_eq!(nodes, [Some("redis-b".into()), Some("sentinel-3".into())]);
}

#[test]
fn a_node_without_a_password_is_the_one_named() {
    let mut status = healthy();
    let missing = SecretsError::Missing {
        user: "replication".into(),
        path: "x".into(),
    };
    let malformed = SecretsError::Malformed { path: "x".into() };
    assert!(lacks_password(&malformed.to_string()));
    let why = missing.to_string();
    let refusal = RefusedLogin {
        why,
        user: "replication".into(),
        ..refusal("redis-a")
    };
    report_of(&mut status, "redis-b").refused.push(refusal);
    assert_eq!(of_passwords(&status)[0].0.as_deref(), Some("redis-b"));
}
