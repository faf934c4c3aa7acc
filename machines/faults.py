"""Faults that the tests must see. Each is a small change of what goes onto guests' disks, such as a
plausible edit would make.

A fault names the tests that turn red by it, the claim at which, and a part of the failure's text. A test
that fails otherwise, or passes, has not seen it. `./lab machines faults` runs them.
"""

import re
import shutil
import typing
from dataclasses import dataclass
from pathlib import Path

from .disk import FIREWALL
from .errors import Trouble
from .units import SECRETS

KINDS = ("unit", "firewall", "credential", "boot order")
# No wait of a run with a fault is longer. `--control` shows that the tests pass with this limit, and a
# failure by the limit alone would lack the text that the fault is known by.
LIMIT_SECONDS = 90
UNITS = "etc/systemd/system"
FIREWALL_FILE = FIREWALL.lstrip("/")
SECRETS_FOLDER = SECRETS.lstrip("/")


@dataclass(frozen=True)
class Edit:
    """Of a file: a text that is there once, or more often, becomes another."""

    path: str
    old: str
    new: str

    def apply(self, root: Path, other: Path) -> None:
        file = root / self.path
        text = file.read_text()
        if self.old not in text:
            raise Trouble(
                f"the fault changes {self.old!r} in {self.path}, which does not have it",
                "machines/faults.py has to follow",
            )
        file.write_text(text.replace(self.old, self.new))


@dataclass(frozen=True)
class Absent:
    """A file or a link that is not there."""

    path: str

    def apply(self, root: Path, other: Path) -> None:
        (root / self.path).unlink()


@dataclass(frozen=True)
class Added:
    """A file that is not there otherwise."""

    path: str
    text: str

    def apply(self, root: Path, other: Path) -> None:
        (root / self.path).parent.mkdir(parents=True, exist_ok=True)
        with (root / self.path).open("x") as file:
            file.write(self.text)


@dataclass(frozen=True)
class OfAnotherLab:
    """A secret that was made for another lab, `other` being the folder of that one's."""

    secret: str

    def apply(self, root: Path, other: Path) -> None:
        path = root / SECRETS_FOLDER / self.secret
        before = path.read_bytes()
        shutil.copy(other / self.secret, path)
        if path.read_bytes() == before:
            raise Trouble(f"{self.secret} is the same in two labs")


Change = Edit | Absent | Added | OfAnotherLab


@dataclass(frozen=True)
class Seen:
    """How a test sees a fault."""

    claim: str
    # A regular expression, found in what the test fails with.
    reason: str


@dataclass(frozen=True)
class Fault:
    name: str
    kind: str
    what: str
    machines: tuple[str, ...]
    changes: tuple[Change, ...]
    # By test.
    seen: typing.Mapping[str, Seen]

    def apply(self, machine: str, root: Path, other: Path) -> None:
        """To what comes onto a machine's disk; `other` is the folder with another lab's secrets."""
        if machine in self.machines:
            for change in self.changes:
                change.apply(root, other)


@dataclass(frozen=True)
class Failure:
    """Of a test: the claim under way, and what the script raised."""

    claim: str
    reason: str
    traceback: str


def judge(expected: Seen, failure: Failure | None) -> str | None:
    """Why a fault is not seen as it must be; None: it is."""
    if failure is None:
        return "the test passed"
    if failure.claim != expected.claim:
        return f"the test failed at another claim: {failure.claim!r}, not {expected.claim!r}"
    if not re.search(expected.reason, failure.reason):
        return f"the test failed for another reason: {failure.reason!r} has no {expected.reason!r}"
    return None


# What is seen of a lab that has nothing but the fault: on a machine that is too slow for its limits
# more is wrong, and a node that does not answer in time proves nothing.
REFUSED = r"\(cannot connect to [\d.:]+: Connection refused"
ONLY_A = r"redis-a primary, redis-b unreachable; problems: redis-b is not reachable " + REFUSED
ONLY_SENTINEL_3 = r"primary, redis-[ab] replica; problems: sentinel-3 is not reachable " + REFUSED
WITHOUT_TWO = ONLY_A + r".*; sentinel-2 is not reachable " + REFUSED
NEVER_SENTINEL_3 = (
    r"redis-a primary, redis-b replica; problems: sentinel-1 does not know sentinel-3; sentinel-2 does not know sentinel-3; "
    r"sentinel-3 is not reachable " + REFUSED
)
NO_SYNC = r"redis-a primary, redis-b replica; problems: redis-b is not in sync"

