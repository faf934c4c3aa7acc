//! `halab drill`.

mod clients;
mod list;
mod reporting;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use tracing::info;

use crate::drill::faults::FaultKind;
use crate::drill::report::{ClientSetting, NodesKind, html, markdown};
use crate::drill::{self, DrillPlan, EngineAt, Setup, network};
use crate::monitoring;
use crate::node::ServerBinary;
use crate::protocol::ack::Policy;
use crate::writer::MetricsAt;

use super::output::print_text;
use super::write::{PolicyName, parse_rate};
use super::{CommandResult, Failure, Global, Threads, with_signals};

pub(super) use clients::{ClientArgs, rate_beside};
pub(super) use list::{fault_names, faults};
use list::{list, with_controls};
use reporting::ProgressReporter;
pub(super) use reporting::write_report;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab drill --list                                 the faults, and what must hold\n  \
    halab drill kill-primary                           one fault, in a lab of its own\n  \
    halab --profile fast drill all --json all.json     every fault once\n  \
    halab drill kill-primary-node --html kill.html     a page with the timeline and the rate of writes\n  \
    halab drill kill-primary --runs 10 --server ./redis-server-7 --server ./redis-server-8\n  \
    halab drill rolling-upgrade --server ./redis-server-7 --to ./redis-server-8\n  \
    halab drill kill-primary --control                 the negative control: has to lose records\n  \
    halab drill kill-primary --nodes ours --nodes stock --policy none\n  \
    halab drill kill-primary --clients proxy           clients through a proxy, and a check of their answers\n\n\
    With --control, the expected verdict is violated, with exit code 1.\n\n\
    Exit code 0: no acknowledged record is lost, and every invariant held; 1: violated; 3: inconclusive\n\
    (a fault that this machine does not permit, a stop by Ctrl-C); 4: the lab or the tool failed.")]
pub(super) struct DrillArgs {
    /// The faults, or all
    #[arg(value_name = "FAULT", required_unless_present = "list", value_parser = fault_names())]
    faults: Vec<String>,
    /// List the faults and what must hold, and exit
    #[arg(long)]
    list: bool,
    /// Run the negative control of each fault instead: the nodes, policy and load with which it
    /// has to lose records
    #[arg(long, conflicts_with_all = ["nodes", "policy", "outrun", "attach", "clients"])]
    control: bool,
    /// Runs of each fault
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    #[command(flatten)]
    common: CommonArgs,
    /// The kind of nodes; may be repeated
    #[arg(long, value_name = "KIND", value_enum, default_values_t = [NodesName::Ours])]
    nodes: Vec<NodesName>,
    /// Limit the bandwidth between the data nodes so that the load outruns the replica, until the
    /// fault is healed
    #[arg(long, conflicts_with = "attach")]
    outrun: bool,
    /// For rolling-upgrade: the new server [default: another one on PATH that reads the files of
    /// the first]
    #[arg(long, value_name = "FILE", conflicts_with = "attach")]
    to: Option<PathBuf>,
    /// Use a running lab; only for faults that need only signals and commands
    #[arg(long, conflicts_with_all = ["nodes", "server", "clients"])]
    attach: bool,
    /// How the nodes of that lab run
    #[arg(long, value_name = "LANE", value_enum, default_value_t = Lane::Processes)]
    lane: Lane,
    /// With --lane containers: the Compose project
    #[arg(
        long,
        value_name = "NAME",
        env = "LAB_PROJECT",
        hide_env_values = true,
        default_value = "redis-ha-lab"
    )]
    project: String,
    /// With --lane containers: the socket of the engine
    #[arg(
        long,
        value_name = "SOCKET",
        env = "DOCKER_HOST",
        hide_env_values = true,
        default_value = "unix:///var/run/docker.sock"
    )]
    engine: String,
    #[command(flatten)]
    clients: ClientArgs,
    /// Write the report as Markdown into this file
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write the report as one page of HTML into this file: timeline, rate, latency, RTO, verdicts
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Omit samples, folders, and all but the first timeline of each fault
    #[arg(long)]
    short: bool,
}

