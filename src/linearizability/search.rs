//! The search for an order of the calls that fits their times and answers.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::object::{Method, Object};
use super::operation::{ObjectHistory, Operation};

/// Bounds of a search.
#[derive(Debug, Clone, Copy)]
pub struct SearchLimits {
    /// Steps: calls that are tried at a place in the order.
    pub steps: u64,
    /// Bytes of what is remembered, about.
    pub bytes: usize,
}

impl Default for SearchLimits {
    /// Some seconds, and a quarter of a GiB.
    fn default() -> Self {
        SearchLimits {
            steps: 20_000_000,
            bytes: 256 << 20,
        }
    }
}

/// How a search has ended.
#[derive(Debug)]
pub(super) enum SearchEnd {
    /// There is an order.
    Order,
    /// There is none.
    NoOrder(LongestOrder),
    /// A bound was reached.
    LimitReached(LongestOrder),
}

/// The longest order that was found: with the most answered calls.
#[derive(Debug, Clone, Default)]
pub(super) struct LongestOrder {
    /// The calls, by their number in the history, in their order.
    pub(super) order: Vec<usize>,
    /// The answered calls that could be the next in time, of which none fits.
    pub(super) next: Vec<usize>,
    answered: usize,
}

/// Which calls are in the order, and the object after them.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Place {
    /// This many of the answered calls, the first ones by invocation, are in the order.
    base: u32,
    /// Further answered calls in the order, sorted.
    beyond: Vec<u32>,
    /// The calls without an answer that are in the order, sorted.
    open: Vec<u32>,
    object: Object,
}

impl Place {
    fn bytes(&self) -> usize {
        const POINTERS: usize = 4 * size_of::<usize>();
        let numbers = 4 * (self.beyond.len() + self.open.len());
        size_of::<Place>() + POINTERS + numbers + self.object.bytes()
    }

    fn answered(&self) -> usize {
        self.base as usize + self.beyond.len()
    }
}

/// A call that could be the next in the order.
#[derive(Debug, Clone, Copy)]
enum Candidate {
    Answered(u32),
    Open(u32),
}

/// A place in the search, and what is to be tried there.
struct SearchStep {
    place: Rc<Place>,
    candidates: Vec<Candidate>,
    /// Number of candidates that were tried; the last of them led to the next step.
    tried: usize,
}

/// A search in one history.
pub(super) struct Search<'a> {
    history: &'a ObjectHistory,
    /// Numbers of the answered calls, by invocation.
    answered: Vec<usize>,
    /// Numbers of the calls without an answer that may have changed something, by invocation.
    open: Vec<usize>,
    /// Of each of these: the one before it with the same method. Of two equal calls without an
    /// answer the earlier one comes first: whatever fits with the later one, fits with the
    /// earlier.
    twin: Vec<Option<u32>>,
}

impl<'a> Search<'a> {
    pub(super) fn new(history: &'a ObjectHistory) -> Self {
        let all = &history.operations;
        let mut numbers: Vec<usize> = (0..all.len()).collect();
        numbers.sort_by_key(|n| all[*n].invoked);
        let (answered, open): (Vec<usize>, Vec<usize>) = numbers
            .into_iter()
            .partition(|n| all[*n].returned.is_some());
        let changes = |n: &usize| !all[*n].method.is_read();
        let open: Vec<usize> = open.into_iter().filter(changes).collect();
        let mut last: HashMap<&Method, u32> = HashMap::new();
        let twin = open.iter().zip(0..);
        let twin = twin.map(|(n, i)| last.insert(&all[*n].method, i)).collect();
        Search {
            history,
            answered,
            open,
            twin,
        }
    }

    /// Searches.
    pub(super) fn run(&self, limits: SearchLimits) -> SearchEnd {
        let first = Rc::new(Place {
            base: 0,
            beyond: Vec::new(),
            open: Vec::new(),
            object: Object::new(self.history.kind),
        });
        let mut seen: HashSet<Rc<Place>> = HashSet::from([first.clone()]);
        let mut bytes = first.bytes();
        let mut steps_left = limits.steps;
        let mut longest = LongestOrder::default();
        let mut path = vec![self.step(first)];
        while let Some(step) = path.last_mut() {
            if step.place.base as usize == self.answered.len() {
                return SearchEnd::Order;
            }
            let Some(candidate) = step.candidates.get(step.tried).copied() else {
                if step.place.answered() > longest.answered || longest.next.is_empty() {
                    longest = self.longest(&path);
                }
                path.pop();
                continue;
            };
            step.tried += 1;
            if steps_left == 0 || bytes > limits.bytes {
                let here = self.longest(&path);
                let longer = here.answered > longest.answered;
                return SearchEnd::LimitReached(if longer { here } else { longest });
            }
            steps_left -= 1;
            let Some(place) = self.after(&step.place, candidate) else {
                continue;
            };
            let place = Rc::new(place);
            if seen.insert(place.clone()) {
                bytes += place.bytes();
                path.push(self.step(place));
            }
        }
        SearchEnd::NoOrder(longest)
    }