# Claims, as the scripts of nix/tests have them.
HEALTHY = "the lab comes up: one primary, its replica in sync, three Sentinels that agree"
UP = "the lab comes up, and is written to"
CLOSED = "the lab's ports are open to its own machines, and closed to any other address"
BACK = "the crashed machine comes back as a promotable replica, and the lab may lose a node again"
WHOLE = "both are back without anybody's help, and the lab is whole again"
RESTARTED = "the replica's node is killed with its server: its unit starts it again"
STOPPED = "stopping the primary's unit hands over first"
ALL_CRASHED = "all machines crash at once, and start: the promoted node is still primary"
LEDGER = "writing goes on, with the ledger of before"
SCRAPED = "Prometheus reaches every node, the writer and the exporters"
EXPORTER = "the firewall lets another machine reach Prometheus, and not redis_exporter, which it alone asks"

FAULTS = (
    Fault(
        "unit-of-another-node",
        "unit",
        "the unit of sentinel-3 starts sentinel-2, whose address another machine has",
        ("three",),
        (Edit(f"{UNITS}/halab-sentinel@.service", "halab node %i", "halab node sentinel-2"),),
        {"failover": Seen(HEALTHY, NEVER_SENTINEL_3)},
    ),
    Fault(
        "sentinel-not-restarted",
        "unit",
        "the unit of sentinel-3 has Restart=no",
        ("three",),
        (Edit(f"{UNITS}/halab-sentinel@.service", "Restart=always", "Restart=no"),),
        {"failover": Seen(WHOLE, ONLY_SENTINEL_3)},
    ),
    Fault(
        "data-node-not-restarted",
        "unit",
        "the units of data nodes have Restart=no",
        ("one", "two"),
        (Edit(f"{UNITS}/halab-data-node@.service", "Restart=on-abnormal", "Restart=no"),),
        {"failover": Seen(RESTARTED, r"problems: redis-[ab] is not reachable " + REFUSED)},
    ),
    Fault(
        "server-ends-with-its-node",
        "unit",
        "the units of data nodes have KillMode=control-group: a stop ends the server before its node has handed over",
        ("one", "two"),
        (Edit(f"{UNITS}/halab-data-node@.service", "KillMode=mixed", "KillMode=control-group"),),
        {"handover": Seen(STOPPED, r"grep -q 'handed over'")},
    ),
    Fault(
        "data-not-kept",
        "unit",
        "the state of data nodes is in /run, which a boot empties",
        ("one", "two"),
        (
            Edit(f"{UNITS}/halab-data-node@.service", "StateDirectory", "RuntimeDirectory"),
            Edit(f"{UNITS}/halab-data-node@.service", "HALAB_STATE=/var/lib/", "HALAB_STATE=/run/"),
        ),
        {"cold-restart": Seen(ALL_CRASHED, r".")},
    ),
    Fault(
        "ledger-not-continued",
        "unit",
        "the writer begins a new run at each start, without --continue",
        ("three",),
        (Edit(f"{UNITS}/halab-writer.service.d/rate.conf", " --continue", ""),),
        {"cold-restart": Seen(LEDGER, r"records are acknowledged; last seen: 0 bytes more")},
    ),
    Fault(
        "cadvisors-that-are-not-there",
        "unit",
        "Prometheus is told of cAdvisors, of which there are none",
        ("three",),
        (Absent(f"{UNITS}/halab-prometheus.service.d/cadvisors.conf"),),
        {"monitoring": Seen(SCRAPED, r"nothing is down: .*; last seen: \{'': [1-9]")},
    ),
    Fault(
        "firewall-without-a-sentinel",
        "firewall",
        "the set of the lab's addresses on two lacks that of sentinel-3",
        ("two",),
        (Edit(FIREWALL_FILE, " 192.0.2.23,", ""),),
        {
            "failover": Seen(
                HEALTHY,
                r"redis-a primary, redis-b replica; problems: sentinel-3 could not promote redis-b$",
            )
        },
    ),
    Fault(
        "firewall-without-the-replica",
        "firewall",
        "the set of the lab's addresses on one lacks that of redis-b",
        ("one",),
        (Edit(FIREWALL_FILE, " 192.0.2.12,", ""),),
        {
            "failover": Seen(HEALTHY, NO_SYNC),
            "handover": Seen(UP, NO_SYNC),
            "cold-restart": Seen(UP, NO_SYNC),
        },
    ),
    Fault(
        "firewall-without-the-first-primary",
        "firewall",
        "the set of the lab's addresses on two lacks that of redis-a",
        ("two",),
        (Edit(FIREWALL_FILE, " 192.0.2.11,", ""),),
        {
            "failover": Seen(
                BACK, r"redis-a replica, redis-b primary; problems: redis-a is not in sync"
            )
        },
    ),
    Fault(
        "firewall-with-an-open-port",
        "firewall",
        "the rule of the lab's ports on one lacks that of Sentinels",
        ("one",),
        (Edit(FIREWALL_FILE, " 26379,", ""),),
        {
            "failover": Seen(
                CLOSED, r"which is not of the lab, \['sentinel-1:26379'\] take connections"
            )
        },
    ),
    Fault(
        "firewall-without-the-exporter",
        "firewall",
        "the rule that closes redis_exporter's port is not there on three",
        ("three",),
        (Edit(FIREWALL_FILE, "tcp dport 9121 drop", ""),),
        {
            "monitoring": Seen(
                EXPORTER, r"another machine reaches \['monitoring:9090', 'monitoring:9121'\]"
            )
        },
    ),
    Fault(
        "password-of-another-lab",
        "credential",
        "two has another lab's password for replication",
        ("two",),
        (OfAnotherLab("replication"),),
        {"failover": Seen(HEALTHY, r"different passwords for the user replica")},
    ),
    Fault(
        "password-file-missing",
        "credential",
        "two lacks the file with the Sentinels' password",
        ("two",),
        (Absent(f"{SECRETS_FOLDER}/sentinel"),),
        {"failover": Seen(HEALTHY, WITHOUT_TWO), "cold-restart": Seen(UP, WITHOUT_TWO)},
    ),
    Fault(
        "certificate-of-another-ca",
        "credential",
        "the certificate of redis-b is signed by another lab's CA",
        ("two",),
        (OfAnotherLab("node-redis-b.pem"),),
        {"handover": Seen(UP, ONLY_A)},
    ),
    Fault(
        "exporter-password-of-another-lab",
        "credential",
        "redis_exporter has another lab's password",
        ("three",),
        (OfAnotherLab("exporter"),),
        {"monitoring": Seen(SCRAPED, r"each server answers redis_exporter")},
    ),
    Fault(
        "data-node-not-enabled",
        "boot order",
        "the unit of redis-b does not start with its machine",
        ("two",),
        (Absent(f"{UNITS}/multi-user.target.wants/halab-data-node@redis-b.service"),),
        {
            "failover": Seen(HEALTHY, ONLY_A),
            "handover": Seen(UP, ONLY_A),
            "cold-restart": Seen(UP, ONLY_A),
        },
    ),
    Fault(
        "data-nodes-before-the-network",
        "boot order",
        "the network is a minute late, as with a slow DHCP server, and the units of data nodes do not wait for it",
        ("one", "two"),
        (
            # Without that the addresses are there before any unit of the lab starts. Shipped units wait.
            Added(
                f"{UNITS}/systemd-networkd.service.d/late.conf",
                "[Service]\nExecStartPre=/bin/sleep 60\n",
            ),
            Edit(f"{UNITS}/halab-data-node@.service", "After=network-online.target ", "After="),
            Edit(f"{UNITS}/halab-data-node@.service", "Wants=network-online.target", ""),
        ),
        {"failover": Seen(HEALTHY, r"problems: .*redis-a is not reachable " + REFUSED)},
    ),
    Fault(
        "firewall-not-loaded",
        "boot order",
        "nftables.service does not start with two",
        ("two",),
        (Absent(f"{UNITS}/sysinit.target.wants/nftables.service"),),
        {"failover": Seen(CLOSED, r"which is not of the lab, \['redis-b:6379'")},
    ),
    Fault(
        "prometheus-not-enabled",
        "boot order",
        "the unit of Prometheus does not start with its machine",
        ("three",),
        (Absent(f"{UNITS}/multi-user.target.wants/halab-prometheus.service"),),
        {"monitoring": Seen(SCRAPED, r"nothing is down: .*; last seen: None")},
    ),
)


@dataclass(frozen=True)
class Run:
    """A test on machines with a fault."""

    fault: Fault
    test: str
    expected: Seen


def runs_of(names: list[str], test: str | None = None) -> list[Run]:
    """With the faults named, or all if none is; of that test only, if it is given. Never none."""
    by_name = {fault.name: fault for fault in FAULTS}
    for name in names:
        if name not in by_name:
            raise Trouble(f"there is no fault {name!r}", f"there are: {', '.join(by_name)}")
    faults = [by_name[name] for name in names] or FAULTS
    runs = [
        Run(fault, by, expected)
        for fault in faults
        for by, expected in fault.seen.items()
        if test in (None, by)
    ]
    if not runs:
        raise Trouble(
            f"{test} need not see {' or '.join(names)}",
            "./lab machines faults --list has what sees which",
        )
    return runs


def table(runs: list[Run]) -> str:
    """What `--list` prints."""
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
