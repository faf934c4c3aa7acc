//! `halab drill`: load, one fault, heal, verify, and what was seen, as a report.
//!
//! - [`fault`], [`control`]: the faults: what each does, what must hold, and what loses records in
//!   it (pure)
//! - [`report`], [`stats`], [`markdown`], [`html`]: what is said at the end (pure)
//! - `timeline`, `acks`, `judge`: from what was seen to times, gaps and a verdict (pure)
//! - `stock`: config files of plain servers (pure)
//! - `ground`: the lab that a drill works on, and the way back from all that was done to it
//! - `engine`: a container engine's API; `containers`: a lab whose nodes are containers
//! - `network`: a network namespace in which links can be cut; `disk`: file systems in it that can be filled;
//!   `clock`: clocks that can be stepped; `limits`: few open files; both by a server that is `wrapped`; `slow`: a disk that
//!   takes long, for one server; `delay`: a network that takes long; `cpu`: little of a processor
//! - `observe`: events and roles, on one clock; `settle`: when a lab has recovered
//! - `load`: the writer in the background
//! - `inject`: how each fault is carried out; `run`: one run; `progress`: its phases, told while they pass
//! - [`soak`]: many faults in one lab

mod acks;
mod clock;
mod containers;
pub mod control;
mod cpu;
mod delay;
mod disk;
mod engine;
pub mod fault;
mod ground;
pub mod html;
mod inject;
mod judge;
mod lab_toml;
mod limits;
mod load;
pub mod markdown;
pub mod network;
mod observe;
mod progress;
pub mod report;
mod run;
mod slow;
pub mod soak;
pub mod stats;
mod stock;
mod timeline;
mod wrapped;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tokio_util::sync::CancellationToken;

use crate::config::Lab;
use crate::node::ServerBinary;
use crate::protocol::ack::Policy;
use crate::record::Timestamp;
use crate::writer::MetricsAt;

use containers::Containers;
pub use containers::EngineAt;
use control::Control;
use fault::{Fault, Needs};
use ground::{Ground, Start};
use load::Order;
use report::{Drill, DrillVerdict, Host, Kind, NodesKind, Report, Run, Setting};
use run::RunPlan;

/// What to drill.
#[derive(Debug, Clone)]
pub struct Plan {
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
    pub faults: Vec<Fault>,
    /// Each fault is run in each of them.
    pub choices: Vec<Choice>,
    /// Of these only the servers count: each fault is run as its control says, and not at all when
    /// it has none.
    pub control: bool,
    /// Runs of each.
    pub runs: usize,
    /// Where choices come from; each run has its own, drawn from this.
    pub seed: u64,
    /// Connections of the writer.
    pub connections: usize,
    /// Records a batch.
    pub batch: usize,
    /// Limit of records a second.
    pub rate: Option<f64>,
    /// Work on the lab that runs, instead of one of its own.
    pub attach: bool,
    /// Where the writer serves metrics: for who watches a lab that goes on.
    pub metrics: Option<MetricsAt>,
    /// That lab is one of containers, in this engine.
    pub containers: Option<EngineAt>,
    /// Keep every run's folder.
    pub keep: bool,
}

/// One way to set up a lab and its writer.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Who runs the servers.
    pub nodes: NodesKind,
    /// The server.
    pub server: ServerBinary,
    /// What counts as acknowledged.
    pub policy: Policy,
    /// The link between the data nodes is so slow that the load outruns the replica.
    pub outrun: bool,
    /// The server that takes the place of the other one in a rolling upgrade.
    pub to: Option<ServerBinary>,
}

/// What is told while drills run.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// A phase begins.
    Phase {
        /// The fault.
        fault: Fault,
        /// Number of the run, from 1.
        run: usize,
        /// The phase.
        phase: &'a str,
    },
    /// A run has ended.
    Ended {
        /// The fault.
        fault: Fault,
        /// How it was set.
        setting: &'a Setting,
        /// Number of the run, from 1.
        run: usize,
        /// The run.
        result: &'a Run,
    },
    /// All that was run so far, so that nothing is forgotten of a campaign that does not come to
    /// its end.
    SoFar(&'a Report),
}

