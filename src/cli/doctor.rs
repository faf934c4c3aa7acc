//! `halab doctor`.

use clap::Args;

use crate::doctor::{DoctorOptions, examine, render};
use crate::exit::Exit;

use super::output::{print_json, print_text};
use super::{CommandResult, Global, Threads, with_signals};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab doctor  Before the first start on each host, and on a running lab\n  \
    halab doctor --json | jq '.findings[] | select(.severity == \"short\")'\n\n\
    This host is checked if it has the address of a data node: kernel settings, open files, memory \
    limits of the cgroups of this process, disk of the state folder, server program. Every running \
    data node is asked as well: its server by INFO, its supervisor by its metrics. So run this \
    command as the nodes run: in their container, as their user. It changes nothing and does not \
    need root. What cannot be read is reported as not known.\n\n\
    Each line shows the measured value, and in brackets the requirement or limit. \
    docs/operations/capacity.md explains each code.\n\n\
    Exit codes:\n  \
    0  nothing is short\n  \
    1  something is short")]
pub(super) struct DoctorArgs {
    /// Check this host even if it has no address of a data node (as behind a Kubernetes Service)
    #[arg(long = "here")]
    force_host: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(global: &Global, args: &DoctorArgs) -> CommandResult {
    let lab = global.lab()?;
    let options = DoctorOptions {
        state: global.state_root()?,
        redis_server: global.redis_server.clone(),
        force_host: args.force_host,
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
        Exit::Negative
    })
}
