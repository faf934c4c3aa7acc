//! TLS between clients and the proxy.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use redis_ha_lab::access::Certificates;
use redis_ha_lab::config::SecretsFolder;
use rustix::process::Signal;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::lab::{Shape, TestLab, wait_until};
use super::metrics::{scrape, value};

/// Time for an answer, also across a failover.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A client that verifies the proxy by the lab's CA.
struct TlsClient(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl TlsClient {
    /// Connects; with `own`, it shows the certificate of clients.
    fn connect(lab: &TestLab, own: bool) -> std::io::Result<Self> {
        let certificates = certificates(lab);
        let mut roots = RootCertStore::empty();
        for authority in certificates.authorities().unwrap() {
            roots.add(authority).unwrap();
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match own {
            false => builder.with_no_client_auth(),
            true => {
                let identity = certificates.identity(&certificates.client()).unwrap();
                builder
                    .with_client_auth_cert(identity.chain, identity.key)
                    .unwrap()
            }
        };
        let at = lab.lab.proxy_socket();
        let tcp = TcpStream::connect(at)?;
        tcp.set_read_timeout(Some(ANSWER_LIMIT)).unwrap();
        let name = ServerName::from(IpAddr::from(*at.ip()));
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(session, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(TlsClient(BufReader::new(stream)))
    }

    fn logged_in(lab: &TestLab, own: bool) -> Self {
        let mut client = Self::connect(lab, own).unwrap();
        let password = fs::read_to_string(lab.path("state/secrets/operator")).unwrap();
        let command = format!("AUTH operator {}", password.trim());
        assert_eq!(client.ask(&command).unwrap(), "+OK");
        client
    }

    fn send(&mut self, command: &[u8]) -> std::io::Result<()> {
        let stream = self.0.get_mut();
        stream.write_all(command)?;
        stream.write_all(b"\r\n")?;
        stream.flush()
    }

    /// Sends a command, and reads the first line of the answer.
    fn ask(&mut self, command: &str) -> std::io::Result<String> {
        self.send(command.as_bytes())?;
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    fn shown(&self) -> CertificateDer<'static> {
        let shown = self.0.get_ref().conn.peer_certificates().unwrap();
        shown[0].clone().into_owned()
    }
}

fn certificates(lab: &TestLab) -> Certificates {
    Certificates::at(&lab.path("state/secrets"))
}

/// A lab with TLS, whose proxy serves.
fn start(mutual_tls: bool) -> TestLab {
    let mut lab = TestLab::start_as(Shape {
        tls: true,
        mutual_tls,
        ..Shape::default()
    });
    lab.lab.security.secrets = Some(SecretsFolder::Own(lab.path("state/secrets")));
    lab.runner.start_proxy(&[]).unwrap();
    wait_until("the proxy to serve", || {
        lab.halab(&["health", "proxy"]).status.success()
    });
    lab
}

fn of_proxy(lab: &TestLab, series: &str) -> Option<f64> {
    value(&scrape(lab.lab.proxy_metrics().unwrap())?, series)
}

#[test]
fn a_client_by_tls_is_served_through_a_killed_primary() {
    let mut lab = start(false);
    let mut client = TlsClient::logged_in(&lab, false);
    assert_eq!(client.ask("SET k 0").unwrap(), "+OK");
    let old = lab.primary().unwrap();
    lab.signal_server(&old, Signal::KILL);
    // What is sent to a primary that is dying would be unknown.
    let uses_old = format!("halab_proxy_primary{{primary=\"{old}\"}}");
    wait_until("the proxy to notice", || {
        of_proxy(&lab, &uses_old) == Some(0.0)
    });
    for number in 1..=100 {
        // The same connection, and nothing is executed twice.
        let answer = client.ask("INCR k").unwrap();
        assert_eq!(answer, format!(":{number}"));
    }
    lab.wait_failover_from(&old);
    lab.wait_healthy();
    assert_eq!(client.ask("INCR k").unwrap(), ":101");
    let ends = of_proxy(&lab, "halab_proxy_certificate_expiry_timestamp_seconds");
    assert!(ends.is_some_and(|at| at > 1e9), "{ends:?}");
}

#[test]
fn a_client_without_tls_is_told_so_and_so_is_the_log() {
    let lab = start(false);
    let mut stream = TcpStream::connect(lab.lab.proxy_socket()).unwrap();
    stream.set_read_timeout(Some(ANSWER_LIMIT)).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    let mut said = Vec::new();
    // What was sent is not read: that may reset the connection.
    let _ = stream.read_to_end(&mut said);
    assert_eq!(
        String::from_utf8_lossy(&said),
        "-ERR clients of this proxy connect by TLS\r\n"
    );
    wait_until("the log to say so", || {
        lab.log("proxy").contains("it does not connect by TLS")
    });
    let failed = of_proxy(&lab, "halab_proxy_handshakes_failed_total");
    assert_eq!(failed, Some(1.0));
}

#[test]
fn with_mutual_tls_a_client_shows_a_certificate_of_the_lab() {
    let lab = start(true);
    let mut own = TlsClient::logged_in(&lab, true);
    assert_eq!(own.ask("SET k v").unwrap(), "+OK");
    // With TLS 1.3 the refusal is read after the handshake.
    let refused = TlsClient::connect(&lab, false).and_then(|mut client| client.ask("PING"));
    // By an alert, or because the connection is closed already.
    assert!(refused.is_err());
    wait_until("the log to say so", || {
        lab.log("proxy").contains("peer sent no certificates")
    });
}

#[test]
fn a_renewed_certificate_is_shown_within_seconds_and_ends_no_connection() {
    let lab = start(false);
    let mut before = TlsClient::logged_in(&lab, false);
    let old = before.shown();
    let renewed = lab.halab(&["certificates", "renew"]);
    assert!(renewed.status.success(), "{renewed:?}");
    let file = certificates(&lab);
    wait_until("a new certificate", || {
        let shown = TlsClient::connect(&lab, false).unwrap().shown();
        shown != old && shown == file.certificate(&file.proxy()).unwrap()
    });
    assert_eq!(before.ask("SET k v").unwrap(), "+OK");
    // What clients would not accept is not shown.
    fs::copy(file.node("redis-a"), file.proxy()).unwrap();
    wait_until("the log to say so", || {
        lab.log("proxy").contains("a new certificate is not taken")
    });
    TlsClient::connect(&lab, false).unwrap();
}

/// The last part of an answer may be in the local buffer when the client's socket is full.
#[test]
fn a_slow_reader_gets_the_whole_of_a_long_answer() {
    let lab = start(false);
    let mut client = TlsClient::logged_in(&lab, false);
    let length = 16 << 20;
    client
        .send(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${length}").as_bytes())
        .unwrap();
    client.send(&vec![b'v'; length]).unwrap();
    let mut line = String::new();
    client.0.read_line(&mut line).unwrap();
    assert_eq!(line, "+OK\r\n");
    client.send(b"GET k").unwrap();
    let mut left = format!("${length}\r\n\r\n").len() + length;
    let mut part = vec![0; 256 * 1024];
    while left > 0 {
        // Slower than the proxy, so that the socket is full.
        thread::sleep(Duration::from_millis(5));
        let most = left.min(part.len());
        client.0.read_exact(&mut part[..most]).unwrap();
        left -= most;
    }
    assert_eq!(client.ask("PING").unwrap(), "+PONG");
}
