//! Applications as users of the servers: what each may do, how a library finds the primary, and
//! other passwords.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use redis_ha_lab::config::Node;

use super::lab::{Shape, TestLab, wait_until};

/// A connection of the application `shop`.
struct Shop {
    stream: BufReader<TcpStream>,
}

impl Shop {
    /// Connects without a login.
    fn connect(node: &Node) -> Self {
        let stream = TcpStream::connect(node.socket()).unwrap();
        let limit = Some(Duration::from_secs(10));
        stream.set_read_timeout(limit).unwrap();
        Shop {
            stream: BufReader::new(stream),
        }
    }

    /// Logs in with the password in the lab's folder.
    fn login(lab: &TestLab, node: &Node) -> Self {
        let mut shop = Self::connect(node);
        assert_eq!(shop.ask(&["AUTH", "shop", &password(lab)]), "OK");
        shop
    }

    /// The answer to a command, in one text; an error begins with `-`.
    fn ask(&mut self, words: &[&str]) -> String {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        self.answer()
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let line = line.trim_end();
        let (kind, rest) = line.split_at(1);
        match (kind, rest.parse::<usize>()) {
            ("*", Ok(count)) => {
                let answers: Vec<String> = (0..count).map(|_| self.answer()).collect();
                answers.join(" ")
            }
            ("$", Ok(length)) => {
                let mut bytes = vec![0; length + 2];
                self.stream.read_exact(&mut bytes).unwrap();
                String::from_utf8_lossy(&bytes[..length]).into_owned()
            }
            ("$" | "*", Err(_)) => "nil".into(),
            ("-", _) => line.to_owned(),
            _ => rest.to_owned(),
        }
    }
}

fn password(lab: &TestLab) -> String {
    let text = fs::read_to_string(lab.path("state/secrets/app-shop")).unwrap();
    text.trim_end().to_owned()
}

fn with_shop() -> TestLab {
    TestLab::start_as(Shape {
        app: true,
        ..Shape::default()
    })
}

#[test]
fn an_application_uses_its_own_keys_and_nothing_of_the_lab() {
    let mut lab = with_shop();
    let primary = lab.primary().unwrap();
    let node = lab.lab.node(&primary).unwrap().clone();
    let mut shop = Shop::login(&lab, &node);
    // What client libraries send at the start of a connection.
    assert_eq!(shop.ask(&["CLIENT", "SETNAME", "till-1"]), "OK");
    assert!(shop.ask(&["CLIENT", "ID"]).parse::<u64>().is_ok());
    assert!(
        !shop
            .ask(&["CLIENT", "SETINFO", "LIB-NAME", "redis-py"])
            .contains("NOPERM")
    );
    assert!(shop.ask(&["INFO"]).contains("loading:0"));
    assert_eq!(shop.ask(&["SELECT", "0"]), "OK");
    assert_eq!(shop.ask(&["PING"]), "PONG");
    assert!(shop.ask(&["ROLE"]).starts_with("master "));

    assert_eq!(shop.ask(&["SET", "shop:1", "sold"]), "OK");
    assert_eq!(shop.ask(&["GET", "shop:1"]), "sold");
    assert_eq!(
        shop.ask(&["EVAL", "return redis.call('INCR', KEYS[1])", "1", "shop:n"]),
        "1"
    );
    assert_eq!(shop.ask(&["PUBLISH", "shop:news", "x"]), "0");
    assert_eq!(shop.ask(&["PUBLISH", "halab:round:0", "x"]), "0");
    assert_eq!(shop.ask(&["WAIT", "1", "5000"]), "1");

    for words in [
        &["GET", "halab-mark"][..],
        &["GET", "halab:x"],
        &["SET", "halab-mark", "1"],
        &["SET", "halab:x", "1"],
        &["DEL", "halab-members"],
        &["RENAME", "shop:1", "halab-mark"],
        &["SET", "another", "1"],
        &["FLUSHALL"],
        &["FLUSHDB"],
        &["SWAPDB", "0", "1"],
        &["KEYS", "*"],
        &["CONFIG", "GET", "*"],
        &["REPLICAOF", "NO", "ONE"],
        &["ACL", "SETUSER", "shop", "+@all"],
        &["CLIENT", "LIST"],
        &["CLIENT", "KILL", "TYPE", "normal"],
        &["CLIENT", "PAUSE", "1000"],
        &["SHUTDOWN", "NOSAVE"],
        &["SUBSCRIBE", "halab:not-promotable"],
        &["SUBSCRIBE", "halab:round:0"],
        &["PSUBSCRIBE", "halab:round:*"],
        &["PSUBSCRIBE", "*"],
        &["PUBLISH", "__sentinel__:hello", "x"],
    ] {
        let answer = shop.ask(words);
        assert!(answer.starts_with("-NOPERM"), "{words:?}: {answer}");
    }
    let by_script = shop.ask(&["EVAL", "return redis.call('GET', 'halab-mark')", "0"]);
    assert!(by_script.starts_with('-'), "{by_script}");

    // As an operator tries it out.
    let said = lab.halab(&["cli", "--user", "shop", &primary, "acl", "whoami"]);
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "shop");

    // The next primary has its keys and its user. The name of its connection states nothing.
    let stated = "halab-knows:redis-z=127.0.0.1:1";
    assert_eq!(shop.ask(&["CLIENT", "SETNAME", stated]), "OK");
    let members = lab.halab(&["member", "list"]);
    let members = String::from_utf8_lossy(&members.stdout).into_owned();
    assert!(!members.contains("redis-z"), "{members}");
    assert!(lab.halab(&["handover"]).status.success());
    lab.wait_healthy();
    let next = lab.primary().unwrap();
    assert_ne!(next, primary);
    let mut shop = Shop::login(&lab, lab.lab.node(&next).unwrap());
    assert_eq!(shop.ask(&["GET", "shop:1"]), "sold");
}

