//! The lab as a model for stateright, its properties, and readable traces.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use redis_ha_lab::protocol::copy::Completeness;
use stateright::{Checker, Model, Path, Property};

use super::faults::{self, Fault, Healing, Tail};
use super::lost_writes::{self, Proxied};
use super::marks::{self, Entry};
use super::reader;
use super::replication;
use super::rules::{Bounds, Rules};
use super::sentinel;
use super::state::*;
use super::supervisor;
use super::writer;

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Fault(Fault),
    Healing(Healing),
    Sentinel(usize, sentinel::Step),
    Link(usize, replication::Step),
    Supervisor(usize, supervisor::Step),
    Writer(writer::Step),
    Reader(reader::Step),
}

/// Counters which show that the exploration was not trivial.
#[derive(Debug, Default)]
pub struct Tally {
    pub failovers: AtomicUsize,
    pub witnessed_after_failover: AtomicUsize,
    pub replicated_after_failover: AtomicUsize,
    pub recoveries: AtomicUsize,
    pub read_after_failover: AtomicUsize,
    pub read_with_witnesses: AtomicUsize,
    /// Writes that were judged to have survived, and then confirmed.
    pub survived: AtomicUsize,
    pub sent_again: AtomicUsize,
}

impl Tally {
    fn count(&self, before: &State, step: Step, after: &State) {
        let newest = |state: &State| state.sentinels.iter().map(|s| s.epoch).max();
        let more = |counter: &AtomicUsize, yes: bool| {
            counter.fetch_add(usize::from(yes), Ordering::Relaxed);
        };
        more(&self.failovers, newest(after) > newest(before));
        let recovered = before.lost != Lost::Nothing && after.lost == Lost::Nothing;
        more(&self.recoveries, recovered);
        let acknowledged = |state: &State| state.writer.acknowledged.count_ones();
        let failed_over = before.sentinels.iter().any(|s| s.primary != 0);
        if acknowledged(after) > acknowledged(before) && failed_over {
            let witnessed = matches!(step, Step::Writer(writer::Step::Ask));
            more(&self.witnessed_after_failover, witnessed);
            more(&self.replicated_after_failover, !witnessed);
        }
        let read = |state: &State| state.reader.is_some_and(|reader| reader.pending.is_some());
        if let Step::Reader(reader::Step::Role | reader::Step::Ask) = step
            && read(before)
        {
            more(&self.read_after_failover, failed_over);
            let witnessed = matches!(step, Step::Reader(reader::Step::Ask));
            more(&self.read_with_witnesses, witnessed);
        }
        if let (Some(was), Some(is)) = (&before.proxied, &after.proxied) {
            let judged = step == Step::Writer(writer::Step::Discover) && was.is_open();
            more(&self.survived, judged && after.writer.pending.is_some());
            let sent = step == Step::Writer(writer::Step::Send);
            more(&self.sent_again, sent && was.again && !is.again);
        }
    }
}

/// The modelled lab.
#[derive(Debug, Clone)]
pub struct LabModel {
    pub rules: Rules,
    pub bounds: Bounds,
    pub claim: Claim,
    pub steps: Vec<Step>,
    pub tally: Arc<Tally>,
}

/// What must hold in every state.
pub type Claim = fn(&Rules, &State) -> bool;

pub const SAFE: &str = "the claim";

impl LabModel {
    pub fn new(rules: Rules, bounds: Bounds) -> Self {
        let mut steps: Vec<Step> = Vec::new();
        steps.extend(writer::all().into_iter().map(Step::Writer));
        if bounds.reads > 0 {
            steps.extend(reader::all().map(Step::Reader));
        }
        for d in 0..bounds.nodes {
            steps.extend(replication::ALL.map(|x| Step::Link(d, x)));
            steps.extend(
                supervisor::all()
                    .into_iter()
                    .map(|x| Step::Supervisor(d, x)),
            );
            steps.push(Step::Healing(Healing::Start(d)));
            steps.push(Step::Healing(Healing::Resume(d)));
        }
        for s in 0..SENTINELS {
            let all = sentinel::all(bounds.nodes);
            steps.extend(all.into_iter().map(|x| Step::Sentinel(s, x)));
            steps.push(Step::Healing(Healing::Watch(s)));
        }
        steps.push(Step::Healing(Healing::Join));
        if bounds.kinds.contains(&faults::Kind::Handover) {
            steps.push(Step::Healing(Healing::Submit));
        }
        steps.extend(faults::all(&bounds).into_iter().map(Step::Fault));
        LabModel {
            rules,
            bounds,
            claim: safe,
            steps,
            tally: Arc::default(),
        }
    }

