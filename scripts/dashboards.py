#!/usr/bin/env python3
"""Generates grafana/dashboards/*.json; `./lab test` checks that they are up to date.

tests/monitoring.rs sends every query to the Prometheus of a running lab. All panels share: the data
source is a variable, every series is limited to a lab, every panel has a unit and a description.
"""

import argparse
import json
import pathlib
import sys

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "grafana" / "dashboards"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24


def target(expr, legend="", instant=False):
    return {
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": expr,
        "instant": instant,
        "legendFormat": legend or "__auto",
        "range": not instant,
        "refId": "A",
    }


def panel(
    kind,
    title,
    description,
    unit,
    targets,
    width,
    height=7,
    options=None,
    defaults=None,
    custom=None,
):
    """One panel. `targets` are pairs of a query and its legend."""
    made = [target(expr, legend, instant=kind == "stat") for expr, legend in targets]
    for number, one in enumerate(made):
        one["refId"] = chr(ord("A") + number)
    fields = {"unit": unit, **(defaults or {})}
    if custom:
        fields["custom"] = custom
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": made,
        "fieldConfig": {"defaults": fields, "overrides": []},
        "options": options or {},
        "gridPos": {"w": width, "h": height},
    }


def lines(title, description, unit, *targets, width=8, stack=False, least=0, limit=None):
    """Lines over time; `limit` is the threshold of an alert, a dashed line."""
    defaults = {} if least is None else {"min": least}
    style = {}
    if limit is not None:
        steps = [{"color": "transparent", "value": None}, {"color": "red", "value": limit}]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
        style = {"thresholdsStyle": {"mode": "dashed"}}
    return panel(
        "timeseries",
        title,
        description,
        unit,
        targets,
        width,
        options={
            "legend": {
                "displayMode": "list",
                "placement": "bottom",
                "showLegend": True,
                "calcs": [],
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        defaults=defaults,
        custom={
            **style,
            "lineWidth": 1,
            "fillOpacity": 20 if stack else 8,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if stack else "none", "group": "A"},
        },
    )


def stat(title, description, unit, expr, legend="", width=3, thresholds=None, name=False):
    steps = [{"color": color, "value": value} for color, value in thresholds or [("blue", None)]]
    return panel(
        "stat",
        title,
        description,
        unit,
        [(expr, legend)],
        width,
        height=4,
        options={
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "textMode": "name" if name else "auto",
            "colorMode": "background",
            "graphMode": "none",
        },
        defaults={"thresholds": {"mode": "absolute", "steps": steps}},
    )


def states(title, description, mappings, *targets, width=12):
    """A band for each series, coloured by its value."""
    options = {
        str(value): {"text": text, "color": color, "index": value}
        for value, text, color in mappings
    }
    return panel(
        "state-timeline",
        title,
        description,
        "none",
        targets,
        width,
        options={
            "mergeValues": True,
            "showValue": "auto",
            "rowHeight": 0.8,
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False},
            "tooltip": {"mode": "single", "sort": "none"},
        },
        defaults={"mappings": [{"type": "value", "options": options}]},
        custom={"fillOpacity": 80, "lineWidth": 0},
    )


def row(title):
    return {
        "type": "row",
        "title": title,
        "collapsed": False,
        "panels": [],
        "gridPos": {"w": WIDTH, "h": 1},
    }


def variable(name, label, query, multi):
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": f"variable-{name}"},
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "regex": "",
        "multi": multi,
        "includeAll": multi,
        "skipUrlSync": False,
        "options": [],
        "current": {"text": ["All"], "value": ["$__all"]} if multi else {},
        **({"allValue": ".+"} if multi else {}),
    }


def annotation(name, color, expr, title, text, tags):
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": color,
        "expr": expr,
        "step": "1s",
        "titleFormat": title,
        "textFormat": text,
        "tagKeys": tags,
    }


def arranged(panels):
    """Place panels from left to right; a row, or a panel that does not fit, starts a new line."""
    x = y = height = 0
    for number, one in enumerate(panels, start=1):
        place = one["gridPos"]
        if x + place["w"] > WIDTH or one["type"] == "row":
            x, y, height = 0, y + height, 0
        one["id"] = number
        place["x"], place["y"] = x, y
        x, height = x + place["w"], max(height, place["h"])
    return panels


