//! The certificates of a lab with TLS, in the folder of its secrets.
//!
//! ```text
//! SECRETS/ca.pem                 the certificates of the CA, by which everyone judges the others'
//! SECRETS/ca.key           0600  the CA's own key; only who makes certificates needs it
//! SECRETS/node-NAME.pem    0600  a node's private key, and its certificate behind it
//! SECRETS/client.pem       0600  the same for whoever connects, where security.mutual_tls wants one
//! ```
//!
//! Key and certificate are one file, so that new ones take their place in one step: whoever reads it finds two that
//! belong together, at every moment. Everyone of ours reads the files anew at each connection; a server is told by its
//! node, which looks at them.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Datelike, Days, NaiveDate, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor, UnixTime};
use sha2::{Digest, Sha256};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use zeroize::Zeroizing;

use crate::config::{Lab, Node, SecretsFolder};
use crate::files;

use super::secrets::{Secrets, SecretsError};

/// How long a CA of ours is good.
const CA_DAYS: u64 = 3650;
/// How long a certificate of ours is good.
const DAYS: u64 = 365;
/// One of ours that ends within this is made anew at the next start.
const AHEAD: Duration = Duration::from_secs(30 * 86_400);
/// Clocks differ: a certificate is good from the day before on.
const SKEW_DAYS: u64 = 1;
/// Longest file that is read: hundreds of certificates.
const LONGEST: u64 = 1 << 20;

/// Why a certificate is not there.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// No file.
    #[error(
        "lab.toml says security.tls, and {0} does not exist: start the lab first, or name the folder of its secrets \
         by --secrets or HALAB_SECRETS (halab secrets make DIR fills one)"
    )]
    Missing(PathBuf),
    /// A file that holds something else.
    #[error("{path} holds no {what} in PEM")]
    Malformed {
        /// Which one.
        path: PathBuf,
        /// What should be in it.
        what: &'static str,
    },
    /// The CA is somebody else's.
    #[error(
        "{0} is not here, and it alone could sign a new certificate: have it made where the others come from"
    )]
    NoCaKey(PathBuf),
    /// The folder was given by others.
    #[error(
        "{0} was given: change its certificates where they come from; each node takes them up within seconds"
    )]
    NotOwn(PathBuf),
    /// The lab has none.
    #[error("lab.toml says security.tls = false: this lab has no certificates")]
    Off,
    /// The folder.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// It can't be read or written.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system gives no key, or can't sign.
    #[error("cannot make a certificate: {0}")]
    Making(#[from] rcgen::Error),
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CertificateError {
    let path = path.to_owned();
    move |source| CertificateError::Io { what, path, source }
}

/// The folder of the certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificates {
    folder: Arc<Path>,
}

/// A private key with the certificate that names its owner, and those between that and the CA.
#[derive(Debug)]
pub struct Identity {
    /// The owner's first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Printed, it says nothing of itself.
    pub key: PrivateKeyDer<'static>,
}

/// Whose certificate is made.
enum Owner<'a> {
    Node(&'a Node),
    Client,
}

impl Certificates {
    /// The certificates in `folder`.
    pub fn at(folder: &Path) -> Self {
        Certificates {
            folder: folder.into(),
        }
    }

    /// Where the certificates of `lab` are; nothing where nobody has one.
    pub fn of(lab: &Lab) -> Option<Certificates> {
        let folder = lab.security.secrets.as_ref()?;
        lab.security.tls.then(|| Certificates::at(folder.path()))
    }

    /// The certificates of `lab`; what is missing is made if the folder is the lab's own. Nothing for a lab without.
    ///
    /// # Errors
    /// When one can't be made.
    pub fn of_lab(lab: &Lab) -> Result<Option<Certificates>, CertificateError> {
        if !lab.security.tls {
            return Ok(None);
        }
        let Some(certificates) = Certificates::of(lab) else {
            return Err(CertificateError::Missing(PathBuf::from("secrets/ca.pem")));
        };
        if let Some(SecretsFolder::Own(_)) = lab.security.secrets {
            certificates.make_missing(lab)?;
        }
        Ok(Some(certificates))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The CA's certificates.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    fn ca_key(&self) -> PathBuf {
        self.folder.join("ca.key")
    }

    /// What a client shows.
    pub fn client(&self) -> PathBuf {
        self.folder.join("client.pem")
    }

    /// What the server of a node shows.
    pub fn node(&self, name: &str) -> PathBuf {
        self.folder.join(format!("node-{name}.pem"))
    }

