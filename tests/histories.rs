//! Runs every `tests/histories/*.history` through the checker and compares the whole report.
//!
//! A history consists of lines; `#` begins a comment. Ranges include the first and exclude the last
//! number (`0..10`), a single number means itself, and times (`@`) are microseconds after
//! 2026-03-01T12:00:00Z.
//!
//! ```text
//! policy replicated                        (default: available)
//! invoke 0..10 @1000
//! ack 0..5 replicated @2000                (or witnessed, or sent)
//! fail 5 @2000
//! fault kill-primary @3000 .. @9000        (or `@3000 ..`: never healed) [expects-failover]
//! primary redis-b @4000
//! closed | torn 7                          (default: open; torn: with 7 bytes of an entry)
//! node redis-b                             (the following reads are of this node)
//! read 0..9 ok | absent | other | value-of 7
//! stray 12
//! read-failed connection lost
//! expect violated
//! <the reports of all nodes, as they print>
//! ```
//!
//! The histories are written to a ledger file and read back, so the format is covered as well.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "all of this file is a test; clippy exempts only the functions marked as one"
)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use redis_ha_lab::checker::{CheckReport, History, NodeReading, Verdict};
use redis_ha_lab::ledger::{Header, LedgerEvent, LedgerReader, LedgerWriter, RecordOutcome};
use redis_ha_lab::record::{Batch, RunId, SeqRange, Timestamp};

const START_US: u64 = 1_772_366_400_000_000;

#[test]
fn every_history_gets_the_report_it_expects() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(
        paths.len() >= 14,
        "the histories are in {}",
        folder.display()
    );
    let mut wrong = String::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let (script, expected) = text.split_once("\nexpect ").expect("an expectation");
        let found = run(script);
        if found.trim_end() != expected.trim_end() {
            writeln!(wrong, "== {}\n{found}", path.display()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "these report otherwise, namely:\n{wrong}");
}

/// The verdict and the reports.
fn run(script: &str) -> String {
    let lines: Vec<&str> = script
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.ledger");
    write(&lines, &path);

    let history = History::read(&mut LedgerReader::open(&path).unwrap()).unwrap();
    let mut created = Vec::new();
    for line in &lines {
        if let ["invoke", seqs, at] = words(line)[..] {
            created.resize(usize::try_from(range(seqs).end).unwrap(), after_start(at));
        }
    }
    let reports = read(&lines, &history, &created);
    let verdict = Verdict::worst(reports.iter().map(|report| report.verdict));
    let mut text = verdict.to_string();
    for report in reports {
        write!(text, "\n{report}").unwrap();
    }
    text
}

/// Writes the ledger as a writer would.
fn write(lines: &[&str], path: &Path) {
    let policy = lines.iter().find_map(|line| line.strip_prefix("policy "));
    let header = Header {
        run: RunId::new(0xbeef),
        start: after_start("@0"),
        lab: "halab".to_owned(),
        policy: policy.unwrap_or("available").to_owned(),
    };
    let mut ledger = LedgerWriter::create(path, header).unwrap();
    let mut events = Vec::new();
    let mut closed = false;
    for line in lines {
        match words(line)[..] {
            ["invoke", seqs, at] => {
                let seqs = range(seqs);
                assert_eq!(ledger.invoked(seqs.len(), after_start(at)).unwrap(), seqs);
            }
            ["ack", seqs, how, at] => {
                let outcome = match how {
                    "replicated" => RecordOutcome::Replicated,
                    "witnessed" => RecordOutcome::Witnessed,
                    "sent" => RecordOutcome::Unconfirmed,
                    _ => panic!("{line}"),
                };
                ledger.settled(range(seqs), outcome, micros(at)).unwrap();
            }
            ["fail", seqs, at] => {
                ledger
                    .settled(range(seqs), RecordOutcome::Failed, micros(at))
                    .unwrap();
            }
            ["fault", name, start, "..", ref rest @ ..] => {
                let fault = name.to_owned();
                let expects_failover = rest.contains(&"expects-failover");
                let started = LedgerEvent::FaultStarted {
                    fault: fault.clone(),
                    expects_failover,
                };
                events.push((micros(start), started));
                if let Some(end) = rest.first().filter(|word| word.starts_with('@')) {
                    events.push((micros(end), LedgerEvent::FaultEnded { fault }));
                }
            }
            ["primary", node, at] => {
                events.push((
                    micros(at),
                    LedgerEvent::PrimaryChanged {
                        node: node.to_owned(),
                    },
                ));
            }
            ["closed"] => closed = true,
            [
                "policy" | "torn" | "node" | "read" | "stray" | "read-failed",
                ..,
            ] => {}
            _ => panic!("not a line of a history: {line}"),
        }
    }
    events.sort_by_key(|(at_us, _)| *at_us);
    for (at_us, event) in events {
        ledger.event(at_us, event).unwrap();
    }
    if closed {
        ledger.close(1_000_000_000).unwrap();
    } else {
        drop(ledger);
    }
    if let Some(bytes) = lines.iter().find_map(|line| line.strip_prefix("torn ")) {
        let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(&vec![0xff; usize::try_from(number(bytes)).unwrap()])
            .unwrap();
    }
}

/// Reads the nodes as a verifier would.
fn read(lines: &[&str], history: &History, created: &[Timestamp]) -> Vec<CheckReport> {
    let run = history.header().run;
    let created_of = |seq: u64| created[usize::try_from(seq).unwrap()];
    let mut readings = vec![("redis-a", NodeReading::new(history, "redis-a"))];
    for line in lines {
        let reading = &mut readings.last_mut().unwrap().1;
        match words(line)[..] {
            ["node", name] => readings.push((name, NodeReading::new(history, name))),
            ["read", seqs, ref what @ ..] => {
                for seq in range(seqs).iter() {
                    let at = created_of(seq);
                    let value = |of| Batch::new(run, created_of(of)).value(of).to_vec();
                    let value = match what {
                        ["ok"] => Some(value(seq)),
                        ["absent"] => None,
                        ["other"] => Some(b"other".to_vec()),
                        ["value-of", other] => Some(value(number(other))),
                        _ => panic!("{line}"),
                    };
                    reading.observe(seq, at, value.as_deref());
                }
            }
            ["stray", seqs] => range(seqs)
                .iter()
                .for_each(|seq| reading.observe_stray(seq)),
            ["read-failed", ..] => reading.fail(line.trim_start_matches("read-failed ")),
            _ => {}
        }
    }
    readings
        .into_iter()
        .map(|(_, reading)| reading.finish())
        .collect()
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn number(text: &str) -> u64 {
    text.replace('_', "")
        .parse()
        .unwrap_or_else(|_| panic!("not a number: {text}"))
}

fn micros(at: &str) -> u64 {
    number(
        at.strip_prefix('@')
            .unwrap_or_else(|| panic!("not a time: {at}")),
    )
}

fn after_start(at: &str) -> Timestamp {
    Timestamp::from_micros(START_US + micros(at)).unwrap()
}

fn range(text: &str) -> SeqRange {
    match text.split_once("..") {
        Some((start, end)) => SeqRange::new(number(start), number(end)),
        None => SeqRange::new(number(text), number(text) + 1),
    }
}
