//! The options of every command, and the lab that they describe.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use tracing_subscriber::EnvFilter;

use crate::config::{Lab, LoadError, SecretsFolder, load};

use super::Failure;
use super::values::parse_subnet;

/// The built-in `lab.toml`, used where there is no other.
const BUILT_IN: &str = include_str!("../../lab.toml");

/// The `lab.toml` of a host that the Debian package or the NixOS module has set up.
const OF_THIS_HOST: &str = "/etc/redis-ha-lab/lab.toml";

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Lab")]
pub(super) struct Global {
    /// Configuration of the lab [default: lab.toml in the current folder, else
    /// /etc/redis-ha-lab/lab.toml, else the built-in one]
    #[arg(long, global = true, env = "HALAB_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Use the timings of this profile of lab.toml
    #[arg(long, global = true, env = "HALAB_PROFILE", value_name = "NAME")]
    pub(super) profile: Option<String>,
    /// Folder with the state of the nodes [default: $XDG_STATE_HOME/redis-ha-lab or
    /// ~/.local/state/redis-ha-lab]
    #[arg(long, global = true, env = "HALAB_STATE", value_name = "DIR")]
    pub(super) state: Option<PathBuf>,
    /// Folder with passwords and certificates [default: secrets in the state folder, created at
    /// the first start]
    #[arg(long, global = true, env = "HALAB_SECRETS", value_name = "DIR")]
    pub(super) secrets: Option<PathBuf>,
    /// Move all addresses to this /24 network, for example 127.0.7; the last octets stay
    #[arg(long, global = true, env = "HALAB_SUBNET", value_name = "A.B.C", value_parser = parse_subnet)]
    pub(super) subnet: Option<[u8; 3]>,
    /// Redis or Valkey server program [default: redis-server or valkey-server on PATH]
    #[arg(long, global = true, env = "HALAB_REDIS_SERVER", value_name = "FILE")]
    pub(super) redis_server: Option<PathBuf>,
    /// Log more (-v: debug, -vv: trace)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Format of the log on standard error
    #[arg(long, global = true, env = "HALAB_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl Global {
    pub(super) fn init_logging(&self) {
        let level = match self.verbose {
            0 => "info",
            1 => "redis_ha_lab=debug,info",
            _ => "trace",
        };
        let filter = EnvFilter::try_from_env("HALAB_LOG").unwrap_or_else(|_| EnvFilter::new(level));
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            // It would report by a panic that standard error is closed.
            .log_internal_errors(false)
            .with_target(false)
            .with_ansi(std::io::stderr().is_terminal());
        match self.log_format {
            LogFormat::Text => builder.init(),
            LogFormat::Json => builder.json().flatten_event(true).init(),
        }
    }

    /// The lab of `--config`, `--profile`, `--subnet` and `--secrets`.
    pub(super) fn lab(&self) -> Result<Lab, Failure> {
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
        // Without a state folder there are no passwords; commands that need them report that.
        let state = self.state_root().ok();
        lab.security.secrets = match (given, state) {
            (None, None) => None,
            (given, state) => Some(SecretsFolder::under(given, &state.unwrap_or_default())),
        };
        Ok(lab)
    }

    /// The configuration file of the lab, or `None` for the built-in one.
    pub(super) fn config_file(&self) -> Option<PathBuf> {
        let existing = ["lab.toml", OF_THIS_HOST].map(Path::new);
        let existing = existing.into_iter().find(|path| path.exists());
        self.config.clone().or_else(|| existing.map(Path::to_owned))
    }

    /// The same options for another `halab` process.
    pub(super) fn as_arguments(&self, state: &Path) -> Vec<String> {
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

    /// The folder with the state of all nodes.
    pub(super) fn state_root(&self) -> Result<PathBuf, Failure> {
        if let Some(state) = &self.state {
            return Ok(state.clone());
        }
        let base = match std::env::var_os("XDG_STATE_HOME") {
            Some(dir) if !dir.is_empty() => PathBuf::from(dir),
            _ => {
                let home = std::env::var_os("HOME")
                    .context("no state folder: set --state or HOME")
                    .map_err(Failure::usage)?;
                PathBuf::from(home).join(".local/state")
            }
        };
        Ok(base.join("redis-ha-lab"))
    }
}
