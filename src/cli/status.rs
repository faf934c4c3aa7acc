//! `halab status`.

use std::time::Duration;

use anyhow::Context;
use clap::Args;

use crate::exit::Exit;
use crate::status;
use crate::watch;

use super::output::{print_json, print_text};
use super::{CommandResult, Global, Threads, parse_duration, with_signals};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab status\n  \
    halab status --wait 30s  Wait until healthy, at most 30 s\n  \
    halab status --watch     Show the current state on one screen\n  \
    halab status --json\n  \
    halab status --start-command 'systemctl start {unit}'\n\n\
    docs/runbook.md explains each problem by its code.\n\n\
    Exit codes:\n  \
    0  healthy: the loss of any one node loses no acknowledged write\n  \
    1  not healthy")]
pub(super) struct StatusArgs {
    /// Wait until the lab is healthy and every replica has caught up, at most this long
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    wait: Option<Duration>,
    /// Command that starts a node, shown in the remedies. {unit} stands for the node's systemd
    /// unit; without it, the node's name is appended
    #[arg(long, env = "HALAB_START_COMMAND", value_name = "COMMAND")]
    start_command: Option<String>,
    /// Show the current state on one screen until q or Ctrl-C
    #[arg(long, conflicts_with_all = ["wait", "json"])]
    watch: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print only the name of the primary; nothing when there is none
    #[arg(long, conflicts_with_all = ["watch", "json"])]
    primary: bool,
}

pub(super) fn run(global: &Global, args: &StatusArgs) -> CommandResult {
    let lab = global.lab()?;
    if args.watch {
        let healthy = with_signals(Threads::One, |token| async move {
            Ok(watch::run(&lab, &token)
                .await
                .context("cannot draw on this terminal")?)
        })?;
        return Ok(if healthy { Exit::Holds } else { Exit::Negative });
    }
    let limit = args.wait.unwrap_or(Duration::ZERO);
    let mut status = with_signals(Threads::One, |token| async move {
        Ok(status::wait_healthy(&lab, limit, &token).await)
    })?;
    // Only nodes of this host have a state folder here.
    if let Ok(state) = global.state_root() {
        status.add_notes(&state);
    }
    if let Some(command) = &args.start_command {
        status.add_start_command(command);
    }
    if args.primary {
        if let Some(primary) = &status.primary {
            print_text(&primary.node)?;
        }
    } else if args.json {
        print_json(&status)?;
    } else {
        print_text(status::render(&status))?;
    }
    Ok(if status.healthy {
        Exit::Holds
    } else {
        Exit::Negative
    })
}
