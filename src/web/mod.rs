//! `halab web`: the lab in a browser: its state, its writes, what happens after a fault, and
//! buttons that inject one.
//!
//! - `server`: HTTP; `access`: who may look and who may change something; `page`: the files
//! - `board`: what every open page shows
//! - `recovered`: from which losses the lab has recovered
//! - `records`: the page's own writer, read back after every fault and once a minute
//! - `story`: what happened after a fault, as in a drill's report
//! - `faults`: the faults that the page can inject
//! - `drills`: drills in labs of their own, and their reports
//!
//! The page observes the lab as a drill does ([`crate::drill::environment::LabObserver`]), and
//! tells what happened by the same rules ([`crate::drill::judging`]).

mod access;
mod board;
mod drills;
mod faults;
mod page;
mod records;
mod recovered;
mod server;
mod story;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::access::User;
use crate::client::Connector;
use crate::config::Lab;
use crate::drill::environment::{LabObserver, TimedCuts};
use crate::recovery::Recovery;
use crate::status::{gather, proxy_serves};

use access::Access;
use board::Board;
use drills::Drills;
use faults::{AskedStatus, FaultButton, PageFaults};
use records::OwnRecords;
use recovered::RecoveredState;
use server::PageServer;
use story::StoryTeller;

/// Time between two rounds of questions to all nodes.
const STATUS_PERIOD: Duration = Duration::from_millis(500);
/// The same while a recovery is to be confirmed.
const CONFIRM_PERIOD: Duration = Duration::from_millis(150);
/// Time between two questions to the proxy.
const PROXY_PERIOD: Duration = Duration::from_secs(1);
/// Time between two looks at what was observed.
const OBSERVE_PERIOD: Duration = Duration::from_millis(50);
/// Every so many looks, a page is told that the program lives.
const LOOKS_A_SECOND: u32 = 20;
/// Every so many looks, the current story is shown.
const LOOKS_A_STORY: u32 = 5;

/// Settings of the page.
#[derive(Debug, Clone)]
pub struct WebOptions {
    /// Where it listens.
    pub listen: SocketAddrV4,
    /// The state folder of the lab.
    pub state: PathBuf,
    /// Records a second of its own writer; none: it does not write.
    pub rate: Option<f64>,
    /// Whether it may inject faults.
    pub allow_faults: bool,
    /// A shell command that is called with `start NAME` or `stop NAME`.
    pub node_command: Option<String>,
    /// Options of `halab` for a drill that is started from the page.
    pub drill_options: Vec<OsString>,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The folder of the page cannot be used.
    #[error("cannot use the folder {path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Another process uses the folder.
    #[error(
        "another halab web uses {0}: its page shows this lab; halab web --link prints the link to it"
    )]
    InUse(PathBuf),
    /// The address cannot be had.
    #[error("cannot listen at {at}: {source}; choose another address by --listen")]
    Listen {
        /// The address.
        at: SocketAddrV4,
        /// The error of the system.
        source: io::Error,
    },
    /// A task ended early.
    #[error("a task of the page failed: {0}")]
    Task(String),
}

/// What a page is told first.
#[derive(Debug, Serialize)]
struct ShownLab<'l> {
    name: &'l str,
    version: &'static str,
    /// The time at which this program was started, in milliseconds since 1970.
    started: u128,
    down_after_ms: u128,
    data_nodes: Vec<&'l str>,
    sentinels: Vec<&'l str>,
    quorum: usize,
    rate: Option<f64>,
    faults: Vec<FaultButton>,
}

/// The folder of the page in the state folder of a lab.
fn folder(state: &Path) -> PathBuf {
    state.join("web")
}

/// The link to the page, with its token, which is made if it is missing.
///
/// # Errors
/// If the token cannot be read or made.
pub fn link(listen: SocketAddrV4, state: &Path) -> Result<String, WebError> {
    Ok(open(listen, state)?.link())
}

