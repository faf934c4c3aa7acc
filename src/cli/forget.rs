//! `halab forget`.

use clap::Args;

use crate::exit::Exit;
use crate::forget::{ForgetError, Forgotten, forget};

use super::output::{print_json, print_text};
use super::{Failure, Global, Outcome, Threads, with_signals};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  halab forget && halab status\n  halab forget --json\n\n\
    A Sentinel never forgets a replica or a Sentinel by itself, and may promote whoever listens where\n\
    one was. This resets one Sentinel after the other (SENTINEL RESET), the next one when that one\n\
    knows every node of lab.toml again and the lab is healthy, so that a failover is possible all the\n\
    time. It refuses while a stranger still answers, since that one would be known again at once, and\n\
    while anything else is wrong. Nothing is done where there are no strangers.\n\n\
    Exit code 0: no Sentinel knows a stranger; 1: refused, and why; 4: a Sentinel failed."
)]
pub(super) struct ForgetArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(global: &Global, args: &ForgetArgs) -> Outcome {
    let lab = global.lab()?;
    let result = with_signals(Threads::One, |token| async move {
        Ok(forget(&lab, &token).await)
    })?;
    match result {
        Ok(done) if args.json => print_json(&done)?,
        Ok(done) => print_text(told(&done))?,
        Err(
            error @ (ForgetError::NotHealthy(_)
            | ForgetError::Running(_)
            | ForgetError::CameBack { .. }),
        ) => {
            return Err(Failure {
                exit: Exit::Violated,
                error: error.into(),
            });
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Exit::Holds)
}

fn told(done: &Forgotten) -> String {
    if done.strangers.is_empty() {
        return "no Sentinel knows anybody who is not in lab.toml: nothing to forget".into();
    }
    let strangers: Vec<String> = done
        .strangers
        .iter()
        .map(crate::status::Stranger::address)
        .collect();
    let reset: Vec<String> = done
        .reset
        .iter()
        .map(|r| format!("{} (whole after {:.0} ms)", r.sentinel, r.whole_after_ms))
        .collect();
    format!(
        "forgotten: {}\nreset, one after the other: {}",
        strangers.join(", "),
        reset.join(", ")
    )
}
