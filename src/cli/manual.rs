//! `halab completions` and `halab man`.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory};

use crate::exit::Exit;

use super::output::print_text;
use super::{Cli, CommandResult};

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  halab completions bash > ~/.local/share/bash-completion/completions/halab"
)]
pub(super) struct CompletionsArgs {
    /// Shell
    shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  halab man ~/.local/share/man/man1")]
pub(super) struct ManArgs {
    /// Folder for the pages; created if missing
    folder: PathBuf,
}

pub(super) fn completions(args: &CompletionsArgs) -> CommandResult {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "halab", &mut script);
    print_text(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Holds)
}

pub(super) fn man(args: &ManArgs) -> CommandResult {
    std::fs::create_dir_all(&args.folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &args.folder))
        .with_context(|| format!("cannot write the manual pages to {}", args.folder.display()))?;
    Ok(Exit::Holds)
}
