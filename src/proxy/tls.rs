//! TLS towards clients: the certificate that the proxy shows them, and the handshake.
//!
//! The certificate is checked at the start, as that of a node is. New files are used for new
//! connections within seconds.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tracing::{info, warn};

use crate::access::Certificates;
use crate::client::{TlsError, acceptor, verify_certificate};
use crate::config::{Lab, SecretsFolder};

use super::metrics::ProxyMetrics;

/// How often the files are checked.
const CHECK_PERIOD: Duration = Duration::from_secs(1);
/// Time for a client's handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// The first byte of a client that begins a handshake.
const HANDSHAKE: u8 = 0x16;
const PLAIN_REFUSED: &[u8] = b"-ERR clients of this proxy connect by TLS\r\n";

/// The connection of a client.
pub(super) type ClientStream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// The certificate that the proxy shows to its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientCertificate {
    /// That of the lab: `proxy.pem` of the secrets folder.
    OfLab,
    /// Private key and certificates in a file, of any CA.
    File(PathBuf),
}

/// Why a client was not accepted.
#[derive(Debug, thiserror::Error)]
pub(super) enum RefusedClient {
    #[error(
        "it does not connect by TLS; use rediss:// or --tls with ca.pem of the secrets folder, or \
         set proxy.tls = false in lab.toml"
    )]
    Plain,
    #[error("it has closed the connection before the TLS handshake")]
    Closed,
    #[error("no TLS handshake within {} s", HANDSHAKE_LIMIT.as_secs())]
    Silent,
    #[error("the TLS handshake failed: {0}")]
    Failed(io::Error),
}

/// The files of the certificate.
#[derive(Debug)]
pub(super) struct CertificateFiles {
    certificates: Certificates,
    path: PathBuf,
    /// `None`: the lab's CA need not have signed it.
    address: Option<std::net::Ipv4Addr>,
    is_mutual: bool,
    in_use: Option<[u8; 32]>,
    /// Unusable files that have been logged.
    refused: Option<[u8; 32]>,
}

impl CertificateFiles {
    /// The files, with those made that are missing if the lab makes its own.
    ///
    /// # Errors
    /// If one is missing, or clients would not accept the certificate.
    pub(super) fn of(lab: &Lab, certificate: &ClientCertificate) -> Result<Self, TlsError> {
        Certificates::load_or_generate(lab)?;
        let folder = lab.security.secrets.as_ref().map(SecretsFolder::path);
        let certificates = Certificates::at(folder.unwrap_or(".".as_ref()));
        let (path, address) = match certificate {
            ClientCertificate::OfLab => (certificates.proxy(), Some(*lab.proxy_socket().ip())),
            ClientCertificate::File(path) => (path.clone(), None),
        };
        Ok(CertificateFiles {
            is_mutual: lab.security.mutual_tls,
            certificates,
            path,
            address,
            in_use: None,
            refused: None,
        })
    }

    /// Reads them.
    ///
    /// # Errors
    /// If clients would not accept the certificate.
    pub(super) fn acceptor(&mut self, metrics: &ProxyMetrics) -> Result<TlsAcceptor, TlsError> {
        let now = self.fingerprint();
        if let Some(address) = self.address {
            verify_certificate(&self.certificates, &self.path, address)?;
        }
        let acceptor = acceptor(&self.certificates, &self.path, self.is_mutual)?;
        metrics.certificate_ends(self.certificates.end(&self.path).unwrap_or(0));
        self.in_use = now;
        Ok(acceptor)
    }

    fn fingerprint(&self) -> Option<[u8; 32]> {
        self.certificates.fingerprint(&self.path)
    }

    /// Has new files be used, without an end.
    pub(super) async fn follow(mut self, to: watch::Sender<TlsAcceptor>, metrics: ProxyMetrics) {
        loop {
            sleep(CHECK_PERIOD).await;
            // Unreadable files change nothing.
            let Some(now) = self.fingerprint() else {
                continue;
            };
            if self.in_use == Some(now) {
                continue;
            }
            match self.acceptor(&metrics) {
                Ok(acceptor) => {
                    info!("clients are shown a new certificate");
                    // Without a receiver, the proxy ends.
                    let _ = to.send(acceptor);
                }
                Err(error) => {
                    if self.refused.replace(now) != Some(now) {
                        warn!(%error, "a new certificate is not taken");
                    }
                }
            }
        }
    }
}

/// Performs the handshake with a client.
pub(super) async fn accept(
    acceptor: TlsAcceptor,
    mut stream: TcpStream,
) -> Result<ClientStream, RefusedClient> {
    let handshake = async {
        let mut first = [0];
        match stream
            .peek(&mut first)
            .await
            .map_err(RefusedClient::Failed)?
        {
            0 => return Err(RefusedClient::Closed),
            _ if first[0] != HANDSHAKE => {
                // It fits into the buffer of a new socket.
                let _ = stream.write_all(PLAIN_REFUSED).await;
                return Err(RefusedClient::Plain);
            }
            _ => {}
        }
        let accepted = acceptor
            .accept(stream)
            .await
            .map_err(RefusedClient::Failed)?;
        Ok(Either::Right(Box::new(accepted)))
    };
    timeout(HANDSHAKE_LIMIT, handshake)
        .await
        .unwrap_or(Err(RefusedClient::Silent))
}