def dashboard(uid, title, description, nodes, panels):
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["redis-ha-lab"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "timepicker": {"refresh_intervals": ["1s", "5s", "30s", "5m"]},
        "fiscalYearStartMonth": 0,
        "weekStart": "",
        "liveNow": False,
        "links": [
            {
                "type": "dashboards",
                "title": "redis-ha-lab",
                "tags": ["redis-ha-lab"],
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "icon": "external link",
                "tooltip": "",
                "url": "",
            }
        ],
        "templating": {
            "list": [
                {
                    "name": "datasource",
                    "label": "Data source",
                    "type": "datasource",
                    "query": "prometheus",
                    "refresh": 1,
                    "hide": 0,
                    "regex": "",
                    "multi": False,
                    "includeAll": False,
                    "skipUrlSync": False,
                    "options": [],
                    "current": {"text": "Prometheus", "value": "halab-prometheus"},
                },
                variable("lab", "Lab", 'label_values(up{job="halab-node"}, lab)', False),
                variable(
                    "node",
                    "Node",
                    f'label_values(up{{job="halab-node", lab="$lab"{nodes}}}, node)',
                    True,
                ),
            ]
        },
        "annotations": {
            "list": [
                annotation(
                    "Failovers",
                    "orange",
                    'changes(lab:epoch:max{lab="$lab"}[2s]) > 0',
                    "Failover",
                    "the Sentinels agreed on a new epoch",
                    "lab",
                ),
                annotation(
                    "Alerts",
                    "red",
                    'ALERTS{lab="$lab", alertstate="firing"}',
                    "{{alertname}}",
                    "{{node}}",
                    "severity",
                ),
            ]
        },
        "panels": arranged(panels),
    }


LAB = 'lab="$lab"'
NODE = 'lab="$lab", node=~"$node"'
DATA = NODE + ', kind="data"'
SENTINEL = NODE + ', kind="sentinel"'
YES = [("red", None), ("green", 1)]
NO = [("green", None), ("red", 1)]


def rate(metric, matchers, by=""):
    return (
        f"{by}(rate({metric}{{{matchers}}}[$__rate_interval]))"
        if by
        else f"rate({metric}{{{matchers}}}[$__rate_interval])"
    )


