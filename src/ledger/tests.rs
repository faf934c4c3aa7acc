//! The guarantees of the ledger, through its public API and real files.

use std::io::Write;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::record::SeqRange;

pub(super) fn header() -> Header {
    Header {
        run: RunId::new(0xfeed),
        start: Timestamp::from_micros(1_772_366_400_000_000).unwrap(),
        lab: "halab".to_owned(),
        policy: "available".to_owned(),
    }
}

pub(super) fn after_start(us: u64) -> Timestamp {
    Timestamp::from_micros(header().start.micros() + us).unwrap()
}

pub(super) fn read(path: &Path) -> Result<(Vec<Entry>, LedgerEnd), Error> {
    let mut reader = LedgerReader::open(path)?;
    assert_eq!(reader.header(), &header());
    let entries = reader.by_ref().collect::<Result<Vec<Entry>, Error>>()?;
    Ok((entries, reader.end().unwrap()))
}

/// The example in `docs/ledger.md`, so that document and program agree.
#[test]
fn the_format_is_the_documented_one() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("run.ledger");
    let mut ledger = LedgerWriter::create(&path, header()).unwrap();
    ledger.invoked(100, after_start(300)).unwrap();
    ledger.invoked(100, after_start(700)).unwrap();
    ledger
        .settled(SeqRange::new(0, 100), RecordOutcome::Replicated, 950)
        .unwrap();
    ledger
        .settled(SeqRange::new(100, 200), RecordOutcome::Replicated, 1200)
        .unwrap();
    ledger.event(2000, LedgerEvent::Resumed).unwrap();
    ledger.close(3000).unwrap();

    let documented = include_str!("../../docs/ledger.md");
    let example = documented
        .split("<!-- example -->")
        .nth(1)
        .expect("the example");
    let bytes: Vec<u8> = example
        .lines()
        .filter_map(|line| line.strip_prefix("    ")?.split('|').next())
        .flat_map(str::split_whitespace)
        .map(|hex| u8::from_str_radix(hex, 16).expect("a byte in hex"))
        .collect();
    let found = std::fs::read(&path).unwrap();
    assert_eq!(found, bytes, "found {found:02x?}");
}

#[test]
fn a_reader_follows_a_ledger_that_is_written_byte_by_byte() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("run.ledger");
    let mut ledger = LedgerWriter::create(&path, header()).unwrap();
    let head = ledger_len(&path);
    for i in 0..20 {
        let seqs = ledger.invoked(7, after_start(i * 100)).unwrap();
        let at = i * 100 + 50;
        ledger.settled(seqs, RecordOutcome::Replicated, at).unwrap();
        ledger.event(at, LedgerEvent::SentAgain).unwrap();
    }
    ledger.close(9_000).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let growing = dir.path().join("growing.ledger");
    let mut file = std::fs::File::create(&growing).unwrap();
    file.write_all(&whole[..head]).unwrap();
    let mut reader = LedgerReader::open(&growing).unwrap();
    let mut entries = Vec::new();
    for byte in &whole[head..] {
        assert!(reader.next().is_none());
        assert_ne!(reader.end(), Some(LedgerEnd::Closed));
        file.write_all(&[*byte]).unwrap();
        reader.follow();
        entries.extend(reader.by_ref().map(Result::unwrap));
    }
    assert_eq!(reader.end(), Some(LedgerEnd::Closed));
    assert_eq!(entries, read(&path).unwrap().0);
}

