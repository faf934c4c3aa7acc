//! The command line: parses, calls the library, prints, and says how it ended.
//!
//! One file a command. Only here and in `main.rs` are errors of any kind put together (anyhow); the
//! library has an error type for each module.

mod backup;
mod certificates;
mod check_config;
mod choose;
mod close;
mod doctor;
mod drill;
mod forget;
mod handover;
mod health;
mod manual;
mod member;
mod monitor;
mod move_state;
mod node;
mod output;
mod progress;
mod redis_cli;
mod restore;
mod secrets;
mod soak;
mod status;
mod up;
mod verify;
mod write;

use std::io::IsTerminal;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::config::{Lab, LoadError, SecretsFolder, load};
use crate::exit::Exit;

/// The built-in lab, for a folder without a `lab.toml`.
const BUILT_IN: &str = include_str!("../../lab.toml");

/// A lab of highly available Redis that proves its claim: the loss of any one node loses no
/// acknowledged write.
#[derive(Debug, Parser)]
#[command(
    name = "halab",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(after_help = concat!(
    "Examples:\n",
    "  halab up                                     run the whole lab in this terminal\n",
    "  halab write --count 200000 --ledger w.ledger write through the Sentinels\n",
    "  halab verify --ledger w.ledger               find every acknowledged record again\n",
    "  halab status                                 who is primary, and do the Sentinels agree\n\n",
    "Exit codes:\n",
    "  0  holds: done, healthy, every acknowledged record found\n",
    "  1  violated: an acknowledged record is missing, or the lab is not healthy\n",
    "  2  usage: the command line or lab.toml is wrong; nothing was touched\n",
    "  3  inconclusive: nothing was written, or it could not be read back\n",
    "  4  failed: the lab or the tool failed"
))]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags that every command knows.
#[derive(Debug, Args)]
#[command(next_help_heading = "Lab")]
struct Global {
    /// The lab's description [default: lab.toml in this folder, else the built-in lab]
    #[arg(long, global = true, env = "HALAB_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Timings of that profile of lab.toml instead of the normal ones
    #[arg(long, global = true, env = "HALAB_PROFILE", value_name = "NAME")]
    profile: Option<String>,
    /// Folder that holds a folder of state for each node [default: the user's state folder]
    #[arg(long, global = true, env = "HALAB_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
    /// Folder of passwords and certificates [default: secrets in the state folder, made at the first start]
    #[arg(long, global = true, env = "HALAB_SECRETS", value_name = "DIR")]
    secrets: Option<PathBuf>,
    /// Move every node to this /24, as 127.0.7: its last octet stays
    #[arg(long, global = true, env = "HALAB_SUBNET", value_name = "A.B.C", value_parser = parse_subnet)]
    subnet: Option<[u8; 3]>,
    /// The Redis or Valkey server to run [default: redis-server or valkey-server on PATH]
    #[arg(long, global = true, env = "HALAB_REDIS_SERVER", value_name = "FILE")]
    redis_server: Option<PathBuf>,
    /// Say more; twice: everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// How log lines look, on standard error
    #[arg(long, global = true, env = "HALAB_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one node: its server as a child, in the role that the Sentinels say
    Node(node::NodeArgs),
    /// Run all nodes of the lab in this terminal, until Ctrl-C
    Up(up::UpArgs),
    /// Write records to whichever node is primary, and count what is acknowledged
    Write(write::WriteArgs),
    /// Read every acknowledged record back
    Verify(verify::VerifyArgs),
    /// Show nodes, roles, lag, and whether the Sentinels agree
    Status(status::StatusArgs),
    /// Tell what host and data nodes are short of: memory, disk, descriptors, kernel settings
    Doctor(doctor::DoctorArgs),
    /// Make another data node primary, without a failed write
    Handover(handover::HandoverArgs),
    /// Pause writes, bring all copies level and mark them, before every node is stopped
    Close(close::CloseArgs),
    /// Say with which node's copy the lab goes on, where its nodes can't know
    Choose(choose::ChooseArgs),
    /// Make a backup of the lab while it serves, or check one
    Backup(backup::BackupArgs),
    /// Put a backup in place of data that is lost
    Restore(restore::RestoreArgs),
    /// Have the Sentinels forget servers that lab.toml does not state
    Forget(forget::ForgetArgs),
    /// Have a data node or a Sentinel come or go, on a lab that runs
    Member(member::MemberArgs),
    /// Break the lab in one way under load, heal it, and prove what was kept
    Drill(drill::DrillArgs),
    /// Break the lab in random ways for a long time, under load
    Soak(soak::SoakArgs),
    /// Tell by the exit code whether one node serves (for probes)
    Health(health::HealthArgs),
    /// Run or list what watches the lab: Prometheus, Grafana, redis_exporter, cAdvisor
    Monitor(monitor::MonitorArgs),
    /// Talk to one node by redis-cli, let in without a password to type
    Cli(redis_cli::CliArgs),
    /// Make passwords, or give every user a new one
    Secrets(secrets::SecretsArgs),
    /// Renew the certificates of a lab with TLS
    Certificates(certificates::CertificatesArgs),
    /// Take the state of a stopped lab along to other addresses, or another primary_name
    Move(move_state::MoveArgs),
    /// Check lab.toml: every problem with its key and its remedy
    CheckConfig(check_config::CheckConfigArgs),
    /// Print completions for a shell
    Completions(manual::CompletionsArgs),
    /// Write the manual pages into a folder
    Man(manual::ManArgs),
    /// Become a server that dies with its parent (used by `halab node`)
    #[command(hide = true)]
    ExecChild(node::ExecChildArgs),
}