/// A server that loads its append-only file checks the rights of its default user at each `EXEC`.
#[test]
fn transactions_and_scripts_survive_a_crash_of_every_node() {
    let mut lab = with_shop();
    let node_of = |lab: &TestLab| lab.lab.node(&lab.primary().unwrap()).unwrap().clone();
    let mut shop = Shop::login(&lab, &node_of(&lab));
    assert_eq!(shop.ask(&["MULTI"]), "OK");
    for key in ["shop:a", "shop:b"] {
        assert_eq!(shop.ask(&["SET", key, "1"]), "QUEUED");
    }
    assert_eq!(shop.ask(&["EXEC"]), "OK OK");
    let script = "redis.call('SET', KEYS[1], 1) return redis.call('INCR', KEYS[2])";
    assert_eq!(shop.ask(&["EVAL", script, "2", "shop:c", "shop:d"]), "1");
    assert_eq!(shop.ask(&["WAIT", "1", "5000"]), "1");

    let names: Vec<String> = lab.lab.nodes().map(|node| node.name.clone()).collect();
    for name in &names {
        lab.runner.kill_node(name);
    }
    for name in &names {
        lab.runner.start_node(name).unwrap();
    }
    lab.wait_healthy();
    let mut shop = Shop::login(&lab, &node_of(&lab));
    for key in ["shop:a", "shop:b", "shop:c", "shop:d"] {
        assert_eq!(shop.ask(&["GET", key]), "1", "{key}");
    }
}

