//! TLS below a connection, in a lab that uses it: nothing is sent before the peer has presented a
//! certificate of the lab's CA for the address of the connection.
//!
//! The files are read for each connection, so no process has to be notified of a change.
//!
//! - `server`: the server side

mod server;

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
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
    AlertDescription, CertificateError as InvalidCertificate, ClientConfig, Error, RootCertStore,
    SignatureScheme,
};
use tokio_util::either::Either;

use crate::access::{CertificateError, Certificates};
use crate::config::Lab;

pub use server::acceptor;

/// The client side of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tls {
    certificates: Certificates,
    /// The client presents a certificate too.
    mutual: bool,
}

/// Why a certificate of the lab cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It can't be read.
    #[error(transparent)]
    Files(#[from] CertificateError),
    /// Peers would reject it.
    #[error("the certificate in {path} {why}")]
    Unusable {
        /// The file.
        path: String,
        /// The reason and a remedy, as the predicate of the sentence.
        why: String,
    },
}

impl Tls {
    /// The TLS settings of `lab`; `None` if it does not use TLS.
    pub(super) fn of(lab: &Lab) -> Option<Self> {
        Some(Tls {
            certificates: Certificates::of(lab)?,
            mutual: lab.security.mutual_tls,
        })
    }

    /// Performs the handshake with the server at `to`, and verifies its certificate.
    pub(super) async fn handshake(&self, tcp: TcpStream, to: Ipv4Addr) -> io::Result<Transport> {
        let request = Arc::new(CertificateRequest::default());
        let config = self.config(&request).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(server_name(to), tcp)
            .await
            .map_err(explain)?;
        if request.0.load(Ordering::Relaxed) {
            // The server would close the connection a moment later, and its alert may get lost.
            let required = Error::AlertReceived(AlertDescription::CertificateRequired);
            return Err(explain(io::Error::other(required)));
        }
        Ok(Either::Right(Box::new(stream)))
    }

    /// Whether the server verifies a client certificate too; it reports the result after the
    /// handshake.
    pub(super) fn is_mutual(&self) -> bool {
        self.mutual
    }

    fn config(&self, request: &Arc<CertificateRequest>) -> Result<ClientConfig, TlsError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| self.unusable(e))?
            .with_root_certificates(roots(&self.certificates)?);
        if !self.mutual {
            return Ok(builder.with_client_cert_resolver(request.clone()));
        }
        let identity = self.certificates.identity(&self.certificates.client())?;
        builder
            .with_client_auth_cert(identity.chain, identity.key)
            .map_err(|e| self.unusable(e))
    }

    fn unusable(&self, error: Error) -> TlsError {
        TlsError::Unusable {
            path: self.certificates.client().display().to_string(),
            why: describe(&error),
        }
    }
}

/// Whether the server has requested a client certificate; as a resolver it has none.
#[derive(Debug, Default)]
struct CertificateRequest(AtomicBool);

impl ResolvesClientCert for CertificateRequest {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Verifies the certificate in `path` as the clients of a server at `address` will, and that it
/// matches its private key.
///
/// # Errors
/// If peers would reject it; with the reason and a remedy.
pub fn verify_certificate(
    certificates: &Certificates,
    path: &Path,
    address: Ipv4Addr,
) -> Result<(), TlsError> {
    let unusable = |error: Error| TlsError::Unusable {
        path: path.display().to_string(),
        why: describe(&error),
    };
    let identity = certificates.identity(path)?;
    let provider = ring::default_provider();
    let own = CertifiedKey::from_der(identity.chain, identity.key, &provider).map_err(unusable)?;
    let verifier = verifier(certificates, provider)?;
    let (first, intermediates) = own
        .cert
        .split_first()
        .ok_or_else(|| unusable(Error::NoCertificatesPresented))?;
    verifier
        .verify_server_cert(
            first,
            intermediates,
            &server_name(address),
            &[],
            UnixTime::now(),
        )
        .map(drop)
        .map_err(unusable)
}

fn verifier(
    certificates: &Certificates,
    provider: CryptoProvider,
) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let roots = Arc::new(roots(certificates)?);
    WebPkiServerVerifier::builder_with_provider(roots, Arc::new(provider))
        .build()
        .map_err(|error| TlsError::Unusable {
            path: certificates.ca().display().to_string(),
            why: error.to_string(),
        })
}

