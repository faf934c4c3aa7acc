//! `halab restore`.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;

use crate::exit::Exit;
use crate::node::{RestoreError, RestoreOrder, Restored, restore};

use super::backup::of_folder;
use super::output::{print_json, print_text};
use super::{Failure, Global, Outcome, Threads, with_signals};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab restore /srv/backups/halab-20261128T160000.000Z\n  \
    halab restore --node redis-b BACKUP    on the host of redis-b\n  \
    halab restore --set-aside BACKUP       the data that lies here is kept aside, and the lab goes on with the backup\n\n\
    For a lab whose data is lost, or is to be given up. To be run once, on the host of one data node, while the data nodes are \
    stopped; then start all nodes: the others copy from this one. In a lab whose Sentinels know nothing either, take the \
    node that lab.toml calls seed_primary, which is the default.\n\n\
    Refused where a data node, here or over the network, holds something that is not certainly less than the backup. Nothing is \
    ever removed: what lies in the way and may go is kept as data/appendonlydir.kept-N. The restored copy begins a term of its own: a node \
    that comes back later with what the lab held after the backup keeps that, and waits for halab choose. \
    Killed at any moment it loses nothing: give the same command again.\n\n\
    Exit code 0: restored; 1: the backup is damaged, or none; 2: refused, no data was touched; 4: a node runs, or a file \
    can't be written.")]
pub(super) struct RestoreArgs {
    /// Folder of the backup
    backup: PathBuf,
    /// The data node of this host that gets it [default: seed_primary of lab.toml]
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Keep aside what data nodes of this host hold, where it is not less than the backup, instead of refusing
    #[arg(long)]
    set_aside: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(global: &Global, args: &RestoreArgs) -> Outcome {
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
                RestoreError::Backup(error) => of_folder(error),
                error if error.is_refusal() => Failure::usage(error),
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
        "{node} holds the backup of {} {}, as {}\n  complete  everything acknowledged before {} is in it\n",
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
            "  {}  {}; should it hold more, it keeps that and waits",
            held.node, held.copy
        );
    }
    text + "start all nodes now: the others copy from it"
}
