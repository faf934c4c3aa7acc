//! The subscriptions to a session's channel on the other data nodes: what arrives there is noted in
//! [`super::echo`].

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::client::{Channel, Connector, ServerInfo};
use crate::protocol::WriteError;

use super::round::text_of;
use super::session::Session;

/// Time without a message, though some were expected, after which a subscription is renewed.
const SILENCE: Duration = Duration::from_secs(2);
/// Pause before the next subscription to a node.
const PAUSE: Duration = Duration::from_millis(200);

/// Subscribes to the session's channel on every other data node, and notes what arrives, until the
/// returned tasks are dropped. None if the session has no channel of its own.
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
    let echo = session.echo();
    loop {
        if let Ok(mut messages) = subscribe(&session, &channel, address, &connector).await {
            echo.set_subscribed(node, true);
            loop {
                match timeout(SILENCE, messages.next()).await {
                    Ok(Ok(message)) => {
                        if let Some(round) = echo.note(node, &message) {
                            session.confirmed_by_echo(round);
                        }
                    }
                    // The other end may be gone without a word.
                    Err(_) if !echo.has_missed() => {}
                    Err(_) | Ok(Err(_)) => break,
                }
            }
            echo.set_subscribed(node, false);
        }
        sleep(PAUSE).await;
    }
}

async fn subscribe(
    session: &Session,
    channel: &str,
    node: SocketAddrV4,
    connector: &Connector,
) -> Result<Channel, WriteError> {
    let conn = connector.open_raw(node).await;
    let mut conn = conn.map_err(|_| WriteError::Refused)?;
    conn.push(&[b"INFO", b"server"]);
    let info = ServerInfo::parse(&text_of(conn.exchange(1).await?.first())?);
    // If the address leads to the primary itself, that passes on every message, and shows nothing.
    if info.run_id.is_empty() || info.run_id == session.run_id() {
        return Err(WriteError::NotRedis);
    }
    Channel::start(conn, channel).await
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