/// A command to a data node as the operator.
fn operate(lab: &TestLab, node: &str, words: &[&str]) -> String {
    let output = lab.halab(&[&["cli", node, "-e"], words].concat());
    assert!(output.status.success(), "{node}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Without its setting, a replica leaves out what it cannot execute, and confirms it all the same.
#[test]
fn a_replica_confirms_no_command_that_it_cannot_execute() {
    let lab = with_shop();
    let (primary, replica) = (lab.primary().unwrap(), lab.replica());
    // As if its server did not know the command: it is of another version.
    operate(
        &lab,
        &replica,
        &["CONFIG", "SET", "replica-read-only", "no"],
    );
    operate(&lab, &replica, &["SET", "shop:list", "not a list"]);
    operate(
        &lab,
        &replica,
        &["CONFIG", "SET", "replica-read-only", "yes"],
    );
    let mut shop = Shop::login(&lab, lab.lab.node(&primary).unwrap());
    assert_eq!(shop.ask(&["LPUSH", "shop:list", "a"]), "1");
    wait_until("the write to be confirmed", || {
        shop.ask(&["WAIT", "1", "1000"]) == "1"
    });
    let held = operate(&lab, &replica, &["LRANGE", "shop:list", "0", "-1"]);
    assert_eq!(held, "a");
}

/// The newest append-only file of a data node.
fn newest_file(lab: &TestLab, node: &str) -> PathBuf {
    let folder = lab.path("state").join(node).join("data/appendonlydir");
    let files = fs::read_dir(folder).unwrap();
    files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".incr.aof"))
        .max_by_key(|path| path.metadata().unwrap().modified().unwrap())
        .unwrap()
}

#[test]
fn a_file_with_a_command_that_cannot_be_executed_is_not_loaded_without_it() {
    let mut lab = with_shop();
    let primary = lab.primary().unwrap();
    let mut shop = Shop::login(&lab, lab.lab.node(&primary).unwrap());
    assert_eq!(shop.ask(&["SET", "shop:text", "kept"]), "OK");
    assert_eq!(shop.ask(&["WAIT", "1", "5000"]), "1");
    let names: Vec<String> = lab.lab.nodes().map(|node| node.name.clone()).collect();
    let refused = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*2\r\n$4\r\nINCR\r\n$9\r\nshop:text\r\n";
    for name in &names {
        lab.runner.kill_node(name);
    }
    let data_nodes = ["redis-a", "redis-b"];
    let files = data_nodes.map(|node| newest_file(&lab, node));
    let whole = files.clone().map(|file| fs::read(file).unwrap());
    let spoiled = whole
        .clone()
        .map(|content| [&content, refused.as_bytes()].concat());
    for (file, content) in files.iter().zip(&spoiled) {
        fs::write(file, content).unwrap();
    }
    for name in &names {
        lab.runner.start_node(name).unwrap();
    }
    let status = || {
        let output = lab.halab(&["status"]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    wait_until("both nodes to give up, and to say why", || {
        let status = status();
        ["[data-unreadable]", "its node exited"].map(|part| status.matches(part).count()) == [2, 2]
    });
    // No node serves without it, and nothing on disk is changed.
    for (file, content) in files.iter().zip(&spoiled) {
        assert!(fs::read(file).unwrap() == *content, "{}", file.display());
    }

    // With the copy that can be loaded, the lab goes on.
    lab.runner.kill_node("redis-b");
    fs::write(&files[1], &whole[1]).unwrap();
    lab.runner.start_node("redis-b").unwrap();
    wait_until("the choice", || {
        lab.halab(&["choose", "redis-b", "--yes"]).status.success()
    });
    lab.runner.start_node("redis-a").unwrap();
    lab.wait_healthy();
    for node in data_nodes {
        assert_eq!(operate(&lab, node, &["GET", "shop:text"]), "kept");
    }
}

#[test]
fn a_library_asks_the_sentinels_for_the_primary_as_the_application() {
    let lab = with_shop();
    let primary = lab.primary().unwrap();
    let address = lab.lab.node(&primary).unwrap().address.to_string();
    for node in &lab.lab.sentinels {
        // redis-py and redis-rs.
        let mut shop = Shop::login(&lab, node);
        assert_eq!(shop.ask(&["CLIENT", "SETNAME", "till-1"]), "OK");
        assert_eq!(shop.ask(&["PING"]), "PONG");
        assert!(shop.ask(&["SENTINEL", "MASTERS"]).contains(&address));
        assert!(shop.ask(&["SENTINEL", "SLAVES", "halab"]).contains("127."));
        // go-redis, ioredis, Jedis, Lettuce.
        let named = shop.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "halab"]);
        assert_eq!(named, format!("{address} 6379"));
        assert!(
            shop.ask(&["SENTINEL", "MASTER", "halab"])
                .contains(&address)
        );
        assert!(
            shop.ask(&["SENTINEL", "REPLICAS", "halab"])
                .contains("127.")
        );
        assert!(
            shop.ask(&["SENTINEL", "SENTINELS", "halab"])
                .contains("127.")
        );
        assert_eq!(shop.ask(&["SENTINEL", "MYID"]).len(), 40);
        assert!(
            shop.ask(&["INFO", "sentinel"])
                .contains("sentinel_masters:1")
        );
        assert!(shop.ask(&["ROLE"]).starts_with("sentinel"));
        for words in [
            &["SENTINEL", "FAILOVER", "halab"][..],
            &["SENTINEL", "SET", "halab", "quorum", "1"],
            &["SENTINEL", "REMOVE", "halab"],
            &["SENTINEL", "RESET", "*"],
            &["SENTINEL", "CONFIG", "GET", "*"],
            &["SENTINEL", "DEBUG"],
            &["CLIENT", "KILL", "TYPE", "normal"],
            &["PUBLISH", "__sentinel__:hello", "x"],
            &["SHUTDOWN"],
            &["ACL", "LIST"],
        ] {
            let answer = shop.ask(words);
            assert!(answer.starts_with("-NOPERM"), "{words:?}: {answer}");
        }
        let subscribed = shop.ask(&["SUBSCRIBE", "+switch-master"]);
        assert_eq!(subscribed, "subscribe +switch-master 1");
    }
}

