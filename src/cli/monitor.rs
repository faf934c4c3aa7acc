//! `halab monitor`.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::config::{Lab, Monitoring};
use crate::exit::Exit;
use crate::http::Client;
use crate::monitoring::{self, MonitoringError, Service, Start, WriterDiscovery};

use super::output::print_text;
use super::{CommandResult, Failure, Global, Threads, parse_duration, with_signals};

/// Time limit for the answer of a service.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// Longest answer that is read; Grafana's has some 100 bytes.
const ANSWER_MAX: usize = 64 * 1024;
/// Pause between two requests to a service that does not answer yet.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab monitor             List the services, their addresses, and whether they answer\n  \
    halab monitor prometheus  Run Prometheus for this lab until Ctrl-C\n  \
    halab monitor --wait 10s  Wait until all installed services answer\n\n\
    A service that is not installed is not an error; the lab runs without it.\n\n\
    Exit codes:\n  \
    0  every installed service answers\n  \
    1  an installed service does not answer")]
pub(super) struct MonitorArgs {
    /// Service to run: prometheus, grafana, redis-exporter or cadvisor
    #[arg(value_parser = parse_service)]
    service: Option<Service>,
    /// Configure Prometheus to scrape all services, also those not installed here (for containers)
    #[arg(long, env = "HALAB_MONITOR_ALL")]
    all: bool,
    /// Listen at this address instead of the one in lab.toml
    #[arg(long, env = "HALAB_LISTEN", value_name = "ADDRESS")]
    listen: Option<Ipv4Addr>,
    /// cAdvisors that Prometheus scrapes, comma-separated, or "none" [default: the local one]
    #[arg(long, env = "HALAB_CADVISORS", value_name = "ADDRESS:PORT,...", value_parser = parse_cadvisors)]
    cadvisors: Option<Cadvisors>,
    /// Without SERVICE: wait until all installed services answer, at most this long
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "service")]
    wait: Option<Duration>,
}

/// Addresses of the cAdvisors on the hosts of the lab.
#[derive(Debug, Clone)]
struct Cadvisors(Vec<SocketAddrV4>);

fn parse_cadvisors(text: &str) -> Result<Cadvisors, String> {
    if text == "none" {
        return Ok(Cadvisors(Vec::new()));
    }
    let all: Result<_, _> = text.split(',').map(|at| at.trim().parse()).collect();
    all.map(Cadvisors).map_err(|_| {
        "expected IPv4 addresses with ports, for example 192.0.2.11:8080,192.0.2.12:8080, or none".into()
    })
}

fn parse_service(text: &str) -> Result<Service, String> {
    Service::named(text).ok_or_else(|| {
        let names = Service::ALL
            .iter()
            .map(|s| s.name())
            .collect::<Vec<_>>()
            .join(", ");
        format!("expected one of {names}")
    })
}

pub(super) fn run(global: &Global, args: &MonitorArgs) -> CommandResult {
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

fn become_service(
    global: &Global,
    lab: &Lab,
    service: Service,
    args: &MonitorArgs,
) -> CommandResult {
    let all = args.all;
    let Some(program) = monitoring::find(service) else {
        tracing::info!(
            service = service.name(),
            "service not installed; the lab runs without it"
        );
        return Ok(Exit::Holds);
    };
    let scraped = Service::ALL
        .iter()
        .copied()
        .filter(|s| all || monitoring::find(*s).is_some())
        .collect();
    let start = Start {
        service,
        program,
        state_root: global.state_root()?,
        services: scraped,
        // A writer in another container cannot write a file here.
        writers: if all {
            WriterDiscovery::Static
        } else {
            WriterDiscovery::ByFile
        },
        cadvisors: args.cadvisors.clone().map(|Cadvisors(all)| all),
    };
    Err(monitoring::become_service(lab, &start).into())
}

/// Lists all services.
fn list(monitoring: &Monitoring, limit: Duration) -> CommandResult {
    let all_up = with_signals(Threads::One, |token| async move {
        let deadline = Instant::now() + limit;
        let mut table = String::new();
        let mut all_up = true;
        for &service in Service::ALL {
            let socket = service.socket(monitoring);
            let state = if monitoring::find(service).is_none() {
                "not installed"
            } else if answers_by(service, socket, deadline, &token).await {
                "up"
            } else {
                all_up = false;
                "does not answer"
            };
            table.push_str(&format!(
                "  {:<16} {:<28} {state}\n",
                service.name(),
                format!("http://{socket}")
            ));
        }
        print_text(table.trim_end())?;
        Ok(all_up)
    })?;
    Ok(if all_up { Exit::Holds } else { Exit::Negative })
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
        sleep(RETRY_PAUSE).await;
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
