//! What happened after each fault, in the terms of a drill's report, and drawn as in it.
//!
//! A story begins with a fault of the page, or when a node falls silent or a failover begins
//! without one. It is over when the lab has recovered; then all records are read back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Duration, Instant};

use crate::checker::Verdict;
use crate::config::Lab;
use crate::drill::environment::LabObserver;
use crate::drill::judging::{Acks, EventLog, LabEvent, LabEventKind, ObservedRole, Timeline};
use crate::drill::report::{DrillVerdict, Run, TimelineEntry, html, ms, ms_between};
use crate::status::Status;

use super::board::Board;
use super::faults::AskedStatus;
use super::records::{OwnRecords, ReadBack};
use super::recovered::is_after;

/// Length of the intervals of a chart.
const SAMPLE_US: u64 = 100_000;
/// Events that are kept: those of several faults.
const EVENTS_MAX: usize = 2_000;
/// A story begins this long before its fault.
const LEAD_US: u64 = 2_000_000;
/// Least duration of a story: some faults take time to have an effect.
const SHORTEST: Duration = Duration::from_millis(1_500);
/// Longest duration of a story: a node that was killed stays down.
const LONGEST: Duration = Duration::from_secs(90);

/// An entry of the timeline, as shown.
#[derive(Debug, Serialize)]
struct ShownEntry<'e> {
    /// Milliseconds since the start of this program.
    t: f64,
    what: &'e str,
    node: &'e Option<String>,
    by: &'e Option<String>,
    detail: &'e Option<String>,
    kind: &'static str,
}

/// A story, as shown.
#[derive(Debug, Serialize)]
struct ShownStory {
    number: u64,
    /// When the fault was injected, in milliseconds since the start of this program.
    t: f64,
    title: String,
    /// Sentences and chart.
    html: String,
    /// From the fault until all data nodes were in sync, in milliseconds; none if they were all
    /// the time, or are not yet.
    in_sync_ms: Option<f64>,
    /// The lab can lose any one node again.
    is_recovered: bool,
    /// It changes no more, but for the reading.
    is_over: bool,
    /// Another fault came before its end.
    is_interrupted: bool,
    /// All is said: what was read back, if it could be.
    is_ended: bool,
    /// The longest time without an acknowledged write, in milliseconds.
    gap_ms: Option<f64>,
    /// The nodes that do not run, if they have to be started.
    missing: Vec<String>,
    read_back: Option<ReadBack>,
}

/// The story that is being told.
#[derive(Debug)]
struct Current {
    number: u64,
    /// On the observer's clock, in microseconds.
    at: u64,
    begun: Instant,
    title: String,
    /// The primary before it.
    primary: Option<String>,
    /// The lab has recovered.
    is_recovered: bool,
    /// When the data nodes came in sync after the fault, if they were not all the time.
    in_sync: Option<u64>,
}

/// Tells the stories.
pub(super) struct StoryTeller {
    pub(super) lab: Lab,
    pub(super) observer: Arc<LabObserver>,
    pub(super) board: Arc<Board>,
    pub(super) records: Arc<OwnRecords>,
    /// A request for a fault is being handled: its story begins when it is recorded.
    is_busy: Arc<AtomicBool>,
    /// When the effects of the last loss show.
    last_loss: watch::Receiver<Option<Instant>>,
    events: EventLog,
    roles: Vec<(String, ObservedRole)>,
    /// The Sentinels that do not answer.
    silent_sentinels: Vec<String>,
    /// The primary before the events that are kept.
    first_primary: Option<String>,
    /// When the data nodes came in sync, if they are.
    in_sync_since: Option<u64>,
    current: Option<Current>,
    told: u64,
    /// The last acknowledgement at the end of the last story.
    told_gap: Option<Instant>,
    /// The lab was in sync once: what comes before is its start.
    has_started: bool,
}

impl StoryTeller {
    pub(super) fn new(
        lab: &Lab,
        observer: Arc<LabObserver>,
        board: Arc<Board>,
        records: Arc<OwnRecords>,
        is_busy: Arc<AtomicBool>,
        last_loss: watch::Receiver<Option<Instant>>,
    ) -> Self {
        StoryTeller {
            lab: lab.clone(),
            observer,
            board,
            records,
            is_busy,
            last_loss,
            events: EventLog::default(),
            roles: Vec::new(),
            silent_sentinels: Vec::new(),
            first_primary: None,
            in_sync_since: None,
            current: None,
            told: 0,
            told_gap: None,
            has_started: false,
        }
    }

