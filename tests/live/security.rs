//! Who is let in, what each may do, and that no password is where it does not belong.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use redis_ha_lab::access::User;
use redis_ha_lab::config::{Node, NodeKind};
use rustix::process::{Pid, Signal, kill_process};

use super::lab::{Shape, TestLab, children_of, invoked};

/// What a node answers to words that are sent to it without saying who we are.
fn said_by(node: &Node, words: &[&str]) -> String {
    let mut stream = TcpStream::connect(node.socket()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream
        .write_all((words.join(" ") + "\r\n").as_bytes())
        .unwrap();
    let mut answer = vec![0; 256];
    let length = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..length])
        .trim_end()
        .to_owned()
}

/// What redis-cli prints as that user.
fn as_user(lab: &TestLab, user: User, node: &str, words: &[&str]) -> String {
    let output = lab.halab(&[&["cli", "--user", user.name(), node], words].concat());
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    text.trim().to_owned()
}

#[test]
fn who_does_not_say_who_they_are_is_let_in_nowhere() {
    let lab = TestLab::start();
    for node in lab.lab.nodes() {
        for words in [
            &["PING"][..],
            &["INFO"],
            &["ACL", "WHOAMI"],
            &["SHUTDOWN", "NOSAVE"],
        ] {
            let answer = said_by(node, words);
            assert!(
                answer.starts_with("-NOAUTH"),
                "{}: {words:?}: {answer}",
                node.name
            );
        }
        let more: &[&str] = match node.kind {
            NodeKind::Data => &["GET", "halab:x"],
            NodeKind::Sentinel => &["SENTINEL", "FAILOVER", "halab"],
        };
        let answer = said_by(node, more);
        assert!(answer.starts_with("-NOAUTH"), "{}: {answer}", node.name);
        let wrong = said_by(node, &["AUTH", "operator", "guessed"]);
        assert!(wrong.starts_with("-WRONGPASS"), "{}: {wrong}", node.name);
        let default = said_by(node, &["AUTH", "default", ""]);
        assert!(default.starts_with('-'), "{}: {default}", node.name);
    }
    // Who has passwords of another lab is told so.
    let others = lab.path("others");
    let made = lab.halab(&["secrets", "make", &others.display().to_string()]);
    assert!(made.status.success());
    let mut command = lab.command();
    let output = command
        .env("HALAB_SECRETS", &others)
        .args(["write", "--count", "1", "--patience", "2s"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4));
    let status = lab
        .command()
        .env("HALAB_SECRETS", &others)
        .arg("status")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&status.stdout);
    assert!(text.contains("WRONGPASS"), "{text}");
}

