//! The command line as its user sees it: every help text, and how wrong usage and a lab that is not
//! there are answered. No server is started here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "all of this file is a test; clippy exempts only the functions marked as one"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use clap::CommandFactory;
use predicates::prelude::*;
use proptest::strategy::Strategy;
use redis_ha_lab::access::User;
use redis_ha_lab::cli::Cli;
use redis_ha_lab::exit::Exit;
use tempfile::TempDir;

/// A network in which nothing listens.
const NOBODY: &str = "127.254.254";

/// `halab` in an empty folder, with nothing of the caller's environment.
struct Halab {
    folder: TempDir,
}

impl Halab {
    fn new() -> Self {
        Halab {
            folder: TempDir::new().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> assert_cmd::Command {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_halab"));
        command
            .env_clear()
            // Without a terminal, clap takes its width from here.
            .env("COLUMNS", "100")
            .env("HOME", self.folder.path())
            .current_dir(self.folder.path())
            .args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Output and exit code in one text.
    fn transcript(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let code = output.status.code().unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        format!("{}exit code {code}\n", said.concat())
    }

    fn is_untouched(&self) -> bool {
        fs::read_dir(self.folder.path()).unwrap().next().is_none()
    }
}

fn subcommands() -> Vec<clap::Command> {
    let mut command = Cli::command();
    command.build();
    command
        .get_subcommands()
        .filter(|c| !c.is_hide_set() && c.get_name() != "help")
        .cloned()
        .collect()
}

fn help(arguments: &[&str]) -> String {
    let halab = Halab::new();
    let output = halab.run(arguments);
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn generated_help_of_halab() {
    insta::assert_snapshot!("help", help(&["--help"]));
}

#[test]
fn generated_help_of_every_command() {
    for command in subcommands() {
        let name = command.get_name();
        insta::assert_snapshot!(format!("help-{name}"), help(&[name, "--help"]));
    }
}

#[test]
fn help_shows_every_exit_code() {
    let help = help(&["--help"]);
    for exit in Exit::ALL {
        let line = format!("  {}  {}\n", exit.code(), exit.meaning());
        assert!(help.contains(line.trim_end()), "{line}");
    }
}

#[test]
fn the_version_is_the_crate_s() {
    let expected = concat!("halab ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(help(&["--version"]), expected);
}

#[test]
fn wrong_usage_is_answered_with_a_remedy_and_touches_nothing() {
    let halab = Halab::new();
    let mut said = String::new();
    for arguments in [
        &["--nope"][..],
        &["writ"],
        &["write", "--duration", "5"],
        &["write", "--rate", "0"],
        &["write", "--resume"],
        &["write", "--ledger", "w.ledger", "--resume", "--continue"],
        &["write", "--endless", "--duration", "5s"],
        &["--subnet", "300.1.1", "status"],
        &["node", "redis-z"],
        &["health", "redis-z"],
        &["up", "--stop", "redis-a", "--start", "redis-a"],
        &["up", "--stop", "redis-a", "--no-web"],
        &["app", "shop"],
        &["app", "--show-password"],
        &["app", "shop", "--proxy", "localhost"],
        &["cli", "redis-a", "--user", "shop"],
        &["--config", "none.toml", "status"],
        &["--profile", "slow", "check-config"],
        &["verify", "--ledger", "none.ledger"],
        &["completions", "tcsh"],
        &["monitor", "prometheus", "--cadvisors", "192.0.2.11"],
        &["drill", "full-load", "--control"],
        &["drill", "kill-primary", "--control", "--policy", "none"],
        &["drill", "kill-primary", "--reads", "local"],
        &[
            "drill",
            "kill-primary",
            "--clients",
            "direct",
            "--reads",
            "local",
        ],
        &[
            "drill",
            "kill-primary",
            "--clients",
            "proxy",
            "--nodes",
            "stock",
        ],
        &["drill", "backup-and-restore", "--clients", "proxy"],
        &[
            "soak",
            "--for",
            "1m",
            "--clients",
            "direct",
            "--reads",
            "local",
        ],
        &["soak", "--for", "1m", "--reads", "local"],
    ] {
        let transcript = halab.transcript(arguments);
        assert!(transcript.ends_with("exit code 2\n"), "{transcript}");
        said += &format!("$ halab {}\n{transcript}\n", arguments.join(" "));
    }
    assert!(halab.is_untouched());
    insta::assert_snapshot!(said);
}

#[test]
fn a_ledger_that_exists_is_never_overwritten() {
    let halab = Halab::new();
    fs::write(halab.path("w.ledger"), "of another run").unwrap();
    insta::assert_snapshot!(halab.transcript(&["write", "--ledger", "w.ledger"]), @"
    halab: the ledger w.ledger already exists; continue its run with `halab write --resume`, or use another file
    exit code 2
    ");
    assert_eq!(
        fs::read_to_string(halab.path("w.ledger")).unwrap(),
        "of another run"
    );
}

#[test]
fn continue_starts_a_run_without_a_ledger_and_resumes_one_with_it() {
    let halab = Halab::new();
    // Of no record, so that no server is asked.
    let write = |extra: &[&str]| {
        let always = [
            "write",
            "--count",
            "0",
            "--ledger",
            "w.ledger",
            "--continue",
        ];
        let output = halab.run(&[&always, extra].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        fs::read(halab.path("w.ledger")).unwrap()
    };
    let first = write(&[]);
    let second = write(&[]);
    assert!(second.starts_with(&first[..first.len() / 2]));
    let resumed = |ledger: &[u8]| String::from_utf8_lossy(ledger).contains("resumed");
    assert!(!resumed(&first) && resumed(&second));
}

/// What systemd starts, and nobody types.
#[test]
fn every_command_of_a_unit_is_one_that_halab_takes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd");
    let mut commands = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for line in text.lines().filter_map(|l| l.strip_prefix("ExecStart=")) {
            let line = line.replace("%i", "redis-a");
            let parsed = Cli::command().try_get_matches_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            commands += 1;
        }
    }
    assert!(commands >= 6, "{commands}");
}

/// Whatever hands password files to nodes lists them by name.
#[test]
fn every_lane_hands_a_node_the_password_of_every_user() {
    let unit = "LoadCredential=NAME:/etc/redis-ha-lab/secrets/NAME\n";
    for (file, form) in [
        ("nix/lib/credentials.nix", "\"NAME\"\n"),
        ("deploy/systemd/halab-data-node@.service", unit),
        ("deploy/systemd/halab-sentinel@.service", unit),
        ("deploy/kubernetes/kustomization.yaml", "- secrets/NAME\n"),
        ("packaging/debian/README.Debian", " NAME "),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = fs::read_to_string(path).unwrap();
        for &user in User::ALL {
            let wanted = form.replace("NAME", user.name());
            assert!(text.contains(&wanted), "{file}: {wanted}");
        }
    }
}

/// A lab with two applications, beside the passwords of one.
fn with_applications(tls: bool) -> Halab {
    let halab = Halab::new();
    let mut text = include_str!("../lab.toml").to_owned();
    if tls {
        text = text
            .replace("\ntls = false", "\ntls = true")
            .replace("\nmutual_tls = false", "\nmutual_tls = true");
    }
    text += "\n[[app]]\nname = \"shop\"\n[[app]]\nname = \"reports\"\nkeys = [\"shop:*\", \"r:*\"]\n\
             channels = []\ncommands = [\"+@read\", \"+ping\"]\n";
    fs::write(halab.path("lab.toml"), text).unwrap();
    let secrets = halab.path("state/secrets");
    fs::create_dir_all(&secrets).unwrap();
    fs::write(secrets.join("app-shop"), "not-so-secret@/0\n").unwrap();
    halab
}

#[test]
fn applications_are_listed() {
    let halab = with_applications(false);
    insta::assert_snapshot!(halab.transcript(&["app"]), @"
    shop     keys shop:*  channels shop:*  commands +@all -@admin -@dangerous +info
    reports  keys shop:* r:*  channels none  commands +@read +ping
    exit code 0
    ");
    insta::assert_snapshot!(halab.transcript(&["app", "--json"]));
    let none = Halab::new();
    insta::assert_snapshot!(none.transcript(&["app"]), @"
    lab.toml has no applications; add a table [[app]] (docs/applications.md)
    exit code 0
    ");
}

#[test]
fn an_application_is_shown_how_to_connect() {
    let halab = with_applications(false);
    insta::assert_snapshot!(halab.transcript(&["--state", "state", "app", "shop"]));
}

#[test]
fn an_application_is_shown_how_to_connect_with_tls() {
    let halab = with_applications(true);
    insta::assert_snapshot!(halab.transcript(&["--state", "state", "app", "shop"]));
}

#[test]
fn an_application_that_no_node_knows_yet_is_shown_as_such() {
    let halab = with_applications(false);
    let shown = halab.transcript(&["--state", "state", "app", "reports"]);
    let line = shown.lines().find(|line| line.contains("password  "));
    insta::assert_snapshot!(line.unwrap_or_default(), @"  password  state/secrets/app-reports does not exist; no node has started with this application yet: start the lab, or if it runs, restart one node after the other, then the proxy (docs/applications.md)");
    let json = halab.transcript(&["--state", "state", "app", "reports", "--json"]);
    assert!(json.contains("\"password_file_exists\": false"), "{json}");
}

#[test]
fn a_library_waits_longer_for_an_answer_than_the_proxy_for_a_primary() {
    let halab = with_applications(false);
    let config = halab.path("lab.toml");
    let text = fs::read_to_string(&config).unwrap();
    let longer = text.replace("\npatience_ms = 10000", "\npatience_ms = 60000");
    assert_ne!(longer, text);
    fs::write(&config, longer).unwrap();
    let shown = halab.transcript(&["--state", "state", "app", "shop"]);
    for limit in [
        "socket_timeout=65",
        "ReadTimeout = 65 *",
        "socketTimeoutMillis(65_000)",
    ] {
        assert!(shown.contains(limit), "{limit}: {shown}");
    }
}

#[test]
fn an_application_is_described_to_programs() {
    let halab = with_applications(true);
    let shown = [
        "--state",
        "state",
        "app",
        "shop",
        "--json",
        "--show-password",
    ];
    insta::assert_snapshot!(halab.transcript(&shown));
}

#[test]
fn a_password_is_shown_only_if_asked_for() {
    let halab = with_applications(false);
    let lab = ["--state", "state", "--subnet", "127.0.7", "app", "shop"];
    for more in [&[][..], &["--json"], &["--library", "jedis"]] {
        let shown = halab.transcript(&[&lab[..], more].concat());
        assert!(shown.ends_with("exit code 0\n"), "{shown}");
        assert!(shown.contains("127.0.7.51:6379"), "{shown}");
        assert!(!shown.contains("not-so-secret"), "{shown}");
        let shown = halab.transcript(&[&lab[..], more, &["--show-password"]].concat());
        assert!(shown.contains("not-so-secret@/0"), "{shown}");
        assert!(shown.contains(":not-so-secret%40%2F0@"), "{shown}");
    }
    let missing = ["--state", "state", "app", "reports", "--show-password"];
    insta::assert_snapshot!(halab.transcript(&missing), @"
    halab: no password for the user reports: state/secrets/app-reports does not exist; nodes create it when they start: start the lab, or if it runs, restart one node after the other; pass another secrets folder with --secrets or HALAB_SECRETS (halab secrets make DIR creates one)
    exit code 4
    ");
}

const WRONG: &str = r#"
[lab]
name = "My Lab"
primary_name = "halab"
seed_primary = "redis-c"
quorum = 1
quorom = 2

[[data_node]]
name = "redis-a"
address = "127.0.0.11"

[[data_node]]
name = "redis-b"
address = "127.0.0.11"

[[sentinel]]
name = "sentinel-1"
address = "127.0.0.21"

[[sentinel]]
name = "sentinel-2"
address = "0.0.0.0"
"#;

/// Every flag of every command that takes a value, found by its kind.
fn flags() -> impl Iterator<Item = (String, clap::Arg)> {
    subcommands().into_iter().flat_map(|command| {
        let name = command.get_name().to_owned();
        let flags: Vec<clap::Arg> = command
            .get_arguments()
            .filter(|a| a.get_long().is_some() && a.get_action().takes_values())
            .cloned()
            .collect();
        flags.into_iter().map(move |flag| (name.clone(), flag))
    })
}

fn takes(flag: &clap::Arg, value: &str) -> bool {
    flag.get_value_names()
        .is_some_and(|names| names.iter().any(|name| name.as_str() == value))
}

#[test]
fn an_absurd_span_or_rate_is_refused_by_every_command_that_takes_one() {
    let spans = ["99999999999999h", "1e3s", "584542046091y", "-5s", "5"];
    let rates = ["1e-20", "1e300", "0", "-1", "nan", "inf"];
    let mut seen = 0;
    for (command, flag) in flags() {
        let absurd: &[&str] = if takes(&flag, "DURATION") {
            &spans
        } else if takes(&flag, "PER_SECOND") {
            &rates
        } else {
            continue;
        };
        seen += 1;
        let long = format!("--{}", flag.get_long().unwrap());
        for value in absurd {
            let halab = Halab::new();
            let flag = format!("{long}={value}");
            let output = halab.run(&["--subnet", NOBODY, &command, &flag]);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{command} {flag}: {said}");
            assert!(said.contains(&long), "{command} {flag}: {said}");
            assert!(halab.is_untouched(), "{command} {flag}");
        }
    }
    assert!(seen >= 7, "only {seen} of them were found");
}

#[test]
fn the_longest_span_and_the_lowest_rate_are_taken() {
    let halab = Halab::new();
    let network = ["--subnet", NOBODY];
    let write = ["write", "--patience", "300ms", "--metrics", "off"];
    let long = ["--duration", "8760h", "--rate", "0.001"];
    let output = halab.run(&[&network[..], &write, &long].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("no record was acknowledged"), "{said}");
}

proptest::proptest! {
    #[test]
    fn a_value_of_any_flag_is_refused_or_can_be_reckoned_with(
        value in proptest::prop_oneof![
            "[-+]?[0-9]{0,25}([.][0-9]{0,25})?(e[-+]?[0-9]{1,4})?(ms|s|m|h|d|%)?",
            proptest::prelude::any::<f64>().prop_map(|number| number.to_string()),
            proptest::prelude::any::<String>(),
        ],
    ) {
        for (command, flag) in flags() {
            let long = format!("--{}={value}", flag.get_long().unwrap());
            let Ok(taken) = Cli::command().try_get_matches_from(["halab", &command, &long]) else {
                continue;
            };
            let (_, taken) = taken.subcommand().unwrap();
            let id = flag.get_id().as_str();
            if takes(&flag, "DURATION") {
                let span = *taken.get_one::<Duration>(id).unwrap();
                proptest::prop_assert!(Instant::now().checked_add(span).is_some(), "{long}");
            } else if takes(&flag, "PER_SECOND") {
                let between = 1.0 / taken.get_one::<f64>(id).unwrap();
                proptest::prop_assert!(Duration::try_from_secs_f64(between).is_ok(), "{long}");
            }
        }
    }
}

#[test]
fn ctrl_c_ends_the_wait_for_another_who_changes_passwords_or_certificates() {
    let halab = Halab::new();
    let shipped = include_str!("../lab.toml");
    let with_tls = shipped.replace("\ntls = false", "\ntls = true");
    fs::write(halab.path("lab.toml"), with_tls).unwrap();
    let folder = halab.path("secrets");
    let lab = ["--subnet", NOBODY, "--secrets", folder.to_str().unwrap()];
    let made = halab.run(&[&lab[..], &["secrets", "make"]].concat());
    assert!(made.status.success(), "{made:?}");
    let other = fs::File::open(folder.join(".lock")).unwrap();
    other.lock().unwrap();
    for command in [
        ["secrets", "rotate", "--shared"],
        ["certificates", "renew", "--shared"],
    ] {
        let log = halab.path("log");
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_halab"))
            .env_clear()
            .env("HOME", halab.folder.path())
            .current_dir(halab.folder.path())
            .args(lab)
            .args(command)
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let said = || fs::read_to_string(&log).unwrap();
        let begun = Instant::now();
        let mut interrupted = false;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if !interrupted && said().contains("waiting for it") {
                let pid = rustix::process::Pid::from_child(&child);
                rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
                interrupted = true;
            }
            if begun.elapsed() > Duration::from_secs(60) {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("{command:?} is deaf: {}", said());
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(status.code(), Some(4), "{command:?}: {}", said());
        assert!(said().contains("stopped; "), "{command:?}: {}", said());
    }
}

#[test]
fn a_wrong_lab_toml_is_answered_with_all_its_problems() {
    let halab = Halab::new();
    fs::write(halab.path("lab.toml"), WRONG).unwrap();
    insta::assert_snapshot!(halab.transcript(&["check-config"]));
    assert_eq!(
        halab.transcript(&["check-config"]),
        halab.transcript(&["status"]),
        "every command reports it alike"
    );
}

#[test]
fn a_wrong_lab_toml_as_json() {
    let halab = Halab::new();
    fs::write(halab.path("lab.toml"), WRONG).unwrap();
    insta::assert_snapshot!(halab.transcript(&["check-config", "--json"]));
}

#[test]
fn a_lab_toml_that_cannot_be_read_is_a_problem_in_json_too() {
    let halab = Halab::new();
    fs::create_dir(halab.path("lab.toml")).unwrap();
    let output = halab.run(&["check-config", "--json"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let problems: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        problems[0]["remedy"].as_str().unwrap().contains("lab.toml"),
        "{problems}"
    );
}

#[test]
fn output_that_nobody_reads_is_no_panic() {
    let halab = Halab::new();
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    let full = || Stdio::from(fs::File::options().write(true).open("/dev/full").unwrap());
    for arguments in [
        &["completions", "bash"][..],
        &["--subnet", "127.0.9", "member", "list"],
        &["check-config"],
    ] {
        for to in [&closed as &dyn Fn() -> Stdio, &full] {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_halab"));
            command.current_dir(halab.folder.path()).args(arguments);
            let ended = command.stdout(to()).stderr(to()).status().unwrap();
            assert!(
                ended.code().is_some_and(|code| code <= 5),
                "{arguments:?}: {ended:?}"
            );
        }
    }
}

#[test]
fn a_good_lab_toml_is_called_good() {
    let halab = Halab::new();
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab.toml");
    fs::copy(ours, halab.path("lab.toml")).unwrap();
    let good = "lab.toml is valid\nexit code 0\n";
    assert_eq!(halab.transcript(&["check-config"]), good);
    assert_eq!(
        halab.transcript(&["check-config", "--json"]),
        "[]\nexit code 0\n"
    );
}

#[test]
fn scripts_are_told_nodes_addresses_and_services_however_the_file_is_written() {
    let halab = Halab::new();
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab.toml");
    let ours = fs::read_to_string(ours).unwrap();
    // As a script that knows little of TOML would not read it.
    let other = ours
        .replace('"', "'")
        .replace("[monitoring]\n", "[monitoring] # who watches\n");
    fs::write(halab.path("lab.toml"), other).unwrap();
    let printed =
        |what| halab.transcript(&["--subnet", "127.0.9", "check-config", "--print", what]);
    insta::assert_snapshot!(["nodes", "addresses", "services"].map(printed).concat(), @r"
    redis-a
    redis-b
    sentinel-1
    sentinel-2
    sentinel-3
    exit code 0
    127.0.9.11
    127.0.9.12
    127.0.9.21
    127.0.9.22
    127.0.9.23
    127.0.9.31
    127.0.9.41
    127.0.9.51
    exit code 0
    prometheus
    grafana
    redis-exporter
    cadvisor
    exit code 0
    ");
    let (without, _) = ours.split_once("[monitoring]").unwrap();
    fs::write(halab.path("lab.toml"), without).unwrap();
    assert_eq!(printed("services"), "exit code 0\n");
    fs::write(halab.path("lab.toml"), WRONG).unwrap();
    assert_eq!(printed("nodes"), halab.transcript(&["check-config"]));
    assert!(printed("schema").ends_with("}\nexit code 0\n"));
}

#[test]
fn a_missing_server_is_answered_with_where_to_get_one_and_touches_nothing() {
    let halab = Halab::new();
    let said = halab.transcript(&["node", "redis-a"])
        + &halab.transcript(&["node", "redis-a", "--redis-server", "/none/redis-server"]);
    assert!(halab.is_untouched());
    insta::assert_snapshot!(said);
}

#[test]
fn a_lab_that_does_not_run_is_not_healthy() {
    let halab = Halab::new();
    insta::assert_snapshot!(halab.transcript(&["--subnet", NOBODY, "status"]));
    let output = halab.run(&["--subnet", NOBODY, "status", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["healthy"], false);
    halab
        .command(&["--subnet", NOBODY, "health", "redis-a"])
        .assert()
        .code(1)
        .stdout(predicate::str::starts_with("redis-a does not serve: "));
}

#[test]
fn writing_to_a_lab_that_does_not_run_ends_after_the_patience() {
    let halab = Halab::new();
    halab
        .command(&["--subnet", NOBODY, "write", "--patience", "100ms"])
        .assert()
        .code(4)
        .stdout(predicate::str::starts_with("0 of "))
        .stderr(predicate::str::contains("0 of 3 Sentinels answered"));
}

#[test]
fn completions_know_every_command() {
    let halab = Halab::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = halab.run(&["completions", shell]);
        assert!(output.status.success());
        let script = String::from_utf8(output.stdout).unwrap();
        for command in subcommands() {
            assert!(script.contains(command.get_name()), "{shell}");
        }
    }
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let halab = Halab::new();
    halab.command(&["man", "pages"]).assert().success();
    let page = |name: &str| fs::read_to_string(halab.path("pages").join(name)).unwrap();
    assert!(page("halab.1").contains(".SH NAME"));
    for command in subcommands() {
        let page = page(&format!("halab-{}.1", command.get_name()));
        assert!(page.contains(".SH SYNOPSIS"), "{}", command.get_name());
    }
}

/// The rows of a table in docs/commands.md, between two marks.
fn documented_table(mark: &str) -> Vec<String> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/commands.md");
    let document = fs::read_to_string(document).unwrap();
    let table = document.split(&format!("<!-- {mark} -->")).nth(1);
    let rows = table.expect("the table's marks").lines();
    rows.filter(|line| line.starts_with('|'))
        .skip(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_command_is_documented() {
    let expected: Vec<_> = subcommands()
        .iter()
        .map(|c| format!("| `halab {}` | {} |", c.get_name(), c.get_about().unwrap()))
        .collect();
    assert_eq!(documented_table("commands"), expected);
}

#[test]
fn every_exit_code_is_documented() {
    let expected = Exit::ALL
        .iter()
        .map(|exit| format!("| {} | {} |", exit.code(), exit.meaning()))
        .collect::<Vec<_>>();
    assert_eq!(documented_table("exit codes"), expected);
}

#[test]
fn the_picture_shows_the_nodes_of_lab_toml() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let picture = fs::read_to_string(root.join("docs/topology.svg")).unwrap();
    let lab = redis_ha_lab::config::load(&root.join("lab.toml"), None).unwrap();
    for node in lab.nodes() {
        assert!(picture.contains(&node.name), "{}", node.name);
        assert!(
            picture.contains(&node.address.to_string()),
            "{}",
            node.address
        );
    }
    assert!(picture.contains(&format!("quorum {}", lab.quorum)));
}

#[test]
fn a_writer_without_room_for_its_connections_does_not_begin_and_says_what_helps() {
    let halab = Halab::new();
    let output = std::process::Command::new("sh")
        .env_clear()
        .current_dir(halab.folder.path())
        .args([
            "-c",
            "ulimit -n 64; exec \"$0\" write --count 1 --connections 200",
        ])
        .arg(env!("CARGO_BIN_EXE_halab"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("ulimit -Hn 300"), "{said}");
}