    /// Takes what was observed since the last call, and the last status.
    pub(super) fn observe(&mut self, known: Option<&AskedStatus>) {
        let new = self.observer.take_events().0;
        for event in &new {
            self.show_entry(event);
            if let LabEventKind::Role { node, role } = &event.kind {
                self.roles.retain(|(name, _)| name != node);
                self.roles.push((node.clone(), role.clone()));
                self.in_sync_since = self.all_in_sync().then_some(event.at);
            }
        }
        self.has_started |= self.in_sync_since.is_some() || self.records.last_ack().is_some();
        let begins: Vec<_> = new
            .iter()
            .filter_map(|event| {
                let is_fault = matches!(event.kind, LabEventKind::Fault(_));
                Some((event.at, is_fault, self.cause(event)?))
            })
            .collect();
        self.events.0.extend(new);
        self.events.0.sort_by_key(|event| event.at);
        for (at, is_fault, title) in begins {
            // Of several signs of one loss, the first begins its story.
            if is_fault || self.current.is_none() {
                self.begin(at, title);
            }
        }
        let silent = known.and_then(|known| self.note_silent_sentinels(&known.status));
        if self.watches() {
            let stalls = self.writes_stall();
            let stalls = stalls.then(|| "no write is acknowledged".to_owned());
            if let Some(title) = silent.or(stalls) {
                self.insert_cause(self.observer.now(), title);
            }
        }
        let excess = self.events.0.len().saturating_sub(EVENTS_MAX);
        let dropped = EventLog(self.events.0.drain(..excess).collect());
        if let Some((_, node)) = dropped.said_primary().last() {
            self.first_primary = Some(node.to_owned());
        }
        // A lab that is closed, or takes no writes, has not recovered.
        let known = known.filter(|known| known.status.healthy);
        self.note_recovery(known.and_then(|known| known.recovered));
        self.observer.set_calm(self.current.is_none());
        let is_active = self.current.is_some();
        self.records
            .story_active
            .store(is_active, Ordering::Relaxed);
    }

    /// Whether a sign of a loss begins a story.
    fn watches(&self) -> bool {
        let is_busy = self.is_busy.load(Ordering::Relaxed);
        self.current.is_none() && self.has_started && !is_busy
    }

    /// Notes the Sentinels that do not answer. Returns the title of a story about a new one.
    fn note_silent_sentinels(&mut self, status: &Status) -> Option<String> {
        let silent = status.sentinels.iter().filter(|s| s.state.up().is_none());
        let silent: Vec<String> = silent.map(|sentinel| sentinel.name.clone()).collect();
        let before = std::mem::replace(&mut self.silent_sentinels, silent);
        let mut new = self.silent_sentinels.iter();
        let new = new.find(|name| !before.contains(name))?;
        Some(format!("{new} does not answer"))
    }

    fn show_entry(&self, event: &LabEvent) {
        let Some(entry) = TimelineEntry::of(&event.kind, &|ip| self.name_of(ip)) else {
            return;
        };
        let entry = of_page(entry);
        self.board.add_entry(&ShownEntry {
            t: ms(event.at),
            what: &entry.what,
            node: &entry.node,
            by: &entry.by,
            detail: &entry.detail,
            kind: html::class_of(&entry),
        });
    }

    /// The title of the story that begins with an event, if one does.
    fn cause(&self, event: &LabEvent) -> Option<String> {
        if let LabEventKind::Fault(text) = &event.kind {
            return Some(text.clone());
        }
        if !self.watches() {
            return None;
        }
        match &event.kind {
            LabEventKind::Role {
                node,
                role: ObservedRole::Silent,
            } => Some(format!("{node} does not answer")),
            LabEventKind::Sentinel { name, .. } if name == "+try-failover" => {
                Some("a failover".into())
            }
            _ => None,
        }
    }

