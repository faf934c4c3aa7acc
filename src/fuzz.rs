//! What everything that reads bytes from outside has to bear, one function a kind of input: no panic, no endless
//! loop, and the properties that are stated here. Run by `fuzz/` (cargo-fuzz) and by `tests/fuzz.rs`; no part of the
//! program calls it.

use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use redis::Value;

use crate::checker::{History, Reading};
use crate::client::guard::Framing;
use crate::client::{ReplicationInfo, Role, reply};
use crate::config::Lab;
use crate::drill::report::Report;
use crate::drill::{html, markdown};
use crate::ledger::{Entry, Header, LedgerReader, codec};
use crate::protocol::ack::{Degraded, Testimony, witness};
use crate::protocol::vote::elect;
use crate::record::{RunId, Timestamp};
use crate::sentinel::reply::view;

/// One kind of input.
pub struct Target {
    /// The name of its corpus, and of its target in `fuzz/`.
    pub name: &'static str,
    /// Reads the bytes. Panics where a property does not hold.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 5] = [
    Target {
        name: "lab_toml",
        run: lab_toml,
    },
    Target {
        name: "ledger",
        run: ledger,
    },
    Target {
        name: "sentinel",
        run: sentinel,
    },
    Target {
        name: "resp",
        run: resp,
    },
    Target {
        name: "report",
        run: report,
    },
];

/// `lab.toml`: a lab that passes its own rules, or problems that can be shown.
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

/// A ledger, as it is and as one whose checksums fit: read to its end, judged, shown.
pub fn ledger(bytes: &[u8]) {
    read_ledger(bytes);
    read_ledger(&sealed(bytes));
}

fn read_ledger(bytes: &[u8]) {
    /// Of a history that is judged here; a ledger may stand for more, which takes more time and no more care.
    const RECORDS: u64 = 100_000;
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
    if records > RECORDS {
        return;
    }
    let Ok(mut reader) = open() else { return };
    if let Ok(history) = History::read(&mut reader) {
        let report = Reading::new(&history, "redis-a").finish();
        assert!(report.counts.acknowledged <= report.counts.invoked);
        assert!(!report.to_string().is_empty());
    }
}

/// Frames of these payloads behind a header, with the checksums that belong to them: else hardly any input would
/// get past those.
fn sealed(bytes: &[u8]) -> Vec<u8> {
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

/// What a Sentinel or a data node answers: replies one after the other, each taken for every answer that is asked for.
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
            && let Some(info) = ReplicationInfo::of(text)
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
        let case = Degraded {
            primary,
            uncovered: views
                .iter()
                .flat_map(|v| v.replicas.iter().map(|r| r.address))
                .collect(),
        };
        let heard = Testimony {
            raise_limit: Duration::from_millis(25),
            views: &views,
            majority: views.len() / 2 + 1,
            own_word: &[],
            age: Duration::from_millis(3),
        };
        let _ = witness(&case, heard);
    }
}

/// A reply, framed and read: both agree, however it is cut.
pub fn resp(bytes: &[u8]) {
    let mut framing = Framing::default();
    let whole = framing.feed(bytes);
    let mut piecewise = Framing::default();
    let pieces = bytes.chunks(3).try_for_each(|piece| piecewise.feed(piece));
    assert_eq!(whole.is_ok(), pieces.is_ok(), "framed otherwise in pieces");
    if let Ok(Some((value, length))) = reply::read(bytes) {
        let reply = bytes.get(..length).unwrap_or_default();
        assert_eq!(Framing::default().feed(reply), Ok(()), "refused a reply");
        assert_eq!(
            redis::parse_redis_value(reply).ok(),
            Some(value),
            "read otherwise by the crate"
        );
    }
}

/// The report of a drill: shown in every form.
pub fn report(bytes: &[u8]) {
    let Ok(report) = serde_json::from_slice::<Report>(bytes) else {
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
