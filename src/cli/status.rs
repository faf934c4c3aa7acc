//! `halab status`.

use std::time::Duration;

use anyhow::Context;
use clap::Args;

use crate::exit::Exit;
use crate::status;
use crate::watch;

use super::output::{print_json, print_text};
use super::{Global, Outcome, Threads, parse_span, with_signals};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  halab status\n  halab status --wait 30s   wait until healthy, 30 s at most\n  \
    halab status --json\n  halab status --watch      a screen that follows\n  \
    halab status --start-command 'systemctl start {unit}'\n\nExit code 0: healthy, any one node may be lost; 1: not."
)]
pub(super) struct StatusArgs {
    /// Wait until the lab is healthy and every replica has caught up, for that long at most
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    wait: Option<Duration>,
    /// How a node is started on this machine; the remedies say it, with the node's name at the end, or with its unit of
    /// systemd in place of {unit}
    #[arg(long, env = "HALAB_START_COMMAND", value_name = "COMMAND")]
    start_command: Option<String>,
    /// Show it all on one screen, as it is now, until q or Ctrl-C
    #[arg(long, conflicts_with_all = ["wait", "json"])]
    watch: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(global: &Global, args: &StatusArgs) -> Outcome {
    let lab = global.lab()?;
    if args.watch {
        let healthy = with_signals(Threads::One, |token| async move {
            Ok(watch::run(&lab, &token)
                .await
                .context("cannot draw on this terminal")?)
        })?;
        return Ok(if healthy { Exit::Holds } else { Exit::Violated });
    }
    let limit = args.wait.unwrap_or(Duration::ZERO);
    let status = with_signals(Threads::One, |token| async move {
        Ok(status::wait_healthy(&lab, limit, &token).await)
    })?;
    let mut status = status;
    // Another host has no state here.
    if let Ok(state) = global.state_root() {
        status.recall(&state);
    }
    if let Some(command) = &args.start_command {
        status.name_start_command(command);
    }
    if args.json {
        print_json(&status)?;
    } else {
        print_text(status::render(&status))?;
    }
    Ok(if status.healthy {
        Exit::Holds
    } else {
        Exit::Violated
    })
}
