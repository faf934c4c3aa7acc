//! The command line: parses arguments, calls the library, prints the result, sets the exit code.
//!
//! One file per command. Only this module and `main.rs` use `anyhow`; each module of the library
//! has its own error type.

mod app;
mod backup;
mod certificates;
mod check_config;
mod choose;
mod close;
mod doctor;
mod drill;
mod forget;
mod global;
mod handover;
mod health;
mod manual;
mod member;
mod monitor;
mod move_state;
mod node;
mod output;
mod progress;
mod proxy;
mod redis_cli;
mod restore;
mod secrets;
mod soak;
mod status;
mod up;
mod values;
mod verify;
mod web;
mod write;

use anyhow::Context;
use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;

use global::Global;
use values::{parse_duration, parse_subnet};

/// A lab of highly available Redis in which the loss of any one node loses no acknowledged write
#[derive(Debug, Parser)]
#[command(
    name = "halab",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(after_help = concat!(
    "Examples:\n",
    "  halab up                                      Run a whole lab in this terminal\n",
    "  halab write --count 200000 --ledger w.ledger  Write records and log them in a ledger\n",
    "  halab verify --ledger w.ledger                Read back every acknowledged record\n",
    "  halab status                                  Show the primary and the state of all nodes\n\n",
    "Exit codes:\n",
    "  0  holds: done, healthy, every acknowledged record found\n",
    "  1  no: an acknowledged record is missing, or the lab is not healthy or not complete\n",
    "  2  usage: the command line or lab.toml is wrong; nothing was touched\n",
    "  3  inconclusive: nothing was written, or it could not be read back\n",
    "  4  failed: the lab or the tool failed\n",
    "  5  refused: the lab is not in a state for it; nothing was changed"
))]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one node: start its server and supervise it
    Node(node::NodeArgs),
    /// Run all nodes of the lab in this terminal until Ctrl-C
    Up(up::UpArgs),
    /// Write records to the current primary and count the acknowledged ones
    Write(write::WriteArgs),
    /// Run a proxy for any Redis client: it answers a write when every later primary will have it
    Proxy(proxy::ProxyArgs),
    /// Show the lab in a browser, and let a person break it there
    Web(web::WebArgs),
    /// Read back every acknowledged record
    Verify(verify::VerifyArgs),
    /// Show nodes, roles, replication lag, and problems with their remedies
    Status(status::StatusArgs),
    /// Check memory, disk, file descriptors and kernel settings of hosts and data nodes
    Doctor(doctor::DoctorArgs),
    /// Make another data node primary without a failed write
    Handover(handover::HandoverArgs),
    /// Refuse writes and bring all copies level, before all nodes are stopped
    Close(close::CloseArgs),
    /// Choose the copy with which the lab continues, when the nodes cannot decide
    Choose(choose::ChooseArgs),
    /// Back up a running lab, or check a backup
    Backup(backup::BackupArgs),
    /// Restore a backup into a stopped lab
    Restore(restore::RestoreArgs),
    /// Remove servers that are not in lab.toml from the Sentinels
    Forget(forget::ForgetArgs),
    /// List, add, remove or replace nodes of a running lab
    Member(member::MemberArgs),
    /// Inject a fault into a lab under load, heal it, and verify the acknowledged records
    Drill(drill::DrillArgs),
    /// Inject random faults into a lab under load, for a long time
    Soak(soak::SoakArgs),
    /// Report by the exit code whether a node serves (for probes)
    Health(health::HealthArgs),
    /// Run or list the monitoring: Prometheus, Grafana, redis_exporter, cAdvisor
    Monitor(monitor::MonitorArgs),
    /// Run redis-cli on a node, logged in as a user of the lab
    Cli(redis_cli::CliArgs),
    /// List the applications of lab.toml, or show how one connects
    App(app::AppArgs),
    /// Create or rotate the passwords of the lab
    Secrets(secrets::SecretsArgs),
    /// Renew the certificates of a lab with TLS
    Certificates(certificates::CertificatesArgs),
    /// Change addresses or primary_name in the state of a stopped lab
    Move(move_state::MoveArgs),
    /// Check lab.toml and list all problems with their remedies
    CheckConfig(check_config::CheckConfigArgs),
    /// Print a completion script for a shell
    Completions(manual::CompletionsArgs),
    /// Write the manual pages to a folder
    Man(manual::ManArgs),
    /// Run a program that is killed when its parent process ends (used by `halab node`)
    #[command(hide = true)]
    ExecChild(node::ExecChildArgs),
}

