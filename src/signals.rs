//! Signals that ask the program to end.

use rustix::process::{Resource, Rlimit, setrlimit};
use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Exit code after a second signal: as a shell shows a process ended by SIGINT.
const INTERRUPTED: i32 = 130;

/// The signals that end the program in order: SIGINT, SIGTERM, SIGHUP.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Listens for them from now on, instead of dying of them.
    ///
    /// # Errors
    /// When the system refuses.
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

    /// Cancels `token` at the first signal; ends the process at the second, for whoever is in a hurry.
    pub async fn cancel_then_exit(mut self, token: CancellationToken) {
        self.next().await;
        token.cancel();
        self.next().await;
        std::process::exit(INTERRUPTED);
    }
}

/// Looks for something again and again; nothing, once `stop` is cancelled.
///
/// # Errors
/// What a look ends with.
pub async fn look_until<T, E>(
    stop: &CancellationToken,
    mut look: impl AsyncFnMut() -> Result<Option<T>, E>,
    pause: Duration,
) -> Result<Option<T>, E> {
    while !stop.is_cancelled() {
        if let Some(found) = look().await? {
            return Ok(Some(found));
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(None)
}

/// No process of this program, nor a server that it becomes, leaves what it has in memory on a disk.
pub fn leave_no_core() {
    // One byte rather than none: a kernel that hands cores to a program (`core_pattern` with a pipe) does so in spite
    // of a limit of 0, but takes 1 for the mark of a process that must not (core(5), fs/coredump.c).
    let limit = Rlimit {
        current: Some(1),
        maximum: Some(1),
    };
    // Less than this was allowed before: then there is no core either.
    let _ = setrlimit(Resource::Core, limit);
}
