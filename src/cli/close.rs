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
use super::{Global, Outcome, Threads, parse_span, with_signals};

/// Limit for a connect or an answer of a node.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  halab close               then stop every node: systemctl stop, docker compose stop, ...\n  \
    halab close --reopen      the nodes are not stopped after all\n  \
    halab close --at-end      wait for SIGTERM first: for a supervisor that stops this before the nodes\n\n\
    To be run before all nodes of a lab are stopped. The primary takes no more writes, all copies\n\
    are brought level, and each is marked. At the next start any one of these nodes can take the\n\
    role alone. Not stopped within a minute, they go on. ./lab down and halab up close by themselves.\n\
    Exit code 0: every data node has everything; 1: only some, they are named."
)]
pub(super) struct CloseArgs {
    /// How long replicas may take to be level
    #[arg(long, value_name = "SPAN", value_parser = parse_span, default_value = "10s")]
    limit: Duration,
    /// Let a closed lab go on
    #[arg(long, conflicts_with_all = ["at_end", "limit"])]
    reopen: bool,
    /// Wait for SIGTERM or Ctrl-C, then close
    #[arg(long)]
    at_end: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(global: &Global, args: &CloseArgs) -> Outcome {
    let lab = global.lab()?;
    if args.reopen {
        let primary = with_signals(Threads::One, |_| async {
            Ok(closing::reopen(&lab, &connector(&lab)).await?)
        })?;
        print_text(format_args!("writes go on at {primary}"))?;
        return Ok(Exit::Holds);
    }
    let closed = with_signals(Threads::One, |token| async move {
        if args.at_end {
            token.cancelled().await;
        }
        Ok(closing::close(&lab, &connector(&lab), args.limit).await?)
    })?;
    if args.json {
        print_json(&closed)?;
    } else {
        print_text(render(&closed))?;
    }
    Ok(if closed.others.is_empty() {
        Exit::Holds
    } else {
        Exit::Violated
    })
}

fn connector(lab: &Lab) -> Connector {
    Connector::new(lab, User::Operator, ANSWER_LIMIT)
}

/// Closes the lab before all its nodes are stopped; one that can't be closed is stopped all the same.
pub(super) async fn close_first(lab: &Lab, limit: Duration) {
    match closing::close(lab, &connector(lab), limit).await {
        Ok(closed) if closed.others.is_empty() => {}
        Ok(closed) => warn!("{}", render(&closed)),
        Err(error) => {
            warn!(%error, "not closed: at the next start the nodes compare what they hold")
        }
    }
}

fn render(closed: &Closed) -> String {
    let complete = closed.complete.join(", ");
    if closed.others.is_empty() {
        return format!(
            "closed: no more writes are taken, {complete} have everything; stop the nodes now"
        );
    }
    format!(
        "closed: no more writes are taken, {complete} has everything; not so {}: at the next start that waits for one of the \
         others",
        closed.others.join(", ")
    )
}
