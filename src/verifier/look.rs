//! Whether two looks at a node show the same server in the same role. Pure.
//!
//! A record that is absent is lost only if the node that was read was the primary during the entire reading, or a
//! replica in sync with it. A server can't be asked about its past. So it is looked at before and after, and what is
//! compared can't be the same twice if there was a change in between:
//!
//! - `run_id`: drawn anew at each start of the server.
//! - `master_replid`, the replication history: drawn anew by a server that becomes primary (`shiftReplicationId` in
//!   Redis' `replication.c`); a replica takes over the one of its primary. A server that says *primary* twice, in the
//!   same history, was no replica in between.
//! - the `config-epoch` at which a majority of the Sentinels names the primary: it rises at each failover.
//!
//! That a replica is in sync is not its own word alone: it has to reach an offset that was read from the primary in
//! the same history. One from before the reading shows that everything acknowledged had arrived, and one from after
//! it that the link still stands.

use std::net::SocketAddrV4;

use crate::config::Node;
use crate::protocol::vote::{Elected, NoPrimary};

/// What a data node said of itself at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Its server's `run_id`.
    pub run_id: String,
    /// Its replication history (`master_replid`).
    pub history: String,
    /// Its offset in that history, in bytes.
    pub offset: u64,
    /// Its role.
    pub says: Says,
}

/// The role of a data node in its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// It is the primary.
    Primary,
    /// It is a replica.
    Replica {
        /// Of this node.
        of: SocketAddrV4,
        /// Its link is up and its first sync is done.
        linked: bool,
        /// It may be promoted.
        promotable: bool,
    },
}

/// Why a reading does not count, or can't begin yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Change {
    /// No majority of the Sentinels names a primary.
    #[error(transparent)]
    NoPrimary(#[from] NoPrimary),
    /// They name another primary, or the same one after a further failover.
    #[error(
        "the Sentinels name {now} at epoch {epoch}, and named {before} at epoch {epoch_before}"
    )]
    OtherVote {
        /// The primary that was read.
        before: String,
        /// The epoch that made it primary.
        epoch_before: u64,
        /// Who is named now.
        now: String,
        /// The epoch that made that one primary.
        epoch: u64,
    },
    /// A node can't be reached, or broke off.
    #[error("{node}: {why}")]
    Unanswered {
        /// The node.
        node: String,
        /// What went wrong.
        why: String,
    },
    /// A node said something that can't be made sense of.
    #[error("{node} does not say its {what}")]
    Unsaid {
        /// The node.
        node: String,
        /// What is missing.
        what: &'static str,
    },
    /// A node still reads its data from disk.
    #[error("{node} loads its data")]
    Loading {
        /// The node.
        node: String,
    },
    /// The role changed within one look.
    #[error("{node} changes its role")]
    ChangesRole {
        /// The node.
        node: String,
    },
    /// It is named primary and is a replica: it was deposed, and the Sentinels do not say so yet.
    #[error("{node} is named primary and says that it is a replica")]
    NotPrimary {
        /// The node.
        node: String,
    },
    /// Its server was restarted.
    #[error("{node} was restarted")]
    Restarted {
        /// The node.
        node: String,
    },
    /// Its replication history is another one than before: its role changed.
    #[error("{node} has begun another replication history")]
    OtherHistory {
        /// The node.
        node: String,
    },
    /// A replica is not in the primary's history.
    #[error("{node} is in another replication history than {primary}")]
    Apart {
        /// The node.
        node: String,
        /// The primary.
        primary: String,
    },
    /// It is not a replica of the primary, or not yet.
    #[error("{node} is no replica of {primary}")]
    NotItsReplica {
        /// The node.
        node: String,
        /// The primary.
        primary: String,
    },
    /// It has no link to the primary.
    #[error("{node} is not in sync: its link to {primary} is down")]
    LinkDown {
        /// The node.
        node: String,
        /// The primary.
        primary: String,
    },
    /// It has not caught up.
    #[error("{node} did not catch up: at offset {offset} of {goal}")]
    Behind {
        /// The node.
        node: String,
        /// Its offset.
        offset: u64,
        /// The offset that was read from the primary.
        goal: u64,
    },
}

