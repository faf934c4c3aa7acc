//! A round of the keeper: by message, or, if one does not arrive, by offsets.

use std::net::SocketAddrV4;

use tokio::time::Instant;

use crate::client::RawConn;
use crate::protocol::WriteError;
use crate::protocol::ack::Confirmed;
use crate::protocol::round::Asker;

use super::round::{Questions, parse_primary, read_answers};
use super::session::Session;

/// What a round has shown.
#[derive(Debug)]
pub(super) struct Shown {
    /// Of the primary, when the round began.
    pub(super) offset: u64,
    /// The replicas that the primary lists as online.
    pub(super) listed: Vec<Confirmed>,
    /// What other data nodes have confirmed since.
    pub(super) confirmed: Vec<Confirmed>,
}

impl Shown {
    /// Replicas confirm by the offsets that the primary lists.
    fn by_offset(offset: u64, listed: Vec<Confirmed>) -> Self {
        Shown {
            offset,
            confirmed: listed.clone(),
            listed,
        }
    }
}

/// Asks the primary for its offset, and finds out what its replicas have confirmed since.
pub(super) async fn ask(
    conn: &mut RawConn,
    session: &Session,
    round: u64,
    wait_ms: &str,
) -> Result<Shown, WriteError> {
    let online = session.online();
    if online == 0 {
        conn.push(&[b"ROLE"]);
        let (offset, listed) = parse_primary(conn.exchange(1).await?.first())?;
        return Ok(Shown::by_offset(offset, listed));
    }
    let messages = session.messages();
    let by_message = Questions {
        channel: session.published_channel(),
        message: &messages.text(Asker::Keeper, round),
        wait: None,
    };
    if messages.are_expected() {
        by_message.each(|words| conn.push(words));
        let asked = Instant::now();
        let (offset, listed) = read_answers(&conn.exchange(by_message.answers()).await?)?;
        if messages.has_all(round, asked.elapsed()).await {
            // The message lies behind that offset.
            let confirmed = |node: &SocketAddrV4| Confirmed {
                address: *node,
                offset: offset + 1,
            };
            return Ok(Shown {
                offset,
                listed,
                confirmed: session.others().iter().map(confirmed).collect(),
            });
        }
    }
    let with_wait = Questions {
        wait: Some((online, wait_ms)),
        ..by_message
    };
    with_wait.each(|words| conn.push(words));
    let (offset, listed) = read_answers(&conn.exchange(with_wait.answers()).await?)?;
    Ok(Shown::by_offset(offset, listed))
}
