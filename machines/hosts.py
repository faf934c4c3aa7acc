"""The test `hosts`: runs every block of commands of docs/hosts.md, in order, on three Debian hosts.

The commands are the page's own text. This module adds the manual steps of the page (turn the host
on again), the expected result of each block, and two negative controls: a deleted record, and an
address outside the lab.
"""

import json
import os
import re
import shlex
import sys
import typing
from collections.abc import Callable

from .errors import LabError
from .guests import EMULATED, GUESTS
from .hostsite import HostSite
from .page import Page
from .report import Steps, say
from .shell import Answer
from .site import ROOT
from .workstation import Host, Workstation

# The part of the scripts of nix/tests that queries a lab and evaluates the answers.
sys.path.insert(0, str(ROOT / "nix/tests/driver"))
from lab import BOOT_SECONDS, LEDGER, LEDGER_PROGRESS_BYTES, Lab, grown, wait  # noqa: E402

PAGE = ROOT / "docs/hosts.md"
# Limits of the writer of a block, and of Prometheus reaching all targets.
BLOCK_SECONDS = 600.0
TARGETS_SECONDS = 60.0
# Limit of one query, and the query: an HTTP request by the shell alone.
QUERY_SECONDS = 20
QUERY_TARGETS = r"""exec 3<>/dev/tcp/192.0.2.31/9090
printf 'GET /api/v1/query?query=max_over_time(up%%5B1m%%5D) HTTP/1.0\r\n\r\n' >&3
cat <&3"""
# Five nodes, the writer, redis_exporter's metrics of the five nodes, and Prometheus.
TARGETS = 12
UNITS: dict[str, tuple[str, ...]] = {
    "one": ("halab-data-node@redis-a", "halab-sentinel@sentinel-1"),
    "two": ("halab-data-node@redis-b", "halab-sentinel@sentinel-2"),
    "three": ("halab-sentinel@sentinel-3",),
}
HOST_OF = {"redis-a": "one", "redis-b": "two"}
# Addresses of the page beside a host's own.
ADDRESSES = {
    "one": ("192.0.2.11", "192.0.2.21"),
    "two": ("192.0.2.12", "192.0.2.22"),
    "three": ("192.0.2.23", "192.0.2.31", "192.0.2.41"),
}
# Ports of the page, with the addresses of nodes on hosts one and two that listen at them.
LISTENERS = {
    6379: ("192.0.2.11", "192.0.2.12"),
    26379: ("192.0.2.21", "192.0.2.22"),
    9400: ("192.0.2.11", "192.0.2.21"),
}
FOREIGN_ADDRESS = "192.0.2.99"
SSH_PORT = 22
# Folders that a removal keeps and a purge removes.
KEPT_FOLDERS = ("/var/lib/redis-ha-lab", "/var/lib/private/redis-ha-lab", "/etc/redis-ha-lab")
LIST_KEPT = "cd / && find var/lib/private/redis-ha-lab etc/redis-ha-lab -type f -exec sha256sum {} + | sort -k 2"
# Some of the files there, by host, as a control of the list.
KEPT_FILES = {
    "one": ("etc/redis-ha-lab/lab.toml", "etc/redis-ha-lab/secrets/node-redis-a.pem"),
    "two": ("etc/redis-ha-lab/lab.toml", "etc/redis-ha-lab/secrets/node-redis-b.pem"),
    "three": (
        "etc/redis-ha-lab/secrets/writer",
        "var/lib/private/redis-ha-lab/writer/writer.ledger",
    ),
}
# Limit of a connection to a host that answers.
CONNECT_SECONDS = 10


def with_emulated_limits(lab_toml: str, tls: bool = True) -> str:
    """The page's lab.toml with time limits for emulated processors."""
    added = "".join(
        f"\n[{table}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
        for table, keys in EMULATED.items()
    )
    return (
        lab_toml if tls else re.sub(r"^tls = true", "tls = false", lab_toml, flags=re.MULTILINE)
    ) + added