/// The arguments that drills and soak runs have in common.
#[derive(Debug, Args)]
pub(super) struct CommonArgs {
    /// Acknowledgement policy of the writer; may be repeated
    #[arg(long, value_enum, default_values_t = [PolicyName::Available])]
    pub(super) policy: Vec<PolicyName>,
    /// Server program; may be repeated [default: as --redis-server, else every Redis and Valkey
    /// on PATH]
    #[arg(long, value_name = "FILE")]
    pub(super) server: Vec<PathBuf>,
    /// Random seed [default: random]
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// Maximum number of records per second [default: as fast as they are acknowledged]
    #[arg(long, value_name = "PER_SECOND", value_parser = parse_rate)]
    pub(super) rate: Option<f64>,
    /// Connections of the writer [default: of lab.toml]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(super) connections: Option<u16>,
    /// Records per batch [default: of lab.toml]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) batch: Option<u32>,
    /// Write the report as JSON into this file
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Keep the folder of every run, not only of those that did not hold
    #[arg(long)]
    pub(super) keep: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Lane {
    /// Processes of this machine
    Processes,
    /// Containers of a Docker engine of this machine
    Containers,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum NodesName {
    /// Nodes run by `halab node`
    Ours,
    /// Servers and Sentinels with Redis' defaults, for comparison
    Stock,
}

impl From<NodesName> for NodesKind {
    fn from(name: NodesName) -> NodesKind {
        match name {
            NodesName::Ours => NodesKind::Ours,
            NodesName::Stock => NodesKind::Stock,
        }
    }
}

pub(super) fn run(global: &Global, args: &DrillArgs) -> CommandResult {
    if args.list {
        return list();
    }
    let mut faults = faults(&args.faults).map_err(Failure::usage)?;
    if args.control {
        with_controls(&args.faults, &mut faults).map_err(Failure::usage)?;
    }
    let clients = args.clients(&mut faults).map_err(Failure::usage)?;
    let containers = args.containers().map_err(Failure::usage)?;
    let nodes: Vec<NodesKind> = match containers {
        Some(_) => vec![NodesKind::Containers],
        None => args.nodes.iter().map(|name| (*name).into()).collect(),
    };
    let mut setups = args.common.setups(global, &nodes, args.attach)?;
    for setup in &mut setups {
        setup.outrun = args.outrun;
        if faults.contains(&FaultKind::RollingUpgrade) {
            setup.to = args.other_than(&setup.server)?;
        }
    }
    let plan = args.common.plan(global, faults, setups)?;
    let plan = DrillPlan {
        runs: usize::from(args.runs),
        control: args.control,
        attach: args.attach,
        metrics: args.metrics(global, &plan)?,
        containers,
        clients,
        rate: rate_beside(clients, plan.rate),
        ..plan
    };
    enter_namespaces(&plan)?;
    let reporter = ProgressReporter::new(args.common.json.clone(), args.short);
    let report = with_signals(Threads::Many, |token| async move {
        Ok(drill::run(&plan, &token, &reporter.listener()).await)
    })?;
    // From the whole report: its charts need the samples.
    if let Some(path) = &args.html {
        reporting::write(path, &html::page(&report))?;
    }
    let report = if args.short {
        report.shortened()
    } else {
        report
    };
    write_report(
        &report,
        args.common.json.as_deref(),
        args.markdown.as_deref(),
    )?;
    print_text(format_args!(
        "\n{}\n{}",
        markdown::text(&report),
        markdown::sums(&report)
    ))?;
    Ok(report.verdict.into())
}

impl DrillArgs {
    /// Where the writer serves metrics: for the Prometheus of a lab of processes that runs.
    fn metrics(&self, global: &Global, plan: &DrillPlan) -> Result<Option<MetricsAt>, Failure> {
        let Some(monitoring) = plan.lab.monitoring.as_ref().filter(|_| self.attach) else {
            return Ok(None);
        };
        if self.lane == Lane::Containers {
            return Ok(None);
        }
        Ok(Some(MetricsAt {
            address: monitoring.writer_socket(),
            file: Some(monitoring::writer_file(&global.state_root()?)),
        }))
    }

    /// The server that replaces that one in a rolling upgrade.
    fn other_than(&self, server: &ServerBinary) -> Result<Option<ServerBinary>, Failure> {
        let Some(named) = &self.to else {
            let mut here = ServerBinary::installed()?.into_iter();
            return Ok(here.find(|to| to.title() != server.title() && to.reads(server)));
        };
        let to = ServerBinary::find(Some(named))?;
        if !to.reads(server) {
            let text = format!(
                "{} cannot read what {} writes, so an upgrade is not possible; specify a later version with --to",
                to.title(),
                server.title()
            );
            return Err(Failure::usage(anyhow::anyhow!(text)));
        }
        Ok(Some(to))
    }

    /// The client applications. A fault that takes back what was answered is left out of `all`.
    fn clients(&self, faults: &mut Vec<FaultKind>) -> anyhow::Result<Option<ClientSetting>> {
        let Some(setting) = self.clients.setting()? else {
            return Ok(None);
        };
        let is_stock = |nodes: &NodesName| matches!(nodes, NodesName::Stock);
        if self.nodes.iter().any(is_stock) {
            bail!("--clients needs the users of --nodes ours");
        }
        let takes_back = |fault: &FaultKind| fault.definition().properties.discards_records;
        let mut named = self.faults.iter().filter_map(|name| name.parse().ok());
        if let Some(fault) = named.find(takes_back) {
            bail!(
                "{fault} returns to an earlier state on purpose, so what clients were answered \
                 after it cannot be linearizable; run it without --clients"
            );
        }
        for fault in faults.extract_if(.., |fault| takes_back(fault)) {
            info!(%fault, "left out: it returns to an earlier state, which clients would notice");
        }
        Ok(Some(setting))
    }

    /// The engine and the project, if the nodes are containers.
    fn containers(&self) -> anyhow::Result<Option<EngineAt>> {
        if self.lane == Lane::Processes {
            return Ok(None);
        }
        if !self.attach {
            bail!("the drill does not start containers: --lane containers needs --attach");
        }
        let socket = self.engine.strip_prefix("unix://").with_context(|| {
            format!("the engine has to be at a socket of this machine, as unix:///var/run/docker.sock, not {}", self.engine)
        })?;
        Ok(Some(EngineAt {
            socket: socket.into(),
            project: self.project.clone(),
        }))
    }
}

/// Starts this program again in namespaces of its own if a fault needs them and the machine permits
/// it. Otherwise those faults are inconclusive, and state the reason.
pub(super) fn enter_namespaces(plan: &DrillPlan) -> Result<(), Failure> {
    if !plan.needs_namespaces() || network::is_own() || network::probe().is_err() {
        return Ok(());
    }
    Err(network::reexec(std::env::args_os().skip(1)).into())
}

impl CommonArgs {
    /// Every combination of servers, kinds of nodes and policies.
    pub(super) fn setups(
        &self,
        global: &Global,
        nodes: &[NodesKind],
        attach: bool,
    ) -> Result<Vec<Setup>, Failure> {
        let servers = match self.server.as_slice() {
            // The drill does not choose the server of a lab that runs.
            [] if attach || global.redis_server.is_some() => {
                vec![ServerBinary::find(global.redis_server.as_deref())?]
            }
            [] => ServerBinary::installed()?,
            named => named
                .iter()
                .map(|path| ServerBinary::find(Some(path)))
                .collect::<Result<_, _>>()?,
        };
        let mut setups = Vec::new();
        for server in &servers {
            for nodes in nodes {
                for policy in &self.policy {
                    setups.push(Setup {
                        nodes: *nodes,
                        server: server.clone(),
                        policy: Policy::from(*policy),
                        outrun: false,
                        to: None,
                    });
                }
            }
        }
        Ok(setups)
    }

    /// The plan of these and the global arguments.
    pub(super) fn plan(
        &self,
        global: &Global,
        faults: Vec<FaultKind>,
        setups: Vec<Setup>,
    ) -> Result<DrillPlan, Failure> {
        let lab = global.lab()?;
        let mut arguments = Vec::new();
        if let Some(config) = global.config_file() {
            let config = fs::canonicalize(&config).unwrap_or(config);
            arguments.extend(["--config".to_owned(), config.display().to_string()]);
        }
        if let Some(secrets) = &global.secrets {
            arguments.extend(["--secrets".to_owned(), secrets.display().to_string()]);
        }
        if let Some(profile) = &global.profile {
            arguments.extend(["--profile".to_owned(), profile.clone()]);
        }
        Ok(DrillPlan {
            profile: global.profile.clone(),
            program: std::env::current_exe().context("cannot find this program")?,
            arguments,
            folder: global.state_root()?.join("drills"),
            faults,
            setups,
            control: false,
            runs: 1,
            // Short enough to type, and exact in any JSON reader.
            seed: self
                .seed
                .unwrap_or_else(|| u64::from(rand::random::<u32>())),
            connections: self.connections.map_or(lab.writer.connections, usize::from),
            batch: self.batch.map_or(lab.writer.batch, |n| n as usize),
            rate: self.rate,
            attach: false,
            metrics: None,
            containers: None,
            clients: None,
            keep: self.keep,
            lab,
        })
    }
}