impl Look {
    /// It is a replica that may be promoted.
    pub fn promotable(&self) -> bool {
        matches!(
            self.says,
            Says::Replica {
                promotable: true,
                ..
            }
        )
    }
}

/// That the node which the Sentinels name says so too.
///
/// # Errors
/// When it does not.
pub fn is_primary(node: &Node, look: &Look) -> Result<(), Change> {
    match look.says {
        Says::Primary => Ok(()),
        Says::Replica { .. } => Err(Change::NotPrimary {
            node: node.name.clone(),
        }),
    }
}

/// That the node was primary from one look to the other, without a break.
///
/// # Errors
/// What is different.
pub fn stayed_primary(node: &Node, before: &Look, after: &Look) -> Result<(), Change> {
    same_server(node, before, after)?;
    is_primary(node, before)?;
    is_primary(node, after)?;
    same_history(node, before, after)
}

/// That the node is a replica in the history of `primary`, and has all of it that `mark`, a look at the primary,
/// shows.
///
/// # Errors
/// What is missing.
pub fn in_sync(node: &Node, look: &Look, primary: &Node, mark: &Look) -> Result<(), Change> {
    let (node, of_node) = (node.name.clone(), primary.name.clone());
    let linked = match look.says {
        Says::Replica { of, linked, .. } if of == primary.socket() => linked,
        Says::Primary | Says::Replica { .. } => {
            return Err(Change::NotItsReplica {
                node,
                primary: of_node,
            });
        }
    };
    if !linked {
        return Err(Change::LinkDown {
            node,
            primary: of_node,
        });
    }
    if look.history != mark.history {
        return Err(Change::Apart {
            node,
            primary: of_node,
        });
    }
    if look.offset < mark.offset {
        return Err(Change::Behind {
            node,
            offset: look.offset,
            goal: mark.offset,
        });
    }
    Ok(())
}

/// That the node was the same server in the same history at both looks.
///
/// # Errors
/// What is different.
pub fn same(node: &Node, before: &Look, after: &Look) -> Result<(), Change> {
    same_server(node, before, after)?;
    same_history(node, before, after)
}

/// That the Sentinels name the same primary, by the same configuration. `name` gives a node's name.
///
/// # Errors
/// Whom they name now.
pub fn same_vote(
    before: Elected,
    after: Elected,
    name: impl Fn(SocketAddrV4) -> String,
) -> Result<(), Change> {
    if before == after {
        return Ok(());
    }
    Err(Change::OtherVote {
        before: name(before.address),
        epoch_before: before.epoch,
        now: name(after.address),
        epoch: after.epoch,
    })
}

fn same_server(node: &Node, before: &Look, after: &Look) -> Result<(), Change> {
    if before.run_id == after.run_id {
        return Ok(());
    }
    Err(Change::Restarted {
        node: node.name.clone(),
    })
}

