//! The limit of open files of this process: each connection needs one.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that a program of the lab needs besides its connections.
const SPARE: u64 = 100;

/// The most connections that this process may open, by its hard limit of open files.
pub fn most_connections() -> usize {
    let most = getrlimit(Resource::Nofile).maximum;
    most.map_or(usize::MAX, |most| {
        usize::try_from(most.saturating_sub(SPARE)).unwrap_or(usize::MAX)
    })
}

/// Ensures that this process may open that many connections; raises its own limit if permitted.
///
/// # Errors
/// If the hard limit is too low.
pub fn ensure_open_files(connections: usize) -> io::Result<()> {
    let now = getrlimit(Resource::Nofile);
    let wanted = connections as u64 + SPARE;
    if now.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    if now.maximum.is_some_and(|most| most < wanted) {
        let text =
            format!("the limit of open files is below {wanted}; raise it: ulimit -Hn {wanted}");
        return Err(io::Error::other(text));
    }
    let limit = Rlimit {
        current: Some(wanted),
        maximum: now.maximum,
    };
    setrlimit(Resource::Nofile, limit).map_err(Into::into)
}
