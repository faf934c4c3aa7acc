//! `halab cli`.

use std::ffi::OsString;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::process::Command;

use crate::access::User;
use crate::client::{Connector, Tunnel};
use crate::exit::Exit;

use super::node::{shell_code, unknown_node};
use super::{Global, Outcome, Threads, with_signals};

/// Limit of a connect.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  halab cli redis-a                      type commands, as operator\n  \
    halab cli sentinel-1 sentinel masters  one command\n  \
    halab cli redis-a --user writer -- acl whoami\n\n\
    Runs redis-cli on a private socket, behind which halab has said who you are: redis-cli gets no password, in no\n\
    argument and no environment. Exits with its status."
)]
pub(super) struct CliArgs {
    /// The node's name in lab.toml
    node: String,
    /// As this user: writer, verifier, replication, sentinel, exporter, node or operator
    #[arg(long, value_name = "NAME", default_value = "operator", value_parser = parse_user)]
    user: User,
    /// What redis-cli is to be given: a command, its own flags
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    arguments: Vec<OsString>,
}

fn parse_user(text: &str) -> Result<User, String> {
    User::named(text).ok_or_else(|| {
        let names = User::ALL.map(User::name).join(", ");
        format!("the users are {names}")
    })
}

pub(super) fn run(global: &Global, args: &CliArgs) -> Outcome {
    let lab = global.lab()?;
    let node = lab
        .node(&args.node)
        .ok_or_else(|| unknown_node(&lab, &args.node))?;
    let connector = Connector::new(&lab, args.user, CONNECT_LIMIT);
    // Ctrl-C is for redis-cli; its end is the end of this.
    let status: ExitStatus = with_signals(Threads::One, |_| async {
        let tunnel = Tunnel::open().context("cannot make a private socket")?;
        let mut child = Command::new("redis-cli")
            .arg("-s")
            .arg(tunnel.path())
            .args(&args.arguments)
            .kill_on_drop(true)
            .spawn()
            .context("cannot run redis-cli: is it installed (Debian: redis-tools)?")?;
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
