//! The rounds of one session on several connections: numbers are taken, messages executed and
//! passed on in any order. An answer that counts as confirmed must be on every other data node.
//!
//! Two write connections send a command, and a round behind it. The keeper asks rounds, too.

use redis_ha_lab::protocol::round::{Arrivals, Asker, ConfirmedBy, ConfirmedRounds};
use stateright::{Checker, Model, Property};

const CONNECTIONS: usize = 2;

/// Which rounds confirm an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// As in `protocol::round`.
    Stated,
    /// A round behind the command counts as confirmed by any round with a higher number.
    AnyHigherNumber,
    /// A round counts that began before the answer had come.
    BegunBefore,
    /// A message counts that has arrived from one node.
    OneNode,
}

/// What the primary executes, in the order in which the other nodes do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Entry {
    Command(usize),
    Message(Asker, u64),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Connection {
    /// Sent, and not executed by the primary yet.
    sent: Vec<Entry>,
    by: ConfirmedBy,
    /// Its last round whose message has arrived from all nodes.
    own: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Session {
    begun: u64,
    connections: [Connection; CONNECTIONS],
    /// The keeper's message that is sent, and not executed yet; and the number of its rounds.
    keeper: (Option<u64>, usize),
    executed: Vec<Entry>,
    /// Of each other node: so many entries are executed, and the messages of so many have arrived.
    nodes: Vec<(usize, usize)>,
    arrivals: Arrivals,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Send(usize),
    Execute(usize),
    Answer(usize),
    KeeperSends,
    KeeperIsExecuted,
    Replicate(usize),
    Arrive(usize),
}

struct Rounds {
    /// Number of other data nodes.
    nodes: usize,
    /// Number of rounds of the keeper.
    of_keeper: usize,
    rule: Rule,
}

impl Rounds {
    fn is_confirmed(&self, state: &Session, connection: &Connection) -> bool {
        let answered = connection.by.later.is_some();
        let mut rounds = ConfirmedRounds {
            any: state.arrivals.confirmed(),
            own: connection.own,
        };
        match self.rule {
            Rule::AnyHigherNumber => rounds.own = rounds.any,
            Rule::OneNode => {
                let each = (0..self.nodes).map(|node| state.arrivals.last_from(node));
                rounds.any = each.max().unwrap();
            }
            Rule::Stated | Rule::BegunBefore => {}
        }
        answered && connection.by.is_confirmed(rounds)
    }

    /// Whether an answer is confirmed, and a later round does or does not.
    fn confirms_by(&self, state: &Session, later: bool) -> bool {
        state.connections.iter().any(|connection| {
            let is_by_later = connection.by.later <= Some(state.arrivals.confirmed());
            self.is_confirmed(state, connection) && is_by_later == later
        })
    }

    fn is_safe(&self, state: &Session) -> bool {
        state
            .connections
            .iter()
            .enumerate()
            .all(|(at, connection)| {
                let is_on = |(executed, _): &(usize, usize)| {
                    state.executed[..*executed].contains(&Entry::Command(at))
                };
                !self.is_confirmed(state, connection) || state.nodes.iter().all(is_on)
            })
    }
}

impl Model for Rounds {
    type State = Session;
    type Action = Step;

    fn init_states(&self) -> Vec<Session> {
        vec![Session {
            begun: 0,
            connections: Default::default(),
            keeper: (None, 0),
            executed: vec![],
            nodes: vec![(0, 0); self.nodes],
            arrivals: Arrivals::new(self.nodes),
        }]
    }

    fn actions(&self, state: &Session, steps: &mut Vec<Step>) {
        for (at, connection) in state.connections.iter().enumerate() {
            if connection.by.own.is_none() {
                steps.push(Step::Send(at));
            }
            if !connection.sent.is_empty() {
                steps.push(Step::Execute(at));
            }
            if connection.by.later.is_none() && state.executed.contains(&Entry::Command(at)) {
                steps.push(Step::Answer(at));
            }
        }
        match state.keeper {
            (None, rounds) if rounds < self.of_keeper => steps.push(Step::KeeperSends),
            (None, _) => {}
            (Some(_), _) => steps.push(Step::KeeperIsExecuted),
        }
        for (node, (executed, arrived)) in state.nodes.iter().enumerate() {
            if *executed < state.executed.len() {
                steps.push(Step::Replicate(node));
            }
            if arrived < executed {
                steps.push(Step::Arrive(node));
            }
        }
    }

    fn next_state(&self, state: &Session, step: Step) -> Option<Session> {
        let mut next = state.clone();
        match step {
            Step::Send(at) => {
                next.begun += 1;
                next.arrivals.wait_for(next.begun);
                let message = Entry::Message(Asker::WriteConnection, next.begun);
                next.connections[at].by.own = Some(next.begun);
                next.connections[at].sent = vec![Entry::Command(at), message];
            }
            Step::Execute(at) => {
                let entry = next.connections[at].sent.remove(0);
                next.executed.push(entry);
            }
            Step::Answer(at) => {
                let begun = match self.rule {
                    Rule::BegunBefore => next.begun,
                    _ => next.begun + 1,
                };
                next.connections[at].by.later = Some(begun);
            }
            Step::KeeperSends => {
                next.begun += 1;
                next.keeper = (Some(next.begun), next.keeper.1 + 1);
            }
            Step::KeeperIsExecuted => {
                let round = next.keeper.0.take()?;
                next.executed.push(Entry::Message(Asker::Keeper, round));
            }
            Step::Replicate(node) => next.nodes[node].0 += 1,
            Step::Arrive(node) => {
                let (_, arrived) = &mut next.nodes[node];
                let entry = next.executed[*arrived];
                *arrived += 1;
                if let Entry::Message(asker, round) = entry
                    && next.arrivals.note(node, asker, round)
                {
                    let mut all = next.connections.iter_mut();
                    let of = all.find(|connection| connection.by.own == Some(round));
                    of.unwrap().own = round;
                }
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "what is confirmed is on every node",
                |model: &Rounds, state| model.is_safe(state),
            ),
            Property::sometimes("by its own round alone", |model, state| {
                model.confirms_by(state, false)
            }),
            Property::sometimes("by a later round", |model, state| {
                model.confirms_by(state, true)
            }),
        ]
    }
}

/// Explores every order of the steps. Returns the shortest one after which an answer is confirmed
/// that is not on every node.
pub fn explore(nodes: usize, rule: Rule) -> Option<String> {
    // Of two nodes, messages of different rounds may arrive; of one, all of them.
    let of_keeper = if nodes == 1 { 2 } else { 1 };
    let model = Rounds {
        nodes,
        of_keeper,
        rule,
    };
    let checker = model.checker().spawn_bfs().join();
    println!("{} states", checker.unique_state_count());
    for seen in ["by its own round alone", "by a later round"] {
        assert!(checker.discovery(seen).is_some(), "never confirmed {seen}");
    }
    let loss = checker.discovery("what is confirmed is on every node")?;
    Some(format!("{:?}", loss.into_actions()))
}