fn roots(certificates: &Certificates) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates.authorities()? {
        roots.add(authority).map_err(|error| TlsError::Unusable {
            path: certificates.ca().display().to_string(),
            why: describe(&error),
        })?;
    }
    Ok(roots)
}

fn server_name(address: Ipv4Addr) -> ServerName<'static> {
    ServerName::from(address)
}

/// A TLS error with its reason and a remedy; any other error unchanged.
pub(super) fn explain(error: io::Error) -> io::Error {
    let text = match error.get_ref().and_then(|e| e.downcast_ref::<Error>()) {
        Some(invalid @ Error::InvalidCertificate(_)) => {
            format!("its certificate {}", describe(invalid))
        }
        Some(other) => format!("it {}", describe(other)),
        None => return error,
    };
    // The kind stays: commands that were sent before may have been executed.
    io::Error::new(error.kind(), text)
}

/// The reason of a TLS error and a remedy, as the predicate of a sentence about the certificate or
/// the server.
fn describe(error: &Error) -> String {
    let invalid = match error {
        Error::InvalidCertificate(invalid) => invalid,
        Error::InvalidMessage(_) => {
            return "does not speak TLS; check that it was started with security.tls".to_owned();
        }
        Error::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure,
        ) => {
            return "requires a client certificate; set security.mutual_tls as on the server"
                .to_owned();
        }
        Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError,
        ) => return "rejects our certificate, which is not signed by its CA".to_owned(),
        Error::AlertReceived(AlertDescription::CertificateExpired) => {
            return "rejects our certificate, which has expired; renew it \
                    (halab certificates renew)"
                .to_owned();
        }
        Error::InconsistentKeys(_) => return "does not match its private key".to_owned(),
        other => return format!("failed the TLS handshake: {other}"),
    };
    match invalid {
        InvalidCertificate::UnknownIssuer | InvalidCertificate::BadSignature => {
            "is not signed by this lab's CA (ca.pem in the secrets folder); check that both use \
             the same secrets folder"
                .to_owned()
        }
        InvalidCertificate::ExpiredContext { not_after, .. } => format!(
            "expired on {}; renew it (halab certificates renew), or at its source",
            date(*not_after)
        ),
        InvalidCertificate::NotValidYetContext { not_before, .. } => format!(
            "is not valid before {}; check the clock of this machine",
            date(*not_before)
        ),
        InvalidCertificate::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "is for {}, not for {}; each node needs a certificate for its own address",
            list_names(presented),
            expected.to_str()
        ),
        other => format!("is invalid: {other}"),
    }
}

/// Some of the names in a certificate, without the kind in which rustls wraps each of them.
fn list_names(presented: &[String]) -> String {
    const MOST: usize = 4;
    let name = |text: &String| {
        let inner = text
            .strip_prefix("IpAddress(")
            .and_then(|t| t.strip_suffix(')'));
        inner.unwrap_or(text).replace(char::is_control, " ")
    };
    let names: Vec<String> = presented.iter().take(MOST).map(name).collect();
    if names.is_empty() {
        "no address".to_owned()
    } else {
        names.join(", ")
    }
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    DateTime::from_timestamp(seconds, 0)
        .map_or_else(|| "a date out of range".to_owned(), |t| t.to_rfc3339())
}

/// A TCP connection, without TLS or with TLS.
pub(super) type Transport = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// The certificate that the server has presented.
pub(super) fn peer_certificate(transport: &Transport) -> Option<CertificateDer<'static>> {
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

    /// A record may be written although its answer was tampered with: only a refusal makes it fail
    /// for certain.
    #[test]
    fn a_tls_error_is_a_broken_connection_and_not_a_refusal() {
        for source in [
            Error::DecryptError,
            Error::AlertReceived(AlertDescription::CertificateRequired),
            Error::InvalidCertificate(InvalidCertificate::UnknownIssuer),
        ] {
            let error = explain(io::Error::new(io::ErrorKind::InvalidData, source));
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        }
    }

    #[test]
    fn the_list_of_names_is_printable_and_limited() {
        let names = |all: &[&str]| {
            let all: Vec<String> = all.iter().map(|n| (*n).to_owned()).collect();
            list_names(&all)
        };
        assert_eq!(names(&["IpAddress(10.0.0.1)"]), "10.0.0.1");
        assert_eq!(names(&[]), "no address");
        assert_eq!(names(&["a\nb"; 9]).matches("a b").count(), 4);
    }
}
