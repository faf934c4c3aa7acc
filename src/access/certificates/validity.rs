//! Which certificates peers will accept, and until when. The others are replaced.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::config::Lab;

use super::{Certificates, Owner};

/// A generated certificate that expires within this time is replaced at the next start.
const RENEW_WITHIN: Duration = Duration::from_secs(30 * 86_400);

impl Certificates {
    /// The owners without a usable certificate.
    pub(super) fn owners_without<'l>(&self, lab: &'l Lab) -> Vec<Owner<'l>> {
        let proxy = *lab.proxy_socket().ip();
        let proxy = lab.proxy_uses_tls().then_some(Owner::Proxy(proxy));
        let owners = lab.nodes().map(Owner::Node);
        let owners = owners.chain(proxy).chain([Owner::Client]);
        let ca = self.authorities().unwrap_or_default();
        let anchors = ca.iter().filter_map(|ca| anchor_from_trusted_cert(ca).ok());
        let anchors: Vec<_> = anchors.collect();
        // A node is a client of the other nodes, too.
        let node_usages = if lab.security.mutual_tls {
            vec![KeyUsage::server_auth(), KeyUsage::client_auth()]
        } else {
            vec![KeyUsage::server_auth()]
        };
        let is_usable = |owner: &Owner<'_>| {
            let usages = match owner {
                Owner::Node(_) => node_usages.clone(),
                Owner::Proxy(_) => vec![KeyUsage::server_auth()],
                Owner::Client => vec![KeyUsage::client_auth()],
            };
            self.is_usable(owner, usages, &anchors).unwrap_or(false)
        };
        owners.filter(|owner| !is_usable(owner)).collect()
    }

    /// Whether peers will accept it for the next 30 days; `None` if it is missing or malformed.
    fn is_usable(
        &self,
        owner: &Owner<'_>,
        usages: Vec<KeyUsage>,
        anchors: &[TrustAnchor<'_>],
    ) -> Option<bool> {
        let identity = self.identity(&self.path_of(owner)).ok()?;
        let (own, intermediates) = identity.chain.split_first()?;
        let own = EndEntityCert::try_from(own).ok()?;
        let is_named = owner.address().is_none_or(|address| {
            own.verify_is_valid_for_subject_name(&address.into())
                .is_ok()
        });
        let ahead = Duration::from_secs(UnixTime::now().as_secs()) + RENEW_WITHIN;
        let ahead = UnixTime::since_unix_epoch(ahead);
        let is_valid_for = |usage: KeyUsage| {
            let algorithms = ALL_VERIFICATION_ALGS;
            own.verify_for_usage(algorithms, anchors, intermediates, ahead, usage, None, None)
                .is_ok()
        };
        Some(is_named && usages.into_iter().all(is_valid_for))
    }
}

/// The expiry time of a certificate, in Unix time; `None` if it is malformed. webpki tells this
/// time only of an expired certificate, so this asks it to verify for the latest time there is.
pub(super) fn expiry(certificate: &CertificateDer<'_>) -> Option<i64> {
    let time = UnixTime::since_unix_epoch(Duration::MAX);
    let usage = KeyUsage::server_auth();
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    match certificate.verify_for_usage(ALL_VERIFICATION_ALGS, &[], &[], time, usage, None, None) {
        Err(webpki::Error::CertExpired { not_after, .. }) => not_after.as_secs().try_into().ok(),
        _ => None,
    }
}
