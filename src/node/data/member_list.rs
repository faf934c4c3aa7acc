//! The membership of this node by the list of members on its own server, and what follows from it
//! ([`crate::protocol::member_list`]).
//!
//! The list is read from this node's server at each step. A raise reads it once more, right before
//! the node becomes promotable, and the assurance is ended before a raise and given again after it.
//! So a client that has seen a list on this server and then the assurance knows that the node acts
//! on that list.

use std::net::SocketAddrV4;

use tracing::{debug, info, warn};

use crate::client::{ClientError, StoredMemberList, first_member_list, node_addresses};
use crate::config::Node;
use crate::protocol::member_list::{MemberKind, MemberList, Standing};

use super::super::machine::ServerState;
use super::DataNode;

/// The membership of this node by the list on its own server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum OwnMembership {
    /// Not read yet, or of a later version.
    #[default]
    Unread,
    /// There is no list: the members are those of `lab.toml`.
    NoMemberList,
    /// It is listed with this standing.
    Member(Standing),
    /// Its name is listed at another address.
    OtherAddress(SocketAddrV4),
    /// It is not listed.
    NotListed,
}

impl OwnMembership {
    fn of(member_list: Option<&MemberList>, node: &Node) -> Self {
        let Some(member_list) = member_list else {
            return OwnMembership::NoMemberList;
        };
        match member_list.member(MemberKind::Data, &node.name) {
            None => OwnMembership::NotListed,
            Some(member) if member.address != node.socket() => {
                OwnMembership::OtherAddress(member.address)
            }
            Some(member) => OwnMembership::Member(member.standing),
        }
    }

    /// Why it is not a full member; `None` if it is.
    fn why_not_full(self, name: &str) -> Option<String> {
        match self {
            OwnMembership::Unread
            | OwnMembership::NoMemberList
            | OwnMembership::Member(Standing::Full) => None,
            OwnMembership::Member(Standing::Counted) => {
                Some("halab member has it on its way in or out of the lab".into())
            }
            OwnMembership::OtherAddress(at) => Some(format!(
                "the list of members has {name} at {at}; a node at another address is another node, and needs a name of its own"
            )),
            OwnMembership::NotListed => {
                Some("it is not in the list of members, and only copies".into())
            }
        }
    }

    pub(super) fn may_be_promotable(self) -> bool {
        matches!(
            self,
            OwnMembership::NoMemberList | OwnMembership::Member(Standing::Full)
        )
    }

    /// Whether it may stand for primary when its copy holds more than that of the named node.
    pub(super) fn may_stand(self) -> bool {
        !matches!(self, OwnMembership::NotListed)
    }
}

/// Whether the node at `own` counts confirmations of a replica at `at`. A list that does not have
/// `own` is from before a move.
pub(super) fn counts(
    member_list: Option<&StoredMemberList>,
    own: SocketAddrV4,
    at: SocketAddrV4,
) -> bool {
    member_list.is_none_or(|held| {
        let lists = |at| held.member_list.data.iter().any(|m| m.address == at);
        lists(at) || !lists(own)
    })
}

/// The members at another address in `lab.toml` than in the list, if an operator moved them from
/// there: name and new address, and the old address.
fn elsewhere(
    member_list: &MemberList,
    places: &[(String, SocketAddrV4)],
    moved_from: &[(String, SocketAddrV4)],
) -> Vec<((String, SocketAddrV4), SocketAddrV4)> {
    let members = || member_list.data.iter().chain(&member_list.sentinels);
    let moved = places.iter().filter_map(|(name, at)| {
        let member = members().find(|m| m.name == *name && m.address != *at)?;
        let was = (name.clone(), member.address);
        let known = moved_from.contains(&was);
        known.then(|| ((name.clone(), *at), member.address))
    });
    moved.collect()
}

impl DataNode {
    async fn read_member_list(&mut self) -> Result<OwnMembership, ClientError> {
        self.member_list = self.own_conn().await?.member_list().await?;
        let member_list = self.member_list.as_ref().map(|held| &held.member_list);
        Ok(OwnMembership::of(member_list, &self.node))
    }

