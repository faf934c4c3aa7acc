//! `halab close`.

use std::time::Duration;

use clap::Args;
use tracing::warn;

use crate::access::User;
use crate::client::Connector;
use crate::closing::{self, Closed};
use crate::config::Lab;
use crate::exit::Exit;

use super::output::{print_json, print_text};
use super::{CommandResult, Global, Threads, parse_duration, with_signals};

/// Shortest limit of a connect or an answer; the lab's own may be longer.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab close           Then stop every node: systemctl stop, docker compose stop, ...\n  \
    halab close --reopen  Accept writes again; the nodes are not stopped after all\n  \
    halab close --at-end  Wait for SIGTERM first (for a service that is stopped before the nodes)\n\n\
    Run this before you stop all nodes of a lab. The primary refuses writes, all copies are brought \
    level, and each copy is marked as complete. At the next start, any one of these nodes can become \
    primary alone. If the nodes are not stopped within a minute, the lab accepts writes again. \
    ./lab down and halab up close the lab by themselves.\n\n\
    Exit codes:\n  \
    0  every copy is complete\n  \
    1  only some copies are complete; they are listed")]
pub(super) struct CloseArgs {
    /// How long to wait for the replicas to catch up
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10s")]
    timeout: Duration,
    /// Accept writes again
    #[arg(long, conflicts_with_all = ["at_end", "timeout"])]
    reopen: bool,
    /// Wait for SIGTERM or Ctrl-C, then close the lab
    #[arg(long)]
    at_end: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(global: &Global, args: &CloseArgs) -> CommandResult {
    let lab = global.lab()?;
    if args.reopen {
        let primary = with_signals(Threads::One, |_| async {
            Ok(closing::reopen(&lab, &connector(&lab)).await?)
        })?;
        print_text(format_args!("{primary} accepts writes again"))?;
        return Ok(Exit::Holds);
    }
    let closed = with_signals(Threads::One, |token| async move {
        if args.at_end {
            token.cancelled().await;
        }
        Ok(closing::close(&lab, &connector(&lab), args.timeout).await?)
    })?;
    if args.json {
        print_json(&closed)?;
    } else {
        print_text(render(&closed))?;
    }
    Ok(if closed.others.is_empty() {
        Exit::Holds
    } else {
        Exit::Negative
    })
}

fn connector(lab: &Lab) -> Connector {
    Connector::new(lab, User::Operator).with_min_limit(ANSWER_LIMIT)
}

/// Closes the lab before all nodes are stopped. A failure is only logged, since the nodes are
/// stopped all the same.
pub(super) async fn close_first(lab: &Lab, limit: Duration) {
    match closing::close(lab, &connector(lab), limit).await {
        Ok(closed) if closed.others.is_empty() => {}
        Ok(closed) => warn!("{}", render(&closed)),
        Err(error) => {
            warn!(%error, "the lab could not be closed; the nodes compare their copies at the next start")
        }
    }
}

fn render(closed: &Closed) -> String {
    let complete = closed.complete.join(", ");
    if closed.others.is_empty() {
        return format!(
            "closed: writes are refused, the copies of {complete} are complete; stop all nodes now"
        );
    }
    format!(
        "closed: writes are refused, the copy of {complete} is complete, that of {} is not; at the next \
         start it waits for a complete one",
        closed.others.join(", ")
    )
}
