//! Whole reports: several problems, their order, no repetitions, JSON.

use super::{EXAMPLE, edited, problems, report, table};
use crate::config::Lab;

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_the_file() {
    let text = "
[lab]
name = \"My Lab\"
quorum = 5
seed_primary = \"redis-c\"

[[data_node]]
name = \"redis-a\"
address = \"127.0.0.11\"

[[sentinel]]
name = \"redis-a\"
address = \"127.0.0.11\"
port = 0

[timing]
hang_timeout_ms = 6000
colour = \"red\"
";
    insta::assert_snapshot!(report(text, Some("quick")), @r#"
    line 2: lab.primary_name: missing; add it, for example `primary_name = "halab"`
    line 3: lab.name: "My Lab" is not a valid name; use 1 to 63 lower-case letters, digits and '-', with no '-' at either end
    line 5: lab.seed_primary: "redis-c" is not a data node; did you mean "redis-a"?
    line 12: sentinel[0].name: "redis-a" is already the name of data_node[0]; give every node a unique name
    line 13: sentinel[0].address: 127.0.0.11 is already the address of data_node[0]; use a unique host address, for example in 127.0.0.0/8
    line 14: sentinel[0].port: 0 is out of range; use 1 to 65535
    line 17: timing.hang_timeout_ms: a hang timeout of 6000 ms is not below down_after_ms, 5000 ms; set hang_timeout_ms well below 5000, for example 1000, or raise down_after_ms
    line 18: timing.colour: unknown key; remove it, or use one of: (every key of [timing])
    data_node: 1 found, at least 2 required; add a `[[data_node]]`: with a single copy, the loss of its node loses every record
    sentinel: 1 found, at least 3 required; add a `[[sentinel]]`: a majority must remain after the loss of one
    profiles.quick: no such profile; omit the profile: the file defines none
    "#);
}

#[test]
fn an_empty_file_says_what_a_lab_needs() {
    insta::assert_snapshot!(problems("", None), @r#"
    lab.name: missing; add it under `[lab]`, for example `name = "redis-ha-lab"`
    lab.primary_name: missing; add it under `[lab]`, for example `primary_name = "halab"`
    lab.seed_primary: missing; add it under `[lab]`, for example `seed_primary = "redis-a"`
    lab.quorum: missing; add it under `[lab]`, for example `quorum = 2`
    data_node: 0 found, at least 2 required; add a `[[data_node]]`: with a single copy, the loss of its node loses every record
    sentinel: 0 found, at least 3 required; add a `[[sentinel]]`: a majority must remain after the loss of one
    "#);
}

#[test]
fn sections_of_the_wrong_shape_are_reported_once_each() {
    let text = "lab = 1\ntiming = []\nwriter = \"x\"\nprofiles = 1\n[data_node]\nname = \"a\"\n[sentinel]\n";
    insta::assert_snapshot!(problems(text, None), @"
    line 1: lab: expected a table, found an integer; write it like `[lab]`
    line 2: timing: expected a table, found a list; write it like `[timing]`
    line 3: writer: expected a table, found a string; write it like `[writer]`
    line 4: profiles: expected a table, found an integer; write it like `[profiles.NAME]`
    line 5: data_node: expected a list, found a table; write it like `[[data_node]]`
    line 7: sentinel: expected a list, found a table; write it like `[[sentinel]]`
    ");
}

/// The absence of the right key, and whatever follows from it, is not a second problem.
#[test]
fn a_misspelt_list_is_one_problem() {
    let text = EXAMPLE.replace("[[data_node]]", "[[data_nodes]]");
    insta::assert_snapshot!(problems(&text, None), @r"line 12: data_nodes: unknown key; did you mean `data_node`?");
}

#[test]
fn a_list_that_holds_no_tables_names_its_elements() {
    let text = edited(&[
        ("[lab]", "data_node = [1, \"x\"]\n[lab]"),
        (table("[[data_node]]", 0), ""),
        (table("[[data_node]]", 1), ""),
    ]);
    insta::assert_snapshot!(problems(&text, None), @"
    line 5: data_node[0]: expected a table, found an integer; write it like `[[data_node]]`
    line 5: data_node[1]: expected a table, found a string; write it like `[[data_node]]`
    ");
}

#[test]
fn syntax_errors_have_line_and_column_and_come_alone() {
    let text = "[lab]\nname = \nquorum = 0\nquorum = 2 2\n[[sentinel]\n";
    insta::assert_snapshot!(problems(text, None), @"
    line 2, column 8: not TOML: string values must be quoted, expected literal string; correct the TOML syntax
    line 4, column 1: not TOML: duplicate key; correct the TOML syntax
    line 4, column 10: not TOML: string values must be quoted, expected literal string; correct the TOML syntax
    line 5, column 12: not TOML: unclosed array table, expected `]`; correct the TOML syntax
    ");
}

#[test]
fn an_unknown_profile_names_the_ones_that_there_are() {
    insta::assert_snapshot!(problems(EXAMPLE, Some("fats")), @r#"profiles.fats: no such profile; use one of: "fast""#);
    let none = edited(&[(table("[profiles.fast]", 0), "")]);
    insta::assert_snapshot!(problems(&none, Some("a\nb")), @r#"profiles."a\nb": no such profile; omit the profile: the file defines none"#);
}

#[test]
fn too_many_nodes_for_a_network_are_refused() {
    let with_more = |count| {
        let nodes = (0..count).map(|i| {
            format!(
                "[[data_node]]\nname = \"n{i}\"\naddress = \"127.0.1.{}\"\n",
                i + 1
            )
        });
        format!("{EXAMPLE}\n{}", nodes.collect::<String>())
    };
    assert!(Lab::parse(&with_more(246), None).is_ok());
    insta::assert_snapshot!(problems(&with_more(253), None), @r"data_node: 258 nodes exceed the 251 that fit into one /24 network; use at most 251 nodes");
}

#[test]
fn a_name_as_long_as_a_dns_label_is_accepted_and_one_longer_is_not() {
    let named =
        |length: usize| edited(&[("\"redis-ha-lab\"", &format!("\"{}\"", "a".repeat(length)))]);
    assert!(Lab::parse(&named(63), None).is_ok());
    assert_eq!(problems(&named(64), None).len(), 1);
}

#[test]
fn a_pattern_and_a_rule_of_200_characters_are_accepted_and_longer_ones_are_not() {
    for (key, begin) in [("keys", "x"), ("channels", "x"), ("commands", "+")] {
        let of_length = |length: usize| {
            let value = format!("{begin}{}", "x".repeat(length - 1));
            let app = format!("[[app]]\nname = \"shop\"\n{key} = [\"{value}\"]\n[security]");
            edited(&[("[security]", &app)])
        };
        assert!(Lab::parse(&of_length(200), None).is_ok(), "{key}");
        assert_eq!(problems(&of_length(201), None).len(), 1, "{key}");
    }
}

#[test]
fn a_quorum_of_a_majority_up_to_all_is_accepted() {
    for quorum in [2, 3] {
        let text = edited(&[("quorum = 2 ", &format!("quorum = {quorum} "))]);
        assert_eq!(Lab::parse(&text, None).map(|lab| lab.quorum), Ok(quorum));
    }
}

#[test]
fn a_quorum_below_a_majority_of_five_sentinels_is_refused_and_one_over_their_number() {
    let five = "[[sentinel]]\nname = \"s4\"\naddress = \"127.0.0.24\"\n\
                [[sentinel]]\nname = \"s5\"\naddress = \"127.0.0.25\"\n[timing]";
    for (quorum, accepted) in [
        (1, false),
        (2, false),
        (3, true),
        (4, true),
        (5, true),
        (6, false),
    ] {
        let quorum_is = format!("quorum = {quorum} ");
        let text = edited(&[("quorum = 2 ", &quorum_is), ("[timing]", five)]);
        assert_eq!(Lab::parse(&text, None).is_ok(), accepted, "{quorum}");
    }
}

#[test]
fn problems_as_json_have_key_line_column_problem_and_remedy() {
    let text = edited(&[("quorum = 2 ", "quorom = 2 ")]);
    insta::assert_snapshot!(serde_json::to_string_pretty(&problems(&text, None)).unwrap(), @r#"
    [
      {
        "key": "lab.quorom",
        "line": 9,
        "column": 1,
        "problem": "unknown key",
        "remedy": "did you mean `quorum`?"
      }
    ]
    "#);
    insta::assert_snapshot!(serde_json::to_string(&problems("x", None)).unwrap(), @r#"[{"key":null,"line":1,"column":2,"problem":"not TOML: key with no value, expected `=`","remedy":"correct the TOML syntax"}]"#);
}