/// Holds the folder until the result is dropped.
fn locked(path: &Path) -> Result<File, WebError> {
    let failed = |source| WebError::Folder {
        path: path.to_owned(),
        source,
    };
    let folder = File::open(path).map_err(failed)?;
    match folder.try_lock() {
        Ok(()) => Ok(folder),
        Err(TryLockError::WouldBlock) => Err(WebError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn open(listen: SocketAddrV4, state: &Path) -> Result<Access, WebError> {
    let path = folder(state);
    Access::open(listen, &path).map_err(|source| WebError::Folder { path, source })
}

/// Serves the page until `stop` is cancelled. `ready` gets the link.
///
/// # Errors
/// If it cannot listen, or a task fails.
pub async fn run(
    lab: &Lab,
    options: &WebOptions,
    stop: &CancellationToken,
    ready: impl FnOnce(&str),
) -> Result<(), WebError> {
    let access = open(options.listen, &options.state)?;
    // Another one would take the current run of this one for one that was left behind.
    let _lock = locked(&folder(&options.state))?;
    let link = access.link();
    let begun = Instant::now();
    let board = Arc::new(Board::new());
    let user = match options.allow_faults {
        true => User::Operator,
        false => User::Verifier,
    };
    let observer = Arc::new(LabObserver::start_as(lab, user, begun));
    let (to_status, status) = watch::channel(None);
    let (last_loss, losses) = watch::channel(None);
    let is_busy = Arc::new(AtomicBool::new(false));
    let faults = PageFaults {
        lab: lab.clone(),
        is_allowed: options.allow_faults,
        state: options.state.clone(),
        node_command: options.node_command.clone(),
        cuts: options.allow_faults.then(|| TimedCuts::of(lab)).flatten(),
        observer: observer.clone(),
        status,
        is_busy: is_busy.clone(),
        handling: tokio::sync::Mutex::default(),
        last_loss,
        stop: stop.clone(),
    };
    show_lab(lab, options, &faults, &board);
    let path = folder(&options.state);
    let records = OwnRecords::new(lab, &path, options.rate, board.clone(), begun);
    let records = records.map_err(|source| WebError::Folder { path, source })?;
    let records = Arc::new(records);
    let path = folder(&options.state);
    let drills = Drills::new(
        &path,
        options.allow_faults,
        options.drill_options.clone(),
        board.clone(),
        stop.clone(),
    );
    let drills = Arc::new(drills.map_err(|source| WebError::Folder { path, source })?);
    let requests = TaskTracker::new();
    let server = PageServer::new(
        access,
        board.clone(),
        faults,
        drills.clone(),
        requests.clone(),
    );
    let server = Arc::new(server);
    let listen = options.listen;
    let _server = server
        .start(listen)
        .await
        .map_err(|source| WebError::Listen { at: listen, source })?;
    ready(&link);

    let mut tasks = JoinSet::new();
    // Cancelled at the end, also after an error.
    let end = stop.child_token();
    let (own, until_end) = (records.clone(), end.clone());
    tasks.spawn(async move { own.write(&until_end).await });
    let (own, until_end) = (records.clone(), end.clone());
    tasks.spawn(async move { own.read_regularly(&until_end).await });
    let ask = ask_regularly(
        lab.clone(),
        board.clone(),
        losses.clone(),
        to_status.clone(),
    );
    tasks.spawn(until(end.clone(), ask));
    let ask = ask_proxy(lab.clone(), board.clone());
    tasks.spawn(until(end.clone(), ask));
    let teller = StoryTeller::new(lab, observer, board, records.clone(), is_busy, losses);
    let tell = tell(teller, records, to_status.subscribe(), end.clone());
    tasks.spawn(tell);
    let failed = tokio::select! {
        () = stop.cancelled() => None,
        Some(ended) = tasks.join_next() => Some(match ended {
            Ok(()) => "it has ended".to_owned(),
            Err(error) => error.to_string(),
        }),
    };
    end.cancel();
    // What was begun is ended: a handover in the middle would leave writes paused.
    requests.close();
    tokio::join!(requests.wait(), drills.stop());
    while tasks.join_next().await.is_some() {}
    match failed {
        Some(why) if !stop.is_cancelled() => Err(WebError::Task(why)),
        _ => Ok(()),
    }
}

fn show_lab(lab: &Lab, options: &WebOptions, faults: &PageFaults, board: &Board) {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let names = |nodes: &'_ [crate::config::Node]| -> Vec<String> {
        nodes.iter().map(|node| node.name.clone()).collect()
    };
    let (data_nodes, sentinels) = (names(&lab.data_nodes), names(&lab.sentinels));
    board.show(
        "lab",
        &ShownLab {
            name: &lab.name,
            version: env!("CARGO_PKG_VERSION"),
            started: since_1970.unwrap_or_default().as_millis(),
            down_after_ms: lab.timing.down_after.as_millis(),
            data_nodes: data_nodes.iter().map(String::as_str).collect(),
            sentinels: sentinels.iter().map(String::as_str).collect(),
            quorum: lab.quorum,
            rate: options.rate,
            faults: faults.buttons(),
        },
    );
}

async fn until(stop: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Asks all nodes in turn, and shows their answers.
async fn ask_regularly(
    lab: Lab,
    board: Arc<Board>,
    last_loss: watch::Receiver<Option<Instant>>,
    to: watch::Sender<Option<AskedStatus>>,
) {
    let connector = Connector::new(&lab, User::Verifier);
    let mut recovery = Recovery::default();
    let mut recovered = RecoveredState::new();
    loop {
        let at = Instant::now();
        let mut status = gather(&lab).await;
        let observed = status.recovery(&lab, &connector, &mut recovery).await;
        let since = recovery.since();
        recovered.note(since, observed.is_ok());
        if observed.is_ok() {
            // The next one has to be confirmed anew: a short cut leaves no other trace.
            recovery = Recovery::default();
        }
        let is_over = recovered.is_over(*last_loss.borrow());
        if !is_over {
            let why = observed.err();
            let why = why.unwrap_or_else(|| "a fault may have effects that do not show yet".into());
            status.add_not_recovered(why);
        }
        board.show("status", &status);
        let (status, recovered) = (Arc::new(status), recovered.before());
        to.send_replace(Some(AskedStatus { status, recovered }));
        // What the replicas have to confirm takes little time.
        let period = match since {
            Some(_) if !is_over => CONFIRM_PERIOD,
            _ => STATUS_PERIOD,
        };
        sleep_until(at + period).await;
    }
}

#[derive(Serialize)]
struct ShownProxy {
    serves: bool,
    /// Why not.
    why: Option<String>,
}

/// Asks the proxy, if the lab has one, and shows whether it serves.
async fn ask_proxy(lab: Lab, board: Arc<Board>) {
    if lab.proxy.is_none() {
        return std::future::pending().await;
    }
    loop {
        let why = proxy_serves(&lab, lab.proxy_socket()).await.err();
        let serves = why.is_none();
        board.show("proxy", &ShownProxy { serves, why });
        sleep(PROXY_PERIOD).await;
    }
}

/// Tells what happens, until `stop` is cancelled.
async fn tell(
    mut teller: StoryTeller,
    records: Arc<OwnRecords>,
    status: watch::Receiver<Option<AskedStatus>>,
    stop: CancellationToken,
) {
    let mut looks = interval(OBSERVE_PERIOD);
    looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut look: u32 = 0;
    let mut reading = JoinSet::new();
    let mut is_read: Option<u64> = None;
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = stop.cancelled() => return,
            Some(read) = reading.join_next() => {
                if let Ok((number, result)) = read {
                    teller.end(number, result);
                }
                continue;
            }
        }
        if let Some(why) = teller.observer.failure() {
            tracing::error!(why, "the page ends");
            return;
        }
        let known = status.borrow().clone();
        teller.observe(known.as_ref());
        look = look.wrapping_add(1);
        if look.is_multiple_of(LOOKS_A_SECOND) {
            // A state that does not change is not sent again.
            teller.board.show("alive", &look);
        }
        if look.is_multiple_of(LOOKS_A_STORY)
            && let Some(number) = teller.show()
            && is_read != Some(number)
        {
            is_read = Some(number);
            info!(story = number, "reading all records back");
            let (records, stop) = (records.clone(), stop.clone());
            reading.spawn(async move { (number, records.read_back(&stop).await) });
        }
    }
}