    /// Whether the list on this node's server has this node as a full member now.
    pub(super) async fn still_listed(&mut self) -> Result<bool, ClientError> {
        self.read_member_list()
            .await
            .map(OwnMembership::may_be_promotable)
    }

    /// Reads the list of members and applies it: a replica in sync that may not be promotable is
    /// lowered, and a primary maintains the list. Returns the state of the server after that.
    pub(super) async fn apply_member_list(&mut self, server: ServerState) -> ServerState {
        let before = self.membership;
        let server = self.listed_or_lowered(server).await;
        if before != self.membership && self.membership != OwnMembership::Unread {
            let why = self.membership.why_not_full(&self.node.name);
            if let Some(why) = &why {
                let name = &self.node.name;
                warn!(node = %name, why, "not a full member of the lab, so not promotable; run halab member add {name}, or stop it");
            }
            self.report.update(|report| report.not_full = why);
        }
        let unstated = match server {
            ServerState::Primary { .. } => self.unstated(),
            _ => Vec::new(),
        };
        self.report
            .update(|report| report.members_unstated = unstated);
        server
    }

    /// The members that this node's `lab.toml` does not have.
    fn unstated(&self) -> Vec<String> {
        let members = self.member_list.iter().map(|held| &held.member_list);
        let members =
            members.flat_map(|member_list| member_list.data.iter().chain(&member_list.sentinels));
        let unstated = members.filter(|member| self.lab.node(&member.name).is_none());
        unstated.map(|member| member.name.clone()).collect()
    }

    async fn listed_or_lowered(&mut self, server: ServerState) -> ServerState {
        match server {
            ServerState::Primary { .. } | ServerState::Replica { .. } | ServerState::Parked => {
                match self.read_member_list().await {
                    Ok(listed) => self.membership = listed,
                    Err(error) => {
                        debug!(node = %self.node.name, %error, "the list of members could not be read");
                        return server;
                    }
                }
            }
            _ => self.membership = OwnMembership::Unread,
        }
        match server {
            ServerState::Primary { .. } if self.copy.in_term() && self.copy.confirmed() => {
                self.keep_member_list().await;
            }
            // A replica whose link is down follows other rules: it may be the last copy and chosen,
            // or stand for primary.
            ServerState::Replica {
                of,
                link_down_for: None,
                promotable: true,
            } if !self.membership.may_be_promotable()
                && self.membership != OwnMembership::Unread =>
            {
                // The list on its own server says so, and nobody changes the list before all
                // promotable nodes have it.
                let lowered = self.set("replica-priority", "0").await;
                return ServerState::Replica {
                    of,
                    link_down_for: None,
                    promotable: !lowered,
                };
            }
            _ => {}
        }
        server
    }

    /// The members that an operator has moved with `halab move` from their address in the list, and
    /// that no longer answer there. In a lab that was not stopped as a whole, one still may. A
    /// `lab.toml` that only differs from those of the others moves no node.
    async fn moved(&mut self, member_list: &MemberList) -> Vec<(String, SocketAddrV4)> {
        let places = node_addresses(&self.lab);
        let mut moved = Vec::new();
        let mut answer = Vec::new();
        for ((name, at), was) in elsewhere(member_list, &places, &self.moved_from) {
            let another = places.iter().any(|(_, there)| *there == was);
            if another || self.connector.open(was).await.is_err() {
                moved.push((name, at));
            } else {
                answer.push(format!("{name} at {was}"));
            }
        }
        if answer != self.answer_elsewhere && !answer.is_empty() {
            warn!(node = %self.node.name, nodes = answer.join(", "), "not moved in the list of members, because a server answers at the \
                old address; stop that server, or use other passwords if it belongs to another lab");
        }
        self.answer_elsewhere = answer;
        moved
    }

