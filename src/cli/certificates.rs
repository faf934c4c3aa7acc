//! `halab certificates`.

use clap::{Args, Subcommand};

use crate::access::CertificateError;
use crate::config::SecretsFolder;
use crate::exit::Exit;
use crate::renewal::{RenewalError, renew};

use super::output::print_text;
use super::{CommandResult, Failure, Global, Threads, with_signals};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab certificates renew && halab status    Renew all certificates of a running lab\n  \
    halab --secrets /srv/lab-secrets certificates renew --shared\n\n\
    With TLS, each node has a certificate of the lab's CA, in the secrets folder beside the \
    passwords. A lab on one machine creates the CA and the certificates at its first start, and \
    replaces them at a later start within 30 days of expiry. For several hosts, halab secrets make \
    creates them. The CA is not renewed.\n\n\
    Exit codes:\n  \
    0  every node uses a new certificate\n  \
    2  the lab has no TLS, or the command must not change the folder\n  \
    4  a file could not be written, or a node failed")]
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