/// How a command failed when it is not the lab's verdict: its exit code and the reason.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    /// Wrong usage; nothing was touched.
    fn usage(error: impl Into<anyhow::Error>) -> Self {
        Failure {
            exit: Exit::Usage,
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

type Outcome = Result<Exit, Failure>;

impl Cli {
    /// Runs the command. What went wrong is said on standard error.
    pub fn run(self) -> Exit {
        crate::signals::disable_core_dumps();
        self.global.init_logging();
        let outcome = match self.command {
            Command::Node(args) => node::run(&self.global, &args),
            Command::Up(args) => up::run(&self.global, &args),
            Command::Write(args) => write::run(&self.global, &args),
            Command::Verify(args) => verify::run(&self.global, &args),
            Command::Status(args) => status::run(&self.global, &args),
            Command::Doctor(args) => doctor::run(&self.global, &args),
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
                eprintln!("halab: {}", with_causes(&error));
                exit
            }
        }
    }
}

/// An error and its causes, without those that its text tells already.
fn with_causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

impl Global {
    fn init_logging(&self) {
        let level = match self.verbose {
            0 => "info",
            1 => "redis_ha_lab=debug,info",
            _ => "trace",
        };
        let filter = EnvFilter::try_from_env("HALAB_LOG").unwrap_or_else(|_| EnvFilter::new(level));
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_target(false)
            .with_ansi(std::io::stderr().is_terminal());
        match self.log_format {
            LogFormat::Text => builder.init(),
            LogFormat::Json => builder.json().flatten_event(true).init(),
        }
    }

    /// The lab that the flags describe.
    fn lab(&self) -> Result<Lab, Failure> {
        let lab = match self.config_file() {
            Some(path) => load(&path, self.profile.as_deref()).map_err(|error| match error {
                LoadError::Unreadable { .. } => Failure::from(error),
                _ => Failure::usage(error),
            })?,
            None => Lab::parse(BUILT_IN, self.profile.as_deref()).map_err(Failure::usage)?,
        };
        let mut lab = match self.subnet {
            Some(subnet) => lab.relocated(subnet),
            None => lab,
        };
        let given = self.secrets.as_deref();
        // Without any folder for state nothing is let in, and that is said where it matters.
        let state = self.state_root().ok();
        lab.security.secrets = match (given, state) {
            (None, None) => None,
            (given, state) => Some(SecretsFolder::under(given, &state.unwrap_or_default())),
        };
        Ok(lab)
    }

    /// The file that describes the lab; `None`: the built-in one.
    fn config_file(&self) -> Option<PathBuf> {
        let here = Path::new("lab.toml");
        self.config
            .clone()
            .or_else(|| here.exists().then(|| here.to_owned()))
    }

    /// The flags that describe the same lab to another `halab` process.
    fn as_arguments(&self, state: &Path) -> Vec<String> {
        let mut arguments = vec!["--state".to_owned(), state.display().to_string()];
        let mut flag = |name: &str, value: Option<String>| {
            arguments.extend(value.into_iter().flat_map(|v| [name.to_owned(), v]));
        };
        flag(
            "--config",
            self.config_file().map(|p| p.display().to_string()),
        );
        flag("--profile", self.profile.clone());
        flag(
            "--subnet",
            self.subnet.map(|[a, b, c]| format!("{a}.{b}.{c}")),
        );
        flag(
            "--secrets",
            self.secrets.as_ref().map(|p| p.display().to_string()),
        );
        flag(
            "--redis-server",
            self.redis_server.as_ref().map(|p| p.display().to_string()),
        );
        arguments
    }

    /// The folder with the nodes' state.
    fn state_root(&self) -> Result<PathBuf, Failure> {
        if let Some(state) = &self.state {
            return Ok(state.clone());
        }
        let base = match std::env::var_os("XDG_STATE_HOME") {
            Some(dir) if !dir.is_empty() => PathBuf::from(dir),
            _ => {
                let home = std::env::var_os("HOME")
                    .context("no folder for state: give --state, or set HOME")
                    .map_err(Failure::usage)?;
                PathBuf::from(home).join(".local/state")
            }
        };
        Ok(base.join("redis-ha-lab"))
    }
}

fn parse_subnet(text: &str) -> Result<[u8; 3], String> {
    let address: Ipv4Addr = format!("{text}.0")
        .parse()
        .map_err(|_| "three numbers of 0 to 255 are expected, as 127.0.7".to_owned())?;
    let [a, b, c, _] = address.octets();
    Ok([a, b, c])
}

/// Runs `work` with a token that Ctrl-C, SIGTERM or SIGHUP cancels. A second signal ends at once.
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
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let token = CancellationToken::new();
        // Before any work: a signal must never find the default action.
        let signals = crate::signals::Signals::register().context("cannot listen for signals")?;
        let watcher = tokio::spawn(signals.cancel_then_exit(token.clone()));
        let result = work(token).await;
        watcher.abort();
        result
    })
}