#[test]
fn no_user_may_do_more_than_its_part_needs() {
    let lab = TestLab::start();
    let tries: [(User, NodeKind, &[&[&str]]); 12] = [
        (
            User::Writer,
            NodeKind::Data,
            &[
                &["get", "halab:x"],
                &["mset", "another:x", "1"],
                &["mset", "halab:x", "1", "another:x", "1"],
                &["set", "halab:x", "1"],
                &["del", "halab:x"],
                &["flushall"],
                &["scan", "0"],
                &["config", "get", "*"],
                &["replicaof", "no", "one"],
                &["acl", "list"],
                &["client", "pause", "1"],
                &["publish", "__sentinel__:hello", "x"],
            ],
        ),
        (
            User::Proxy,
            NodeKind::Data,
            &[
                &["get", "halab:x"],
                &["mset", "halab:x", "1"],
                &["set", "halab-mark", "1"],
                &["publish", "halab:not-promotable", "x"],
                &["client", "list"],
            ],
        ),
        (
            User::Verifier,
            NodeKind::Data,
            &[
                &["set", "halab:x", "1"],
                &["get", "another:x"],
                &["config", "get", "masterauth"],
                &["shutdown"],
            ],
        ),
        (
            User::Replication,
            NodeKind::Data,
            &[&["info"], &["get", "halab:x"], &["set", "halab:x", "1"]],
        ),
        (
            User::Sentinel,
            NodeKind::Data,
            &[
                &["set", "halab:x", "1"],
                &["config", "set", "appendonly", "no"],
                &["flushall"],
                &["publish", "another", "x"],
                &["script", "kill"],
            ],
        ),
        (
            User::Exporter,
            NodeKind::Data,
            &[
                &["config", "get", "*"],
                &["get", "halab:x"],
                &["client", "list"],
            ],
        ),
        (
            User::Node,
            NodeKind::Data,
            &[
                &["set", "halab:x", "1"],
                &["config", "rewrite"],
                &["flushall"],
                &["shutdown"],
                &["acl", "setuser", "node", "+@all"],
            ],
        ),
        (
            User::Writer,
            NodeKind::Sentinel,
            &[
                &["sentinel", "failover", "halab"],
                &["sentinel", "set", "halab", "quorum", "1"],
                &["sentinel", "remove", "halab"],
                &["shutdown"],
            ],
        ),
        (
            User::Proxy,
            NodeKind::Sentinel,
            &[
                &["sentinel", "failover", "halab"],
                &["sentinel", "set", "halab", "quorum", "1"],
            ],
        ),
        (
            User::Verifier,
            NodeKind::Sentinel,
            &[
                &["sentinel", "failover", "halab"],
                &["sentinel", "reset", "*"],
            ],
        ),
        (
            User::Sentinel,
            NodeKind::Sentinel,
            &[
                &["sentinel", "failover", "halab"],
                &["sentinel", "monitor", "other", "127.0.0.1", "1", "1"],
            ],
        ),
        (
            User::Exporter,
            NodeKind::Sentinel,
            &[
                &["sentinel", "failover", "halab"],
                &["sentinel", "config", "get", "*"],
            ],
        ),
    ];
    for (user, kind, all) in tries {
        let node = lab.lab.nodes().find(|n| n.kind == kind).unwrap();
        for words in all {
            let answer = as_user(&lab, user, &node.name, words);
            assert!(
                answer.contains("NOPERM"),
                "{} {words:?}: {answer}",
                user.name()
            );
        }
    }
    // Those who may, may.
    assert_eq!(
        as_user(&lab, User::Writer, "redis-a", &["mset", "halab:x", "1"]),
        "OK"
    );
    assert_eq!(
        as_user(&lab, User::Verifier, "redis-a", &["get", "halab:x"]),
        "1"
    );
    assert_eq!(
        as_user(&lab, User::Operator, "redis-a", &["del", "halab:x"]),
        "1"
    );
    // Who has nothing to do on a Sentinel is not known there.
    let password = &secrets_of(&lab)[index_of(User::Replication)];
    let sentinel = &lab.lab.sentinels[0];
    let answer = said_by(sentinel, &["AUTH", User::Replication.name(), password]);
    assert!(answer.starts_with("-WRONGPASS"), "{answer}");
}

#[test]
fn no_part_of_the_lab_tries_what_it_may_not() {
    let mut lab = TestLab::start();
    let writer = lab.start_writer(&["--count", "5000"]);
    writer.assert_all_acknowledged();
    assert!(lab.halab(&["handover"]).status.success());
    lab.wait_healthy();
    lab.signal_server("redis-b", rustix::process::Signal::KILL);
    lab.wait_failover_from("redis-b");
    lab.wait_healthy();
    lab.assert_nothing_lost(&lab.path("writer.ledger"));
    for node in lab.lab.nodes() {
        let denied = as_user(&lab, User::Operator, &node.name, &["acl", "log"]);
        assert_eq!(denied, "", "{}: what was denied", node.name);
    }
}

/// The text of every file below `folder`, but for those whose path `left_out` names.
fn files(folder: &Path, left_out: impl Fn(&Path) -> bool) -> Vec<(String, Vec<u8>)> {
    let mut left = vec![folder.to_owned()];
    let mut found = Vec::new();
    while let Some(path) = left.pop() {
        if left_out(&path) || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else if let Ok(bytes) = fs::read(&path) {
            found.push((path.display().to_string(), bytes));
        }
    }
    found
}

/// Where a user is in `secrets_of`.
fn index_of(user: User) -> usize {
    User::ALL.iter().position(|other| *other == user).unwrap()
}

fn secrets_of(lab: &TestLab) -> Vec<String> {
    let read = |user: User| {
        let text = fs::read_to_string(lab.path("state/secrets").join(user.name())).unwrap();
        text.trim().to_owned()
    };
    User::ALL.iter().copied().map(read).collect()
}