    /// Writes the first list of members if there is none, or if the list does not have this
    /// primary: an operator has continued the lab with a copy of other members. Writes the new
    /// addresses if the whole lab has moved.
    async fn keep_member_list(&mut self) {
        let now = self.member_list.clone();
        let (next, why) = match (&now, self.membership) {
            (None, OwnMembership::NoMemberList) => (
                first_member_list(&self.lab),
                "there was none, so it has the nodes of lab.toml",
            ),
            (Some(held), OwnMembership::NotListed) => {
                let mut next = first_member_list(&self.lab);
                next.version += held.member_list.version;
                (
                    next,
                    "it did not have this node, so it was replaced by the nodes of lab.toml",
                )
            }
            (Some(held), _) => {
                let next = held.member_list.moved(&self.moved(&held.member_list).await);
                if next.data == held.member_list.data
                    && next.sentinels == held.member_list.sentinels
                {
                    return;
                }
                (next, "members have moved to new addresses")
            }
            _ => return,
        };
        let sent = match self.own_conn().await {
            Ok(conn) => conn.change_member_list(now.as_ref(), &next).await,
            Err(error) => Err(error),
        };
        match sent {
            Ok(()) => info!(node = %self.node.name, version = next.version, why,
                "list of members written"),
            // The lab is closed or the disk is full: tried again at the next step.
            Err(error) => {
                debug!(node = %self.node.name, %error, "the list of members could not be written");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NodeKind;

    fn at(host: u8) -> SocketAddrV4 {
        SocketAddrV4::new([127, 0, 0, host].into(), 6379)
    }

    #[test]
    fn only_a_full_member_at_its_address_is_promotable() {
        let member_list = MemberList::first([("a".into(), at(11))], [("s".into(), at(21))]);
        let member_list = member_list.with(MemberKind::Data, "b", at(12), Standing::Counted);
        let of = |name: &str, host| {
            let node = Node {
                name: name.into(),
                kind: NodeKind::Data,
                address: *at(host).ip(),
                port: at(host).port(),
            };
            OwnMembership::of(Some(&member_list), &node)
        };
        assert!(of("a", 11).may_be_promotable() && of("a", 11).may_stand());
        assert_eq!(of("a", 13), OwnMembership::OtherAddress(at(11)));
        assert!(!of("a", 13).may_be_promotable());
        assert!(!of("b", 12).may_be_promotable() && of("b", 12).may_stand());
        assert!(!of("c", 13).may_be_promotable() && !of("c", 13).may_stand());
        assert!(OwnMembership::NoMemberList.may_be_promotable());
        assert!(!OwnMembership::Unread.may_be_promotable());
    }

    #[test]
    fn only_who_was_moved_by_an_operator_is_elsewhere() {
        let member_list = MemberList::first(
            [("a".into(), at(11)), ("b".into(), at(12))],
            [("s".into(), at(21))],
        );
        let place = |name: &str, host| (name.to_owned(), at(host));
        let places = [place("a", 11), place("b", 15), place("s", 25)];
        let moved = |from: &[(String, SocketAddrV4)]| {
            let moved = elsewhere(&member_list, &places, from).into_iter();
            moved.map(|((name, _), _)| name).collect::<Vec<_>>()
        };
        // A lab.toml that differs moves nobody, nor does a move from elsewhere.
        assert_eq!(moved(&[]), Vec::<String>::new());
        assert_eq!(
            moved(&[place("b", 13), place("a", 12)]),
            Vec::<String>::new()
        );
        assert_eq!(moved(&[place("b", 12)]), ["b"]);
        assert_eq!(moved(&[place("b", 12), place("s", 21)]), ["b", "s"]);
    }

    #[test]
    fn a_replica_that_is_not_a_member_is_no_second_copy() {
        let member_list = MemberList::first([("a".into(), at(11))], [("s".into(), at(21))]);
        let held = StoredMemberList {
            text: member_list.to_text(),
            member_list,
        };
        assert!(counts(Some(&held), at(11), at(11)) && !counts(Some(&held), at(11), at(13)));
        assert!(counts(None, at(11), at(13)) && counts(Some(&held), at(12), at(13)));
    }
}