def tls_is_wanted() -> bool:
    """Whether to use TLS, as the page does. LAB_MACHINES_TLS=no turns it off for slow machines, on
    which a handshake takes longer than a node's limit."""
    setting = os.environ.get("LAB_MACHINES_TLS", "yes")
    if setting not in ("yes", "no"):
        raise LabError(f"LAB_MACHINES_TLS is {setting!r}", "set it to yes or no")
    if setting == "no":
        say("LAB_MACHINES_TLS=no: the hosts run without TLS, unlike the page")
    return setting == "yes"


def verified_counts(verified: str) -> dict[str, int]:
    """The number of acknowledged records, by data node; only of nodes whose verdict is holds."""
    parts = re.findall(
        r"^\w+: holds: (\S+), run \w+.*\n(?:.*\n)*?  acknowledged +(\d+)",
        verified,
        flags=re.MULTILINE,
    )
    return {node: int(count) for node, count in parts}


def require_unchanged(by: str, before: dict[str, str], now: dict[str, str]) -> None:
    """Raises if a file of a host, in lists of hashes and paths, is another one or missing."""
    different = [
        f"{name}: {line.split('  ', 1)[1]}"
        for name in before
        for line in sorted(set(before[name].splitlines()) ^ set(now[name].splitlines()))
    ]
    if different:
        raise AssertionError(f"{by} has changed {', '.join(dict.fromkeys(different))}")


def addresses_in(shown: str) -> list[str]:
    """The addresses in the output of `ip -o address`, each as often as it is there."""
    return sorted(re.findall(r" inet ([\d.]+)/", shown))


class Series(typing.TypedDict):
    """One series in Prometheus' answer to a query."""

    metric: dict[str, str]
    value: tuple[float, str]


def series_of(answer: str) -> list[Series]:
    """The series in the HTTP response to a query; none if it is incomplete."""
    _, _, body = answer.replace("\r\n", "\n").partition("\n\n")
    try:
        result: list[Series] = json.loads(body)["data"]["result"]
    except (ValueError, KeyError):
        return []
    return result


def targets_down(answer: list[Series]) -> list[str]:
    """The series of a query of `up` that are not 1."""
    down = [series["metric"] for series in answer if series["value"][1] != "1"]
    return [f"{metric['job']} at {metric['instance']}" for metric in down]


