//! Which answers a round confirms, by its messages.
//!
//! A round takes a number and then publishes a message with it at the primary. A message that
//! arrives from another data node shows that this node has executed everything that the primary had
//! executed before the message. Rounds on several connections are executed, and arrive, in any
//! order. So the message of a round confirms, whatever its number is compared with others:
//!
//! - what was answered before the number was taken;
//! - what was sent before it on its own connection, answered or not.

use std::collections::{BTreeMap, BTreeSet};

/// Whose round a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asker {
    /// The keeper: its rounds are executed in the order of their numbers.
    Keeper,
    /// A write connection, behind its own commands.
    WriteConnection,
}

/// The rounds that confirm an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ConfirmedBy {
    /// The first round whose number was taken after the first byte of the answer had come. So does
    /// every later round.
    pub later: Option<u64>,
    /// The round that was asked behind the command on its own connection. So does every later
    /// round of this connection.
    pub own: Option<u64>,
}

/// The rounds that are confirmed, for one connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ConfirmedRounds {
    /// The round with the highest number, of any connection.
    pub any: u64,
    /// The last round of this connection.
    pub own: u64,
}

impl ConfirmedBy {
    /// Whether the answer is confirmed.
    pub fn is_confirmed(self, rounds: ConfirmedRounds) -> bool {
        let is_at_most = |round: Option<u64>, confirmed| round.is_some_and(|n| n <= confirmed);
        is_at_most(self.later, rounds.any) || is_at_most(self.own, rounds.own)
    }
}

/// The messages that have arrived from the other data nodes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Arrivals {
    nodes: Vec<NodeArrivals>,
    /// The rounds on write connections that are waited for, with the nodes whose message of it has
    /// not arrived.
    awaited: BTreeMap<u64, BTreeSet<usize>>,
}

/// The messages that have arrived from one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct NodeArrivals {
    /// The highest number.
    last: u64,
    /// The highest number of the keeper's.
    of_keeper: u64,
}

impl Arrivals {
    /// Nothing has arrived yet from any of that many nodes.
    pub fn new(nodes: usize) -> Self {
        Arrivals {
            nodes: vec![NodeArrivals::default(); nodes],
            awaited: BTreeMap::new(),
        }
    }

    /// Waits for the message of a round on a write connection.
    pub fn wait_for(&mut self, round: u64) {
        self.awaited.insert(round, (0..self.nodes.len()).collect());
    }

    /// That message is not waited for any longer.
    pub fn give_up(&mut self, round: u64) {
        self.awaited.remove(&round);
    }

    /// Whether that message is waited for, and has not arrived from all nodes.
    pub fn is_awaited(&self, round: u64) -> bool {
        self.awaited.contains_key(&round)
    }

    /// Notes a message from a node. Returns whether the round was waited for, and its message has
    /// now arrived from all nodes.
    pub fn note(&mut self, node: usize, asker: Asker, round: u64) -> bool {
        let Some(from) = self.nodes.get_mut(node) else {
            return false;
        };
        from.last = from.last.max(round);
        if asker == Asker::Keeper {
            from.of_keeper = from.of_keeper.max(round);
            return false;
        }
        let Some(missing) = self.awaited.get_mut(&round) else {
            return false;
        };
        missing.remove(&node);
        let is_whole = missing.is_empty();
        if is_whole {
            self.awaited.remove(&round);
        }
        is_whole
    }

    /// The confirmed round with the highest number; 0 if none is. Of different nodes, messages of
    /// different rounds may have arrived: each with this number or a higher one.
    pub fn confirmed(&self) -> u64 {
        self.of_all(|node| node.last)
    }

    /// The last round of the keeper whose message has arrived from all nodes.
    pub fn of_keeper(&self) -> u64 {
        self.of_all(|node| node.of_keeper)
    }

    /// The highest number in the messages from that node.
    pub fn last_from(&self, node: usize) -> u64 {
        self.nodes.get(node).map_or(0, |from| from.last)
    }

    fn of_all(&self, which: impl Fn(&NodeArrivals) -> u64) -> u64 {
        self.nodes.iter().map(which).min().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Asker::{Keeper, WriteConnection};

    /// After each message: the confirmed round, and whether the message completes a round that is
    /// waited for.
    fn noted(nodes: usize, awaited: &[u64], messages: &[(usize, Asker, u64)]) -> Vec<(u64, bool)> {
        let mut arrivals = Arrivals::new(nodes);
        for round in awaited {
            arrivals.wait_for(*round);
        }
        let messages = messages.iter().copied();
        let note = messages.map(|(node, asker, round)| {
            let is_whole = arrivals.note(node, asker, round);
            (arrivals.confirmed(), is_whole)
        });
        note.collect()
    }

    #[test]
    fn a_round_is_confirmed_when_a_message_has_arrived_from_every_node() {
        assert_eq!(
            noted(1, &[], &[(0, Keeper, 1), (0, WriteConnection, 3)]),
            [(1, false), (3, false)]
        );
        let messages = [
            (0, Keeper, 1),
            (0, Keeper, 2),
            (1, Keeper, 1),
            (1, WriteConnection, 7),
        ];
        let confirmed = [(0, false), (0, false), (1, false), (2, false)];
        assert_eq!(noted(2, &[], &messages), confirmed);
        // No such node.
        assert_eq!(noted(1, &[], &[(1, Keeper, 1)]), [(0, false)]);
    }

    #[test]
    fn a_round_on_a_write_connection_is_complete_by_its_own_message_from_every_node() {
        let messages = [
            (0, WriteConnection, 8),
            (1, WriteConnection, 8),
            (0, Keeper, 9),
            (1, Keeper, 9),
            (0, WriteConnection, 7),
            (0, WriteConnection, 7),
            (1, WriteConnection, 7),
        ];
        let is_whole: Vec<_> = noted(2, &[7], &messages)
            .into_iter()
            .map(|(_, is_whole)| is_whole)
            .collect();
        assert_eq!(is_whole, [false, false, false, false, false, false, true]);
    }

    #[test]
    fn an_answer_is_confirmed_by_a_later_round_or_by_one_behind_it_on_its_connection() {
        let answer = ConfirmedBy {
            later: Some(9),
            own: Some(7),
        };
        let is_confirmed = |any, own| answer.is_confirmed(ConfirmedRounds { any, own });
        assert!(!is_confirmed(8, 0));
        assert!(!is_confirmed(8, 6));
        assert!(is_confirmed(9, 0));
        assert!(is_confirmed(7, 7));
        assert!(!ConfirmedBy::default().is_confirmed(ConfirmedRounds { any: 9, own: 9 }));
    }
}
