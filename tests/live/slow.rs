//! A lab whose handshakes take longer than shipped limits allow, as on a slow machine: the limits
//! follow `lab.toml`, and whoever can't connect in time does not call again without a pause.

use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::forwarded::Pods;
use super::lab::wait_until;

/// The shipped lab with TLS and other time limits, without profiles.
fn lab_toml(timing: &[(&str, u32)]) -> String {
    let shipped = include_str!("../../lab.toml");
    let lines = shipped.lines().map(|line| {
        let key = line.split(' ').next().unwrap_or_default();
        let changed = timing.iter().find(|(name, _)| *name == key);
        match changed {
            Some((name, value)) => format!("{name} = {value}\n"),
            None if key == "tls" => "tls = true\n".to_owned(),
            None => format!("{line}\n"),
        }
    });
    let text: String = lines.collect();
    let (before, profiles) = text.split_once("[profiles.fast]").unwrap();
    let (_, after) = profiles.split_once("[writer]").unwrap();
    format!("{before}[writer]{after}")
}

/// Twice what a handshake takes here: 3.2 s at most.
const PATIENT: [(&str, u32); 4] = [
    ("down_after_ms", 15_000),
    ("failover_timeout_ms", 20_000),
    ("hang_timeout_ms", 8_000),
    ("raise_limit_ms", 4_000),
];

#[test]
fn a_lab_whose_handshakes_take_long_comes_up_and_hands_over_with_longer_limits() {
    let pods = Pods::start_with(&lab_toml(&PATIENT), &[], Duration::from_millis(700));
    pods.assert_halab(&["status", "--wait", "60s"]);
    let ledger = pods.path("writer.ledger");
    let ledger = ledger.to_str().unwrap();
    let mut writer = pods
        .command()
        .args(["write", "--rate", "1000", "--count", "20000"])
        .args(["--metrics", "off", "--ledger", ledger])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the writer to be at work", || {
        super::lab::invoked(ledger.as_ref()) >= 1000
    });
    // The promoted node closes all its connections, and is seen to be promoted after the next
    // handshake.
    pods.delay(Duration::from_millis(3200));
    let old = pods.primary().unwrap();
    pods.assert_halab(&["handover"]);
    pods.delay(Duration::from_millis(700));
    assert_ne!(pods.primary().unwrap(), old);
    assert!(writer.wait().unwrap().success());
    pods.assert_halab(&["status", "--wait", "60s"]);
    pods.assert_halab(&["verify", "--scan", "--ledger", ledger]);
}

#[test]
fn with_the_shipped_limit_of_a_failover_such_a_handover_gives_up() {
    // The control: what is patient above is the handover, and not the connections alone.
    let timing = PATIENT.map(|(key, ms)| match key {
        "failover_timeout_ms" => (key, 5000),
        _ => (key, ms),
    });
    let pods = Pods::start_with(&lab_toml(&timing), &[], Duration::from_millis(700));
    pods.assert_halab(&["status", "--wait", "60s"]);
    pods.delay(Duration::from_millis(3200));
    let output = pods.halab(&["handover"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(
        said.contains("no other node was promoted within 3s"),
        "{said}"
    );
}

#[test]
fn handshakes_that_are_never_in_time_are_few() {
    // Longer than any limit of the shipped timings.
    let pods = Pods::start_with(&lab_toml(&[]), &[], Duration::from_secs(5));
    let mut writer = pods
        .command()
        .args(["write", "--count", "1", "--metrics", "off"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let seconds = 10;
    thread::sleep(Duration::from_secs(seconds));
    let before = pods.way.taken.load(Ordering::SeqCst);
    thread::sleep(Duration::from_secs(seconds));
    let taken = pods.way.taken.load(Ordering::SeqCst) - before;
    assert!(taken > 0, "nobody connects any more");
    assert!(writer.try_wait().unwrap().is_none(), "the writer has ended");
    writer.kill().unwrap();
    writer.wait().unwrap();
    let each_second = taken as f64 / seconds as f64;
    println!("{each_second} connections a second");
    // Those of the servers themselves, and of eight processes to five nodes. Without pauses it is
    // twice as many and more.
    assert!(each_second < 20.0, "{each_second}");
}
