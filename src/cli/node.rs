//! `halab node` and `halab exec-child`.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;

use anyhow::Context;
use clap::Args;

use crate::config::{ForwardedNode, Lab};
use crate::exit::Exit;
use crate::node::{self, NodeError, Shutdown};

use super::{CommandResult, Failure, Global, Threads, with_signals};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  halab node redis-a\n  halab --state /var/lib/halab node sentinel-1\n\n\
    The config file in the state folder is created at the first start only. SIGTERM and Ctrl-C stop \
    the server in order, with a handover if it is primary.\n\n\
    Exits with the status of the server, or 128 + N if signal N ended it."
)]
pub(super) struct NodeArgs {
    /// Name of the node in lab.toml
    #[arg(env = "HALAB_NODE")]
    name: String,
    /// Listen at this address; the node's address in lab.toml is forwarded to it (as by a
    /// Kubernetes Service)
    #[arg(long, env = "HALAB_LISTEN", value_name = "ADDRESS")]
    listen: Option<Ipv4Addr>,
    /// Run in a separate cgroup, /halab/NAME@ADDRESS, where permitted
    #[arg(long, env = "HALAB_CGROUP")]
    cgroup: bool,
}

#[derive(Debug, Args)]
pub(super) struct ExecChildArgs {
    parent: u32,
    program: PathBuf,
    /// After `--`, so that none of them is parsed as an option of this program.
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

pub(super) fn run(global: &Global, args: &NodeArgs) -> CommandResult {
    let lab = listening_at(global.lab()?, &args.name, args.listen);
    let state = global.state_root()?;
    let server = global.redis_server.clone();
    let ended = with_signals(Threads::One, |token| async move {
        node::run(
            &lab,
            &args.name,
            &state,
            server,
            args.cgroup,
            Shutdown::new(token),
        )
        .await
        .map_err(|error| match error {
            NodeError::Unknown { .. } => Failure::usage(error),
            _ => Failure::from(error),
        })
    })?;
    match ended {
        Some(status) if !status.success() => std::process::exit(shell_code(status)),
        _ => Ok(Exit::Holds),
    }
}

/// The lab as seen by the node `name`, which listens at `listen` if that is set.
pub(super) fn listening_at(lab: Lab, name: &str, listen: Option<Ipv4Addr>) -> Lab {
    let forwarded = listen.map(|listens| ForwardedNode {
        node: name.to_owned(),
        listens,
    });
    Lab { forwarded, ..lab }
}

/// The failure for a name that no node has.
pub(super) fn unknown_node(lab: &Lab, name: &str) -> Failure {
    Failure::usage(NodeError::unknown(lab, name))
}

/// The exit status as a shell reports it.
pub(super) fn shell_code(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|n| 128 + n))
        .unwrap_or(1)
}

pub(super) fn exec_child(args: &ExecChildArgs) -> CommandResult {
    let error = node::become_server(args.parent, &args.program, &args.arguments);
    Err(error).with_context(|| format!("cannot run {}", args.program.display()))?
}
