//! The certificates of a lab with TLS, in the folder of its secrets.
//!
//! ```text
//! SECRETS/ca.pem                 the certificates of the CA, by which all others are verified
//! SECRETS/ca.key           0600  the CA's private key; needed only to sign certificates
//! SECRETS/node-NAME.pem    0600  a node's private key, followed by its certificate
//! SECRETS/proxy.pem        0600  the same for the proxy, which shows it to its clients
//! SECRETS/client.pem       0600  the same for clients, where security.mutual_tls requires one
//! ```
//!
//! Key and certificate are in one file, so that they are replaced in one step and always match.
//! Every process of the lab reads the files at each connection. A server reloads them when its
//! node, which watches them, tells it to.
//!
//! - `issue`: generates keys and signs certificates
//! - `validity`: which certificates peers will accept, and until when

mod issue;
mod validity;

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::config::{Lab, Node, SecretsFolder};
use crate::files;

use super::secrets::{Secrets, SecretsError};
use validity::expiry;

/// Longest file that is read: room for hundreds of certificates.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Why a certificate is not available.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file does not exist.
    #[error(
        "{0} does not exist, but security.tls is set in lab.toml: start the lab first, or pass its \
         secrets folder with --secrets or HALAB_SECRETS (halab secrets make DIR creates one)"
    )]
    Missing(PathBuf),
    /// The file does not contain what it should.
    #[error("{path} contains no {what} in PEM format")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should contain.
        what: &'static str,
    },
    /// The CA's key is not in the folder.
    #[error(
        "cannot sign a new certificate: the CA key {0} is missing; get a certificate from where \
         the others were made"
    )]
    NoCaKey(PathBuf),
    /// The folder is managed outside the lab.
    #[error(
        "the folder {0} is not managed by the lab: change its certificates at their source; each \
         node reloads them within seconds"
    )]
    NotOwn(PathBuf),
    /// The lab does not use TLS.
    #[error("this lab has no certificates (security.tls = false in lab.toml)")]
    Off,
    /// An error of the secrets folder.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// A file cannot be read or written.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// The failed action.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A key cannot be generated, or a certificate cannot be signed.
    #[error("cannot generate a certificate: {0}")]
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

/// A private key with its certificate chain up to, but without, the CA.
#[derive(Debug)]
pub struct TlsIdentity {
    /// The owner's certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its `Debug` output does not reveal the key.
    pub key: PrivateKeyDer<'static>,
}

/// The owner of a certificate.
enum Owner<'a> {
    Node(&'a Node),
    Proxy(Ipv4Addr),
    Client,
}

impl Owner<'_> {
    /// The address at which it is a server.
    fn address(&self) -> Option<Ipv4Addr> {
        match self {
            Owner::Node(node) => Some(node.address),
            Owner::Proxy(address) => Some(*address),
            Owner::Client => None,
        }
    }
}

impl Certificates {
    /// The certificates in `folder`.
    pub fn at(folder: &Path) -> Self {
        Certificates {
            folder: folder.into(),
        }
    }

    /// The certificates of `lab`; `None` if it does not use TLS.
    pub fn of(lab: &Lab) -> Option<Certificates> {
        let folder = lab.security.secrets.as_ref()?;
        lab.security.tls.then(|| Certificates::at(folder.path()))
    }

    /// The same, with missing ones generated if the folder is managed by the lab. `None` if the lab
    /// does not use TLS.
    ///
    /// # Errors
    /// If one cannot be generated.
    pub fn load_or_generate(lab: &Lab) -> Result<Option<Certificates>, CertificateError> {
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

    /// The path of the CA's certificates.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    fn ca_key(&self) -> PathBuf {
        self.folder.join("ca.key")
    }

    /// The path of the certificate that clients present.
    pub fn client(&self) -> PathBuf {
        self.folder.join("client.pem")
    }