#[test]
fn a_rotated_password_is_the_application_s_and_the_lab_stays_healthy() {
    let mut lab = with_shop();
    let primary = lab.lab.node(&lab.primary().unwrap()).unwrap().clone();
    let mut before = Shop::login(&lab, &primary);
    let old = password(&lab);
    let rotated = lab.halab(&["secrets", "rotate"]);
    assert!(rotated.status.success(), "{rotated:?}");
    assert_ne!(password(&lab), old);
    for node in lab.lab.nodes() {
        let refused = Shop::connect(node).ask(&["AUTH", "shop", &old]);
        assert!(
            refused.starts_with("-WRONGPASS"),
            "{}: {refused}",
            node.name
        );
        assert_eq!(Shop::login(&lab, node).ask(&["PING"]), "PONG");
    }
    // Who is connected stays so.
    assert_eq!(before.ask(&["SET", "shop:1", "sold"]), "OK");
    lab.wait_healthy();
}

#[test]
fn an_application_comes_and_goes_with_a_restart_of_each_node() {
    let mut lab = TestLab::start();
    let config = lab.path("lab.toml");
    let without = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{without}\n[[app]]\nname = \"shop\"\n")).unwrap();
    // Until a restart, nothing is changed for it, and the reason is said.
    assert!(lab.halab(&["secrets", "make"]).status.success());
    let refused = lab.halab(&["secrets", "rotate"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(said.contains("does not know the user shop"), "{said}");
    lab.wait_healthy();

    let names: Vec<String> = lab.lab.nodes().map(|node| node.name.clone()).collect();
    let restart_all = |lab: &mut TestLab| {
        for name in &names {
            lab.runner.stop_node(name);
            lab.runner.start_node(name).unwrap();
            lab.wait_healthy();
        }
    };
    restart_all(&mut lab);
    let primary = lab.lab.node(&lab.primary().unwrap()).unwrap().clone();
    let mut shop = Shop::login(&lab, &primary);
    assert_eq!(shop.ask(&["SET", "shop:1", "sold"]), "OK");
    assert!(lab.halab(&["secrets", "rotate"]).status.success());

    // Removed on purpose: nobody is told that a user is missing.
    fs::write(&config, without).unwrap();
    restart_all(&mut lab);
    let status = lab.halab(&["status"]);
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.status.success() && !said.contains("shop"), "{said}");
    let primary = lab.lab.node(&lab.primary().unwrap()).unwrap().clone();
    let refused = Shop::connect(&primary).ask(&["AUTH", "shop", &password(&lab)]);
    assert!(refused.starts_with("-WRONGPASS"), "{refused}");
}
