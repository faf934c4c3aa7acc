//! `halab choose`.

use std::fmt::Write;
use std::time::Duration;

use clap::Args;

use crate::access::User;
use crate::choosing::{self, ChoicePreview, CopyFate};
use crate::client::Connector;
use crate::config::NodeKind;
use crate::exit::Exit;

use super::node::unknown_node;
use super::output::{print_json, print_text};
use super::{Failure, Global, Outcome, Threads, parse_span, with_signals};

/// Limit for a connect or an answer of a node.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  halab choose redis-b          show what each node holds, and what would become of it\n  \
    halab choose redis-b --yes    the lab goes on with what redis-b holds\n\n\
    For a lab whose nodes wait because none can know whether it has everything: after a stop without a closing mark and with\n\
    a node that does not come back, or when each of two copies may hold what the other lacks. Copies that are given up stay on\n\
    the disks of their nodes, beside the new ones, as appendonlydir.kept-N.\n\
    Exit code 0: chosen; 1: shown only, or it did not become primary in time."
)]
pub(super) struct ChooseArgs {
    /// The data node whose copy the lab goes on with
    node: String,
    /// Do it
    #[arg(long)]
    yes: bool,
    /// How long it may take to become primary
    #[arg(long, value_name = "SPAN", value_parser = parse_span, default_value = "60s")]
    wait: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(global: &Global, args: &ChooseArgs) -> Outcome {
    let lab = global.lab()?;
    match lab.node(&args.node) {
        Some(node) if node.kind == NodeKind::Data => {}
        Some(_) => {
            return Err(Failure::usage(anyhow::anyhow!(
                "{} is a Sentinel, which holds no data; the data nodes: {}",
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
    let connector = Connector::new(&lab, User::Operator, ANSWER_LIMIT);
    let (choice, done) = with_signals(Threads::One, |token| async move {
        let choice = choosing::preview(&lab, &connector, &args.node).await?;
        let done = if args.yes {
            choosing::choose(&lab, &connector, &args.node, args.wait, &token).await?
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
    Ok(if done { Exit::Holds } else { Exit::Violated })
}

fn render(choice: &ChoicePreview, yes: bool, done: bool) -> String {
    let mut text = String::new();
    let width = choice.nodes.iter().map(|n| n.node.len()).max().unwrap_or(0);
    for held in &choice.nodes {
        let then = match held.then {
            CopyFate::Chosen => "the lab goes on with it",
            CopyFate::Follows => "holds no more; it is copied anew where it holds less",
            CopyFate::KeptAside => "may hold more: it is kept aside on its disk, and copied anew",
            CopyFate::Unknown => "not known; should it hold more, its node waits",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:width$}  {}: {then}", held.node, held.copy);
    }
    let chosen = &choice.chosen;
    text += &match (yes, done, choice.serves) {
        (false, ..) => {
            format!("nothing was changed; to go on with {chosen}: halab choose {chosen} --yes")
        }
        (true, true, true) => {
            format!("{chosen} stays primary; the copies above are given up for it")
        }
        (true, true, false) => format!("{chosen} is primary"),
        (true, false, _) => format!(
            "{chosen} has not become primary yet: its log and those of the Sentinels say why; it stays chosen"
        ),
    };
    text
}