    /// The path of the certificate that the proxy presents to its clients.
    pub fn proxy(&self) -> PathBuf {
        self.folder.join("proxy.pem")
    }

    /// The path of the certificate that the server of a node presents.
    pub fn node(&self, name: &str) -> PathBuf {
        self.folder.join(format!("node-{name}.pem"))
    }

    /// The CA's certificates.
    ///
    /// # Errors
    /// If there are none.
    pub fn authorities(&self) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
        let path = self.ca();
        let text = read(&path)?.ok_or_else(|| CertificateError::Missing(path.clone()))?;
        certificates(&text, &path)
    }

    /// The expiry time of the certificate in a file, such as a node's, in seconds of Unix time.
    ///
    /// # Errors
    /// If there is none.
    pub fn end(&self, path: &Path) -> Result<i64, CertificateError> {
        expiry(&self.certificate(path)?).ok_or_else(|| CertificateError::Malformed {
            path: path.to_owned(),
            what: "certificate",
        })
    }

    /// Reads a private key with its certificates.
    ///
    /// # Errors
    /// If they do not exist.
    pub fn identity(&self, path: &Path) -> Result<TlsIdentity, CertificateError> {
        let text = read(path)?.ok_or_else(|| CertificateError::Missing(path.to_owned()))?;
        let key =
            PrivateKeyDer::from_pem_slice(&text).map_err(|_| CertificateError::Malformed {
                path: path.to_owned(),
                what: "private key",
            })?;
        Ok(TlsIdentity {
            chain: certificates(&text, path)?,
            key,
        })
    }

    /// Changes when the certificate in a file, such as a node's, or that of the CA changes.
    pub fn fingerprint(&self, path: &Path) -> Option<[u8; 32]> {
        let mut hash = Sha256::new();
        for path in [&*self.ca(), path] {
            hash.update(Sha256::digest(&*read(path).ok()??));
        }
        Some(hash.finalize().into())
    }

    /// Generates every certificate that is missing, expires soon, or belongs to another CA or
    /// address. Returns how many were generated.
    ///
    /// # Errors
    /// If a file cannot be written, or the CA's key is missing.
    pub fn make_missing(&self, lab: &Lab) -> Result<usize, CertificateError> {
        if self.owners_without(lab).is_empty() {
            return Ok(0);
        }
        let _lock = Secrets::at(&self.folder).lock()?;
        let owners = self.owners_without(lab);
        for owner in &owners {
            self.make(owner)?;
        }
        Ok(owners.len())
    }

    /// Generates a new certificate for a node. The caller holds the lock of the folder.
    ///
    /// # Errors
    /// As [`Certificates::make_missing`].
    pub fn renew_node(&self, node: &Node) -> Result<(), CertificateError> {
        self.make(&Owner::Node(node))
    }

    /// Generates a new certificate for the proxy of `lab`. The caller holds the lock of the folder.
    ///
    /// # Errors
    /// As [`Certificates::make_missing`].
    pub fn renew_proxy(&self, lab: &Lab) -> Result<(), CertificateError> {
        self.make(&Owner::Proxy(*lab.proxy_socket().ip()))
    }

    /// Generates a new certificate for clients. The caller holds the lock of the folder.
    ///
    /// # Errors
    /// As [`Certificates::make_missing`].
    pub fn renew_client(&self) -> Result<(), CertificateError> {
        self.make(&Owner::Client)
    }

    /// The current certificate in a file.
    ///
    /// # Errors
    /// If there is none.
    pub fn certificate(&self, path: &Path) -> Result<CertificateDer<'static>, CertificateError> {
        let text = read(path)?.ok_or_else(|| CertificateError::Missing(path.to_owned()))?;
        let chain = certificates(&text, path)?;
        chain
            .into_iter()
            .next()
            .ok_or_else(|| CertificateError::Malformed {
                path: path.to_owned(),
                what: "certificate",
            })
    }

    /// The current certificate in a node's file.
    ///
    /// # Errors
    /// If there is none.
    pub fn node_certificate(
        &self,
        node: &Node,
    ) -> Result<CertificateDer<'static>, CertificateError> {
        self.certificate(&self.node(&node.name))
    }

    fn path_of(&self, owner: &Owner<'_>) -> PathBuf {
        match owner {
            Owner::Node(node) => self.node(&node.name),
            Owner::Proxy(_) => self.proxy(),
            Owner::Client => self.client(),
        }
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
    let length = file.metadata().map_or(0, |m| m.len()).min(MAX_FILE_BYTES);
    // With full capacity from the start: a growing buffer would leave copies behind.
    let room = usize::try_from(length).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(MAX_FILE_BYTES)
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

    use chrono::Utc;
    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
    };
    use webpki::EndEntityCert;

    use super::issue::{CERTIFICATE_DAYS, ca_name, set_common_name, set_validity};
    use super::*;
    use crate::config::Proxy;

    fn lab(folder: &Path) -> Lab {
        let mut lab = Lab::parse(include_str!("../../lab.toml"), None).unwrap();
        lab.security.tls = true;
        lab.security.secrets = Some(SecretsFolder::Own(folder.to_owned()));
        lab
    }

    #[test]
    fn a_generated_certificate_is_for_its_node_only_and_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let lab = lab(&folder.path().join("secrets"));
        let certificates = Certificates::of(&lab).unwrap();
        assert_eq!(certificates.make_missing(&lab).unwrap(), 7);
        assert_eq!(certificates.make_missing(&lab).unwrap(), 0);
        for node in lab.nodes() {
            let shown = certificates.node_certificate(node).unwrap();
            let shown = EndEntityCert::try_from(&shown).unwrap();
            for other in lab.nodes() {
                let is_named = shown.verify_is_valid_for_subject_name(&other.address.into());
                assert_eq!(is_named.is_ok(), other.name == node.name);
            }
            let days = (certificates.end(&certificates.node(&node.name)).unwrap()
                - Utc::now().timestamp())
                / 86_400;
            assert!((363..=365).contains(&days), "{days}");
        }
        let shown = certificates.certificate(&certificates.proxy()).unwrap();
        let shown = EndEntityCert::try_from(&shown).unwrap();
        let is_for = |address: Ipv4Addr| shown.verify_is_valid_for_subject_name(&address.into());
        assert!(is_for(*lab.proxy_socket().ip()).is_ok());
        assert!(is_for(lab.data_nodes[0].address).is_err());
        for entry in fs::read_dir(folder.path().join("secrets")).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_proxy_whose_clients_connect_without_tls_needs_no_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let mut lab = lab(folder.path());
        lab.proxy.as_mut().unwrap().tls = Some(false);
        let certificates = Certificates::of(&lab).unwrap();
        assert_eq!(certificates.make_missing(&lab).unwrap(), 6);
        assert!(!certificates.proxy().exists());
        lab.proxy = None;
        assert_eq!(certificates.make_missing(&lab).unwrap(), 1);
        // At another address, it needs another.
        lab.proxy = Some(Proxy {
            address: Some([127, 0, 0, 99].into()),
            ..Proxy::default()
        });
        assert_eq!(certificates.make_missing(&lab).unwrap(), 1);
    }

    #[test]
    fn only_a_certificate_for_another_address_or_ca_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let mut lab = lab(folder.path());
        let certificates = Certificates::of(&lab).unwrap();
        certificates.make_missing(&lab).unwrap();
        lab.data_nodes[1].address = [127, 0, 0, 99].into();
        let of_first = certificates.node(&lab.data_nodes[0].name);
        let before = certificates.fingerprint(&of_first);
        assert_eq!(certificates.make_missing(&lab).unwrap(), 1);
        assert_eq!(certificates.fingerprint(&of_first), before);
        fs::remove_file(certificates.ca()).unwrap();
        // With the same key it is the same CA.
        assert_eq!(certificates.make_missing(&lab).unwrap(), 7);
        fs::remove_file(certificates.ca()).unwrap();
        fs::remove_file(certificates.ca_key()).unwrap();
        assert_eq!(certificates.make_missing(&lab).unwrap(), 7);
        assert_ne!(certificates.fingerprint(&of_first), before);
        // Without the CA's key nothing can be signed.
        fs::remove_file(certificates.ca_key()).unwrap();
        fs::remove_file(certificates.client()).unwrap();
        let error = certificates.make_missing(&lab).unwrap_err().to_string();
        assert!(error.contains("ca.key is missing"), "{error}");
    }

    /// Writes a certificate of the lab's CA with these changes.
    fn given(certificates: &Certificates, node: &Node, change: impl Fn(&mut CertificateParams)) {
        let mut params = CertificateParams::new(vec![node.address.to_string()]).unwrap();
        set_validity(&mut params, CERTIFICATE_DAYS);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &certificates.ca_or_generate().unwrap());
        let text = key.serialize_pem() + &signed.unwrap().pem();
        write(&certificates.node(&node.name), text.as_bytes()).unwrap();
    }

    #[test]
    fn a_certificate_that_is_not_valid_for_another_month_is_replaced() {
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
        assert_eq!(made(&|params| set_validity(params, 29)), 1);
        assert_eq!(made(&|params| set_validity(params, 32)), 0);
        let clients = vec![ExtendedKeyUsagePurpose::ClientAuth];
        assert_eq!(
            made(&|params| params.extended_key_usages = clients.clone()),
            1
        );
        let servers = vec![ExtendedKeyUsagePurpose::ServerAuth];
        given(&certificates, node, |params| {
            params.extended_key_usages = servers.clone();
        });
        assert_eq!(certificates.make_missing(&lab).unwrap(), 0);
        let mut mutual = lab.clone();
        mutual.security.mutual_tls = true;
        assert_eq!(certificates.make_missing(&mutual).unwrap(), 1);
        // Another CA with the same name.
        let ca = fs::read(certificates.ca()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let own = fs::read_to_string(certificates.ca_key()).unwrap();
        set_common_name(&mut params, &ca_name(&KeyPair::from_pem(&own).unwrap()));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let other = params.self_signed(&key).unwrap().pem();
        fs::write(certificates.ca(), other).unwrap();
        assert_eq!(certificates.owners_without(&lab).len(), 7);
        fs::write(certificates.ca(), ca).unwrap();
        assert_eq!(certificates.owners_without(&lab).len(), 0);
    }

    #[test]
    fn the_expiry_time_is_read_and_a_malformed_certificate_has_none() {
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
            assert_eq!(
                certificates.end(&certificates.node(&node.name)).unwrap(),
                end
            );
        }
        let whole = certificates.node_certificate(node).unwrap();
        for length in 0..whole.len() {
            assert_eq!(
                expiry(&CertificateDer::from(&whole[..length])),
                None,
                "{length}"
            );
        }
    }

    #[test]
    fn concurrent_starts_generate_each_certificate_once() {
        let folder = tempfile::tempdir().unwrap();
        let lab = lab(folder.path());
        let made: usize = std::thread::scope(|scope| {
            let one = || Certificates::of(&lab).unwrap().make_missing(&lab).unwrap();
            let all: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
            all.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(made, 7);
    }

    #[test]
    fn an_error_names_the_missing_or_malformed_file() {
        let folder = tempfile::tempdir().unwrap();
        let certificates = Certificates::at(folder.path());
        let missing = certificates.authorities().unwrap_err().to_string();
        assert!(missing.contains("/ca.pem does not exist"), "{missing}");
        fs::write(certificates.client(), "something else").unwrap();
        let error = certificates.identity(&certificates.client()).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("contains no private key in PEM format"),
            "{error}"
        );
    }
}