    /// All is well, and no further faults are possible, so nothing can be promoted any more.
    fn at_rest(&self, state: &State) -> bool {
        (state.faults == self.bounds.faults || self.bounds.at_once && state.faults > 0)
            && state.lost == Lost::Nothing
            && faults::at_its_best(self.bounds.nodes, state)
    }

    fn sentinel(&self, state: &State, s: usize, step: sentinel::Step) -> Option<State> {
        let bounds = (self.bounds.nodes, self.bounds.highest(state.past));
        sentinel::step(bounds, &self.rules, state, s, step)
    }

    /// What one Sentinel notices, all notice.
    fn all_together(&self, state: &State, s: usize, step: sentinel::Step) -> Option<State> {
        let first = match step {
            sentinel::Step::Notice(_)
            | sentinel::Step::Reconnect(_)
            | sentinel::Step::Info(_)
            | sentinel::Step::Learn => 0,
            sentinel::Step::Adopt(_) => s,
            _ => return self.sentinel(state, s, step),
        };
        if s > 0 && first == 0 {
            return None;
        }
        let mut next = *state;
        for each in 0..SENTINELS {
            next = self.sentinel(&next, each, step).unwrap_or(next);
        }
        Some(next)
    }

    fn apply(&self, state: &State, step: Step) -> Option<State> {
        let (bounds, rules) = (&self.bounds, &self.rules);
        // The first of several equal Sentinels stands for all.
        if let Step::Sentinel(s, _)
        | Step::Supervisor(_, supervisor::Step::Act { via: Some(s), .. })
        | Step::Healing(Healing::Watch(s)) = step
            && s > 0
            && state.sentinels[s] == state.sentinels[s - 1]
        {
            return None;
        }
        let mut next = match step {
            Step::Fault(fault) => faults::inject(bounds, rules, state, fault),
            Step::Healing(healing) => faults::heal(bounds, rules, state, healing),
            Step::Sentinel(s, x) if bounds.calm => self.all_together(state, s, x),
            Step::Sentinel(s, x) => self.sentinel(state, s, x),
            Step::Link(d, x) => replication::step(state, d, x),
            Step::Supervisor(d, x) => supervisor::step(bounds, rules, state, d, x),
            Step::Writer(x) => writer::step(bounds, rules, state, x),
            Step::Reader(x) => reader::step(bounds, rules, state, x),
        }?;
        let leads = |sentinel: &&Sentinel| sentinel.failover.is_some();
        if bounds.calm && next.sentinels.iter().filter(leads).count() > 1 {
            return None;
        }
        writer::disconnect(state, &mut next);
        reader::disconnect(state, &mut next);
        reader::remember(bounds.nodes, state, &mut next);
        lost_writes::continue_histories(bounds.nodes, state, &mut next);
        replication::disconnect(bounds.nodes, state, &mut next);
        for node in &mut next.data {
            node.memory.unasked &= rules.candidate && node.role == Role::Primary;
        }
        supervisor::remember(bounds.nodes, rules, &mut next);
        faults::end_handover(bounds.nodes, &mut next);
        faults::settle(bounds.nodes, &mut next);
        let last = next.faults == bounds.faults;
        marks::tidy(bounds.nodes, last, &mut next);
        // Values that have no effect under these rules are cleared.
        for node in &mut next.data {
            node.promotable |= !rules.promotability;
            if !rules.compare {
                node.blocked = false;
                node.memory.in_term = node.role == Role::Primary;
            }
        }
        if bounds.endless {
            next.past = 0;
        }
        writer::rest(bounds, &mut next);
        reader::rest(bounds, &mut next);
        lost_writes::tidy(bounds.nodes, rules, &mut next);
        for sentinel in &mut next.sentinels {
            sentinel::tidy(sentinel);
        }
        // The order of the Sentinels has no effect.
        next.sentinels.sort_by_key(Sentinel::key);
        Some(next)
    }
}