    /// The CA's certificates, read.
    ///
    /// # Errors
    /// When there is none.
    pub fn authorities(&self) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
        let path = self.ca();
        let text = read(&path)?.ok_or_else(|| CertificateError::Missing(path.clone()))?;
        certificates(&text, &path)
    }

    /// When the certificate of a node ends: seconds of Unix time.
    ///
    /// # Errors
    /// When it is not there.
    pub fn end(&self, node: &Node) -> Result<i64, CertificateError> {
        ends(&self.shown_by(node)?).ok_or_else(|| CertificateError::Malformed {
            path: self.node(&node.name),
            what: "certificate",
        })
    }

    /// A key with its certificates.
    ///
    /// # Errors
    /// When they are not there.
    pub fn identity(&self, path: &Path) -> Result<Identity, CertificateError> {
        let text = read(path)?.ok_or_else(|| CertificateError::Missing(path.to_owned()))?;
        let key =
            PrivateKeyDer::from_pem_slice(&text).map_err(|_| CertificateError::Malformed {
                path: path.to_owned(),
                what: "private key",
            })?;
        Ok(Identity {
            chain: certificates(&text, path)?,
            key,
        })
    }

    /// What tells one state of a node's certificate, and of the CA's, from another.
    pub fn fingerprint(&self, node: &Node) -> Option<[u8; 32]> {
        let mut hash = Sha256::new();
        for path in [self.ca(), self.node(&node.name)] {
            hash.update(Sha256::digest(&*read(&path).ok()??));
        }
        Some(hash.finalize().into())
    }

    /// Makes what is missing, ends soon, is of another CA or for another address. Returns how many were made.
    ///
    /// # Errors
    /// When a file can't be written, or the CA's key is not there to sign it.
    pub fn make_missing(&self, lab: &Lab) -> Result<usize, CertificateError> {
        if self.wanting(lab).is_empty() {
            return Ok(0);
        }
        let _lock = Secrets::at(&self.folder).lock()?;
        let wanting = self.wanting(lab);
        for owner in &wanting {
            self.make(owner)?;
        }
        Ok(wanting.len())
    }

    /// Makes a new certificate for a node. Its caller holds the lock of the folder.
    ///
    /// # Errors
    /// As [`Certificates::make_missing`].
    pub fn renew_node(&self, node: &Node) -> Result<(), CertificateError> {
        self.make(&Owner::Node(node))
    }

    /// Makes a new certificate for clients. Its caller holds the lock of the folder.
    ///
    /// # Errors
    /// As [`Certificates::make_missing`].
    pub fn renew_client(&self) -> Result<(), CertificateError> {
        self.make(&Owner::Client)
    }

    /// The certificate of the node as it is in its file now.
    ///
    /// # Errors
    /// When it is not there.
    pub fn shown_by(&self, node: &Node) -> Result<CertificateDer<'static>, CertificateError> {
        let path = self.node(&node.name);
        let text = read(&path)?.ok_or_else(|| CertificateError::Missing(path.clone()))?;
        let chain = certificates(&text, &path)?;
        chain.into_iter().next().ok_or(CertificateError::Malformed {
            path,
            what: "certificate",
        })
    }

    /// Who has no certificate, or none that will do.
    fn wanting<'l>(&self, lab: &'l Lab) -> Vec<Owner<'l>> {
        let owners = lab.nodes().map(Owner::Node).chain([Owner::Client]);
        let ca = self.authorities().unwrap_or_default();
        let anchors = ca.iter().filter_map(|ca| anchor_from_trusted_cert(ca).ok());
        let anchors: Vec<_> = anchors.collect();
        let will_do = |owner: &Owner<'_>| self.will_do(owner, &anchors).unwrap_or(false);
        owners.filter(|owner| !will_do(owner)).collect()
    }

    /// Whether peers will accept it for the next 30 days; `None` if it is missing or malformed.
    fn will_do(&self, owner: &Owner<'_>, anchors: &[TrustAnchor<'_>]) -> Option<bool> {
        let identity = self.identity(&self.path_of(owner)).ok()?;
        let (own, between) = identity.chain.split_first()?;
        let own = EndEntityCert::try_from(own).ok()?;
        let (usage, is_named) = match owner {
            Owner::Node(node) => (
                KeyUsage::server_auth(),
                own.verify_is_valid_for_subject_name(&node.address.into())
                    .is_ok(),
            ),
            Owner::Client => (KeyUsage::client_auth(), true),
        };
        let ahead = Duration::from_secs(UnixTime::now().as_secs()) + AHEAD;
        let ahead = UnixTime::since_unix_epoch(ahead);
        let verified = own.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            anchors,
            between,
            ahead,
            usage,
            None,
            None,
        );
        Some(is_named && verified.is_ok())
    }

    fn path_of(&self, owner: &Owner<'_>) -> PathBuf {
        match owner {
            Owner::Node(node) => self.node(&node.name),
            Owner::Client => self.client(),
        }
    }

    fn make(&self, owner: &Owner<'_>) -> Result<(), CertificateError> {
        let ca = self.ca_made()?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        let name = match owner {
            Owner::Node(node) => {
                let address: Ipv4Addr = node.address;
                params.subject_alt_names = vec![rcgen::SanType::IpAddress(address.into())];
                node.name.clone()
            }
            Owner::Client => "client".to_owned(),
        };
        name_it(&mut params, &name);
        good_for(&mut params, DAYS);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // A server is a client of the others: a replica of its primary, a Sentinel of everyone.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if let Owner::Node(_) = owner {
            params
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        let certificate = params.signed_by(&key, &ca)?;
        let text = Zeroizing::new(key.serialize_pem() + &certificate.pem());
        write(&self.path_of(owner), text.as_bytes())
    }

    /// The CA, made unless it is there.
    fn ca_made(&self) -> Result<Issuer<'static, KeyPair>, CertificateError> {
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
        name_it(&mut params, &ca_name(&key));
        good_for(&mut params, CA_DAYS);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        if !has_certificate {
            // After its key: killed in between, it is made of that.
            write(&self.ca(), params.self_signed(&key)?.pem().as_bytes())?;
        }
        Ok(Issuer::new(params, key))
    }
}