def overview():
    latency = (
        f"sum by (le) (rate(halab_writer_batch_latency_seconds_bucket{{{LAB}}}[$__rate_interval]))"
    )
    return dashboard(
        "halab-ha-overview",
        "HA overview",
        "Who is primary, what a failover costs, and whether every acknowledged write is on every node that could be promoted.",
        "",
        [
            row("Now"),
            stat(
                "Primary",
                "The data node that is primary, by the word of its own node.",
                "none",
                f'halab_node_role{{{LAB}, role="primary"}} == 1',
                "{{node}}",
                4,
                [("green", None)],
                name=True,
            ),
            stat(
                "Promotable replicas",
                "Replicas that are in sync and may be promoted. 0: the loss of the primary would stop all writes.",
                "none",
                f"lab:promotable:sum{{{LAB}}}",
                width=4,
                thresholds=YES,
            ),
            stat(
                "Sentinels",
                "Sentinels that answer. Two of three are needed for a failover.",
                "none",
                f"lab:sentinels_up:sum{{{LAB}}}",
                width=4,
                thresholds=[("red", None), ("orange", 2), ("green", 3)],
            ),
            stat("Epoch", "Rises with each failover.", "none", f"lab:epoch:max{{{LAB}}}", width=3),
            stat(
                "Acknowledged writes",
                "Records acknowledged a second, over 5 s. Nothing here while nobody writes.",
                "wps",
                f"lab:acknowledged:rate5s{{{LAB}}}",
                width=3,
            ),
            stat(
                "Since the last",
                "Time since the last acknowledged write.",
                "s",
                f"halab_writer_since_acknowledgement_seconds{{{LAB}}}",
                width=3,
                thresholds=[("green", None), ("orange", 1), ("red", 3)],
            ),
            stat(
                "Alerts",
                "Alerts that fire now.",
                "none",
                f'count(ALERTS{{{LAB}, alertstate="firing"}}) or vector(0)',
                width=3,
                thresholds=NO,
            ),
            row("Roles"),
            states(
                "Role of each data node",
                "By the word of its own node; a gap: the node is gone.",
                [(0, "no role", "orange"), (1, "replica", "blue"), (2, "primary", "green")],
                (
                    f'2 * sum by (node) (halab_node_role{{{DATA}, role="primary"}}) + sum by (node) (halab_node_role{{{DATA}, role="replica"}})',
                    "{{node}}",
                ),
            ),
            lines(
                "Sentinels that name each node",
                "Votes: how many Sentinels call it the primary. More than one line: they disagree.",
                "none",
                (f"count by (primary) (redis_sentinel_master_status{{{LAB}}})", "{{primary}}"),
                width=6,
            ),
            lines(
                "Epoch as each node hears it",
                "The epoch of the majority of the Sentinels. Apart: some node does not reach them.",
                "none",
                (f"halab_node_epoch{{{DATA}}}", "{{node}}"),
                width=6,
            ),
            states(
                "What each Sentinel thinks of the primary",
                "ok, or down by its own judgement (s_down) or by agreement (o_down).",
                [(0, "not ok", "red"), (1, "ok", "green")],
                (
                    f'sum by (node) (redis_sentinel_master_status{{{SENTINEL}, master_status="ok"}}) or 0 * sum by (node) (redis_sentinel_master_status{{{SENTINEL}}})',
                    "{{node}}",
                ),
            ),
            lines(
                "Agreement",
                "Of each Sentinel: other Sentinels and replicas that it can use, itself counted among the Sentinels.",
                "none",
                (f"redis_sentinel_master_ok_sentinels{{{SENTINEL}}}", "{{node}}: Sentinels"),
                (f"redis_sentinel_master_ok_slaves{{{SENTINEL}}}", "{{node}}: replicas"),
                width=6,
            ),
            lines(
                "Quorum and TILT",
                "1: the quorum can be reached; TILT at 1: the Sentinel judges nothing for 30 s.",
                "none",
                (f"redis_sentinel_master_ckquorum_status{{{SENTINEL}}}", "{{node}}: quorum"),
                (f"redis_sentinel_tilt{{{SENTINEL}}}", "{{node}}: TILT"),
                width=6,
            ),
            row("Writes"),
            lines(
                "Acknowledged, by kind",
                "replicated: every other data node has it. witnessed: those without it can't be promoted, say the Sentinels.",
                "wps",
                (
                    rate(
                        "halab_writer_records_acknowledged_total", LAB, "sum by (acknowledgement) "
                    ),
                    "{{acknowledgement}}",
                ),
                width=12,
                stack=True,
            ),
            lines(
                "Gap",
                "Time since the last acknowledged write at each look, and the longest so far: what a failover costs.",
                "s",
                (f"halab_writer_since_acknowledgement_seconds{{{LAB}}}", "since the last"),
                (f"halab_writer_longest_gap_seconds{{{LAB}}}", "longest so far"),
                width=12,
                limit=3,
            ),
            lines(
                "Latency of a batch",
                "From the first sending to the acknowledgement.",
                "s",
                (f"histogram_quantile(0.5, {latency})", "median"),
                (f"histogram_quantile(0.99, {latency})", "99 %"),
                (f"histogram_quantile(1, {latency})", "longest, by bucket"),
            ),
            lines(
                "Sent again, failed",
                "Sent again: it was unknown whether they had been written. Failed: for certain, and given up.",
                "wps",
                (rate("halab_writer_records_sent_again_total", LAB), "sent again"),
                (rate("halab_writer_records_failed_total", LAB), "failed"),
            ),
            lines(
                "Under way",
                "Records in flight or of unknown fate.",
                "none",
                (f"halab_writer_records_open{{{LAB}}}", "records"),
            ),
            states(
                "The writer's primary",
                "Whom the writer takes for the primary; all dark: it looks for one.",
                [(0, "", "transparent"), (1, "writes here", "green")],
                (f"halab_writer_primary{{{LAB}}}", "{{primary}}"),
            ),
            lines(
                "Search for the primary",
                "Rounds in which all Sentinels and data nodes are asked, and changes of the primary.",
                "ops",
                (rate("halab_writer_discovery_rounds_total", LAB), "rounds"),
                (rate("halab_writer_primary_changes_total", LAB), "changes"),
                width=12,
            ),
            row("Replication"),
            lines(
                "Lag",
                "Bytes that a replica has not confirmed, as its primary counts them.",
                "bytes",
                (f"replica:replication_lag_bytes{{{LAB}}}", "{{replica}}"),
                limit=10 * 1024 * 1024,
            ),
            lines(
                "Link down",
                "For how long a replica's link has been down or syncing.",
                "s",
                (f"halab_node_link_down_seconds{{{DATA}}}", "{{node}}"),
            ),
            states(
                "Promotable",
                "Whether the Sentinels may promote the node now; a primary is not.",
                [(0, "no", "orange"), (1, "yes", "green")],
                (f"halab_node_promotable{{{DATA}}}", "{{node}}"),
                width=8,
            ),
            row("What the nodes did"),
            lines(
                "Decisions",
                "Of each node about its server, a minute; its log has the reasons.",
                "opm",
                (
                    f"60 * sum by (node, decision) ({rate('halab_node_decisions_total', DATA)}) > 0",
                    "{{node}}: {{decision}}",
                ),
                width=12,
            ),
            lines(
                "Failover calls, handovers",
                "Calls of a dead primary's node; planned handovers.",
                "none",
                (
                    f"sum by (node, outcome) (increase(halab_node_failover_calls_total{{{DATA}}}[$__rate_interval]))",
                    "{{node}}: failover called, {{outcome}}",
                ),
                (
                    f"sum by (node, outcome) (increase(halab_node_handovers_total{{{DATA}}}[$__rate_interval]))",
                    "{{node}}: handover {{outcome}}",
                ),
                width=6,
            ),
            lines(
                "Starts and ends of servers",
                "Ends that the node did not order, and starts.",
                "none",
                (
                    f"sum by (node) (increase(halab_node_server_starts_total{{{NODE}}}[$__rate_interval]))",
                    "{{node}}: start",
                ),
                (
                    f"sum by (node) (increase(halab_node_server_exits_total{{{NODE}}}[$__rate_interval]))",
                    "{{node}}: end",
                ),
                width=6,
            ),
            lines(
                "Guards",
                "1 while a node holds its server back from a role, pauses the writes of an isolated primary, or writes the only copy to disk before each answer.",
                "none",
                (f"halab_node_waiting{{{DATA}}}", "{{node}}: waits"),
                (f"halab_node_writes_fenced{{{DATA}}}", "{{node}}: writes paused"),
                (f"halab_node_only_copy{{{DATA}}}", "{{node}}: only copy"),
                width=24,
            ),
        ],
    )


