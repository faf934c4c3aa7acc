//! The calls of clients, and their answers.

use std::fmt;

use super::object::{Method, ObjectKind, Returned};

/// One call. Times are of one monotonic clock, in microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Number of the client. A client makes one call at a time.
    pub client: u64,
    /// The call.
    pub method: Method,
    /// A time before the call was sent.
    pub invoked: u64,
    /// A time after its answer had come in, and the answer; none: it is not known whether the call
    /// was executed.
    pub returned: Option<(u64, Returned)>,
}

/// The calls to one object, which was new before the first one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectHistory {
    /// The kind of the object.
    pub kind: ObjectKind,
    /// The calls, in any order.
    pub operations: Vec<Operation>,
}

impl ObjectHistory {
    /// The history until that time: what was answered later was not answered yet, and what was
    /// called later was not called. It is linearizable if the whole history is.
    pub(super) fn until(&self, time: u64) -> ObjectHistory {
        let called = self.operations.iter().filter(|o| o.invoked <= time);
        let cut = |operation: &Operation| Operation {
            returned: operation.returned.clone().filter(|(at, _)| *at <= time),
            ..operation.clone()
        };
        ObjectHistory {
            kind: self.kind,
            operations: called.map(cut).collect(),
        }
    }
}

/// A moment, in seconds from `zero`.
fn seconds(at: u64, zero: u64) -> f64 {
    (at as f64 - zero as f64) / 1e6
}

/// An operation as a line of text, with times in seconds from a moment.
pub(super) struct OperationLine<'a>(pub(super) &'a Operation, pub(super) u64);

impl fmt::Display for OperationLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OperationLine(operation, zero) = self;
        let from = seconds(operation.invoked, *zero);
        write!(f, "client {}: {}", operation.client, operation.method)?;
        match &operation.returned {
            Some((at, returned)) => {
                let to = seconds(*at, *zero);
                write!(
                    f,
                    " -> {returned}, called at {from:.6} s, answered at {to:.6} s"
                )
            }
            None => write!(f, ", called at {from:.6} s, not answered"),
        }
    }
}