impl Model for LabModel {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let nodes = self.bounds.nodes;
        vec![State {
            reader: (self.bounds.reads > 0).then(Reader::new),
            proxied: self.bounds.judged.then(|| Proxied::new(nodes)),
            ..State::healthy(nodes)
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        // Impossible steps have no next state.
        let _ = state;
        actions.extend_from_slice(&self.steps);
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        if self.at_rest(state) && step != Step::Fault(Fault::Return) {
            return None;
        }
        let next = self.apply(state, step).filter(|next| next != state)?;
        self.tally.count(state, step, &next);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(SAFE, |model: &Self, state: &State| {
            (model.claim)(&model.rules, state)
        })]
    }
}

/// No acknowledged write is lost, no read is stale, and no write is misjudged or executed twice.
pub fn safe(rules: &Rules, state: &State) -> bool {
    kept(rules, state) && current(rules, state) && judged_rightly(rules, state)
}

/// A read that was passed on has every write that was acknowledged before it was asked.
pub fn current(_: &Rules, state: &State) -> bool {
    !state.reader.is_some_and(|reader| reader.stale)
}

/// A write that is said to have survived is in the data of the primary that says so, and no copy
/// has two executions of an acknowledged write.
pub fn judged_rightly(_: &Rules, state: &State) -> bool {
    let wrong = |proxied: &Proxied| proxied.misjudged || proxied.is_executed_twice(state);
    !state.proxied.as_ref().is_some_and(wrong)
}

/// The node named by the newest configuration has every acknowledged write, once it is primary and,
/// where that is a rule, has marked its term, because nothing is witnessed before. And no copy with
/// such a write was replaced by a copy without it.
pub fn kept(rules: &Rules, state: &State) -> bool {
    if state.replaced {
        return false;
    }
    let newest = state.sentinels.iter().map(|s| s.epoch).max();
    state
        .sentinels
        .iter()
        .filter(|s| Some(s.epoch) == newest)
        .map(|s| s.primary)
        .filter(|d| !rules.term_first || state.data[*d].memory.in_term)
        .map(|d| &state.data[d])
        .filter(|node| {
            node.role == Role::Primary && matches!(node.process, Process::Up | Process::Paused)
        })
        .all(|node| node.log & state.writer.acknowledged == state.writer.acknowledged)
}

/// A path as lines: each step, and what it changed.
pub fn describe(nodes: usize, path: Vec<(State, Option<Step>)>) -> String {
    let mut text = String::new();
    let mut before: Option<(State, Option<Step>)> = None;
    for (state, step) in path {
        if let Some((last, Some(done))) = before {
            let _ = writeln!(text, "- {}", describe_step(&last, done));
            let _ = writeln!(text, "    {}", summary(nodes, &state));
        } else {
            let _ = writeln!(text, "    {}", summary(nodes, &state));
        }
        before = Some((state, step));
    }
    text
}

fn letter(d: usize) -> char {
    ['A', 'B', 'C'].get(d).copied().unwrap_or('?')
}

