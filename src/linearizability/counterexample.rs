//! The part of a history that is not linearizable, as text.

use std::fmt::{self, Write};

use super::object::{Object, Returned};
use super::operation::{ObjectHistory, Operation, OperationLine};
use super::search::LongestOrder;

/// This many of the last operations of an order are kept.
const LAST: usize = 8;

/// A part of a history that is not linearizable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counterexample {
    /// The answers that came in at the end of that part: without them it is linearizable, as far
    /// as the bounds of the search permit to say.
    pub answers: Vec<Operation>,
    /// Number of operations in the longest order that fits.
    pub length: usize,
    /// The last of them, in that order. One without an answer was executed in that order.
    pub last: Vec<Operation>,
    /// The object after them.
    pub object: Object,
    /// The answered operations of which one has to be the next, and what each would be answered.
    pub misfits: Vec<(Operation, Returned)>,
    /// Further operations without an answer then, which may have been executed.
    pub open: Vec<Operation>,
}

impl Counterexample {
    /// From the part of a history that ends at `time`, and the longest order in it.
    pub(super) fn new(part: &ObjectHistory, time: u64, longest: &LongestOrder) -> Self {
        let operation = |n: &usize| part.operations[*n].clone();
        let mut object = Object::new(part.kind);
        for n in &longest.order {
            object.take(&part.operations[*n].method);
        }
        let misfits = longest.next.iter().map(|n| {
            let would = object.clone().take(&part.operations[*n].method);
            (operation(n), would)
        });
        let misfits = misfits.collect();
        let is_at_end = |o: &&Operation| o.returned.as_ref().is_some_and(|(at, _)| *at == time);
        let is_open = |(n, o): &(usize, &Operation)| {
            o.returned.is_none() && !o.method.is_read() && !longest.order.contains(n)
        };
        let from = longest.order.len().saturating_sub(LAST);
        Counterexample {
            answers: part.operations.iter().filter(is_at_end).cloned().collect(),
            length: longest.order.len(),
            last: longest.order[from..].iter().map(operation).collect(),
            object,
            misfits,
            open: part
                .operations
                .iter()
                .enumerate()
                .filter(is_open)
                .map(|(_, o)| o.clone())
                .collect(),
        }
    }

    /// The text, with times in seconds from `zero`.
    pub fn text(&self, zero: u64) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text, zero);
        text
    }

    fn write(&self, out: &mut impl Write, zero: u64) -> fmt::Result {
        let line = |operation| OperationLine(operation, zero);
        writeln!(out, "Linearizable until this answer, and not with it:")?;
        for operation in &self.answers {
            writeln!(out, "  {}", line(operation))?;
        }
        match self.length {
            0 => writeln!(out, "No operation can be the first.")?,
            length => {
                writeln!(
                    out,
                    "The longest order that fits has {length} operations. The last of them:"
                )?;
                for operation in &self.last {
                    writeln!(out, "  {}", line(operation))?;
                }
            }
        }
        writeln!(
            out,
            "Then the value is {}, and none of these fits:",
            self.object
        )?;
        for (operation, would) in &self.misfits {
            writeln!(out, "  {} (would be {would})", line(operation))?;
        }
        if !self.open.is_empty() {
            writeln!(out, "Not answered by then, and perhaps executed:")?;
            for operation in &self.open {
                writeln!(out, "  {}", line(operation))?;
            }
        }
        Ok(())
    }
}
