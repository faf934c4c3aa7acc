//! The acknowledgement protocol: when a record is acknowledged, and which node is primary.
//! Pure.
//!
//! > A record is acknowledged when every node that could be promoted has it.
//!
//! - [`vote`]: the primary that a majority of the Sentinels names
//! - [`ack`]: whether a batch is acknowledged, and in which form
//! - [`round`]: which answers a round confirms by its messages
//! - [`WriteError`]: whether a write failed for certain or may have happened
//! - [`copy`]: the mark of a copy of the data, and the comparison of two copies
//! - [`format`]: which server version reads what another one writes
//! - [`history`]: whether a later primary has a write of an earlier one
//! - [`member_list`]: the list of members; [`member_change`]: the steps that add and remove a
//!   member
//! - [`strangers`]: servers, that the Sentinels know although they are not in the lab
//! - [`sentinel_event`]: the parts of a Sentinel's event
//!
//! `docs/protocol.md` has the reasoning, race by race.

pub mod ack;
pub mod copy;
mod error;
pub mod format;
pub mod history;
pub mod member_change;
pub mod member_list;
pub mod round;
pub mod sentinel_event;
pub mod strangers;
pub mod vote;

pub use error::{Fate, WriteError};
