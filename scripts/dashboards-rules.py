#!/usr/bin/env python3
"""Checks dashboards by the rules of Grafana's dashboard-linter, under the same names.

The linter is a Go module, github.com/grafana/dashboard-linter. Its rules of June 2026 are
implemented here again because it is expensive to get: with its dependencies, Loki and Kubernetes
among them, it takes close to three minutes of processor time to build, and it needs Grafana's types
of dashboards of schema v2, which not every module proxy serves. Built by hand (v0.2.0, with a
stand-in for those types, which dashboards of the classic schema do not use), `dashboard-linter lint
--strict --config grafana/.lint` reports no problem in any of the dashboards.

Two pairs of rules are replaced, and excluded in grafana/.lint: this project identifies a lab and a
node by fixed names, where the linter's dashboards have a job and an instance.

- template-job-rule, template-instance-rule: there are variables `lab` and `node`. `lab` has a
  single value, because two labs in one panel mean nothing; `node` follows the linter's rules for
  `instance`.
- target-job-rule, target-instance-rule: every selector has lab="$lab". A selector for node has
  node=~"$node", or none: some panels show the whole lab.

target-logql-rule and target-logql-auto-rule only check that all queries are for Prometheus. A
running Prometheus checks the queries themselves (target-promql-rule) in tests/monitoring.rs; this
script only checks that there is one.

First, the script breaks the first file once for each rule, and must find the problem. Exits with 1
if a rule is broken.
"""

import copy
import json
import pathlib
import re
import sys
import typing

Dashboard = dict[str, typing.Any]
Rule = typing.Callable[[Dashboard], typing.Iterator[str]]

DATASOURCE = "${datasource}"
# The units in use here, of
# https://github.com/grafana/grafana/blob/main/packages/grafana-data/src/valueFormats/categories.ts
UNITS = {"none", "percentunit", "bytes", "Bps", "s", "ops", "wps", "opm"}
# Keywords of PromQL: those before a list of labels, and others that are no metric. A name before
# CALLED is a function.
GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
NO_METRIC = GROUPING | {"and", "or", "unless", "bool", "offset", "inf", "nan", "atan2"}
CALLED = {"(", "by", "without"}
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\$?[A-Za-z_:][\w:]*|[\d.]+[\w.]*|[=!~<>]+|\S')


class Selector(typing.NamedTuple):
    """A selector of a query: `function(name{matchers}[span])`."""

    name: str
    matchers: list[str]
    span: str
    function: str


def selectors(query: str) -> typing.Iterator[Selector]:
    """All selectors of a query that Prometheus would parse."""
    tokens = TOKEN.findall(query) + ["", ""]
    calls: list[str] = []
    place = 0
    while tokens[place]:
        token, following = tokens[place], tokens[place + 1]
        place += 1
        if token in GROUPING and following == "(":
            place = tokens.index(")", place) + 1
        elif token == "(":
            before = tokens[place - 2] if place > 1 else ""
            calls.append(before if re.fullmatch(r"[a-z_0-9]+", before) else "")
        elif token == ")":
            calls.pop()
        elif token == "{" or (
            re.match(r"[A-Za-z_:]", token) and following not in CALLED and token not in NO_METRIC
        ):
            name, matchers, span = token, "", ""
            if token == "{":
                name, place = "", place - 1
            if tokens[place] == "{":
                end = tokens.index("}", place)
                matchers = "".join(tokens[place + 1 : end])
                place = end + 1
            if tokens[place] == "[":
                end = tokens.index("]", place)
                span = "".join(tokens[place + 1 : end])
                place = end + 1
            yield Selector(name, matchers.split(","), span, calls[-1] if calls else "")


def panels(dashboard: Dashboard) -> typing.Iterator[Dashboard]:
    """All panels except rows."""
    return (panel for panel in dashboard["panels"] if panel["type"] != "row")


def targets(dashboard: Dashboard) -> typing.Iterator[tuple[str, Dashboard]]:
    """All queries of panels, with the panel's title."""
    return (
        (panel["title"], target)
        for panel in panels(dashboard)
        for target in panel.get("targets", [])
    )


