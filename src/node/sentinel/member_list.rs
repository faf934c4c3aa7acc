//! Whether this Sentinel may lead a failover, by the lists of members on the data nodes
//! ([`crate::protocol::member_list`]).
//!
//! A Sentinel that is not a full member runs, votes and names the primary, but with a quorum that
//! can't be reached, so it leads no failover. Its config file keeps that quorum across restarts.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::client::{ClientError, Conn, Connector, StoredMemberList};
use crate::config::{Lab, Node};
use crate::protocol::member_list::{MemberKind, Standing};
use crate::protocol::vote::PASSIVE_QUORUM;

use super::SharedReport;

/// Pause between two checks.
const PERIOD: Duration = Duration::from_secs(1);

/// The answer of a data node about this Sentinel. An answer whose list has the data node or the
/// Sentinel at another address does not count: the lab has moved, and the primary is about to write
/// the new addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MembershipAnswer {
    /// The version of its list of members; 0: it has none.
    version: u64,
    /// It is primary, by its own answer.
    primary: bool,
    /// Its list of members has this Sentinel as a full member, or it has none.
    full: bool,
}

/// Whether this Sentinel is to lead failovers; `None`: no change. `newest` is the last version that
/// counted: a replica may have an older list while the primary is silent, and only a primary can
/// make an older list count.
fn judge(answers: &[MembershipAnswer], newest: &mut u64) -> Option<bool> {
    let primary = answers.iter().find(|s| s.primary);
    *newest = match primary {
        Some(primary) => primary.version,
        None => answers.iter().map(|s| s.version).fold(*newest, u64::max),
    };
    if primary.is_some_and(|primary| !primary.full) {
        return Some(false);
    }
    let all = !answers.is_empty() && answers.iter().all(|s| s.full && s.version >= *newest);
    all.then_some(true)
}

async fn ask(
    slot: &mut Option<Conn>,
    connector: &Connector,
    (node, data): (&Node, &Node),
) -> Option<MembershipAnswer> {
    // A change of the members closes all connections.
    if let Some(conn) = slot.take()
        && let Ok((answer, conn)) = answer_of(conn, (node, data)).await
    {
        *slot = Some(conn);
        return answer;
    }
    let conn = connector.open(data.socket()).await.ok()?;
    let (answer, conn) = answer_of(conn, (node, data)).await.ok()?;
    *slot = Some(conn);
    answer
}

async fn answer_of(
    mut conn: Conn,
    (node, data): (&Node, &Node),
) -> Result<(Option<MembershipAnswer>, Conn), ClientError> {
    let held = conn.member_list().await?;
    let primary = conn.info().await?.is_primary;
    let Some(StoredMemberList { member_list, .. }) = held else {
        let answer = MembershipAnswer {
            version: 0,
            primary,
            full: true,
        };
        return Ok((Some(answer), conn));
    };
    let member = member_list.member(MemberKind::Sentinel, &node.name);
    let moved = member.is_some_and(|member| member.address != node.socket())
        || !member_list.data.iter().any(|m| m.address == data.socket());
    let answer = MembershipAnswer {
        version: member_list.version,
        primary,
        full: member.is_some_and(|member| member.standing == Standing::Full),
    };
    Ok(((!moved).then_some(answer), conn))
}

/// Whether the data nodes that answer list this Sentinel as a full member.
pub(super) async fn may_lead(lab: &Lab, node: &Node, connector: &Connector) -> Option<bool> {
    let answers = join_all(
        lab.data_nodes
            .iter()
            .map(|data| async move { ask(&mut None, connector, (node, data)).await }),
    )
    .await;
    judge(&answers.into_iter().flatten().collect::<Vec<_>>(), &mut 0)
}

