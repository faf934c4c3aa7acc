//! `halab member`.

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::exit::Exit;
use crate::membership::{
    ChangeOptions, ChangeReport, Listing, MemberChange, MemberError, change, list,
};

use super::output::{print_json, print_text};
use super::{Failure, Global, Outcome, Threads, parse_span, with_signals};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab member list                               the members, and who runs with which lab.toml\n  \
    halab --config new.toml member add redis-c      its node runs, and is stated in new.toml\n  \
    halab member remove redis-b --dry-run\n  \
    halab member replace sentinel-3 sentinel-4\n\n\
    A list within the data, on every data node, says who is a member of the lab. A data node that it\n\
    does not list is never promotable, and a Sentinel that it does not list leads no failover. Writers\n\
    read it from the primary, and need no restart. Nodes do: each runs with the lab.toml of its start, so\n\
    a new node is stated in it, and the nodes started again one at a time with it, before it is added.\n\n\
    Each step begins when the one before is true everywhere. What one loss could make fatal is refused,\n\
    with what to do first. Cut short at any moment: run it again.\n\n\
    Exit code 0: done; 1: refused, and why; 4: timed out, or there is no primary that serves.")]
pub(super) struct MemberArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show the members, and which node runs with another lab.toml
    List(ListArgs),
    /// Make a node of lab.toml, which runs, a member
    Add(OneArgs),
    /// Take a node out; its node is to be stopped when this says so
    Remove(OneArgs),
    /// Make the second node a member, then take the first one out
    Replace(ReplaceArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ChangeArgs {
    /// Check everything, say what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// ChangeOptions long a step may wait for what it needs: a copy, a node that is to be stopped
    #[arg(long, value_name = "SPAN", default_value = "10m", value_parser = parse_span)]
    wait: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct OneArgs {
    /// The node's name
    name: String,
    #[command(flatten)]
    how: ChangeArgs,
}

#[derive(Debug, Args)]
struct ReplaceArgs {
    /// The node that goes
    old: String,
    /// The node that comes, of another name and address
    new: String,
    #[command(flatten)]
    how: ChangeArgs,
}

pub(super) fn run(global: &Global, args: &MemberArgs) -> Outcome {
    let lab = global.lab()?;
    let (what, how) = match &args.what {
        What::List(args) => {
            let shown = with_signals(Threads::One, |_| async move { Ok(list(&lab).await) })?;
            let listing = shown.map_err(failure)?;
            if args.json {
                print_json(&listing)?;
            } else {
                print_text(shown_as_text(&listing))?;
            }
            return Ok(Exit::Holds);
        }
        What::Add(args) => (MemberChange::Add(args.name.clone()), &args.how),
        What::Remove(args) => (MemberChange::Remove(args.name.clone()), &args.how),
        What::Replace(args) => (
            MemberChange::Replace(args.old.clone(), args.new.clone()),
            &args.how,
        ),
    };
    let result = with_signals(Threads::One, |token| async move {
        let how = ChangeOptions {
            dry_run: how.dry_run,
            step_limit: how.wait,
            stop: &token,
            on_step: &|step| eprintln!("{step}"),
        };
        Ok(change(&lab, &what, &how).await)
    })?;
    let done = result.map_err(failure)?;
    if how.json {
        print_json(&done)?;
    } else {
        print_text(told(&done))?;
    }
    Ok(Exit::Holds)
}

fn failure(error: MemberError) -> Failure {
    Failure {
        exit: match error {
            MemberError::Refused(_) => Exit::Violated,
            _ => Exit::Failed,
        },
        error: error.into(),
    }
}

fn told(done: &ChangeReport) -> String {
    let mut lines = Vec::new();
    if done.dry_run {
        lines.push("nothing was changed".to_owned());
    }
    lines.push(format!("data nodes: {}", done.data_nodes.join(", ")));
    lines.push(format!("Sentinels: {}", done.sentinels.join(", ")));
    lines.extend(done.next.iter().map(|what| format!("now {what}")));
    lines.join("\n")
}

fn shown_as_text(listing: &Listing) -> String {
    let mut lines = vec![format!("members, version {}", listing.version)];
    for row in &listing.nodes {
        let lab_toml = match &row.differs {
            None => "does not say with which lab.toml it runs".to_owned(),
            Some(none) if none.is_empty() => "runs with this lab.toml".to_owned(),
            Some(some) => format!("runs with another lab.toml: {}", some.join(", ")),
        };
        let member = match (row.member, row.stated) {
            ("none", _) => "not a member",
            ("counted", _) => "on its way in or out",
            (_, false) => "member, not in this lab.toml",
            _ => "member",
        };
        lines.push(format!(
            "{:<14} {:<21} {member:<28} {lab_toml}",
            row.name, row.address
        ));
    }
    lines.join("\n")
}
