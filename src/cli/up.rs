//! `halab up`.

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

use super::close::close_first;
use super::output::print_text;
use super::{Failure, Global, Outcome, Threads, with_signals};

/// How long the lab may take to be healthy before that is said.
const HEALTHY_LIMIT: Duration = Duration::from_secs(60);
/// How long the replicas may take to be level before all nodes stop.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);
/// How often the children are looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  halab up\n  halab --profile fast --subnet 127.0.7 up   beside another lab\n\n\
    Runs until Ctrl-C or SIGTERM; then all nodes are stopped in order, at a second one killed. Logs: one file a node."
)]
pub(super) struct UpArgs {
    /// Folder for the nodes' logs [default: log in the state folder]
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// Run the nodes alone, without Prometheus and the others of the monitoring
    #[arg(long)]
    no_monitoring: bool,
}

pub(super) fn run(global: &Global, args: &UpArgs) -> Outcome {
    let lab = global.lab()?;
    let state = global.state_root()?;
    // Before anything is started: all five would say the same.
    ServerBinary::find(global.redis_server.as_deref()).map_err(Failure::from)?;
    let launch = Launch {
        program: std::env::current_exe().context("cannot find the own program")?,
        arguments: global.as_arguments(&state),
        logs: args.logs.clone().unwrap_or_else(|| state.join("log")),
    };
    let no_monitoring = args.no_monitoring;
    // One thread: the children die with the thread that started them.
    with_signals(Threads::One, |token| async move {
        let mut runner = Runner::start(&lab, launch)?;
        if lab.monitoring.is_some() && !no_monitoring {
            let here = Service::ALL
                .into_iter()
                .filter(|s| monitoring::find(*s).is_some());
            for service in here {
                runner.start_monitor(service.name())?;
            }
        }
        serve(&lab, runner, token).await
    })
}

async fn serve(lab: &Lab, mut runner: Runner, stop: CancellationToken) -> Outcome {
    let mut look = interval(LOOK_AGAIN);
    let healthy = status::wait_healthy(lab, HEALTHY_LIMIT, &stop);
    let mut healthy = std::pin::pin!(healthy);
    let mut told = false;
    let mut failed = false;
    loop {
        tokio::select! {
            status = &mut healthy, if !told => {
                told = true;
                if !stop.is_cancelled() {
                    print_text(status::render(&status))?;
                }
            }
            () = stop.cancelled() => break,
            _ = look.tick() => {
                for (name, status) in runner.ended() {
                    // The others go on: that is what the lab is for.
                    failed = true;
                    tracing::error!(node = %name, %status, log = %runner.log_of(&name).display(),
                        "a node has ended");
                }
                for (name, status) in runner.ended_monitors() {
                    tracing::warn!(service = %name, %status, log = %runner.log_of(&name).display(),
                        "a part of the monitoring has ended; the lab runs without it");
                }
                if !runner.any_running() {
                    return Err(anyhow::anyhow!("all nodes have ended: see their logs").into());
                }
            }
        }
    }
    stop_all(lab, &mut runner).await;
    Ok(if failed { Exit::Failed } else { Exit::Holds })
}

/// Ends the lab in order. A second signal ends this process, and with it every node and its server, at once.
async fn stop_all(lab: &Lab, runner: &mut Runner) {
    tracing::info!("stopping all nodes; Ctrl-C once more kills them");
    close_first(lab, CLOSE_LIMIT).await;
    runner.stop_async().await;
}