class Walkthrough:
    def __init__(self, site: HostSite, page: Page) -> None:
        self.site = site
        self.page = page
        self.workstation: Workstation = site.workstation
        self.one, self.two, self.three = (
            typing.cast(Host, site.machines[name]) for name in ("one", "two", "three")
        )
        self.lab = Lab(self.three)

    def on_workstation(self, heading: str) -> Answer:
        """Run the page's next block on the workstation."""
        block = self.page.next(heading)
        return self.require_success(self.workstation.run(block), block)

    def on_three(self, heading: str) -> Answer:
        block = self.page.next(heading)
        return self.require_success(self.workstation.run_on("three", block), block)

    def require_success(self, answer: Answer, commands: str) -> Answer:
        if answer.status != 0:
            raise AssertionError(
                f"status {answer.status} of:\n{commands}\n{answer.output}{answer.errors}"
            )
        return answer

    def verify(self, ledger: str) -> dict[str, int]:
        """Verify on both data nodes; fails if a record is missing."""
        counts = verified_counts(self.three.succeed(f"halab verify --ledger {ledger}"))
        self.check_both_nodes(counts)
        return counts

    def check_both_nodes(self, counts: dict[str, int]) -> None:
        if counts.keys() != HOST_OF.keys():
            raise AssertionError(f"verify holds for {counts}, not for both data nodes")

    def make_package_and_lab(self) -> None:
        self.on_workstation("The lab")
        lab = self.workstation.work / "hosts/lab.toml"
        shipped = lab.read_text()
        lab.write_text(with_emulated_limits(shipped))
        self.on_workstation("The lab")
        # Without TLS the page's certificates are made and copied too, and nothing uses them.
        lab.write_text(with_emulated_limits(shipped, tls_is_wanted()))

    def install(self) -> None:
        self.on_workstation("The lab")
        for machine in self.site.machines.values():
            machine.fail("systemctl is-active redis-server")

    def give_addresses(self) -> None:
        """A repeated block changes nothing. The addresses are there after a new start of the
        network too, and the host's own address stays the source of its other connections."""
        block = self.page.next("The lab")
        for _ in range(2):
            self.require_success(self.workstation.run(block), block)
        for guest in GUESTS:
            machine = self.site.machines[guest.name]
            # ssh uses another card.
            machine.succeed("ifdown eth1 && ifup eth1")
            given = addresses_in(machine.succeed("ip -4 -o address show dev eth1"))
            if given != sorted([guest.address, *ADDRESSES[guest.name]]):
                raise AssertionError(f"addresses of {guest.name}: {given}")
            source = machine.succeed(f"ip -o route get {FOREIGN_ADDRESS}")
            if f" src {guest.address} " not in source:
                raise AssertionError(f"{guest.name} does not connect from its address: {source}")

    def start_nodes(self) -> None:
        self.on_workstation("The lab")
        for name, units in UNITS.items():
            for unit in units:
                self.site.machines[name].wait_for_unit(unit)

    def verify_first_records(self) -> None:
        counts = verified_counts(self.on_three("The lab").output)
        if counts != {"redis-a": 1000, "redis-b": 1000}:
            raise AssertionError(f"verified: {counts}")

    def crash_under_load(self) -> None:
        self.make_redis_a_primary()
        block = self.page.next("A crash")
        writer = self.workstation.begin_on("three", block)
        self.lab.wait_writes("second.ledger")
        self.on_workstation("A crash")
        self.one.wait_for_shutdown()
        self.require_success(self.workstation.finish(writer, block, BLOCK_SECONDS), block)
        if self.lab.status().primary != "redis-b":
            raise AssertionError("redis-b is not primary: there was no failover")
        self.one.start()
        self.check_both_nodes(verified_counts(self.on_three("A crash").output))

    def loss_is_detected(self) -> None:
        self.three.succeed(
            "\n".join(
                [
                    f'redis() {{ halab cli {self.lab.status().primary} -e "$@"; }}',
                    # Records only: the lab keeps other keys too.
                    "key=$(redis --scan --pattern 'halab:*:*' | head -n 1 || true)",
                    'redis DEL "$key" | grep -qx 1',
                    "missed=0",
                    "for ledger in first second; do",
                    "  code=0; halab verify --ledger $ledger.ledger >&2 || code=$?",
                    "  [ $code -ne 1 ] || missed=$((missed + 1))",
                    "done",
                    "[ $missed -eq 1 ]",
                ]
            )
        )

    def writer_continues(self) -> None:
        self.on_three("A writer that stays")
        self.lab.wait_writes()
        before = self.lab.wait_healthy()
        assert before.primary is not None
        lost = self.site.machines[HOST_OF[before.primary]]
        lost.crash()
        # Stopped while there is no primary, so that the outcome of some records is unknown.
        self.three.succeed("systemctl stop halab-writer")
        ended = self.three.succeed(
            "systemctl show --property=ActiveState,ExecMainStatus --value halab-writer"
        ).split()
        if sorted(ended) != ["3", "inactive"]:
            raise AssertionError(f"state of a writer stopped with unknown records: {ended}")
        self.lab.wait_failover(before)
        self.three.succeed("systemctl start halab-writer")
        self.lab.wait_writes()
        lost.start()
        self.lab.wait_healthy()
        self.three.succeed("systemctl stop halab-writer")
        self.verify(LEDGER)
        self.three.succeed("systemctl start halab-writer")

    def reached(self, listeners: list[str]) -> set[str]:
        """The listeners (ADDRESS/PORT) that accept a connection from host three, from the source
        address of its routes."""
        attempts = [
            f"(! timeout {CONNECT_SECONDS} bash -c ': </dev/tcp/{at}' 2>/dev/null || echo {at}) &"
            for at in listeners
        ]
        return set(self.three.succeed("\n".join([*attempts, "wait"])).split())

    def foreign_address_is_refused(self) -> None:
        listeners = [
            f"{address}/{port}" for port, addresses in LISTENERS.items() for address in addresses
        ]
        if missing := set(listeners) - self.reached(listeners):
            raise AssertionError(f"host three does not reach {missing}")
        asked = {address for addresses in LISTENERS.values() for address in addresses}
        self.three.succeed(
            f"ip address add {FOREIGN_ADDRESS}/24 dev eth1",
            *(
                f"ip route add {address}/32 dev eth1 src {FOREIGN_ADDRESS}"
                for address in sorted(asked)
            ),
        )
        # The control: sshd, whose port is not the lab's, answers, so a refusal is the firewall's.
        control = [f"{address}/{SSH_PORT}" for address in sorted(asked)]
        answered = self.reached(control)
        accepted = self.reached(listeners)
        self.three.succeed(
            f"ip address del {FOREIGN_ADDRESS}/24 dev eth1",
            *(f"ip route del {address}/32 || true" for address in sorted(asked)),
        )
        if missing := set(control) - answered:
            raise AssertionError(f"{FOREIGN_ADDRESS} does not reach {missing}: its route is broken")
        if accepted:
            raise AssertionError(f"{FOREIGN_ADDRESS}, outside the lab, reaches {accepted}")
        if missing := set(listeners) - self.reached(listeners):
            raise AssertionError(f"host three no longer reaches {missing}")

    def all_targets_are_up(self) -> None:
        self.on_three("Monitoring")
        # Not by promtool: its start takes an emulated processor for half a minute, and scrapes of
        # that time fail.
        ask = f"timeout {QUERY_SECONDS} bash -c {shlex.quote(QUERY_TARGETS)}"

        def query() -> list[Series]:
            status, answer = self.three.execute(ask)
            return series_of(answer) if status == 0 else []

        wait(
            "every target of Prometheus is up",
            TARGETS_SECONDS * self.lab.slowness,
            query,
            lambda seen: len(seen) == TARGETS and not targets_down(seen),
            lambda seen: f"{len(seen)} targets, not up: {'; '.join(targets_down(seen)) or 'none'}",
        )
        if not self.site.kvm:
            # Scrapes with TLS take most of an emulated host: its Sentinel enters TILT, and then the
            # lab is not healthy. No later block is about monitoring.
            self.three.succeed("systemctl stop halab-prometheus halab-redis-exporter")

    def upgrade(self) -> None:
        self.make_redis_a_primary()
        pids = self.pids()
        self.on_workstation("Upgrade")
        self.lab.wait_writes()
        before = self.lab.ledger_bytes()
        self.on_workstation("Upgrade")
        if same := pids & self.pids():
            raise AssertionError(f"not restarted: {same}")
        for machine in self.site.machines.values():
            version = machine.succeed("dpkg-query -W -f '${Version}' redis-ha-lab")
            if not version.endswith("-2"):
                raise AssertionError(f"{machine.name} has {version}")
        self.lab.wait_writes()
        # Records from before the upgrade may have been in flight.
        if not grown(before + LEDGER_PROGRESS_BYTES, self.lab.ledger_bytes()):
            raise AssertionError("the ledger has hardly grown during the upgrade")
        output = self.three.succeed(
            "systemctl stop halab-writer && journalctl -b -u halab-writer -o cat | tail -n 8"
        )
        if " failed 0 " not in output:
            raise AssertionError(f"writes failed:\n{output}")
        self.verify(LEDGER)
        self.three.succeed("systemctl start halab-writer")

    def make_redis_a_primary(self) -> None:
        """The page expects redis-a as primary; an earlier crash may have changed that."""
        self.lab.wait_healthy()
        if self.lab.status().primary != "redis-a":
            self.three.succeed("halab handover")
        if (now := self.lab.wait_healthy()).primary != "redis-a":
            raise AssertionError(f"redis-a is not primary after a handover: {now.brief()}")

    def pids(self) -> set[str]:
        return {
            f"{name}: {unit} {self.site.machines[name].succeed(f'systemctl show --property=MainPID --value {unit}').strip()}"
            for name, units in UNITS.items()
            for unit in units
        }

    def kept_files(self) -> dict[str, str]:
        """The files that a removal keeps on each host, with their hashes. Nothing may run."""
        listed = {name: machine.succeed(LIST_KEPT) for name, machine in self.site.machines.items()}
        for name, files in listed.items():
            if missing := [path for path in KEPT_FILES[name] if f"  {path}\n" not in files]:
                raise AssertionError(f"{name} has no {', '.join(missing)}")
        return listed

    def stop_all(self) -> None:
        # The writer runs until the page stops it, and the page's loop begins with the primary's
        # host: a replica that is promoted meanwhile would acknowledge records alone.
        self.make_redis_a_primary()
        self.lab.wait_writes()
        self.on_three("Remove")
        self.on_workstation("Remove")

    def remove_and_reinstall(self) -> None:
        before = self.kept_files()
        self.on_workstation("Remove")
        for machine in self.site.machines.values():
            machine.fail("command -v halab")
        require_unchanged("the removal", before, self.kept_files())
        for machine in self.site.machines.values():
            machine.succeed(
                'DEBIAN_FRONTEND=noninteractive apt-get install -y "$(ls -v ./redis-ha-lab_*.deb | tail -n 1)"'
            )
        require_unchanged("the installation", before, self.kept_files())
        # One copy alone has every record.
        one_copy = UNITS | {"two": ("halab-sentinel@sentinel-2",)}
        for name, units in one_copy.items():
            self.site.machines[name].succeed(f"systemctl start {' '.join(units)}")
        self.lab.wait_until(
            "redis-a is primary without redis-b",
            lambda seen: seen.primary == "redis-a" and seen.roles["redis-a"] == "primary",
            BOOT_SECONDS * self.lab.slowness,
        )
        alone = verified_counts(self.three.succeed(f"halab verify --ledger {LEDGER}"))
        if alone.keys() != {"redis-a"}:
            raise AssertionError(f"verify holds for {alone}, not for redis-a alone")
        self.two.succeed("systemctl start halab-data-node@redis-b")
        self.lab.wait_healthy()
        self.verify(LEDGER)

    def purge(self) -> None:
        self.on_workstation("Remove")
        for machine in self.site.machines.values():
            for folder in KEPT_FOLDERS:
                machine.fail(f"ls -d {folder}")

    def run(self, steps: Steps) -> None:
        def step(claim: str, act: Callable[[], object]) -> None:
            with steps.step(claim):
                act()

        def power_on() -> None:
            self.site.start()
            for machine in self.site.machines.values():
                machine.connect()
            self.lab.measure([self.one, self.two, self.three])

        step("three Debian hosts are up and accept ssh", power_on)
        step(
            "1, 2: the package is made, lab.toml is valid, the secrets are made",
            self.make_package_and_lab,
        )
        step(
            "3: the package is installed on all hosts, and Debian's Redis does not run",
            self.install,
        )
        step("4: the nodes have their addresses, also after a repetition", self.give_addresses)
        step(
            "5: the firewall and the kernel settings are in place",
            lambda: self.on_workstation("The lab"),
        )
        step("6: the nodes are started", self.start_nodes)
        step("7: a thousand records are verified on both data nodes", self.verify_first_records)
        step("a host crashes under load: no acknowledged record is lost", self.crash_under_load)
        step("negative control: verify reports a deleted record", self.loss_is_detected)
        step(
            "the writer's unit, stopped during a crash of the primary's host, is no failure and continues",
            self.writer_continues,
        )
        step("the firewall refuses an address outside the lab", self.foreign_address_is_refused)
        step("monitoring: every target is up", self.all_targets_are_up)
        step(
            "upgrade: every node restarts with the new package and no write fails",
            self.upgrade,
        )
        step("every node is stopped as one act", self.stop_all)
        step(
            "remove keeps the data: after reinstallation one copy alone has every record",
            self.remove_and_reinstall,
        )
        step("purge, answered with yes, removes the data", self.purge)
        self.page.assert_finished()


def run(site: HostSite, steps: Steps) -> None:
    Walkthrough(site, Page(PAGE.read_text())).run(steps)
