//! The configuration as a whole: the shipped file, every kind of problem, and the documentation.

use std::time::Duration;

use proptest::prelude::*;

use super::keys::Tables;
use super::schema::{SECTIONS, Shape, ValueKind};
use super::{ConfigProblem, ConfigProblemKind, ConfigProblems, Lab, Proxy, key_reference};
use crate::generated;

mod reports;
mod single_problems;

/// The `lab.toml` at the root of the repository.
const SHIPPED: &str = include_str!("../../lab.toml");
/// An example whose line numbers do not change when keys are added.
const EXAMPLE: &str = include_str!("tests/lab.toml");

fn problems(text: &str, profile: Option<&str>) -> ConfigProblems {
    Lab::parse(text, profile).unwrap_err()
}

/// The problems as a user reads them, without the growing lists of all keys of a table.
fn report(text: &str, profile: Option<&str>) -> String {
    let report = problems(text, profile).to_string();
    SECTIONS.iter().fold(report, |report, section| {
        let keys: Vec<&str> = section.keys.iter().map(|k| k.name.as_str()).collect();
        report.replace(
            &format!("one of: {}", keys.join(", ")),
            &format!("one of: (every key of {})", section.header()),
        )
    })
}

/// The example with each `(old, new)` replaced once. Each must be found.
fn edited(edits: &[(&str, &str)]) -> String {
    edits.iter().fold(EXAMPLE.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "{old:?} is not in tests/lab.toml");
        text.replacen(old, new, 1)
    })
}

/// The text of the `nth` table under a header, up to the next empty line.
fn table(header: &str, nth: usize) -> &'static str {
    let (start, _) = EXAMPLE.match_indices(header).nth(nth).unwrap();
    let rest = &EXAMPLE[start..];
    &rest[..rest.find("\n\n").unwrap()]
}

#[test]
fn generated_snapshot_of_the_shipped_lab() {
    let lab = Lab::parse(SHIPPED, None).unwrap();
    insta::assert_debug_snapshot!(lab);
}

#[test]
fn profile_fast_replaces_the_time_limits_and_nothing_else() {
    let lab = Lab::parse(SHIPPED, None).unwrap();
    let fast = Lab::parse(SHIPPED, Some("fast")).unwrap();
    assert_eq!(fast.timing.down_after, Duration::from_millis(1500));
    assert_eq!(fast.timing.failover_timeout, Duration::from_millis(3000));
    assert_eq!(fast.timing.hang_timeout, Duration::from_millis(500));
    assert_eq!(
        Lab {
            timing: lab.timing.clone(),
            ..fast
        },
        lab
    );
}

#[test]
fn limits_of_answers_and_handovers_follow_the_timing_and_are_half_a_second_and_three_as_shipped() {
    let limits = |text: &str, profile| {
        let timing = Lab::parse(text, profile).unwrap().timing;
        [timing.answer_limit(), timing.handover_limit()].map(|limit| limit.as_millis())
    };
    assert_eq!(limits(SHIPPED, None), [500, 3000]);
    assert_eq!(limits(SHIPPED, Some("fast")), [500, 3000]);
    let slow = edited(&[
        ("down_after_ms = 5000", "down_after_ms = 10000"),
        ("failover_timeout_ms = 5000", "failover_timeout_ms = 10000"),
        ("hang_timeout_ms = 1000", "hang_timeout_ms = 5000"),
    ]);
    assert_eq!(limits(&slow, None), [2500, 6000]);
}

#[test]
fn what_a_profile_leaves_out_stays_as_in_timing() {
    let text = format!("{SHIPPED}\n[profiles.slow]\ndown_after_ms = 30000\n");
    let slow = Lab::parse(&text, Some("slow")).unwrap().timing;
    assert_eq!(slow.down_after, Duration::from_secs(30));
    assert_eq!(slow.failover_timeout, Duration::from_secs(5));
    assert_eq!(slow.hang_timeout, Duration::from_secs(1));
    assert_eq!(slow.raise_limit, Duration::from_millis(500));
}

#[test]
fn profiles_are_listed_also_from_a_broken_file() {
    assert_eq!(Lab::profiles(SHIPPED), ["fast"]);
    assert_eq!(
        Lab::profiles("x = \n[profiles.b]\n[profiles.a]\n"),
        ["a", "b"]
    );
    assert_eq!(Lab::profiles("profiles = 3"), [""; 0]);
}

/// Nix reads the file without the defaults of this parser, so the file must need none.
#[test]
fn shipped_lab_states_every_key_with_its_default_or_none() {
    let document: toml::Table = SHIPPED.parse().unwrap();
    for section in SECTIONS.iter() {
        let Some(value) = document.get(&section.name) else {
            assert!(!section.required, "{}", section.name);
            continue;
        };
        let tables: Vec<&toml::Value> = match section.shape {
            Shape::Table => vec![value],
            Shape::List => value.as_array().unwrap().iter().collect(),
            Shape::Named => value.as_table().unwrap().values().collect(),
        };
        for (table, key) in tables
            .iter()
            .flat_map(|t| section.keys.iter().map(move |k| (t, k)))
        {
            let Some(stated) = table.get(&key.name) else {
                // A default derived from another key.
                let follows = key.default.is_none() && !key.required;
                assert!(follows, "{} {}", section.name, key.name);
                continue;
            };
            if let Some(default) = &key.default {
                let stated = serde_json::to_value(stated).unwrap();
                assert_eq!(stated, *default, "{} {}", section.name, key.name);
            }
        }
    }
}

