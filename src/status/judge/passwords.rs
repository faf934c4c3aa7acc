//! The node with the wrong password, if nodes refuse each other's passwords: the one involved in
//! the most refusals.

use std::collections::BTreeMap;

use crate::report::lacks_password;

use super::{Problem, ProblemCode, Status, report};

/// A refused login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LoginRefusal<'a> {
    /// The node that logged in.
    client: &'a str,
    /// The node that refused.
    server: &'a str,
    user: &'a str,
    why: &'a str,
}

impl<'a> LoginRefusal<'a> {
    /// The nodes that may have the wrong password. If the client has no password, only the client.
    fn suspects(&self) -> impl Iterator<Item = &'a str> {
        let other =
            (self.server != self.client && !lacks_password(self.why)).then_some(self.server);
        std::iter::once(self.client).chain(other)
    }

    fn involves(&self, node: &str) -> bool {
        self.suspects().any(|suspect| suspect == node)
    }
}

/// One problem for each node with a wrong password, and for each pair of nodes of which either may
/// have the wrong one.
pub(super) fn problems(status: &Status) -> Vec<Problem> {
    let mut left: Vec<LoginRefusal<'_>> = Vec::new();
    for name in status.supervisors.keys() {
        let refused = report(status, name).map_or(&[][..], |report| &report.refused);
        left.extend(refused.iter().map(|refused| LoginRefusal {
            client: name,
            server: &refused.by,
            user: &refused.user,
            why: &refused.why,
        }));
    }
    let mut found = Vec::new();
    while let Some(first) = left.first().copied() {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for suspect in left.iter().flat_map(LoginRefusal::suspects) {
            *counts.entry(suspect).or_default() += 1;
        }
        let most = counts.values().copied().max().unwrap_or_default();
        let mut ahead = counts.iter().filter(|(_, count)| **count == most);
        let node = ahead.next().map_or(first.client, |(name, _)| *name);
        let (its, others): (Vec<LoginRefusal<'_>>, Vec<_>) =
            left.into_iter().partition(|refusal| refusal.involves(node));
        // Another node with the same count that is involved in the same refusals makes a pair.
        let equal = ahead.find(|(name, _)| its.iter().all(|refusal| refusal.involves(name)));
        found.push(match equal {
            Some((other, _)) => of_pair(node, other, &its),
            None => of_one(node, &its),
        });
        left = others;
    }
    found
}

fn of_one(node: &str, refusals: &[LoginRefusal<'_>]) -> Problem {
    let users = names(refusals.iter().map(|refusal| refusal.user));
    let others = refusals
        .iter()
        .flat_map(|refusal| [refusal.client, refusal.server]);
    let others = names(others.filter(|name| *name != node));
    let what = if others.is_empty() {
        format!(
            "the server of {node} refuses the password of its own supervisor for the user {users}"
        )
    } else {
        format!("{node} has a different password than {others} for the user {users}")
    };
    let cause = refusals.first().map(|refusal| refusal.why.to_owned());
    Problem::of_node(ProblemCode::PasswordRefused, node, what).because(cause)
}

fn of_pair(one: &str, other: &str, refusals: &[LoginRefusal<'_>]) -> Problem {
    let users = names(refusals.iter().map(|refusal| refusal.user));
    let what = format!("{one} and {other} have different passwords for the user {users}");
    let cause = refusals.first().map(|refusal| refusal.why.to_owned());
    Problem {
        remedy: format!(
            "make the secrets folders of {one} and {other} the same as those of the other hosts, then restart the node that \
             had the wrong one"
        ),
        ..Problem::of_lab(ProblemCode::PasswordRefused, what).because(cause)
    }
}

/// The names, sorted and without duplicates.
fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = all.collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}
