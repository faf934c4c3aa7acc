//! Asks a server that was primary where the history ended in which it was.

use std::net::SocketAddrV4;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::client::{Conn, Connector, ServerInfo};

/// Time for the server to be demoted and to continue the history of its successor. In a planned
/// handover that takes a tenth of a second.
const LIMIT: Duration = Duration::from_secs(2);
/// Pause before it is asked again.
const PAUSE: Duration = Duration::from_millis(5);

/// The last offset of `history` at which the server with this `run_id` has executed anything.
/// `None` if it has not stated it in time, or was restarted.
pub(super) async fn last_offset(
    server: SocketAddrV4,
    run_id: &str,
    history: &str,
    connector: &Connector,
) -> Option<u64> {
    let deadline = Instant::now() + LIMIT;
    let mut conn = connector.open(server).await.ok()?;
    while Instant::now() < deadline {
        let info = ask(&mut conn, deadline).await?;
        // Another process has read its offset from a file, which lacks what came later.
        if info.run_id != run_id || run_id.is_empty() || info.syncing {
            return None;
        }
        if !info.is_primary
            && let Some(last) = info.history().end_of(history)
        {
            return Some(last);
        }
        sleep(PAUSE).await;
    }
    None
}

async fn ask(conn: &mut Conn, deadline: Instant) -> Option<ServerInfo> {
    let asked = tokio::time::timeout_at(deadline, conn.info()).await;
    asked.ok()?.ok()
}
