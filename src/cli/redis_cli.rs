//! `halab cli`.

use std::ffi::OsString;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use tokio::process::Command;

use crate::access::{Account, User};
use crate::client::{Connector, Tunnel};
use crate::config::Lab;
use crate::exit::Exit;

use super::node::{shell_code, unknown_node};
use super::{CommandResult, Failure, Global, Threads, with_signals};

/// Time limit for connecting to a node.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab cli redis-a                      Interactive, as the user operator\n  \
    halab cli sentinel-1 sentinel masters  Run one command\n  \
    halab cli redis-a --user writer -- acl whoami\n\n\
    redis-cli connects to a private socket; halab forwards the connection to the node and \
    authenticates it. So redis-cli gets no password in an argument or in its environment. The exit \
    status is that of redis-cli.")]
pub(super) struct CliArgs {
    /// Name of the node in lab.toml
    node: String,
    /// User: writer, proxy, verifier, replication, sentinel, exporter, node, operator, or the name
    /// of an application
    #[arg(long, value_name = "NAME", default_value = User::Operator.name())]
    user: String,
    /// Arguments for redis-cli: its own options, a command
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    arguments: Vec<OsString>,
}

fn unknown_user(lab: &Lab, name: &str) -> Failure {
    let names: Vec<String> = Account::all(lab)
        .map(|user| user.name().to_owned())
        .collect();
    Failure::usage(anyhow!(
        "no user is named {name:?}; use one of: {}",
        names.join(", ")
    ))
}

pub(super) fn run(global: &Global, args: &CliArgs) -> CommandResult {
    let lab = global.lab()?;
    let node = lab
        .node(&args.node)
        .ok_or_else(|| unknown_node(&lab, &args.node))?;
    let user = Account::named(&lab, &args.user).ok_or_else(|| unknown_user(&lab, &args.user))?;
    let connector = Connector::new(&lab, user).with_min_limit(CONNECT_LIMIT);
    // Ctrl-C is handled by redis-cli. This process ends when redis-cli ends.
    let status: ExitStatus = with_signals(Threads::One, |_| async {
        let tunnel = Tunnel::open().context("cannot create a private socket")?;
        let mut child = Command::new("redis-cli")
            .arg("-s")
            .arg(tunnel.path())
            .args(&args.arguments)
            .kill_on_drop(true)
            .spawn()
            .context("cannot run redis-cli; install it (Debian: redis-tools)")?;
        tokio::select! {
            status = child.wait() => Ok(status.context("redis-cli")?),
            () = tunnel.serve(&connector, node.socket()) => Ok(child.wait().await.context("redis-cli")?),
        }
    })?;
    if status.success() {
        Ok(Exit::Holds)
    } else {
        std::process::exit(shell_code(status))
    }
}
