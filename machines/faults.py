"""Faults that the tests must detect. Each is a small change of the files on guests' disks, as a
plausible mistake would make it.

A fault names the tests that must fail, the claim at which each fails, and a part of the failure's
text. A test that passes, or fails otherwise, has not detected the fault. `./lab machines faults`
runs them.
"""

import re
import shutil
import typing
from dataclasses import dataclass
from pathlib import Path

from .disk import FIREWALL, FIREWALL_UNIT
from .errors import LabError
from .units import SECRETS

KINDS = ("unit", "firewall", "credential", "boot order")
# The limit of every wait in a run with a fault. `--control` shows that the tests pass with this
# limit; a failure by the limit alone would lack the expected text.
LIMIT_SECONDS = 90
UNITS = "etc/systemd/system"
FIREWALL_FILE = FIREWALL.lstrip("/")
SECRETS_FOLDER = SECRETS.lstrip("/")


@dataclass(frozen=True)
class Edit:
    """Replaces a text in a file; the text must be there."""

    path: str
    old: str
    new: str

    def apply(self, root: Path, other: Path) -> None:
        file = root / self.path
        text = file.read_text()
        if self.old not in text:
            raise LabError(
                f"the fault changes {self.old!r} in {self.path}, which does not contain it",
                "update machines/faults.py",
            )
        file.write_text(text.replace(self.old, self.new))


@dataclass(frozen=True)
class Removal:
    """Removes a file or a link."""

    path: str

    def apply(self, root: Path, other: Path) -> None:
        (root / self.path).unlink()


@dataclass(frozen=True)
class ForeignSecret:
    """Replaces a secret by that of another lab, whose secrets are in the folder `other`."""

    secret: str

    def apply(self, root: Path, other: Path) -> None:
        path = root / SECRETS_FOLDER / self.secret
        before = path.read_bytes()
        shutil.copy(other / self.secret, path)
        if path.read_bytes() == before:
            raise LabError(f"{self.secret} is the same in two labs")


Change = Edit | Removal | ForeignSecret


@dataclass(frozen=True)
class ExpectedFailure:
    """The failure by which a test detects a fault."""

    claim: str
    # A regular expression, searched in the failure's text.
    reason: str


@dataclass(frozen=True)
class Fault:
    name: str
    kind: str
    what: str
    machines: tuple[str, ...]
    changes: tuple[Change, ...]
    # By test.
    expected: typing.Mapping[str, ExpectedFailure]

    def apply(self, machine: str, root: Path, other: Path) -> None:
        """Change the files of a machine's disk; `other` is the folder with another lab's
        secrets."""
        if machine in self.machines:
            for change in self.changes:
                change.apply(root, other)


@dataclass(frozen=True)
class Failure:
    """A test's failure: the claim that failed and the exception."""

    claim: str
    reason: str
    traceback: str


def judge(expected: ExpectedFailure, failure: Failure | None) -> str | None:
    """Why the fault was not detected; None if it was."""
    if failure is None:
        return "the test passed"
    if failure.claim != expected.claim:
        return f"the test failed at another claim: {failure.claim!r}, not {expected.claim!r}"
    if not re.search(expected.reason, failure.reason):
        return f"the test failed for another reason: {failure.reason!r} has no {expected.reason!r}"
    return None


# The problems of a lab with this fault. A machine that is too slow for the limits has other
# problems too, and a timeout proves nothing. So each text of `halab status` has the roles, which
# show that the rest of the lab works. Where a node does not run, the text requires a refused
# connection too; where a rule drops packets, none can be refused.
REFUSED = r"\(cannot connect to [\d.:]+: Connection refused"
ONLY_A = r"redis-a primary, redis-b unreachable; problems: redis-b is not reachable " + REFUSED
ONLY_SENTINEL_3 = (
    r"redis-a (primary|replica), redis-b (primary|replica); problems: sentinel-3 is not reachable "
    + REFUSED
)
WITHOUT_TWO = ONLY_A + r".*; sentinel-2 is not reachable " + REFUSED
NEVER_SENTINEL_3 = (
    r"redis-a primary, redis-b replica; problems: sentinel-1 does not know sentinel-3; sentinel-2 does not know sentinel-3; "
    r"sentinel-3 is not reachable " + REFUSED
)
NO_ANSWER = (
    r"redis-a primary, redis-b parked; problems: redis-b has no role yet "
    r"\(its node waits for an answer of the node that the Sentinels name"
)

# The log of a node and its server, from the last stop of the node on. The handover may follow.
SERVER_FIRST = (
    r"(?s) stopping node=(?!.* stopping node=)((?! handed over ).)*User requested shutdown"
)
# The connection to Prometheus is refused; a timeout has another number.
NO_PROMETHEUS = r"last seen: NoPrometheus\(error=.curl: \(7\) "