/// Who is told.
pub type Listener = Arc<dyn Fn(Progress<'_>) + Send + Sync>;

/// Runs all drills, one after the other, and reports. A request to stop ends the run at hand in order, and leaves
/// out the rest.
pub async fn run(plan: &Plan, stop: &CancellationToken, listener: &Listener) -> Report {
    let started = started_now();
    let mut drills = Vec::new();
    for fault in &plan.faults {
        for choice in &plan.choices_of(*fault) {
            let setting = Setting {
                upgraded_to: upgraded_to(*fault, choice),
                ..plan.setting(choice)
            };
            let before = drills.len();
            let mut runs = Vec::new();
            for number in 1..=plan.runs {
                if stop.is_cancelled() {
                    break;
                }
                let seed = plan.seed.wrapping_add(before as u64 * 1000 + number as u64);
                let result = plan
                    .run_one(*fault, choice, number, seed, stop, listener)
                    .await;
                listener(Progress::Ended {
                    fault: *fault,
                    setting: &setting,
                    run: number,
                    result: &result,
                });
                runs.push(result);
                drills.truncate(before);
                let kind = Kind::Fault(*fault);
                drills.push(Drill::new(kind, setting.clone(), runs.clone()));
                let so_far = Report::new(started.clone(), host(), drills.clone());
                listener(Progress::SoFar(&so_far));
            }
        }
    }
    Report::new(started, host(), drills)
}

impl Plan {
    /// In what that fault is run.
    pub fn choices_of(&self, fault: Fault) -> Vec<Choice> {
        if !self.control {
            return self.choices.clone();
        }
        let Control::Loses(without) = fault.spec().control else {
            return Vec::new();
        };
        let set = |choice: &Choice| Choice {
            nodes: without.nodes,
            server: choice.server.clone(),
            policy: without.policy,
            outrun: without.outrun,
            to: choice.to.clone(),
        };
        self.choices.iter().map(set).collect()
    }

    fn setting(&self, choice: &Choice) -> Setting {
        let ms = |d: std::time::Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        Setting {
            nodes: choice.nodes,
            server: choice.server.title(),
            upgraded_to: None,
            profile: self.profile.clone(),
            down_after_ms: ms(self.lab.timing.down_after),
            hang_timeout_ms: ms(self.lab.timing.hang_timeout),
            policy: choice.policy.as_str().to_owned(),
            connections: self.connections,
            in_flight: self.lab.writer.in_flight,
            batch: self.batch,
            rate: self.rate,
            link_bytes_per_second: choice.outrun.then_some(network::OUTRUN_BYTES),
        }
    }

    async fn run_one(
        &self,
        fault: Fault,
        choice: &Choice,
        number: usize,
        seed: u64,
        stop: &CancellationToken,
        listener: &Listener,
    ) -> Run {
        if let Some(why) = self.cannot(fault, choice) {
            return run::nothing(seed, DrillVerdict::Inconclusive, why);
        }
        let plan = RunPlan {
            fault,
            order: self.order(choice),
            seed,
            keep: self.keep,
        };
        let folder = self.folder.join(folder_name(fault.name()));
        let (needs, append_only) = (fault.spec().needs, fault.harms_append_only_file());
        let mut make = || self.make(choice, folder.clone(), needs, append_only);
        let told = listener.clone();
        let tell = Arc::new(move |phase: &str| {
            told(Progress::Phase {
                fault,
                run: number,
                phase,
            });
        });
        run::run(&plan, &mut make, stop, tell).await
    }

    fn order(&self, choice: &Choice) -> Order {
        Order {
            policy: choice.policy,
            connections: self.connections,
            in_flight: self.lab.writer.in_flight,
            batch: self.batch,
            rate: self.rate,
            outrun: choice.outrun,
            metrics: self.metrics.clone(),
        }
    }

    /// The lab to work on, with what the fault needs.
    fn make(
        &self,
        choice: &Choice,
        folder: PathBuf,
        needs: Needs,
        append_only: bool,
    ) -> Result<Ground, ground::GroundError> {
        if let Some(at) = &self.containers {
            let containers = Containers::of(&self.lab, at)?;
            return Ground::attach(self.lab.clone(), folder, Some(containers));
        }
        if self.attach {
            return Ground::attach(self.lab.clone(), folder, None);
        }
        Ground::start(Start {
            lab: self.lab.clone(),
            program: self.program.clone(),
            arguments: self.arguments.clone(),
            server: choice.server.path.clone(),
            nodes: choice.nodes,
            folder,
            needs,
            append_only,
            other: choice.to.clone(),
        })
    }

    /// Why this fault can't be carried out here, if so.
    fn cannot(&self, fault: Fault, choice: &Choice) -> Option<String> {
        if self.containers.is_some() {
            return fault.not_in_containers().map(str::to_owned);
        }
        if choice.outrun && fault == Fault::SlowLink {
            return Some("its link is slow already".into());
        }
        if choice.outrun
            && let Some(why) = no_own_network()
        {
            return Some(why);
        }
        match fault.spec().needs {
            Needs::Signals => None,
            Needs::OwnNodes if self.attach => {
                Some("it starts nodes again, which only works in a lab of the drill's own".into())
            }
            Needs::OwnNetwork if self.attach => {
                Some("it cuts links, which only works in a lab of the drill's own".into())
            }
            Needs::Tracing => slow::missing(),
            Needs::OwnClocks if self.attach => {
                Some("it steps clocks, which only works in a lab of the drill's own".into())
            }
            Needs::OwnClocks => clock::library().err(),
            Needs::OwnLimits if self.attach => {
                Some("it limits servers, which only works in a lab of the drill's own".into())
            }
            Needs::OtherServer if self.attach => {
                Some("it replaces the server, which only works in a lab of the drill's own".into())
            }
            Needs::OtherServer => choice.to.is_none().then(|| {
                format!(
                    "there is no other server on PATH that reads what {} writes: name one by --to",
                    choice.server.title()
                )
            }),
            Needs::OwnDisks if self.attach => {
                Some("it fills disks, which only works in a lab of the drill's own".into())
            }
            Needs::RoundTrips(_) | Needs::LittleCpu if self.attach => {
                Some("it starts slow nodes, which only works in a lab of the drill's own".into())
            }
            Needs::LittleCpu => cpu::missing(),
            Needs::RoundTrips(_) => no_own_network().or_else(delay::missing),
            Needs::OwnNetwork | Needs::OwnDisks => no_own_network(),
            Needs::OwnNodes | Needs::OwnLimits => None,
        }
    }
}

/// The server that takes the place of the other one in it.
fn upgraded_to(fault: Fault, choice: &Choice) -> Option<String> {
    let to = choice.to.as_ref();
    to.filter(|_| fault.spec().needs == Needs::OtherServer)
        .map(ServerBinary::title)
}

/// Why links can't be cut or slowed here, nor disks filled, if so.
fn no_own_network() -> Option<String> {
    if network::is_own() {
        return None;
    }
    Some(match network::probe() {
        Err(error) => format!(
            "no network and no file systems of its own, to cut links and fill disks: {error}"
        ),
        Ok(()) => "the drill was not started in a network of its own".into(),
    })
}

/// The time of day, RFC 3339.
fn started_now() -> String {
    Timestamp::from(SystemTime::now()).to_string()
}

/// A name for the folder of a run that no other has.
fn folder_name(what: &str) -> String {
    let stamp: String = started_now()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    format!("{stamp}-{what}")
}

fn host() -> Host {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Host {
        system: format!("{} {}", std::env::consts::OS, release.trim())
            .trim()
            .to_owned(),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
    }
}
