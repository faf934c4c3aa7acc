//! A renewed certificate, given to the running server of a data node.

use tracing::{info, warn};

use super::DataNode;

impl DataNode {
    /// Has the server read a renewed certificate, if there is one. What it refuses is tried again.
    pub(super) async fn renew_certificate(&mut self) {
        let Some(renewal) = self.certificate.as_mut().and_then(|own| own.renewal()) else {
            return;
        };
        // All at once, since key and certificate must match. Redis reads the files again even if
        // their names stay.
        let mut cmd = redis::cmd("CONFIG");
        cmd.arg("SET")
            .arg(&["tls-cert-file", &renewal.own, "tls-key-file", &renewal.own])
            .arg(&["tls-ca-cert-file", &renewal.ca]);
        let sent = match self.own_conn().await {
            Ok(conn) => conn.query::<redis::Value>(&cmd).await.map(drop),
            Err(error) => Err(error),
        };
        let Some(certificate) = &mut self.certificate else {
            return;
        };
        match sent {
            Ok(()) => {
                certificate.renewed(&renewal);
                let end = certificate.end();
                info!(node = %self.node.name, end, "the server uses its new certificate");
                self.metrics.certificate_ends(end);
            }
            Err(error) => {
                warn!(node = %self.node.name, %error, "the server refuses its new certificate");
            }
        }
    }
}
