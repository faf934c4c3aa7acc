//! Which writes to the current primary are confirmed, so that the loss of any one node does not
//! lose them. Every program that writes to the lab uses this module.
//!
//! - `discovery`: finds the primary; `probe`: asks one data node for its role
//! - `background`: runs discovery and keeper, anew when the list of members changes; `members`:
//!   that list
//! - `keeper`: the connection that asks the primary what is confirmed, for all write connections
//! - `round`: the questions of a round; `keeper_round`: one of the keeper; `own_round`: one on a
//!   write connection; `messages`: the messages of rounds; `listener`: the subscriptions to them
//! - `session`: the state that keeper and write connections share while they use one primary;
//!   `waiters`: the tasks that wait for a round; `last_offset`: where the history of a session that
//!   is over has ended
//! - `witness`: questions to the Sentinels
//!
//! A write connection is opened only during a session, after the keeper's. It states the writes
//! that the primary has answered ([`Session::answered`]), and learns from [`Session::coverage`]
//! which of them are confirmed. [`crate::protocol::ack`] has the rules. What the writes are,
//! whether they are sent again, and what is noted about them is not the concern of this module.

mod background;
mod discovery;
mod hints;
mod keeper;
mod keeper_round;
mod last_offset;
mod listener;
mod members;
mod messages;
mod own_round;
mod probe;
mod round;
mod session;
mod waiters;
mod witness;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use crate::access::User;
use crate::client::Connector;
use crate::protocol::ack::Policy;

pub use background::run;
pub use discovery::LastProblem;
pub use keeper::Sessions;
pub use own_round::{OwnRound, OwnVerdict};
pub use round::parse_primary;
pub use session::Session;

/// Shortest time limit of `WAIT`. A healthy replica confirms within it even on a busy machine, so
/// the Sentinels are asked only in case of a problem. As in `lab.toml`.
pub const SHORTEST_WAIT: Duration = Duration::from_millis(50);
/// Pause after a refusal that would be the same on another primary.
pub const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// Time beyond the limit of a `WAIT` after which its connection counts as lost, unless the limit of
/// any other answer is longer.
const WAIT_SLACK: Duration = Duration::from_secs(2);

/// What counts as confirmed, and how it is asked for.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The user as whom the nodes and the Sentinels are asked.
    pub user: User,
    /// Which acknowledgements count.
    pub policy: Policy,
    /// Time limit of `WAIT`; at least [`SHORTEST_WAIT`].
    pub wait_timeout: Duration,
}

impl Settings {
    /// The time limit of `WAIT`, as its argument.
    pub fn wait_ms(&self) -> String {
        self.wait_timeout.max(SHORTEST_WAIT).as_millis().to_string()
    }

    /// The time limit of the answer to `WAIT`.
    pub fn wait_limit(&self, connector: &Connector) -> Duration {
        self.wait_timeout.max(SHORTEST_WAIT) + WAIT_SLACK.max(connector.answer_limit())
    }
}

/// Receives what discovery and keeper find out about the primary.
pub trait Observer: Debug + Send + Sync {
    /// A round of discovery has ended; `primary` is the name of the node that it found.
    fn round_ended(&self, primary: Option<String>);
    /// Another node is the primary.
    fn primary_changed(&self, node: &str);
    /// There is no primary.
    fn no_primary(&self);
    /// The primary refuses what it is asked, and any other primary would refuse it too. It is asked
    /// again.
    fn refused(&self, why: &str);
}

/// An [`Observer`] that several tasks share.
pub type SharedObserver = Arc<dyn Observer>;
