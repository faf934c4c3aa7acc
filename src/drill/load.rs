//! The writer of a drill, in the background: `halab write` with a ledger, in this process.

use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Lab;
use crate::protocol::ack::Policy;
use crate::writer::{self, Counts, MetricsAt, Options, Progress, Summary, WriteFailure};

/// The writer gives up after that long without an acknowledgement: longer than any fault lasts.
const PATIENCE: Duration = Duration::from_secs(600);

/// How much is written, and how.
#[derive(Debug, Clone)]
pub struct Order {
    /// What counts as acknowledged.
    pub policy: Policy,
    /// Connections of the writer.
    pub connections: usize,
    /// Batches on each that may wait to be acknowledged.
    pub in_flight: usize,
    /// Records a batch.
    pub batch: usize,
    /// Limit of records a second.
    pub rate: Option<f64>,
    /// The link between the data nodes is slower than that.
    pub outrun: bool,
    /// Where its metrics are served.
    pub metrics: Option<MetricsAt>,
}

impl Order {
    /// Records that are in flight at a time.
    pub fn round(&self) -> u64 {
        self.connections as u64 * self.in_flight as u64 * self.batch as u64
    }
}

/// A writer at work.
#[derive(Debug)]
pub struct Load {
    /// When it started.
    pub started: Instant,
    progress: watch::Receiver<Progress>,
    stop: CancellationToken,
    lab: Lab,
    options: Options,
    task: JoinSet<Result<(Summary, Option<WriteFailure>), WriteFailure>>,
}

impl Load {
    /// Starts it; it writes until it is told to end.
    pub fn start(lab: &Lab, order: &Order, ledger: &Path) -> Self {
        let options = Options {
            count: None,
            duration: None,
            rate: order.rate,
            connections: order.connections,
            in_flight: order.in_flight,
            batch: order.batch,
            wait_timeout: lab.writer.wait_timeout,
            policy: order.policy,
            ledger: Some(ledger.to_owned()),
            resume: false,
            patience: PATIENCE,
            metrics: order.metrics.clone(),
        };
        Load::begin(lab, options)
    }

    /// Starts another writer of the same order, for that lab, with a ledger of its own.
    pub fn beside(&self, lab: &Lab, ledger: &Path) -> Self {
        let options = Options {
            ledger: Some(ledger.to_owned()),
            resume: false,
            metrics: None,
            ..self.options.clone()
        };
        Load::begin(lab, options)
    }

    fn begin(lab: &Lab, options: Options) -> Self {
        let mut load = Load {
            started: Instant::now(),
            progress: watch::channel(Progress::default()).1,
            stop: CancellationToken::new(),
            lab: lab.clone(),
            options,
            task: JoinSet::new(),
        };
        load.run();
        load
    }

    fn run(&mut self) {
        let (lab, options) = (self.lab.clone(), self.options.clone());
        let token = self.stop.clone();
        let (shown, progress) = watch::channel(self.now());
        self.progress = progress;
        self.task.spawn(async move {
            writer::run(&lab, &options, token, move |now| drop(shown.send(now))).await
        });
    }

    /// Waits until it has ended by itself; its sums, where it claims any, and why it ended.
    pub async fn ended(&mut self) -> (Option<Summary>, Option<WriteFailure>) {
        match self.task.join_next().await {
            Some(Ok(Ok((summary, failure)))) => (Some(summary), failure),
            Some(Ok(Err(failure))) => (None, Some(failure)),
            Some(Err(error)) => (None, Some(WriteFailure::Task(error.to_string()))),
            None => (None, None),
        }
    }

    /// Goes on with the run that has ended, as `halab write --resume` does.
    pub fn resume(&mut self) {
        self.options.resume = true;
        self.run();
    }

    /// The counts, some milliseconds old: at least so much.
    pub fn counts(&self) -> Counts {
        self.now().counts
    }

    /// The counts, none older than this question; of a writer that has ended, the last ones.
    pub async fn counts_now(&self) -> Counts {
        let mut progress = self.progress.clone();
        progress.mark_unchanged();
        // An error says that there will be no more.
        let _ = progress.changed().await;
        self.now().counts
    }

    /// Why the primary refuses the writes, while it does.
    pub fn refused(&self) -> Option<String> {
        self.now().refused.map(|why| why.to_string())
    }

    fn now(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Ends it in order, and returns its sums.
    ///
    /// # Errors
    /// When it failed.
    pub async fn finish(mut self) -> Result<Summary, WriteFailure> {
        self.stop.cancel();
        match self.ended().await {
            (Some(summary), None) => Ok(summary),
            (_, Some(failure)) => Err(failure),
            (None, None) => Err(WriteFailure::Task("it has ended".into())),
        }
    }
}