/// How many threads a command works with.
#[derive(Debug, Clone, Copy)]
enum Threads {
    /// One: a node's server is tied to the thread that started it.
    One,
    /// As many as there are cores.
    Many,
}

/// The longest span that a flag takes: a year. So a moment so far from now can be reckoned with everywhere.
const LONGEST_SPAN: std::time::Duration = std::time::Duration::from_secs(8760 * 3600);

/// A time span on the command line: `250ms`, `5s`, `2m`, `1h`.
fn parse_span(text: &str) -> Result<std::time::Duration, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let hint = || "a time span is expected, as 250ms, 5s, 2m or 1h".to_owned();
    let number: f64 = number.parse().map_err(|_| hint())?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(hint()),
    };
    // What does not even fit into a Duration is too long too; less than nothing has no digit in front.
    match std::time::Duration::try_from_secs_f64(seconds) {
        Ok(span) if span <= LONGEST_SPAN => Ok(span),
        _ => Err("a time span of at most 8760h, a year, is expected".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn time_spans_need_a_unit() {
        assert_eq!(parse_span("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_span("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_span("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_span("8760h"), Ok(LONGEST_SPAN));
        for wrong in ["", "5", "s", "-1s", "1e400s", "5 s", "1d", "8761h"] {
            assert!(parse_span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_subnet_is_three_octets() {
        assert_eq!(parse_subnet("127.0.7"), Ok([127, 0, 7]));
        for wrong in ["127.0", "127.0.7.1", "127.0.256", "x"] {
            assert!(parse_subnet(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
