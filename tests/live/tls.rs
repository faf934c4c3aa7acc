//! TLS on real servers: a lab with it is a lab as before, nothing is said in the clear, and whoever
//! can't show who it is gets nothing but the reason.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair,
    PublicKeyData, SanType, date_time_ymd,
};
use redis_ha_lab::access::{Certificates, User};
use redis_ha_lab::client::Connector;
use redis_ha_lab::config::Node;
use rustix::process::Signal;
use sha2::{Digest, Sha256};

use super::lab::{Shape, TestLab, invoked, redis_server, wait_until};

fn with_tls() -> TestLab {
    TestLab::start_as(Shape {
        tls: true,
        ..Shape::default()
    })
}

/// What the server of a node says to `PING` in the clear.
fn said_in_the_clear(node: &Node) -> Vec<u8> {
    let mut stream = TcpStream::connect(node.socket()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream.write_all(b"*1\r\n$4\r\nPING\r\n").unwrap();
    let mut said = Vec::new();
    // A reset is a way of refusing too.
    let _ = stream.read_to_end(&mut said);
    said
}

/// What `halab status` says of a node, with other secrets or another lab.toml.
fn status_with(lab: &TestLab, changes: &[(&str, &Path)], node: &str) -> String {
    let mut command = lab.command_with(changes);
    if let Some((_, secrets)) = changes.iter().find(|(name, _)| *name == "--secrets") {
        command.arg("--secrets").arg(secrets);
    }
    let output = command.args(["status", "--json"]).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let nodes = ["data_nodes", "sentinels"]
        .into_iter()
        .flat_map(|kind| status[kind].as_array().unwrap());
    let of = nodes.into_iter().find(|n| n["name"] == node).unwrap();
    of.to_string()
}

/// The lab's own lab.toml with other switches.
fn config_with(lab: &TestLab, from: &str, to: &str) -> PathBuf {
    let text = fs::read_to_string(lab.path("lab.toml")).unwrap();
    assert!(text.contains(from), "{text}");
    let path = lab.path("other.toml");
    fs::write(&path, text.replace(from, to)).unwrap();
    path
}

/// Copies the lab's secrets into a folder of that name.
fn copied_secrets(lab: &TestLab, name: &str) -> PathBuf {
    let to = lab.path(name);
    fs::create_dir(&to).unwrap();
    for entry in fs::read_dir(lab.path("state/secrets")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    to
}

/// The private keys of the lab, as the lines between their marks.
fn private_keys(lab: &TestLab) -> Vec<String> {
    let folder = fs::read_dir(lab.path("state/secrets")).unwrap();
    let mut keys = Vec::new();
    for path in folder.map(|e| e.unwrap().path()) {
        let text = fs::read_to_string(&path).unwrap();
        let inner = text
            .split_once("-----BEGIN PRIVATE KEY-----")
            .and_then(|(_, rest)| rest.split_once("-----END PRIVATE KEY-----"));
        keys.extend(inner.map(|(key, _)| key.trim().lines().next_back().unwrap().to_owned()));
    }
    keys
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut left = vec![folder.to_owned()];
    let mut found = Vec::new();
    while let Some(path) = left.pop() {
        if path.is_dir() && !path.is_symlink() {
            left.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}

/// A server with the certificate in `file`, at the address of `node`, that lets everyone in.
struct Impostor(Child);

impl Impostor {
    fn start(lab: &TestLab, node: &Node, file: &Path) -> Self {
        let ca = lab.path("state/secrets/ca.pem");
        let child = Command::new(redis_server())
            .args(["--bind", &node.address.to_string(), "--port", "0"])
            .args(["--tls-port", &node.port.to_string(), "--save", ""])
            .args(["--tls-auth-clients", "no", "--protected-mode", "no"])
            .arg("--tls-cert-file")
            .arg(file)
            .arg("--tls-key-file")
            .arg(file)
            .arg("--tls-ca-cert-file")
            .arg(ca)
            .arg("--dir")
            .arg(lab.folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let impostor = Impostor(child);
        wait_until("a server that listens", || {
            TcpStream::connect(node.socket()).is_ok()
        });
        impostor
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A certificate of the lab's own CA for `node`, which ended years ago.
fn expired(lab: &TestLab, node: &Node) -> String {
    let secrets = lab.path("state/secrets");
    let ca = fs::read_to_string(secrets.join("ca.key")).unwrap();
    let ca = KeyPair::from_pem(&ca).unwrap();
    // Under the name that the lab gave it.
    let id = Sha256::digest(ca.subject_public_key_info());
    let id: String = id.iter().take(6).map(|b| format!("{b:02x}")).collect();
    let mut of_ca = CertificateParams::default();
    of_ca.distinguished_name = DistinguishedName::new();
    of_ca
        .distinguished_name
        .push(DnType::CommonName, format!("redis-ha-lab CA {id}"));
    let issuer = Issuer::new(of_ca, ca);
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::IpAddress(node.address.into())];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 2, 3);
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = KeyPair::generate().unwrap();
    key.serialize_pem() + &params.signed_by(&key, &issuer).unwrap().pem()
}

#[test]
fn a_lab_with_tls_fails_over_loses_nothing_and_says_nothing_in_the_clear() {
    let mut lab = with_tls();
    let writer = lab.start_writer(&["--duration", "10m", "--rate", "5000"]);
    writer.wait_invoked(5000);
    lab.signal_server("redis-a", Signal::KILL);
    lab.wait_failover_from("redis-a");
    lab.wait_healthy();
    let ledger = writer.ledger.clone();
    writer.wait_invoked(invoked(&ledger) + 5000);
    assert!(lab.halab(&["handover"]).status.success());
    lab.wait_healthy();
    writer.signal(Signal::TERM);
    let (code, summary, log) = writer.finish();
    assert_eq!((code, &summary["failed"]), (Some(0), &0.into()), "{log}");
    lab.assert_nothing_lost(&ledger);

    for node in lab.lab.nodes() {
        let said = said_in_the_clear(node);
        // An alert of TLS at most.
        assert!(
            said.is_empty() || said[0] == 0x15,
            "{}: {}",
            node.name,
            String::from_utf8_lossy(&said)
        );
        let pong = lab.halab(&["cli", &node.name, "ping"]);
        assert_eq!(String::from_utf8_lossy(&pong.stdout).trim(), "PONG");
        assert!(lab.halab(&["health", &node.name]).status.success());
    }
    let plain = config_with(&lab, "\ntls = true", "\ntls = false");
    let status = status_with(&lab, &[("--config", &plain)], "redis-a");
    // Redis hangs up without a word, so why is a guess that is not made each time.
    assert!(status.contains("unreachable"), "{status}");

    // The keys are in the folder of secrets, and nowhere else.
    let keys = private_keys(&lab);
    assert_eq!(
        keys.len(),
        8,
        "the CA's, five nodes', the proxy's, the clients'"
    );
    let secrets = lab.path("state/secrets");
    for path in files_below(lab.folder.path()) {
        if path.starts_with(&secrets) {
            continue;
        }
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        for key in &keys {
            assert!(!text.contains(key), "a private key in {}", path.display());
        }
    }
}

#[test]
fn whoever_shows_another_certificate_is_refused_with_the_reason() {
    let mut lab = with_tls();
    // Of another CA: that of another lab.
    let others = copied_secrets(&lab, "others");
    for name in ["ca.pem", "ca.key"] {
        fs::remove_file(others.join(name)).unwrap();
    }
    Certificates::at(&others).make_missing(&lab.lab).unwrap();
    let status = status_with(&lab, &[("--secrets", &others)], "redis-a");
    assert!(
        status.contains("is not signed by this lab's CA"),
        "{status}"
    );
    let write = lab
        .command()
        .arg("--secrets")
        .arg(&others)
        .args(["write", "--count", "1", "--patience", "2s"])
        .output()
        .unwrap();
    assert_eq!(write.status.code(), Some(4));

    // A file that nobody would take does not reach the server, and is told about.
    let node = lab.lab.data_nodes[1].clone();
    let own = lab.path("state/secrets").join("node-redis-b.pem");
    let good = fs::read(&own).unwrap();
    let old = lab.path("expired.pem");
    fs::write(&old, expired(&lab, &node)).unwrap();
    fs::copy(&old, &own).unwrap();
    wait_until("the node to refuse it", || {
        lab.log("redis-b")
            .contains("a new certificate is not taken")
    });
    assert!(
        lab.log("redis-b")
            .contains("expired on 2021-02-03T00:00:00+00:00")
    );
    fs::write(&own, good).unwrap();
    lab.wait_healthy();

    // Servers at its address that show something else.
    lab.runner.stop_node("redis-b");
    let theirs = lab.path("state/secrets/node-redis-a.pem");
    let foreign = others.join("node-redis-b.pem");
    let (a, b) = (&lab.lab.data_nodes[0].address, &node.address);
    for (file, reason) in [
        (&old, "expired on 2021-02-03".to_owned()),
        (&foreign, "is not signed by this lab's CA".to_owned()),
        (&theirs, format!("is for {a}, not for {b}")),
    ] {
        let _impostor = Impostor::start(&lab, &node, file);
        let status = status_with(&lab, &[], "redis-b");
        assert!(status.contains(&reason), "{reason}: {status}");
    }
    // One that speaks no TLS at all.
    let mut plain = Command::new(redis_server())
        .args(["--bind", &node.address.to_string(), "--save", ""])
        .args(["--port", &node.port.to_string(), "--protected-mode", "no"])
        .arg("--dir")
        .arg(lab.folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("a server that listens", || {
        TcpStream::connect(node.socket()).is_ok()
    });
    let status = status_with(&lab, &[], "redis-b");
    plain.kill().unwrap();
    plain.wait().unwrap();
    assert!(
        status.contains("check that it was started with security.tls"),
        "{status}"
    );

    // With its own it is one of the lab again.
    lab.runner.start_node("redis-b").unwrap();
    lab.wait_healthy();
}

#[test]
fn with_mutual_tls_nobody_is_let_in_without_a_certificate() {
    let lab = TestLab::start_as(Shape {
        tls: true,
        mutual_tls: true,
        ..Shape::default()
    });
    let writer = lab.start_writer(&["--count", "2000"]);
    writer.assert_all_acknowledged();
    let one_way = config_with(&lab, "mutual_tls = true", "mutual_tls = false");
    for node in ["redis-a", "sentinel-1"] {
        let status = status_with(&lab, &[("--config", &one_way)], node);
        assert!(
            status.contains("requires a client certificate"),
            "{node}: {status}"
        );
    }
    // One of another CA is no better, though we take the lab's.
    let others = copied_secrets(&lab, "others");
    for name in ["ca.pem", "ca.key"] {
        fs::remove_file(others.join(name)).unwrap();
    }
    Certificates::at(&others).make_missing(&lab.lab).unwrap();
    fs::copy(lab.path("state/secrets/ca.pem"), others.join("ca.pem")).unwrap();
    let status = status_with(&lab, &[("--secrets", &others)], "redis-a");
    assert!(
        status.contains("rejects our certificate, which is not signed by its CA"),
        "{status}"
    );
}

#[test]
fn certificates_are_renewed_under_load_without_a_failed_write() {
    let mut lab = with_tls();
    let certificates = Certificates::at(&lab.path("state/secrets"));
    let mut inside = lab.lab.clone();
    inside.security = inside.security.for_state(&lab.path("state"));
    let connector = Connector::new(&inside, User::Verifier).with_limit(Duration::from_secs(10));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let shown = || -> Vec<Vec<u8>> {
        let show = |node: &Node| runtime.block_on(connector.certificate(node.socket()));
        inside.nodes().map(|n| show(n).unwrap().unwrap()).collect()
    };
    let before = shown();
    let writer = lab.start_writer(&["--duration", "10m", "--rate", "5000"]);
    writer.wait_invoked(5000);
    // One that does not answer is named, and nothing is changed.
    lab.runner.stop_node("sentinel-3");
    let refused = lab.halab(&["certificates", "renew"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(
        said.contains("sentinel-3") && said.contains("no certificate was renewed"),
        "{said}"
    );
    for (node, old) in lab.lab.nodes().zip(&before) {
        assert_eq!(
            old,
            &*certificates.node_certificate(node).unwrap(),
            "{}",
            node.name
        );
    }
    lab.runner.start_node("sentinel-3").unwrap();
    lab.wait_healthy();
    let renewed = lab.halab(&["certificates", "renew"]);
    assert!(
        renewed.status.success(),
        "{}",
        String::from_utf8_lossy(&renewed.stderr)
    );
    let after = shown();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for ((node, old), new) in lab.lab.nodes().zip(&before).zip(&after) {
        assert_ne!(old, new, "{}", node.name);
        let end = lab.of_node(
            &node.name,
            "halab_node_certificate_expiry_timestamp_seconds",
        );
        let days = (end.unwrap() - now.as_secs_f64()) / 86_400.0;
        assert!((363.0..=365.0).contains(&days), "{}: {days}", node.name);
        assert_eq!(
            new,
            &*certificates.node_certificate(node).unwrap(),
            "{}",
            node.name
        );
    }
    // Everyone makes new connections: to the new primary, of the new replica, of the Sentinels.
    lab.wait_healthy();
    assert!(lab.halab(&["handover"]).status.success());
    lab.wait_healthy();
    let ledger = writer.ledger.clone();
    writer.wait_invoked(invoked(&ledger) + 5000);
    writer.signal(Signal::TERM);
    let (code, summary, log) = writer.finish();
    assert_eq!(
        (code, &summary["failed"], &summary["unknown"]),
        (Some(0), &0.into(), &0.into()),
        "{log}"
    );
    lab.assert_nothing_lost(&ledger);
}
