//! `halab forget`.

use clap::Args;

use crate::exit::Exit;
use crate::forget::{ForgetError, Forgotten, forget};

use super::output::{print_json, print_text};
use super::{CommandResult, Failure, Global, Threads, with_signals};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  halab forget && halab status\n  halab forget --json\n\n\
    A Sentinel never forgets a replica or another Sentinel by itself, and may promote any server at \
    the address of a former replica. This command resets one Sentinel after the other (SENTINEL \
    RESET). Before the next reset it waits until that Sentinel knows every node of lab.toml again \
    and the lab is healthy, so a failover is possible at any time.\n\n\
    It refuses while a stranger still answers, because the Sentinels would learn it again at once, \
    and while the lab has any other problem. Without strangers it does nothing.\n\n\
    Exit codes:\n  \
    0  no Sentinel knows a stranger\n  \
    4  a Sentinel failed, or the stranger came back\n  \
    5  refused, with the reason"
)]
pub(super) struct ForgetArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(global: &Global, args: &ForgetArgs) -> CommandResult {
    let lab = global.lab()?;
    let result = with_signals(Threads::One, |token| async move {
        Ok(forget(&lab, &token).await)
    })?;
    match result {
        Ok(done) if args.json => print_json(&done)?,
        Ok(done) => print_text(render(&done))?,
        Err(error @ (ForgetError::NotHealthy(_) | ForgetError::Running(_))) => {
            return Err(Failure::refused(error));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Exit::Holds)
}

fn render(done: &Forgotten) -> String {
    if done.strangers.is_empty() {
        return "nothing to forget: every server that the Sentinels know is in lab.toml".into();
    }
    let strangers: Vec<String> = done
        .strangers
        .iter()
        .map(crate::status::Stranger::address)
        .collect();
    let reset: Vec<String> = done
        .reset
        .iter()
        .map(|r| {
            format!(
                "{} (knows all nodes again after {:.0} ms)",
                r.sentinel, r.whole_after_ms
            )
        })
        .collect();
    format!(
        "forgotten: {}\nSentinels reset: {}",
        strangers.join(", "),
        reset.join(", ")
    )
}
