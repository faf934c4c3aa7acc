//! `halab monitor`.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::config::{Lab, Monitoring};
use crate::exit::Exit;
use crate::http::Client;
use crate::monitoring::{self, MonitoringError, Service, Start, Writers};

use super::output::print_text;
use super::{Failure, Global, Outcome, Threads, parse_span, with_signals};

/// How long a service may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// Longest answer that is read; Grafana's has some 100 bytes.
const ANSWER_MAX: usize = 64 * 1024;
/// Pause between two looks at services that do not answer yet.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  halab monitor                 what there is, where, and whether it answers\n  \
    halab monitor prometheus      run Prometheus for this lab, until Ctrl-C\n  \
    halab monitor --wait 10s      wait until all that is on this machine answers\n\n\
    A service that is not on this machine is no failure: the lab runs without it."
)]
pub(super) struct MonitorArgs {
    /// Run this one: prometheus, grafana, redis-exporter or cadvisor
    #[arg(value_parser = parse_service)]
    service: Option<Service>,
    /// Have Prometheus ask all of them, also those that are not on this machine (in a container each)
    #[arg(long, env = "HALAB_MONITOR_ALL")]
    all: bool,
    /// They listen there, not at their address of lab.toml
    #[arg(long, env = "HALAB_LISTEN", value_name = "ADDRESS")]
    listen: Option<Ipv4Addr>,
    /// Have Prometheus ask these cAdvisors, separated by commas, or "none" [default: the one beside it]
    #[arg(long, env = "HALAB_CADVISORS", value_name = "ADDRESS:PORT,...", value_parser = parse_cadvisors)]
    cadvisors: Option<Cadvisors>,
    /// Without a service: wait until all that are on this machine answer, for that long at most
    #[arg(long, value_name = "SPAN", value_parser = parse_span, conflicts_with = "service")]
    wait: Option<Duration>,
}

/// Where the cAdvisors of the lab's hosts are.
#[derive(Debug, Clone)]
struct Cadvisors(Vec<SocketAddrV4>);

fn parse_cadvisors(text: &str) -> Result<Cadvisors, String> {
    if text == "none" {
        return Ok(Cadvisors(Vec::new()));
    }
    let all: Result<_, _> = text.split(',').map(|at| at.trim().parse()).collect();
    all.map(Cadvisors).map_err(|_| {
        "IPv4 addresses with ports are expected, as 192.0.2.11:8080,192.0.2.12:8080, or none".into()
    })
}

fn parse_service(text: &str) -> Result<Service, String> {
    Service::named(text).ok_or_else(|| {
        let names = Service::ALL.map(Service::name).join(", ");
        format!("the services are {names}")
    })
}

pub(super) fn run(global: &Global, args: &MonitorArgs) -> Outcome {
    let mut lab = global.lab()?;
    let Some(monitoring) = &mut lab.monitoring else {
        return Err(Failure::usage(MonitoringError::NotConfigured));
    };
    if let Some(listen) = args.listen {
        monitoring.address = listen;
    }
    match args.service {
        Some(service) => become_service(global, &lab, service, args),
        None => list(monitoring, args.wait.unwrap_or_default()),
    }
}

fn become_service(global: &Global, lab: &Lab, service: Service, args: &MonitorArgs) -> Outcome {
    let all = args.all;
    let Some(program) = monitoring::find(service) else {
        tracing::info!(
            service = service.name(),
            "not on this machine; the lab runs without it"
        );
        return Ok(Exit::Holds);
    };
    let here = Service::ALL
        .into_iter()
        .filter(|s| all || monitoring::find(*s).is_some())
        .collect();
    let start = Start {
        service,
        program,
        state_root: global.state_root()?,
        here,
        // One of another container can't write a file here.
        writers: if all {
            Writers::Always
        } else {
            Writers::WhileThere
        },
        cadvisors: args.cadvisors.clone().map(|Cadvisors(all)| all),
    };
    Err(monitoring::become_service(lab, &start).into())
}

/// Lists all services. Exit code 0: all that are on this machine answer.
fn list(monitoring: &Monitoring, limit: Duration) -> Outcome {
    let all_up = with_signals(Threads::One, |token| async move {
        let deadline = Instant::now() + limit;
        let mut table = String::new();
        let mut all_up = true;
        for service in Service::ALL {
            let socket = service.socket(monitoring);
            let how = if monitoring::find(service).is_none() {
                "not on this machine"
            } else if answers_by(service, socket, deadline, &token).await {
                "up"
            } else {
                all_up = false;
                "does not answer"
            };
            table.push_str(&format!(
                "  {:<16} {:<28} {how}\n",
                service.name(),
                format!("http://{socket}")
            ));
        }
        print_text(table.trim_end())?;
        Ok(all_up)
    })?;
    Ok(if all_up { Exit::Holds } else { Exit::Violated })
}

async fn answers_by(
    service: Service,
    socket: SocketAddrV4,
    deadline: Instant,
    stop: &CancellationToken,
) -> bool {
    loop {
        if answers(service, socket).await {
            return true;
        }
        if Instant::now() >= deadline || stop.is_cancelled() {
            return false;
        }
        sleep(LOOK_AGAIN).await;
    }
}

async fn answers(service: Service, socket: SocketAddrV4) -> bool {
    let path = match service {
        Service::Prometheus => "/-/ready",
        Service::Grafana => "/api/health",
        Service::RedisExporter => "/health",
        Service::Cadvisor => "/healthz",
    };
    let client = Client::new(socket, ANSWER_LIMIT, ANSWER_MAX);
    client
        .get(path)
        .await
        .is_ok_and(|answer| answer.status == 200)
}
