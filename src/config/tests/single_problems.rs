//! Every kind of problem alone, as the text that a user reads.

use super::{edited, report, table};

/// Invalid edits of the shipped lab, each with its whole report.
#[test]
fn every_single_problem_has_its_place_key_and_remedy() {
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("unknown key, misspelt", &[("quorum = 2 ", "quorom = 2 ")]),
        (
            "unknown key, without its unit",
            &[("down_after_ms = 5000 ", "down_after = 5000 ")],
        ),
        (
            "unknown key of another table",
            &[("[writer]", "[writer]\nquorum = 2")],
        ),
        (
            "unknown key of several tables",
            &[("[writer]", "[writer]\naddress = 2")],
        ),
        ("unknown key", &[("[writer]", "[writer]\npassword = 2")]),
        (
            "unknown key that needs quotes",
            &[("[writer]", "[writer]\n\"a b\" = 2")],
        ),
        (
            "unknown key at the top",
            &[("[lab]", "down_after_ms = 1\n[lab]")],
        ),
        (
            "key in the wrong table",
            &[("quorum = 2 ", ""), ("[timing]", "[timing]\nquorum = 2")],
        ),
        ("table of keys, misspelt", &[("[lab]", "[labs]")]),
        (
            "unknown table, misspelt",
            &[("[writer]", "[writers]\nx = 1\n[writer]")],
        ),
        (
            "unknown table",
            &[("[writer]", "[grafana]\nx = 1\n[writer]")],
        ),
        (
            "unknown key in a profile",
            &[("down_after_ms = 1500\n", "wait_timeout_ms = 9\n")],
        ),
        ("missing key", &[("quorum = 2 ", "")]),
        (
            "missing key of a node",
            &[("address = \"127.0.0.22\"\n", "")],
        ),
        ("wrong type", &[("quorum = 2 ", "quorum = \"2\" ")]),
        (
            "wrong type of a name",
            &[("name = \"redis-b\"", "name = 7")],
        ),
        (
            "name of another folder",
            &[("name = \"redis-b\"", "name = \"secrets\"")],
        ),
        (
            "wrong type of a time",
            &[("hang_timeout_ms = 1000", "hang_timeout_ms = 1.5")],
        ),
        (
            "profile that is no table",
            &[("[writer]", "[profiles]\nx = 1\n[writer]")],
        ),
        (
            "name with a capital",
            &[("\"sentinel-2\"", "\"Sentinel-2\"")],
        ),
        ("name with a path", &[("\"sentinel-2\"", "\"../x\"")]),
        ("name with a newline", &[("\"sentinel-2\"", "\"a\\nb\"")]),
        ("empty name", &[("\"halab\"", "\"\"")]),
        (
            "name of a profile",
            &[("[writer]", "[profiles.\"A\\nb\"]\n[writer]")],
        ),
        (
            "duplicate name of both kinds",
            &[("\"sentinel-2\"", "\"redis-b\"")],
        ),
        ("duplicate address", &[("\"127.0.0.12\"", "\"127.0.0.11\"")]),
        (
            "duplicate address, other port",
            &[("\"127.0.0.23\"", "\"127.0.0.11\"")],
        ),
        ("host name", &[("\"127.0.0.12\"", "\"localhost\"")]),
        ("IPv6", &[("\"127.0.0.12\"", "\"::1\"")]),
        (
            "address with port",
            &[("\"127.0.0.12\"", "\"127.0.0.12:6379\"")],
        ),
        ("unspecified", &[("\"127.0.0.12\"", "\"0.0.0.0\"")]),
        ("broadcast", &[("\"127.0.0.12\"", "\"255.255.255.255\"")]),
        (
            "loopback broadcast",
            &[("\"127.0.0.12\"", "\"127.255.255.255\"")],
        ),
        ("loopback network", &[("\"127.0.0.12\"", "\"127.0.0.0\"")]),
        ("no network", &[("\"127.0.0.12\"", "\"0.1.2.3\"")]),
        ("multicast", &[("\"127.0.0.12\"", "\"224.0.0.1\"")]),
        ("reserved", &[("\"127.0.0.12\"", "\"240.0.0.1\"")]),
        (
            "loopback and elsewhere",
            &[("\"127.0.0.12\"", "\"10.0.0.12\"")],
        ),
        ("port 0", &[("port = 6379", "port = 0")]),
        ("port too large", &[("port = 6379", "port = 65536")]),
        ("one data node", &[(table("[[data_node]]", 1), "")]),
        ("two Sentinels", &[(table("[[sentinel]]", 2), "")]),
        (
            "even Sentinels",
            &[(
                "[timing]",
                "[[sentinel]]\nname=\"s\"\naddress=\"127.0.0.9\"\n[timing]",
            )],
        ),
        ("quorum 0", &[("quorum = 2 ", "quorum = 0 ")]),
        ("quorum negative", &[("quorum = 2 ", "quorum = -2 ")]),
        ("quorum below a majority", &[("quorum = 2 ", "quorum = 1 ")]),
        (
            "quorum over the Sentinels",
            &[("quorum = 2 ", "quorum = 4 ")],
        ),
        (
            "seed primary missing",
            &[("seed_primary = \"redis-a\" ", "")],
        ),
        (
            "seed primary misspelt",
            &[("= \"redis-a\" #", "= \"redis-aa\" #")],
        ),
        (
            "seed primary is a Sentinel",
            &[("= \"redis-a\" #", "= \"sentinel-1\" #")],
        ),
        (
            "down-after 0",
            &[("down_after_ms = 5000", "down_after_ms = 0")],
        ),
        (
            "hang timeout 0",
            &[("hang_timeout_ms = 1000", "hang_timeout_ms = 0")],
        ),
        (
            "time too large for any integer",
            &[(
                "wait_timeout_ms = 50",
                "wait_timeout_ms = 99999999999999999999",
            )],
        ),
        (
            "hang timeout not below down-after",
            &[("hang_timeout_ms = 1000", "hang_timeout_ms = 5000")],
        ),
        (
            "down-after shorter than a Sentinel's reconnection",
            &[("down_after_ms = 5000", "down_after_ms = 1100")],
        ),
        (
            "hang timeout of a profile",
            &[("hang_timeout_ms = 500", "hang_timeout_ms = 1500")],
        ),
        (
            "inherited hang timeout of a profile",
            &[
                ("hang_timeout_ms = 500\n", ""),
                ("hang_timeout_ms = 1000", "hang_timeout_ms = 2000"),
            ],
        ),
        (
            "profile with a zero",
            &[("down_after_ms = 1500", "down_after_ms = 0")],
        ),
        ("writer without records", &[("count = 1000", "count = 0")]),
        (
            "writer without connections",
            &[("connections = 4", "connections = 0")],
        ),
        (
            "two services on one port",
            &[("grafana_port = 3000", "grafana_port = 9090")],
        ),
        (
            "metrics on the port of a server",
            &[("node_port = 9400 ", "node_port = 6379 ")],
        ),
        (
            "monitoring on the address of a node",
            &[("\"127.0.0.31\"", "\"127.0.0.21\"")],
        ),
        (
            "certificates of clients without TLS",
            &[("mutual_tls = false", "mutual_tls = true")],
        ),
        (
            "proxy on the address of a node",
            &[(
                "[security]",
                "[proxy]\naddress = \"127.0.0.21\"\n[security]",
            )],
        ),
        (
            "proxy on the address of the writer's metrics",
            &[(
                "[security]",
                "[proxy]\naddress = \"127.0.0.41\"\n[security]",
            )],
        ),
        (
            "proxy at its usual address, which a node has",
            &[
                ("\"127.0.0.23\"", "\"127.0.0.51\""),
                ("[security]", "[proxy]\nport = 6379\n[security]"),
            ],
        ),
        (
            "node named like the proxy",
            &[("name = \"redis-b\"", "name = \"proxy\"")],
        ),
        (
            "metrics of the proxy on the port of its clients",
            &[("[security]", "[proxy]\nport = 9402\n[security]")],
        ),
        (
            "TLS towards clients in a lab without",
            &[("[security]", "[proxy]\ntls = true\n[security]")],
        ),
        (
            "reads and unanswered writes that there are not",
            &[(
                "[security]",
                "[proxy]\nreads = \"locale\"\nunanswered = \"x\"\n[security]",
            )],
        ),
        (
            "every limit of the proxy",
            &[(
                "[security]",
                "[proxy]\naddress = \"0.0.0.0\"\nport = 0\ntls = 1\nreads = 1\npatience_ms = 0\n\
                 max_clients = 0\nmax_command_mib = 513\nfoo = 1\n[security]",
            )],
        ),
        (
            "an application that is a user of the lab",
            &[("[security]", "[[app]]\nname = \"proxy\"\n[security]")],
        ),
        (
            "two applications of one name",
            &[(
                "[security]",
                "[[app]]\nname = \"shop\"\n[[app]]\nname = \"shop\"\n[security]",
            )],
        ),
        (
            "an application of a lab without users",
            &[
                ("[security]", "[[app]]\nname = \"shop\"\n[security]"),
                ("acl = true", "acl = false"),
            ],
        ),
        (
            "patterns of what is the lab's",
            &[(
                "[security]",
                "[[app]]\nname = \"shop\"\nkeys = [\"shop:*\", \"*\", \"hala[ab]*\"]\n\
                 channels = [\"__s*\"]\n[security]",
            )],
        ),
        (
            "patterns that end the rule",
            &[(
                "[security]",
                "[[app]]\nname = \"shop\"\nkeys = [\"shop:* +@all\", \"\", 1]\n[security]",
            )],
        ),
        (
            "patterns that are no list",
            &[(
                "[security]",
                "[[app]]\nname = \"shop\"\nkeys = \"x\"\n[security]",
            )],
        ),
        (
            "rules that are no commands",
            &[(
                "[security]",
                "[[app]]\nname = \"shop\"\ncommands = [\"+get\", \"nopass\", \"~*\", \"+GET\"]\n[security]",
            )],
        ),
        (
            "categories that there are not",
            &[(
                "[security]",
                "[[app]]\nname = \"shop\"\ncommands = [\"+@reads\", \"+@shopping\"]\n[security]",
            )],
        ),
        (
            "rules that give away the lab",
            &[(
                "[security]",
                "[[app]]\nname = \"shop\"\ncommands = [\"+@admin\", \"+config|set\", \"+flushall\"]\n[security]",
            )],
        ),
    ];
    let reports: Vec<String> = cases
        .iter()
        .map(|(what, edits)| format!("# {what}\n{}", report(&edited(edits), None)))
        .collect();
    insta::assert_snapshot!(reports.join("\n"), @r#"
    # unknown key, misspelt
    line 9: lab.quorom: unknown key; did you mean `quorum`?
    # unknown key, without its unit
    line 39: timing.down_after: unknown key; did you mean `down_after_ms`?
    # unknown key of another table
    line 52: writer.quorum: unknown key; move it to `[lab]`
    # unknown key of several tables
    line 52: writer.address: unknown key; remove it, or use one of: (every key of [writer])
    # unknown key
    line 52: writer.password: unknown key; remove it, or use one of: (every key of [writer])
    # unknown key that needs quotes
    line 52: writer."a b": unknown key; remove it, or use one of: (every key of [writer])
    # unknown key at the top
    line 5: down_after_ms: unknown key; move it to `[timing]`
    # key in the wrong table
    line 39: timing.quorum: unknown key; move it to `[lab]`
    # table of keys, misspelt
    line 5: labs: unknown key; did you mean `lab`?
    # unknown table, misspelt
    line 51: writers: unknown key; did you mean `writer`?
    # unknown table
    line 51: grafana: unknown key; remove it, or use one of: lab, data_node, sentinel, timing, profiles, writer, monitoring, security, proxy, app
    # unknown key in a profile
    line 46: profiles.fast.wait_timeout_ms: unknown key; move it to `[writer]`
    # missing key
    line 5: lab.quorum: missing; add it, for example `quorum = 2`
    # missing key of a node
    line 28: sentinel[1].address: missing; add it, for example `address = "127.0.0.21"`
    # wrong type
    line 9: lab.quorum: expected an integer, found a string; write it like `quorum = 2`
    # wrong type of a name
    line 18: data_node[1].name: expected a string, found an integer; write it like `name = "redis-a"`
    # name of another folder
    line 18: data_node[1].name: "secrets" is a reserved name; choose a name other than cadvisor, closing, grafana, log, monitoring, prometheus, proxy, redis-exporter, secrets, web, writer
    # wrong type of a time
    line 41: timing.hang_timeout_ms: expected an integer, found a float; write it like `hang_timeout_ms = 1000`
    # profile that is no table
    line 52: profiles.x: expected a table, found an integer; write it like `[profiles.NAME]`
    # name with a capital
    line 29: sentinel[1].name: "Sentinel-2" is not a valid name; use 1 to 63 lower-case letters, digits and '-', with no '-' at either end
    # name with a path
    line 29: sentinel[1].name: "../x" is not a valid name; use 1 to 63 lower-case letters, digits and '-', with no '-' at either end
    # name with a newline
    line 29: sentinel[1].name: "a\nb" is not a valid name; use 1 to 63 lower-case letters, digits and '-', with no '-' at either end
    # empty name
    line 7: lab.primary_name: "" is not a valid name; use 1 to 63 lower-case letters, digits and '-', with no '-' at either end
    # name of a profile
    line 51: profiles."A\nb": "A\nb" is not a valid name; use 1 to 63 lower-case letters, digits and '-', with no '-' at either end
    # duplicate name of both kinds
    line 29: sentinel[1].name: "redis-b" is already the name of data_node[1]; give every node a unique name
    # duplicate address
    line 19: data_node[1].address: 127.0.0.11 is already the address of data_node[0]; use a unique host address, for example in 127.0.0.0/8
    # duplicate address, other port
    line 35: sentinel[2].address: 127.0.0.11 is already the address of data_node[0]; use a unique host address, for example in 127.0.0.0/8
    # host name
    line 19: data_node[1].address: "localhost" is not an IPv4 address; write four numbers from 0 to 255, for example "127.0.0.11"
    # IPv6
    line 19: data_node[1].address: "::1" is not an IPv4 address; write four numbers from 0 to 255, for example "127.0.0.11"
    # address with port
    line 19: data_node[1].address: "127.0.0.12:6379" is not an IPv4 address; write four numbers from 0 to 255, for example "127.0.0.11"
    # unspecified
    line 19: data_node[1].address: 0.0.0.0 is the unspecified address, not a host address; use a unique host address, for example in 127.0.0.0/8
    # broadcast
    line 19: data_node[1].address: 255.255.255.255 is a broadcast address, not a host address; use a unique host address, for example in 127.0.0.0/8
    # loopback broadcast
    line 19: data_node[1].address: 127.255.255.255 is a broadcast address, not a host address; use a unique host address, for example in 127.0.0.0/8
    # loopback network
    line 19: data_node[1].address: 127.0.0.0 is the address of the loopback network, not a host address; use a unique host address, for example in 127.0.0.0/8
    # no network
    line 19: data_node[1].address: 0.1.2.3 is in the reserved network 0.0.0.0/8, not a host address; use a unique host address, for example in 127.0.0.0/8
    # multicast
    line 19: data_node[1].address: 224.0.0.1 is a multicast address, not a host address; use a unique host address, for example in 127.0.0.0/8
    # reserved
    line 19: data_node[1].address: 240.0.0.1 is a reserved address, not a host address; use a unique host address, for example in 127.0.0.0/8
    # loopback and elsewhere
    line 19: data_node[1].address: 10.0.0.12 and 127.0.0.11 of data_node[0] cannot reach each other; use addresses in 127.0.0.0/8 for all nodes or for none
    # port 0
    line 15: data_node[0].port: 0 is out of range; use 1 to 65535
    # port too large
    line 15: data_node[0].port: 65536 is out of range; use 1 to 65535
    # one data node
    data_node: 1 found, at least 2 required; add a `[[data_node]]`: with a single copy, the loss of its node loses every record
    # two Sentinels
    sentinel: 2 found, at least 3 required; add a `[[sentinel]]`: a majority must remain after the loss of one
    # even Sentinels
    sentinel: 4 Sentinels tolerate no more failures than 3; use an odd number: add or remove a `[[sentinel]]`
    # quorum 0
    line 9: lab.quorum: 0 is out of range; use 1 or more
    # quorum negative
    line 9: lab.quorum: -2 is out of range; use 1 or more
    # quorum below a majority
    line 9: lab.quorum: a quorum of 1 lets a minority of 3 Sentinels fail over a healthy primary; use 2, the majority (at most 3)
    # quorum over the Sentinels
    line 9: lab.quorum: a quorum of 4 exceeds the number of Sentinels, 3; use 2, the majority (at most 3)
    # seed primary missing
    line 5: lab.seed_primary: missing; add it, for example `seed_primary = "redis-a"`
    # seed primary misspelt
    line 8: lab.seed_primary: "redis-aa" is not a data node; did you mean "redis-a"?
    # seed primary is a Sentinel
    line 8: lab.seed_primary: "sentinel-1" is not a data node; use one of: "redis-a", "redis-b"
    # down-after 0
    line 39: timing.down_after_ms: 0 ms is out of range; use 1200 to 3600000 ms
    # hang timeout 0
    line 41: timing.hang_timeout_ms: 0 ms is out of range; use 1 to 3600000 ms
    # time too large for any integer
    line 56: writer.wait_timeout_ms: 99999999999999999999 ms is out of range; use 50 to 3600000 ms
    # hang timeout not below down-after
    line 41: timing.hang_timeout_ms: a hang timeout of 5000 ms is not below down_after_ms, 5000 ms; set hang_timeout_ms well below 5000, for example 1000, or raise down_after_ms
    # down-after shorter than a Sentinel's reconnection
    line 39: timing.down_after_ms: 1100 ms is out of range; use 1200 to 3600000 ms
    # hang timeout of a profile
    line 48: profiles.fast.hang_timeout_ms: a hang timeout of 1500 ms is not below down_after_ms, 1500 ms; set hang_timeout_ms well below 1500, for example 300, or raise down_after_ms
    # inherited hang timeout of a profile
    line 46: profiles.fast.down_after_ms: a hang timeout of 2000 ms is not below down_after_ms, 1500 ms; set hang_timeout_ms well below 1500, for example 300, or raise down_after_ms
    # profile with a zero
    line 46: profiles.fast.down_after_ms: 0 ms is out of range; use 1200 to 3600000 ms
    # writer without records
    line 52: writer.count: 0 is out of range; use 1 or more
    # writer without connections
    line 53: writer.connections: 0 is out of range; use 1 to 1000
    # two services on one port
    line 62: monitoring.grafana_port: 9090 is already the port of monitoring.prometheus_port; give each listener a unique port
    # metrics on the port of a server
    line 65: monitoring.node_port: 6379 is already the port of data_node[0].port; give each listener a unique port
    # monitoring on the address of a node
    line 60: monitoring.address: 127.0.0.21 is already the address of sentinel[0]; use a unique host address, for example in 127.0.0.0/8
    # certificates of clients without TLS
    line 72: security.mutual_tls: mutual_tls requires tls; set tls = true as well, or remove this
    # proxy on the address of a node
    line 70: proxy.address: 127.0.0.21 is already the address of sentinel[0]; use a unique host address, for example in 127.0.0.0/8
    # proxy on the address of the writer's metrics
    line 70: proxy.address: 127.0.0.41 is already the address of monitoring; use a unique host address, for example in 127.0.0.0/8
    # proxy at its usual address, which a node has
    proxy.address: 127.0.0.51 is already the address of sentinel[2]; use a unique host address, for example in 127.0.0.0/8
    # node named like the proxy
    line 18: data_node[1].name: "proxy" is a reserved name; choose a name other than cadvisor, closing, grafana, log, monitoring, prometheus, proxy, redis-exporter, secrets, web, writer
    # metrics of the proxy on the port of its clients
    monitoring.proxy_port: 9402 is already the port of proxy.port; give each listener a unique port
    # TLS towards clients in a lab without
    line 70: proxy.tls: proxy.tls requires security.tls; set security.tls = true as well, or remove this
    # reads and unanswered writes that there are not
    line 70: proxy.reads: "locale" is not a valid value; did you mean "local"?
    line 71: proxy.unanswered: "x" is not a valid value; use one of: "disconnect", "retry"
    # every limit of the proxy
    line 70: proxy.address: 0.0.0.0 is the unspecified address, not a host address; use a unique host address, for example in 127.0.0.0/8
    line 71: proxy.port: 0 is out of range; use 1 to 65535
    line 72: proxy.tls: expected true or false, found an integer; write it like `tls = true`
    line 73: proxy.reads: expected a string, found an integer; write it like `reads = "linearizable"`
    line 74: proxy.patience_ms: 0 ms is out of range; use 1 to 3600000 ms
    line 75: proxy.max_clients: 0 is out of range; use 1 to 1000000
    line 76: proxy.max_command_mib: 513 MiB is out of range; use 1 to 512 MiB
    line 77: proxy.foo: unknown key; remove it, or use one of: (every key of [proxy])
    # an application that is a user of the lab
    line 70: app[0].name: "proxy" is a reserved user name; choose a name other than default, exporter, node, operator, proxy, replication, sentinel, verifier, writer, halab, and those that begin with halab-
    # two applications of one name
    line 72: app[1].name: "shop" is already the name of app[0]; give every application a unique name
    # an application of a lab without users
    line 70: app[0].name: applications require security.acl = true; set security.acl = true, or remove the application
    # patterns of what is the lab's
    line 71: app[0].keys[1]: "*" matches keys reserved for the lab (halab:...); begin it with a prefix of the application, for example "shop:*"
    line 71: app[0].keys[2]: "hala[ab]*" matches keys reserved for the lab (halab:...); begin it with a prefix of the application, for example "shop:*"
    line 72: app[0].channels[0]: "__s*" matches channels reserved for the lab (__sentinel__:...); begin it with a prefix of the application, for example "shop:*"
    # patterns that end the rule
    line 71: app[0].keys[0]: "shop:* +@all" is not a valid ACL pattern; use 1 to 200 printable ASCII characters without spaces, for example "shop:*"
    line 71: app[0].keys[1]: "" is not a valid ACL pattern; use 1 to 200 printable ASCII characters without spaces, for example "shop:*"
    line 71: app[0].keys[2]: expected a string, found an integer; write it like `keys = ["shop:*"]`
    # patterns that are no list
    line 71: app[0].keys: expected a list, found a string; write it like `keys = ["shop:*"]`
    # rules that are no commands
    line 71: app[0].commands[1]: "nopass" is not a valid ACL rule for commands; write it in lower case like "+get", "-client|kill" or "-@dangerous"
    line 71: app[0].commands[2]: "~*" is not a valid ACL rule for commands; write it in lower case like "+get", "-client|kill" or "-@dangerous"
    line 71: app[0].commands[3]: "+GET" is not a valid ACL rule for commands; write it in lower case like "+get", "-client|kill" or "-@dangerous"
    # categories that there are not
    line 71: app[0].commands[0]: "+@reads" names an unknown command category; did you mean @read?
    line 71: app[0].commands[1]: "+@shopping" names an unknown command category; use a category that ACL CAT lists
    # rules that give away the lab
    line 71: app[0].commands[0]: "+@admin" is not allowed for applications: it changes servers, users or all keys; remove it
    line 71: app[0].commands[1]: "+config|set" is not allowed for applications: it changes servers, users or all keys; remove it
    line 71: app[0].commands[2]: "+flushall" is not allowed for applications: it changes servers, users or all keys; remove it
    "#);
}
