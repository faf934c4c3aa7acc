//! `halab up`.

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
use crate::runner::{Launch, Runner};
use crate::status;
use crate::web;

use super::close::close_first;
use super::output::print_text;
use super::{CommandResult, Failure, Global, Threads, with_signals};

/// How long to wait for a healthy lab before the status is printed.
const HEALTHY_LIMIT: Duration = Duration::from_secs(60);
/// How long to wait for the replicas to catch up before all nodes are stopped.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);
/// How often the child processes are checked.
const CHECK_PERIOD: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab up\n  \
    halab --profile fast --subnet 127.0.7 up  Run a second lab beside another\n\n\
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
}

pub(super) fn run(global: &Global, args: &UpArgs) -> CommandResult {
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
            runner.start_web(&["--allow-faults"])?;
            // The token is not for logs.
            if io::stdout().is_terminal() {
                let link = web::link(monitoring.web_socket(), &state)?;
                print_text(format_args!("the lab in a browser: {link}"))?;
            }
        }
        serve(&lab, runner, token).await
    })
}

async fn serve(lab: &Lab, mut runner: Runner, stop: CancellationToken) -> CommandResult {
    let mut checks = interval(CHECK_PERIOD);
    let healthy = status::wait_healthy(lab, HEALTHY_LIMIT, &stop);
    let mut healthy = std::pin::pin!(healthy);
    let mut reported = false;
    let mut failed = false;
    loop {
        tokio::select! {
            status = &mut healthy, if !reported => {
                reported = true;
                if !stop.is_cancelled() {
                    print_text(status::render(&status))?;
                }
            }
            () = stop.cancelled() => break,
            _ = checks.tick() => {
                for (name, status) in runner.ended() {
                    // The other nodes continue.
                    failed = true;
                    tracing::error!(node = %name, %status, log = %runner.log_of(&name).display(),
                        "node exited");
                }
                for (name, status) in runner.ended_others() {
                    tracing::warn!(service = %name, %status, log = %runner.log_of(&name).display(),
                        "exited; the lab continues without it");
                }
                if !runner.any_running() {
                    return Err(anyhow::anyhow!("all nodes have exited; see their logs").into());
                }
            }
        }
    }
    stop_all(lab, &mut runner).await;
    Ok(if failed { Exit::Failed } else { Exit::Holds })
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
