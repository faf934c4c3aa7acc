//! Histories whose verdict is known, and random ones, judged by two other checkers as well.

use proptest::collection::vec;
use proptest::prelude::*;
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

use super::*;

/// A call: client, method, invoked when, and answered when and with what.
type Call = (u64, Method, u64, Option<(u64, Returned)>);

/// A history of these calls.
fn history(kind: ObjectKind, calls: Vec<Call>) -> ObjectHistory {
    let operation = |(client, method, invoked, returned)| Operation {
        client,
        method,
        invoked,
        returned,
    };
    ObjectHistory {
        kind,
        operations: calls.into_iter().map(operation).collect(),
    }
}

fn found(value: u64) -> Returned {
    Returned::Value(Some(value))
}

fn is_linearizable(history: &ObjectHistory) -> bool {
    match history.check(SearchLimits::default()) {
        Linearizability::Linearizable => true,
        Linearizability::Violated(_) => false,
        Linearizability::Inconclusive => panic!("{history:?}"),
    }
}

fn counterexample(history: &ObjectHistory) -> Counterexample {
    match history.check(SearchLimits::default()) {
        Linearizability::Violated(counterexample) => *counterexample,
        other => panic!("{other:?}"),
    }
}

/// The example of Porcupine's README, and the one beside it that is violated.
#[test]
fn a_read_sees_a_value_that_is_being_written_and_no_later_one_an_older_value() {
    use Method::{Get, Set};
    let reads = |first: Returned, second: Returned| {
        history(
            ObjectKind::Register,
            vec![
                (0, Set(100), 0, Some((100, Returned::Done))),
                (1, Get, 10, Some((30, first))),
                (2, Get, 40, Some((90, second))),
            ],
        )
    };
    assert!(is_linearizable(&reads(Returned::Value(None), found(100))));
    assert!(is_linearizable(&reads(found(100), found(100))));
    // The inversion of new and old (Attiya, Bar-Noy, Dolev 1995).
    assert!(!is_linearizable(&reads(found(100), Returned::Value(None))));
}

/// The histories of figure 1 of Herlihy and Wing 1990.
#[test]
fn a_queue_of_the_literature_is_judged_as_there() {
    use Method::{Pop, Push};
    let pushed = |n| Returned::Number(n);
    // q1: two overlapping enqueues, whose values are dequeued in either order.
    let q1 = vec![
        (0, Push(1), 0, Some((10, pushed(2)))),
        (1, Push(2), 5, Some((15, pushed(1)))),
        (1, Pop, 20, Some((30, found(2)))),
        (0, Pop, 25, Some((35, found(1)))),
    ];
    assert!(is_linearizable(&history(ObjectKind::Queue, q1)));
    // q2: x was enqueued before y, and y is dequeued first.
    let q2 = vec![
        (0, Push(1), 0, Some((10, pushed(1)))),
        (1, Push(2), 15, Some((25, pushed(2)))),
        (0, Pop, 30, Some((40, found(2)))),
    ];
    let q2 = history(ObjectKind::Queue, q2);
    let shown = counterexample(&q2);
    assert_eq!(shown.length, 2);
    assert_eq!(shown.misfits, [(q2.operations[2].clone(), found(1))]);
    // q3: an enqueue without an answer whose value is dequeued.
    let q3 = vec![
        (0, Push(1), 0, None),
        (1, Pop, 5, Some((10, found(1)))),
        (2, Pop, 15, Some((20, Returned::Value(None)))),
    ];
    assert!(is_linearizable(&history(ObjectKind::Queue, q3)));
    // q4: the same value is dequeued twice.
    let q4 = vec![
        (0, Push(1), 0, Some((10, pushed(1)))),
        (1, Push(2), 5, Some((15, pushed(2)))),
        (0, Pop, 20, Some((30, found(1)))),
        (2, Pop, 22, Some((32, found(1)))),
    ];
    assert!(!is_linearizable(&history(ObjectKind::Queue, q4)));
}

