//! Whether a state is a dead end: without further faults, the lab never becomes whole again.
//!
//! This is a property neither of single states nor of paths. So all states within the bounds and
//! the steps between them are kept, as numbers, and followed backwards from the states in which the
//! lab is whole.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use stateright::Model;

use super::explore::{LabModel, Step, Tally, describe, safe};
use super::faults;
use super::rules::{Bounds, Rules};
use super::state::State;

/// The result of an exploration.
#[derive(Debug)]
pub struct Survey {
    pub states: usize,
    /// The number of states in which the lab is whole.
    pub whole: usize,
    /// The shortest trace to a loss. Nothing is explored beyond it.
    pub loss: Option<String>,
    /// The shortest trace to a dead end.
    pub dead_end: Option<String>,
    /// The number of dead ends.
    pub dead: usize,
    pub tally: Arc<Tally>,
}

struct Seen {
    numbers: HashMap<u64, u32, BuildHasherDefault<AsItIs>>,
    /// The state and the step by which each state was first reached.
    reached: Vec<(u32, u16)>,
    whole: Vec<bool>,
    /// Only an operator can continue from here.
    operator: Vec<bool>,
    /// Steps that are not faults.
    edges: Vec<(u32, u32)>,
}

/// A fast hasher for 64 bits at a time. The states are the model's own, so nobody makes them
/// collide.
#[derive(Default)]
struct Mixer {
    mixed: u64,
    rest: u64,
    bits: u32,
}

impl Mixer {
    fn mix(&mut self, word: u64) {
        let wide = u128::from(self.mixed ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
        self.mixed = (wide as u64) ^ ((wide >> 64) as u64) ^ self.mixed.rotate_left(29);
    }

    fn add(&mut self, value: u64, bits: u32) {
        self.rest |= value << self.bits;
        self.bits += bits;
        if self.bits >= 64 {
            let over = self.bits - 64;
            self.mix(self.rest);
            self.rest = if over == 0 { 0 } else { value >> (bits - over) };
            self.bits = over;
        }
    }
}

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        let mut last = Mixer { ..*self };
        last.mix(self.rest);
        last.mix(u64::from(self.bits));
        last.mixed
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u8(*byte);
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.add(u64::from(value), 8);
    }

    fn write_u16(&mut self, value: u16) {
        self.add(u64::from(value), 16);
    }

    fn write_isize(&mut self, value: isize) {
        // The variant of an enum, or the length of an array: small.
        self.add(value as u64 & 0xff, 8);
    }

    fn write_usize(&mut self, value: usize) {
        self.add(value as u64 & 0xff, 8);
    }
}

/// For fingerprints, which are hashed already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

fn fingerprint(state: &State) -> u64 {
    let mut hasher = Mixer::default();
    state.hash(&mut hasher);
    hasher.finish()
}

/// Explores all states within the bounds, breadth first, or until a loss is found.
pub fn survey(rules: Rules, bounds: Bounds) -> Survey {
    let model = LabModel::new(rules, bounds);
    let mut seen = Seen {
        numbers: HashMap::default(),
        reached: Vec::new(),
        whole: Vec::new(),
        operator: Vec::new(),
        edges: Vec::new(),
    };
    let mut loss = None;
    let first = model.init_states()[0];
    seen.number(&bounds, &first, (0, 0));
    let mut front = vec![(0, first)];
    while !front.is_empty() && loss.is_none() {
        let mut next_front = Vec::new();
        for (from, state) in front {
            for (at, step) in model.steps.iter().enumerate() {
                let Some(next) = model.next_state(&state, *step) else {
                    continue;
                };
                let (to, new) = seen.number(&bounds, &next, (from, at as u16));
                if !matches!(step, Step::Fault(_)) || faults::is_due(&bounds, &state) {
                    seen.edges.push((from, to));
                }
                if new {
                    if loss.is_none() && !safe(&rules, &next) {
                        loss = Some(to);
                    }
                    next_front.push((to, next));
                }
            }
        }
        front = next_front;
    }
    let dead = if loss.is_none() {
        seen.dead()
    } else {
        Vec::new()
    };
    Survey {
        states: seen.reached.len(),
        whole: seen.whole.iter().filter(|whole| **whole).count(),
        loss: loss.map(|to| seen.trace(&model, to)),
        dead_end: dead.first().map(|to| seen.trace(&model, *to)),
        dead: dead.len(),
        tally: model.tally.clone(),
    }
}

impl Seen {
    /// The number of a state, and whether it is new.
    fn number(&mut self, bounds: &Bounds, state: &State, by: (u32, u16)) -> (u32, bool) {
        let new = self.reached.len() as u32;
        let number = *self.numbers.entry(fingerprint(state)).or_insert(new);
        if number == new {
            self.reached.push(by);
            self.whole.push(faults::at_its_best(bounds.nodes, state));
            self.operator.push(state.operator && state.absent.is_some());
        }
        (number, number == new)
    }

    /// All dead ends, the nearest first.
    fn dead(&self) -> Vec<u32> {
        let states = self.reached.len();
        // The index of the first step into each state, in a list sorted by target.
        let mut begins = vec![0_u32; states + 1];
        for (_, to) in &self.edges {
            begins[*to as usize + 1] += 1;
        }
        for at in 0..states {
            begins[at + 1] += begins[at];
        }
        let mut filled = begins.clone();
        let mut from = vec![0_u32; self.edges.len()];
        for (origin, to) in &self.edges {
            let at = &mut filled[*to as usize];
            from[*at as usize] = *origin;
            *at += 1;
        }
        let mut alive = self.whole.clone();
        let mut todo: Vec<usize> = (0..states).filter(|at| alive[*at]).collect();
        while let Some(at) = todo.pop() {
            for origin in &from[begins[at] as usize..begins[at + 1] as usize] {
                let origin = *origin as usize;
                if !alive[origin] {
                    alive[origin] = true;
                    todo.push(origin);
                }
            }
        }
        let dead = (0..states).filter(|at| !alive[*at] && !self.operator[*at]);
        dead.map(|at| at as u32).collect()
    }

    /// The trace to a state.
    fn trace(&self, model: &LabModel, mut to: u32) -> String {
        let mut steps = Vec::new();
        while to != 0 {
            let (from, step) = self.reached[to as usize];
            steps.push(model.steps[usize::from(step)]);
            to = from;
        }
        let mut state = model.init_states()[0];
        let mut path = Vec::new();
        for step in steps.into_iter().rev() {
            path.push((state, Some(step)));
            state = model
                .next_state(&state, step)
                .expect("a step that was taken");
        }
        path.push((state, None));
        describe(model.bounds.nodes, path)
    }
}
