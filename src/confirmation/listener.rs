//! The subscriptions to a session's channel on the other data nodes: what arrives there is noted in
//! [`super::messages`].

use std::convert::Infallible;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::client::{Channel, Connector, ServerInfo};
use crate::protocol::WriteError;

use super::round::text_of;
use super::session::Session;

/// Time without a message that was published, after which a subscription is renewed.
const SILENCE: Duration = Duration::from_secs(2);
/// Pause before the next subscription to a node.
const PAUSE: Duration = Duration::from_millis(200);
/// The same if the node has refused it: it will do so again.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);

/// Why there is no subscription.
#[derive(Debug, thiserror::Error)]
enum NotSubscribed {
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("{0}")]
    Refused(WriteError),
    #[error("the address leads to the primary itself")]
    IsPrimary,
    #[error("the address leads to the server of another data node")]
    SameServer,
    #[error("no message for {} s, though some were published", SILENCE.as_secs())]
    Silent,
}

impl NotSubscribed {
    fn pause(&self) -> Duration {
        match self {
            NotSubscribed::Refused(WriteError::NotPermitted) => REFUSED_PAUSE,
            _ => PAUSE,
        }
    }
}

impl From<WriteError> for NotSubscribed {
    fn from(error: WriteError) -> Self {
        NotSubscribed::Refused(error)
    }
}

/// Subscribes to the session's channel on every other data node, and notes what arrives, until the
/// returned tasks are dropped. There are none if the session has no channel of its own.
pub(super) fn listen(session: &Arc<Session>, connector: &Connector) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    if let Some(channel) = session.own_channel() {
        for node in 0..session.others().len() {
            let (session, channel) = (session.clone(), channel.to_owned());
            tasks.spawn(listen_to(session, channel, node, connector.clone()));
        }
    }
    tasks
}

async fn listen_to(session: Arc<Session>, channel: String, node: usize, connector: Connector) {
    let Some(&address) = session.others().get(node) else {
        return;
    };
    loop {
        let Err(why) = listen_once(&session, &channel, (node, address), &connector).await;
        debug!(%address, %why, "no messages of rounds");
        session.messages().unsubscribed(node);
        sleep(why.pause()).await;
    }
}

/// Subscribes, and notes what arrives.
async fn listen_once(
    session: &Session,
    channel: &str,
    (node, address): (usize, SocketAddrV4),
    connector: &Connector,
) -> Result<Infallible, NotSubscribed> {
    let (mut subscription, run_id) = subscribe(session, channel, address, connector).await?;
    let messages = session.messages();
    if !messages.subscribed(node, &run_id) {
        return Err(NotSubscribed::SameServer);
    }
    // Messages from before the subscription do not arrive.
    let known = messages.published();
    let mut published = known;
    loop {
        match timeout(SILENCE, subscription.next()).await {
            Ok(message) => {
                if let Some(round) = messages.note(node, &message?) {
                    session.confirmed_by_message(round);
                }
            }
            // The other end may be gone without a word.
            Err(_) if published > known && messages.last_from(node) < published => {
                return Err(NotSubscribed::Silent);
            }
            Err(_) => published = messages.published(),
        }
    }
}

async fn subscribe(
    session: &Session,
    channel: &str,
    node: SocketAddrV4,
    connector: &Connector,
) -> Result<(Channel, String), NotSubscribed> {
    let conn = connector.open_raw(node).await;
    let mut conn = conn.map_err(|error| NotSubscribed::Connect(error.to_string()))?;
    conn.push(&[b"INFO", b"server"]);
    let info = ServerInfo::parse(&text_of(conn.exchange(1).await?.first())?);
    // The primary passes on every message that it is sent, which shows nothing of a replica.
    if info.run_id.is_empty() || info.run_id == session.run_id() {
        return Err(NotSubscribed::IsPrimary);
    }
    Ok((Channel::start(conn, channel).await?, info.run_id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::User;
    use crate::config::Lab;

    /// Any program, and any application, may publish in the old channel.
    #[tokio::test]
    async fn nothing_is_heard_in_a_channel_that_others_share() {
        let lab = Lab::parse(include_str!("../../lab.toml"), None).unwrap();
        let connector = Connector::new(&lab, User::Writer);
        let listened = |channel: Option<&str>| {
            let [primary, other] = [1, 2].map(|n| SocketAddrV4::new([192, 0, 2, n].into(), 6379));
            let channel = channel.map(str::to_owned);
            let info = ServerInfo::parse("");
            let session = Arc::new(Session::new(primary, vec![other], &info, channel));
            listen(&session, &connector).len()
        };
        assert_eq!(listened(Some("halab:round:example")), 1);
        assert_eq!(listened(None), 0);
    }
}
