//! The events that Sentinels publish. Hints only: stale ones exist, and any of them can be missed.
//!
//! Event names: <https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/#pubsub-messages>.

use std::time::Duration;

use futures_util::StreamExt;
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

/// Subscribes to all events of every Sentinel of `lab` and forwards them to `to`; a lost
/// subscription is made again. The tasks belong to `tasks` and end with it, or when nobody listens.
pub fn follow_events(
    lab: &Lab,
    connector: Connector,
    to: &mpsc::UnboundedSender<Event>,
    tasks: &mut JoinSet<()>,
) {
    for node in &lab.sentinels {
        tasks.spawn(follow_one(node.clone(), connector, to.clone()));
    }
}

async fn follow_one(node: Node, connector: Connector, to: mpsc::UnboundedSender<Event>) {
    while !to.is_closed() {
        if let Ok(mut pubsub) = connector.open_pubsub(node.socket()).await
            && pubsub.psubscribe("*").await.is_ok()
        {
            let event = |name: String, text: String| Event {
                sentinel: node.name.clone(),
                at: Instant::now(),
                name,
                text,
            };
            // Told too, so that a listener knows from when on it can't have missed one.
            if to.send(event("+subscribed".into(), String::new())).is_err() {
                return;
            }
            let mut messages = pubsub.into_on_message();
            while let Some(message) = messages.next().await {
                let name = message.get_channel_name().to_owned();
                let text = message.get_payload::<String>().unwrap_or_default();
                if to.send(event(name, text)).is_err() {
                    return;
                }
            }
        }
        sleep(RECONNECT_PAUSE).await;
    }
}
