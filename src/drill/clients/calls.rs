//! The objects that the clients share, and which call is next. Pure.

use crate::linearizability::{Method, ObjectKind};

/// The name of the application: its user, and the beginning of its keys.
pub const APPLICATION: &str = "drill-clients";

/// Number of objects of each kind.
const OBJECTS: [(ObjectKind, usize); 4] = [
    (ObjectKind::Register, 4),
    (ObjectKind::Counter, 2),
    (ObjectKind::Queue, 3),
    (ObjectKind::Set, 3),
];
/// Different values in a set.
const VALUES_OF_SET: u64 = 16;

/// An object that the clients share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedObject {
    /// Its key.
    pub key: String,
    /// Its kind.
    pub kind: ObjectKind,
}

/// All of them.
pub(super) fn objects() -> Vec<SharedObject> {
    let of_kind = |(kind, count): (ObjectKind, usize)| {
        (1..=count).map(move |number| SharedObject {
            key: format!("{APPLICATION}:{kind}-{number}"),
            kind,
        })
    };
    OBJECTS.into_iter().flat_map(of_kind).collect()
}

/// The next call of a client to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NextCall {
    /// One command.
    Command(Method),
    /// `WATCH`, `GET`, then `MULTI`, `SET` of this value, `EXEC`.
    Transaction(u64),
}

/// The state on which the choice of a call depends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice {
    /// Whether the client only reads.
    pub(super) reads: bool,
    /// A random number.
    pub(super) random: u64,
    /// A value that no call has had.
    pub(super) new: u64,
    /// The value that this client has read last in a register.
    pub(super) seen: Option<u64>,
}

impl SharedObject {
    /// The call that reads all of it.
    pub(super) fn reading(&self) -> Method {
        match self.kind {
            ObjectKind::Register | ObjectKind::Counter => Method::Get,
            ObjectKind::Queue => Method::List,
            ObjectKind::Set => Method::Members,
        }
    }

    /// The next call.
    pub(super) fn next(&self, choice: Choice) -> NextCall {
        if choice.reads {
            return NextCall::Command(self.reading());
        }
        let value = (choice.random >> 32) % VALUES_OF_SET;
        NextCall::Command(match (self.kind, choice.random % 10) {
            (ObjectKind::Register, 0..2) => Method::Set(choice.new),
            (ObjectKind::Register, 2..4) => return NextCall::Transaction(choice.new),
            (ObjectKind::Register, 4..7) => Method::CompareAndSet {
                expected: choice.seen,
                new: choice.new,
            },
            (ObjectKind::Counter, 0..6) => Method::Increment,
            // More that leave than that come: a queue stays short.
            (ObjectKind::Queue, 0..3) => Method::Push(choice.new),
            (ObjectKind::Queue, 3..7) => Method::Pop,
            (ObjectKind::Set, 0..4) => Method::Add(value),
            (ObjectKind::Set, 4..7) => Method::Remove(value),
            _ => self.reading(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_each_of_its_calls_and_a_reader_none_that_changes_it() {
        let mut all = BTreeSet::new();
        for object in objects() {
            for random in 0..10 {
                let choice = Choice {
                    reads: false,
                    random,
                    new: 7,
                    seen: None,
                };
                all.insert(match object.next(choice) {
                    NextCall::Transaction(_) => "transaction".to_owned(),
                    NextCall::Command(method) => format!("{} {method}", object.kind),
                });
                let reader = object.next(Choice {
                    reads: true,
                    ..choice
                });
                let NextCall::Command(method) = reader else {
                    panic!("{reader:?}");
                };
                assert!(method.is_read());
            }
        }
        let all: Vec<String> = all.into_iter().collect();
        assert_eq!(
            all,
            [
                "counter get",
                "counter increment",
                "queue list",
                "queue pop",
                "queue push 7",
                "register compare-and-set none to 7",
                "register get",
                "register set 7",
                "set add 0",
                "set members",
                "set remove 0",
                "transaction",
            ]
        );
    }
}