    fn operation(&self, candidate: Candidate) -> &Operation {
        &self.history.operations[self.number(candidate)]
    }

    fn number(&self, candidate: Candidate) -> usize {
        match candidate {
            Candidate::Answered(i) => self.answered[i as usize],
            Candidate::Open(i) => self.open[i as usize],
        }
    }

    fn step(&self, place: Rc<Place>) -> SearchStep {
        SearchStep {
            candidates: self.candidates(&place),
            place,
            tried: 0,
        }
    }

    /// The calls that could be the next: those that were invoked before any call that is not in the
    /// order was answered. The answered ones come first, by the time of their answer.
    fn candidates(&self, place: &Place) -> Vec<Candidate> {
        let mut first_answer = u64::MAX;
        let mut candidates = Vec::new();
        for (n, i) in self.answered[place.base as usize..]
            .iter()
            .zip(place.base..)
        {
            if place.beyond.binary_search(&i).is_ok() {
                continue;
            }
            let operation = &self.history.operations[*n];
            if operation.invoked > first_answer {
                break;
            }
            let answer = operation.returned.as_ref().map_or(u64::MAX, |(at, _)| *at);
            first_answer = first_answer.min(answer);
            candidates.push((answer, Candidate::Answered(i)));
        }
        candidates.sort_by_key(|(answer, _)| *answer);
        let mut candidates: Vec<Candidate> = candidates.into_iter().map(|(_, c)| c).collect();
        let is_in = |i: &u32| place.open.binary_search(i).is_ok();
        for (n, i) in self.open.iter().zip(0_u32..) {
            if self.history.operations[*n].invoked > first_answer {
                break;
            }
            if !is_in(&i) && self.twin[i as usize].is_none_or(|twin| is_in(&twin)) {
                candidates.push(Candidate::Open(i));
            }
        }
        candidates
    }

    /// The place after that call; none if the object would answer otherwise, or if a call without
    /// an answer would change nothing.
    fn after(&self, place: &Place, candidate: Candidate) -> Option<Place> {
        let operation = self.operation(candidate);
        let mut object = place.object.clone();
        let answer = object.take(&operation.method);
        let mut next = Place {
            base: place.base,
            beyond: place.beyond.clone(),
            open: place.open.clone(),
            object,
        };
        match candidate {
            Candidate::Answered(i) => {
                let (_, given) = operation.returned.as_ref()?;
                if *given != answer {
                    return None;
                }
                insert(&mut next.beyond, i);
                let leading = next.beyond.iter().zip(next.base..);
                let leading = leading.take_while(|(i, base)| *i == base).count();
                next.beyond.drain(..leading);
                next.base += u32::try_from(leading).ok()?;
            }
            Candidate::Open(i) => {
                if next.object == place.object {
                    return None;
                }
                insert(&mut next.open, i);
            }
        }
        Some(next)
    }

    /// The order of this path.
    fn longest(&self, path: &[SearchStep]) -> LongestOrder {
        let Some((last, before)) = path.split_last() else {
            return LongestOrder::default();
        };
        let chosen = before.iter().map(|step| step.candidates[step.tried - 1]);
        let next = last
            .candidates
            .iter()
            .filter_map(|candidate| match candidate {
                Candidate::Answered(_) => Some(self.number(*candidate)),
                Candidate::Open(_) => None,
            });
        LongestOrder {
            order: chosen.map(|candidate| self.number(candidate)).collect(),
            next: next.collect(),
            answered: last.place.answered(),
        }
    }
}

fn insert(sorted: &mut Vec<u32>, number: u32) {
    let at = sorted.partition_point(|other| *other < number);
    sorted.insert(at, number);
}