fn describe_step(state: &State, step: Step) -> String {
    let name = |s: usize| format!("Sentinel {}", state.sentinels[s].name);
    match step {
        Step::Fault(Fault::Crash { node, kind, tail }) => format!(
            "{}: crash ({kind:?}){}",
            letter(node),
            match tail {
                Tail::Kept => "",
                Tail::Entry => ", its newest entry was not on disk",
                Tail::Write => ", its newest write was not on disk",
            }
        ),
        Step::Fault(Fault::Disk { node, marks: None }) => {
            format!("{}: its disk is lost", letter(node))
        }
        Step::Fault(Fault::Disk {
            node,
            marks: Some(0),
        }) => format!(
            "{}: its disk is as it was before its newest write",
            letter(node)
        ),
        Step::Fault(Fault::Disk {
            node,
            marks: Some(n),
        }) => format!("{}: its disk is as it was {n} marks ago", letter(node)),
        Step::Fault(Fault::Handover(s)) => format!("a handover is called for at {}", name(s)),
        Step::Fault(Fault::Leave(node)) => format!("{}: leaves", letter(node)),
        Step::Fault(Fault::StopAll { closed: true }) => "the lab is closed and stopped".to_owned(),
        Step::Fault(Fault::StopAll { closed: false }) => "everything ends".to_owned(),
        Step::Fault(Fault::Absent(node)) => format!("{}: its host is lost for good", letter(node)),
        Step::Fault(Fault::Return) => "the lost host is back".to_owned(),
        Step::Fault(Fault::Rename) => "the Sentinels begin anew, with the seed".to_owned(),
        Step::Fault(Fault::Pause(node)) => format!("{}: paused", letter(node)),
        Step::Fault(Fault::Cut {
            node,
            sentinels,
            from_data,
            from_writer,
        }) => format!(
            "{}: cut off from {sentinels} Sentinels, data nodes: {from_data}, writer: {from_writer}",
            letter(node)
        ),
        Step::Fault(Fault::Watch(s, watch)) => format!("{}: {watch:?}", name(s)),
        Step::Healing(Healing::Watch(s)) => format!("{}: back", name(s)),
        Step::Healing(healing) => format!("{healing:?}"),
        Step::Sentinel(s, x) => {
            let what = match x {
                sentinel::Step::Notice(d) => format!("sees {} down", letter(d)),
                sentinel::Step::Reconnect(d) => format!("reconnects to {}", letter(d)),
                sentinel::Step::Info(d) => format!("has an INFO of {}", letter(d)),
                sentinel::Step::Elected(v) => format!("is elected with the vote of {}", name(v)),
                sentinel::Step::Select(d) => format!("selects {}", letter(d)),
                sentinel::Step::Promote => "promotes the selected one".to_owned(),
                sentinel::Step::Announce => "announces the new primary".to_owned(),
                sentinel::Step::Abort => "gives its failover up".to_owned(),
                sentinel::Step::Adopt(from) => format!("adopts what {} announced", name(from)),
                sentinel::Step::Convert(d) => format!("turns {} into a replica", letter(d)),
                sentinel::Step::Fix(d) => format!("has {} follow its primary", letter(d)),
                sentinel::Step::Learn => "learns of a replica".to_owned(),
            };
            format!("{} {what}", name(s))
        }
        Step::Link(d, x) => format!("{}: link: {x:?}", letter(d)),
        Step::Supervisor(d, supervisor::Step::Act { patient, via }) => format!(
            "{}: its supervisor acts{}{}",
            letter(d),
            if patient { ", after long patience" } else { "" },
            via.map_or(String::new(), |s| format!(
                ", failover taken by {}",
                name(s)
            ))
        ),
        Step::Supervisor(d, x) => format!("{}: its supervisor: {x:?}", letter(d)),
        Step::Writer(writer::Step::Ask) => "writer: the Sentinels bear witness".to_owned(),
        Step::Writer(x) => format!("writer: {x:?}"),
        Step::Reader(reader::Step::Ask) => "reader: the Sentinels bear witness".to_owned(),
        Step::Reader(x) => format!("reader: {x:?}"),
    }
}

