//! Client applications beside the writer: many clients call few objects, and what each was answered
//! is recorded.
//!
//! A client has one connection and makes one call at a time, as an application does that trusts
//! what it is answered. When its connection breaks, it is not known whether the call in flight was
//! executed, and it goes on as another client. A fourth of the clients only read. Once the fault is
//! healed, every object is read once more.
//!
//! - `calls`: the objects, which call is next (pure); `commands`: its commands, and their answers
//! - `route`: through a proxy, or directly at the primary that the Sentinels name
//! - `recorder`: all calls and answers, in memory and in a file
//! - `application`: the work of one client

mod application;
mod calls;
mod commands;
mod recorder;
mod route;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::Lab;

use application::Application;
use recorder::Recorder;

pub use calls::APPLICATION;
pub use recorder::{CallEnd, RecordedCall, Recording};
pub use route::Route;

/// This many calls of each client are answered before a fault.
const FIRST_CALLS: usize = 20;
/// Time limit of these, on a healthy lab.
const FIRST_LIMIT: Duration = Duration::from_secs(30);
/// Time limit of the last reads, of all objects together.
const LAST_LIMIT: Duration = Duration::from_secs(60);
/// Interval at which the number of calls is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Every client of this number only reads.
const READERS: usize = 4;

/// Clients at work.
#[derive(Debug)]
pub struct Clients {
    lab: Lab,
    route: Route,
    count: usize,
    recorder: Arc<Recorder>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// How clients are started.
#[derive(Debug)]
pub struct ClientsStart<'a> {
    /// The lab; it has the application [`APPLICATION`] if it has users.
    pub lab: &'a Lab,
    /// How they reach the primary.
    pub route: Route,
    /// Their number.
    pub count: usize,
    /// Random seed of their calls.
    pub seed: u64,
    /// Start of the clock of the recording.
    pub begun: Instant,
    /// The file of the recording.
    pub file: &'a Path,
}

impl Clients {
    /// Starts them.
    ///
    /// # Errors
    /// When the file can't be created.
    pub fn start(start: ClientsStart<'_>) -> std::io::Result<Self> {
        let recorder = Arc::new(Recorder::create(start.file, start.begun)?);
        let mut clients = Clients {
            lab: start.lab.clone(),
            route: start.route,
            count: start.count,
            recorder,
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
        };
        for number in 0..start.count {
            let seed = start.seed.wrapping_add(number as u64);
            let application = clients.application(seed);
            clients.tasks.spawn(application.run(number % READERS == 0));
        }
        Ok(clients)
    }

    fn application(&self, seed: u64) -> Application {
        Application::new(
            self.route.connect(&self.lab),
            self.recorder.clone(),
            StdRng::seed_from_u64(seed),
            self.stop.clone(),
        )
    }

    /// Number of answered calls.
    pub fn answered(&self) -> usize {
        self.recorder.answered()
    }

    /// Waits until they are at work. Returns whether they are.
    pub async fn await_first_calls(&self) -> bool {
        let deadline = Instant::now() + FIRST_LIMIT;
        while self.recorder.answered() < FIRST_CALLS * self.count {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(POLL_INTERVAL).await;
        }
        true
    }

    /// Ends them once the calls in flight are over, and reads every object a last time.
    pub async fn finish(mut self) -> Recording {
        self.stop.cancel();
        let mut failure = None;
        while let Some(ended) = self.tasks.join_next().await {
            failure = failure.or(ended.err().map(|error| error.to_string()));
        }
        // A request to stop has been made: the last reads need one that has not.
        self.stop = CancellationToken::new();
        let reader = self.application(0);
        let read = timeout(LAST_LIMIT, reader.read_all()).await;
        let failure = failure.or(match read {
            Ok(()) => None,
            Err(_) => Some(format!("not every key was read within {LAST_LIMIT:?}")),
        });
        self.recorder.take(failure)
    }
}
