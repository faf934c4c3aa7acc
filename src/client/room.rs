//! Room for connections: each is an open file, and a process may have so many.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that a program of the lab needs beside its connections.
const SPARE: u64 = 100;

/// Makes sure that this process may have so many connections, raising its own limit as far as it is
/// permitted.
///
/// # Errors
/// What is needed, where that is more than permitted.
pub fn room_for(connections: usize) -> io::Result<()> {
    let now = getrlimit(Resource::Nofile);
    let wanted = connections as u64 + SPARE;
    if now.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    if now.maximum.is_some_and(|most| most < wanted) {
        let text = format!("{wanted} open files are needed; raise the limit: ulimit -Hn {wanted}");
        return Err(io::Error::other(text));
    }
    let limit = Rlimit {
        current: Some(wanted),
        maximum: now.maximum,
    };
    setrlimit(Resource::Nofile, limit).map_err(Into::into)
}
