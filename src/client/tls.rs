//! TLS below a connection, for a lab that has it: the peer shows a certificate of the lab's CA for
//! the very address that was called, or nothing is said to it.
//!
//! The files are read anew for each connection: whoever changes them has nobody to tell.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::DateTime;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{
    AlertDescription, CertificateError as Wrong, ClientConfig, Error, RootCertStore,
    SignatureScheme,
};
use tokio_util::either::Either;

use crate::access::{CertificateError, Certificates};
use crate::config::{Lab, Node};

/// How TLS is begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tls {
    certificates: Certificates,
    /// We show a certificate too.
    mutual: bool,
}

/// Why a certificate of our own is of no use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It can't be read.
    #[error(transparent)]
    Files(#[from] CertificateError),
    /// Nobody would take it.
    #[error("the certificate in {path} {why}")]
    Useless {
        /// The file.
        path: String,
        /// As a clause: what is wrong, and what helps.
        why: String,
    },
}

impl Tls {
    /// How the servers of `lab` are to be talked to; nothing where it is in the clear.
    pub(super) fn of(lab: &Lab) -> Option<Self> {
        Some(Tls {
            certificates: Certificates::of(lab)?,
            mutual: lab.security.mutual_tls,
        })
    }

    /// Has the server at `to` show who it is.
    pub(super) async fn begin(&self, tcp: TcpStream, to: Ipv4Addr) -> io::Result<Transport> {
        let asked = Arc::new(Asked::default());
        let config = self.config(&asked).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(server_name(to), tcp)
            .await
            .map_err(explained)?;
        if asked.0.load(Ordering::Relaxed) {
            // It would hang up a moment later, without a word that is sure to be heard.
            let wanted = Error::AlertReceived(AlertDescription::CertificateRequired);
            return Err(explained(io::Error::other(wanted)));
        }
        Ok(Either::Right(Box::new(stream)))
    }

    /// Whether the server judges us too, which it tells after the handshake.
    pub(super) fn is_mutual(&self) -> bool {
        self.mutual
    }

    fn config(&self, asked: &Arc<Asked>) -> Result<ClientConfig, TlsError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| self.useless(e))?
            .with_root_certificates(roots(&self.certificates)?);
        if !self.mutual {
            return Ok(builder.with_client_cert_resolver(asked.clone()));
        }
        let identity = self.certificates.identity(&self.certificates.client())?;
        builder
            .with_client_auth_cert(identity.chain, identity.key)
            .map_err(|e| self.useless(e))
    }

    fn useless(&self, error: Error) -> TlsError {
        TlsError::Useless {
            path: self.certificates.client().display().to_string(),
            why: clause(&error),
        }
    }
}

/// Has no certificate, and notes that one was asked for.
#[derive(Debug, Default)]
struct Asked(AtomicBool);

impl ResolvesClientCert for Asked {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Judges the certificate of a node as those who connect to it will, and that its key belongs to
/// it.
///
/// # Errors
/// What is wrong with it, and what helps.
pub fn judge_own(certificates: &Certificates, node: &Node) -> Result<(), TlsError> {
    let path = certificates.node(&node.name);
    let useless = |error: Error| TlsError::Useless {
        path: path.display().to_string(),
        why: clause(&error),
    };
    let identity = certificates.identity(&path)?;
    let provider = ring::default_provider();
    let own = CertifiedKey::from_der(identity.chain, identity.key, &provider).map_err(useless)?;
    let verifier = verifier(certificates, provider)?;
    let (first, between) = own
        .cert
        .split_first()
        .ok_or_else(|| useless(Error::NoCertificatesPresented))?;
    verifier
        .verify_server_cert(
            first,
            between,
            &server_name(node.address),
            &[],
            UnixTime::now(),
        )
        .map(drop)
        .map_err(useless)
}

fn verifier(
    certificates: &Certificates,
    provider: CryptoProvider,
) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let roots = Arc::new(roots(certificates)?);
    WebPkiServerVerifier::builder_with_provider(roots, Arc::new(provider))
        .build()
        .map_err(|error| TlsError::Useless {
            path: certificates.ca().display().to_string(),
            why: error.to_string(),
        })
}

fn roots(certificates: &Certificates) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates.authorities()? {
        roots.add(authority).map_err(|error| TlsError::Useless {
            path: certificates.ca().display().to_string(),
            why: clause(&error),
        })?;
    }
    Ok(roots)
}

