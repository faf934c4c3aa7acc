//! `halab check-config`, and what scripts and editors ask of `lab.toml` or of its keys.

use clap::{Args, ValueEnum};

use crate::config::{Lab, LoadError, lab_schema, load};
use crate::exit::Exit;
use crate::monitoring::Service;

use super::output::{print_json, print_text};
use super::{CommandResult, Failure, Global};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  halab check-config\n  halab check-config --config my-lab.toml --json\n  \
    halab check-config --print nodes\n  halab check-config --print schema >lab.schema.json"
)]
pub(super) struct CheckConfigArgs {
    /// Print the problems, an empty list if there are none, as JSON
    #[arg(long)]
    json: bool,
    /// Print this instead, for scripts and editors
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with = "json")]
    print: Option<Print>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Print {
    /// The names of the nodes, one a line, data nodes first
    Nodes,
    /// The addresses of nodes, monitoring, writer and proxy, one a line
    Addresses,
    /// The names of the monitoring services, one a line; none without [monitoring]
    Services,
    /// The JSON schema of lab.toml, whatever the file says
    Schema,
}

pub(super) fn run(global: &Global, args: &CheckConfigArgs) -> CommandResult {
    if let Some(what) = args.print {
        return print(global, what);
    }
    let name = global
        .config_file()
        .map_or("the built-in lab".to_owned(), |p| p.display().to_string());
    let checked = match global.config_file() {
        Some(path) => load(&path, global.profile.as_deref()).map(drop),
        None => {
            return global
                .lab()
                .map(|_| report_good(&name, args))
                .unwrap_or_else(Err);
        }
    };
    match checked {
        Ok(()) => report_good(&name, args),
        Err(LoadError::Invalid { problems, .. }) if args.json => {
            print_json(&problems)?;
            Ok(Exit::Usage)
        }
        Err(error) => {
            if args.json {
                print_json(&[unread(&error)])?;
            }
            Err(Failure::usage(error))
        }
    }
}

/// A file that could not be read, in the form of a problem within a file.
fn unread(error: &LoadError) -> serde_json::Value {
    let text = error.to_string();
    let (problem, remedy) = text.split_once("; ").unwrap_or((&text, ""));
    serde_json::json!({
        "key": null, "line": null, "column": null, "problem": problem, "remedy": remedy,
    })
}

fn report_good(name: &str, args: &CheckConfigArgs) -> CommandResult {
    if args.json {
        print_text("[]")?;
    } else {
        print_text(format_args!("{name} is valid"))?;
    }
    Ok(Exit::Holds)
}

fn print(global: &Global, what: Print) -> CommandResult {
    let lines: Vec<String> = match what {
        Print::Schema => {
            print_json(&lab_schema())?;
            return Ok(Exit::Holds);
        }
        Print::Nodes => names(&global.lab()?),
        Print::Addresses => addresses(&global.lab()?),
        Print::Services => match global.lab()?.monitoring {
            Some(_) => Service::ALL.iter().map(|s| s.name().to_owned()).collect(),
            None => Vec::new(),
        },
    };
    for line in lines {
        print_text(line)?;
    }
    Ok(Exit::Holds)
}

fn names(lab: &Lab) -> Vec<String> {
    lab.nodes().map(|node| node.name.clone()).collect()
}

fn addresses(lab: &Lab) -> Vec<String> {
    let monitoring = lab.monitoring.iter();
    lab.nodes()
        .map(|node| node.address)
        .chain(monitoring.flat_map(|m| [m.address, m.writer_address]))
        .chain(lab.proxy.iter().map(|_| *lab.proxy_socket().ip()))
        .map(|address| address.to_string())
        .collect()
}