    fn begin(&mut self, at: u64, title: String) {
        let is_fault =
            |event: &LabEvent| event.at == at && matches!(event.kind, LabEventKind::Fault(_));
        if !self.events.0.iter().any(is_fault) {
            self.insert_cause(at, title);
            return;
        }
        if let Some(interrupted) = self.current.take() {
            let shown = ShownStory {
                is_interrupted: true,
                ..self.shown(&interrupted, true, None, at)
            };
            self.board.show_story(interrupted.number, &shown);
        }
        self.told += 1;
        let mut before = self.events.said_primary().filter(|(t, _)| *t < at);
        let before = before.next_back().map(|(_, node)| node.to_owned());
        self.current = Some(Current {
            number: self.told,
            at,
            begun: Instant::now(),
            title,
            primary: before.or_else(|| self.first_primary.clone()),
            is_recovered: false,
            in_sync: None,
        });
    }

    /// Begins a story without a fault of the page: its cause stands for the fault.
    fn insert_cause(&mut self, at: u64, title: String) {
        let index = self.events.0.partition_point(|event| event.at < at);
        let kind = LabEventKind::Fault(title.clone());
        self.events.0.insert(index, LabEvent { at, kind });
        self.begin(at, title);
    }

    fn writes_stall(&self) -> bool {
        let last = self.records.last_ack();
        // A gap that lasts has one story.
        last != self.told_gap && last.is_some_and(|last| last.elapsed() > self.records.long_gap())
    }

    /// One primary, and every other data node in sync with it.
    fn all_in_sync(&self) -> bool {
        let mut primary = 0;
        let mut others = 0;
        for (_, role) in &self.roles {
            match role {
                ObservedRole::Primary => primary += 1,
                ObservedRole::Replica { in_sync: true, .. } => others += 1,
                _ => return false,
            }
        }
        primary == 1 && others + 1 == self.lab.data_nodes.len()
    }

    /// Takes the time before which every loss is over.
    fn note_recovery(&mut self, recovered: Option<Instant>) {
        let Some(current) = &mut self.current else {
            return;
        };
        let shows = Some(current.begun + SHORTEST).max(*self.last_loss.borrow());
        let is_over = is_after(recovered, shows);
        let is_busy = self.is_busy.load(Ordering::Relaxed);
        let in_sync = self.in_sync_since.filter(|_| is_over && !is_busy);
        current.is_recovered = in_sync.is_some();
        current.in_sync = in_sync.filter(|at| *at > current.at);
    }

    /// Shows the current story. Returns its number when it is over.
    pub(super) fn show(&mut self) -> Option<u64> {
        let current = self.current.as_ref()?;
        let is_over = current.is_recovered || current.begun.elapsed() > LONGEST;
        let shown = self.shown(current, is_over, None, u64::MAX);
        self.board.show_story(current.number, &shown);
        is_over.then_some(current.number)
    }

    /// Ends the current story with what was read back.
    pub(super) fn end(&mut self, number: u64, read_back: Option<ReadBack>) {
        let Some(current) = self.current.take_if(|current| current.number == number) else {
            return;
        };
        let shown = ShownStory {
            is_ended: true,
            ..self.shown(&current, true, read_back, u64::MAX)
        };
        self.board.show_story(number, &shown);
        self.told_gap = self.records.last_ack();
    }

    /// A story with what happened before `until`.
    fn shown(
        &self,
        current: &Current,
        is_over: bool,
        read_back: Option<ReadBack>,
        until: u64,
    ) -> ShownStory {
        let data_nodes = self.roles.iter();
        let data_nodes = data_nodes.filter(|(_, role)| *role == ObservedRole::Silent);
        let silent = data_nodes.map(|(node, _)| node);
        let silent = silent.chain(&self.silent_sentinels).cloned();
        let run = self.run(current, read_back.as_ref(), until);
        let gaps = run.outages.iter().filter_map(|outage| outage.rto_ms);
        ShownStory {
            number: current.number,
            t: ms(current.at),
            title: current.title.clone(),
            gap_ms: gaps.reduce(f64::max),
            html: html::story(&run),
            in_sync_ms: current.in_sync.map(|at| ms(at - current.at)),
            is_recovered: current.is_recovered,
            is_over,
            is_interrupted: false,
            is_ended: false,
            missing: silent.collect(),
            read_back,
        }
    }

