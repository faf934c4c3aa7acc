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
use super::{CommandResult, Failure, Global, Threads, parse_duration, with_signals};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab backup /srv/backups                 Create a folder in it, named after lab and time\n  \
    halab backup /srv/backups --from redis-a  Copy from this data node only\n  \
    halab backup --check /srv/backups/halab-20261128T160000.000Z\n\n\
    Writes continue during the backup. It contains every record that was acknowledged before the \
    command started (complete_before in manifest.json). The data is copied from a replica in sync \
    over the network, so the command can run on any host that reaches the nodes and has the \
    passwords of the users verifier and replication.\n\n\
    The folder appears in one step, after all files are on disk. It contains plain files. To put it \
    into an object store, copy it with the store's own tool, manifest.json last. Old backups are not \
    removed. To use a backup, see halab restore.\n\n\
    Exit codes:\n  \
    0  the backup was made, or is intact\n  \
    1  the folder is damaged, or is not a backup\n  \
    4  no backup was made, or the folder cannot be read")]
pub(super) struct BackupArgs {
    /// Folder in which to create the backup's folder
    #[arg(value_name = "DIR", required_unless_present = "check")]
    into: Option<PathBuf>,
    /// Check a backup: its checksums, and the checksum in the data
    #[arg(long, value_name = "BACKUP", conflicts_with_all = ["into", "from", "timeout"])]
    check: Option<PathBuf>,
    /// Data node to copy from [default: a replica in sync, otherwise the primary]
    #[arg(long, value_name = "NODE")]
    from: Option<String>,
    /// Time limit
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "1h")]
    timeout: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The backup that was made or checked.
#[derive(Debug, Serialize)]
struct BackupSummary {
    folder: PathBuf,
    #[serde(flatten)]
    manifest: Manifest,
}

pub(super) fn run(global: &Global, args: &BackupArgs) -> CommandResult {
    let (summary, verb) = match (&args.check, &args.into) {
        (Some(folder), _) => {
            let manifest = match backup::check(folder) {
                Ok(manifest) => manifest,
                Err(error) => return Err(folder_failure(error)),
            };
            let folder = folder.clone();
            (BackupSummary { folder, manifest }, "intact")
        }
        (None, into) => {
            let order = BackupRequest {
                into: into.clone().unwrap_or_default(),
                from: args.from.clone(),
                limit: args.timeout,
            };
            (take(global, &order)?, "created")
        }
    };
    if args.json {
        print_json(&summary)?;
    } else {
        print_text(render(&summary, verb))?;
    }
    Ok(Exit::Holds)
}

fn take(global: &Global, order: &BackupRequest) -> Result<BackupSummary, Failure> {
    let lab = global.lab()?;
    with_signals(Threads::Many, |token| async move {
        match backup::take(&lab, order, &token).await {
            Ok(taken) => Ok(BackupSummary {
                folder: taken.folder,
                manifest: taken.manifest,
            }),
            Err(error @ BackupError::Unknown { .. }) => Err(Failure::usage(error)),
            Err(error) => Err(error.into()),
        }
    })
}

/// The failure for a folder that is damaged or is not a backup.
pub(super) fn folder_failure(error: FolderError) -> Failure {
    let exit = if error.is_invalid() {
        Exit::Negative
    } else {
        Exit::Failed
    };
    Failure {
        exit,
        error: error.into(),
    }
}

fn render(summary: &BackupSummary, verb: &str) -> String {
    let BackupSummary { folder, manifest } = summary;
    let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    let role = if manifest.from_primary {
        "the primary"
    } else {
        "a replica in sync"
    };
    format!(
        "{}: {verb}\n  holds     {}, {bytes} bytes\n  complete  contains every record acknowledged before {}\n  \
         source    {}, {role}, server {}",
        folder.display(),
        manifest.holds,
        manifest
            .complete_before
            .to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        manifest.node,
        manifest.server,
    )
}
