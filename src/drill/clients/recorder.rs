//! All calls and answers of the clients, in memory and, line by line, in a file.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use tokio::time::Instant;

use crate::linearizability::{Method, ObjectHistory, Operation, Returned};

use super::calls::{SharedObject, objects};

/// How a call has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallEnd {
    /// It was answered.
    Answered(Returned),
    /// It was not executed, as an error said.
    NotExecuted(String),
    /// It may have been executed.
    Unknown(String),
}

/// A call. Times are microseconds of the recording's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedCall {
    /// Number of the client.
    pub client: u64,
    /// Number of the object.
    pub object: usize,
    /// The call.
    pub method: Method,
    /// A time before it was sent.
    pub invoked: u64,
    /// A time after it had ended, and how; none: it has not.
    pub ended: Option<(u64, CallEnd)>,
}

/// All calls of the clients of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The objects.
    pub objects: Vec<SharedObject>,
    /// The calls, by invocation.
    pub calls: Vec<RecordedCall>,
    /// Why it is not complete, if so: a client has failed, or the last reads.
    pub failure: Option<String>,
}

impl Recording {
    /// The calls to that object, without those that were not executed.
    pub fn history(&self, object: usize) -> ObjectHistory {
        let calls = self.calls.iter().filter(|call| call.object == object);
        let operation = |call: &RecordedCall| {
            let returned = match &call.ended {
                Some((_, CallEnd::NotExecuted(_))) => return None,
                Some((at, CallEnd::Answered(returned))) => Some((*at, returned.clone())),
                Some((_, CallEnd::Unknown(_))) | None => None,
            };
            Some(Operation {
                client: call.client,
                method: call.method.clone(),
                invoked: call.invoked,
                returned,
            })
        };
        ObjectHistory {
            kind: self.objects[object].kind,
            operations: calls.filter_map(operation).collect(),
        }
    }
}

/// A line of the file: the beginning or the end of a call.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum RecordedLine<'a> {
    Begin {
        at_us: u64,
        call: usize,
        client: u64,
        key: &'a str,
        method: &'a Method,
    },
    End {
        at_us: u64,
        call: usize,
        end: &'a CallEnd,
    },
}

/// Takes the calls of all clients.
#[derive(Debug)]
pub(super) struct Recorder {
    begun: Instant,
    pub(super) objects: Vec<SharedObject>,
    recorded: Mutex<Recorded>,
}

#[derive(Debug)]
struct Recorded {
    calls: Vec<RecordedCall>,
    clients: u64,
    values: u64,
    answered: usize,
    file: File,
    /// The first error of the file.
    failure: Option<io::Error>,
}

impl Recorded {
    fn write(&mut self, line: &RecordedLine<'_>) {
        let written = serde_json::to_string(line).map_err(io::Error::from);
        let written = written.and_then(|text| self.file.write_all((text + "\n").as_bytes()));
        if let Err(error) = written {
            self.failure.get_or_insert(error);
        }
    }
}

impl Recorder {
    pub(super) fn create(path: &Path, begun: Instant) -> io::Result<Self> {
        Ok(Recorder {
            begun,
            objects: objects(),
            recorded: Mutex::new(Recorded {
                calls: Vec::new(),
                clients: 0,
                values: 0,
                answered: 0,
                file: File::create(path)?,
                failure: None,
            }),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Recorded> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The number of a new client.
    pub(super) fn new_client(&self) -> u64 {
        let mut recorded = self.lock();
        recorded.clients += 1;
        recorded.clients
    }

    /// A value that no call has had.
    pub(super) fn new_value(&self) -> u64 {
        let mut recorded = self.lock();
        recorded.values += 1;
        recorded.values
    }

    /// Number of answered calls.
    pub(super) fn answered(&self) -> usize {
        self.lock().answered
    }

    /// A call is about to be sent. Returns its number.
    pub(super) fn begin(&self, client: u64, object: usize, method: &Method) -> usize {
        let mut recorded = self.lock();
        let invoked = self.now();
        let call = recorded.calls.len();
        recorded.write(&RecordedLine::Begin {
            at_us: invoked,
            call,
            client,
            key: &self.objects[object].key,
            method,
        });
        recorded.calls.push(RecordedCall {
            client,
            object,
            method: method.clone(),
            invoked,
            ended: None,
        });
        call
    }

    /// A call has ended.
    pub(super) fn end(&self, call: usize, end: CallEnd) {
        let at = self.now();
        let mut recorded = self.lock();
        recorded.write(&RecordedLine::End {
            at_us: at,
            call,
            end: &end,
        });
        recorded.answered += usize::from(matches!(end, CallEnd::Answered(_)));
        if let Some(call) = recorded.calls.get_mut(call) {
            call.ended = Some((at, end));
        }
    }

    /// Takes everything.
    pub(super) fn take(&self, failure: Option<String>) -> Recording {
        let mut recorded = self.lock();
        let of_file = recorded.failure.take();
        Recording {
            objects: self.objects.clone(),
            calls: std::mem::take(&mut recorded.calls),
            failure: failure.or_else(|| of_file.map(|e| format!("their file: {e}"))),
        }
    }
}