def variables(dashboard: Dashboard, kind: str) -> list[Dashboard]:
    return [one for one in dashboard["templating"]["list"] if one["type"] == kind]


def named(dashboard: Dashboard, name: str) -> Dashboard:
    return next((one for one in variables(dashboard, "query") if one["name"] == name), {})


def template_datasource(dashboard: Dashboard) -> typing.Iterator[str]:
    found = [
        (one["name"], one["label"], one["query"]) for one in variables(dashboard, "datasource")
    ]
    if found != [("datasource", "Data source", "prometheus")]:
        yield f"variables for a data source: {found}"


def template_job(dashboard: Dashboard) -> typing.Iterator[str]:
    lab = named(dashboard, "lab")
    if (
        not lab
        or lab["datasource"].get("uid") != DATASOURCE
        or lab["label"] != "Lab"
        or lab["multi"]
    ):
        yield "there is no single-valued variable lab with the data source variable"


def template_instance(dashboard: Dashboard) -> typing.Iterator[str]:
    node = named(dashboard, "node")
    wanted = {"label": "Node", "multi": True, "allValue": ".+"}
    if (
        not node
        or node["datasource"].get("uid") != DATASOURCE
        or {key: node.get(key) for key in wanted} != wanted
    ):
        yield f"there is no variable node with the data source variable and {wanted}"


def template_label_promql(dashboard: Dashboard) -> typing.Iterator[str]:
    for one in variables(dashboard, "query"):
        query = one["query"]["query"]
        if not re.fullmatch(r"label_values\(\w+\{.+\}, \w+\)", query) or not list(selectors(query)):
            yield f"variable {one['name']}: {query}"


def template_on_time_change_reload(dashboard: Dashboard) -> typing.Iterator[str]:
    for one in variables(dashboard, "query"):
        if one["refresh"] != 2:
            yield f"variable {one['name']}: refresh {one['refresh']}"


def panel_datasource(dashboard: Dashboard) -> typing.Iterator[str]:
    for panel in panels(dashboard):
        if panel["datasource"].get("uid") != DATASOURCE:
            yield f"{panel['title']}: {panel['datasource']}"


def panel_title_description(dashboard: Dashboard) -> typing.Iterator[str]:
    for panel in panels(dashboard):
        if not panel["title"] or not panel["description"]:
            yield f"panel {panel['id']}: '{panel['title']}', '{panel['description']}'"


def panel_units(dashboard: Dashboard) -> typing.Iterator[str]:
    for panel in panels(dashboard):
        if (unit := panel["fieldConfig"]["defaults"].get("unit")) not in UNITS:
            yield f"{panel['title']}: {unit}"


def panel_no_targets(dashboard: Dashboard) -> typing.Iterator[str]:
    return (panel["title"] for panel in panels(dashboard) if not panel.get("targets"))


def target_logql(dashboard: Dashboard) -> typing.Iterator[str]:
    for title, target in targets(dashboard):
        if target["datasource"] != {"type": "prometheus", "uid": DATASOURCE}:
            yield f"{title}: not Prometheus: {target['datasource']}"


def target_promql(dashboard: Dashboard) -> typing.Iterator[str]:
    for title, target in targets(dashboard):
        if not list(selectors(target["expr"])):
            yield f"{title}: no query: '{target['expr']}'"


def target_rate_interval(dashboard: Dashboard) -> typing.Iterator[str]:
    for title, target in targets(dashboard):
        for one in selectors(target["expr"]):
            if one.span and one.span != "$__rate_interval":
                yield f"{title}: [{one.span}] of {one.name}"


def target_job(dashboard: Dashboard) -> typing.Iterator[str]:
    for title, target in targets(dashboard):
        for one in selectors(target["expr"]):
            if 'lab="$lab"' not in one.matchers:
                yield f'{title}: {one.name} has no lab="$lab"'


