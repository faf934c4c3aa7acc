//! `halab restore`.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;

use crate::exit::Exit;
use crate::node::{RestoreError, RestoreOrder, Restored, restore};

use super::backup::folder_failure;
use super::output::{print_json, print_text};
use super::{CommandResult, Failure, Global, Threads, with_signals};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab restore /srv/backups/halab-20261128T160000.000Z\n  \
    halab restore --node redis-b BACKUP  On the host of redis-b\n  \
    halab restore --set-aside BACKUP     Keep newer data aside and continue with the backup\n\n\
    For a lab whose data is lost or is to be given up. Run it once, on the host of one data node, \
    while all data nodes are stopped. Then start all nodes; the others copy from this one. If the \
    Sentinels have lost their state too, use the node named by seed_primary in lab.toml (the \
    default).\n\n\
    It refuses if a data node, on this host or over the network, may hold data that is not in the \
    backup. Nothing is removed: data that has to make way is kept as data/appendonlydir.kept-N. The \
    restored copy begins a new term: a node that comes back later with newer data keeps it and waits \
    for halab choose. If the command was interrupted, run it again; nothing is lost.\n\n\
    Exit codes:\n  \
    0  restored\n  \
    1  the folder is damaged, or is not a backup\n  \
    4  a file cannot be written\n  \
    5  refused, for example because a node is running; no data was changed")]
pub(super) struct RestoreArgs {
    /// Folder of the backup
    backup: PathBuf,
    /// Data node of this host to restore to [default: seed_primary of lab.toml]
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Keep aside data of this host that may not be in the backup, instead of refusing
    #[arg(long)]
    set_aside: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(global: &Global, args: &RestoreArgs) -> CommandResult {
    let lab = global.lab()?;
    let order = RestoreOrder {
        root: global.state_root()?,
        node: args.node.clone(),
        backup: args.backup.clone(),
        set_aside: args.set_aside,
    };
    let restored = with_signals(Threads::Many, |stop| async move {
        restore(&lab, &order, &stop)
            .await
            .map_err(|error| match error {
                RestoreError::Backup(error) => folder_failure(error),
                RestoreError::Node(_) | RestoreError::Sentinel(_) => Failure::usage(error),
                error if error.is_refusal() => Failure::refused(error),
                error => error.into(),
            })
    })?;
    if args.json {
        print_json(&restored)?;
    } else {
        print_text(render(&restored))?;
    }
    Ok(Exit::Holds)
}

fn render(restored: &Restored) -> String {
    let node = &restored.node;
    let mut text = format!(
        "{node} holds the backup of {} {}, as {}\n  complete  contains every record acknowledged before {}\n",
        restored.backup,
        if restored.already { "already" } else { "now" },
        restored.holds,
        restored
            .complete_before
            .to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
    );
    // Writing to a String cannot fail.
    for kept in &restored.kept {
        let _ = writeln!(text, "  kept      {}", kept.display());
    }
    for held in restored.not_seen.iter().filter(|held| held.node != *node) {
        let _ = writeln!(
            text,
            "  {}  {}; if it holds more, it keeps that and waits",
            held.node, held.copy
        );
    }
    text + "start all nodes now; the others copy from this one"
}
