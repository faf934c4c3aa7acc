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
        "The primary, the duration of failovers, and whether every promotable node has every "
        "acknowledged write.",
        "",
        [
            row("Now"),
            stat(
                "Primary",
                "The data node that is primary, as reported by its supervisor.",
                "none",
                f'halab_node_role{{{LAB}, role="primary"}} == 1',
                "{{node}}",
                4,
                [("green", None)],
                name=True,
            ),
            stat(
                "Promotable replicas",
                "Replicas that are in sync and promotable. 0: the loss of the primary would stop all "
                "writes.",
                "none",
                f"lab:promotable:sum{{{LAB}}}",
                width=4,
                thresholds=YES,
            ),
            stat(
                "Sentinels",
                "Reachable Sentinels. A failover needs two of three.",
                "none",
                f"lab:sentinels_up:sum{{{LAB}}}",
                width=4,
                thresholds=[("red", None), ("orange", 2), ("green", 3)],
            ),
            stat(
                "Epoch",
                "Grows with each change of the primary.",
                "none",
                f"lab:epoch:max{{{LAB}}}",
                width=3,
            ),
            stat(
                "Acknowledged writes",
                "Records acknowledged a second, over 5 s. No data while no writer runs.",
                "wps",
                f"lab:acknowledged:rate5s{{{LAB}}}",
                width=3,
            ),
            stat(
                "Since last write",
                "Time since the last acknowledged write.",
                "s",
                f"halab_writer_since_acknowledgement_seconds{{{LAB}}}",
                width=3,
                thresholds=[("green", None), ("orange", 1), ("red", 3)],
            ),
            stat(
                "Alerts",
                "Firing alerts.",
                "none",
                f'count(ALERTS{{{LAB}, alertstate="firing"}}) or vector(0)',
                width=3,
                thresholds=NO,
            ),
            row("Roles"),
            states(
                "Role of each data node",
                "As reported by its supervisor. A gap: the node is down.",
                [(0, "no role", "orange"), (1, "replica", "blue"), (2, "primary", "green")],
                (
                    f'2 * sum by (node) (halab_node_role{{{DATA}, role="primary"}}) + sum by (node) (halab_node_role{{{DATA}, role="replica"}})',
                    "{{node}}",
                ),
            ),
            lines(
                "Sentinels that name each node as primary",
                "The number of Sentinels that name the node as primary. More than one line: they disagree.",
                "none",
                (f"count by (primary) (redis_sentinel_master_status{{{LAB}}})", "{{primary}}"),
                width=6,
            ),
            lines(
                "Epoch seen by each node",
                "The epoch of the majority of the Sentinels. Different lines: a node does not reach them.",
                "none",
                (f"halab_node_epoch{{{DATA}}}", "{{node}}"),
                width=6,
            ),
            states(
                "State of the primary seen by each Sentinel",
                "ok, subjectively down (s_down), or objectively down (o_down).",
                [(0, "not ok", "red"), (1, "ok", "green")],
                (
                    f'sum by (node) (redis_sentinel_master_status{{{SENTINEL}, master_status="ok"}}) or 0 * sum by (node) (redis_sentinel_master_status{{{SENTINEL}}})',
                    "{{node}}",
                ),
            ),
            lines(
                "Agreement",
                "For each Sentinel: usable Sentinels, including itself, and usable replicas.",
                "none",
                (f"redis_sentinel_master_ok_sentinels{{{SENTINEL}}}", "{{node}}: Sentinels"),
                (f"redis_sentinel_master_ok_slaves{{{SENTINEL}}}", "{{node}}: replicas"),
                width=6,
            ),
            lines(
                "Quorum and TILT",
                "Quorum 1: it can be reached. TILT 1: the Sentinel detects no failure for 30 s.",
                "none",
                (f"redis_sentinel_master_ckquorum_status{{{SENTINEL}}}", "{{node}}: quorum"),
                (f"redis_sentinel_tilt{{{SENTINEL}}}", "{{node}}: TILT"),
                width=6,
            ),
            row("Writes"),
            lines(
                "Acknowledged, by kind",
                "replicated: every other data node has it. witnessed: the Sentinels confirm that no node "
                "without it is promotable.",
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
                "Time since the last acknowledged write at each scrape, and the longest so far: the "
                "duration of failovers.",
                "s",
                (f"halab_writer_since_acknowledgement_seconds{{{LAB}}}", "since the last"),
                (f"halab_writer_longest_gap_seconds{{{LAB}}}", "longest so far"),
                width=12,
                limit=3,
            ),
            lines(
                "Latency of a batch",
                "From the first attempt to the acknowledgement.",
                "s",
                (f"histogram_quantile(0.5, {latency})", "median"),
                (f"histogram_quantile(0.99, {latency})", "99 %"),
                (f"histogram_quantile(1, {latency})", "longest, by bucket"),
            ),
            lines(
                "Sent again, failed",
                "Sent again: the outcome was unknown. Failed: certainly not written, and not sent again.",
                "wps",
                (rate("halab_writer_records_sent_again_total", LAB), "sent again"),
                (rate("halab_writer_records_failed_total", LAB), "failed"),
            ),
            lines(
                "In flight",
                "Records in flight or with unknown outcome.",
                "none",
                (f"halab_writer_records_open{{{LAB}}}", "records"),
            ),
            states(
                "The writer's primary",
                "The node that the writer uses as primary. All dark: it searches for one.",
                [(0, "", "transparent"), (1, "writes here", "green")],
                (f"halab_writer_primary{{{LAB}}}", "{{primary}}"),
            ),
            lines(
                "Search for the primary",
                "Rounds of questions to all Sentinels and data nodes, and changes of the primary.",
                "ops",
                (rate("halab_writer_discovery_rounds_total", LAB), "rounds"),
                (rate("halab_writer_primary_changes_total", LAB), "changes"),
                width=12,
            ),
            row("Replication"),
            lines(
                "Lag",
                "Bytes that a replica has not confirmed, as reported by its primary.",
                "bytes",
                (f"replica:replication_lag_bytes{{{LAB}}}", "{{replica}}"),
                limit=10 * 1024 * 1024,
            ),
            lines(
                "Link down",
                "The time for which a replica's link has been down or syncing.",
                "s",
                (f"halab_node_link_down_seconds{{{DATA}}}", "{{node}}"),
            ),
            states(
                "Promotable",
                "Whether the Sentinels may promote the node. A primary is not promotable.",
                [(0, "no", "orange"), (1, "yes", "green")],
                (f"halab_node_promotable{{{DATA}}}", "{{node}}"),
                width=8,
            ),
            row("Actions of nodes"),
            lines(
                "Decisions",
                "Decisions of each node about its server, per minute; its log has the reasons.",
                "opm",
                (
                    f"60 * sum by (node, decision) ({rate('halab_node_decisions_total', DATA)}) > 0",
                    "{{node}}: {{decision}}",
                ),
                width=12,
            ),
            lines(
                "Failover requests, handovers",
                "Failover requests of nodes with a dead primary; planned handovers.",
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
                "Starts and exits of servers",
                "Starts, and exits that the node did not cause.",
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
                "1 while a node keeps its server from a role, pauses the writes of an isolated primary, "
                "or syncs the only copy to disk before each answer.",
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
        "Load, memory, persistence and replication of each Redis server and Sentinel.",
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
                "The server process, user and system time.",
                "percentunit",
                (
                    f"{rate('redis_cpu_user_seconds_total', NODE)} + {rate('redis_cpu_sys_seconds_total', NODE)}",
                    "{{node}}",
                ),
            ),
            lines(
                "Clients",
                "Connections, including those blocked in WAIT.",
                "none",
                (f"redis_connected_clients{{{NODE}}}", "{{node}}"),
                (f"redis_blocked_clients{{{DATA}}}", "{{node}}: blocked"),
            ),
            lines(
                "Network",
                "Bytes received, and bytes sent as negative values.",
                "Bps",
                (rate("redis_net_input_bytes_total", NODE), "{{node}}: in"),
                (f"-{rate('redis_net_output_bytes_total', NODE)}", "{{node}}: out"),
                least=None,
            ),
            row("Memory and keys"),
            lines(
                "Memory",
                "Memory of data and buffers, and resident memory.",
                "bytes",
                (f"redis_memory_used_bytes{{{DATA}}}", "{{node}}: used"),
                (f"redis_memory_used_rss_bytes{{{DATA}}}", "{{node}}: resident"),
            ),
            lines(
                "Share of the limit",
                "Share of maxmemory. No data without a limit, as in this lab.",
                "percentunit",
                (
                    f"redis_memory_used_bytes{{{DATA}}} / (redis_memory_max_bytes{{{DATA}}} > 0)",
                    "{{node}}",
                ),
                limit=0.9,
            ),
            lines(
                "Keys",
                "Records are keys: the lines of nodes in sync coincide.",
                "none",
                (f'redis_db_keys{{{DATA}, db="db0"}}', "{{node}}"),
            ),
            row("Replication"),
            lines(
                "Offset",
                "Position in the replication stream; the lines of nodes in sync coincide.",
                "bytes",
                (f"redis_master_repl_offset{{{DATA}}}", "{{node}}"),
            ),
            lines(
                "Replicas online",
                "As reported by the primary.",
                "none",
                (f"redis_connected_slaves{{{DATA}}}", "{{node}}"),
            ),
            lines(
                "Link to the primary",
                "1 while a replica's link is up. A primary has no link.",
                "none",
                (f"redis_master_link_up{{{DATA}}}", "{{node}}"),
            ),
            lines(
                "Syncs",
                "Full syncs that a primary sent; partial syncs accepted and refused.",
                "none",
                (f"redis_replica_resyncs_full{{{DATA}}}", "{{node}}: full"),
                (f"redis_replica_partial_resync_accepted{{{DATA}}}", "{{node}}: partial"),
                (f"redis_replica_partial_resync_denied{{{DATA}}}", "{{node}}: partial, refused"),
            ),
            lines(
                "Replication traffic",
                "Bytes a second to replicas, and bytes from the primary as negative values.",
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
                "Buffers of replicas and clients, and the backlog.",
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
                "Last write to the append-only file",
                "Whether the last write and the last rewrite succeeded.",
                [(0, "failed", "red"), (1, "ok", "green")],
                (f"redis_aof_last_write_status{{{DATA}}}", "{{node}}: write"),
                (f"redis_aof_last_bgrewrite_status{{{DATA}}}", "{{node}}: rewrite"),
                width=8,
            ),
            lines(
                "Delayed fsync",
                "Writes that waited for a running fsync: the disk is too slow.",
                "none",
                (f"increase(redis_aof_delayed_fsync{{{DATA}}}[$__rate_interval])", "{{node}}"),
            ),
            row("Availability"),
            lines(
                "Uptime",
                "Time since the start of the server.",
                "s",
                (f"redis_uptime_in_seconds{{{NODE}}}", "{{node}}"),
                width=12,
            ),
            states(
                "Reachable",
                "Whether the server answers redis_exporter.",
                [(0, "no", "red"), (1, "yes", "green")],
                (f"redis_up{{{NODE}}}", "{{node}}"),
            ),
            row("Errors"),
            lines(
                "Error replies of data nodes, by kind",
                "WRONGPASS, NOPERM: access was refused. NOAUTH: the same, or a replica's first PING. "
                "OOM: maxmemory is reached. ERR: three a second come from redis_exporter, which uses "
                "commands that only newer servers have.",
                "ops",
                (rate("redis_errors_total", DATA, "sum by (node, err) "), "{{node}}: {{err}}"),
                width=12,
            ),
            lines(
                "Refused connections, error replies",
                "Refused connections and error replies a second.",
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
        "Resource usage of each node, by cAdvisor: its cgroup has the supervisor and the server. Empty if "
        "cgroups cannot be created.",
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
                "System time",
                "Cores used in system calls.",
                "none",
                (rate("container_cpu_system_seconds_total", NODE, "sum by (node) "), "{{node}}"),
                width=6,
            ),
            lines(
                "User time",
                "Cores used outside of the kernel.",
                "none",
                (rate("container_cpu_user_seconds_total", NODE, "sum by (node) "), "{{node}}"),
                width=6,
            ),
            row("Memory"),
            lines(
                "Working set",
                "Memory that cannot be reclaimed immediately.",
                "bytes",
                (f"container_memory_working_set_bytes{{{NODE}}}", "{{node}}"),
                width=12,
                stack=True,
            ),
            lines(
                "Resident, cache",
                "Anonymous memory, and file pages.",
                "bytes",
                (f"container_memory_rss{{{NODE}}}", "{{node}}: resident"),
                (f"container_memory_cache{{{NODE}}}", "{{node}}: cache"),
                width=6,
            ),
            lines(
                "Share of the limit",
                "Share of the cgroup's limit. No data without a limit, as in this lab.",
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
                "The supervisor and its server; one while the server is down.",
                "none",
                (f"container_processes{{{NODE}}}", "{{node}}"),
            ),
            lines(
                "Threads",
                "Threads of all processes.",
                "none",
                (f"container_threads{{{NODE}}}", "{{node}}"),
            ),
            lines(
                "Open files and sockets",
                "Open files and sockets of all processes.",
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
        sys.exit(f"{', '.join(wrong)}: not up to date; run ./lab generate")


if __name__ == "__main__":
    main()
