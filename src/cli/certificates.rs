//! `halab certificates`.

use clap::{Args, Subcommand};

use crate::access::CertificateError;
use crate::config::SecretsFolder;
use crate::exit::Exit;
use crate::renewal::{RenewalError, renew};

use super::output::print_text;
use super::{Failure, Global, Outcome, Threads, with_signals};

#[derive(Debug, Args)]
pub(super) struct CertificatesArgs {
    #[command(subcommand)]
    command: CertificatesCommand,
}

#[derive(Debug, Subcommand)]
enum CertificatesCommand {
    /// Give every node a new certificate, while the lab runs
    #[command(
        after_help = "Example:\n  halab certificates renew && halab status\n\n\
        No write fails: a data node takes its new certificate while it runs, Sentinels are started again\n\
        one after the other. The CA stays. Ctrl-C ends it between two nodes; run again, it goes through\n\
        all of them. Certificates that were given are changed where they come from, unless it is said\n\
        that all nodes read this very folder."
    )]
    Renew {
        /// The folder that was given is the one that every node reads
        #[arg(long)]
        shared: bool,
    },
}

pub(super) fn run(global: &Global, args: &CertificatesArgs) -> Outcome {
    let mut lab = global.lab()?;
    let CertificatesCommand::Renew { shared } = args.command;
    if let (true, Some(folder)) = (shared, &mut lab.security.secrets) {
        *folder = SecretsFolder::Own(folder.path().to_owned());
    }
    with_signals(Threads::One, |token| async move {
        renew(&lab, &token).await.map_err(|error| match error {
            RenewalError::Certificates(
                error @ (CertificateError::NotOwn(_) | CertificateError::Off),
            ) => Failure::usage(error),
            error => Failure::from(error),
        })
    })?;
    print_text("every node shows a new certificate")?;
    Ok(Exit::Holds)
}