def redis_nodes():
    return dashboard(
        "halab-redis-nodes",
        "Redis nodes",
        "What each Redis server and Sentinel does: load, memory, persistence, replication.",
        "",
        [
            row("Load"),
            lines(
                "Commands",
                "Commands a second.",
                "ops",
                (rate("redis_commands_processed_total", NODE), "{{node}}"),
            ),
            lines(
                "Commands of data nodes, by name",
                "The eight most frequent.",
                "ops",
                (
                    f"topk(8, {rate('redis_commands_total', DATA, 'sum by (node, cmd) ')})",
                    "{{node}}: {{cmd}}",
                ),
            ),
            lines(
                "Time in commands",
                "Share of a core spent in commands.",
                "percentunit",
                (rate("redis_commands_duration_seconds_total", DATA, "sum by (node) "), "{{node}}"),
            ),
            lines(
                "CPU",
                "Of the server process, user and system.",
                "percentunit",
                (
                    f"{rate('redis_cpu_user_seconds_total', NODE)} + {rate('redis_cpu_sys_seconds_total', NODE)}",
                    "{{node}}",
                ),
            ),
            lines(
                "Clients",
                "Connections, those blocked in WAIT among them.",
                "none",
                (f"redis_connected_clients{{{NODE}}}", "{{node}}"),
                (f"redis_blocked_clients{{{DATA}}}", "{{node}}: blocked"),
            ),
            lines(
                "Network",
                "Bytes in, and out as negative.",
                "Bps",
                (rate("redis_net_input_bytes_total", NODE), "{{node}}: in"),
                (f"-{rate('redis_net_output_bytes_total', NODE)}", "{{node}}: out"),
                least=None,
            ),
            row("Memory and keys"),
            lines(
                "Memory",
                "Used by data and buffers, and resident.",
                "bytes",
                (f"redis_memory_used_bytes{{{DATA}}}", "{{node}}: used"),
                (f"redis_memory_used_rss_bytes{{{DATA}}}", "{{node}}: resident"),
            ),
            lines(
                "Of the limit",
                "Share of maxmemory. Nothing here while no limit is set, as in this lab.",
                "percentunit",
                (
                    f"redis_memory_used_bytes{{{DATA}}} / (redis_memory_max_bytes{{{DATA}}} > 0)",
                    "{{node}}",
                ),
                limit=0.9,
            ),
            lines(
                "Keys",
                "Records are keys: the nodes' lines lie on each other while they are in sync.",
                "none",
                (f'redis_db_keys{{{DATA}, db="db0"}}', "{{node}}"),
            ),
            row("Replication"),
            lines(
                "Offset",
                "Position in the replication stream; the lines lie on each other while nodes are in sync.",
                "bytes",
                (f"redis_master_repl_offset{{{DATA}}}", "{{node}}"),
            ),
            lines(
                "Replicas online",
                "As the primary counts them.",
                "none",
                (f"redis_connected_slaves{{{DATA}}}", "{{node}}"),
            ),
            lines(
                "Link to the primary",
                "1 while a replica's link is up. A primary has none.",
                "none",
                (f"redis_master_link_up{{{DATA}}}", "{{node}}"),
            ),
            lines(
                "Copies",
                "Full copies that a primary sent; partial ones taken and refused.",
                "none",
                (f"redis_replica_resyncs_full{{{DATA}}}", "{{node}}: full"),
                (f"redis_replica_partial_resync_accepted{{{DATA}}}", "{{node}}: partial"),
                (f"redis_replica_partial_resync_denied{{{DATA}}}", "{{node}}: partial, refused"),
            ),
            lines(
                "Replication traffic",
                "Bytes a second to replicas, and from the primary as negative.",
                "Bps",
                (rate("redis_net_repl_output_bytes_total", DATA), "{{node}}: to replicas"),
                (
                    f"-{rate('redis_net_repl_input_bytes_total', DATA)}",
                    "{{node}}: from its primary",
                ),
                least=None,
            ),
            lines(
                "Buffers",
                "Of replicas and clients, and the backlog.",
                "bytes",
                (f"redis_mem_clients_slaves{{{DATA}}}", "{{node}}: replicas"),
                (f"redis_mem_clients_normal{{{DATA}}}", "{{node}}: clients"),
                (f"redis_repl_backlog_history_bytes{{{DATA}}}", "{{node}}: backlog"),
            ),
            row("Persistence"),
            lines(
                "Append-only file",
                "Its size.",
                "bytes",
                (f"redis_aof_current_size_bytes{{{DATA}}}", "{{node}}"),
            ),
            states(
                "Last write to it",
                "Whether the last write and the last rewrite went well.",
                [(0, "failed", "red"), (1, "ok", "green")],
                (f"redis_aof_last_write_status{{{DATA}}}", "{{node}}: write"),
                (f"redis_aof_last_bgrewrite_status{{{DATA}}}", "{{node}}: rewrite"),
                width=8,
            ),
            lines(
                "Late fsync",
                "Times that a write waited for an fsync under way: the disk is too slow.",
                "none",
                (f"increase(redis_aof_delayed_fsync{{{DATA}}}[$__rate_interval])", "{{node}}"),
            ),
            row("Life"),
            lines(
                "Uptime",
                "Of the server; it falls to 0 when it starts anew.",
                "s",
                (f"redis_uptime_in_seconds{{{NODE}}}", "{{node}}"),
                width=12,
            ),
            states(
                "Answers",
                "Whether the server answers redis_exporter.",
                [(0, "no", "red"), (1, "yes", "green")],
                (f"redis_up{{{NODE}}}", "{{node}}"),
            ),
            row("Refusals"),
            lines(
                "Error replies of data nodes, by kind",
                "WRONGPASS, NOPERM: somebody was refused. NOAUTH: likewise, or a replica's first word. OOM: maxmemory is reached. ERR: three a second are redis_exporter's, which asks for what only newer servers have.",
                "ops",
                (rate("redis_errors_total", DATA, "sum by (node, err) "), "{{node}}: {{err}}"),
                width=12,
            ),
            lines(
                "Refused connections, error replies",
                "A second.",
                "ops",
                (rate("redis_rejected_connections_total", NODE), "{{node}}: refused"),
                (rate("redis_total_error_replies", NODE), "{{node}}: errors"),
                width=12,
            ),
        ],
    )


