//! Questions to one data node for its role, with a limit that adapts to its usual answer time.

use std::net::SocketAddrV4;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::client::{Connector, ReconnectingConn, Role};

/// Minimum time for a data node to answer `ROLE`. One that hangs must not delay the others.
const MIN_ROLE_LIMIT: Duration = Duration::from_millis(100);
/// A data node may take this many times its usual time: a new connection is two or three round
/// trips.
const USUAL_TIMES: u32 = 5;

/// Asks one data node for its role, once a round.
pub(super) struct Probe {
    pub(super) address: SocketAddrV4,
    conn: ReconnectingConn,
    /// Limit of an answer on any connection.
    answer_limit: Duration,
    /// Usual time of its answers; decreases slowly after a slow one.
    usual: Option<Duration>,
    /// Begin of the first of the recent rounds without an answer in time.
    silent_since: Option<Instant>,
}

impl Probe {
    pub(super) fn new(address: SocketAddrV4, connector: &Connector) -> Self {
        Probe {
            address,
            conn: ReconnectingConn::new(address, connector.clone()),
            answer_limit: connector.answer_limit(),
            usual: None,
            silent_since: None,
        }
    }

    /// How long a round waits for it: it may be far away, and it may hang.
    fn limit(&self) -> Duration {
        let max = self.answer_limit * 2;
        self.usual.map_or(max, |usual| {
            (usual * USUAL_TIMES).clamp(MIN_ROLE_LIMIT, max)
        })
    }

    pub(super) async fn role(&mut self) -> Result<Role, String> {
        let (limit, begun) = (self.limit(), Instant::now());
        let asked = timeout(limit, self.ask(limit)).await;
        if let Ok(answer) = asked {
            self.silent_since = None;
            return answer.inspect_err(|_| drop(self.conn.take()));
        }
        // The round continues without it. Its connection is kept until the answer limit is over.
        let since = *self.silent_since.get_or_insert(begun);
        if since.elapsed() >= self.answer_limit {
            self.silent_since = None;
            drop(self.conn.take());
        }
        Err(format!("no answer within {limit:?}"))
    }

    async fn ask(&mut self, limit: Duration) -> Result<Role, String> {
        let begun = Instant::now();
        if let Some(conn) = self.conn.opened() {
            match conn.role().await {
                Ok(role) => {
                    self.note_time(begun.elapsed());
                    return Ok(role);
                }
                // The connection may have been lost since the last round: try a new one.
                Err(_) if begun.elapsed() < limit / 2 => drop(self.conn.take()),
                Err(error) => return Err(error.to_string()),
            }
        }
        let conn = self.conn.conn().await.map_err(|e| e.to_string())?;
        let asked = Instant::now();
        let role = conn.role().await.map_err(|e| e.to_string())?;
        self.note_time(asked.elapsed());
        Ok(role)
    }

    fn note_time(&mut self, time: Duration) {
        let before = self.usual.unwrap_or_default();
        self.usual = Some(time.max(before * 3 / 4));
    }
}
