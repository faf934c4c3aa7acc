//! Steps that several faults have in common.
//!
//! - `waiting`: a failover, no failover, writes that continue, a recovery
//! - `topology`: nodes, their addresses and links
//! - `planned`: handover, called failover
//! - `whole_lab`: stop and start all nodes
//! - `append_only_file`: damage to that file
//! - `connections`: commands and idle connections to a server
//! - `messages`: errors that have to name their remedy
//! - `members`: changes of the members of the lab

pub(super) mod append_only_file;
pub(super) mod connections;
mod members;
pub(super) mod messages;
pub(super) mod planned;
mod topology;
pub(super) mod waiting;
mod whole_lab;