def target_instance(dashboard: Dashboard) -> typing.Iterator[str]:
    for title, target in targets(dashboard):
        for one in selectors(target["expr"]):
            for matcher in one.matchers:
                if matcher.startswith("node") and matcher != 'node=~"$node"':
                    yield f"{title}: {matcher}"


def target_counter_agg(dashboard: Dashboard) -> typing.Iterator[str]:
    for title, target in targets(dashboard):
        for one in selectors(target["expr"]):
            if one.name.endswith("_total") and not (
                one.span and one.function in {"rate", "irate", "increase"}
            ):
                yield f"{title}: {one.name} is a counter without rate, irate or increase"


def uneditable(dashboard: Dashboard) -> typing.Iterator[str]:
    if dashboard["editable"]:
        yield "it is editable"


def set_in(*path: typing.Any) -> typing.Callable[[Dashboard], None]:
    """A change that sets the value at a path; the last element of `path` is the value."""

    def change(dashboard: Dashboard) -> None:
        *way, key, value = path
        place: typing.Any = dashboard
        for step in way:
            place = place[step]
        place[key] = value

    return change


def first_query(text: str) -> typing.Callable[[Dashboard], None]:
    return set_in("panels", 1, "targets", 0, "expr", text)


# Each rule by its name in the linter, with a change that breaks it. The first panel is a row.
RULES: dict[str, tuple[Rule, typing.Callable[[Dashboard], None]]] = {
    "template-datasource-rule": (
        template_datasource,
        set_in("templating", "list", 0, "name", "source"),
    ),
    "template-job-rule": (template_job, set_in("templating", "list", 1, "name", "job")),
    "template-instance-rule": (
        template_instance,
        set_in("templating", "list", 2, "allValue", ".*"),
    ),
    "template-label-promql-rule": (
        template_label_promql,
        set_in("templating", "list", 1, "query", "query", "up"),
    ),
    "template-on-time-change-reload-rule": (
        template_on_time_change_reload,
        set_in("templating", "list", 2, "refresh", 1),
    ),
    "panel-datasource-rule": (
        panel_datasource,
        set_in("panels", 1, "datasource", "uid", "halab-prometheus"),
    ),
    "panel-title-description-rule": (
        panel_title_description,
        set_in("panels", 1, "description", ""),
    ),
    "panel-units-rule": (
        panel_units,
        set_in("panels", 1, "fieldConfig", "defaults", "unit", "second"),
    ),
    "panel-no-targets-rule": (panel_no_targets, set_in("panels", 1, "targets", [])),
    "target-logql-rule": (
        target_logql,
        set_in("panels", 1, "targets", 0, "datasource", "type", "loki"),
    ),
    "target-logql-auto-rule": (
        target_logql,
        set_in("panels", 1, "targets", 0, "datasource", "type", "loki"),
    ),
    "target-promql-rule": (target_promql, first_query("")),
    "target-rate-interval-rule": (
        target_rate_interval,
        first_query('sum by (a) (rate(x{lab="$lab"}[1m]))'),
    ),
    "target-job-rule": (target_job, first_query('x{lab="$lab"} + on (node) y')),
    "target-instance-rule": (target_instance, first_query('x{lab="$lab", node="redis-a"}')),
    "target-counter-agg-rule": (target_counter_agg, first_query('sum(x_total{lab="$lab"})')),
    "uneditable-dashboard": (uneditable, set_in("editable", True)),
}


def main(files: list[str]) -> int:
    dashboards = {file: json.loads(pathlib.Path(file).read_text()) for file in files}
    for name, (rule, broken) in RULES.items():
        example = copy.deepcopy(next(iter(dashboards.values())))
        broken(example)
        if not list(rule(example)):
            sys.exit(f"{name} does not detect a dashboard that breaks it")
    problems = [
        f"{file}: {name}: {problem}"
        for file, dashboard in dashboards.items()
        for name, (rule, _) in RULES.items()
        for problem in rule(dashboard)
    ]
    print("\n".join(problems), file=sys.stderr, end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
