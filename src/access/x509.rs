//! What the lab wants to know of a certificate: who signed it, when it ends, whose address it is for.
//!
//! A certificate of a peer is judged by rustls, before anything here looks at it. This reads the few fields that rustls
//! does not tell, out of files of our own, and refuses whatever is not laid out as RFC 5280 says.

use std::net::Ipv4Addr;

use chrono::{NaiveDate, NaiveDateTime};

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const IP_ADDRESS: u8 = 0x87;
/// `id-ce-subjectAltName`, 2.5.29.17.
const SUBJECT_ALT_NAME: [u8; 3] = [0x55, 0x1d, 0x11];

/// Those fields of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The name of who signed it, encoded as it stands there.
    pub issuer: Vec<u8>,
    /// The name of whose it is, likewise.
    pub subject: Vec<u8>,
    /// When it ends, in seconds of Unix time.
    pub not_after: i64,
    /// The IPv4 addresses that it is for.
    pub addresses: Vec<Ipv4Addr>,
}

impl Certificate {
    /// Reads a certificate; nothing when it is none.
    pub fn read(der: &[u8]) -> Option<Certificate> {
        let certificate = Reader(der).take(SEQUENCE)?;
        let mut fields = Reader(Reader(certificate).take(SEQUENCE)?);
        // Of version 1, without its number, nobody makes any more; it has no addresses.
        fields.take(VERSION)?;
        fields.take(INTEGER)?;
        fields.take(SEQUENCE)?;
        let issuer = fields.take(SEQUENCE)?.to_vec();
        let mut validity = Reader(fields.take(SEQUENCE)?);
        validity.next()?;
        let not_after = time(validity.next()?)?;
        let subject = fields.take(SEQUENCE)?.to_vec();
        let mut addresses = Vec::new();
        while let Some((tag, content)) = fields.next() {
            if tag == EXTENSIONS {
                addresses = self::addresses(content)?;
            }
        }
        Some(Certificate {
            issuer,
            subject,
            not_after,
            addresses,
        })
    }
}

fn addresses(extensions: &[u8]) -> Option<Vec<Ipv4Addr>> {
    let mut found = Vec::new();
    let mut extensions = Reader(Reader(extensions).take(SEQUENCE)?);
    while let Some((SEQUENCE, extension)) = extensions.next() {
        let mut extension = Reader(extension);
        if extension.take(OBJECT_ID)? != SUBJECT_ALT_NAME {
            continue;
        }
        // Whether it is critical may stand between.
        let mut value = extension.next()?;
        while value.0 != OCTET_STRING {
            value = extension.next()?;
        }
        let mut names = Reader(Reader(value.1).take(SEQUENCE)?);
        while let Some((tag, name)) = names.next() {
            // Of sixteen bytes it would be one of IPv6, which no node has.
            if let (IP_ADDRESS, Ok(octets)) = (tag, <[u8; 4]>::try_from(name)) {
                found.push(octets.into());
            }
        }
    }
    Some(found)
}

/// A time of `UTCTime` (a year of two digits, of this century below 50) or `GeneralizedTime`, in Unix seconds.
fn time((tag, content): (u8, &[u8])) -> Option<i64> {
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match tag {
        UTC_TIME if text.len() == 12 => {
            let (year, rest) = text.split_at(2);
            let year: i32 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME if text.len() == 14 => {
            let (year, rest) = text.split_at(4);
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<u32>().ok();
    let at: NaiveDateTime = NaiveDate::from_ymd_opt(year, part(0)?, part(2)?)?.and_hms_opt(
        part(4)?,
        part(6)?,
        part(8)?,
    )?;
    Some(at.and_utc().timestamp())
}

/// The elements of DER, one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next element: its tag, its content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            // So many bytes of length follow; three are more than any certificate needs.
            let bytes = rest
                .get(..usize::from(first & 0x7f))
                .filter(|b| b.len() <= 3)?;
            length = bytes.iter().fold(0, |n, b| (n << 8) + usize::from(*b));
            rest = rest.get(bytes.len()..)?;
        }
        let content = rest.get(..length)?;
        self.0 = rest.get(length..)?;
        Some((tag, content))
    }

    /// The content of the next element, which has to have that tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(t, _)| *t == tag).map(|(_, c)| c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, Issuer, KeyPair, date_time_ymd};

    fn made(names: &[&str], year: i32) -> Vec<u8> {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = date_time_ymd(year, 2, 3);
        let issuer = Issuer::new(CertificateParams::default(), KeyPair::generate().unwrap());
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, &issuer).unwrap().der().to_vec()
    }

    #[test]
    fn its_end_and_its_addresses_are_read() {
        let read = |names: &[&str], year| Certificate::read(&made(names, year)).unwrap();
        let one = read(&["127.0.0.11", "name.example", "::1", "10.0.0.1"], 2031);
        // date -u -d 2031-02-03 +%s
        assert_eq!(one.not_after, 1_927_843_200);
        let addresses: Vec<String> = one.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["127.0.0.11", "10.0.0.1"]);
        // From 2050 on the time is written otherwise: date -u -d 2077-02-03 +%s
        assert_eq!(read(&[], 2077).not_after, 3_379_536_000);
        assert_eq!(read(&[], 2077).addresses, [] as [Ipv4Addr; 0]);
    }

    #[test]
    fn a_certificate_cut_short_is_none() {
        let whole = made(&["127.0.0.11"], 2031);
        for length in 0..whole.len() {
            assert_eq!(Certificate::read(&whole[..length]), None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Certificate::read(&bytes);
        }

        #[test]
        fn any_byte_changed_is_read_or_refused(at in 0usize..300, to in any::<u8>()) {
            let mut bytes = made(&["127.0.0.11"], 2031);
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = Certificate::read(&bytes);
        }
    }
}