/// Of its key, so that CAs of two labs are told apart by their names, which is what refusals go by.
fn ca_name(key: &KeyPair) -> String {
    let id = Sha256::digest(key.subject_public_key_info());
    let id: String = id.iter().take(6).map(|b| format!("{b:02x}")).collect();
    format!("redis-ha-lab CA {id}")
}

fn name_it(params: &mut CertificateParams, name: &str) {
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
}

fn good_for(params: &mut CertificateParams, days: u64) {
    let today: DateTime<Utc> = Utc::now();
    let today = today.date_naive();
    let first = today.checked_sub_days(Days::new(SKEW_DAYS));
    let last = today.checked_add_days(Days::new(days));
    let date = |day: Option<NaiveDate>| {
        let day = day.unwrap_or(today);
        // Month and day of a month are small numbers.
        let small = |n: u32| u8::try_from(n).unwrap_or(1);
        date_time_ymd(day.year(), small(day.month()), small(day.day()))
    };
    params.not_before = date(first);
    params.not_after = date(last);
}

/// The expiry time of a certificate, in Unix time; `None` if it is malformed. webpki tells this
/// time only of an expired certificate, so this asks it to verify for the latest time there is.
fn ends(certificate: &CertificateDer<'_>) -> Option<i64> {
    let time = UnixTime::since_unix_epoch(Duration::MAX);
    let usage = KeyUsage::server_auth();
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    match certificate.verify_for_usage(ALL_VERIFICATION_ALGS, &[], &[], time, usage, None, None) {
        Err(webpki::Error::CertExpired { not_after, .. }) => not_after.as_secs().try_into().ok(),
        _ => None,
    }
}

fn certificates(
    text: &[u8],
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    all.ok()
        .filter(|all| !all.is_empty())
        .ok_or_else(|| CertificateError::Malformed {
            path: path.to_owned(),
            what: "certificate",
        })
}

fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, CertificateError> {
    use io::Read;
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io_error("read", path)(source)),
    };
    let length = file.metadata().map_or(0, |m| m.len()).min(LONGEST);
    // With room for all of it: a buffer that grows leaves copies behind.
    let room = usize::try_from(length).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(LONGEST)
        .read_to_end(&mut bytes)
        .map_err(io_error("read", path))?;
    Ok(Some(bytes))
}

