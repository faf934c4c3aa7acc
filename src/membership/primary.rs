//! The primary and its list of members.

use std::net::SocketAddrV4;

use crate::client::{Connector, StoredMemberList, as_in_member_list};
use crate::config::{Lab, Node};
use crate::protocol::copy::{Completeness, DataCopy};
use crate::sentinel::SentinelClients;

use super::MemberError;

/// The primary, its list of members, and the lab according to that list.
#[derive(Debug, Clone)]
pub(super) struct PrimaryView {
    pub(super) node: Node,
    pub(super) epoch: u64,
    pub(super) stored: StoredMemberList,
    pub(super) lab: Lab,
    /// The lab is closed, and takes no writes.
    pub(super) closed: bool,
}

/// The data node that reports to be primary, has a list of members, and is named by a majority of
/// the Sentinels in that list, which may differ from those in `lab.toml`.
pub(super) async fn find_primary(
    lab: &Lab,
    connector: &Connector,
) -> Result<PrimaryView, MemberError> {
    let mut asked: Vec<SocketAddrV4> = Vec::new();
    let mut unasked: Vec<Node> = lab.data_nodes.clone();
    let mut why =
        "no data node of this lab.toml reports to be primary: see halab status".to_owned();
    while let Some(node) = unasked.pop() {
        if asked.contains(&node.socket()) {
            continue;
        }
        asked.push(node.socket());
        let state = async {
            let mut conn = connector.open(node.socket()).await?;
            let (info, copy) = conn.info_and_copy().await?;
            let mark = copy.as_ref().and_then(DataCopy::mark);
            let closed = mark.is_some_and(|mark| mark.state == Completeness::Closed);
            Ok::<_, crate::client::ClientError>((
                info.is_primary,
                closed,
                conn.member_list().await?,
            ))
        };
        let (is_primary, closed, stored) = match state.await {
            Ok(state) => state,
            Err(error) if error.is_of_members() => {
                why = format!("{error}; see halab status");
                continue;
            }
            Err(_) => continue,
        };
        let Some(stored) = stored else {
            if is_primary {
                why = format!(
                    "there is no list of members yet: the node of {} writes it once its role is decided; if it runs an earlier \
                     version, restart it with this one",
                    node.name
                );
            }
            continue;
        };
        let members = as_in_member_list(lab, &stored.member_list);
        if !is_primary {
            // Members that are not in `lab.toml` are asked too.
            unasked.splice(0..0, members.data_nodes);
            continue;
        }
        match SentinelClients::new(&members, connector.clone())
            .ask()
            .await
            .elect()
        {
            Ok(named) if named.address == node.socket() => {
                let this = members.data_node_at(node.socket()).cloned();
                return Ok(PrimaryView {
                    node: this.unwrap_or(node),
                    epoch: named.epoch,
                    stored,
                    lab: members,
                    closed,
                });
            }
            Ok(named) => {
                why = format!(
                    "{} reports to be primary, but the Sentinels name {}: run this again when halab status is healthy",
                    node.name, named.address
                );
            }
            Err(error) => why = format!("{error}; see halab status"),
        }
    }
    Err(MemberError::NotReady(why))
}
