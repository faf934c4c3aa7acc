//! `halab verify`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::exit::Exit;
use crate::ledger;
use crate::verifier::{self, VerifyError, VerifyOptions, VerifyProgress};

use super::output::{print_json, print_text};
use super::progress::records_bar;
use super::{CommandResult, Failure, Global, Threads, parse_duration, with_signals};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab verify --ledger w.ledger\n  \
    halab verify --ledger w.ledger --scan --json\n\n\
    Reads every record of the ledger from each data node. The answers of a node count only if it was \
    primary, or a replica in sync, during the entire reading.\n\n\
    Exit codes:\n  \
    0  every acknowledged record was found\n  \
    1  an acknowledged record is missing or wrong\n  \
    3  inconclusive")]
pub(super) struct VerifyArgs {
    /// Ledger of halab write
    #[arg(long, value_name = "FILE")]
    ledger: PathBuf,
    /// Also report records of the run that are not in the ledger; reads all keys of the server
    #[arg(long)]
    scan: bool,
    /// Time limit for reading again after a failover, and for each replica to catch up
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    wait: Duration,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(global: &Global, args: &VerifyArgs) -> CommandResult {
    let lab = global.lab()?;
    let options = VerifyOptions {
        ledger: args.ledger.clone(),
        scan: args.scan,
        faults: Vec::new(),
        wait: args.wait,
        given_up: None,
    };
    if !options.ledger.exists() {
        return Err(Failure::usage(anyhow::anyhow!(
            "no ledger {}; halab write --ledger creates one",
            options.ledger.display()
        )));
    }
    let bar = records_bar(None, "read");
    let shown = bar.clone();
    let result = with_signals(Threads::Many, |token| async move {
        let progress = |progress: VerifyProgress<'_>| match progress {
            VerifyProgress::Read(read) => {
                shown.set_position(read);
                shown.set_message("");
            }
            VerifyProgress::Restarting(change) => {
                shown.set_message(format!("reading again: {change}"))
            }
        };
        Ok(verifier::run(&lab, &options, &token, progress).await)
    })?;
    bar.finish_and_clear();
    match result {
        Ok(verification) => {
            if args.json {
                print_json(&verification)?;
            } else {
                print_text(&verification)?;
            }
            Ok(Exit::from(verification.verdict))
        }
        Err(VerifyError::Ledger(error)) if error.is_wrong_file() => Err(Failure::usage(error)),
        Err(VerifyError::Ledger(error @ ledger::Error::Damaged { .. })) => Err(Failure {
            exit: Exit::Inconclusive,
            error: error.into(),
        }),
        // No data node answered, so nothing is known about the records.
        Err(error @ (VerifyError::NoPrimary(_) | VerifyError::Stopped)) => Err(Failure {
            exit: Exit::Inconclusive,
            error: error.into(),
        }),
        Err(error) => Err(error.into()),
    }
}
