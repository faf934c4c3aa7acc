//! `halab doctor`.

use clap::Args;

use crate::doctor::{Options, examine, render};
use crate::exit::Exit;

use super::output::{print_json, print_text};
use super::{Global, Outcome, Threads, with_signals};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  halab doctor                before the start, on each host, and on a running lab\n  \
    halab doctor --json | jq '.findings[] | select(.severity == \"short\")'\n\n\
    The host is looked at where it has the address of a data node: kernel settings, open files, memory\n\
    limits of the cgroups around this process, the disk of the state folder, the server. Each running\n\
    data node is asked what it has: its server by INFO, its parent by the metrics that it serves. So\n\
    start this as the nodes are started: in their container, as their user. Nothing is changed, nothing\n\
    needs root, and what can't be seen is said to be not known.\n\n\
    In brackets is what is needed, or the limit. docs/operations/capacity.md explains each code.\n\n\
    Exit code 0: nothing is short; 1: something is."
)]
pub(super) struct DoctorArgs {
    /// Look at this host though no data node has an address of it, as behind a Service of Kubernetes
    #[arg(long)]
    here: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(global: &Global, args: &DoctorArgs) -> Outcome {
    let lab = global.lab()?;
    let options = Options {
        state: global.state_root()?,
        redis_server: global.redis_server.clone(),
        here: args.here,
    };
    let report = with_signals(Threads::One, |_| async move {
        Ok(examine(&lab, &options).await)
    })?;
    if args.json {
        print_json(&report)?;
    } else {
        print_text(render(&report))?;
    }
    Ok(if report.enough {
        Exit::Holds
    } else {
        Exit::Violated
    })
}
