"""Runs a test script of nix/tests on these machines, with the interface of NixOS' test driver.

A script consists of parts in one file: the machine of each node, the dashboards' queries,
driver/lab.py, and the test's own test.py. nix/tests/driver/machines.nix joins them for NixOS,
`script_of` does here.
"""

import json
import shutil
import signal
import time
import tomllib
import traceback
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError
from .faults import Failure, ExpectedFailure, judge
from .guests import GUESTS, Variant
from .machine import Machine
from .report import Steps, say
from .site import ROOT, Site

TESTS = ROOT / "nix/tests"
# Tests that are scripts of nix/tests; the other one follows a page of docs.
SCRIPTS = ("failover", "handover", "cold-restart", "monitoring")
NAMES = (*SCRIPTS, "hosts")
# The limit of a test that hangs: twice the time that a test may take on emulated machines with two
# cores.
TEST_SECONDS = 50 * 60
SECONDS = {"hosts": 100 * 60}
# Limit of each command that collects evidence after a failure.
LEFT_SECONDS = 120.0
# Evidence kept of each machine after a failed test: the command by file name.
EVIDENCE = {
    "journal.txt": "journalctl --no-pager -o short-precise",
    "units.txt": "systemctl list-units --all --no-pager; systemctl --failed --no-pager",
    "status.txt": "halab status --json || true",
    "network.txt": "ip address; ip -s link; ss -tn",
    "processes.txt": "ps axo pid,ppid,stat,rss,time,args",
}


# The script's lines about what these machines lack: docs/machines.md.
# `redis_net_repl_`: of redis_exporter 1.64 and later; Debian 12 has 1.45.
MONITORED = (
    'CADVISORS = 0\nGRAFANA = False\nPROXIES = 0\nNOT_EXPORTED: list[str] = ["redis_net_repl_"]\n'
)


def hosts_line() -> str:
    """The script's line that maps each node and part of the lab to its machine."""
    of = {node: guest.name for guest in GUESTS for node in guest.nodes}
    of |= {
        part: guest.name
        for guest in GUESTS
        for part in ("writer", "proxy", "monitoring")
        if getattr(guest, part)
    }
    return "hosts = {" + ", ".join(f'"{node}": {name}' for node, name in of.items()) + "}\n"


def panel_queries(panel: dict[str, typing.Any]) -> list[str]:
    """The queries of a panel and of the panels in it."""
    own = [target["expr"] for target in panel.get("targets", [])]
    return own + [query for inner in panel.get("panels", []) for query in panel_queries(inner)]


def queries_line() -> str:
    """The script's line with the dashboards' queries, with Grafana's variables filled in."""
    dashboards = [
        json.loads(path.read_text())
        for path in sorted((ROOT / "grafana/dashboards").glob("*.json"))
    ]
    asked = [
        query
        for dashboard in dashboards
        for panel in dashboard["panels"]
        for query in panel_queries(panel)
    ]
    name = tomllib.loads((ROOT / "lab.toml").read_text())["lab"]["name"]
    for variable, value in {"$lab": name, "$node": ".*", "$__rate_interval": "10s"}.items():
        asked = [query.replace(variable, value) for query in asked]
    return f"DASHBOARD_QUERIES = {json.dumps(asked)}\n"


def closed_line() -> str:
    """The script's line with the ports that the firewall closes to addresses outside the lab, as
    PART:PORT; without the ports of the monitoring, which only one test runs."""
    lab = tomllib.loads((ROOT / "lab.toml").read_text())
    ports = lab["monitoring"]
    closed = [
        f"{node['name']}:{port}"
        for node in lab["data_node"] + lab["sentinel"]
        for port in (node["port"], ports["node_port"])
    ]
    closed.append(f"writer:{ports['writer_port']}")
    closed += [f"proxy:{lab['proxy']['port']}", f"proxy:{ports['proxy_port']}"]
    return f"FIREWALLED_PORTS: list[str] = {json.dumps(closed)}\n"


def given_lines() -> str:
    """The lines before driver/lab.py."""
    return hosts_line() + queries_line() + closed_line() + MONITORED


