//! `halab verify`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::exit::Exit;
use crate::ledger;
use crate::verifier::{self, VerifyError, VerifyOptions, VerifyProgress};

use super::output::{print_json, print_text};
use super::progress::records_bar;
use super::{Failure, Global, Outcome, Threads, parse_span, with_signals};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  halab verify --ledger w.ledger\n  halab verify --ledger w.ledger --scan --json\n\n\
    Exit code 0: every acknowledged record is there; 1: one is missing or wrong; 3: it can't be said.\n\
    1 is said only of a node that was the primary, or a replica in sync with it, during the entire reading."
)]
pub(super) struct VerifyArgs {
    /// The ledger that halab write has kept
    #[arg(long, value_name = "FILE")]
    ledger: PathBuf,
    /// Look also for records of the run that the ledger does not know; reads all keys of the server
    #[arg(long)]
    scan: bool,
    /// Start again, up to that long after the start, when the lab fails over during the reading; each replica may take
    /// that long to catch up
    #[arg(long, value_name = "SPAN", default_value = "30s", value_parser = parse_span)]
    wait: Duration,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(global: &Global, args: &VerifyArgs) -> Outcome {
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
            "no ledger {}: halab write --ledger makes one",
            options.ledger.display()
        )));
    }
    let bar = records_bar(None, "read");
    let shown = bar.clone();
    let result = with_signals(Threads::Many, |token| async move {
        let progress = |told: VerifyProgress<'_>| match told {
            VerifyProgress::Read(read) => {
                shown.set_position(read);
                shown.set_message("");
            }
            VerifyProgress::Restarting(change) => shown.set_message(format!("again: {change}")),
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
        // The records may all be there: nobody could be asked.
        Err(error @ (VerifyError::NoPrimary(_) | VerifyError::Stopped)) => Err(Failure {
            exit: Exit::Inconclusive,
            error: error.into(),
        }),
        Err(error) => Err(error.into()),
    }
}
