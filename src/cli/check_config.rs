//! `halab check-config`.

use clap::Args;

use crate::config::{LoadError, load};
use crate::exit::Exit;

use super::output::{print_json, print_text};
use super::{CommandResult, Failure, Global};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  halab check-config\n  halab check-config --config my-lab.toml --json"
)]
pub(super) struct CheckConfigArgs {
    /// Print the problems, an empty list if there are none, as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(global: &Global, args: &CheckConfigArgs) -> CommandResult {
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
        Err(error) => Err(Failure::usage(error)),
    }
}

fn report_good(name: &str, args: &CheckConfigArgs) -> CommandResult {
    if args.json {
        print_text("[]")?;
    } else {
        print_text(format_args!("{name} is good"))?;
    }
    Ok(Exit::Holds)
}
