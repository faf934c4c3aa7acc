//! What every open page shows: the current state for a page that is opened, and each change as a
//! message to all pages. Memory is bounded: old messages are dropped, and a page that is too slow
//! gets the current state anew.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::broadcast;
use tracing::warn;

/// Messages that a slow page may be behind.
const BEHIND_MAX: usize = 256;
/// Entries of the timeline that a page gets when it is opened.
const ENTRIES_MAX: usize = 200;
/// Stories that a page gets when it is opened.
const STORIES_MAX: usize = 8;
/// Intervals of writes that a page gets when it is opened: one minute.
const FINE_MAX: usize = 600;
/// Seconds of writes that a page gets when it is opened: ten minutes.
const COARSE_MAX: usize = 600;
/// Intervals in a second.
const FINE_PER_COARSE: usize = 10;

/// A message to the pages: the name of the event, and JSON.
#[derive(Debug, Clone)]
pub(super) struct PageMessage {
    pub(super) event: &'static str,
    pub(super) json: Arc<str>,
}

/// Acknowledged writes of one interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct WritesInterval {
    /// Its end, in milliseconds since the start of this program.
    pub(super) t: u64,
    /// Records that every other data node confirmed.
    pub(super) replicated: u64,
    /// Records acknowledged with the Sentinels as witnesses.
    pub(super) witnessed: u64,
    /// The longest latency, in milliseconds.
    pub(super) latency: f64,
    /// The longest time without an acknowledgement that ended in the interval, or lasts at its
    /// end, in milliseconds.
    pub(super) gap: f64,
}

impl WritesInterval {
    /// Both intervals as one.
    fn with(self, next: WritesInterval) -> WritesInterval {
        WritesInterval {
            t: next.t,
            replicated: self.replicated + next.replicated,
            witnessed: self.witnessed + next.witnessed,
            latency: self.latency.max(next.latency),
            gap: self.gap.max(next.gap),
        }
    }
}

/// The writes of the last minute in intervals, and of the last ten minutes in seconds.
#[derive(Debug, Default, Serialize)]
struct WritesHistory {
    fine: VecDeque<WritesInterval>,
    coarse: VecDeque<WritesInterval>,
    #[serde(skip)]
    in_second: usize,
}

impl WritesHistory {
    fn push(&mut self, interval: WritesInterval) {
        push(&mut self.fine, interval, FINE_MAX);
        match self.coarse.back_mut() {
            Some(second) if self.in_second < FINE_PER_COARSE => {
                *second = second.with(interval);
                self.in_second += 1;
            }
            _ => {
                push(&mut self.coarse, interval, COARSE_MAX);
                self.in_second = 1;
            }
        }
    }
}

#[derive(Debug, Default)]
struct BoardState {
    /// The last message of each of these events, in the order of their first one.
    latest: Vec<PageMessage>,
    writes: WritesHistory,
    entries: VecDeque<PageMessage>,
    stories: VecDeque<(u64, PageMessage)>,
}

/// The state that pages show.
#[derive(Debug)]
pub(super) struct Board {
    shown: Mutex<BoardState>,
    updates: broadcast::Sender<PageMessage>,
}

impl Board {
    pub(super) fn new() -> Self {
        Board {
            shown: Mutex::default(),
            updates: broadcast::channel(BEHIND_MAX).0,
        }
    }

    /// Shows a value, in place of the last one of this event.
    pub(super) fn show(&self, event: &'static str, value: &impl Serialize) {
        let Some(message) = message(event, value) else {
            return;
        };
        let mut shown = self.lock();
        match shown.latest.iter_mut().find(|m| m.event == event) {
            Some(latest) if latest.json == message.json => return,
            Some(latest) => *latest = message.clone(),
            None => shown.latest.push(message.clone()),
        }
        self.send(message);
    }

    /// Adds an interval of writes.
    pub(super) fn add_writes(&self, interval: WritesInterval) {
        let mut shown = self.lock();
        shown.writes.push(interval);
        if let Some(message) = message("writes", &interval) {
            self.send(message);
        }
    }

    /// Adds an entry of the timeline.
    pub(super) fn add_entry(&self, entry: &impl Serialize) {
        let Some(message) = message("entry", entry) else {
            return;
        };
        let mut shown = self.lock();
        push(&mut shown.entries, message.clone(), ENTRIES_MAX);
        self.send(message);
    }

