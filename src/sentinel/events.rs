//! The events that Sentinels publish. Hints only: stale ones exist, and any of them can be missed.
//!
//! Event names: <https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/#pubsub-messages>.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::client::Connector;
use crate::config::{Lab, Node};

/// Pause before a lost subscription is made again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// One event of one Sentinel.
#[derive(Debug, Clone)]
pub struct Event {
    /// The Sentinel that published it.
    pub sentinel: String,
    /// When it arrived here.
    pub at: Instant,
    /// Its name, as `+switch-master`; `+subscribed` when the subscription stands.
    pub name: String,
    /// Its text, as Sentinel gives it.
    pub text: String,
}

/// Events that wait for their reader; what is published beyond that waits in the Sentinel.
pub const WAITING: usize = 1024;

/// Subscribes to all events of every Sentinel of `lab` and forwards them to `to`, a channel of
/// [`WAITING`]; a lost subscription is made again. The tasks belong to `tasks` and end with it, or
/// when nobody listens.
pub fn follow_events(
    lab: &Lab,
    connector: &Connector,
    to: &mpsc::Sender<Event>,
    tasks: &mut JoinSet<()>,
) {
    for node in &lab.sentinels {
        tasks.spawn(follow_one(node.clone(), connector.clone(), to.clone()));
    }
}

async fn follow_one(node: Node, connector: Connector, to: mpsc::Sender<Event>) {
    while !to.is_closed() {
        if let Ok(mut events) = connector.subscribe(node.socket(), "*").await {
            let event = |name: String, text: String| Event {
                sentinel: node.name.clone(),
                at: Instant::now(),
                name,
                text,
            };
            // Told too, so that a listener knows from when on it can't have missed one.
            let subscribed = event("+subscribed".into(), String::new());
            if to.send(subscribed).await.is_err() {
                return;
            }
            while let Ok(message) = events.next().await {
                let event = event(message.channel, message.payload);
                if to.send(event).await.is_err() {
                    return;
                }
            }
        }
        sleep(RECONNECT_PAUSE).await;
    }
}
