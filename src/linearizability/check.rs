//! The verdict over one object.

use super::counterexample::Counterexample;
use super::operation::ObjectHistory;
use super::search::{LongestOrder, Search, SearchEnd, SearchLimits};

/// Whether a history is linearizable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Linearizability {
    /// It is.
    Linearizable,
    /// It is not.
    Violated(Box<Counterexample>),
    /// The search has reached a bound.
    Inconclusive,
}

impl ObjectHistory {
    /// Searches for an order of the calls.
    pub fn check(&self, limits: SearchLimits) -> Linearizability {
        match Search::new(self).run(limits) {
            SearchEnd::Order => Linearizability::Linearizable,
            SearchEnd::NoOrder(_) => {
                Linearizability::Violated(Box::new(self.counterexample(limits)))
            }
            SearchEnd::LimitReached(_) => Linearizability::Inconclusive,
        }
    }

    /// The times of all answers, sorted.
    fn answer_times(&self) -> Vec<u64> {
        let answers = self.operations.iter().filter_map(|o| o.returned.as_ref());
        let mut times: Vec<u64> = answers.map(|(at, _)| *at).collect();
        times.sort_unstable();
        times.dedup();
        times
    }

    /// The shortest part of a violated history that is violated, as far as the bounds permit.
    fn counterexample(&self, limits: SearchLimits) -> Counterexample {
        let times = self.answer_times();
        // A part of a linearizable history is linearizable: so up to one answer every part is, and
        // from it on none.
        let (mut good, mut bad) = (0, times.len().saturating_sub(1));
        while good < bad {
            let middle = good.midpoint(bad);
            match Search::new(&self.until(times[middle])).run(limits) {
                SearchEnd::Order => good = middle + 1,
                SearchEnd::NoOrder(_) => bad = middle,
                SearchEnd::LimitReached(_) => break,
            }
        }
        let time = times.get(bad).copied().unwrap_or_default();
        let part = self.until(time);
        let longest = match Search::new(&part).run(limits) {
            SearchEnd::NoOrder(longest) | SearchEnd::LimitReached(longest) => longest,
            // Its last answer is that of a violated part.
            SearchEnd::Order => LongestOrder::default(),
        };
        Counterexample::new(&part, time, &longest)
    }
}
