//! `halab handover`.

use clap::Args;

use crate::access::User;
use crate::client::Connector;
use crate::exit::Exit;
use crate::handover::{HandoverError, hand_over_unless};

use super::output::{print_json, print_text};
use super::{CommandResult, Failure, Global, Threads, with_signals};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  halab handover && halab status\n\n\
    Another data node becomes primary without a failed write. The Sentinels choose it. The \
    primary's halab node does the same when it is stopped with SIGTERM.\n\n\
    Exit codes:\n  \
    0  handed over\n  \
    4  the handover failed\n  \
    5  refused: no other data node is ready, or a server that is not in the lab could be promoted")]
pub(super) struct HandoverArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(global: &Global, args: &HandoverArgs) -> CommandResult {
    let lab = global.lab()?;
    let result = with_signals(Threads::One, |token| async move {
        let connector = Connector::new(&lab, User::Operator);
        Ok(hand_over_unless(&lab, &connector, &token).await)
    })?;
    match result {
        Ok(handover) => {
            if args.json {
                print_json(&handover)?;
            } else {
                print_text(format_args!(
                    "{} handed over to {}: writes paused for {:.0} ms, complete after {:.0} ms",
                    handover.from, handover.to, handover.paused_ms, handover.total_ms
                ))?;
            }
            Ok(if handover.agreed {
                Exit::Holds
            } else {
                Exit::Failed
            })
        }
        Err(
            error @ (HandoverError::NoReplicaReady
            | HandoverError::CandidateNotReady(_)
            | HandoverError::StrangerPromotable(_)),
        ) => Err(Failure::refused(error)),
        Err(error) => Err(error.into()),
    }
}
