//! The header of a ledger: bytes to [`Header`] and back. Pure.

use super::{CRC_LEN, CodecError};
use crate::ledger::Header;
use crate::ledger::wire::Cursor;
use crate::record::{RunId, Timestamp};

/// The first bytes of every ledger.
pub const MAGIC: [u8; 8] = *b"HALABLDG";

/// The version of the format that this program writes, and the only one it reads.
pub const VERSION: u16 = 1;

/// The longest name (lab, policy) that a header holds, in bytes.
pub const MAX_NAME: usize = 255;

/// Appends the header.
pub fn encode_header(header: &Header, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let begin = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&header.run.bits().to_le_bytes());
    out.extend_from_slice(&header.start.micros().to_le_bytes());
    for name in [&header.lab, &header.policy] {
        out.push(u8::try_from(name.len()).map_err(|_| CodecError::TooLong)?);
        out.extend_from_slice(name.as_bytes());
    }
    let crc = crc32fast::hash(&out[begin..]);
    out.extend_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// The header at the start of `bytes`, and its length; `None` if they end inside it.
pub fn decode_header(bytes: &[u8]) -> Result<Option<(Header, usize)>, CodecError> {
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return Err(CodecError::NotALedger);
    }
    let mut rest = Cursor::new(&bytes[known..]);
    let Some(version) = rest.array() else {
        return Ok(None);
    };
    let version = u16::from_le_bytes(version);
    if version != VERSION {
        return Err(CodecError::Version(version));
    }
    let parts = (|| {
        let run = RunId::new(u64::from_le_bytes(rest.array()?));
        let start = u64::from_le_bytes(rest.array()?);
        let [lab_len] = rest.array()?;
        let lab = rest.take(lab_len.into())?;
        let [policy_len] = rest.array()?;
        let policy = rest.take(policy_len.into())?;
        let len = bytes.len() - rest.len();
        Some((
            run,
            start,
            lab,
            policy,
            len,
            u32::from_le_bytes(rest.array()?),
        ))
    })();
    let Some((run, start, lab, policy, len, crc)) = parts else {
        return Ok(None);
    };
    if crc != crc32fast::hash(&bytes[..len]) {
        return Err(CodecError::Checksum);
    }
    let text = |name: &[u8]| String::from_utf8(name.to_vec()).map_err(|_| CodecError::Payload);
    let start = Timestamp::from_micros(start).ok_or(CodecError::Payload)?;
    let header = Header {
        run,
        start,
        lab: text(lab)?,
        policy: text(policy)?,
    };
    Ok(Some((header, len + CRC_LEN)))
}
