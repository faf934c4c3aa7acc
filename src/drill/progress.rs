//! The phases of a run, told while they pass.

use std::sync::Arc;

use tokio::time::Instant;

use super::report::{Phase, ms};

/// Who is told which phase begins.
pub type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// The phases of one run.
pub struct Steps {
    tell: Tell,
    done: Vec<Phase>,
    current: Option<(&'static str, Instant)>,
}

impl Steps {
    /// Nothing has begun.
    pub fn new(tell: Tell) -> Self {
        Steps {
            tell,
            done: Vec::new(),
            current: None,
        }
    }

    /// The phase of that name begins, and the one before ends.
    pub fn begin(&mut self, name: &'static str) {
        if self.current.is_some_and(|(current, _)| current == name) {
            return;
        }
        self.end();
        (self.tell)(name);
        self.current = Some((name, Instant::now()));
    }

    /// The last phase ends.
    pub fn end(&mut self) {
        if let Some((name, since)) = self.current.take() {
            let us = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.done.push(Phase {
                name: name.to_owned(),
                took_ms: ms(us),
            });
        }
    }

    /// The phases that have ended.
    pub fn finish(mut self) -> Vec<Phase> {
        self.end();
        self.done
    }
}