/// An error of a command, with its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    /// Wrong usage. Nothing was changed.
    fn usage(error: impl Into<anyhow::Error>) -> Self {
        Failure {
            exit: Exit::Usage,
            error: error.into(),
        }
    }

    /// The lab is not in a state for it. Nothing was changed.
    fn refused(error: impl Into<anyhow::Error>) -> Self {
        Failure {
            exit: Exit::Refused,
            error: error.into(),
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure {
            exit: Exit::Failed,
            error: error.into(),
        }
    }
}

/// The result of a command.
type CommandResult = Result<Exit, Failure>;

impl Cli {
    /// Runs the command. Errors are printed on standard error.
    pub fn run(self) -> Exit {
        crate::signals::disable_core_dumps();
        self.global.init_logging();
        let outcome = match self.command {
            Command::Node(args) => node::run(&self.global, &args),
            Command::Up(args) => up::run(&self.global, &args),
            Command::Write(args) => write::run(&self.global, &args),
            Command::Web(args) => web::run(&self.global, &args),
            Command::Verify(args) => verify::run(&self.global, &args),
            Command::Status(args) => status::run(&self.global, &args),
            Command::Doctor(args) => doctor::run(&self.global, &args),
            Command::Proxy(args) => proxy::run(&self.global, &args),
            Command::Handover(args) => handover::run(&self.global, &args),
            Command::Close(args) => close::run(&self.global, &args),
            Command::Choose(args) => choose::run(&self.global, &args),
            Command::Backup(args) => backup::run(&self.global, &args),
            Command::Restore(args) => restore::run(&self.global, &args),
            Command::Forget(args) => forget::run(&self.global, &args),
            Command::Member(args) => member::run(&self.global, &args),
            Command::Drill(args) => drill::run(&self.global, &args),
            Command::Soak(args) => soak::run(&self.global, &args),
            Command::Health(args) => health::run(&self.global, &args),
            Command::Monitor(args) => monitor::run(&self.global, &args),
            Command::Cli(args) => redis_cli::run(&self.global, &args),
            Command::App(args) => app::run(&self.global, &args),
            Command::Secrets(args) => secrets::run(&self.global, &args),
            Command::Certificates(args) => certificates::run(&self.global, &args),
            Command::Move(args) => move_state::run(&self.global, &args),
            Command::CheckConfig(args) => check_config::run(&self.global, &args),
            Command::Completions(args) => manual::completions(&args),
            Command::Man(args) => manual::man(&args),
            Command::ExecChild(args) => node::exec_child(&args),
        };
        match outcome {
            Ok(exit) => exit,
            Err(Failure { exit, error }) => {
                output::print_note(format_args!("halab: {}", with_causes(&error)));
                exit
            }
        }
    }
}

/// An error and its causes. A cause that the text already contains is left out.
fn with_causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Runs `work` with a token that Ctrl-C, SIGTERM or SIGHUP cancels. A second signal ends the
/// process at once.
fn with_signals<T, F>(
    threads: Threads,
    work: impl FnOnce(CancellationToken) -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut builder = match threads {
        Threads::One => tokio::runtime::Builder::new_current_thread(),
        Threads::Many => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    runtime.block_on(async {
        let token = CancellationToken::new();
        // Before any work, so that no signal has its default effect.
        let signals =
            crate::signals::Signals::register().context("cannot register signal handlers")?;
        let watcher = tokio::spawn(signals.cancel_then_exit(token.clone()));
        let result = work(token).await;
        watcher.abort();
        result
    })
}

/// Number of threads of a command.
#[derive(Debug, Clone, Copy)]
enum Threads {
    /// One thread. Child processes are killed when the thread that started them ends.
    One,
    /// One thread per core.
    Many,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