#[test]
fn an_answered_write_that_a_later_read_does_not_see_is_a_violation() {
    let lost = |returned| {
        history(
            ObjectKind::Counter,
            vec![
                (0, Method::Increment, 0, Some((10, Returned::Number(1)))),
                (1, Method::Increment, 5, returned),
                (2, Method::Get, 30, Some((40, Returned::Number(1)))),
            ],
        )
    };
    assert!(!is_linearizable(&lost(Some((20, Returned::Number(2))))));
    // Without an answer it may never have been executed,
    assert!(is_linearizable(&lost(None)));
    // or be executed long after the last answer that does not have it.
    let mut late = lost(None);
    let seen = |n, at| Operation {
        client: 3,
        method: Method::Get,
        invoked: at,
        returned: Some((at + 5, Returned::Number(n))),
    };
    late.operations.extend([seen(1, 50), seen(2, 60)]);
    assert!(is_linearizable(&late));
    // But only once.
    late.operations.push(seen(3, 70));
    assert!(!is_linearizable(&late));
}

#[test]
fn of_two_compare_and_sets_of_one_value_only_one_succeeds() {
    let swap = |new| Method::CompareAndSet {
        expected: Some(1),
        new,
    };
    let both = |second| {
        history(
            ObjectKind::Register,
            vec![
                (0, Method::Set(1), 0, Some((5, Returned::Done))),
                (1, swap(2), 10, Some((20, Returned::Changed(true)))),
                (2, swap(3), 10, Some((20, Returned::Changed(second)))),
            ],
        )
    };
    assert!(is_linearizable(&both(false)));
    assert!(!is_linearizable(&both(true)));
}

#[test]
fn a_counterexample_ends_at_the_first_answer_that_does_not_fit() {
    let mut calls = Vec::new();
    for n in 0..50 {
        let at = n * 10;
        calls.push((
            1,
            Method::Add(n),
            at,
            Some((at + 8, Returned::Changed(true))),
        ));
    }
    // The last one again, as if it were not there; then much that fits.
    calls.push((
        2,
        Method::Add(49),
        503,
        Some((505, Returned::Changed(true))),
    ));
    calls.push((3, Method::Remove(7), 490, None));
    for n in 60..90 {
        let at = n * 10;
        calls.push((
            1,
            Method::Remove(n - 60),
            at,
            Some((at + 8, Returned::Changed(true))),
        ));
    }
    let shown = counterexample(&history(ObjectKind::Set, calls));
    let text = shown.text(500);
    let lines: Vec<&str> = text.lines().collect();
    let misfit = "  client 2: add 49 -> changed, called at 0.000003 s, answered at 0.000005 s";
    assert_eq!(lines[1], misfit);
    assert_eq!(
        lines.last().copied(),
        Some(format!("{misfit} (would be not changed)").as_str())
    );
    // The last operations before it are there, also the one without an answer.
    assert!(
        text.contains("client 3: remove 7, called at -0.000010 s, not answered"),
        "{text}"
    );
    assert_eq!((shown.length, shown.last.len()), (51, 8), "{text}");
}

#[test]
fn beyond_the_bounds_the_verdict_is_inconclusive_and_a_violation_before_is_still_found() {
    // Values that are pushed without an answer: any order of any of them is possible.
    let mut calls: Vec<_> = (0..30).map(|n| (n, Method::Push(n), 0, None)).collect();
    let wrong = (99, Method::List, 10, Some((20, Returned::Values(vec![77]))));
    calls.push(wrong);
    let limits = SearchLimits {
        steps: 10_000,
        bytes: usize::MAX,
    };
    let many = history(ObjectKind::Queue, calls.clone());
    assert_eq!(many.check(limits), Linearizability::Inconclusive);
    let limits = SearchLimits {
        steps: u64::MAX,
        bytes: 1 << 20,
    };
    assert_eq!(many.check(limits), Linearizability::Inconclusive);
    // If they are pushed later than the answer that does not fit, that is found.
    let last = calls.pop().unwrap();
    for (_, _, invoked, _) in &mut calls {
        *invoked = 100;
    }
    calls.push(last);
    calls.push((
        98,
        Method::List,
        110,
        Some((120, Returned::Values(vec![78]))),
    ));
    let violated = history(ObjectKind::Queue, calls).check(limits);
    assert!(
        matches!(violated, Linearizability::Violated(_)),
        "{violated:?}"
    );
}