#[test]
fn an_existing_ledger_is_never_overwritten() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("run.ledger");
    std::fs::write(&path, "precious").unwrap();
    let error = LedgerWriter::create(&path, header()).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    assert!(error.to_string().contains("--resume"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn a_second_writer_is_refused_while_the_first_lives() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("run.ledger");
    let first = LedgerWriter::create(&path, header()).unwrap();
    assert!(matches!(
        LedgerWriter::resume(&path),
        Err(Error::Locked { .. })
    ));
    drop(first);
    LedgerWriter::resume(&path).unwrap();
}

#[test]
fn a_batch_is_in_the_file_before_invoked_returns() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("run.ledger");
    let mut ledger = LedgerWriter::create(&path, header()).unwrap();
    let seqs = ledger.invoked(100, after_start(5)).unwrap();
    assert_eq!(seqs, SeqRange::new(0, 100));
    let (entries, end) = read(&path).unwrap();
    assert_eq!(
        entries,
        [Entry::Invoked(Invoked {
            seqs,
            created: after_start(5)
        })]
    );
    assert_eq!(end, LedgerEnd::Open);
}

#[test]
fn records_that_were_never_invoked_cannot_be_settled() {
    let dir = TempDir::new().unwrap();
    let mut ledger = LedgerWriter::create(&dir.path().join("run.ledger"), header()).unwrap();
    ledger.invoked(10, after_start(0)).unwrap();
    let error = ledger
        .settled(SeqRange::new(5, 11), RecordOutcome::Replicated, 1)
        .unwrap_err();
    assert!(
        matches!(error, Error::NotInvoked { next_seq: 10, .. }),
        "{error}"
    );
    let error = ledger.invoked(0, after_start(0)).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Refused {
                source: codec::CodecError::Empty,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn an_event_that_is_too_long_is_refused_and_the_ledger_goes_on() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("run.ledger");
    let mut ledger = LedgerWriter::create(&path, header()).unwrap();
    let text = "x".repeat(codec::MAX_PAYLOAD);
    let error = ledger.event(1, LedgerEvent::Note { text }).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Refused {
                source: codec::CodecError::TooLong,
                ..
            }
        ),
        "{error}"
    );
    ledger.event(1, LedgerEvent::Resumed).unwrap();
    ledger.close(2).unwrap();
    let (entries, end) = read(&path).unwrap();
    assert_eq!((entries.len(), end), (2, LedgerEnd::Closed));
}

#[test]
fn a_file_that_ends_in_its_header_says_that_nothing_was_sent() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("run.ledger");
    LedgerWriter::create(&path, header()).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for len in 0..whole.len() {
        std::fs::write(&path, &whole[..len]).unwrap();
        let error = LedgerWriter::resume(&path).unwrap_err();
        assert!(matches!(error, Error::HeaderTorn { .. }), "{len}: {error}");
    }
    std::fs::write(&path, "a text file").unwrap();
    let error = LedgerReader::open(&path).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Header {
                source: codec::CodecError::NotALedger,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let mut bytes = codec::MAGIC.to_vec();
    bytes.extend_from_slice(&[2, 0]);
    let error = LedgerReader::new(&bytes[..], Path::new("new.ledger")).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Header {
                source: codec::CodecError::Version(2),
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_tail_of_zero_bytes_is_torn_however_long_it_is() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("run.ledger");
    LedgerWriter::create(&path, header())
        .unwrap()
        .invoked(7, after_start(1))
        .unwrap();
    let whole = std::fs::read(&path).unwrap();
    for zeros in [1, 5, 4096, 1 << 20] {
        let mut bytes = whole.clone();
        bytes.resize(whole.len() + zeros, 0);
        std::fs::write(&path, &bytes).unwrap();
        let torn = LedgerEnd::Torn {
            offset: whole.len() as u64,
            bytes: zeros as u64,
        };
        assert_eq!(read(&path).unwrap().1, torn);
    }
    let (ledger, resumed) = LedgerWriter::resume(&path).unwrap();
    assert_eq!((resumed.next_seq, resumed.unknown.len()), (7, 1));
    drop(ledger);
    assert_eq!(std::fs::read(&path).unwrap(), whole);
}

#[test]
fn a_long_tail_of_garbage_is_damage() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("run.ledger");
    LedgerWriter::create(&path, header()).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let offset = bytes.len() as u64;
    bytes.resize(bytes.len() + reader::MAX_TAIL + 1, 0xff);
    std::fs::write(&path, &bytes).unwrap();
    let error = LedgerWriter::resume(&path).unwrap_err();
    assert!(
        matches!(error, Error::Damaged { offset: at, .. } if at == offset),
        "{error}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "resume left it alone");
}

#[test]
fn an_entry_moved_or_left_out_is_damage() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("run.ledger");
    let mut ledger = LedgerWriter::create(&path, header()).unwrap();
    let mut ends = vec![std::fs::metadata(&path).unwrap().len() as usize];
    for _ in 0..20_000 {
        ledger.invoked(1, after_start(1)).unwrap();
        ends.push(ledger_len(&path));
    }
    drop(ledger);
    let whole = std::fs::read(&path).unwrap();
    let without = [&whole[..ends[3]], &whole[ends[4]..]].concat();
    std::fs::write(&path, without).unwrap();
    assert!(matches!(read(&path), Err(Error::Damaged { .. })));
}

