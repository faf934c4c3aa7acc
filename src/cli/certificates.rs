//! `halab certificates`.

use clap::{Args, Subcommand};

use crate::access::CertificateError;
use crate::config::SecretsFolder;
use crate::exit::Exit;
use crate::renewal::{RenewalError, renew};

use super::output::print_text;
use super::{CommandResult, Failure, Global, Threads, with_signals};

#[derive(Debug, Args)]
pub(super) struct CertificatesArgs {
    #[command(subcommand)]
    command: CertificatesCommand,
}

#[derive(Debug, Subcommand)]
enum CertificatesCommand {
    /// Replace the certificate of every node on a running lab
    #[command(
        after_help = "Example:\n  halab certificates renew && halab status\n\n\
        No write fails. Data nodes load the new certificate without a restart; Sentinels are \
        restarted one after the other. The CA does not change. Ctrl-C stops the command between two \
        nodes; run it again to renew all certificates.\n\n\
        Certificates in a folder set by --secrets are replaced at their source, not by this command, \
        unless --shared states that all nodes read this folder."
    )]
    Renew {
        /// All nodes read the folder set by --secrets
        #[arg(long)]
        shared: bool,
    },
}

pub(super) fn run(global: &Global, args: &CertificatesArgs) -> CommandResult {
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
    print_text("every node uses a new certificate")?;
    Ok(Exit::Holds)
}
