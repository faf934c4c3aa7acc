//! The objects: what a call changes, and what it is answered.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of object.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, strum::Display,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ObjectKind {
    /// One value, or none.
    Register,
    /// A number that counts up.
    Counter,
    /// Values in the order in which they were pushed.
    Queue,
    /// Values without an order.
    Set,
}

/// A call.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Register and counter: the value.
    Get,
    /// Register: another value.
    Set(u64),
    /// Register: another value, if it has the expected one.
    CompareAndSet {
        /// The expected value; none: it has no value.
        expected: Option<u64>,
        /// The other value.
        new: u64,
    },
    /// Counter: one more.
    Increment,
    /// Queue: a value at the end.
    Push(u64),
    /// Queue: the first value, which is removed.
    Pop,
    /// Queue: all values.
    List,
    /// Set: one value more.
    Add(u64),
    /// Set: one value less.
    Remove(u64),
    /// Set: all values.
    Members,
}

/// The answer to a call.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Returned {
    /// It is done.
    Done,
    /// Whether it has changed the object.
    Changed(bool),
    /// A value, or none.
    Value(Option<u64>),
    /// A number: that of a counter, or the length of a queue.
    Number(u64),
    /// All values: of a queue in order, of a set sorted.
    Values(Vec<u64>),
    /// The object has no such call.
    Impossible,
}

/// An object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Object {
    /// One value, or none.
    Register(Option<u64>),
    /// A number that counts up.
    Counter(u64),
    /// Values in the order in which they were pushed.
    Queue(VecDeque<u64>),
    /// Values without an order.
    Set(BTreeSet<u64>),
}

impl Object {
    /// A new object.
    pub fn new(kind: ObjectKind) -> Self {
        match kind {
            ObjectKind::Register => Object::Register(None),
            ObjectKind::Counter => Object::Counter(0),
            ObjectKind::Queue => Object::Queue(VecDeque::new()),
            ObjectKind::Set => Object::Set(BTreeSet::new()),
        }
    }

    /// Takes a call, and answers it.
    pub fn take(&mut self, method: &Method) -> Returned {
        match (self, method) {
            (Object::Register(value), Method::Get) => Returned::Value(*value),
            (Object::Register(value), Method::Set(new)) => {
                *value = Some(*new);
                Returned::Done
            }
            (Object::Register(value), Method::CompareAndSet { expected, new }) => {
                let equal = value == expected;
                if equal {
                    *value = Some(*new);
                }
                Returned::Changed(equal)
            }
            (Object::Counter(number), Method::Get) => Returned::Number(*number),
            (Object::Counter(number), Method::Increment) => {
                *number += 1;
                Returned::Number(*number)
            }
            (Object::Queue(values), Method::Push(new)) => {
                values.push_back(*new);
                Returned::Number(values.len() as u64)
            }
            (Object::Queue(values), Method::Pop) => Returned::Value(values.pop_front()),
            (Object::Queue(values), Method::List) => {
                Returned::Values(values.iter().copied().collect())
            }
            (Object::Set(values), Method::Add(new)) => Returned::Changed(values.insert(*new)),
            (Object::Set(values), Method::Remove(old)) => Returned::Changed(values.remove(old)),
            (Object::Set(values), Method::Members) => {
                Returned::Values(values.iter().copied().collect())
            }
            _ => Returned::Impossible,
        }
    }

    /// About the bytes that it takes in memory, beside its own.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Object::Register(_) | Object::Counter(_) => 0,
            // There is room for up to twice as many values.
            Object::Queue(values) => 16 * values.len(),
            // A node of the tree holds up to eleven values, and is half full at least.
            Object::Set(values) => 24 * values.len(),
        }
    }
}

impl Method {
    /// Whether it changes nothing.
    pub fn is_read(&self) -> bool {
        matches!(self, Method::Get | Method::List | Method::Members)
    }
}

fn value(value: Option<u64>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

fn values(values: impl IntoIterator<Item = u64>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    format!("[{}]", values.join(" "))
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Method::Get => f.write_str("get"),
            Method::Set(new) => write!(f, "set {new}"),
            Method::CompareAndSet { expected, new } => {
                write!(f, "compare-and-set {} to {new}", value(*expected))
            }
            Method::Increment => f.write_str("increment"),
            Method::Push(new) => write!(f, "push {new}"),
            Method::Pop => f.write_str("pop"),
            Method::List => f.write_str("list"),
            Method::Add(new) => write!(f, "add {new}"),
            Method::Remove(old) => write!(f, "remove {old}"),
            Method::Members => f.write_str("members"),
        }
    }
}

impl fmt::Display for Returned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Returned::Done => f.write_str("done"),
            Returned::Changed(true) => f.write_str("changed"),
            Returned::Changed(false) => f.write_str("not changed"),
            Returned::Value(found) => f.write_str(&value(*found)),
            Returned::Number(number) => write!(f, "{number}"),
            Returned::Values(found) => f.write_str(&values(found.iter().copied())),
            Returned::Impossible => f.write_str("no such call"),
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Object::Register(found) => f.write_str(&value(*found)),
            Object::Counter(number) => write!(f, "{number}"),
            Object::Queue(found) => f.write_str(&values(found.iter().copied())),
            Object::Set(found) => f.write_str(&values(found.iter().copied())),
        }
    }
}