fn ledger_len(path: &Path) -> usize {
    usize::try_from(std::fs::metadata(path).unwrap().len()).unwrap()
}

/// Ten million records at each batch size: bytes for each record, with batches settled two behind.
#[test]
fn ten_million_records_stay_small() {
    for (batch, most) in [(1_u64, 8.0), (100, 0.25), (1000, 0.03)] {
        let mut codec_and_file = sized::Sized::new();
        let batches = 10_000_000 / batch;
        for i in 0..batches {
            codec_and_file.batch(i, batch);
        }
        let bytes = codec_and_file.len() as f64 / 10_000_000.0;
        println!("batch {batch}: {bytes:.3} bytes a record");
        assert!(bytes < most, "batch {batch}: {bytes} bytes a record");
    }
}

mod sized {
    //! A ledger of which only the size is kept.

    use super::super::append::{Appender, Medium};
    use super::super::codec::{Codec, encode_header};
    use super::super::{RecordOutcome, SeqRange};
    use super::{after_start, header};

    struct Counter(u64);

    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Medium for Counter {
        fn truncate(&mut self, len: u64) -> std::io::Result<()> {
            self.0 = len;
            Ok(())
        }
    }

    pub struct Sized(Appender<Counter>);

    impl Sized {
        pub fn new() -> Sized {
            let mut bytes = Vec::new();
            encode_header(&header(), &mut bytes).unwrap();
            let codec = Codec::new(&header(), bytes.len());
            Sized(Appender::new(Counter(bytes.len() as u64), codec))
        }

        /// About 400 µs for each batch, as in a busy lab.
        pub fn batch(&mut self, index: u64, count: u64) {
            let at_us = index * 400;
            let seqs = self.0.invoked(count, after_start(at_us)).unwrap();
            if let Some(start) = seqs.start.checked_sub(2 * count) {
                let settled = SeqRange::new(start, start + count);
                self.0
                    .settled(settled, RecordOutcome::Replicated, at_us + 150)
                    .unwrap();
            }
        }

        pub fn len(&mut self) -> u64 {
            self.0.flush().unwrap();
            self.0.medium().0
        }
    }
}

#[test]
fn a_batch_that_no_memory_holds_is_refused_written_and_read() {
    let start = Timestamp::default();
    let header = Header {
        run: RunId::new(7),
        start,
        lab: "lab".into(),
        policy: "available".into(),
    };
    let batch = |count| {
        Entry::Invoked(Invoked {
            seqs: SeqRange::new(0, count),
            created: start,
        })
    };
    let most = super::codec::MAX_BATCH;
    let mut out = Vec::new();
    let mut codec = super::codec::Codec::new(&header, 0);
    assert!(codec.encode(&batch(most), &mut out).is_ok());
    let mut codec = super::codec::Codec::new(&header, 0);
    let refused = codec.encode(&batch(most + 1), &mut out);
    assert_eq!(refused, Err(super::codec::CodecError::TooLong));
}
