//! Checks that an RDB file is complete and contains one mark. Pure.
//!
//! An RDB ends with a checksum of all its content. See
//! <https://rdb.fnordig.de/file_format.html>.

use crc::{CRC_64_REDIS, Crc, Digest, Table};

use crate::protocol::copy::Mark;

use super::mark_finder::MarkFinder;

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

/// The beginning of an RDB: `REDIS`, or `VALKEY` for later Valkey versions, followed by the format
/// version.
const MAGICS: [&[u8]; 2] = [b"REDIS", b"VALKEY"];
/// Length of the beginning with the version.
const HEADER_LEN: usize = 9;
/// Length of the end: the end code and the checksum.
const TRAILER_LEN: usize = 9;
const EOF: u8 = 0xff;

/// The defect of an RDB file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It does not begin like an RDB.
    #[error("not an RDB file")]
    NotAnRdb,
    /// It does not end like an RDB.
    #[error("its end is missing")]
    Truncated,
    /// The stored checksum does not match the content.
    #[error("its stored checksum is {stored:016x}, but that of its content is {actual:016x}")]
    Checksum {
        /// The stored checksum.
        stored: u64,
        /// The checksum of the content.
        actual: u64,
    },
    /// The server that wrote it does not write checksums.
    #[error("it has no checksum: set rdbchecksum to yes on its server")]
    Unchecked,
    /// It contains no mark of a lab.
    #[error("it contains no mark of a lab")]
    Unmarked,
    /// It contains several values that could be the mark.
    #[error("it contains several values that look like the mark of a lab")]
    Ambiguous,
}

impl Damage {
    /// Whether the server's next copy would have it too, because it does not come from the
    /// transfer.
    pub fn is_permanent(&self) -> bool {
        matches!(
            self,
            Damage::Unchecked | Damage::Unmarked | Damage::Ambiguous
        )
    }
}

/// The content of a complete RDB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The version of its format.
    pub version: u32,
    /// The mark of the copy.
    pub mark: Mark,
}

/// Scans an RDB from its beginning to its end, in parts.
pub struct RdbScan {
    header: Vec<u8>,
    /// The last bytes, which are not part of the checksum yet.
    trailer: Vec<u8>,
    crc: Digest<'static, u64, Table<16>>,
    marks: MarkFinder,
}

impl Default for RdbScan {
    fn default() -> Self {
        RdbScan {
            header: Vec::new(),
            trailer: Vec::new(),
            crc: CRC.digest(),
            marks: MarkFinder::default(),
        }
    }
}

impl std::fmt::Debug for RdbScan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RdbScan").finish_non_exhaustive()
    }
}

impl RdbScan {
    /// Scans the next part.
    pub fn push(&mut self, part: &[u8]) {
        let missing = HEADER_LEN.saturating_sub(self.header.len()).min(part.len());
        self.header.extend_from_slice(&part[..missing]);
        self.marks.push(part);
        self.trailer.extend_from_slice(part);
        let known = self.trailer.len().saturating_sub(TRAILER_LEN);
        self.crc.update(&self.trailer[..known]);
        self.trailer.drain(..known);
    }

    /// The content, after the last part.
    ///
    /// # Errors
    /// If the RDB is not complete, or is not a copy of a lab.
    pub fn finish(mut self) -> Result<Content, Damage> {
        let version = version(&self.header).ok_or(Damage::NotAnRdb)?;
        let (code, stored) = self.trailer.split_first().ok_or(Damage::Truncated)?;
        let stored: [u8; 8] = stored.try_into().map_err(|_| Damage::Truncated)?;
        if *code != EOF {
            return Err(Damage::Truncated);
        }
        self.crc.update(&[EOF]);
        let (stored, actual) = (u64::from_le_bytes(stored), self.crc.finalize());
        if stored == 0 {
            return Err(Damage::Unchecked);
        }
        if stored != actual {
            return Err(Damage::Checksum { stored, actual });
        }
        match self.marks {
            MarkFinder { several: true, .. } => Err(Damage::Ambiguous),
            MarkFinder { last: None, .. } => Err(Damage::Unmarked),
            MarkFinder {
                last: Some(mark), ..
            } => Ok(Content { version, mark }),
        }
    }
}

fn version(header: &[u8]) -> Option<u32> {
    let digits = MAGICS.iter().find_map(|name| header.strip_prefix(*name))?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::protocol::copy::{MARK_KEY, RandomIds};

    pub(crate) fn mark() -> Mark {
        let drawn = RandomIds {
            lab: "lab".into(),
            term: "term".into(),
        };
        Mark::begin(None, "redis-a", drawn).confirmed()
    }

    /// An RDB with that content.
    pub(crate) fn rdb(content: &[u8]) -> Vec<u8> {
        let mut bytes = [b"REDIS0010", content, &[EOF]].concat();
        let crc = CRC.checksum(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn key(value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len()).unwrap() | 0x4000;
        [&[0, 10], MARK_KEY.as_bytes(), &length.to_be_bytes(), value].concat()
    }

    /// An RDB with a record and the mark.
    pub(crate) fn marked(mark: &Mark) -> Vec<u8> {
        rdb(&[b"\x00\x01k\x01v", &key(mark.to_text().as_bytes())[..]].concat())
    }

    fn scanned(bytes: &[u8], part: usize) -> Result<Content, Damage> {
        let mut scan = RdbScan::default();
        for part in bytes.chunks(part) {
            scan.push(part);
        }
        scan.finish()
    }

    #[test]
    fn the_checksum_is_that_of_redis() {
        // The check value in crc64.c.
        assert_eq!(CRC.checksum(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn the_mark_is_found_however_the_rdb_is_split() {
        let bytes = marked(&mark());
        for part in 1..=bytes.len() {
            let content = scanned(&bytes, part).unwrap();
            assert_eq!((content.version, content.mark), (10, mark()), "{part}");
        }
    }

    #[test]
    fn any_flipped_bit_and_any_missing_end_is_detected() {
        let bytes = marked(&mark());
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1 << (at % 8);
            assert!(scanned(&wrong, 64).is_err(), "bit of {at}");
            assert!(scanned(&bytes[..at], 64).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_copy_without_a_mark_or_with_two_is_no_backup() {
        assert_eq!(scanned(&rdb(b"\x00\x01k\x01v"), 3), Err(Damage::Unmarked));
        let text = mark().to_text();
        let other = mark()
            .next(None, crate::protocol::copy::Completeness::Open)
            .to_text();
        let both = [key(text.as_bytes()), key(other.as_bytes())].concat();
        assert_eq!(scanned(&rdb(&both), 5), Err(Damage::Ambiguous));
        // Strings that only look like a mark.
        let alike = [
            &key(b"{}")[..],
            b"halab-mark halab-mark",
            &key(text.as_bytes()),
        ]
        .concat();
        assert_eq!(scanned(&rdb(&alike), 7).unwrap().mark, mark());
        let mut unchecked = marked(&mark());
        let end = unchecked.len() - 8;
        unchecked[end..].fill(0);
        assert_eq!(scanned(&unchecked, 9), Err(Damage::Unchecked));
    }
}
