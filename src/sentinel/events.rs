//! The events that Sentinels publish. They are hints only: an event can be stale, and can be
//! missed.
//!
//! For their names see *Pub/Sub messages* in
//! <https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/>.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::client::Connector;
use crate::config::{Lab, Node};

/// Pause before a lost subscription is renewed.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// One event of one Sentinel.
#[derive(Debug, Clone)]
pub struct Event {
    /// The Sentinel that published it.
    pub sentinel: String,
    /// The time of its arrival.
    pub at: Instant,
    /// Its name, such as `+switch-master`; `+subscribed` when the subscription begins.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Capacity of the channel of events; further events wait in the Sentinel.
pub const EVENT_CAPACITY: usize = 1024;

/// Subscribes to all events of every Sentinel of `lab` and forwards them to `to`, a channel with a
/// capacity of [`EVENT_CAPACITY`]. Lost subscriptions are renewed. The tasks end with `tasks`, or
/// when the receiver is dropped.
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
            // From this event on, the receiver has not missed one.
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
