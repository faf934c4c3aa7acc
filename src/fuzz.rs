//! Properties of everything that parses input from outside, one function for each kind of input: no
//! panic, no endless loop, and what is stated here. `fuzz/` (cargo-fuzz) and `tests/fuzz.rs` run
//! them; the program does not call them.

use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use redis::Value;

use crate::checker::{History, NodeReading};
use crate::client::{Role, ServerInfo, framing, reply};
use crate::config::Lab;
use crate::drill::report::{DrillReport, html, markdown};
use crate::ledger::{Entry, Header, LedgerReader, codec};
use crate::protocol::ack::{Evidence, UncoveredWrites, witness};
use crate::protocol::vote::elect;
use crate::record::{RunId, Timestamp};
use crate::resp::{ReplyFraming, ReplyLimits};
use crate::sentinel::reply::view;

/// A kind of input.
pub struct FuzzTarget {
    /// The name of its corpus and of its target in `fuzz/`.
    pub name: &'static str,
    /// Parses the bytes. Panics if a property is violated.
    pub run: fn(&[u8]),
}

/// All kinds of input.
pub const TARGETS: [FuzzTarget; 5] = [
    FuzzTarget {
        name: "lab_toml",
        run: lab_toml,
    },
    FuzzTarget {
        name: "ledger",
        run: ledger,
    },
    FuzzTarget {
        name: "sentinel",
        run: sentinel,
    },
    FuzzTarget {
        name: "resp",
        run: resp,
    },
    FuzzTarget {
        name: "report",
        run: report,
    },
];

/// `lab.toml`: a lab that passes its own rules, or problems with a text.
pub fn lab_toml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for profile in [None, Some("fast")] {
        match Lab::parse(text, profile) {
            Ok(lab) => {
                assert!(lab.majority() <= lab.sentinels.len());
                assert!(lab.node(&lab.seed_primary).is_some());
                let moved = lab.relocated([127, 9, 9]);
                assert_eq!(moved.nodes().count(), lab.nodes().count());
            }
            Err(problems) => assert!(!problems.to_string().is_empty()),
        }
    }
}

/// A ledger, unchanged and with correct checksums: read to its end, judged, displayed.
pub fn ledger(bytes: &[u8]) {
    read_ledger(bytes);
    read_ledger(&with_checksums(bytes));
}