    /// Shows a story, in place of the last state of the story of this number.
    pub(super) fn show_story(&self, number: u64, story: &impl Serialize) {
        let Some(message) = message("story", story) else {
            return;
        };
        let mut shown = self.lock();
        match shown.stories.iter_mut().find(|(n, _)| *n == number) {
            Some((_, latest)) => *latest = message.clone(),
            None => push(&mut shown.stories, (number, message.clone()), STORIES_MAX),
        }
        self.send(message);
    }

    /// The current state, as messages, and the messages after it.
    pub(super) fn open(&self) -> (Vec<PageMessage>, broadcast::Receiver<PageMessage>) {
        let shown = self.lock();
        let mut now = shown.latest.clone();
        now.extend(message("history", &shown.writes));
        now.extend(shown.entries.iter().cloned());
        now.extend(shown.stories.iter().map(|(_, story)| story.clone()));
        now.extend(message("complete", &()));
        // Under the lock, so that no message is missed or comes twice.
        (now, self.updates.subscribe())
    }

    fn send(&self, message: PageMessage) {
        // An error means that no page is open.
        let _ = self.updates.send(message);
    }

    fn lock(&self) -> MutexGuard<'_, BoardState> {
        // Every change is complete before anything can panic.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn message(event: &'static str, value: &impl Serialize) -> Option<PageMessage> {
    match serde_json::to_string(value) {
        Ok(json) => Some(PageMessage {
            event,
            json: json.into(),
        }),
        Err(error) => {
            warn!(%event, %error, "not shown: it is no JSON");
            None
        }
    }
}

fn push<T>(list: &mut VecDeque<T>, item: T, max: usize) {
    list.push_back(item);
    if list.len() > max {
        list.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(messages: &[PageMessage]) -> Vec<(&str, &str)> {
        messages.iter().map(|m| (m.event, &*m.json)).collect()
    }

    fn interval(t: u64, replicated: u64, gap: f64) -> WritesInterval {
        WritesInterval {
            t,
            replicated,
            gap,
            ..WritesInterval::default()
        }
    }

    #[test]
    fn a_page_that_is_opened_gets_the_current_state_and_then_each_change_once() {
        let board = Board::new();
        board.show("status", &1);
        board.show("records", &"a");
        board.show("status", &2);
        board.add_entry(&"first");
        board.show_story(1, &"begins");
        board.show_story(1, &"ends");
        let (now, mut later) = board.open();
        assert_eq!(
            events(&now),
            [
                ("status", "2"),
                ("records", "\"a\""),
                ("history", "{\"fine\":[],\"coarse\":[]}"),
                ("entry", "\"first\""),
                ("story", "\"ends\""),
                ("complete", "null"),
            ]
        );
        assert!(later.try_recv().is_err());
        board.show("status", &2);
        assert!(later.try_recv().is_err(), "nothing has changed");
        board.show("status", &3);
        let next = later.try_recv().unwrap();
        assert_eq!((next.event, &*next.json), ("status", "3"));
    }

    #[test]
    fn old_messages_are_dropped() {
        let board = Board::new();
        for n in 0..2 * ENTRIES_MAX as u64 {
            board.add_entry(&n);
            board.show_story(n, &n);
            board.add_writes(interval(n * 100, 1, 0.0));
        }
        let (now, _) = board.open();
        let count = |event| now.iter().filter(|m| m.event == event).count();
        assert_eq!(count("entry"), ENTRIES_MAX);
        assert_eq!(count("story"), STORIES_MAX);
        assert_eq!(board.lock().writes.fine.len(), 2 * ENTRIES_MAX);
        assert!(board.lock().writes.fine.len() <= FINE_MAX);
    }

    #[test]
    fn ten_intervals_are_one_second() {
        let mut history = WritesHistory::default();
        for n in 0..25 {
            history.push(interval(n * 100, 2, n as f64));
        }
        let seconds: Vec<_> = history.coarse.iter().copied().collect();
        assert_eq!(
            seconds,
            [
                interval(900, 20, 9.0),
                interval(1900, 20, 19.0),
                interval(2400, 10, 24.0)
            ]
        );
    }

    #[test]
    fn a_page_that_is_too_slow_is_told() {
        let board = Board::new();
        let (_, mut slow) = board.open();
        for n in 0..2 * BEHIND_MAX {
            board.show("status", &n);
        }
        assert!(matches!(
            slow.try_recv(),
            Err(broadcast::error::TryRecvError::Lagged(_))
        ));
    }
}