fn write(path: &Path, content: &[u8]) -> Result<(), CertificateError> {
    files::replace(path, files::PRIVATE, content).map_err(io_error("write", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn lab(folder: &Path) -> Lab {
        let mut lab = Lab::parse(include_str!("../../lab.toml"), None).unwrap();
        lab.security.tls = true;
        lab.security.secrets = Some(SecretsFolder::Own(folder.to_owned()));
        lab
    }

    #[test]
    fn what_is_made_is_for_its_node_alone_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let lab = lab(&folder.path().join("secrets"));
        let certificates = Certificates::of(&lab).unwrap();
        assert_eq!(certificates.make_missing(&lab).unwrap(), 6);
        assert_eq!(certificates.make_missing(&lab).unwrap(), 0);
        for node in lab.nodes() {
            let shown = certificates.shown_by(node).unwrap();
            let shown = EndEntityCert::try_from(&shown).unwrap();
            for other in lab.nodes() {
                let is_named = shown.verify_is_valid_for_subject_name(&other.address.into());
                assert_eq!(is_named.is_ok(), other.name == node.name);
            }
            let days = (certificates.end(node).unwrap() - Utc::now().timestamp()) / 86_400;
            assert!((363..=365).contains(&days), "{days}");
        }
        for entry in fs::read_dir(folder.path().join("secrets")).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn one_for_another_address_or_of_another_ca_is_made_anew_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let mut lab = lab(folder.path());
        let certificates = Certificates::of(&lab).unwrap();
        certificates.make_missing(&lab).unwrap();
        lab.data_nodes[1].address = [127, 0, 0, 99].into();
        let before = certificates.fingerprint(&lab.data_nodes[0]);
        assert_eq!(certificates.make_missing(&lab).unwrap(), 1);
        assert_eq!(certificates.fingerprint(&lab.data_nodes[0]), before);
        fs::remove_file(certificates.ca()).unwrap();
        // Of the same key it is the same CA.
        assert_eq!(certificates.make_missing(&lab).unwrap(), 6);
        fs::remove_file(certificates.ca()).unwrap();
        fs::remove_file(certificates.ca_key()).unwrap();
        assert_eq!(certificates.make_missing(&lab).unwrap(), 6);
        assert_ne!(certificates.fingerprint(&lab.data_nodes[0]), before);
        // Whose key is elsewhere is nobody's to sign with.
        fs::remove_file(certificates.ca_key()).unwrap();
        fs::remove_file(certificates.client()).unwrap();
        let error = certificates.make_missing(&lab).unwrap_err().to_string();
        assert!(error.contains("ca.key is not here"), "{error}");
    }

    /// Writes a certificate of the lab's CA with these changes.
    fn given(certificates: &Certificates, node: &Node, change: impl Fn(&mut CertificateParams)) {
        let mut params = CertificateParams::new(vec![node.address.to_string()]).unwrap();
        good_for(&mut params, DAYS);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &certificates.ca_made().unwrap());
        let text = key.serialize_pem() + &signed.unwrap().pem();
        write(&certificates.node(&node.name), text.as_bytes()).unwrap();
    }

    #[test]
    fn one_that_nobody_would_take_in_a_month_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let lab = lab(folder.path());
        let certificates = Certificates::of(&lab).unwrap();
        certificates.make_missing(&lab).unwrap();
        let node = &lab.data_nodes[0];
        let made = |change: &dyn Fn(&mut CertificateParams)| {
            given(&certificates, node, change);
            certificates.make_missing(&lab).unwrap()
        };
        assert_eq!(made(&|_| {}), 0);
        assert_eq!(made(&|params| good_for(params, 29)), 1);
        assert_eq!(made(&|params| good_for(params, 32)), 0);
        let clients = vec![ExtendedKeyUsagePurpose::ClientAuth];
        assert_eq!(
            made(&|params| params.extended_key_usages = clients.clone()),
            1
        );
        // Another CA with the same name.
        let ca = fs::read(certificates.ca()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let own = fs::read_to_string(certificates.ca_key()).unwrap();
        name_it(&mut params, &ca_name(&KeyPair::from_pem(&own).unwrap()));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let other = params.self_signed(&key).unwrap().pem();
        fs::write(certificates.ca(), other).unwrap();
        assert_eq!(certificates.wanting(&lab).len(), 6);
        fs::write(certificates.ca(), ca).unwrap();
        assert_eq!(certificates.wanting(&lab).len(), 0);
    }

    #[test]
    fn the_end_of_a_certificate_is_told_and_what_is_none_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let lab = lab(folder.path());
        let certificates = Certificates::of(&lab).unwrap();
        let node = &lab.data_nodes[0];
        certificates.make_missing(&lab).unwrap();
        // From 2050 on the encoding of the time differs. The figures: date -u -d 2031-02-03 +%s
        for (year, end) in [
            (2031, 1_927_843_200),
            (2077, 3_379_536_000),
            (2021, 1_612_310_400),
        ] {
            given(&certificates, node, |params| {
                params.not_before = date_time_ymd(2020, 1, 1);
                params.not_after = date_time_ymd(year, 2, 3);
            });
            assert_eq!(certificates.end(node).unwrap(), end);
        }
        let whole = certificates.shown_by(node).unwrap();
        for length in 0..whole.len() {
            assert_eq!(
                ends(&CertificateDer::from(&whole[..length])),
                None,
                "{length}"
            );
        }
    }

    #[test]
    fn those_that_start_at_once_agree() {
        let folder = tempfile::tempdir().unwrap();
        let lab = lab(folder.path());
        let made: usize = std::thread::scope(|scope| {
            let one = || Certificates::of(&lab).unwrap().make_missing(&lab).unwrap();
            let all: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
            all.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(made, 6);
    }

    #[test]
    fn a_file_that_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let certificates = Certificates::at(folder.path());
        let missing = certificates.authorities().unwrap_err().to_string();
        assert!(missing.contains("/ca.pem does not exist"), "{missing}");
        fs::write(certificates.client(), "nothing of that").unwrap();
        let error = certificates.identity(&certificates.client()).unwrap_err();
        assert!(
            error.to_string().ends_with("holds no private key in PEM"),
            "{error}"
        );
    }
}
