//! How each fault is carried out, and watched while it lasts. What heals it was noted by
//! [`super::ground::Ground`] when it was done.

mod backups;
mod disks;
mod files;
mod host;
mod members;
mod moving;
mod stops;
mod upgrade;

use std::net::Ipv4Addr;
use std::ops::Range;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::handover::hand_over;
use crate::recovery::Recovery;

use super::fault::{Fault, Writes};
use super::ground::{Ground, GroundError, WRITER};
use super::judge::Told;
use super::load::Load;
use super::network::SLOW_BYTES;
use super::observe::Observer;
use super::progress::Steps;
use super::report::NodesKind;
use super::timeline::What;

use files::Harm;

/// Pause between two looks at what the observer has seen.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// After that long without a promotion an operator calls again: a Sentinel that was held up has given the failover up.
const CALL_AGAIN: Duration = Duration::from_secs(2);
/// Pause between two rounds of questions to all nodes.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// How long a lab may take to recover. The longest known part is 30 s of TILT after a Sentinel was stalled.
const RECOVERY_LIMIT: Duration = Duration::from_secs(120);
/// What a failover may take beyond the time limits of the lab: a busy machine.
const FAILOVER_SLACK: Duration = Duration::from_secs(15);
/// How long writes may take to go on without a failover: `repl-timeout` (10 s by `redis.conf`, 60 s by default)
/// is when a primary notices that its replica gets nothing.
const GO_ON_LIMIT: Duration = Duration::from_secs(75);

/// Why a fault was not carried out or watched to its end.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Ctrl-C or SIGTERM.
    #[error("stopped by a signal")]
    Stopped,
    /// The lab did not do what it had to. The claim is violated.
    #[error("{0}")]
    Missed(String),
    /// The lab was not as it has to be before the fault.
    #[error("disturbed before the fault: {0}")]
    Disturbed(String),
    /// Something could not be done to the lab.
    #[error(transparent)]
    Ground(#[from] GroundError),
    /// The planned change of the primary was refused.
    #[error("the failover could not be called: {0}")]
    Refused(String),
}

/// Everything that carrying out a fault works with.
pub struct Scene<'a> {
    /// The lab.
    pub ground: &'a mut Ground,
    /// What happens in it.
    pub observer: &'a Observer,
    /// The writer.
    pub load: &'a mut Load,
    /// Records that show that the writer is at work again, beyond those that were in flight.
    pub enough: u64,
    /// Whether writes are to be waited for while the fault lasts.
    pub writes: Writes,
    /// Where choices come from.
    pub rng: &'a mut StdRng,
    /// Ends everything.
    pub stop: &'a CancellationToken,
    /// The phases.
    pub steps: &'a mut Steps,
    /// The node that has to be primary at the end, where the fault says which.
    pub must_stay: Option<String>,
    /// What was said of the fault, where the fault says that something has to be.
    pub told: Option<Told>,
    /// From when a backup was begun to when the lab had lost its data, on the observer's clock: it went back to that backup.
    pub given_up: Option<Range<u64>>,
    /// The load is to outrun the replica once there is a new one.
    pub outrun_later: bool,
}

