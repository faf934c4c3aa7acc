//! The checker compared with a naive one, and the text of its report.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::ledger::{
    Entry, Header, Invoked, LedgerEvent, LedgerReader, LedgerWriter, RecordOutcome, SettledRecords,
};
use crate::record::{Batch, RunId, SeqRange, Timestamp};

fn header() -> Header {
    Header {
        run: RunId::new(7),
        start: Timestamp::from_micros(1_772_366_400_000_000).unwrap(),
        lab: "halab".to_owned(),
        policy: "available".to_owned(),
    }
}

fn created() -> Timestamp {
    header().start
}

#[derive(Debug, Clone, Copy)]
enum Read {
    Value,
    Other,
    Absent,
}

/// Lists, in order: one entry for each record and class.
#[derive(Debug, Default, PartialEq, Eq)]
struct Naive {
    ok: u64,
    recovered: u64,
    unknown: u64,
    lost: BTreeSet<u64>,
    corrupted: BTreeSet<u64>,
    unexpected: BTreeSet<u64>,
    duplicated: BTreeSet<u64>,
    unread: BTreeSet<u64>,
}

fn naive(invoked: u64, settled: &[(u64, RecordOutcome)], reads: &[(u64, Read)]) -> Naive {
    let mut outcomes: BTreeMap<u64, RecordOutcome> = BTreeMap::new();
    for (seq, outcome) in settled {
        let best = outcomes.entry(*seq).or_insert(*outcome);
        *best = (*best).max(*outcome);
    }
    let mut read: BTreeMap<u64, Vec<Read>> = BTreeMap::new();
    for (seq, what) in reads {
        read.entry(*seq).or_default().push(*what);
    }
    let mut naive = Naive::default();
    for seq in 0..invoked {
        let reads = read.remove(&seq).unwrap_or_default();
        let any = |what: fn(&Read) -> bool| reads.iter().any(what);
        let (absent, other) = (
            any(|r| matches!(r, Read::Absent)),
            any(|r| matches!(r, Read::Other)),
        );
        let value = !reads.is_empty() && !absent && !other;
        if reads.len() > 1 {
            naive.duplicated.insert(seq);
        }
        match outcomes.get(&seq) {
            Some(outcome) if outcome.is_acknowledged() && absent => drop(naive.lost.insert(seq)),
            _ if other && !absent => drop(naive.corrupted.insert(seq)),
            Some(RecordOutcome::Failed) if value => drop(naive.unexpected.insert(seq)),
            Some(RecordOutcome::Failed) => {}
            Some(_) if value => naive.ok += 1,
            Some(_) => drop(naive.unread.insert(seq)),
            None if value => naive.recovered += 1,
            None => naive.unknown += 1,
        }
    }
    for (seq, reads) in read {
        if reads.iter().any(|read| !matches!(read, Read::Absent)) {
            naive.unexpected.insert(seq);
        }
    }
    naive
}

fn ranges_of(seqs: &BTreeSet<u64>) -> RecordList {
    let mut found = RecordList {
        count: seqs.len() as u64,
        ..RecordList::default()
    };
    let mut ranges: Vec<SeqRange> = Vec::new();
    for seq in seqs {
        match ranges.last_mut() {
            Some(range) if range.end == *seq => range.end += 1,
            _ => ranges.push(SeqRange::new(*seq, *seq + 1)),
        }
    }
    found.ranges_left_out = ranges.len().saturating_sub(MAX_RANGES) as u64;
    ranges.truncate(MAX_RANGES);
    found.ranges = ranges;
    found.last = seqs.last().copied();
    found
}

