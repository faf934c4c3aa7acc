//! Nodes, their copies, the writer's session, losses and failovers.

use std::net::SocketAddrV4;

use redis_ha_lab::protocol::member_list::{MemberKind, MemberList, Standing};
use stateright::{Checker, Path, Property};

use super::change::{self, Operator};

pub const NODES: usize = 3;
/// The first primary; its replica, which is removed; the node that is added.
pub const NAMES: [&str; NODES] = ["a", "b", "c"];
pub const REMOVED: usize = 1;
pub const ADDED: usize = 2;

/// The rules, each of which can be removed.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// A node is added and removed by way of *counted*.
    pub counted_first: bool,
    /// A step waits until every node that could be promoted has the step before.
    pub distributed: bool,
    /// Which nodes these are is determined again for each step, not once at the beginning.
    pub candidates_rechecked: bool,
    /// A node becomes promotable only if its own copy of the list has it as full.
    pub raise_by_list: bool,
    /// A change of the list ends the writers' sessions.
    pub sessions_end: bool,
    /// A node is removed only when its copy of the list says so and it is not promotable.
    pub inactive: bool,
}

pub const RULES: Rules = Rules {
    counted_first: true,
    distributed: true,
    candidates_rechecked: true,
    raise_by_list: true,
    sessions_end: true,
    inactive: true,
};

#[derive(Debug, Clone, Copy)]
pub struct Model {
    pub rules: Rules,
    pub writes: u8,
    pub losses: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Entry {
    Write(u8),
    Members(MemberList),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    pub up: bool,
    pub log: Vec<Entry>,
    /// It follows the primary.
    pub linked: bool,
    /// A failover could choose it.
    pub promotable: bool,
}

impl Node {
    pub fn members(&self) -> Option<&MemberList> {
        self.log.iter().rev().find_map(|entry| match entry {
            Entry::Members(member_list) => Some(member_list),
            Entry::Write(_) => None,
        })
    }

    fn lists_as_full(&self, d: usize) -> bool {
        let members = self.members();
        members.and_then(|m| m.standing(MemberKind::Data, NAMES[d])) == Some(Standing::Full)
    }

    fn has(&self, write: u8) -> bool {
        self.log.contains(&Entry::Write(write))
    }
}

/// A writer's session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Session {
    members: MemberList,
    /// The index of its first possible log entry.
    from: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub nodes: [Node; NODES],
    pub primary: Option<usize>,
    pub session: Option<Session>,
    sent: u8,
    acknowledged: Vec<u8>,
    losses: u8,
    pub operator: Operator,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A session begins.
    Session,
    Write,
    Acknowledge(u8),
    /// A replica connects and continues its log, or copies the primary's.
    Connect(usize),
    Replicate(usize),
    Raise(usize),
    Lower(usize),
    Lose(usize),
    /// The Sentinels consider it down.
    SeenDown(usize),
    Return(usize),
    Promote(usize),
    Operator(change::Step),
}

pub fn at(d: usize) -> SocketAddrV4 {
    SocketAddrV4::new([127, 0, 0, 11 + d as u8].into(), 6379)
}

impl State {
    fn first() -> Self {
        let members = |d: usize| (NAMES[d].to_owned(), at(d));
        let member_list = MemberList::first([members(0), members(1)], [("s".into(), at(9))]);
        let node = |d: usize| Node {
            up: true,
            log: match d {
                ADDED => Vec::new(),
                _ => vec![Entry::Members(member_list.clone())],
            },
            linked: d == REMOVED,
            promotable: d == REMOVED,
        };
        State {
            nodes: std::array::from_fn(node),
            primary: Some(0),
            session: None,
            sent: 0,
            acknowledged: Vec::new(),
            losses: 0,
            operator: Operator::default(),
        }
    }

    pub fn primary_node(&self) -> Option<&Node> {
        self.primary.map(|p| &self.nodes[p])
    }

    pub fn level(&self, d: usize) -> bool {
        let primary_node = self.primary_node();
        self.nodes[d].linked && primary_node.is_some_and(|p| p.log == self.nodes[d].log)
    }

    /// Every member except the primary follows it, and every full member is promotable.
    pub fn recovered(&self) -> bool {
        let Some(members) = self.primary_node().and_then(Node::members) else {
            return false;
        };
        (0..NODES).filter(|d| Some(*d) != self.primary).all(|d| {
            let node = &self.nodes[d];
            match members.standing(MemberKind::Data, NAMES[d]) {
                None => true,
                Some(Standing::Counted) => node.linked,
                Some(Standing::Full) => node.linked && node.promotable,
            }
        })
    }

    fn is_member(&self, d: usize) -> bool {
        let holders = self.nodes.iter().filter_map(Node::members);
        holders
            .into_iter()
            .any(|m| m.standing(MemberKind::Data, NAMES[d]).is_some())
    }

    /// Ends the server of a node.
    pub fn end(&mut self, d: usize) {
        self.nodes[d].up = false;
        self.nodes[d].linked = false;
        if self.primary == Some(d) {
            self.primary = None;
            self.session = None;
            for node in &mut self.nodes {
                node.linked = false;
            }
        }
    }

    fn session(&mut self) -> Option<()> {
        let primary_node = self.primary_node()?;
        let session = Session {
            members: primary_node.members()?.clone(),
            from: primary_node.log.len(),
        };
        self.session.is_none().then(|| self.session = Some(session))
    }

    fn write(&mut self, model: &Model) -> Option<()> {
        self.session.as_ref()?;
        let p = self.primary.filter(|_| self.sent < model.writes)?;
        self.nodes[p].log.push(Entry::Write(self.sent));
        self.sent += 1;
        Some(())
    }