impl Scene<'_> {
    /// Carries out one fault, and watches what comes of it until it may be healed.
    ///
    /// # Errors
    /// When it could not be carried out, or the lab missed what it had to do.
    pub async fn carry_out(&mut self, fault: Fault) -> Result<(), Trouble> {
        let primary = self
            .observer
            .named()
            .await
            .ok_or_else(|| Trouble::Missed("the Sentinels name no primary".into()))?;
        let p = primary.as_str();
        // A busy machine can make a lab fail over by itself: what follows would show nothing about the fault.
        let primaries = self.observer.primaries();
        if primaries != [p] {
            return Err(Trouble::Disturbed(format!(
                "the Sentinels name {p}, and primary is: {}",
                primaries.join(", ")
            )));
        }
        match fault {
            Fault::KillPrimary => {
                self.strike(format!("SIGKILL to the server of {p}"));
                self.ground.kill_server(p).await?;
                self.failover_from(p).await
            }
            Fault::KillPrimaryNode
            | Fault::SlowNetwork
            | Fault::SlowerNetwork
            | Fault::LittleCpu => {
                self.strike(format!("SIGKILL to the node {p}"));
                self.ground.kill_node(p)?;
                self.failover_from(p).await
            }
            Fault::HangPrimary | Fault::HangPrimaryNode => {
                let with_parent = fault == Fault::HangPrimaryNode;
                let what = if with_parent { "node" } else { "server of" };
                self.strike(format!("SIGSTOP to the {what} {p}"));
                self.ground.hang(p, with_parent).await?;
                self.failover_from(p).await
            }
            Fault::WakePrimaryInFailover => {
                self.strike(format!("SIGSTOP to the node {p}"));
                self.ground.hang(p, true).await?;
                self.wake_in_failover().await
            }
            Fault::StopPrimary => {
                self.strike(format!("SIGTERM to the node {p}"));
                self.ground
                    .stop_nodes(std::slice::from_ref(&primary))
                    .await?;
                self.failover_from(p).await
            }
            Fault::Handover => self.hand_over(p).await,
            Fault::SentinelFailover => {
                self.strike(format!("SENTINEL FAILOVER from {p}"));
                self.call_failover(p).await
            }
            Fault::RollingRestart => self.rolling_restart().await,
            Fault::RollingUpgrade => self.rolling_upgrade(p).await,
            Fault::AddAndRemoveDataNode => self.add_and_remove_data_node().await,
            Fault::ReplaceSentinel => self.replace_sentinel().await,
            Fault::MoveLab => self.move_lab().await,
            Fault::IsolatePrimary => {
                let mut pairs = self.links_of(&[p]);
                pairs.push((self.address(p), WRITER));
                self.strike(format!("{p} cut off from every node and the writer"));
                self.ground.isolate(p, &pairs)?;
                self.failover_from(p).await
            }
            Fault::IsolatePrimaryWithWriter => {
                let mut pairs = self.links_of(&[p]);
                let others: Vec<Ipv4Addr> = self.other_addresses(p);
                pairs.extend(others.into_iter().map(|other| (WRITER, other)));
                self.strike(format!("{p} and the writer cut off from every other node"));
                self.cut(&pairs)?;
                self.failover_from(p).await
            }
            Fault::CutReplicationLink => {
                let others: Vec<Ipv4Addr> = self.other_data_nodes(p);
                let from = self.address(p);
                let pairs: Vec<_> = others.into_iter().map(|to| (from, to)).collect();
                self.strike(format!("{p} cut off from its replicas"));
                self.cut(&pairs)?;
                self.no_failover_from(p).await
            }
            Fault::KillReplica => {
                let replica = self.replica(p)?;
                self.strike(format!("SIGKILL to the node {replica}"));
                self.ground.kill_node(&replica)?;
                self.no_failover_from(p).await
            }
            Fault::HangReplica => {
                let replica = self.replica(p)?;
                self.strike(format!("SIGSTOP to the node {replica}"));
                self.ground.hang(&replica, true).await?;
                self.no_failover_from(p).await
            }
            Fault::KillSentinelThenPrimary => {
                self.kill_sentinels(1)?;
                self.strike(format!("SIGKILL to the node {p}"));
                self.ground.kill_node(p)?;
                self.failover_from(p).await
            }
            Fault::KillTwoSentinelsThenPrimary => {
                self.kill_sentinels(2)?;
                self.strike(format!("SIGKILL to the node {p}"));
                self.ground.kill_node(p)?;
                self.no_failover_from(p).await
            }
            Fault::RestartPrimaryInDownAfter => self.restart(p, true).await,
            Fault::RestartPrimaryWithoutData => self.restart(p, false).await,
            Fault::KillBothInTurn => {
                self.strike(format!("SIGKILL to the server of {p}"));
                self.ground.kill_server(p).await?;
                self.failover_from(p).await?;
                // Where nobody else starts it again.
                self.ground.heal()?;
                let new = self.recovered().await?;
                self.strike(format!("SIGKILL to the server of {new}"));
                self.ground.kill_server(&new).await?;
                self.failover_from(&new).await
            }
            Fault::RestartAllAfterFailover => self.restart_all(p).await,
            Fault::SlowLink => {
                let pairs = self.links_of(&[p]);
                self.strike(format!("a slow link between {p} and the other nodes"));
                self.ground
                    .firewall()?
                    .slow(&pairs, SLOW_BYTES)
                    .map_err(GroundError::from)?;
                self.no_failover_from(p).await
            }
            Fault::FullLoad => {
                self.strike("none but the load".into());
                self.no_failover_from(p).await
            }
            Fault::MaxmemoryReached => self.maxmemory_reached(p).await,
            Fault::IdleConnections => self.idle_connections(p).await,
            Fault::TornAppendOnlyFile => self.torn_append_only_file(p).await,
            Fault::DamagedAppendOnlyFile => self.damaged_append_only_file(p).await,
            Fault::FullDisk => self.full_disk(p).await,
            Fault::FullDiskOfLedger => self.full_disk_of_ledger().await,
            Fault::ReadOnlyState => self.read_only_state(p).await,
            Fault::NoConnectionsLeft => self.no_connections_left(p).await,
            Fault::SlowDisk => self.slow_disk(p).await,
            Fault::ClockSteps => self.clock_steps(p).await,
            Fault::LoseDiskInStop => self.lose_disk_in_stop(p).await,
            Fault::RollBackDiskInStop => self.roll_back_disk_in_stop(p).await,
            Fault::DamageFileInStop => self.harm_file_in_stop(p, Harm::Damage).await,
            Fault::ShortenFileInStop => self.harm_file_in_stop(p, Harm::Shorten).await,
            Fault::StartWithoutPrimary => self.start_without_primary(p).await,
            Fault::CrashAll => self.crash_all().await,
            Fault::CrashAllOnSlowDisks => self.crash_all_on_slow_disks().await,
            Fault::HandoverThenKillNew => self.handover_then_kill_new(p, false).await,
            Fault::HandoverThenKillNewNode => self.handover_then_kill_new(p, true).await,
            Fault::BackupAndRestore => self.backup_and_restore(p).await,
            Fault::LossyLink => {
                let names: Vec<String> = self.ground.lab.nodes().map(|n| n.name.clone()).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let pairs = self.links_of(&names);
                self.strike("packets lost between all nodes".into());
                self.ground
                    .firewall()?
                    .lose(&pairs)
                    .map_err(GroundError::from)?;
                self.no_failover_from(p).await
            }
        }
    }

    /// Says that the fault begins now.
    fn strike(&mut self, text: String) {
        self.steps.begin("fault");
        self.observer.note(What::Fault(text));
    }

    fn did(&self, text: String) {
        self.observer.note(What::Did(text));
    }

    fn cut(&mut self, pairs: &[(Ipv4Addr, Ipv4Addr)]) -> Result<(), Trouble> {
        self.ground
            .firewall()?
            .cut(pairs)
            .map_err(GroundError::from)?;
        Ok(())
    }

    fn address(&self, name: &str) -> Ipv4Addr {
        self.ground
            .lab
            .node(name)
            .map_or(Ipv4Addr::UNSPECIFIED, |node| node.address)
    }

    fn other_addresses(&self, name: &str) -> Vec<Ipv4Addr> {
        let nodes = self.ground.lab.nodes();
        nodes
            .filter(|node| node.name != name)
            .map(|node| node.address)
            .collect()
    }

    fn other_data_nodes(&self, name: &str) -> Vec<Ipv4Addr> {
        let nodes = self.ground.lab.data_nodes.iter();
        nodes
            .filter(|node| node.name != name)
            .map(|node| node.address)
            .collect()
    }

    /// Every link that one of these nodes has with another node, once.
    fn links_of(&self, names: &[&str]) -> Vec<(Ipv4Addr, Ipv4Addr)> {
        let mut pairs = Vec::new();
        for name in names {
            let from = self.address(name);
            for to in self.other_addresses(name) {
                if !pairs.contains(&(to, from)) {
                    pairs.push((from, to));
                }
            }
        }
        pairs
    }

    fn replica(&self, primary: &str) -> Result<String, Trouble> {
        let mut nodes = self.ground.lab.data_nodes.iter();
        nodes
            .find(|node| node.name != primary)
            .map(|node| node.name.clone())
            .ok_or_else(|| Trouble::Missed("there is no replica".into()))
    }

    /// Kills so many Sentinels, drawn from all.
    fn kill_sentinels(&mut self, count: usize) -> Result<(), Trouble> {
        let mut names: Vec<String> = self
            .ground
            .lab
            .sentinels
            .iter()
            .map(|node| node.name.clone())
            .collect();
        names.shuffle(self.rng);
        for name in names.into_iter().take(count) {
            self.did(format!("SIGKILL to the node {name}"));
            self.ground.kill_node(&name)?;
        }
        Ok(())
    }

    async fn hand_over(&mut self, from: &str) -> Result<(), Trouble> {
        if self.ground.nodes() == NodesKind::Stock {
            // There is nothing better.
            self.strike(format!("SENTINEL FAILOVER from {from}"));
            return self.call_failover(from).await;
        }
        self.strike(format!("handover from {from}"));
        let done = hand_over(&self.ground.lab, &self.observer.connector)
            .await
            .map_err(|error| Trouble::Refused(error.to_string()))?;
        self.did(format!("writes were paused for {:.1} ms", done.paused_ms));
        self.failover_from(from).await
    }

    /// Wakes what hangs the moment a Sentinel begins a failover.
    async fn wake_in_failover(&mut self) -> Result<(), Trouble> {
        self.steps.begin("observe");
        let limit = 2 * self.ground.lab.timing.down_after + FAILOVER_SLACK;
        let deadline = Instant::now() + limit;
        let before = self.observer.now();
        self.until(deadline, "a Sentinel to begin a failover", || {
            self.observer.saw("+try-failover", before)
        })
        .await?;
        self.ground.heal()?;
        self.did("SIGCONT".into());
        self.writes_go_on(GO_ON_LIMIT).await
    }

    async fn call_failover(&mut self, from: &str) -> Result<(), Trouble> {
        let socket = self.ground.lab.node(from).map(crate::config::Node::socket);
        let Some(socket) = socket else {
            return Err(Trouble::Refused(format!("no node {from}")));
        };
        let called = self.observer.panel.call_failover(socket).await;
        called.map_err(Trouble::Refused)?;
        let other = || self.observer.primaries().iter().any(|name| name != from);
        while let Err(trouble) = self
            .until(Instant::now() + CALL_AGAIN, "a promotion", other)
            .await
        {
            let Trouble::Missed(_) = trouble else {
                return Err(trouble);
            };
            // Or it is under way still.
            if self.observer.panel.call_failover(socket).await.is_err() {
                break;
            }
        }
        self.failover_from(from).await
    }

    async fn rolling_restart(&mut self) -> Result<(), Trouble> {
        let nodes: Vec<(String, bool)> = self
            .ground
            .lab
            .nodes()
            .map(|node| {
                (
                    node.name.clone(),
                    node.kind == crate::config::NodeKind::Data,
                )
            })
            .collect();
        for (name, data) in nodes {
            let text = format!("SIGTERM to the node {name}");
            if data {
                self.strike(text);
            } else {
                self.did(text);
            }
            self.ground.stop_nodes(std::slice::from_ref(&name)).await?;
            self.steps.begin("observe");
            self.did(format!("{name} has ended; started again"));
            self.ground.start_node(&name)?;
            self.recovered().await?;
        }
        Ok(())
    }

    async fn restart(&mut self, primary: &str, with_data: bool) -> Result<(), Trouble> {
        self.strike(format!("SIGKILL to the node {primary}"));
        self.ground.kill_node(primary)?;
        if !with_data {
            self.ground.remove_data(primary)?;
        }
        self.did(format!("{primary} started again"));
        self.ground.start_node(primary)?;
        self.steps.begin("observe");
        self.writes_go_on(GO_ON_LIMIT).await
    }

    async fn restart_all(&mut self, primary: &str) -> Result<(), Trouble> {
        self.strike(format!("SIGKILL to the node {primary}"));
        self.ground.kill_node(primary)?;
        self.failover_from(primary).await?;
        self.ground.heal()?;
        let promoted = self.recovered().await?;
        self.strike("SIGTERM to every node".into());
        let lab = &self.ground.lab;
        let names = |nodes: &[crate::config::Node]| -> Vec<String> {
            nodes.iter().map(|node| node.name.clone()).collect()
        };
        let (sentinels, data) = (names(&lab.sentinels), names(&lab.data_nodes));
        // The Sentinels first: no failover is wanted.
        self.ground.stop_nodes(&sentinels).await?;
        self.ground.stop_nodes(&data).await?;
        self.did("all have ended; all started again".into());
        self.ground.heal()?;
        self.steps.begin("observe");
        self.must_stay = Some(promoted);
        self.writes_go_on(GO_ON_LIMIT).await
    }

    /// Waits until another node is primary, writes go on where the fault lets them, and a majority of the
    /// Sentinels names it.
    async fn failover_from(&mut self, old: &str) -> Result<(), Trouble> {
        self.steps.begin("observe");
        let timing = &self.ground.lab.timing;
        // A failover that fails is tried again after twice its timeout.
        let limit = 2 * timing.down_after + 3 * timing.failover_timeout + FAILOVER_SLACK;
        let deadline = Instant::now() + limit;
        let other = |names: Vec<String>| names.iter().any(|name| name != old);
        self.until(deadline, "another node to become primary", || {
            other(self.observer.primaries())
        })
        .await?;
        if self.writes != Writes::Wait {
            self.writes_go_on(limit).await?;
        }
        loop {
            if self.observer.named().await.is_some_and(|name| name != old) {
                return Ok(());
            }
            self.pause(deadline, "the Sentinels to name another primary", ASK_AGAIN)
                .await?;
        }
    }

    /// Watches for twice as long as a failover would take that there is none, and that writes go on where the
    /// fault lets them.
    async fn no_failover_from(&mut self, old: &str) -> Result<(), Trouble> {
        self.steps.begin("observe");
        // Twice as long as it would have taken: down-after, then election and promotion.
        let window = 2 * (self.ground.lab.timing.down_after + Duration::from_millis(500));
        let end = Instant::now() + window;
        while Instant::now() < end {
            if self.observer.primaries().iter().any(|name| name != old) {
                return Err(Trouble::Missed("another node became primary".into()));
            }
            if self.stop.is_cancelled() {
                return Err(Trouble::Stopped);
            }
            sleep(LOOK_AGAIN).await;
        }
        if self.writes == Writes::GoOn {
            self.writes_go_on(GO_ON_LIMIT).await?;
        }
        Ok(())
    }

    /// Waits until so many records are acknowledged that they were not all in flight.
    async fn writes_go_on(&mut self, limit: Duration) -> Result<(), Trouble> {
        let goal = self.load.counts_now().await.acknowledged() + self.enough;
        self.until(Instant::now() + limit, "writes to go on", || {
            self.load.counts().acknowledged() >= goal
        })
        .await
    }

    /// Waits until the lab has recovered; tells who is primary.
    ///
    /// # Errors
    /// What is missing when the time is over.
    pub async fn recovered(&mut self) -> Result<String, Trouble> {
        recovered(self.ground, self.observer, self.stop).await
    }

    async fn until(
        &self,
        deadline: Instant,
        what: &str,
        condition: impl Fn() -> bool,
    ) -> Result<(), Trouble> {
        while !condition() {
            self.pause(deadline, what, LOOK_AGAIN).await?;
        }
        Ok(())
    }

    async fn pause(&self, deadline: Instant, what: &str, pause: Duration) -> Result<(), Trouble> {
        if Instant::now() >= deadline {
            return Err(Trouble::Missed(format!("waited in vain for {what}")));
        }
        tokio::select! {
            () = sleep(pause) => Ok(()),
            () = self.stop.cancelled() => Err(Trouble::Stopped),
        }
    }

    /// A pause of up to so long, so that faults do not all come at the same moment of the lab's periods.
    pub async fn some_time(&mut self, most: Duration) -> Result<(), Trouble> {
        let ms = self
            .rng
            .random_range(0..=u64::try_from(most.as_millis()).unwrap_or(0));
        tokio::select! {
            () = sleep(Duration::from_millis(ms)) => Ok(()),
            () = self.stop.cancelled() => Err(Trouble::Stopped),
        }
    }
}