fn check(invoked: u64, settled: &[(u64, RecordOutcome)], reads: &[(u64, Read)]) -> CheckReport {
    let mut history = History::new(header());
    if invoked > 0 {
        let seqs = SeqRange::new(0, invoked);
        history.push(&Entry::Invoked(Invoked {
            seqs,
            created: created(),
        }));
    }
    for (seq, outcome) in settled {
        let seqs = vec![SeqRange::new(*seq, *seq + 1)];
        let settled = SettledRecords {
            outcome: *outcome,
            first_at_us: 1,
            last_at_us: 1,
            seqs,
        };
        history.push(&Entry::Settled(settled));
    }
    let mut reading = NodeReading::new(&history, "redis-a");
    let batch = Batch::new(header().run, created());
    for (seq, read) in reads {
        let value = batch.value(*seq);
        match read {
            Read::Value => reading.observe(*seq, created(), Some(&value)),
            Read::Other => reading.observe(*seq, created(), Some(b"")),
            Read::Absent => reading.observe(*seq, created(), None),
        }
    }
    reading.finish()
}

proptest! {
    #[test]
    fn every_count_and_range_equals_the_naive_checkers(
        invoked in 0..200_u64,
        settled in prop::collection::vec((0..200_u64, 0..4_usize), 0..300),
        reads in prop::collection::vec((0..210_u64, 0..8_u32), 0..400),
    ) {
        let settled: Vec<(u64, RecordOutcome)> = settled
            .into_iter()
            .filter(|(seq, _)| *seq < invoked)
            .map(|(seq, outcome)| (seq, RecordOutcome::ALL[outcome]))
            .collect();
        let reads: Vec<(u64, Read)> = reads
            .into_iter()
            .map(|(seq, read)| (seq, match read {
                0 | 1 => Read::Absent,
                2 => Read::Other,
                _ => Read::Value,
            }))
            .collect();
        let report = check(invoked, &settled, &reads);
        let naive = naive(invoked, &settled, &reads);

        let RecordCounts { ok, recovered, unknown, .. } = report.counts;
        prop_assert_eq!((ok, recovered, unknown), (naive.ok, naive.recovered, naive.unknown));
        prop_assert_eq!(&report.lost, &ranges_of(&naive.lost));
        prop_assert_eq!(&report.corrupted, &ranges_of(&naive.corrupted));
        prop_assert_eq!(&report.unexpected, &ranges_of(&naive.unexpected));
        prop_assert_eq!(&report.duplicated, &ranges_of(&naive.duplicated));
        prop_assert_eq!(&report.unread, &ranges_of(&naive.unread));
        let loss = report.loss.as_ref().map_or(0, |loss| loss.outside);
        prop_assert_eq!(loss, report.lost.count);

        let bad = naive.lost.len() + naive.corrupted.len() + naive.unexpected.len();
        let doubtful = report.counts.acknowledged == 0 || !naive.unread.is_empty();
        let verdict = match (bad, doubtful) {
            (0, false) => Verdict::Holds,
            (0, true) => Verdict::Inconclusive,
            _ => Verdict::Violated,
        };
        prop_assert_eq!(report.verdict, verdict);
    }
}

#[test]
fn the_worst_verdict_wins() {
    use Verdict::{Holds, Inconclusive, Violated};
    assert_eq!(Verdict::worst([]), Holds);
    assert_eq!(Verdict::worst([Holds, Inconclusive]), Inconclusive);
    assert_eq!(Verdict::worst([Inconclusive, Violated, Holds]), Violated);
}

#[test]
fn what_was_acknowledged_in_the_time_that_a_restore_gave_up_is_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.ledger");
    let mut writer = LedgerWriter::create(&path, header()).unwrap();
    let seqs = writer.invoked(1, created()).unwrap();
    writer
        .settled(seqs, RecordOutcome::Replicated, 200)
        .unwrap();
    writer.close(400).unwrap();
    for (given_up, unknown) in [
        (None, false),
        (Some(100..200), false),
        (Some(100..201), true),
        (Some(200..300), true),
        (Some(201..300), false),
    ] {
        let mut ledger = LedgerReader::open(&path).unwrap();
        let history = History::read_given_up(&mut ledger, given_up.clone()).unwrap();
        assert_eq!(history.outcome(0).is_none(), unknown, "{given_up:?}");
    }
}

