//! Which node is to be mended where nodes refuse each other's passwords: the one that the most refusals have to do with.

use std::collections::BTreeMap;

use crate::report::lacks_password;

use super::{Code, Problem, Status, report};

/// A login that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refusal<'a> {
    /// Who wanted in.
    asker: &'a str,
    /// Who refused.
    by: &'a str,
    user: &'a str,
    why: &'a str,
}

impl<'a> Refusal<'a> {
    /// The nodes that may have the wrong password: not the other one where the asker has none.
    fn ends(&self) -> impl Iterator<Item = &'a str> {
        let other = (self.by != self.asker && !lacks_password(self.why)).then_some(self.by);
        std::iter::once(self.asker).chain(other)
    }

    fn concerns(&self, node: &str) -> bool {
        self.ends().any(|end| end == node)
    }
}

/// One problem for each node that is to be mended, and for each pair of which nobody can say who is wrong.
pub(super) fn problems(status: &Status) -> Vec<Problem> {
    let mut left: Vec<Refusal<'_>> = Vec::new();
    for name in status.parents.keys() {
        let refused = report(status, name).map_or(&[][..], |report| &report.refused);
        left.extend(refused.iter().map(|refused| Refusal {
            asker: name,
            by: &refused.by,
            user: &refused.user,
            why: &refused.why,
        }));
    }
    let mut found = Vec::new();
    while let Some(first) = left.first().copied() {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for end in left.iter().flat_map(Refusal::ends) {
            *counts.entry(end).or_default() += 1;
        }
        let most = counts.values().copied().max().unwrap_or_default();
        let mut ahead = counts.iter().filter(|(_, count)| **count == most);
        let node = ahead.next().map_or(first.asker, |(name, _)| *name);
        let (its, others): (Vec<Refusal<'_>>, Vec<_>) =
            left.into_iter().partition(|refusal| refusal.concerns(node));
        // The other of a pair has to do with the same ones.
        let equal = ahead.find(|(name, _)| its.iter().all(|refusal| refusal.concerns(name)));
        found.push(match equal {
            Some((other, _)) => of_pair(node, other, &its),
            None => of_one(node, &its),
        });
        left = others;
    }
    found
}

fn of_one(node: &str, refusals: &[Refusal<'_>]) -> Problem {
    let users = names(refusals.iter().map(|refusal| refusal.user));
    let others = refusals
        .iter()
        .flat_map(|refusal| [refusal.asker, refusal.by]);
    let others = names(others.filter(|name| *name != node));
    let what = if others.is_empty() {
        format!("the server of {node} refuses the password of its own node for the user {users}")
    } else {
        format!("{node} has another password than {others} for the user {users}")
    };
    let cause = refusals.first().map(|refusal| refusal.why.to_owned());
    Problem::of_node(Code::PasswordRefused, node, what).because(cause)
}

fn of_pair(one: &str, other: &str, refusals: &[Refusal<'_>]) -> Problem {
    let users = names(refusals.iter().map(|refusal| refusal.user));
    let what = format!("{one} and {other} have different passwords for the user {users}");
    let cause = refusals.first().map(|refusal| refusal.why.to_owned());
    Problem {
        remedy: format!(
            "make the files of passwords (the secrets folders) of {one} and {other} the same as those of the other hosts, then \
             restart the node that was changed"
        ),
        ..Problem::of_lab(Code::PasswordRefused, what).because(cause)
    }
}

/// Each name once, in order.
fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = all.collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}
