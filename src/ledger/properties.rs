//! The guarantees of the ledger for any history, any crash and any flipped bit.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::append::{AppendError, Appender, Medium};
use super::codec::{self, Codec};
use super::tests::{after_start, header, read};
use super::*;

/// Each record's batch and outcome according to the entries.
fn outcomes(entries: &[Entry]) -> BTreeMap<u64, (Timestamp, Option<RecordOutcome>)> {
    let mut records = BTreeMap::new();
    for entry in entries {
        match entry {
            Entry::Invoked(batch) => {
                records.extend(batch.seqs.iter().map(|seq| (seq, (batch.created, None))));
            }
            Entry::Settled(settled) => {
                for seq in settled.seqs.iter().flat_map(|seqs| seqs.iter()) {
                    let record = records.get_mut(&seq).expect("invoked before settled");
                    record.1 = record.1.max(Some(settled.outcome));
                }
            }
            Entry::Event { .. } | Entry::Closed { .. } => {}
        }
    }
    records
}

/// A call to the writer.
#[derive(Debug, Clone)]
enum Call {
    Invoke {
        count: u64,
        created_us: u64,
    },
    Settle {
        back: u64,
        count: u64,
        outcome: RecordOutcome,
    },
    Event(String),
    Flush,
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        4 => (1..300_u64, 0..10_000_000_u64)
            .prop_map(|(count, created_us)| Call::Invoke { count, created_us }),
        4 => (0..600_u64, 1..200_u64, 0..4_usize).prop_map(|(back, count, outcome)| {
            Call::Settle { back, count, outcome: RecordOutcome::ALL[outcome] }
        }),
        1 => ".{0,60}".prop_map(Call::Event),
        1 => Just(Call::Flush),
    ]
}

/// Makes the calls; returns what was settled.
fn make(calls: &[Call], ledger: &mut LedgerWriter) -> BTreeMap<u64, RecordOutcome> {
    let mut settled: BTreeMap<u64, RecordOutcome> = BTreeMap::new();
    for (call, at_us) in calls.iter().zip((0..).step_by(3_000)) {
        match call {
            Call::Invoke { count, created_us } => {
                ledger.invoked(*count, after_start(*created_us)).unwrap();
            }
            Call::Settle {
                back,
                count,
                outcome,
            } => {
                let start = ledger.next_seq().saturating_sub(*back);
                let seqs = SeqRange::new(start, (start + count).min(ledger.next_seq()));
                ledger.settled(seqs, *outcome, at_us).unwrap();
                for seq in seqs.iter() {
                    let best = settled.entry(seq).or_insert(*outcome);
                    *best = (*best).max(*outcome);
                }
            }
            Call::Event(text) => {
                ledger
                    .event(at_us, LedgerEvent::Note { text: text.clone() })
                    .unwrap();
            }
            Call::Flush => ledger.flush().unwrap(),
        }
    }
    settled
}

/// A ledger with these calls made, and closed; returns what was settled.
fn written(calls: &[Call], path: &Path) -> BTreeMap<u64, RecordOutcome> {
    let mut ledger = LedgerWriter::create(path, header()).unwrap();
    let settled = make(calls, &mut ledger);
    ledger.close(1 << 40).unwrap();
    settled
}

