"""Runs a script of nix/tests on machines of this project, with what NixOS' test driver would give it.

A script there is made of parts, one after the other: which node is on which machine, what dashboards ask, driver/lab.py, and its
own test.py; nix/tests/driver/machines.nix puts them together for NixOS, `script_of` here.
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

from .errors import Trouble
from .faults import Failure, Seen, judge
from .guests import GUESTS, Variant
from .machine import Machine
from .report import Steps, say
from .site import ROOT, Site

TESTS = ROOT / "nix/tests"
# By scripts of nix/tests; the others of this project follow a page of docs.
SCRIPTS = ("failover", "handover", "cold-restart", "monitoring")
NAMES = (*SCRIPTS, "hosts")
# Twice what a test may take on emulated machines that have two cores for themselves. A hang ends here.
TEST_SECONDS = 50 * 60
SECONDS = {"hosts": 100 * 60}
# What is asked of a machine after a failure may hang as well.
LEFT_SECONDS = 120.0
# What a failed test leaves of each machine, by file name.
EVIDENCE = {
    "journal.txt": "journalctl --no-pager -o short-precise",
    "units.txt": "systemctl list-units --all --no-pager; systemctl --failed --no-pager",
    "status.txt": "halab status --json || true",
    "network.txt": "ip address; ip -s link; ss -tn",
    "processes.txt": "ps axo pid,ppid,stat,rss,time,args",
}


def hosts_line() -> str:
    """Which node, and which part of the lab, is on which machine."""
    of = {node: guest.name for guest in GUESTS for node in guest.nodes}
    of |= {
        part: guest.name
        for guest in GUESTS
        for part in ("writer", "monitoring")
        if getattr(guest, part)
    }
    return "hosts = {" + ", ".join(f'"{node}": {name}' for node, name in of.items()) + "}\n"


def panel_queries(panel: dict[str, typing.Any]) -> list[str]:
    """What a panel asks, and those in it."""
    own = [target["expr"] for target in panel.get("targets", [])]
    return own + [query for inner in panel.get("panels", []) for query in panel_queries(inner)]


def queries_line() -> str:
    """What the dashboards ask, with Grafana's variables as it would fill them in."""
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
    """The ports that the firewall of these machines closes to addresses that are not of the lab, as
    PART:PORT; without those of the monitoring, which one test has."""
    lab = tomllib.loads((ROOT / "lab.toml").read_text())
    ports = lab["monitoring"]
    closed = [
        f"{node['name']}:{port}"
        for node in lab["data_node"] + lab["sentinel"]
        for port in (node["port"], ports["node_port"])
    ]
    closed.append(f"writer:{ports['writer_port']}")
    return f"CLOSED_TO_STRANGERS: list[str] = {json.dumps(closed)}\n"


def given_lines() -> str:
    """What a script finds before driver/lab.py."""
    return hosts_line() + queries_line() + closed_line()


def script_of(test: str, limit: float | None = None) -> str:
    """No wait of it is longer than `limit` seconds."""
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
    """Raises what the script does."""
    reach = {
        **machines,
        "machines": list(machines.values()),
        "start_all": start_all,
        "subtest": steps.step,
    }
    # As with NixOS, one file; its name is for tracebacks, which then show its lines.
    source = script_of(test, limit)
    exec(compile(source, f"<nix/tests/{test}>", "exec"), {"__name__": "__main__", **reach})


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
                said = machine.execute(command, timeout=LEFT_SECONDS)[1]
            except AssertionError as silence:
                (own / file).write_text(f"{silence}\n")
                break
            (own / file).write_text(said)


@dataclass(frozen=True)
class Trial:
    """One run of a test."""

    test: str
    site: Site
    act: Callable[[Steps], None]
    # The failure that a fault has to cause.
    expected: Seen | None = None


def attempt(trial: Trial, steps: Steps) -> Failure | None:
    """None: every claim of the test holds."""
    limit = SECONDS.get(trial.test, TEST_SECONDS)

    def too_long(*_: object) -> None:
        raise AssertionError(f"the test has not ended after {limit} s")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(limit)
    try:
        trial.site.start_switch()
        trial.act(steps)
    except Exception as problem:  # whatever the script raises is a claim that does not hold
        return Failure(steps.failed() or "", str(problem), traceback.format_exc())
    finally:
        signal.alarm(0)
    return None


def run_test(trial: Trial, failed: Path) -> bool:
    """Whether every claim of the test holds; with an expected failure, whether it fails by that. The
    machines are gone afterwards in any case."""
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
            f"{test} {'DID NOT SEE the fault' if expected else 'FAILED'}, {seconds:.0f} s; what its machines said is in {folder}"
        )
        return False
    if failure is not None:
        say(f"{test} sees the fault, {seconds:.0f} s: {failure.reason.strip()}")
        return True
    say(f"{test}: all {len(steps.done)} claims hold, {seconds:.0f} s")
    return True


def variant_of(test: str) -> Variant:
    """What a test has otherwise, as its default.nix says it for NixOS."""
    return Variant(tls=test == "handover", monitoring=test == "monitoring")


def known(tests: list[str]) -> list[str]:
    """All of them where none is named."""
    for test in tests:
        if test not in NAMES:
            raise Trouble(f"there is no test {test!r}", f"there are: {', '.join(NAMES)}")
    return tests or list(NAMES)