/// The time that a history of a long drill takes: steps, not seconds, as machines differ.
#[test]
fn a_long_linearizable_history_takes_about_one_step_a_call() {
    const CALLS: u64 = 20_000;
    let mut object = Object::new(ObjectKind::Counter);
    let mut calls = Vec::new();
    for n in 0..CALLS {
        let at = 100 + n * 10;
        let method = match n % 3 {
            0 => Method::Get,
            _ => Method::Increment,
        };
        let returned = object.take(&method);
        // Ten calls overlap.
        calls.push((n % 20, method, at - 50, Some((at + 50, returned))));
        if n % 1000 == 0 {
            calls.push((1000 + n, Method::Increment, at, None));
        }
    }
    let history = history(ObjectKind::Counter, calls);
    let limits = SearchLimits {
        steps: 20 * CALLS,
        bytes: usize::MAX,
    };
    assert_eq!(history.check(limits), Linearizability::Linearizable);
}

impl SequentialSpec for Object {
    type Op = Method;
    type Ret = Returned;

    fn invoke(&mut self, method: &Method) -> Returned {
        self.take(method)
    }
}

/// The verdict of the crate stateright. Times of calls and answers have to differ.
fn by_stateright(history: &ObjectHistory) -> bool {
    let mut tester = LinearizabilityTester::new(Object::new(history.kind));
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (n, operation) in history.operations.iter().enumerate() {
        events.push((operation.invoked, false, n));
        events.extend(operation.returned.iter().map(|(at, _)| (*at, true, n)));
    }
    events.sort_unstable();
    for (_, is_answer, n) in events {
        let operation = &history.operations[n];
        if is_answer {
            let (_, returned) = operation.returned.clone().unwrap();
            tester.on_return(n, returned).unwrap();
        } else {
            tester.on_invoke(n, operation.method.clone()).unwrap();
        }
    }
    tester.is_consistent()
}

/// The verdict over every order of all answered calls and any of the others.
fn by_every_order(history: &ObjectHistory) -> bool {
    fn fits(history: &ObjectHistory, order: &mut Vec<usize>) -> bool {
        let all = &history.operations;
        if is_order(history, order)
            && (0..all.len()).all(|n| order.contains(&n) || all[n].returned.is_none())
        {
            return true;
        }
        (0..all.len()).any(|n| {
            if order.contains(&n) {
                return false;
            }
            order.push(n);
            let found = fits(history, order);
            order.pop();
            found
        })
    }
    fn is_order(history: &ObjectHistory, order: &[usize]) -> bool {
        let mut object = Object::new(history.kind);
        order.iter().enumerate().all(|(place, n)| {
            let operation = &history.operations[*n];
            let answer = object.take(&operation.method);
            let after = |later: &usize| {
                let later = &history.operations[*later];
                let end = later.returned.as_ref().map_or(u64::MAX, |(at, _)| *at);
                end >= operation.invoked
            };
            order[place..].iter().all(after)
                && operation
                    .returned
                    .as_ref()
                    .is_none_or(|(_, given)| *given == answer)
        })
    }
    fits(history, &mut Vec::new())
}

fn kind() -> impl Strategy<Value = ObjectKind> {
    prop_oneof![
        Just(ObjectKind::Register),
        Just(ObjectKind::Counter),
        Just(ObjectKind::Queue),
        Just(ObjectKind::Set),
    ]
}

/// A method of that kind, of few values, so that calls meet.
fn method(kind: ObjectKind, choice: u8, value: u64) -> Method {
    let value = value % 3;
    match (kind, choice % 4) {
        (ObjectKind::Register, 0 | 1) | (ObjectKind::Counter, 0 | 1) => Method::Get,
        (ObjectKind::Register, 2) => Method::Set(value),
        (ObjectKind::Register, _) => Method::CompareAndSet {
            expected: value.checked_sub(1),
            new: value,
        },
        (ObjectKind::Counter, _) => Method::Increment,
        (ObjectKind::Queue, 0) => Method::List,
        (ObjectKind::Queue, 1) => Method::Pop,
        (ObjectKind::Queue, _) => Method::Push(value),
        (ObjectKind::Set, 0) => Method::Members,
        (ObjectKind::Set, 1) => Method::Remove(value),
        (ObjectKind::Set, _) => Method::Add(value),
    }
}