#[test]
fn a_rotation_fails_no_write_and_no_password_is_where_it_does_not_belong() {
    let mut lab = TestLab::start_as(Shape {
        profile: None,
        ..Shape::default()
    });
    let old = secrets_of(&lab);
    let writer = lab.start_writer(&["--duration", "10m", "--rate", "5000"]);
    let ledger = writer.ledger.clone();
    writer.wait_invoked(5_000);
    let report = lab.path("report.json").display().to_string();
    // Whether all held is what the drills' own tests ask; on a busy machine two writers at once may
    // be too many.
    let drill = lab.halab(&[
        "--verbose",
        "drill",
        "kill-primary",
        "--attach",
        "--rate",
        "1000",
        "--json",
        &report,
    ]);
    assert!(
        matches!(drill.status.code(), Some(0 | 1)),
        "{}",
        String::from_utf8_lossy(&drill.stderr)
    );
    lab.wait_healthy();

    let rotated = lab.halab(&["--verbose", "--verbose", "secrets", "rotate"]);
    let said = String::from_utf8_lossy(&rotated.stderr).into_owned();
    assert_eq!(rotated.status.code(), Some(0), "{said}");
    let new = secrets_of(&lab);
    assert!(
        old.iter().all(|o| !new.contains(o)),
        "each user has a new one"
    );
    // Everyone makes new connections with them: to the new primary, between Sentinels, of the new
    // replica.
    writer.wait_invoked(invoked(&ledger) + 5_000);
    assert!(lab.halab(&["handover"]).status.success());
    lab.wait_healthy();
    writer.wait_invoked(invoked(&ledger) + 5_000);
    for node in lab.lab.nodes() {
        for (user, old) in User::ALL.iter().copied().zip(&old) {
            let answer = said_by(node, &["AUTH", user.name(), old]);
            assert!(
                answer.starts_with("-WRONGPASS"),
                "{} {}: {answer}",
                node.name,
                user.name()
            );
        }
    }

    // The processes of the lab, as they run.
    let mut texts = Vec::new();
    let mut processes = vec![writer.id()];
    for node in lab.lab.nodes() {
        let parent = lab.runner.pid_of(&node.name).unwrap();
        processes.push(parent);
        processes.extend(children_of(parent).iter().map(|pid| pid.cast_unsigned()));
    }
    assert_eq!(processes.len(), 11);
    for pid in processes {
        for file in ["cmdline", "environ"] {
            let path = format!("/proc/{pid}/{file}");
            let bytes = fs::read(&path).unwrap();
            texts.push((path, bytes));
        }
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = limits
            .lines()
            .find(|l| l.starts_with("Max core file size"))
            .unwrap();
        let limit: Vec<&str> = core.split_whitespace().collect();
        assert_eq!(limit[4..6], ["1", "1"], "{pid}: {core}");
    }
    writer.signal(rustix::process::Signal::TERM);
    let (code, summary, log) = writer.finish();
    assert_eq!(
        (code, &summary["failed"], &summary["unknown"]),
        (Some(0), &0.into(), &0.into()),
        "{log}"
    );
    lab.assert_nothing_lost(&ledger);
    texts.push(("the writer's log".into(), log.into_bytes()));
    texts.push(("the rotation's log".into(), said.into_bytes()));
    texts.push(("the drill's log".into(), drill.stderr));
    texts.push(("the drill's report".into(), drill.stdout));

    // Everything that it left, but for the files that Redis has its passwords from, and the folder
    // of secrets.
    let state = lab.path("state");
    let kept = |path: &Path| {
        path == state.join("secrets")
            || path.ends_with("redis.conf")
            || path.ends_with("sentinel.conf")
    };
    texts.extend(files(lab.folder.path(), kept));
    assert!(
        texts
            .iter()
            .any(|(name, _)| name.ends_with("log/redis-a.log"))
    );
    assert!(texts.iter().any(|(name, _)| name.ends_with("report.json")));
    // And the project.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listed = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root)
        .output();
    let project: BTreeSet<_> = match listed {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout)
            .unwrap()
            .split_terminator('\0')
            .map(|name| root.join(name))
            .collect(),
        // A copy without its history: the sources are what there is.
        _ => files(&root.join("src"), |_| false)
            .into_iter()
            .map(|(name, _)| name.into())
            .collect(),
    };
    texts.extend(
        project
            .iter()
            .filter_map(|path| Some((path.display().to_string(), fs::read(path).ok()?))),
    );

    for secret in old.iter().chain(&new) {
        for (name, bytes) in &texts {
            let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!found, "a password in {name}");
        }
    }
    // The search finds what is there; which of both depends on when Redis wrote its file.
    let conf = fs::read_to_string(state.join("sentinel-1/sentinel.conf")).unwrap();
    let sentinel = index_of(User::Sentinel);
    assert!(conf.contains(&old[sentinel]) || conf.contains(&new[sentinel]));
}

