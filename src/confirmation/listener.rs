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
/// returned tasks are dropped.
pub(super) fn listen(session: &Arc<Session>, connector: &Connector) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for node in 0..session.others().len() {
        tasks.spawn(listen_to(session.clone(), node, connector.clone()));
    }
    tasks
}

async fn listen_to(session: Arc<Session>, node: usize, connector: Connector) {
    let Some(&address) = session.others().get(node) else {
        return;
    };
    let echo = session.echo();
    loop {
        if let Ok(mut channel) = subscribe(&session, address, &connector).await {
            echo.set_subscribed(node, true);
            loop {
                match timeout(SILENCE, channel.next()).await {
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
    Channel::start(conn, session.channel()).await
}