fn settled_of(
    records: &BTreeMap<u64, (Timestamp, Option<RecordOutcome>)>,
) -> BTreeMap<u64, RecordOutcome> {
    records
        .iter()
        .filter_map(|(seq, (_, outcome))| Some((*seq, (*outcome)?)))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_ledger_gives_back_what_was_noted(calls in prop::collection::vec(call(), 0..80)) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("run.ledger");
        let settled = written(&calls, &path);
        let (entries, end) = read(&path).unwrap();
        prop_assert_eq!(end, LedgerEnd::Closed);
        prop_assert_eq!(settled_of(&outcomes(&entries)), settled);
        let created: Vec<(u64, Timestamp)> = calls
            .iter()
            .filter_map(|call| match call {
                Call::Invoke { count, created_us } => Some((*count, after_start(*created_us))),
                _ => None,
            })
            .collect();
        let batches: Vec<(u64, Timestamp)> = entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Invoked(batch) => Some((batch.seqs.len(), batch.created)),
                _ => None,
            })
            .collect();
        prop_assert_eq!(batches, created);
    }

    #[test]
    fn a_ledger_cut_anywhere_acknowledges_nothing_new_and_can_be_resumed(
        calls in prop::collection::vec(call(), 1..40),
        more in prop::collection::vec(call(), 1..20),
        cut: prop::sample::Index,
    ) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("run.ledger");
        LedgerWriter::create(&path, header()).unwrap();
        let header_len = std::fs::read(&path).unwrap().len();
        std::fs::remove_file(&path).unwrap();
        let settled = written(&calls, &path);
        let whole = std::fs::read(&path).unwrap();
        let (all, _) = read(&path).unwrap();

        let len = header_len + cut.index(whole.len() - header_len);
        std::fs::write(&path, &whole[..len]).unwrap();
        let (entries, end) = read(&path).unwrap();
        prop_assert_eq!(&entries[..], &all[..entries.len()]);
        prop_assert_ne!(end, LedgerEnd::Closed);
        let before = outcomes(&entries);
        for (seq, outcome) in settled_of(&before) {
            prop_assert!(outcome <= settled[&seq]);
        }

        let (mut ledger, resumed) = LedgerWriter::resume(&path).unwrap();
        prop_assert_eq!(resumed.end, end);
        prop_assert_eq!(resumed.next_seq, before.len() as u64);
        let unknown: Vec<(u64, Timestamp)> = resumed
            .unknown
            .iter()
            .flat_map(|batch| batch.seqs.iter().map(|seq| (seq, batch.created)))
            .collect();
        let expected: Vec<(u64, Timestamp)> =
            before.iter().filter(|(_, r)| r.1.is_none()).map(|(seq, r)| (*seq, r.0)).collect();
        prop_assert_eq!(unknown, expected);
        let settled = settled_of(&before);
        let acknowledged = settled.values().filter(|outcome| outcome.is_acknowledged()).count();
        prop_assert_eq!(resumed.acknowledged, acknowledged as u64);
        prop_assert_eq!(resumed.failed, (settled.len() - acknowledged) as u64);

        make(&more, &mut ledger);
        ledger.close(1 << 41).unwrap();
        let (entries_after, end) = read(&path).unwrap();
        prop_assert_eq!(end, LedgerEnd::Closed);
        prop_assert_eq!(&entries_after[..entries.len()], &entries[..]);
    }

    /// A flip in the last entry may look like a torn tail, which is reported; an earlier one never
    /// does.
    #[test]
    fn a_flipped_bit_is_never_passed_over(
        calls in prop::collection::vec(call(), 1..40),
        at: prop::sample::Index,
        bit in 0..8_u32,
    ) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("run.ledger");
        written(&calls, &path);
        let (all, _) = read(&path).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let mut reader = match LedgerReader::new(&bytes[..], &path) {
            Err(_) => return Ok(()),
            Ok(reader) => reader,
        };
        let result: Result<Vec<Entry>, Error> = reader.by_ref().collect();
        match result {
            Err(error) => {
                let is_damaged = matches!(error, Error::Damaged { offset, .. } if offset <= at as u64);
                prop_assert!(is_damaged, "{}", error);
            }
            Ok(entries) => {
                // Every history here is closed, so the last entry is `Closed`.
                prop_assert_eq!(&entries[..], &all[..all.len() - 1]);
                let is_torn = matches!(reader.end(), Some(LedgerEnd::Torn { .. }));
                prop_assert!(is_torn);
            }
        }
    }

    #[test]
    fn bytes_of_any_kind_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut ledger = Vec::new();
        codec::encode_header(&header(), &mut ledger).unwrap();
        ledger.extend_from_slice(&bytes);
        for entry in LedgerReader::new(&ledger[..], Path::new("any")).unwrap() {
            let _ = entry;
        }
        let _ = LedgerReader::new(&bytes[..], Path::new("any"));
    }

    /// The device fills up at some byte and has room again later. Accepted entries stay, refused
    /// ones do not appear, and the file is complete at every point.
    #[test]
    fn a_full_device_leaves_a_whole_ledger(
        room in 0..3_000_usize,
        batches in prop::collection::vec((1..2_000_u64, 0..5_000_u64), 1..200),
    ) {
        let mut start = Vec::new();
        codec::encode_header(&header(), &mut start).unwrap();
        let codec = Codec::new(&header(), start.len());
        let device = Device { room: start.len() + room, bytes: start };
        let mut ledger = Appender::new(device, codec);
        let (mut taken, mut refused) = (Vec::new(), 0);
        for (count, us) in batches {
            match ledger.invoked(count, after_start(us)) {
                Ok(seqs) => taken.push(Entry::Invoked(Invoked { seqs, created: after_start(us) })),
                Err(AppendError::Write(_)) => {
                    refused += 1;
                    if refused == 3 {
                        ledger.medium_mut().room = usize::MAX;
                    }
                }
                Err(other) => panic!("{other:?}"),
            }
            let bytes = &ledger.medium().bytes[..];
            let mut reader = LedgerReader::new(bytes, Path::new("device")).unwrap();
            let entries: Vec<Entry> = reader.by_ref().map(Result::unwrap).collect();
            prop_assert_eq!(&entries, &taken);
            prop_assert_eq!(reader.end(), Some(LedgerEnd::Open));
        }
    }
}

/// A device with room for this many bytes, which writes the part of a buffer that fits.
struct Device {
    bytes: Vec<u8>,
    room: usize,
}

impl std::io::Write for Device {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let fits = bytes.len().min(self.room.saturating_sub(self.bytes.len()));
        if fits == 0 {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(&bytes[..fits]);
        Ok(fits)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Medium for Device {
    fn truncate(&mut self, len: u64) -> std::io::Result<()> {
        self.bytes.truncate(usize::try_from(len).unwrap());
        Ok(())
    }
}

/// A device that can neither write nor truncate.
struct Dead;

impl std::io::Write for Dead {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::Other.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Medium for Dead {
    fn truncate(&mut self, _: u64) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Other.into())
    }
}

#[test]
fn nothing_is_written_behind_a_tail_that_could_not_be_cut_off() {
    let mut ledger = Appender::new(Dead, Codec::new(&header(), 40));
    for _ in 0..2 {
        let error = ledger.invoked(1, after_start(0)).unwrap_err();
        assert!(matches!(error, AppendError::Broken), "{error:?}");
    }
    assert!(matches!(ledger.flush(), Err(AppendError::Broken)));
}