pub fn summary(nodes: usize, state: &State) -> String {
    let mut text = String::new();
    for (d, node) in state.data.iter().enumerate().take(nodes) {
        let role = match (node.process, node.role) {
            (Process::Up, Role::Parked) => "parked".to_owned(),
            (Process::Up, Role::Primary) => "primary".to_owned(),
            (Process::Up, Role::Replica { of, link }) => {
                format!("replica of {} {link:?}", letter(of))
            }
            (Process::Paused, _) => "paused".to_owned(),
            (Process::ServerGone { .. }, _) => "server gone".to_owned(),
            (Process::NodeGone, _) => "gone".to_owned(),
        };
        let _ = write!(
            text,
            "{}: {role} [{}] {}{}{}| ",
            letter(d),
            entries(state, node.log),
            if node.blocked { "blocked " } else { "" },
            if node.promotable { "promotable " } else { "" },
            if node.raising.is_some() {
                "raising "
            } else {
                ""
            },
        );
    }
    let mut sentinels = state.sentinels;
    sentinels.sort_by_key(|s| s.name);
    for s in sentinels {
        let _ = write!(text, "S{} names {}@{}", s.name, letter(s.primary), s.epoch);
        for d in (0..nodes).filter(|d| *d != s.primary) {
            let sight = s.sights[d];
            let _ = write!(
                text,
                " {}:{}{}",
                letter(d),
                if sight.up { "up" } else { "down" },
                match (sight.info, sight.promotable) {
                    (Info::Never, _) => "?",
                    (_, true) => ",100",
                    (_, false) => ",0",
                }
            );
        }
        if s.failover.is_some() {
            text.push_str(" (failover)");
        }
        text.push_str(" | ");
    }
    let _ = write!(
        text,
        "pending {:?} acknowledged {} lost {:?}",
        state.writer.pending.map(|p| p.write),
        entries(state, state.writer.acknowledged),
        state.lost
    );
    if let Some(reader) = &state.reader {
        let _ = write!(text, " | {}", reading(state, reader));
    }
    if let Some(proxied) = &state.proxied {
        let _ = write!(text, " | {proxied:?}");
    }
    text
}

fn reading(state: &State, reader: &Reader) -> String {
    let mut text = String::from("reader:");
    if let Some((d, _)) = reader.target {
        let _ = write!(text, " at {}", letter(d));
    }
    if let Some(message) = reader.round {
        let _ = write!(text, ", round m{message}");
    }
    if let Some(read) = reader.pending {
        let (seen, due) = (entries(state, read.seen), entries(state, read.due));
        let _ = write!(text, ", has read [{seen}], due [{due}]");
    }
    if reader.stale {
        text.push_str(", a stale read was passed on");
    }
    text
}

/// A log: `w` and a number is a write, `TERM.COUNT` is a mark.
fn entries(state: &State, log: Log) -> String {
    let mut text = Vec::new();
    for (e, entry) in state.history.entries.iter().enumerate() {
        match entry {
            _ if log & (1 << e) == 0 => {}
            Entry::Mark(stamp) => text.push(format!(
                "{}.{}{}{}",
                stamp.term,
                stamp.count,
                match stamp.state {
                    Completeness::Open => "",
                    Completeness::Sole => "sole",
                    Completeness::Closed => "closed",
                },
                stamp
                    .epoch
                    .map_or(String::new(), |epoch| format!("@{epoch}"))
            )),
            Entry::Message => text.push(format!("m{e}")),
            Entry::Write | Entry::Free => text.push(format!("w{e}")),
        }
    }
    text.join(" ")
}

/// The result of an exploration.
#[derive(Debug)]
pub struct Found {
    pub states: usize,
    pub depth: usize,
    /// The shortest trace to a loss.
    pub loss: Option<String>,
    pub tally: Arc<Tally>,
}

/// Explores all states within the bounds, breadth first, or until a loss is found.
pub fn explore(rules: Rules, bounds: Bounds) -> Found {
    explore_for(rules, bounds, safe)
}

/// The same, with another claim.
pub fn explore_for(rules: Rules, bounds: Bounds, claim: Claim) -> Found {
    let mut model = LabModel::new(rules, bounds);
    model.claim = claim;
    let tally = model.tally.clone();
    // One thread: the shortest trace, and the same one each time.
    let checker = model.checker().threads(1).spawn_bfs().join();
    Found {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        loss: checker
            .discovery(SAFE)
            .map(|path: Path<State, Step>| describe(bounds.nodes, path.into_vec())),
        tally,
    }
}