    /// The story as a run of a drill.
    fn run(&self, current: &Current, read_back: Option<&ReadBack>, until: u64) -> Run {
        let from = current.at.saturating_sub(LEAD_US);
        let events = self.events.between(from, until);
        let from = self.observer.begun() + Duration::from_micros(from);
        let acks = self.records.acks_since(from);
        let mut run = Run::without_results(0, DrillVerdict::Inconclusive, String::new());
        let writes = acks.is_some();
        let (acks, writer_start) = match acks {
            Some(own) => (own.acks.sorted(), self.observer.since_begin(own.started)),
            None => (Acks::default(), 0),
        };
        let timeline = Timeline {
            events: &events,
            acks: &acks,
            writer_start,
            before: current.primary.as_deref(),
        };
        let entries = timeline.entries(&|ip| self.name_of(ip));
        run.timeline = entries.into_iter().map(of_page).collect();
        if writes {
            run.outages = timeline.outages(self.observer.now().min(until));
            if until == u64::MAX {
                self.add_lasting_gap(&mut run, current);
            }
        }
        // A reading that did not reach every copy shows nothing about all records.
        let read_back = read_back.filter(|read_back| read_back.verdict != Verdict::Inconclusive);
        run.records = read_back.map(|read_back| read_back.records.clone());
        let zero = current.at.saturating_sub(writer_start);
        run.samples = Some(acks.samples(SAMPLE_US, zero));
        run
    }

    /// A time without an acknowledged write that still lasts.
    fn add_lasting_gap(&self, run: &mut Run, current: &Current) {
        let last = self.records.last_ack();
        let Some((last, outage)) = last.zip(run.outages.last_mut()) else {
            return;
        };
        let lasts = last.elapsed().as_secs_f64() * 1000.0;
        if outage.rto_ms.is_none_or(|rto| rto < lasts) && lasts > SHORTEST.as_secs_f64() * 1000.0 {
            let last = self.observer.since_begin(last);
            outage.rto_ms = Some(ms(self.observer.now().saturating_sub(last)));
            outage.from_at_ms = Some(ms_between(current.at, last));
        }
    }

    fn name_of(&self, ip: &str) -> String {
        let mut nodes = self.lab.nodes();
        let node = nodes.find(|node| node.address.to_string() == ip);
        node.map_or_else(|| ip.to_owned(), |node| node.name.clone())
    }
}

/// What a drill has done in its report, a person has done here.
fn of_page(entry: TimelineEntry) -> TimelineEntry {
    match entry.what.as_str() {
        "drill" => TimelineEntry {
            what: "repair".into(),
            ..entry
        },
        _ => entry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A teller of a lab of which nothing runs, with a fault at each of these times.
    fn teller(faults: &[(u64, &str)]) -> (StoryTeller, Arc<LabObserver>, tempfile::TempDir) {
        let lab = Lab::parse(include_str!("../../lab.toml"), None).unwrap();
        let lab = lab.relocated([127, 254, 252]);
        let folder = tempfile::tempdir().unwrap();
        let begun = Instant::now();
        let board = Arc::new(Board::new());
        let observer = Arc::new(LabObserver::start(&lab, begun));
        let records = OwnRecords::new(&lab, folder.path(), None, board.clone(), begun).unwrap();
        let none = watch::channel(None).1;
        let idle = Arc::new(AtomicBool::new(false));
        let mut teller =
            StoryTeller::new(&lab, observer.clone(), board, records.into(), idle, none);
        for (at, text) in faults {
            observer.record_at(*at, LabEventKind::Fault((*text).to_owned()));
            teller.observe(None);
        }
        (teller, observer, folder)
    }

    #[tokio::test]
    async fn a_fault_that_follows_ends_the_story_and_is_not_told_in_it() {
        let (mut teller, _observer, _folder) =
            teller(&[(1_000_000, "first"), (9_000_000, "second")]);
        let current = teller.current.take().unwrap();
        assert_eq!((current.number, current.title.as_str()), (2, "second"));
        let (now, _) = teller.board.open();
        let stories = now.iter().filter(|message| message.event == "story");
        let [first] = stories.map(|m| &*m.json).collect::<Vec<_>>()[..] else {
            panic!("one story is shown");
        };
        assert!(first.contains("\"is_interrupted\":true"), "{first}");
        assert!(
            first.contains("first") && !first.contains("second"),
            "{first}"
        );
    }

    #[tokio::test]
    async fn a_lab_that_has_not_started_has_no_story() {
        let (teller, _observer, _folder) = teller(&[]);
        assert!(teller.current.is_none());
        assert!(!teller.watches());
    }
}