/// One call of a generated history.
#[derive(Debug, Clone)]
struct Generated {
    choice: u8,
    value: u64,
    /// How long before and after its moment it was called and answered.
    before: u64,
    after: u64,
    /// Of ten: 0 is executed and not answered, 1 is not executed.
    fate: u8,
}

fn generated() -> impl Strategy<Value = Generated> {
    let fields = (any::<u8>(), 0..3_u64, 0..80_u64, 0..80_u64, 0..10_u8);
    fields.prop_map(|(choice, value, before, after, fate)| Generated {
        choice,
        value,
        before,
        after,
        fate,
    })
}

/// The history of an object that executed these calls one after the other. All times differ.
fn executed(kind: ObjectKind, calls: &[Generated]) -> ObjectHistory {
    let mut object = Object::new(kind);
    let mut operations = Vec::new();
    for (call, n) in calls.iter().zip(0_u64..) {
        let method = method(kind, call.choice, call.value);
        let executed = call.fate != 1;
        let returned = executed.then(|| object.take(&method));
        // The call of moment `n` is at `m`, so that no other one has a time of the same remainder.
        let count = 2 * calls.len() as u64;
        let moment = 100 + 10 * n;
        operations.push(Operation {
            client: n,
            method,
            invoked: (moment - call.before) * count + 2 * n,
            returned: returned
                .filter(|_| call.fate > 1)
                .map(|returned| ((moment + 1 + call.after) * count + 2 * n + 1, returned)),
        });
    }
    ObjectHistory { kind, operations }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_history_of_a_real_object_is_linearizable(
        kind in kind(),
        calls in vec(generated(), 0..40),
    ) {
        let history = executed(kind, &calls);
        prop_assert!(is_linearizable(&history), "{history:?}");
    }

    #[test]
    fn the_verdict_is_that_of_every_order_and_of_stateright(
        kind in kind(),
        calls in vec(generated(), 1..7),
        // Answers that the object has not given in this order.
        wrong in vec((0..7_usize, 0..7_usize), 0..3),
    ) {
        let mut history = executed(kind, &calls);
        for (to, from) in wrong {
            let (to, from) = (to % calls.len(), from % calls.len());
            let given = history.operations[from].returned.as_ref().map(|(_, given)| given.clone());
            if let (Some((_, answer)), Some(given)) = (&mut history.operations[to].returned, given) {
                *answer = given;
            }
        }
        let verdict = is_linearizable(&history);
        prop_assert_eq!(verdict, by_every_order(&history), "{:?}", history);
        prop_assert_eq!(verdict, by_stateright(&history), "{:?}", history);
    }

    #[test]
    fn a_counterexample_is_as_short_as_possible(
        kind in kind(),
        calls in vec(generated(), 2..20),
        wrong in (0..20_usize, 0..20_usize),
    ) {
        let mut history = executed(kind, &calls);
        let (to, from) = (wrong.0 % calls.len(), wrong.1 % calls.len());
        let given = history.operations[from].returned.as_ref().map(|(_, given)| given.clone());
        if let (Some((_, answer)), Some(given)) = (&mut history.operations[to].returned, given) {
            *answer = given;
        }
        if let Linearizability::Violated(shown) = history.check(SearchLimits::default()) {
            let (end, _) = shown.answers[0].returned.clone().unwrap();
            prop_assert!(!is_linearizable(&history.until(end)));
            prop_assert!(is_linearizable(&history.until(end - 1)));
            // The order that is shown is one: the object is what it makes.
            let differs = shown.misfits.iter().all(|(operation, would)| {
                operation.returned.as_ref().is_some_and(|(_, given)| given != would)
            });
            prop_assert!(differs, "{:?}", shown);
        }
    }
}
