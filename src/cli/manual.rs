//! `halab completions` and `halab man`.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory};

use crate::exit::Exit;

use super::{Cli, Outcome};

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  halab completions bash > ~/.local/share/bash-completion/completions/halab"
)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  halab man ~/.local/share/man/man1")]
pub(super) struct ManArgs {
    /// Where the pages go; made if it is not there
    folder: PathBuf,
}

pub(super) fn completions(args: &CompletionsArgs) -> Outcome {
    clap_complete::generate(
        args.shell,
        &mut Cli::command(),
        "halab",
        &mut std::io::stdout(),
    );
    Ok(Exit::Holds)
}

pub(super) fn man(args: &ManArgs) -> Outcome {
    std::fs::create_dir_all(&args.folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &args.folder))
        .with_context(|| format!("cannot write the manual into {}", args.folder.display()))?;
    Ok(Exit::Holds)
}