/// The shipped lab has no application, but shows one in comments.
#[test]
fn the_application_in_the_comments_of_the_shipped_lab_states_every_key_with_its_default() {
    let at = SHIPPED.find("# [[app]]").unwrap();
    let shown: Vec<&str> = SHIPPED[at..]
        .lines()
        .map(|line| line.trim_start_matches("# "))
        .collect();
    let of = |more: &str| {
        Lab::parse(&format!("{SHIPPED}\n{more}"), None)
            .unwrap()
            .apps
    };
    let stated = of(&shown.join("\n"));
    assert_eq!(stated, of("[[app]]\nname = \"shop\""));
    let section = SECTIONS.iter().find(|s| s.name == "app").unwrap();
    for key in &section.keys {
        let begin = format!("{} = ", key.name);
        assert!(shown.iter().any(|line| line.starts_with(&begin)), "{begin}");
    }
}

#[test]
fn an_application_has_what_begins_with_its_name_unless_it_states_more() {
    let text = format!(
        "{SHIPPED}\n[[app]]\nname = \"a\"\n[[app]]\nname = \"b\"\nkeys = []\n\
         channels = [\"news\"]\ncommands = [\"+@read\"]\n"
    );
    let lab = Lab::parse(&text, None).unwrap();
    let own = |text: &[&str]| text.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    let [a, b] = &lab.apps[..] else {
        panic!("{:?}", lab.apps);
    };
    assert_eq!((&a.keys, &a.channels), (&own(&["a:*"]), &own(&["a:*"])));
    assert_eq!((&b.keys, &b.channels), (&own(&[]), &own(&["news"])));
    assert_eq!(b.commands, ["+@read"]);
    assert_eq!(lab.app("b"), Some(b));
    assert_eq!(lab.app("c"), None);
}

#[test]
fn defaults_fill_what_may_be_left_out() {
    let mut document: toml::Table = SHIPPED.parse().unwrap();
    for section in ["timing", "profiles", "writer"] {
        document.remove(section);
    }
    for section in ["data_node", "sentinel"] {
        for node in document[section].as_array_mut().unwrap() {
            node.as_table_mut().unwrap().remove("port");
        }
    }
    let text = toml::to_string(&document).unwrap();
    assert_eq!(Lab::parse(&text, None), Lab::parse(SHIPPED, None));
}

#[test]
fn a_lab_without_the_table_serves_no_metrics() {
    let mut document: toml::Table = SHIPPED.parse().unwrap();
    document.remove("monitoring");
    let text = toml::to_string(&document).unwrap();
    assert_eq!(Lab::parse(&text, None).unwrap().monitoring, None);
}

#[test]
fn a_lab_without_the_table_has_a_proxy_only_by_hand() {
    let mut document: toml::Table = SHIPPED.parse().unwrap();
    let parsed = |document: &toml::Table| {
        let text = toml::to_string(document).unwrap();
        Lab::parse(&text, None).unwrap()
    };
    let shipped = parsed(&document);
    document.remove("proxy");
    let lab = parsed(&document);
    assert_eq!(lab.proxy, None);
    assert_eq!(lab.proxy_socket(), shipped.proxy_socket());
    assert_eq!(
        lab.proxy_settings(),
        Proxy {
            address: None,
            ..shipped.proxy_settings()
        }
    );
}

#[test]
fn the_proxy_may_serve_the_clients_of_one_host_and_has_tls_as_the_lab() {
    let with = |tls, proxy: &str| {
        let table = format!("[proxy]\n{proxy}\n[security]");
        let edits = [("tls = false ", tls), ("[security]", table.as_str())];
        let text = edited(&edits)
            .replace("= \"127.0.0.", "= \"192.0.2.")
            .replace("\"192.0.2.1\"", "\"127.0.0.1\"");
        Lab::parse(&text, None).unwrap()
    };
    let lab = with("tls = false ", "address = \"127.0.0.1\"");
    assert_eq!(lab.proxy_socket().to_string(), "127.0.0.1:6379");
    assert!(!lab.proxy_uses_tls());
    let lab = with("tls = true ", "port = 7000");
    assert_eq!(lab.proxy_socket().to_string(), "192.0.2.51:7000");
    assert!(lab.proxy_uses_tls());
    assert!(!with("tls = true ", "tls = false").proxy_uses_tls());
}