fn server_name(address: Ipv4Addr) -> ServerName<'static> {
    ServerName::from(address)
}

/// An error of TLS with its reason and what helps; another one stays as it is.
pub(super) fn explained(error: io::Error) -> io::Error {
    let text = match error.get_ref().and_then(|e| e.downcast_ref::<Error>()) {
        Some(wrong @ Error::InvalidCertificate(_)) => {
            format!("its certificate {}", clause(wrong))
        }
        Some(wrong) => format!("it {}", clause(wrong)),
        None => return error,
    };
    // Of the same kind: what was sent before may have been done, so this is no refusal of it.
    io::Error::new(error.kind(), text)
}

/// What is wrong with a certificate or with who shows it, as a clause, and what helps.
fn clause(error: &Error) -> String {
    let wrong = match error {
        Error::InvalidCertificate(wrong) => wrong,
        Error::InvalidMessage(_) => {
            return "does not speak TLS: was it started without security.tls?".to_owned();
        }
        Error::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure,
        ) => {
            return "wants a certificate from us: set security.mutual_tls as on its side"
                .to_owned();
        }
        Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError,
        ) => return "does not take our certificate, which is not of its CA".to_owned(),
        Error::AlertReceived(AlertDescription::CertificateExpired) => {
            return "does not take our certificate, which has expired: renew it \
                    (halab certificates renew)"
                .to_owned();
        }
        Error::InconsistentKeys(_) => return "does not belong to the key beside it".to_owned(),
        other => return format!("does not get on with us by TLS: {other}"),
    };
    match wrong {
        Wrong::UnknownIssuer | Wrong::BadSignature => {
            "is not of this lab's CA (ca.pem among its secrets): are both of one lab?".to_owned()
        }
        Wrong::ExpiredContext { not_after, .. } => format!(
            "has expired on {}: renew it (halab certificates renew), or where it was made",
            date(*not_after)
        ),
        Wrong::NotValidYetContext { not_before, .. } => format!(
            "is not good before {}: is the clock of this machine right?",
            date(*not_before)
        ),
        Wrong::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "is for {}, not for {}: each node needs one with its own address",
            named(presented),
            expected.to_str()
        ),
        other => format!("is of no use: {other}"),
    }
}

/// Whom a certificate is for: some of the names in it, as they are written, which rustls wraps in
/// their kind.
fn named(presented: &[String]) -> String {
    const MOST: usize = 4;
    let name = |text: &String| {
        let inner = text
            .strip_prefix("IpAddress(")
            .and_then(|t| t.strip_suffix(')'));
        inner.unwrap_or(text).replace(char::is_control, " ")
    };
    let names: Vec<String> = presented.iter().take(MOST).map(name).collect();
    if names.is_empty() {
        "no address at all".to_owned()
    } else {
        names.join(", ")
    }
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    DateTime::from_timestamp(seconds, 0)
        .map_or_else(|| "a day far away".to_owned(), |t| t.to_rfc3339())
}

/// A TCP connection, without TLS or with TLS.
pub(super) type Transport = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// The certificate that the server has shown.
pub(super) fn shown(transport: &Transport) -> Option<CertificateDer<'static>> {
    match transport {
        Either::Left(_) => None,
        Either::Right(stream) => {
            let (_, session) = stream.get_ref();
            Some(session.peer_certificates()?.first()?.clone().into_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record whose answer was tampered with may be written: only a refusal makes it fail for
    /// certain.
    #[test]
    fn an_error_of_tls_is_a_broken_connection_and_no_refusal() {
        for wrong in [
            Error::DecryptError,
            Error::AlertReceived(AlertDescription::CertificateRequired),
            Error::InvalidCertificate(Wrong::UnknownIssuer),
        ] {
            let error = explained(io::Error::new(io::ErrorKind::InvalidData, wrong));
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        }
    }

    #[test]
    fn names_are_told_as_they_are_written_and_not_without_end() {
        let names = |all: &[&str]| {
            let all: Vec<String> = all.iter().map(|n| (*n).to_owned()).collect();
            named(&all)
        };
        assert_eq!(names(&["IpAddress(10.0.0.1)"]), "10.0.0.1");
        assert_eq!(names(&[]), "no address at all");
        assert_eq!(names(&["a\nb"; 9]).matches("a b").count(), 4);
    }
}
