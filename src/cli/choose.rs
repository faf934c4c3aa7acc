//! `halab choose`.

use std::fmt::Write;
use std::time::Duration;

use clap::Args;

use crate::access::User;
use crate::choosing::{self, ChoicePreview, ChooseError, CopyFate};
use crate::client::Connector;
use crate::config::NodeKind;
use crate::exit::Exit;

use super::node::unknown_node;
use super::output::{print_json, print_text};
use super::{CommandResult, Failure, Global, Threads, parse_duration, with_signals};

/// Shortest limit of a connect or an answer; the lab's own may be longer.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab choose redis-b        Show each copy and what would happen to it\n  \
    halab choose redis-b --yes  Continue with the copy of redis-b\n\n\
    For a lab whose nodes wait because none of them can know that its copy is complete: after a stop \
    without halab close, when a node does not come back, or when each of two copies may hold data \
    that the other lacks. The other copies are kept on the disks of their nodes as \
    appendonlydir.kept-N.\n\n\
    Exit codes:\n  \
    0  the node is primary; without --yes: shown\n  \
    1  the node did not become primary in time\n  \
    4  a node could not be asked\n  \
    5  refused, with the reason")]
pub(super) struct ChooseArgs {
    /// Data node whose copy to continue with
    node: String,
    /// Apply the choice instead of only showing it
    #[arg(long)]
    yes: bool,
    /// How long to wait until the node is primary
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "60s")]
    timeout: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(global: &Global, args: &ChooseArgs) -> CommandResult {
    let lab = global.lab()?;
    match lab.node(&args.node) {
        Some(node) if node.kind == NodeKind::Data => {}
        Some(_) => {
            return Err(Failure::usage(anyhow::anyhow!(
                "{} is a Sentinel and holds no data; the data nodes are {}",
                args.node,
                lab.data_nodes
                    .iter()
                    .map(|n| n.name.as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
            )));
        }
        None => return Err(unknown_node(&lab, &args.node)),
    }
    let connector = Connector::new(&lab, User::Operator).with_min_limit(ANSWER_LIMIT);
    let (choice, done) = with_signals(Threads::One, |token| async move {
        let preview = choosing::preview(&lab, &connector, &args.node).await;
        let choice = preview.map_err(failure)?;
        let done = if args.yes {
            let chosen = choosing::choose(&lab, &connector, &args.node, args.timeout, &token).await;
            chosen.map_err(failure)?
        } else {
            false
        };
        Ok((choice, done))
    })?;
    if args.json {
        print_json(&choice)?;
    } else {
        print_text(render(&choice, args.yes, done))?;
    }
    Ok(if args.yes && !done {
        Exit::Negative
    } else {
        Exit::Holds
    })
}

fn failure(error: ChooseError) -> Failure {
    match error {
        ChooseError::Client(_) => Failure::from(error),
        _ => Failure::refused(error),
    }
}

fn render(choice: &ChoicePreview, yes: bool, done: bool) -> String {
    let mut text = String::new();
    let width = choice.nodes.iter().map(|n| n.node.len()).max().unwrap_or(0);
    for held in &choice.nodes {
        let then = match held.then {
            CopyFate::Chosen => "the lab continues with this copy",
            CopyFate::Follows => "holds no more; replaced by a new copy if it holds less",
            CopyFate::KeptAside => {
                "may hold more: kept aside on its disk, and replaced by a new copy"
            }
            CopyFate::Unknown => "not known; if it holds more, its node waits",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:width$}  {}: {then}", held.node, held.copy);
    }
    let chosen = &choice.chosen;
    text += &match (yes, done, choice.serves) {
        (false, ..) => {
            format!("nothing was changed; to continue with {chosen}: halab choose {chosen} --yes")
        }
        (true, true, true) => {
            format!("{chosen} stays primary; the other copies are given up")
        }
        (true, true, false) => format!("{chosen} is primary"),
        (true, false, _) => format!(
            "{chosen} is chosen but not primary yet; see its log and those of the Sentinels"
        ),
    };
    text
}
