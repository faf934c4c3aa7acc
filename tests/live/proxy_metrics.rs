//! The metrics of the proxy, against commands whose number is known.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::lab::{TestLab, wait_until};
use super::metrics::{scrape, value};
use super::proxy_service::PlainClient;

impl TestLab {
    fn of_proxy(&self, series: &str) -> Option<f64> {
        let text = scrape(self.lab.proxy_metrics().unwrap())?;
        value(&text, &format!("halab_proxy_{series}"))
    }

    /// Commands answered, by kind.
    fn answered(&self) -> [f64; 3] {
        ["read", "write", "other"].map(|kind| {
            let series = format!("commands_total{{kind=\"{kind}\"}}");
            self.of_proxy(&series).unwrap()
        })
    }

    /// Whether the proxy uses the node as its primary.
    fn proxy_uses(&self, node: &str) -> bool {
        self.of_proxy(&format!("primary{{primary=\"{node}\"}}")) == Some(1.0)
    }
}

#[test]
fn commands_are_counted_by_kind_and_a_killed_primary_by_what_it_causes() {
    let mut lab = TestLab::start();
    lab.runner.start_proxy(&[]).unwrap();
    let proxy = lab.lab.proxy_socket();
    let mut client = PlainClient::logged_in(&lab, proxy);
    for number in 0..3 {
        assert_eq!(client.ask(&format!("SET k{number} v")), "+OK");
    }
    assert_eq!(client.ask("GET k0"), "$1");
    assert_eq!(client.line(), "v");
    assert_eq!(client.ask("EXISTS k0 k1"), ":2");
    assert_eq!(client.ask("MULTI"), "+OK");
    assert_eq!(client.ask("INCR n"), "+QUEUED");
    assert_eq!(client.ask("EXEC"), "*1");
    assert_eq!(client.line(), ":1");
    assert!(client.ask("MONITOR").starts_with("-ERR MONITOR"));
    // AUTH, MULTI, and what was queued or refused are other.
    assert_eq!(lab.answered(), [2.0, 4.0, 4.0]);
    assert_eq!(lab.of_proxy("confirmation_seconds_count"), Some(9.0));
    let sum = lab.of_proxy("confirmation_seconds_sum").unwrap();
    assert!(sum > 0.0 && sum < 60.0, "{sum}");
    let largest = "confirmation_seconds_bucket{le=\"+Inf\"}";
    assert_eq!(lab.of_proxy(largest), Some(9.0));
    assert_eq!(lab.of_proxy("clients"), Some(1.0));
    assert_eq!(lab.of_proxy("answers_held"), Some(0.0));
    // Fewer than in lab.toml, where the limit of open files is low.
    assert!(lab.of_proxy("max_clients").is_some_and(|most| most > 100.0));
    let changes = lab.of_proxy("primary_changes_total").unwrap();

    // Sent to a primary that hangs, and killed by its parent: a read is sent again, and of a write
    // nobody knows.
    let old = lab.primary().unwrap();
    assert!(lab.proxy_uses(&old));
    let mut reader = PlainClient::logged_in(&lab, proxy);
    lab.signal_server(&old, Signal::STOP);
    client.send("SET k0 w");
    reader.send("EXISTS k1");
    assert_eq!(reader.line(), ":1");
    assert_eq!(client.line(), "");
    let new = lab.wait_failover_from(&old);
    wait_until("the new primary in the metrics", || lab.proxy_uses(&new));
    assert!(!lab.proxy_uses(&old));
    assert_eq!(lab.of_proxy("unknown_total"), Some(1.0));
    // More than once, if the first primary that was found did not stay.
    assert!(lab.of_proxy("sent_again_total") >= Some(1.0));
    assert_eq!(lab.of_proxy("clients"), Some(1.0));
    let now = lab.of_proxy("primary_changes_total").unwrap();
    assert!(now > changes, "{now} {changes}");

    // Without any primary: not executed.
    lab.wait_healthy();
    for node in ["redis-a", "redis-b"] {
        lab.runner.kill_node(node);
    }
    assert!(reader.ask("EXISTS k1").starts_with("-NOPRIMARY"));
    assert_eq!(lab.of_proxy("without_primary_total"), Some(1.0));
    assert!(!lab.proxy_uses("redis-a") && !lab.proxy_uses("redis-b"));
}

#[test]
fn an_answer_that_waits_for_its_confirmation_is_shown_as_held() {
    let mut lab = TestLab::start();
    let mut proxy = lab
        .command()
        // It writes only while the replica confirms.
        .args(["proxy", "--policy", "replicated"])
        .spawn()
        .unwrap();
    let mut client = PlainClient::logged_in(&lab, lab.lab.proxy_socket());
    let replica = lab.replica();
    lab.runner.signal_node(&replica, Signal::STOP);
    lab.signal_server(&replica, Signal::STOP);
    client.send("SET k v");
    wait_until("the answer to be held", || {
        lab.of_proxy("answers_held") == Some(1.0)
    });
    // Long enough for a place among the slow ones.
    thread::sleep(Duration::from_millis(500));
    assert_eq!(lab.of_proxy("answers_held"), Some(1.0));
    lab.signal_server(&replica, Signal::CONT);
    lab.runner.signal_node(&replica, Signal::CONT);
    assert_eq!(client.line(), "+OK");
    assert_eq!(lab.of_proxy("answers_held"), Some(0.0));
    let slow = lab.of_proxy("confirmation_seconds_sum").unwrap();
    assert!(slow >= 0.5, "{slow}");
    proxy.kill().unwrap();
    proxy.wait().unwrap();
}
