//! The writer of a drill: `halab write` with a ledger, as a task of this process.

use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Lab;
use crate::protocol::ack::Policy;
use crate::writer::{
    self, Counts, MetricsAt, WriteOptions, WriteProgress, WriteSummary, WriterError,
};

/// The writer gives up after this time without an acknowledgement: longer than any fault lasts.
const PATIENCE: Duration = Duration::from_secs(600);

/// Settings of the writer.
#[derive(Debug, Clone)]
pub struct LoadSettings {
    /// The acknowledgement policy.
    pub policy: Policy,
    /// Connections of the writer.
    pub connections: usize,
    /// Batches in flight on each, at most.
    pub in_flight: usize,
    /// Records per batch.
    pub batch: usize,
    /// Limit of records per second.
    pub rate: Option<f64>,
    /// The bandwidth between the data nodes is limited so that the load outruns the replica.
    pub outrun: bool,
    /// Address of its metrics.
    pub metrics: Option<MetricsAt>,
}

impl LoadSettings {
    /// Maximum number of records in flight.
    pub fn in_flight_records(&self) -> u64 {
        self.connections as u64 * self.in_flight as u64 * self.batch as u64
    }
}

/// A running writer.
#[derive(Debug)]
pub struct Load {
    /// Start of the writer's clock.
    pub started: Instant,
    progress: watch::Receiver<WriteProgress>,
    stop: CancellationToken,
    lab: Lab,
    options: WriteOptions,
    task: JoinSet<Result<(WriteSummary, Option<WriterError>), WriterError>>,
}

impl Load {
    /// Starts it; it writes until [`Load::finish`].
    pub fn start(lab: &Lab, settings: &LoadSettings, ledger: &Path) -> Self {
        let options = WriteOptions {
            count: None,
            duration: None,
            rate: settings.rate,
            connections: settings.connections,
            in_flight: settings.in_flight,
            batch: settings.batch,
            wait_timeout: lab.writer.wait_timeout,
            policy: settings.policy,
            ledger: Some(ledger.to_owned()),
            resume: false,
            patience: PATIENCE,
            metrics: settings.metrics.clone(),
        };
        Load::begin(lab, options)
    }

    /// Starts another writer with the same settings, for that lab, with a ledger of its own.
    pub fn beside(&self, lab: &Lab, ledger: &Path) -> Self {
        let options = WriteOptions {
            ledger: Some(ledger.to_owned()),
            resume: false,
            metrics: None,
            ..self.options.clone()
        };
        Load::begin(lab, options)
    }

    fn begin(lab: &Lab, options: WriteOptions) -> Self {
        let mut load = Load {
            started: Instant::now(),
            progress: watch::channel(WriteProgress::default()).1,
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

    /// Waits until it has ended by itself. Returns its summary, if it has one, and its error.
    pub async fn ended(&mut self) -> (Option<WriteSummary>, Option<WriterError>) {
        match self.task.join_next().await {
            Some(Ok(Ok((summary, failure)))) => (Some(summary), failure),
            Some(Ok(Err(failure))) => (None, Some(failure)),
            Some(Err(error)) => (None, Some(WriterError::Task(error.to_string()))),
            None => (None, None),
        }
    }

    /// Resumes the run that has ended, as `halab write --resume` does.
    pub fn resume(&mut self) {
        self.options.resume = true;
        self.run();
    }

    /// The counts as of some milliseconds ago.
    pub fn counts(&self) -> Counts {
        self.now().counts
    }

    /// The counts as of now; of a writer that has ended, the last ones.
    pub async fn counts_now(&self) -> Counts {
        let mut progress = self.progress.clone();
        progress.mark_unchanged();
        // An error means that the writer has ended.
        let _ = progress.changed().await;
        self.now().counts
    }

    /// The primary's reason, while it refuses the writes.
    pub fn refused(&self) -> Option<String> {
        self.now().refused
    }

    fn now(&self) -> WriteProgress {
        self.progress.borrow().clone()
    }

    /// Stops it, and returns its summary.
    ///
    /// # Errors
    /// When it failed.
    pub async fn finish(mut self) -> Result<WriteSummary, WriterError> {
        self.stop.cancel();
        match self.ended().await {
            (Some(summary), None) => Ok(summary),
            (_, Some(failure)) => Err(failure),
            (None, None) => Err(WriterError::Task("it has ended".into())),
        }
    }
}