def containers():
    return dashboard(
        "halab-containers",
        "Containers and cgroups",
        "What each node uses, by cAdvisor: its cgroup holds the node and its server. Empty where no cgroup may be made.",
        "",
        [
            row("CPU"),
            lines(
                "CPU",
                "Cores used.",
                "none",
                (rate("container_cpu_usage_seconds_total", NODE, "sum by (node) "), "{{node}}"),
                width=12,
                stack=True,
            ),
            lines(
                "In the kernel",
                "Cores used in system calls.",
                "none",
                (rate("container_cpu_system_seconds_total", NODE, "sum by (node) "), "{{node}}"),
                width=6,
            ),
            lines(
                "In user code",
                "Cores used outside of the kernel.",
                "none",
                (rate("container_cpu_user_seconds_total", NODE, "sum by (node) "), "{{node}}"),
                width=6,
            ),
            row("Memory"),
            lines(
                "Working set",
                "What can't be given back at once.",
                "bytes",
                (f"container_memory_working_set_bytes{{{NODE}}}", "{{node}}"),
                width=12,
                stack=True,
            ),
            lines(
                "Resident, cache",
                "Anonymous memory, and pages of files.",
                "bytes",
                (f"container_memory_rss{{{NODE}}}", "{{node}}: resident"),
                (f"container_memory_cache{{{NODE}}}", "{{node}}: cache"),
                width=6,
            ),
            lines(
                "Of the limit",
                "Share of the cgroup's limit. Nothing here while no limit is set, as in this lab.",
                "percentunit",
                (
                    f"container_memory_working_set_bytes{{{NODE}}} / (container_spec_memory_limit_bytes{{{NODE}}} > 0)",
                    "{{node}}",
                ),
                width=6,
                limit=0.9,
            ),
            row("Processes"),
            lines(
                "Processes",
                "The node and its server; one while the server is down.",
                "none",
                (f"container_processes{{{NODE}}}", "{{node}}"),
            ),
            lines(
                "Threads", "Of all processes.", "none", (f"container_threads{{{NODE}}}", "{{node}}")
            ),
            lines(
                "Open files and sockets",
                "Of all processes.",
                "none",
                (f"container_file_descriptors{{{NODE}}}", "{{node}}: files"),
                (f"container_sockets{{{NODE}}}", "{{node}}: sockets"),
            ),
        ],
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    generating = parser.add_mutually_exclusive_group(required=True)
    generating.add_argument("--write", action="store_true", help="write the dashboards")
    generating.add_argument(
        "--check", action="store_true", help="write nothing; fail if one differs"
    )
    check = parser.parse_args().check
    wrong = []
    for name, made in (
        ("ha-overview", overview()),
        ("redis-nodes", redis_nodes()),
        ("containers", containers()),
    ):
        path = FOLDER / f"{name}.json"
        text = json.dumps(made, indent=2) + "\n"
        if not check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            wrong.append(path.name)
    if wrong:
        sys.exit(f"{', '.join(wrong)}: not up to date; ./lab generate writes it")


if __name__ == "__main__":
    main()