fn same_history(node: &Node, before: &Look, after: &Look) -> Result<(), Change> {
    if before.history == after.history {
        return Ok(());
    }
    Err(Change::OtherHistory {
        node: node.name.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NodeKind;

    const HISTORY: &str = "8a5c";

    fn node(name: &str, last: u8) -> Node {
        Node {
            name: name.into(),
            kind: NodeKind::Data,
            address: [127, 0, 0, last].into(),
            port: 6379,
        }
    }

    fn a() -> Node {
        node("redis-a", 11)
    }

    fn b() -> Node {
        node("redis-b", 12)
    }

    fn primary(offset: u64) -> Look {
        Look {
            run_id: "aa".into(),
            history: HISTORY.into(),
            offset,
            says: Says::Primary,
        }
    }

    fn replica(offset: u64) -> Look {
        Look {
            run_id: "bb".into(),
            history: HISTORY.into(),
            offset,
            says: Says::Replica {
                of: a().socket(),
                linked: true,
                promotable: true,
            },
        }
    }

    fn said(result: Result<(), Change>) -> String {
        result.map_or_else(|change| change.to_string(), |()| "yes".into())
    }

    #[test]
    fn a_primary_that_goes_on_writing_is_the_same_one() {
        assert_eq!(stayed_primary(&a(), &primary(7), &primary(9000)), Ok(()));
    }

    #[test]
    fn a_primary_that_was_restarted_deposed_or_promoted_again_is_not() {
        let judged = |after: Look| said(stayed_primary(&a(), &primary(7), &after));
        let restarted = Look {
            run_id: "cc".into(),
            ..primary(7)
        };
        assert_eq!(judged(restarted), "redis-a was restarted");
        let deposed = Look {
            says: Says::Replica {
                of: b().socket(),
                linked: true,
                promotable: true,
            },
            ..primary(7)
        };
        let words = "redis-a is named primary and says that it is a replica";
        assert_eq!(judged(deposed.clone()), words);
        assert_eq!(said(stayed_primary(&a(), &deposed, &primary(7))), words);
        let again = Look {
            history: "77".into(),
            ..primary(7)
        };
        assert_eq!(
            judged(again),
            "redis-a has begun another replication history"
        );
    }

    #[test]
    fn a_replica_is_in_sync_when_it_has_reached_what_was_read_from_the_primary() {
        let judged = |offset| said(in_sync(&b(), &replica(offset), &a(), &primary(42)));
        assert_eq!(judged(42), "yes");
        assert_eq!(judged(43), "yes");
        assert_eq!(judged(41), "redis-b did not catch up: at offset 41 of 42");
    }

    #[test]
    fn an_offset_in_another_history_or_behind_another_primary_is_none() {
        let judged = |look: &Look| said(in_sync(&b(), look, &a(), &primary(42)));
        let apart = Look {
            history: "77".into(),
            ..replica(42)
        };
        assert_eq!(
            judged(&apart),
            "redis-b is in another replication history than redis-a"
        );
        let with = |of, linked| Look {
            says: Says::Replica {
                of,
                linked,
                promotable: true,
            },
            ..replica(42)
        };
        let parked = "127.0.0.1:9".parse().unwrap();
        assert_eq!(
            judged(&with(parked, true)),
            "redis-b is no replica of redis-a"
        );
        assert_eq!(judged(&primary(42)), "redis-b is no replica of redis-a");
        assert_eq!(
            judged(&with(a().socket(), false)),
            "redis-b is not in sync: its link to redis-a is down"
        );
    }

    #[test]
    fn a_replica_that_was_restarted_or_has_changed_its_history_is_another() {
        let judged = |after: &Look| said(same(&b(), &replica(42), after));
        assert_eq!(judged(&replica(50)), "yes");
        let restarted = Look {
            run_id: "cc".into(),
            ..replica(50)
        };
        assert_eq!(judged(&restarted), "redis-b was restarted");
        let apart = Look {
            history: "77".into(),
            ..replica(50)
        };
        assert_eq!(
            judged(&apart),
            "redis-b has begun another replication history"
        );
    }

    #[test]
    fn the_same_node_at_a_later_epoch_is_another_vote() {
        let vote = |node: Node, epoch| Elected {
            address: node.socket(),
            epoch,
        };
        let name = |at| {
            if at == a().socket() {
                "redis-a"
            } else {
                "redis-b"
            }
            .to_owned()
        };
        let judged = |after| said(same_vote(vote(a(), 2), after, name));
        assert_eq!(judged(vote(a(), 2)), "yes");
        assert_eq!(
            judged(vote(b(), 3)),
            "the Sentinels name redis-b at epoch 3, and named redis-a at epoch 2"
        );
        assert_eq!(
            judged(vote(a(), 4)),
            "the Sentinels name redis-a at epoch 4, and named redis-a at epoch 2"
        );
    }
}
