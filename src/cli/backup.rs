//! `halab backup`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::backup::folder::FolderError;
use crate::backup::manifest::Manifest;
use crate::backup::{self, BackupError, BackupRequest};
use crate::exit::Exit;

use super::output::{print_json, print_text};
use super::{Failure, Global, Outcome, Threads, parse_span, with_signals};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  halab backup /srv/backups                     a new folder in it, named by lab and time\n  \
    halab backup --check /srv/backups/halab-20261128T160000.000Z\n  \
    halab backup /srv/backups --from redis-a      copy this data node and no other\n\n\
    Of a lab that serves: writes go on. Everything that was acknowledged before the command was given is in the \
    backup; it says so itself (complete_before in manifest.json). A replica in sync is copied, over the network, so the command \
    may run on any host that reaches the nodes and has the passwords of verifier and replication.\n\n\
    The folder appears in one step, when all of it is on disk. It holds plain files: for an object store, copy it by \
    the store's own tool, manifest.json last. To keep or remove old ones is left to you. To use one: halab restore.\n\n\
    Exit code 0: there is a backup, or it is whole; 1: it is damaged, or none; 4: no backup was made."
)]
pub(super) struct BackupArgs {
    /// Folder in which the backup's own folder is made
    #[arg(value_name = "DIR", required_unless_present = "check")]
    into: Option<PathBuf>,
    /// Check a backup instead: its checksums, and the checksum in the data itself
    #[arg(long, value_name = "BACKUP", conflicts_with_all = ["into", "from", "limit"])]
    check: Option<PathBuf>,
    /// The data node to copy [default: a replica in sync, or the primary where there is none]
    #[arg(long, value_name = "NODE")]
    from: Option<String>,
    /// How long it may take
    #[arg(long, value_name = "SPAN", value_parser = parse_span, default_value = "1h")]
    limit: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was made or checked.
#[derive(Debug, Serialize)]
struct Told {
    folder: PathBuf,
    #[serde(flatten)]
    manifest: Manifest,
}

pub(super) fn run(global: &Global, args: &BackupArgs) -> Outcome {
    let (told, done) = match (&args.check, &args.into) {
        (Some(folder), _) => {
            let manifest = match backup::check(folder) {
                Ok(manifest) => manifest,
                Err(error) => return Err(of_folder(error)),
            };
            let folder = folder.clone();
            (Told { folder, manifest }, "whole")
        }
        (None, into) => {
            let order = BackupRequest {
                into: into.clone().unwrap_or_default(),
                from: args.from.clone(),
                limit: args.limit,
            };
            (take(global, &order)?, "made")
        }
    };
    if args.json {
        print_json(&told)?;
    } else {
        print_text(render(&told, done))?;
    }
    Ok(Exit::Holds)
}

fn take(global: &Global, order: &BackupRequest) -> Result<Told, Failure> {
    let lab = global.lab()?;
    with_signals(Threads::Many, |token| async move {
        match backup::take(&lab, order, &token).await {
            Ok(taken) => Ok(Told {
                folder: taken.folder,
                manifest: taken.manifest,
            }),
            Err(error @ BackupError::Unknown { .. }) => Err(Failure::usage(error)),
            Err(error) => Err(error.into()),
        }
    })
}

/// A backup that can't be used: damaged, or none.
pub(super) fn of_folder(error: FolderError) -> Failure {
    let exit = if error.is_invalid() {
        Exit::Violated
    } else {
        Exit::Failed
    };
    Failure {
        exit,
        error: error.into(),
    }
}

fn render(told: &Told, done: &str) -> String {
    let Told { folder, manifest } = told;
    let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    let role = if manifest.from_primary {
        "the primary"
    } else {
        "a replica in sync"
    };
    format!(
        "{}: {done}\n  holds     {}, {bytes} bytes\n  complete  everything acknowledged before {} is in it\n  \
         from      {}, {role}, server {}",
        folder.display(),
        manifest.holds,
        manifest
            .complete_before
            .to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        manifest.node,
        manifest.server,
    )
}
