//! The `halab` program. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // `parse` exits by itself: with 2 for wrong usage, with 0 for --help and --version.
    ExitCode::from(redis_ha_lab::cli::Cli::parse().run().code())
}