# Claims of the scripts in nix/tests.
HEALTHY = "the lab comes up: one primary, its replica in sync, three Sentinels that agree"
UP = "the lab comes up and the writer writes"
CLOSED = "the lab's ports are open to its own machines and closed to any other address"
BACK = "the crashed machine comes back as a promotable replica and the lab is healthy"
WHOLE = "both restart by themselves and the lab is healthy"
RESTARTED = "the replica's node and server are killed: its unit restarts the node"
STOPPED = "stopping the primary's unit hands over first"
KEPT = "writing continues and no acknowledged record is lost, also on the new disk"
LEDGER = "the writer continues with the same ledger"
SCRAPED = "Prometheus reaches every node, the writer and the exporters"
EXPORTER = "the firewall lets another machine reach Prometheus but not redis_exporter"

FAULTS = (
    Fault(
        "unit-of-another-node",
        "unit",
        "the unit of sentinel-3 starts sentinel-2, whose address belongs to another machine",
        ("three",),
        (Edit(f"{UNITS}/halab-sentinel@.service", "halab node %i", "halab node sentinel-2"),),
        {"failover": ExpectedFailure(HEALTHY, NEVER_SENTINEL_3)},
    ),
    Fault(
        "sentinel-not-restarted",
        "unit",
        "the unit of sentinel-3 has Restart=no",
        ("three",),
        (Edit(f"{UNITS}/halab-sentinel@.service", "Restart=always", "Restart=no"),),
        {"failover": ExpectedFailure(WHOLE, ONLY_SENTINEL_3)},
    ),
    Fault(
        "data-node-not-restarted",
        "unit",
        "the units of data nodes have Restart=no",
        ("one", "two"),
        (Edit(f"{UNITS}/halab-data-node@.service", "Restart=on-abnormal", "Restart=no"),),
        {
            "failover": ExpectedFailure(
                RESTARTED,
                r"(redis-a primary, redis-b unreachable|redis-a unreachable, redis-b primary); "
                r"problems: redis-[ab] is not reachable " + REFUSED,
            )
        },
    ),
    Fault(
        "server-ends-with-its-node",
        "unit",
        "the units of data nodes have KillMode=control-group: stop ends the server before handover",
        ("one", "two"),
        (Edit(f"{UNITS}/halab-data-node@.service", "KillMode=mixed", "KillMode=control-group"),),
        {"handover": ExpectedFailure(STOPPED, SERVER_FIRST)},
    ),
    Fault(
        "data-not-kept",
        "unit",
        "the state of data nodes is in /run, which is empty after a boot",
        ("one", "two"),
        (
            Edit(f"{UNITS}/halab-data-node@.service", "StateDirectory", "RuntimeDirectory"),
            Edit(f"{UNITS}/halab-data-node@.service", "HALAB_STATE=/var/lib/", "HALAB_STATE=/run/"),
        ),
        {"cold-restart": ExpectedFailure(KEPT, r"because +acknowledged records lost: \d+")},
    ),
    Fault(
        "ledger-not-continued",
        "unit",
        "the writer starts without --continue: it refuses its ledger, which exists",
        ("three",),
        (Edit(f"{UNITS}/halab-writer.service.d/rate.conf", " --continue", ""),),
        {
            "cold-restart": ExpectedFailure(
                LEDGER,
                r"(?s)records are acknowledged; last seen: 0 bytes more.*the writer: .*"
                r"the ledger \S+ already exists",
            )
        },
    ),
    Fault(
        "cadvisors-that-are-not-there",
        "unit",
        "Prometheus has targets for cAdvisor, which does not run",
        ("three",),
        (Removal(f"{UNITS}/halab-prometheus.service.d/cadvisors.conf"),),
        {
            "monitoring": ExpectedFailure(
                SCRAPED, r"targets by job: .*; last seen: \{.*'cadvisor': [1-9]"
            )
        },
    ),
    Fault(
        "firewall-without-a-sentinel",
        "firewall",
        "the firewall of two does not know the address of sentinel-3",
        ("two",),
        (Edit(FIREWALL_FILE, " 192.0.2.23,", ""),),
        {
            "failover": ExpectedFailure(
                HEALTHY,
                r"redis-a primary, redis-b replica; problems: sentinel-3 could not promote redis-b$",
            )
        },
    ),
    Fault(
        "firewall-without-the-replica",
        "firewall",
        "the firewall of one does not know the address of redis-b",
        ("one",),
        (Edit(FIREWALL_FILE, " 192.0.2.12,", ""),),
        {
            "failover": ExpectedFailure(HEALTHY, NO_ANSWER),
            "handover": ExpectedFailure(UP, NO_ANSWER),
            "cold-restart": ExpectedFailure(UP, NO_ANSWER),
        },
    ),
    Fault(
        "firewall-without-the-first-primary",
        "firewall",
        "the firewall of two does not know the address of redis-a",
        ("two",),
        (Edit(FIREWALL_FILE, " 192.0.2.11,", ""),),
        {
            "failover": ExpectedFailure(
                BACK, r"redis-a replica, redis-b primary; problems: redis-a is not in sync"
            )
        },
    ),
    Fault(
        "firewall-with-an-open-port",
        "firewall",
        "the firewall of one does not close the port of Sentinels",
        ("one",),
        (Edit(FIREWALL_FILE, " 26379,", ""),),
        {
            "failover": ExpectedFailure(
                CLOSED,
                r"\['sentinel-1:26379'\] accept connections from [\d.]+, an address outside the lab",
            )
        },
    ),
    Fault(
        "firewall-without-the-exporter",
        "firewall",
        "the firewall of three does not close the port of redis_exporter",
        ("three",),
        (Edit(FIREWALL_FILE, "tcp dport 9121 drop", ""),),
        {
            "monitoring": ExpectedFailure(
                EXPORTER, r"another machine reaches \['monitoring:9090', 'monitoring:9121'\]"
            )
        },
    ),
    Fault(
        "password-of-another-lab",
        "credential",
        "two has the replication password of another lab",
        ("two",),
        (ForeignSecret("replication"),),
        {
            "failover": ExpectedFailure(
                HEALTHY,
                r"redis-a primary, redis-b [\w-]+; problems: .*different passwords for the user replica",
            )
        },
    ),
    Fault(
        "password-file-missing",
        "credential",
        "the file with the Sentinels' password is missing on two",
        ("two",),
        (Removal(f"{SECRETS_FOLDER}/sentinel"),),
        {
            "failover": ExpectedFailure(HEALTHY, WITHOUT_TWO),
            "cold-restart": ExpectedFailure(UP, WITHOUT_TWO),
        },
    ),
    Fault(
        "certificate-of-another-ca",
        "credential",
        "the certificate of redis-b is signed by another lab's CA",
        ("two",),
        (ForeignSecret("node-redis-b.pem"),),
        {"handover": ExpectedFailure(UP, ONLY_A)},
    ),
    Fault(
        "exporter-password-of-another-lab",
        "credential",
        "three has another lab's password of the user exporter: only its own Sentinel accepts it",
        ("three",),
        (ForeignSecret("exporter"),),
        {
            "monitoring": ExpectedFailure(
                SCRAPED,
                r"redis_exporter reaches every server: .*; last seen: \{'sentinel-3': 1\.0\}",
            )
        },
    ),
    Fault(
        "data-node-not-enabled",
        "boot order",
        "the unit of redis-b is not enabled",
        ("two",),
        (Removal(f"{UNITS}/multi-user.target.wants/halab-data-node@redis-b.service"),),
        {
            "failover": ExpectedFailure(HEALTHY, ONLY_A),
            "handover": ExpectedFailure(UP, ONLY_A),
            "cold-restart": ExpectedFailure(UP, ONLY_A),
        },
    ),
    Fault(
        "firewall-not-loaded",
        "boot order",
        "the firewall's unit is not enabled on two",
        ("two",),
        (Removal(f"{UNITS}/sysinit.target.wants/{FIREWALL_UNIT}"),),
        {
            "failover": ExpectedFailure(
                CLOSED,
                r"\['redis-b:6379'.*\] accept connections from [\d.]+, an address outside the lab",
            )
        },
    ),
    Fault(
        "prometheus-not-enabled",
        "boot order",
        "the unit of Prometheus is not enabled",
        ("three",),
        (Removal(f"{UNITS}/multi-user.target.wants/halab-prometheus.service"),),
        {"monitoring": ExpectedFailure(SCRAPED, r"targets by job: .*; " + NO_PROMETHEUS)},
    ),
)


