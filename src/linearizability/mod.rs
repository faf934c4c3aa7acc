//! Checks whether the answers to clients are linearizable. Pure.
//!
//! A history of calls to an object is *linearizable* (Herlihy and Wing 1990) if each call can be
//! given one moment between its invocation and its answer so that the object, taking the calls in
//! the order of these moments, gives exactly these answers. A call without an answer may have taken
//! effect at any time after its invocation, or never. So with a linearizable history nothing that
//! was answered is lost, nothing is executed twice, and no answer is older than its request.
//!
//! The check is that of Wing and Gong (1993) with the memory of Lowe (2017), as in Porcupine: a
//! search by depth for an order that fits, which remembers each pair of *calls that are ordered*
//! and *state of the object*. A history over many objects is linearizable if that of each object
//! is; so each is checked alone. The problem is NP-complete. For a history of `n` calls, of which
//! at most `c` overlap and `u` have no answer, the search takes at most `n * 2^(c + u)` steps, and
//! close to `n` where the history is linearizable. It ends at a bound, and the verdict is then
//! *inconclusive*: a history that is found linearizable is, and one that is found violated is not.
//!
//! - [`Object`]: the objects: what a call changes, and what it is answered
//! - [`Operation`], [`ObjectHistory`]: what clients have called, and what they were answered
//! - [`SearchLimits`]: the bounds; `search`: the search for an order
//! - [`ObjectHistory::check`]: the verdict; [`Counterexample`]: what does not fit, for people

mod check;
mod counterexample;
mod object;
mod operation;
mod search;
#[cfg(test)]
mod tests;

pub use check::Linearizability;
pub use counterexample::Counterexample;
pub use object::{Method, Object, ObjectKind, Returned};
pub use operation::{ObjectHistory, Operation};
pub use search::SearchLimits;
