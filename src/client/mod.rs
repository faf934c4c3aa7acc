//! Connections to one node: opened from a chosen source address, with a time limit on every step.
//!
//! The reconnecting connections of the crate `redis` connect to a fixed address, which is wrong
//! behind Sentinel. And none of its connections can choose its source address; a node needs that,
//! so that a firewall rule that isolates the node isolates its supervisor too. So a connection here
//! is one TCP stream, driven by one task that ends with it. [`crate::sentinel`] decides which node
//! is primary.
//!
//! - `connector`: opens connections
//! - `conn`: one open connection: commands and answers
//! - `raw`: a connection that encodes and parses without allocations, for the writer
//! - `reconnecting`: a connection that is opened again after it was lost
//! - `stream`, `tls`: authentication, and TLS, below every connection
//! - `framing`: limits on the size of replies; `reply`: a parser of replies
//! - `backoff`: pauses after connections without an answer
//! - `role`, `info`: the answers to `ROLE` and `INFO`
//! - `disconnect`: commands that disconnect clients of a server
//! - `mark`, `member_list`: reading and writing the mark and the list of members
//! - `snapshot`: a copy of all data; `subscription`: published messages; `tunnel`: a local socket
//!   for programs without a password
//! - `open_files`: the limit of open files of this process
//! - `error`: errors of connections

mod backoff;
mod conn;
mod connector;
mod disconnect;
mod error;
pub(crate) mod framing;
mod info;
mod mark;
mod member_list;
mod open_files;
mod raw;
mod reconnecting;
pub(crate) mod reply;
mod role;
mod snapshot;
mod stream;
mod subscription;
mod tls;
mod tunnel;

pub use conn::Conn;
pub use connector::Connector;
pub use disconnect::{disconnect_clients, disconnect_clients_of};
pub use error::{ClientError, classify};
pub use info::{Copying, ServerInfo};
pub use mark::{random_ids, set_mark};
pub use member_list::{
    StoredMemberList, as_in_member_list, first_member_list, node_addresses, with_members,
};
pub use open_files::{ensure_open_files, most_connections};
pub use raw::RawConn;
pub use reconnecting::ReconnectingConn;
pub use role::Role;
pub use snapshot::{Snapshot, SnapshotError};
pub use stream::Stream;
pub use subscription::{Channel, Message, Presence, Subscription};
pub use tls::{TlsError, acceptor, verify_certificate};
pub use tunnel::Tunnel;