#[test]
fn a_fault_has_its_own_end_and_its_failover_comes_before_the_next_fault() {
    let starts = |at_us, fault: &str| Entry::Event {
        at_us,
        event: LedgerEvent::FaultStarted {
            fault: fault.to_owned(),
            expects_failover: true,
        },
    };
    let ends = |at_us, fault: &str| Entry::Event {
        at_us,
        event: LedgerEvent::FaultEnded {
            fault: fault.to_owned(),
        },
    };
    for (changed_at, without) in [
        (99, vec!["a", "b"]),
        (100, vec!["b"]),
        (199, vec!["b"]),
        (200, vec!["a"]),
    ] {
        let mut history = History::new(header());
        for entry in [starts(100, "a"), starts(200, "b"), ends(300, "a")] {
            history.push(&entry);
        }
        history.push(&Entry::Event {
            at_us: changed_at,
            event: LedgerEvent::PrimaryChanged {
                node: "redis-b".to_owned(),
            },
        });
        let end_of: Vec<_> = history.faults().iter().map(|f| f.end_us).collect();
        assert_eq!(end_of, [Some(300), None]);
        let found: Vec<_> = history.faults_without_failover().collect();
        let found: Vec<&str> = found.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(found, without, "{changed_at}");
    }
}

#[test]
fn a_loss_belongs_to_a_fault_that_is_not_in_the_ledger() {
    let fault = FaultInterval {
        name: "power".to_owned(),
        start_us: 0,
        end_us: None,
        expects_failover: false,
    };
    let mut history = History::new(header());
    let seqs = SeqRange::new(0, 1);
    history.push(&Entry::Invoked(Invoked {
        seqs,
        created: created(),
    }));
    history.push(&Entry::Settled(SettledRecords {
        outcome: RecordOutcome::Replicated,
        first_at_us: 1,
        last_at_us: 1,
        seqs: vec![seqs],
    }));
    history.push_fault(fault.clone());
    let mut reading = NodeReading::new(&history, "redis-a");
    reading.observe(0, created(), None);
    let loss = reading.finish().loss.unwrap();
    assert_eq!(loss.faults, [FaultLoss { fault, records: 1 }]);
}

#[test]
fn strays_beyond_those_remembered_are_counted() {
    let history = History::new(header());
    let mut reading = NodeReading::new(&history, "redis-a");
    for seq in 0..100_003 {
        reading.observe_stray(seq);
    }
    // One that is remembered counts once, however often it is found.
    reading.observe_stray(0);
    assert_eq!(reading.finish().unexpected.count, 100_003);
}

#[test]
fn the_report_as_json() {
    let settled = [
        (0, RecordOutcome::Replicated),
        (1, RecordOutcome::Unconfirmed),
    ];
    let report = check(3, &settled, &[(0, Read::Value), (1, Read::Absent)]);
    let none = serde_json::json!({ "count": 0, "ranges": [], "ranges_left_out": 0 });
    assert_eq!(
        serde_json::to_value(&report).unwrap(),
        serde_json::json!({
            "run": "0000000000000007",
            "policy": "available",
            "node": "redis-a",
            "verdict": "violated",
            "reasons": [{ "reason": "lost", "records": 1 }],
            "ledger": { "end": "open" },
            "counts": {
                "invoked": 3, "acknowledged": 2, "replicated": 1, "witnessed": 0, "unconfirmed": 1,
                "failed": 0, "unsettled": 1, "ok": 1, "recovered": 0, "unknown": 1,
            },
            "lost": { "count": 1, "ranges": [{ "start": 1, "end": 2 }], "ranges_left_out": 0 },
            "loss": {
                "first_created": "2026-03-01T12:00:00.000000Z",
                "last_created": "2026-03-01T12:00:00.000000Z",
                "faults": [],
                "outside": 1,
            },
            "corrupted": none, "unexpected": none, "duplicated": none, "unread": none,
        })
    );
}