/// A key that is described but not read would be ignored silently.
#[test]
fn every_described_key_is_read() {
    for section in SECTIONS.iter() {
        for key in &section.keys {
            let header = section.header();
            let text = format!("{header}\n{} = 1.5\n", key.name);
            let problems = Lab::parse(&text, None).unwrap_err();
            let reported = problems.iter().any(|p| {
                p.key.ends_with(&format!(".{}", key.name)) && p.kind.to_string().contains("float")
            });
            assert!(reported, "{header} {} in:\n{problems}", key.name);
        }
    }
}

#[test]
fn generated_keys_of_configuration_md() {
    let keys = format!("\n{}\n", key_reference().trim_end());
    generated::end(
        "docs/configuration.md",
        "From here on generated: ./lab generate",
        &keys,
    );
}

/// Editors read it, and Nix its defaults.
#[test]
fn generated_lab_schema_json() {
    let schema = serde_json::to_string_pretty(&super::lab_schema()).unwrap() + "\n";
    generated::file("lab.schema.json", &schema);
}

/// The schema has a regular expression, the check a function.
#[test]
fn names_are_the_same_to_editors_and_to_the_check() {
    let pattern = super::attributes::NAME_PATTERN.trim_matches(['^', '$']);
    let valid_names = proptest::string::string_regex(pattern).unwrap();
    proptest!(|(name in valid_names, other in "[-a-z0-9A-Z_.]{0,3}")| {
        prop_assert!(name.len() > 63 || super::values::is_valid_name(&name), "{name}");
        let is_valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let dash_at_end = other.is_empty() || other.starts_with('-') || other.ends_with('-');
        let wanted = other.bytes().all(is_valid) && !dash_at_end;
        prop_assert_eq!(super::values::is_valid_name(&other), wanted, "{}", other);
    });
}

/// serde accepts every file that passes the check.
#[test]
fn every_limit_of_a_key_is_a_value_that_serde_takes() {
    for section in SECTIONS.iter().filter(|s| s.shape != Shape::Named) {
        for key in &section.keys {
            let ValueKind::Integer { min, max } = key.kind else {
                continue;
            };
            for value in [min, max] {
                let mut document: toml::Table = SHIPPED.parse().unwrap();
                let table = match &mut document[&section.name] {
                    toml::Value::Array(tables) => &mut tables[0],
                    table => table,
                };
                table[&key.name] = value.into();
                // Without the check, which may refuse the value because of another key.
                let read = toml::from_str::<Tables>(&toml::to_string(&document).unwrap());
                assert!(read.is_ok(), "{} = {value}: {read:?}", key.name);
            }
        }
    }
}

/// Texts that are mostly valid TOML: lines of a lab in any order, some of them slightly wrong.
fn nearly_a_lab() -> impl Strategy<Value = String> {
    let mut lines: Vec<String> = SHIPPED.lines().map(str::to_owned).collect();
    for value in [
        "0",
        "-1",
        "99999999999999999999",
        "\"\"",
        "\"a\\nb\"",
        "[]",
        "{}",
        "1.5",
        "0xff",
    ] {
        lines.extend(
            [
                "quorum",
                "address",
                "name",
                "lab",
                "timing",
                "keys",
                "\"a\\nb\"",
            ]
            .map(|k| format!("{k} = {value}")),
        );
    }
    let rules = ["+get", "+ get", "-@all", "+@admin", "ping", "+a|b", "+@\\n"];
    lines.extend(rules.map(|rule| format!("commands = [\"{rule}\"]")));
    lines.extend(["h*", "shop:*", "a b", "[", ""].map(|p| format!("channels = [\"{p}\", 1]")));
    let headers = [
        "[profiles.\"x\\ny\"]",
        "[[lab]]",
        "[sentinel]",
        "[[app]]",
        "[app]",
    ];
    lines.extend(headers.map(str::to_owned));
    proptest::collection::vec(proptest::sample::select(lines), 0..60).prop_map(|l| l.join("\n"))
}

fn parses_or_explains(text: &str, profile: Option<&str>) -> Result<(), TestCaseError> {
    if let Err(problems) = Lab::parse(text, profile) {
        prop_assert!(problems.len() > 0);
        // serde accepts everything that passes the check.
        let unreadable = |p: &ConfigProblem| matches!(p.kind, ConfigProblemKind::Unreadable { .. });
        prop_assert!(!problems.iter().any(unreadable));
        prop_assert_eq!(problems.to_string().lines().count(), problems.len());
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text_parses_or_is_explained_one_problem_a_line(text in any::<String>()) {
        parses_or_explains(&text, None)?;
    }

    #[test]
    fn any_toml_parses_or_is_explained_one_problem_a_line(
        text in nearly_a_lab(),
        profile in proptest::option::of(any::<String>()),
    ) {
        parses_or_explains(&text, profile.as_deref())?;
    }

    #[test]
    fn a_damaged_lab_parses_or_is_explained(at in 0..SHIPPED.len(), with in any::<char>()) {
        let damaged: String = SHIPPED
            .char_indices()
            .map(|(i, c)| if i == at { with } else { c })
            .collect();
        parses_or_explains(&damaged, Some("fast"))?;
    }
}