fn read_ledger(bytes: &[u8]) {
    /// Larger histories are not judged: they take more time and test nothing new.
    const MAX_RECORDS: u64 = 100_000;
    let open = || LedgerReader::new(Cursor::new(bytes), Path::new("fuzz.ledger"));
    let Ok(reader) = open() else { return };
    let (mut entries, mut records) = (0_usize, 0_u64);
    for entry in reader {
        entries += 1;
        match entry {
            Ok(Entry::Invoked(batch)) => records = records.max(batch.seqs.end),
            Ok(Entry::Settled(settled)) => {
                records = settled
                    .seqs
                    .iter()
                    .map(|seqs| seqs.len())
                    .fold(records, u64::saturating_add);
            }
            Ok(_) => {}
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    assert!(entries <= bytes.len(), "more entries than bytes");
    if records > MAX_RECORDS {
        return;
    }
    let Ok(mut reader) = open() else { return };
    if let Ok(history) = History::read(&mut reader) {
        let report = NodeReading::new(&history, "redis-a").finish();
        assert!(report.counts.acknowledged <= report.counts.invoked);
        assert!(!report.to_string().is_empty());
    }
}

/// Frames with these payloads after a header, with correct checksums. Otherwise hardly any input
/// would get past the checksums.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let run = RunId::new(7);
    let header = Header {
        run,
        start: Timestamp::default(),
        lab: "lab".into(),
        policy: "available".into(),
    };
    let mut out = Vec::new();
    let encoded = codec::encode_header(&header, &mut out);
    assert!(encoded.is_ok());
    let mut rest = bytes;
    while let [kind, length, after @ ..] = rest {
        let length = usize::from(*length).min(after.len());
        let (payload, next) = after.split_at(length);
        let begin = out.len();
        match u8::try_from(length) {
            Ok(short @ ..31) => out.push((kind & 7) | (short << 3)),
            _ => {
                out.push((kind & 7) | (31 << 3));
                let mut left = length;
                while left >= 0x80 {
                    out.push((left & 0x7f) as u8 | 0x80);
                    left >>= 7;
                }
                out.push(left as u8);
            }
        }
        out.extend_from_slice(payload);
        let mut crc = crc32fast::Hasher::new();
        crc.update(&run.bits().to_le_bytes());
        crc.update(&(begin as u64).to_le_bytes());
        crc.update(out.get(begin..).unwrap_or_default());
        out.extend_from_slice(&crc.finalize().to_le_bytes());
        rest = next;
    }
    out
}

/// Answers of a Sentinel or a data node: a sequence of replies, each parsed as every kind of
/// answer.
pub fn sentinel(bytes: &[u8]) {
    let mut values = Vec::new();
    let mut rest = bytes;
    while let Ok(Some((value, length))) = reply::read(rest) {
        rest = rest.get(length..).unwrap_or_default();
        values.push(value);
    }
    for value in &values {
        let _ = Role::from_value(value);
        if let Value::BulkString(text) = value
            && let Ok(text) = std::str::from_utf8(text)
            && let Some(info) = ServerInfo::of(text)
        {
            assert!(info.heard.len() <= info.online.len());
            assert!(info.version.len() < 100);
        }
    }
    let views: Vec<_> = values.windows(2).filter_map(|two| view(two).ok()).collect();
    for view in &views {
        let _ = view.primary_proved_within();
    }
    if let Ok(primary) = elect(&views, views.len(), views.len() / 2 + 1) {
        let case = UncoveredWrites {
            primary,
            uncovered: views
                .iter()
                .flat_map(|v| v.replicas.iter().map(|r| r.address))
                .collect(),
        };
        let evidence = Evidence {
            raise_limit: Duration::from_millis(25),
            views: &views,
            majority: views.len() / 2 + 1,
            assured: &[],
            age: Duration::from_millis(3),
        };
        let _ = witness(&case, evidence);
    }
}

/// A reply, framed and parsed: both agree, however the bytes are split.
pub fn resp(bytes: &[u8]) {
    let any_size = ReplyLimits {
        is_resp3: true,
        bytes: u64::MAX,
        values: u64::MAX,
        depth: 64,
    };
    for limits in [framing::LIMITS, any_size] {
        let at_once = ReplyFraming::new(limits).read_all(bytes);
        let mut framing = ReplyFraming::new(limits);
        let in_pieces = bytes
            .chunks(3)
            .try_for_each(|piece| framing.read_all(piece));
        assert_eq!(
            at_once.is_ok(),
            in_pieces.is_ok(),
            "framed otherwise in pieces"
        );
        let is_limited = limits == framing::LIMITS;
        if is_limited && at_once.is_ok() {
            let unlimited = ReplyFraming::new(any_size).read_all(bytes);
            assert_eq!(unlimited, Ok(()), "refused without limits");
        }
    }
    if let Ok(Some((value, length))) = reply::read(bytes) {
        let reply = bytes.get(..length).unwrap_or_default();
        let framed = ReplyFraming::new(framing::LIMITS).read(reply);
        assert_eq!(framed, Ok((length, true)), "refused a reply");
        assert_eq!(
            redis::parse_redis_value(reply).ok(),
            Some(value),
            "read otherwise by the crate"
        );
    }
}

/// A drill's report: rendered in every form.
pub fn report(bytes: &[u8]) {
    let Ok(report) = serde_json::from_slice::<DrillReport>(bytes) else {
        return;
    };
    for text in [
        markdown::text(&report),
        markdown::markdown(&report),
        markdown::table(&report),
        html::page(&report),
    ] {
        assert!(!text.is_empty());
    }
    assert!(serde_json::to_vec(&report.shortened()).is_ok());
}
