//! Signals that stop the program.

use rustix::process::{Resource, Rlimit, setrlimit};
use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Exit code after a second signal: that of a process ended by SIGINT, as a shell reports it.
const INTERRUPTED_EXIT_CODE: i32 = 130;

/// The signals that stop the program in order: SIGINT, SIGTERM, SIGHUP.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Handles these signals from now on, instead of being ended by them.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn register() -> io::Result<Self> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }

    /// Cancels `token` at the first signal, and ends the process at the second.
    pub async fn cancel_then_exit(mut self, token: CancellationToken) {
        self.next().await;
        token.cancel();
        self.next().await;
        std::process::exit(INTERRUPTED_EXIT_CODE);
    }
}

/// Calls `poll` until it returns a value; `None` once `stop` is cancelled.
///
/// # Errors
/// The first error of `poll`.
pub async fn poll_until<T, E>(
    stop: &CancellationToken,
    mut poll: impl AsyncFnMut() -> Result<Option<T>, E>,
    pause: Duration,
) -> Result<Option<T>, E> {
    while !stop.is_cancelled() {
        if let Some(found) = poll().await? {
            return Ok(Some(found));
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(None)
}

/// Disables core dumps of this process and of a server that it becomes, so no memory reaches a
/// disk.
pub fn disable_core_dumps() {
    // A limit of 1 byte rather than 0: a kernel that pipes cores to a program (`core_pattern`)
    // ignores a limit of 0, but does not dump a process with a limit of 1 (core(5),
    // fs/coredump.c).
    let limit = Rlimit {
        current: Some(1),
        maximum: Some(1),
    };
    // It fails only if a lower limit was set before, and then there is no core either.
    let _ = setrlimit(Resource::Core, limit);
}