/// Waits until the lab has recovered; tells who is primary.
///
/// # Errors
/// What is missing when the time is over.
pub async fn recovered(
    ground: &Ground,
    observer: &Observer,
    stop: &CancellationToken,
) -> Result<String, Trouble> {
    let deadline = Instant::now() + RECOVERY_LIMIT;
    let mut recovery = Recovery::default();
    loop {
        let missing = match recovery
            .observe(&ground.lab, &observer.panel, &observer.connector)
            .await
        {
            Ok(primary) => return Ok(primary),
            Err(missing) => missing,
        };
        if Instant::now() >= deadline {
            return Err(Trouble::Missed(format!(
                "not recovered after {RECOVERY_LIMIT:?}: {missing}"
            )));
        }
        tokio::select! {
            () = sleep(ASK_AGAIN) => {}
            () = stop.cancelled() => return Err(Trouble::Stopped),
        }
    }
}

/// What becomes of writes while the fault lasts, under that policy.
pub fn writes_under(fault: Fault, replicated_only: bool) -> Writes {
    let spec = fault.spec();
    // Without its replica, a primary has nobody who could confirm.
    let one_node = matches!(
        fault,
        Fault::KillReplica
            | Fault::HangReplica
            | Fault::CutReplicationLink
            | Fault::KillPrimaryNode
            | Fault::SlowNetwork
            | Fault::SlowerNetwork
            | Fault::LittleCpu
            | Fault::StopPrimary
            | Fault::RollingRestart
            | Fault::RollingUpgrade
            | Fault::AddAndRemoveDataNode
            | Fault::ReplaceSentinel
            | Fault::HangPrimaryNode
            | Fault::IsolatePrimary
            | Fault::KillSentinelThenPrimary
            | Fault::RestartAllAfterFailover
            | Fault::StartWithoutPrimary
            // Its node waits for room, or ends, until somebody mends the disk.
            | Fault::FullDisk
            | Fault::ReadOnlyState
    );
    if replicated_only && one_node {
        Writes::Wait
    } else {
        spec.writes
    }
}
