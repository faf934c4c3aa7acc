//! Asks a server that was primary where the history ended in which it was.

use std::net::SocketAddrV4;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::client::{ClientError, Conn, Connector, ServerInfo};

/// Time for the server to be demoted and to continue the history of its successor. In a planned
/// handover that takes a tenth of a second.
const LIMIT: Duration = Duration::from_secs(2);
/// Pause before it is asked again.
const PAUSE: Duration = Duration::from_millis(5);

/// The last offset of `history` at which the server with this `run_id` has executed anything.
/// `None` if it has not stated it in time, was restarted, or cannot be reached.
pub(super) async fn last_offset(
    server: SocketAddrV4,
    run_id: &str,
    history: &str,
    connector: &Connector,
) -> Option<u64> {
    let asked = ask_until_demoted(server, run_id, history, connector);
    timeout(LIMIT, asked).await.ok().flatten()
}

async fn ask_until_demoted(
    server: SocketAddrV4,
    run_id: &str,
    history: &str,
    connector: &Connector,
) -> Option<u64> {
    let mut conn: Option<Conn> = None;
    loop {
        let open = match conn.take() {
            Some(open) => Ok(open),
            None => connector.open(server).await,
        };
        match open {
            // A demotion closes the connection.
            Ok(mut open) => {
                if let Ok(info) = open.info().await {
                    match history_end(&info, run_id, history) {
                        HistoryEnd::At(last) => return Some(last),
                        HistoryEnd::Never => return None,
                        HistoryEnd::NotYet => conn = Some(open),
                    }
                }
            }
            Err(ClientError::Connect { .. }) => return None,
            Err(_) => {}
        }
        sleep(PAUSE).await;
    }
}

/// What a server states about its history as primary.
#[derive(Debug, PartialEq, Eq)]
enum HistoryEnd {
    At(u64),
    /// It is not demoted yet, or does not follow its successor yet.
    NotYet,
    /// It will not state it.
    Never,
}

fn history_end(info: &ServerInfo, run_id: &str, history: &str) -> HistoryEnd {
    // Another process has read its offset from a file, which lacks what came later.
    if run_id.is_empty() || info.run_id != run_id || info.syncing {
        return HistoryEnd::Never;
    }
    match info.history().end_of(history) {
        Some(last) if !info.is_primary => HistoryEnd::At(last),
        _ => HistoryEnd::NotYet,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(text: &str) -> ServerInfo {
        let common =
            "run_id:a\r\nmaster_replid:new\r\nmaster_replid2:old\r\nsecond_repl_offset:101\r\n";
        ServerInfo::parse(&format!("{common}{text}"))
    }

    #[test]
    fn only_the_same_process_states_it_and_only_as_a_replica() {
        let replica = info("role:slave\r\n");
        assert_eq!(history_end(&replica, "a", "old"), HistoryEnd::At(100));
        assert_eq!(history_end(&replica, "b", "old"), HistoryEnd::Never);
        assert_eq!(history_end(&replica, "", "old"), HistoryEnd::Never);
        assert_eq!(history_end(&replica, "a", "other"), HistoryEnd::NotYet);
        let primary = info("role:master\r\n");
        assert_eq!(history_end(&primary, "a", "old"), HistoryEnd::NotYet);
        let copying = info("role:slave\r\nmaster_sync_in_progress:1\r\n");
        assert_eq!(history_end(&copying, "a", "old"), HistoryEnd::Never);
    }
}
