//! `halab secrets`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::access::{Certificates, Secrets, SecretsError, make_key};
use crate::config::SecretsFolder;
use crate::exit::Exit;
use crate::monitoring;
use crate::rotation::{RotationError, rotate};

use super::output::print_text;
use super::{Failure, Global, Outcome, Threads, with_signals};

#[derive(Debug, Args)]
pub(super) struct SecretsArgs {
    #[command(subcommand)]
    command: SecretsCommand,
}

#[derive(Debug, Subcommand)]
enum SecretsCommand {
    /// Make a password for each user, and with TLS a certificate for each node, where there is none yet
    #[command(after_help = "Example:\n  halab secrets make ./for-all-hosts\n\n\
        A lab on one machine makes its own at its first start; this is for those who give them to several.")]
    Make {
        /// The folder [default: that of the lab]
        #[arg(value_name = "DIR")]
        folder: Option<PathBuf>,
    },
    /// Make a random key in a file, where there is none yet: Grafana's, for example
    #[command(
        after_help = "Example:\n  halab secrets key /var/lib/redis-ha-lab/grafana/secret-key\n\n\
        256 bits as 64 hexadecimal digits, for the file's owner alone. A key that is there stays."
    )]
    Key {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Give every user a new password, while the lab runs
    #[command(after_help = "Example:\n  halab secrets rotate && halab status\n\n\
        No write fails: old and new passwords are both accepted until everyone uses the new ones.\n\
        Cut short, by Ctrl-C between two nodes, it is completed by running it again.\n\
        Passwords that were given are changed where they come from, unless it is said that all nodes\n\
        and clients read this very folder.")]
    Rotate {
        /// The folder that was given is the one that every node and client reads
        #[arg(long)]
        shared: bool,
    },
}

pub(super) fn run(global: &Global, args: &SecretsArgs) -> Outcome {
    match &args.command {
        SecretsCommand::Make { folder } => make(global, folder.as_deref())?,
        SecretsCommand::Key { file } => {
            let how = if make_key(file)? {
                "made"
            } else {
                "there already"
            };
            print_text(format_args!("key {}: {how}", file.display()))?;
        }
        SecretsCommand::Rotate { shared } => change_all(global, *shared)?,
    }
    Ok(Exit::Holds)
}

fn make(global: &Global, folder: Option<&Path>) -> Result<(), Failure> {
    let lab = global.lab()?;
    let own = lab.security.secrets.as_ref().map(SecretsFolder::path);
    let secrets = Secrets::at(
        folder
            .or(own)
            .ok_or_else(|| Failure::usage(SecretsError::Off))?,
    );
    let made = secrets.make_missing()?;
    print_text(format_args!(
        "{} passwords made in {}",
        made.len(),
        secrets.folder().display()
    ))?;
    if lab.security.tls {
        let made = Certificates::at(secrets.folder()).make_missing(&lab)?;
        print_text(format_args!(
            "{made} certificates made in {}",
            secrets.folder().display()
        ))?;
    }
    Ok(())
}

fn change_all(global: &Global, shared: bool) -> Result<(), Failure> {
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
    print_text("every user has a new password, on every node")?;
    Ok(())
}