#[test]
fn a_rotation_that_was_cut_short_harms_nobody_and_is_completed_by_the_next() {
    let mut lab = TestLab::start();
    let before = secrets_of(&lab);
    // One node does not answer: nothing is changed, and it says which.
    lab.runner.stop_node("sentinel-3");
    let refused = lab.halab(&["secrets", "rotate"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(4));
    assert!(
        text.contains("sentinel-3") && text.contains("no password was changed"),
        "{text}"
    );
    assert_eq!(secrets_of(&lab), before);
    lab.runner.start_node("sentinel-3").unwrap();
    lab.wait_healthy();

    // Killed at moments all over it: the sleep is the fault, not a wait for anything.
    for wait in [5, 20, 60, 120, 200, 350] {
        let mut cut = lab.command().args(["secrets", "rotate"]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        cut.kill().unwrap();
        cut.wait().unwrap();
        let writer = lab.start_writer_into(&format!("after-{wait}.ledger"), &["--count", "2000"]);
        writer.assert_all_acknowledged();
    }
    // Ctrl-C, while Sentinels take their turns; a machine that is busy may send it too late.
    super::lab::wait_until("a rotation that is stopped half-way", || {
        let log = lab.path("rotation.log");
        let mut cut = lab
            .command()
            .args(["secrets", "rotate"])
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let said = || fs::read_to_string(&log).unwrap();
        super::lab::wait_until("it to be in the middle", || {
            said().contains("the old and the new passwords")
        });
        kill_process(Pid::from_child(&cut), Signal::INT).unwrap();
        let code = cut.wait().unwrap().code();
        assert!(matches!(code, Some(0 | 4)), "{code:?}: {}", said());
        code == Some(4) && said().contains("stopped half-way")
    });
    lab.start_writer_into("after-ctrl-c.ledger", &["--count", "2000"])
        .assert_all_acknowledged();
    // A node that starts in the middle of it knows both.
    lab.runner.stop_node("redis-b");
    lab.runner.start_node("redis-b").unwrap();
    lab.wait_healthy();
    let completed = lab.halab(&["secrets", "rotate"]);
    assert!(completed.status.success(), "{completed:?}");
    for node in lab.lab.nodes() {
        let users = as_user(&lab, User::Operator, &node.name, &["acl", "list"]);
        for line in users.lines().filter(|l| !l.contains("user default")) {
            assert_eq!(
                line.matches('#').count(),
                1,
                "{}: one password a user: {line}",
                node.name
            );
        }
    }
    assert!(
        !files(&lab.path("state/secrets"), |_| false)
            .iter()
            .any(|(name, _)| name.ends_with(".next"))
    );
    lab.wait_healthy();
}

#[test]
fn given_passwords_are_read_and_a_missing_one_is_named() {
    let lab = TestLab::start();
    let given = lab.path("given");
    let output = lab
        .command()
        .env("HALAB_SECRETS", &given)
        .args(["secrets", "rotate"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    fs::create_dir(&given).unwrap();
    fs::copy(lab.path("state/secrets/writer"), given.join("writer")).unwrap();
    let write = lab
        .command()
        .env("HALAB_SECRETS", &given)
        .args(["write", "--count", "100"])
        .output()
        .unwrap();
    assert_eq!(
        write.status.code(),
        Some(0),
        "a writer needs its own password and no other"
    );
    let verify = lab
        .command()
        .env("HALAB_SECRETS", &given)
        .args(["status"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&verify.stdout);
    assert!(text.contains("given/verifier does not exist"), "{text}");
}