    /// Every other member of the session has it or cannot be promoted.
    fn acknowledge(&mut self, write: u8) -> Option<()> {
        let session = self.session.as_ref()?;
        let p = self.primary?;
        let session_log = self.nodes[p].log.get(session.from..)?;
        let sent =
            session_log.contains(&Entry::Write(write)) && !self.acknowledged.contains(&write);
        let asked = |d: &usize| {
            *d != p
                && session
                    .members
                    .standing(MemberKind::Data, NAMES[*d])
                    .is_some()
        };
        let confirmed = (0..NODES).filter(asked).all(|d| {
            let node = &self.nodes[d];
            (node.linked && node.has(write)) || !node.promotable
        });
        if !sent || !confirmed {
            return None;
        }
        self.acknowledged.push(write);
        self.acknowledged.sort_unstable();
        Some(())
    }

    fn connect(&mut self, d: usize) -> Option<()> {
        let p = self.primary.filter(|p| *p != d)?;
        if !self.nodes[d].up || self.nodes[d].linked {
            return None;
        }
        if !self.nodes[p].log.starts_with(&self.nodes[d].log) {
            self.nodes[d].log = self.nodes[p].log.clone();
        }
        self.nodes[d].linked = true;
        Some(())
    }

    fn replicate(&mut self, d: usize) -> Option<()> {
        let next = self
            .primary_node()?
            .log
            .get(self.nodes[d].log.len())?
            .clone();
        let linked = self.nodes[d].linked;
        linked.then(|| self.nodes[d].log.push(next))
    }

    fn raise(&mut self, model: &Model, d: usize) -> Option<()> {
        let node = &self.nodes[d];
        let may = !model.rules.raise_by_list || node.lists_as_full(d);
        (may && !node.promotable && self.level(d)).then(|| self.nodes[d].promotable = true)
    }

    fn lower(&mut self, model: &Model, d: usize) -> Option<()> {
        let node = &self.nodes[d];
        let may = model.rules.raise_by_list && !node.lists_as_full(d);
        let lowers = node.up && node.promotable && (!node.linked || may);
        lowers.then(|| self.nodes[d].promotable = false)
    }

    fn lose(&mut self, model: &Model, d: usize) -> Option<()> {
        // A node that is not a member may be lost at any time, but that counts towards the bound.
        let next = self.recovered() || !self.is_member(d);
        if !self.nodes[d].up || self.losses >= model.losses || !next {
            return None;
        }
        self.losses += 1;
        self.end(d);
        Some(())
    }

    fn promote(&mut self, d: usize) -> Option<()> {
        let node = &self.nodes[d];
        if self.primary.is_some() || !node.up || !node.promotable {
            return None;
        }
        self.primary = Some(d);
        self.nodes[d].promotable = false;
        Some(())
    }
}

impl stateright::Model for Model {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State::first()]
    }

    fn actions(&self, _: &State, actions: &mut Vec<Step>) {
        actions.extend([Step::Session, Step::Write]);
        actions.extend((0..self.writes).map(Step::Acknowledge));
        for d in 0..NODES {
            actions.extend([
                Step::Connect(d),
                Step::Replicate(d),
                Step::Raise(d),
                Step::Lower(d),
                Step::Lose(d),
                Step::SeenDown(d),
                Step::Return(d),
                Step::Promote(d),
            ]);
        }
        actions.extend(change::Step::ALL.map(Step::Operator));
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut next = state.clone();
        match step {
            Step::Session => next.session(),
            Step::Write => next.write(self),
            Step::Acknowledge(write) => next.acknowledge(write),
            Step::Connect(d) => next.connect(d),
            Step::Replicate(d) => next.replicate(d),
            Step::Raise(d) => next.raise(self, d),
            Step::Lower(d) => next.lower(self, d),
            Step::Lose(d) => next.lose(self, d),
            Step::SeenDown(d) => {
                let node = &mut next.nodes[d];
                let seen = !node.up && node.promotable;
                seen.then(|| node.promotable = false)
            }
            // It starts as not promotable until it is level.
            Step::Return(d) => {
                let node = &mut next.nodes[d];
                let down = !node.up;
                node.promotable = false;
                down.then(|| node.up = true)
            }
            Step::Promote(d) => next.promote(d),
            Step::Operator(step) => change::take(&mut next, self, step),
        }?;
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let safe = |_: &Self, state: &State| {
            let has = |node: &Node| state.acknowledged.iter().all(|w| node.has(*w));
            state.primary_node().is_none_or(has)
        };
        let promoted = |_: &Self, state: &State| state.primary == Some(ADDED);
        let replaced = |_: &Self, state: &State| state.operator.done;
        vec![
            Property::always("safe", safe),
            Property::sometimes("promoted", promoted),
            Property::sometimes("replaced", replaced),
        ]
    }
}

/// The result of an exploration.
pub struct Found {
    pub states: usize,
    pub depth: usize,
    /// The shortest trace to a loss.
    pub loss: Option<String>,
    pub promoted_new: bool,
    pub replaced: bool,
}

/// Explores all states within the bounds, breadth first, or until a loss is found.
pub fn explore(model: Model) -> Found {
    use stateright::Model as _;
    // One thread: the shortest trace, and the same one each time.
    let checker = model.checker().threads(1).spawn_bfs().join();
    let loss = checker.discovery("safe");
    Found {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        loss: loss.map(|path: Path<State, Step>| {
            let steps = path.into_actions();
            let steps: Vec<String> = steps.iter().map(|step| format!("- {step:?}")).collect();
            steps.join("\n")
        }),
        promoted_new: checker.discovery("promoted").is_some(),
        replaced: checker.discovery("replaced").is_some(),
    }
}
