//! The phases of a run, reported to a listener when they begin.

use std::sync::Arc;

use tokio::time::Instant;

use crate::drill::report::{Phase, ms};

/// Called with the name of each phase that begins.
pub type PhaseListener = Arc<dyn Fn(&str) + Send + Sync>;

/// The phases of one run.
pub struct Phases {
    listener: PhaseListener,
    ended: Vec<Phase>,
    current: Option<(&'static str, Instant)>,
}

impl Phases {
    /// No phase has begun.
    pub fn new(listener: PhaseListener) -> Self {
        Phases {
            listener,
            ended: Vec::new(),
            current: None,
        }
    }

    /// No phase has begun, and nobody listens.
    pub fn silent() -> Self {
        Phases::new(Arc::new(|_| {}))
    }

    /// Begins a phase, and ends the previous one. No effect if it is the current one.
    pub fn begin(&mut self, name: &'static str) {
        if self.current.is_some_and(|(current, _)| current == name) {
            return;
        }
        self.end();
        (self.listener)(name);
        self.current = Some((name, Instant::now()));
    }

    fn end(&mut self) {
        if let Some((name, since)) = self.current.take() {
            let us = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.ended.push(Phase {
                name: name.to_owned(),
                took_ms: ms(us),
            });
        }
    }

    /// Ends the last phase, and returns all.
    pub fn finish(mut self) -> Vec<Phase> {
        self.end();
        self.ended
    }
}
