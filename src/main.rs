//! The `halab` program; everything is in the library.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Wrong usage exits with 2, and --help and --version with 0, inside of `parse`.
    ExitCode::from(redis_ha_lab::cli::Cli::parse().run().code())
}
