//! `halab write`.

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;

use crate::client::room_for;
use crate::config::{Lab, Monitoring};
use crate::exit::Exit;
use crate::monitoring;
use crate::protocol::ack::Policy;
use crate::writer::{self, MetricsAt, Options, Progress, WriteFailure};

use super::output::{print_json, print_text};
use super::progress::records_bar;
use super::{Failure, Global, Outcome, Threads, parse_span, with_signals};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab write                                        1000 records, as the defaults of lab.toml say\n  \
    halab write --count 200000 --ledger w.ledger       keep what was acknowledged, for halab verify\n  \
    halab write --duration 30s --rate 500 --json\n  \
    halab write --ledger w.ledger --resume             go on after a kill -9 of the writer\n\n\
    Ctrl-C and SIGTERM end it in order, with the summary. Exit code 0: every record was acknowledged;\n\
    3: some are unknown; 4: it failed.")]
pub(super) struct WriteArgs {
    /// Records to write [default: count of lab.toml, or no limit with --duration]
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Write for that long, as 30s or 5m
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    duration: Option<Duration>,
    /// Write until it is told to stop
    #[arg(long, conflicts_with_all = ["count", "duration"])]
    endless: bool,
    /// At most so many records a second [default: no limit]
    #[arg(long, value_name = "PER_SECOND", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Connections to the primary that write [default: of lab.toml]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: Option<u16>,
    /// Batches on each connection that may wait to be acknowledged [default: of lab.toml]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    in_flight: Option<u16>,
    /// Records sent in one go before they are confirmed together [default: of lab.toml]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: Option<u32>,
    /// What counts as acknowledged
    #[arg(long, value_enum, default_value_t = PolicyName::Available)]
    policy: PolicyName,
    /// Keep what was sent and acknowledged in this file
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Go on with the run of an existing ledger: first send what it left unknown
    #[arg(long, requires = "ledger")]
    resume: bool,
    /// As --resume where the ledger exists, else start a new run: for services that are started again
    #[arg(long = "continue", requires = "ledger", conflicts_with = "resume")]
    go_on: bool,
    /// Give up after that long without any acknowledged record
    #[arg(long, value_name = "SPAN", value_parser = parse_span, default_value = "60s")]
    patience: Duration,
    /// Serve metrics there during the run, or "off" [default: of lab.toml]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_metrics)]
    metrics: Option<MetricsWanted>,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PolicyName {
    /// Every other data node has it; writes wait while one is lost
    Replicated,
    /// Every node that could be promoted has it; one lost node leaves the lab writable
    Available,
    /// The server's +OK is enough; loses data
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

/// Where metrics are served.
#[derive(Debug, Clone, Copy)]
enum MetricsWanted {
    Off,
    At(SocketAddrV4),
}

fn parse_metrics(text: &str) -> Result<MetricsWanted, String> {
    match text {
        "off" => Ok(MetricsWanted::Off),
        _ => text.parse().map(MetricsWanted::At).map_err(|_| {
            "an IPv4 address and a port are expected, as 127.0.0.41:9401, or off".into()
        }),
    }
}

/// Records a second that can be asked for: from one in a quarter of an hour to more than any server takes.
const RATES: std::ops::RangeInclusive<f64> = 0.001..=1e9;

pub(super) fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if RATES.contains(&rate) => Ok(rate),
        _ => Err(format!(
            "a number from {} to {} is expected",
            RATES.start(),
            RATES.end()
        )),
    }
}

impl WriteArgs {
    /// Whether `--continue` is given, and there is a run to continue.
    fn goes_on(&self) -> bool {
        self.go_on && self.ledger.as_ref().is_some_and(|path| path.exists())
    }

    fn options(&self, global: &Global, lab: &Lab) -> Options {
        let defaults = &lab.writer;
        let metrics = match self.metrics {
            Some(MetricsWanted::Off) => None,
            Some(MetricsWanted::At(address)) => Some(address),
            None => lab.monitoring.as_ref().map(Monitoring::writer_socket),
        };
        let count = match (self.count, self.duration) {
            (None, None) if !self.endless => Some(defaults.count),
            (count, _) => count,
        };
        Options {
            count,
            duration: self.duration,
            rate: self.rate,
            connections: self.connections.map_or(defaults.connections, usize::from),
            in_flight: self.in_flight.map_or(defaults.in_flight, usize::from),
            batch: self.batch.map_or(defaults.batch, |n| n as usize),
            wait_timeout: defaults.wait_timeout,
            policy: self.policy.into(),
            ledger: self.ledger.clone(),
            resume: self.resume || self.goes_on(),
            patience: self.patience,
            metrics: metrics.map(|address| MetricsAt {
                address,
                // Without a folder for state there is no Prometheus of this lab that would look there.
                file: global
                    .state_root()
                    .ok()
                    .map(|root| monitoring::writer_file(&root)),
            }),
        }
    }
}

pub(super) fn run(global: &Global, args: &WriteArgs) -> Outcome {
    let lab = global.lab()?;
    let options = args.options(global, &lab);
    if let Some(ledger) = args
        .ledger
        .as_ref()
        .filter(|path| args.resume && !path.exists())
    {
        return Err(Failure::usage(anyhow::anyhow!(
            "no ledger {} to resume: leave --resume out to start a new run",
            ledger.display()
        )));
    }
    room_for(options.connections).map_err(|error| Failure::from(anyhow::Error::from(error)))?;
    let bar = records_bar(options.count, "acknowledged");
    let shown = bar.clone();
    let (summary, failure) = with_signals(Threads::One, |token| async move {
        let show = move |now: Progress| show(&shown, &now);
        writer::run(&lab, &options, token, show)
            .await
            .map_err(|error| match error {
                WriteFailure::Ledger(inner) if inner.is_wrong_file() => Failure::usage(inner),
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
            // An empty order is carried out when nothing was written.
            Exit::Inconclusive if summary.invoked == 0 && args.count == Some(0) => Exit::Holds,
            exit => exit,
        }),
    }
}

fn show(bar: &ProgressBar, now: &Progress) {
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
