//! `halab up`.

mod requests;

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::config::Lab;
use crate::exit::Exit;
use crate::monitoring::{self, Service};
use crate::node::ServerBinary;
use crate::runner::{Launch, NodeAction, Runner};
use crate::status;
use crate::web;

use super::close::close_first;
use super::output::print_text;
use super::{CommandResult, Failure, Global, Threads, with_signals};

use requests::NodeRequests;

/// How long to wait for a healthy lab before the status is printed.
const HEALTHY_LIMIT: Duration = Duration::from_secs(60);
/// How long to wait for the replicas to catch up before all nodes are stopped.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);
/// How often the child processes are checked.
const CHECK_PERIOD: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab up\n  \
    halab --profile fast --subnet 127.0.7 up  Run a second lab beside another\n  \
    halab up --stop redis-a                   Stop one node of the lab that runs, as planned\n  \
    halab up --start redis-a                  Start it again\n\n\
    Runs until Ctrl-C or SIGTERM, then stops all nodes in order. A second signal kills them. Each \
    node has its own log file.")]
pub(super) struct UpArgs {
    /// Folder for the logs of the nodes [default: log in the state folder]
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// Run the lab without the monitoring
    #[arg(long)]
    no_monitoring: bool,
    /// Run the lab without the proxy
    #[arg(long)]
    no_proxy: bool,
    /// Run the lab without the page in the browser
    #[arg(long)]
    no_web: bool,
    /// Start a node of the `halab up` that runs with this state folder, unless the node runs
    #[arg(
        long,
        value_name = "NODE",
        conflicts_with_all = ["stop", "logs", "no_monitoring", "no_proxy", "no_web"]
    )]
    start: Option<String>,
    /// Stop a node of the `halab up` that runs with this state folder: a primary hands over first
    #[arg(
        long,
        value_name = "NODE",
        conflicts_with_all = ["logs", "no_monitoring", "no_proxy", "no_web"]
    )]
    stop: Option<String>,
}

impl UpArgs {
    /// What is requested of a `halab up` that runs.
    fn request(&self) -> Option<(NodeAction, &str)> {
        let start = self.start.as_deref().map(|node| (NodeAction::Start, node));
        start.or(self.stop.as_deref().map(|node| (NodeAction::Stop, node)))
    }
}

pub(super) fn run(global: &Global, args: &UpArgs) -> CommandResult {
    if let Some((action, node)) = args.request() {
        return requests::ask(&global.state_root()?, action, node);
    }
    let lab = global.lab()?;
    let state = global.state_root()?;
    // Before anything is started, or each node would report the same error.
    ServerBinary::find(global.redis_server.as_deref()).map_err(Failure::from)?;
    let launch = Launch {
        program: std::env::current_exe().context("cannot find the path of this program")?,
        arguments: global.as_arguments(&state),
        logs: args.logs.clone().unwrap_or_else(|| state.join("log")),
    };
    let UpArgs {
        no_monitoring,
        no_proxy,
        no_web,
        ..
    } = *args;
    // One thread: child processes are killed when the thread that started them ends.
    with_signals(Threads::One, |token| async move {
        let program = launch.program.clone();
        let requests = NodeRequests::listen(&state)?;
        let mut runner = Runner::start(&lab, launch)?;
        if lab.monitoring.is_some() && !no_monitoring {
            let installed = Service::ALL
                .iter()
                .copied()
                .filter(|s| monitoring::find(*s).is_some());
            for service in installed {
                runner.start_monitor(service.name())?;
            }
        }
        if lab.proxy.is_some() && !no_proxy {
            runner.start_proxy(&[])?;
        }
        if let Some(monitoring) = lab.monitoring.as_ref().filter(|_| !no_web) {
            let command = requests.node_command(&program, &state);
            let mut options = vec!["--allow-faults"];
            options.extend(
                command
                    .iter()
                    .flat_map(|command| ["--node-command", command]),
            );
            runner.start_web(&options)?;
            // The token is not for logs.
            if io::stdout().is_terminal() {
                let link = web::link(monitoring.web_socket(), &state)?;
                print_text(format_args!("the lab in a browser: {link}"))?;
            }
        }
        serve(&lab, runner, requests, token).await
    })
}

async fn serve(
    lab: &Lab,
    mut runner: Runner,
    mut requests: NodeRequests,
    stop: CancellationToken,
) -> CommandResult {
    let mut checks = interval(CHECK_PERIOD);
    let healthy = status::wait_healthy(lab, HEALTHY_LIMIT, &stop);
    let mut healthy = std::pin::pin!(healthy);
    let mut reported = false;
    // The nodes that have exited by themselves, and were not started again.
    let mut exited = BTreeSet::new();
    loop {
        tokio::select! {
            status = &mut healthy, if !reported => {
                reported = true;
                if !stop.is_cancelled() {
                    print_text(status::render(&status))?;
                }
            }
            () = stop.cancelled() => break,
            Some(request) = requests.next() => {
                if let Some(started) = requests.begin(&mut runner, request) {
                    exited.remove(&started);
                }
            }
            _ = checks.tick() => {
                requests.check(&mut runner);
                for (name, status) in runner.ended() {
                    // The other nodes continue.
                    tracing::error!(node = %name, %status, log = %runner.log_of(&name).display(),
                        "node exited");
                    exited.insert(name);
                }
                for (name, status) in runner.ended_others() {
                    tracing::warn!(service = %name, %status, log = %runner.log_of(&name).display(),
                        "exited; the lab continues without it");
                }
                if runner.all_exited() {
                    return Err(anyhow::anyhow!("all nodes have exited; see their logs").into());
                }
            }
        }
    }
    // From now on, a request has no answer.
    let _lock = requests.close();
    stop_all(lab, &mut runner).await;
    Ok(match exited.is_empty() {
        true => Exit::Holds,
        false => Exit::Failed,
    })
}

/// Stops the lab in order. A second signal ends this process at once, and all nodes and servers
/// with it.
async fn stop_all(lab: &Lab, runner: &mut Runner) {
    tracing::info!("stopping all nodes; press Ctrl-C again to kill them");
    // Before writes are paused for the closing: clients of the proxy are answered.
    runner.stop_writing().await;
    close_first(lab, CLOSE_LIMIT).await;
    runner.stop_async().await;
}