@dataclass(frozen=True)
class Run:
    """One test on machines with one fault."""

    fault: Fault
    test: str
    expected: ExpectedFailure


def runs_of(names: list[str], test: str | None = None) -> list[Run]:
    """The runs of the faults named (default: all), of one test if given. Never empty."""
    by_name = {fault.name: fault for fault in FAULTS}
    for name in names:
        if name not in by_name:
            raise LabError(f"there is no fault {name!r}", f"there are: {', '.join(by_name)}")
    faults = [by_name[name] for name in names] or FAULTS
    runs = [
        Run(fault, by, expected)
        for fault in faults
        for by, expected in fault.expected.items()
        if test in (None, by)
    ]
    if not runs:
        raise LabError(
            f"{test} is not expected to detect {' or '.join(names)}",
            "./lab machines faults --list shows the tests of each fault",
        )
    return runs


def table(runs: list[Run]) -> str:
    """The output of `--list`."""
    lines = []
    for fault in dict.fromkeys(run.fault.name for run in runs):
        own = [run for run in runs if run.fault.name == fault]
        lines.append(
            f"{fault} ({own[0].fault.kind}; {', '.join(own[0].fault.machines)}): {own[0].fault.what}"
        )
        lines += [
            f"  {run.test}: fails at {run.expected.claim!r}, with {run.expected.reason!r}"
            for run in own
        ]
    return "\n".join([*lines, ""])
