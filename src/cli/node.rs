//! `halab node` and `halab exec-child`.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;

use anyhow::Context;
use clap::Args;

use crate::config::{Here, Lab};
use crate::exit::Exit;
use crate::node::{self, NodeError, Shutdown};

use super::{Failure, Global, Outcome, Threads, with_signals};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  halab node redis-a\n  halab --state /var/lib/halab node sentinel-1\n\n\
    The state folder is seeded at the first start only. SIGTERM and Ctrl-C end the server in order.\n\
    Exits with the server's status: 128 + N when signal N ended it."
)]
pub(super) struct NodeArgs {
    /// The node's name in lab.toml
    #[arg(env = "HALAB_NODE")]
    name: String,
    /// Listen there instead, where the node's address of lab.toml is passed on to it (the Service of a pod)
    #[arg(long, env = "HALAB_LISTEN", value_name = "ADDRESS")]
    listen: Option<Ipv4Addr>,
    /// Run in a cgroup of its own, /halab/NAME@ADDRESS, where that is permitted
    #[arg(long, env = "HALAB_CGROUP")]
    cgroup: bool,
}

#[derive(Debug, Args)]
pub(super) struct ExecChildArgs {
    parent: u32,
    program: PathBuf,
    /// After `--`, so that none of them is taken for a flag of this program.
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

pub(super) fn run(global: &Global, args: &NodeArgs) -> Outcome {
    let lab = here(global.lab()?, &args.name, args.listen);
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

/// The lab as the node `name` sees it, which listens there.
pub(super) fn here(lab: Lab, name: &str, listen: Option<Ipv4Addr>) -> Lab {
    let here = listen.map(|listens| Here {
        node: name.to_owned(),
        listens,
    });
    Lab { here, ..lab }
}

/// The failure that no node has that name.
pub(super) fn unknown_node(lab: &Lab, name: &str) -> Failure {
    Failure::usage(NodeError::unknown(lab, name))
}

/// The status as a shell shows it.
pub(super) fn shell_code(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|n| 128 + n))
        .unwrap_or(1)
}

pub(super) fn exec_child(args: &ExecChildArgs) -> Outcome {
    let error = node::become_server(args.parent, &args.program, &args.arguments);
    Err(error).with_context(|| format!("cannot become {}", args.program.display()))?
}