def script_of(test: str, limit: float | None = None) -> str:
    """The whole script of a test; no wait is longer than `limit` seconds."""
    limited = f"LIMIT_SECONDS = {limit}\n" if limit is not None else ""
    return (
        given_lines()
        + (TESTS / "driver/lab.py").read_text()
        + limited
        + (TESTS / test / "test.py").read_text()
    )


def run_script(
    test: str,
    machines: dict[str, Machine],
    start_all: Callable[[], None],
    steps: Steps,
    limit: float | None = None,
) -> None:
    """Runs the script; its exceptions pass through."""
    reach = {
        **machines,
        "machines": list(machines.values()),
        "start_all": start_all,
        "subtest": steps.step,
    }
    # One file, as with NixOS. Tracebacks show its name.
    source = script_of(test, limit)
    names: dict[str, typing.Any] = {"__name__": "__main__", **reach}
    try:
        exec(compile(source, f"<nix/tests/{test}>", "exec"), names)
    finally:
        steps.skipped += names.get("skipped", [])


def keep_evidence(site: Site, steps: Steps, failure: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "failure.txt").write_text(f"{failure}\n{steps.table()}\n")
    for log in site.logs():
        if log.exists():
            shutil.copy(log, folder)
    for name, machine in site.machines.items():
        own = folder / name
        own.mkdir()
        for file in ("console.log", "qemu.log"):
            if (machine.state_dir / file).exists():
                shutil.copy(machine.state_dir / file, own)
        if not machine.booted:
            (own / "off.txt").write_text("This machine is off.\n")
            continue
        for file, command in EVIDENCE.items():
            try:
                output = machine.execute(command, timeout=LEFT_SECONDS)[1]
            except AssertionError as silence:
                (own / file).write_text(f"{silence}\n")
                break
            (own / file).write_text(output)


@dataclass(frozen=True)
class TestRun:
    """A test to run on a site."""

    test: str
    site: Site
    act: Callable[[Steps], None]
    # The failure that the site's fault must cause.
    expected: ExpectedFailure | None = None


def attempt(trial: TestRun, steps: Steps) -> Failure | None:
    """Runs the test; None if every claim holds."""
    limit = SECONDS.get(trial.test, TEST_SECONDS)

    def too_long(*_: object) -> None:
        raise AssertionError(f"the test has not ended after {limit} s")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(limit)
    try:
        trial.site.start_switch()
        trial.act(steps)
    except Exception as problem:  # any exception of the script means that a claim does not hold
        return Failure(steps.failed() or "", str(problem), traceback.format_exc())
    finally:
        signal.alarm(0)
    return None


def run_test(trial: TestRun, failed: Path) -> bool:
    """True if every claim of the test holds; with an expected failure, true if the test fails that
    way. The machines are removed in any case."""
    test, site, expected = trial.test, trial.site, trial.expected
    steps = Steps()
    site.remove()
    site.prepare()
    began = time.monotonic()
    folder = failed / f"{test}-{time.strftime('%Y%m%d-%H%M%S')}"
    try:
        failure = attempt(trial, steps)
        wrong = judge(expected, failure) if expected else failure and failure.traceback
        if wrong:
            print(wrong, flush=True)
            keep_evidence(site, steps, f"{wrong}\n{failure.traceback if failure else ''}", folder)
    finally:
        site.remove()
        print(f"\n{test}, {'with KVM' if site.kvm else 'emulated'}\n{steps.table()}\n", flush=True)
    seconds = time.monotonic() - began
    if wrong:
        say(
            f"{test} {'DID NOT DETECT the fault' if expected else 'FAILED'}, {seconds:.0f} s; "
            f"logs of its machines: {folder}"
        )
        return False
    if failure is not None:
        say(f"{test} detects the fault, {seconds:.0f} s: {failure.reason.strip()}")
        return True
    say(f"{test}: {steps.result()}, {seconds:.0f} s")
    return True


def variant_of(test: str) -> Variant:
    """The settings of a test, as its default.nix has them for NixOS."""
    return Variant(tls=test == "handover", monitoring=test == "monitoring")


def known(tests: list[str]) -> list[str]:
    """The tests named, or all tests if none is."""
    for test in tests:
        if test not in NAMES:
            raise LabError(f"there is no test {test!r}", f"there are: {', '.join(NAMES)}")
    return tests or list(NAMES)
