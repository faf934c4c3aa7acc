//! `halab secrets`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::access::{Certificates, Secrets, SecretsError};
use crate::config::SecretsFolder;
use crate::exit::Exit;
use crate::monitoring;
use crate::rotation::{RotationError, rotate};

use super::output::print_text;
use super::{CommandResult, Failure, Global, Threads, with_signals};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab secrets make                      Create missing passwords in the secrets folder\n  \
    halab secrets make ./for-all-hosts      Create them for a lab on several hosts\n  \
    halab secrets rotate && halab status    Replace all passwords of a running lab\n\n\
    Each user of the lab, including applications, has a password in a file of the secrets folder. \
    A lab on one machine creates the files at its first start. On several hosts, create them once, \
    and copy to each host the files that it needs (docs/security.md). With TLS, the folder also \
    contains the certificates; see halab certificates.\n\n\
    Exit codes:\n  \
    0  done\n  \
    2  the lab has no access control, or the command must not change the folder\n  \
    4  a file could not be written, or a node failed")]
pub(super) struct SecretsArgs {
    #[command(subcommand)]
    command: SecretsCommand,
}

#[derive(Debug, Subcommand)]
enum SecretsCommand {
    /// Create missing passwords, and with TLS missing certificates
    #[command(after_help = "Example:\n  halab secrets make ./for-all-hosts\n\n\
        A lab on one machine creates its passwords at the first start. Use this command to create \
        them for a lab on several hosts.")]
    Make {
        /// Folder [default: the secrets folder of the lab]
        #[arg(value_name = "DIR")]
        folder: Option<PathBuf>,
    },
    /// Replace the password of every user on a running lab
    #[command(after_help = "Example:\n  halab secrets rotate && halab status\n\n\
        No write fails: old and new passwords are both accepted until all nodes and clients use the \
        new ones. Ctrl-C stops the command between two nodes; run it again to complete it.\n\n\
        Passwords in a folder set by --secrets are replaced at their source, not by this command, \
        unless --shared states that all nodes and clients read this folder.")]
    Rotate {
        /// All nodes and clients read the folder set by --secrets
        #[arg(long)]
        shared: bool,
    },
}

pub(super) fn run(global: &Global, args: &SecretsArgs) -> CommandResult {
    match &args.command {
        SecretsCommand::Make { folder } => make(global, folder.as_deref())?,
        SecretsCommand::Rotate { shared } => rotate_passwords(global, *shared)?,
    }
    Ok(Exit::Holds)
}

fn make(global: &Global, folder: Option<&Path>) -> Result<(), Failure> {
    let lab = global.lab()?;
    let default = lab.security.secrets.as_ref().map(SecretsFolder::path);
    let secrets = Secrets::at(
        folder
            .or(default)
            .ok_or_else(|| Failure::usage(SecretsError::Off))?,
    );
    let made = secrets.make_missing(&lab)?;
    print_text(format_args!(
        "{} passwords created in {}",
        made.len(),
        secrets.folder().display()
    ))?;
    if lab.security.tls {
        let made = Certificates::at(secrets.folder()).make_missing(&lab)?;
        print_text(format_args!(
            "{made} certificates created in {}",
            secrets.folder().display()
        ))?;
    }
    Ok(())
}

fn rotate_passwords(global: &Global, shared: bool) -> Result<(), Failure> {
    let mut lab = global.lab()?;
    if let (true, Some(folder)) = (shared, &mut lab.security.secrets) {
        *folder = SecretsFolder::Own(folder.path().to_owned());
    }
    let state = global.state_root()?;
    with_signals(Threads::One, |token| async move {
        let exporter = async || monitoring::exporter_changed(&lab, &state).await;
        rotate(&lab, &token, exporter)
            .await
            .map_err(|error| match error {
                RotationError::Secrets(error @ (SecretsError::NotOwn(_) | SecretsError::Off)) => {
                    Failure::usage(error)
                }
                error => Failure::from(error),
            })
    })?;
    print_text("every user has a new password on every node")?;
    Ok(())
}
