//! The acknowledgement protocol: when a record counts as written, and who is primary. Pure.
//!
//! > A record is acknowledged when every node that could be promoted has it.
//!
//! [`vote`] turns the answers of the Sentinels into one view that a majority shares; [`ack`] says
//! whether a batch is acknowledged and how; [`WriteError`] says of each error whether a write failed
//! for certain or may have happened; [`copy`] says what a copy of the data is worth; [`telling`] says what a Sentinel's
//! event is about; [`format`] which server reads what another writes; [`members`] who is known to the Sentinels without
//! being of the lab; [`roster`] who is a member of it, and [`membership`] how a node becomes one. The reasoning, race by race, is in `docs/protocol.md`.

pub mod ack;
pub mod copy;
mod error;
pub mod format;
pub mod members;
pub mod membership;
pub mod roster;
pub mod telling;
pub mod vote;

pub use error::{Fate, WriteError};
