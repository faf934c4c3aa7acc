//! The calls of client applications: their counts, and whether every object is linearizable. Pure.

use crate::drill::report::{ClientCalls, DrillVerdict, Invariant};

/// Every object is linearizable, with its last read.
pub(super) fn linearizable(clients: &ClientCalls) -> Invariant {
    let name = "what clients were answered is linearizable";
    let of = |verdict| {
        let mut objects = clients.objects.iter().filter(move |o| o.verdict == verdict);
        (objects.next(), objects.count())
    };
    let more = |count| match count {
        0 => String::new(),
        count => format!(", and {count} more"),
    };
    if let (Some(first), others) = of(DrillVerdict::Violated) {
        let answer = first
            .counterexample
            .as_deref()
            .and_then(|text| text.lines().nth(1));
        let answer = answer.unwrap_or_default().trim();
        let detail = format!("{}: {answer}{}", first.key, more(others));
        return Invariant::new(name, false, detail);
    }
    if let Some(why) = &clients.failure {
        return Invariant::new(name, None, why);
    }
    if let (Some(first), others) = of(DrillVerdict::Inconclusive) {
        let detail = format!(
            "{}: the search has reached a bound{}",
            first.key,
            more(others)
        );
        return Invariant::new(name, None, detail);
    }
    let (keys, calls) = (clients.objects.len(), clients.calls);
    Invariant::new(name, true, format!("{keys} keys, {calls} calls"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::judging::verdict;
    use crate::drill::report::CalledObject;

    fn calls(verdicts: &[DrillVerdict], failure: Option<&str>) -> ClientCalls {
        let object = |verdict: &DrillVerdict| CalledObject {
            key: "app:register-1".into(),
            kind: "register".into(),
            calls: 7,
            verdict: *verdict,
            counterexample: (*verdict == DrillVerdict::Violated)
                .then(|| "until this answer:\n  client 1: get -> 2\n".into()),
        };
        ClientCalls {
            calls: 7 * verdicts.len(),
            failure: failure.map(str::to_owned),
            objects: verdicts.iter().map(object).collect(),
            ..ClientCalls::default()
        }
    }

    #[test]
    fn a_violation_counts_whatever_is_missing_and_without_the_last_reads_nothing_is_shown() {
        use DrillVerdict::{Holds, Inconclusive, Violated};
        let judged = |verdicts: &[DrillVerdict], failure| {
            let (verdict, reasons) = verdict(&[linearizable(&calls(verdicts, failure))]);
            (verdict, reasons.join(""))
        };
        assert_eq!(judged(&[Holds, Holds], None).0, Holds);
        let (verdict, why) = judged(&[Holds, Violated, Inconclusive, Violated], Some("no reads"));
        assert_eq!(verdict, Violated);
        assert!(
            why.contains("app:register-1: client 1: get -> 2, and 1 more"),
            "{why}"
        );
        let (verdict, why) = judged(&[Holds], Some("no reads"));
        assert_eq!(verdict, Inconclusive);
        assert!(why.contains("no reads"), "{why}");
        let (verdict, why) = judged(&[Holds, Inconclusive], None);
        assert_eq!(verdict, Inconclusive);
        assert!(why.contains("bound"), "{why}");
    }
}
