//! Generates keys, and signs certificates with the lab's CA, which is generated first if it is
//! missing.

use chrono::{DateTime, Datelike, Days, NaiveDate, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{CertificateError, Certificates, Owner, read, write};

/// Validity of a generated CA.
const CA_DAYS: u64 = 3650;
/// Validity of a generated certificate.
pub(super) const CERTIFICATE_DAYS: u64 = 365;
/// A certificate is valid from this many days ago, because clocks differ.
const SKEW_DAYS: u64 = 1;

impl Certificates {
    /// Generates a key and a certificate for `owner`, signed by the CA.
    pub(super) fn make(&self, owner: &Owner<'_>) -> Result<(), CertificateError> {
        let ca = self.ca_or_generate()?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        let name = match owner {
            Owner::Node(node) => node.name.as_str(),
            Owner::Proxy(_) => "proxy",
            Owner::Client => "client",
        };
        if let Some(address) = owner.address() {
            params.subject_alt_names = vec![rcgen::SanType::IpAddress(address.into())];
        }
        set_common_name(&mut params, name);
        set_validity(&mut params, CERTIFICATE_DAYS);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // A server is also a client: a replica of its primary, a Sentinel of all nodes.
        let (server, client) = (
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        );
        params.extended_key_usages = match owner {
            Owner::Node(_) => vec![client, server],
            // To the lab it shows the certificate of clients.
            Owner::Proxy(_) => vec![server],
            Owner::Client => vec![client],
        };
        let certificate = params.signed_by(&key, &ca)?;
        let text = Zeroizing::new(key.serialize_pem() + &certificate.pem());
        write(&self.path_of(owner), text.as_bytes())
    }

    /// The CA, generated if it does not exist.
    pub(super) fn ca_or_generate(&self) -> Result<Issuer<'static, KeyPair>, CertificateError> {
        let path = self.ca_key();
        let has_certificate = self.ca().exists();
        let key = match read(&path)? {
            Some(text) => {
                let malformed = |_| CertificateError::Malformed {
                    path: path.clone(),
                    what: "private key",
                };
                let text = std::str::from_utf8(&text).unwrap_or_default();
                KeyPair::from_pem(text).map_err(malformed)?
            }
            None if has_certificate => return Err(CertificateError::NoCaKey(path)),
            None => {
                let key = KeyPair::generate()?;
                write(&path, Zeroizing::new(key.serialize_pem()).as_bytes())?;
                key
            }
        };
        let mut params = CertificateParams::default();
        set_common_name(&mut params, &ca_name(&key));
        set_validity(&mut params, CA_DAYS);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        if !has_certificate {
            // Written after the key: if interrupted in between, it is generated from that key.
            write(&self.ca(), params.self_signed(&key)?.pem().as_bytes())?;
        }
        Ok(Issuer::new(params, key))
    }
}

/// A name derived from the key, so that the CAs of two labs have different names; verifiers find
/// the CA by name.
pub(super) fn ca_name(key: &KeyPair) -> String {
    let id = Sha256::digest(key.subject_public_key_info());
    let id: String = id.iter().take(6).map(|b| format!("{b:02x}")).collect();
    format!("redis-ha-lab CA {id}")
}

pub(super) fn set_common_name(params: &mut CertificateParams, name: &str) {
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
}

pub(super) fn set_validity(params: &mut CertificateParams, days: u64) {
    let today: DateTime<Utc> = Utc::now();
    let today = today.date_naive();
    let first = today.checked_sub_days(Days::new(SKEW_DAYS));
    let last = today.checked_add_days(Days::new(days));
    let date = |day: Option<NaiveDate>| {
        let day = day.unwrap_or(today);
        // Month and day fit into a byte.
        let small = |n: u32| u8::try_from(n).unwrap_or(1);
        date_time_ymd(day.year(), small(day.month()), small(day.day()))
    };
    params.not_before = date(first);
    params.not_after = date(last);
}
