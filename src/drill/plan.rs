//! The subject of drills: faults, setups, settings of the writer.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::config::Lab;
use crate::drill::clients::APPLICATION;
use crate::drill::environment::{
    Availability, Containers, EngineAt, Environment, EnvironmentError, LabStart, LoadSettings,
    Requirement, network,
};
use crate::drill::faults::{Control, FaultKind};
use crate::drill::report::{ClientSetting, Host, NodesKind, Setting};
use crate::node::ServerBinary;
use crate::protocol::ack::Policy;
use crate::record::Timestamp;
use crate::writer::MetricsAt;

/// The subject of a drill.
#[derive(Debug, Clone)]
pub struct DrillPlan {
    /// The lab, with the time limits of its profile.
    pub lab: Lab,
    /// The profile's name.
    pub profile: Option<String>,
    /// The `halab` program, for the nodes.
    pub program: PathBuf,
    /// Flags that describe the lab to `halab node`: config, profile.
    pub arguments: Vec<String>,
    /// Folder for the folders of the runs.
    pub folder: PathBuf,
    /// The faults, in the order in which they are run.
    pub faults: Vec<FaultKind>,
    /// Each fault is run in each of these setups.
    pub setups: Vec<Setup>,
    /// Run the control of each fault, with the servers of the setups; faults without a control are
    /// left out.
    pub control: bool,
    /// Runs of each fault in each setup.
    pub runs: usize,
    /// Random seed, from which the seeds of the runs are derived.
    pub seed: u64,
    /// Connections of the writer.
    pub connections: usize,
    /// Records per batch.
    pub batch: usize,
    /// Limit of records per second.
    pub rate: Option<f64>,
    /// Use a running lab instead of the drill's own.
    pub attach: bool,
    /// Address of the writer's metrics, for the monitoring of that lab.
    pub metrics: Option<MetricsAt>,
    /// The engine, if the nodes of that lab are containers.
    pub containers: Option<EngineAt>,
    /// Client applications beside the writer.
    pub clients: Option<ClientSetting>,
    /// Keep the folder of every run.
    pub keep: bool,
}

/// A setup of lab and writer.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The kind of nodes.
    pub nodes: NodesKind,
    /// The server.
    pub server: ServerBinary,
    /// The acknowledgement policy.
    pub policy: Policy,
    /// The bandwidth between the data nodes is limited so that the load outruns the replica.
    pub outrun: bool,
    /// The server that replaces the first one in a rolling upgrade.
    pub to: Option<ServerBinary>,
}

impl DrillPlan {
    /// The setups in which that fault is run.
    pub fn setups_of(&self, fault: FaultKind) -> Vec<Setup> {
        if !self.control {
            return self.setups.clone();
        }
        let Control::Loses(control) = fault.definition().control else {
            return Vec::new();
        };
        let with_control = |setup: &Setup| Setup {
            nodes: control.nodes,
            server: setup.server.clone(),
            policy: control.policy,
            outrun: control.outrun,
            to: setup.to.clone(),
        };
        self.setups.iter().map(with_control).collect()
    }

    /// Whether a part of it has to run in namespaces of the drill's own.
    pub fn needs_namespaces(&self) -> bool {
        let needs = |fault: &FaultKind| {
            fault.definition().requirement.needs_namespaces()
                || self.setups_of(*fault).iter().any(|setup| setup.outrun)
        };
        !self.attach && self.faults.iter().any(needs)
    }

    /// The setting of a drill in that setup, for the report.
    pub(super) fn setting(&self, setup: &Setup) -> Setting {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Setting {
            nodes: setup.nodes,
            server: setup.server.title(),
            upgraded_to: None,
            profile: self.profile.clone(),
            down_after_ms: ms(self.lab.timing.down_after),
            hang_timeout_ms: ms(self.lab.timing.hang_timeout),
            policy: setup.policy.as_str().to_owned(),
            connections: self.connections,
            in_flight: self.lab.writer.in_flight,
            batch: self.batch,
            rate: self.rate,
            link_bytes_per_second: setup.outrun.then_some(network::OUTRUN_BYTES),
            clients: self.clients,
        }
    }

    /// The setting of a drill of that fault.
    pub(super) fn setting_of(&self, fault: FaultKind, setup: &Setup) -> Setting {
        let upgrades = fault.definition().requirement == Requirement::SecondServer;
        let to = setup.to.as_ref().filter(|_| upgrades);
        Setting {
            upgraded_to: to.map(ServerBinary::title),
            ..self.setting(setup)
        }
    }

    /// The settings of the writer.
    pub(super) fn load_settings(&self, setup: &Setup) -> LoadSettings {
        LoadSettings {
            policy: setup.policy,
            connections: self.connections,
            in_flight: self.lab.writer.in_flight,
            batch: self.batch,
            rate: self.rate,
            outrun: setup.outrun,
            metrics: self.metrics.clone(),
        }
    }

    /// The lab to work on: one with what the fault requires, or the one that runs already.
    pub(super) fn environment(
        &self,
        setup: &Setup,
        folder: PathBuf,
        requirement: Requirement,
        append_only: bool,
    ) -> Result<Environment, EnvironmentError> {
        if let Some(at) = &self.containers {
            let containers = Containers::of(&self.lab, at)?;
            return Environment::attach(self.lab.clone(), folder, Some(containers));
        }
        if self.attach {
            return Environment::attach(self.lab.clone(), folder, None);
        }
        Environment::start(LabStart {
            lab: self.lab.clone(),
            program: self.program.clone(),
            arguments: self.arguments.clone(),
            server: setup.server.path.clone(),
            nodes: setup.nodes,
            folder,
            requirement,
            append_only,
            other: setup.to.clone(),
            application: self.clients.map(|_| APPLICATION),
        })
    }

    /// Why this fault can't be injected in this setup, if so.
    pub(super) fn missing(&self, fault: FaultKind, setup: &Setup) -> Option<String> {
        let definition = fault.definition();
        if self.containers.is_some() {
            return definition.not_in_containers.map(str::to_owned);
        }
        if setup.outrun && definition.properties.limits_bandwidth {
            return Some("it limits the bandwidth itself".into());
        }
        let outrun = setup.outrun.then(network::missing).flatten();
        outrun.or_else(|| {
            definition.requirement.missing(Availability {
                attached: self.attach,
                server: &setup.server.title(),
                second_server: setup.to.is_some(),
            })
        })
    }

    /// A folder for a run, with a unique name.
    pub(super) fn run_folder(&self, name: &str) -> PathBuf {
        let stamp: String = now().chars().filter(char::is_ascii_alphanumeric).collect();
        self.folder.join(format!("{stamp}-{name}"))
    }
}

/// The time of day, RFC 3339.
pub(super) fn now() -> String {
    Timestamp::from(SystemTime::now()).to_string()
}

/// This machine, for the report.
pub(super) fn host() -> Host {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Host {
        system: format!("{} {}", std::env::consts::OS, release.trim())
            .trim()
            .to_owned(),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
    }
}
