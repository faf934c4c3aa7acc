//! The server side of TLS: the certificate of one file, for clients that verify it, and that show
//! one of the lab's CA themselves if they have to.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::WebPkiClientVerifier;

use crate::access::Certificates;

use super::{TlsError, describe, roots};

/// Accepts clients with the certificate in `path`. With `is_mutual`, they must show one of the
/// lab's CA.
///
/// # Errors
/// If a file cannot be read, or does not have what it should.
pub fn acceptor(
    certificates: &Certificates,
    path: &Path,
    is_mutual: bool,
) -> Result<TlsAcceptor, TlsError> {
    let unusable = |path: &Path, why: String| TlsError::Unusable {
        path: path.display().to_string(),
        why,
    };
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(path, describe(&error)))?;
    let builder = match is_mutual {
        false => builder.with_no_client_auth(),
        true => {
            let roots = Arc::new(roots(certificates)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(|error| unusable(&certificates.ca(), error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let identity = certificates.identity(path)?;
    let config = builder
        .with_single_cert(identity.chain, identity.key)
        .map_err(|error| unusable(path, describe(&error)))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
