//! `halab handover`.

use clap::Args;

use crate::access::User;
use crate::client::Connector;
use crate::exit::Exit;
use crate::handover::{HandoverError, hand_over_unless};

use super::output::{print_json, print_text};
use super::{CommandResult, Failure, Global, Threads, with_signals};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab handover                   Hand over, and print how long writes were paused\n  \
    halab handover && halab status   Check the lab afterwards\n  \
    halab handover --json\n\n\
    Another data node becomes primary without a failed write. The Sentinels choose it among the \
    replicas in sync. Writes are paused for the promotion; the old primary then follows the new \
    one. Use this command before maintenance of the primary's host. If the primary's halab node is \
    stopped with SIGTERM, it hands over by itself.\n\n\
    If no replica is ready, nothing is changed. Once a Sentinel has accepted the failover, it \
    cannot be revoked: if no node is promoted in time, writes continue on the old primary.\n\n\
    Exit codes:\n  \
    0  handed over\n  \
    4  the handover failed\n  \
    5  refused, for example because no other data node is ready")]
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
            | HandoverError::Closed
            | HandoverError::Stranger(_)
            | HandoverError::StrangerPromotable(_)),
        ) => Err(Failure::refused(error)),
        Err(error) => Err(error.into()),
    }
}