/// Lets this node's server lead failovers only while the lists have it as a full member. Never
/// returns.
pub(super) async fn follow(lab: &Lab, node: &Node, connector: &Connector, report: &SharedReport) {
    let mut conns: Vec<Option<Conn>> = lab.data_nodes.iter().map(|_| None).collect();
    let mut own: Option<Conn> = None;
    let mut set: Option<bool> = None;
    let mut newest = 0;
    loop {
        let asked = conns.iter_mut().zip(&lab.data_nodes);
        let answers = join_all(asked.map(|(conn, data)| ask(conn, connector, (node, data)))).await;
        let answers: Vec<MembershipAnswer> = answers.into_iter().flatten().collect();
        let now = judge(&answers, &mut newest);
        if let Some(leads) = now.filter(|_| now != set) {
            match set_quorum(&mut own, connector, (lab, node), leads).await {
                Ok(changed) => {
                    set = now;
                    if changed || !leads {
                        log(node, leads);
                    }
                    let why =
                        "it is not a full member in the list of members, so it leads no failover";
                    report.update(|report| report.not_full = (!leads).then(|| why.to_owned()));
                }
                Err(error) => {
                    debug!(node = %node.name, %error, "the quorum could not be set");
                    own = None;
                }
            }
        }
        sleep(PERIOD).await;
    }
}

fn log(node: &Node, leads: bool) {
    let name = &node.name;
    if leads {
        info!(node = %name, "full member of the lab, may lead failovers");
    } else {
        warn!(node = %name, "not a full member of the lab, leads no failover; run halab member add {name}, or stop it");
    }
}

/// Returns whether the quorum was changed.
async fn set_quorum(
    own: &mut Option<Conn>,
    connector: &Connector,
    (lab, node): (&Lab, &Node),
    leads: bool,
) -> Result<bool, ClientError> {
    let mut conn = match own.take() {
        Some(conn) => conn,
        None => connector.open(node.socket()).await?,
    };
    let wanted = match leads {
        true => lab.quorum as u64,
        false => PASSIVE_QUORUM,
    };
    let mut cmd = redis::cmd("SENTINEL");
    cmd.arg("MASTER").arg(&lab.primary_name);
    let primary: std::collections::HashMap<String, String> = conn.query(&cmd).await?;
    let is = primary.get("quorum").and_then(|quorum| quorum.parse().ok());
    if is != Some(wanted) {
        let mut cmd = redis::cmd("SENTINEL");
        cmd.arg("SET").arg(&lab.primary_name);
        cmd.arg("quorum").arg(wanted);
        conn.query::<redis::Value>(&cmd).await?;
    }
    *own = Some(conn);
    Ok(is != Some(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(version: u64, primary: bool, full: bool) -> MembershipAnswer {
        MembershipAnswer {
            version,
            primary,
            full,
        }
    }

    fn judged(answers: &[MembershipAnswer]) -> Option<bool> {
        judge(answers, &mut 0)
    }

    #[test]
    fn it_leads_when_all_list_it_and_does_not_when_the_primary_does_not() {
        assert_eq!(judged(&[]), None);
        let (full, out) = (answer(2, true, true), answer(2, true, false));
        assert_eq!(judged(&[full, answer(2, false, true)]), Some(true));
        assert_eq!(judged(&[out, answer(1, false, true)]), Some(false));
        // The replica has the list of before.
        assert_eq!(judged(&[full, answer(1, false, false)]), None);
        assert_eq!(judged(&[full, answer(1, false, true)]), None);
        // No primary answers: no change.
        assert_eq!(judged(&[answer(2, false, false)]), None);
        assert_eq!(judged(&[answer(2, false, true)]), Some(true));
    }

    #[test]
    fn an_older_list_says_nothing_until_a_primary_has_it() {
        let mut newest = 0;
        assert_eq!(judge(&[answer(3, true, false)], &mut newest), Some(false));
        assert_eq!(judge(&[answer(2, false, true)], &mut newest), None);
        // Restored, or chosen by an operator.
        assert_eq!(judge(&[answer(1, true, true)], &mut newest), Some(true));
    }
}
