//! `halab write`.

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;

use crate::client::ensure_open_files;
use crate::config::{Lab, Monitoring};
use crate::exit::Exit;
use crate::monitoring;
use crate::protocol::ack::Policy;
use crate::writer::{self, MetricsAt, WriteOptions, WriteProgress, WriterError};

use super::output::{print_json, print_text};
use super::progress::records_bar;
use super::{CommandResult, Failure, Global, Threads, parse_duration, with_signals};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab write                                   Write the number of records set in lab.toml\n  \
    halab write --count 200000 --ledger w.ledger  Keep a ledger for halab verify\n  \
    halab write --ledger w.ledger --resume        Continue the run after the writer was killed\n  \
    halab write --duration 30s --rate 500 --json\n\n\
    Ctrl-C and SIGTERM stop the writer in order; it still prints its summary.\n\n\
    Exit codes:\n  \
    0  every record was acknowledged\n  \
    3  the outcome of some records is unknown\n  \
    4  the writer failed")]
pub(super) struct WriteArgs {
    /// Number of records to write [default: from lab.toml; no limit with --duration]
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// How long to write, for example 30s or 5m
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Write until stopped by a signal
    #[arg(long, conflicts_with_all = ["count", "duration"])]
    endless: bool,
    /// Maximum number of records per second [default: no limit]
    #[arg(long, value_name = "PER_SECOND", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Number of write connections [default: from lab.toml]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: Option<u16>,
    /// Maximum number of unacknowledged batches per connection [default: from lab.toml]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    in_flight: Option<u16>,
    /// Records per batch, confirmed together [default: from lab.toml]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: Option<u32>,
    /// When a record counts as acknowledged
    #[arg(long, value_enum, default_value_t = PolicyName::Available)]
    policy: PolicyName,
    /// Log sent records and their outcomes in this file
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Continue the run of an existing ledger; its unknown records are sent first
    #[arg(long, requires = "ledger")]
    resume: bool,
    /// Like --resume if the ledger exists, otherwise start a new run (for services)
    #[arg(long = "continue", requires = "ledger", conflicts_with = "resume")]
    continue_run: bool,
    /// Give up after this time without an acknowledged record
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "60s")]
    patience: Duration,
    /// Serve metrics at this address, or "off" [default: from lab.toml]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_metrics)]
    metrics: Option<MetricsFlag>,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PolicyName {
    /// When every other data node has it; writes wait while one is down
    Replicated,
    /// When every promotable node has it; writes continue while one is down
    Available,
    /// When the primary answers +OK; a failover can lose it
    None,
}

impl From<PolicyName> for Policy {
    fn from(name: PolicyName) -> Policy {
        match name {
            PolicyName::Replicated => Policy::Replicated,
            PolicyName::Available => Policy::Available,
            PolicyName::None => Policy::None,
        }
    }
}

/// The value of `--metrics`.
#[derive(Debug, Clone, Copy)]
pub(super) enum MetricsFlag {
    Off,
    At(SocketAddrV4),
}

pub(super) fn parse_metrics(text: &str) -> Result<MetricsFlag, String> {
    match text {
        "off" => Ok(MetricsFlag::Off),
        _ => text.parse().map(MetricsFlag::At).map_err(|_| {
            "expected an IPv4 address and a port, for example 127.0.0.41:9401, or off".into()
        }),
    }
}

/// Accepted rates in records per second. The interval between two records fits into a `Duration`.
const RATES: std::ops::RangeInclusive<f64> = 0.001..=1e9;

pub(super) fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if RATES.contains(&rate) => Ok(rate),
        _ => Err(format!(
            "expected a number from {} to {}",
            RATES.start(),
            RATES.end()
        )),
    }
}

impl WriteArgs {
    /// Whether `--continue` is set and the ledger exists.
    fn continues(&self) -> bool {
        self.continue_run && self.ledger.as_ref().is_some_and(|path| path.exists())
    }

    fn options(&self, global: &Global, lab: &Lab) -> WriteOptions {
        let defaults = &lab.writer;
        let metrics = match self.metrics {
            Some(MetricsFlag::Off) => None,
            Some(MetricsFlag::At(address)) => Some(address),
            None => lab.monitoring.as_ref().map(Monitoring::writer_socket),
        };
        let count = match (self.count, self.duration) {
            (None, None) if !self.endless => Some(defaults.count),
            (count, _) => count,
        };
        WriteOptions {
            count,
            duration: self.duration,
            rate: self.rate,
            connections: self.connections.map_or(defaults.connections, usize::from),
            in_flight: self.in_flight.map_or(defaults.in_flight, usize::from),
            batch: self.batch.map_or(defaults.batch, |n| n as usize),
            wait_timeout: defaults.wait_timeout,
            policy: self.policy.into(),
            ledger: self.ledger.clone(),
            resume: self.resume || self.continues(),
            patience: self.patience,
            metrics: metrics.map(|address| MetricsAt {
                address,
                // Prometheus reads the file from the state folder.
                file: global
                    .state_root()
                    .ok()
                    .map(|root| monitoring::writer_file(&root)),
            }),
        }
    }
}

pub(super) fn run(global: &Global, args: &WriteArgs) -> CommandResult {
    let lab = global.lab()?;
    let options = args.options(global, &lab);
    if let Some(ledger) = args
        .ledger
        .as_ref()
        .filter(|path| args.resume && !path.exists())
    {
        return Err(Failure::usage(anyhow::anyhow!(
            "no ledger {} to resume; start a new run without --resume",
            ledger.display()
        )));
    }
    ensure_open_files(options.connections)
        .map_err(|error| Failure::from(anyhow::Error::from(error)))?;
    let bar = records_bar(options.count, "acknowledged");
    let shown = bar.clone();
    let (summary, failure) = with_signals(Threads::One, |token| async move {
        let show = move |now: WriteProgress| show(&shown, &now);
        writer::run(&lab, &options, token, show)
            .await
            .map_err(|error| match error {
                WriterError::Ledger(inner) if inner.is_wrong_file() => Failure::usage(inner),
                _ => Failure::from(error),
            })
    })?;
    bar.finish_and_clear();
    if args.json {
        print_json(&summary)?;
    } else {
        print_text(&summary)?;
    }
    match failure {
        Some(failure) => Err(failure.into()),
        None => Ok(match summary.exit() {
            // With --count 0, nothing written is success.
            Exit::Inconclusive if summary.invoked == 0 && args.count == Some(0) => Exit::Holds,
            exit => exit,
        }),
    }
}

fn show(bar: &ProgressBar, now: &WriteProgress) {
    let counts = now.counts;
    bar.set_position(counts.acknowledged());
    if let Some(why) = &now.refused {
        bar.set_message(format!("refused: {why}"));
    } else if counts.sent_again + counts.primary_changes > 0 {
        bar.set_message(format!(
            "sent again {}, primary changes {}",
            counts.sent_again, counts.primary_changes
        ));
    }
}
