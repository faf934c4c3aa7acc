"""The test `hosts`: docs/hosts.md, followed on three Debian hosts from its first block of commands
to its last.

The commands are the page's own text. This module has what the page says in words (turn the host on
again; writes go on), the expected result of each block, and two controls: a record that is removed,
and an address that is not of the lab.
"""

import os
import re
import sys
import typing
from collections.abc import Callable

from .desk import Desk, Host
from .errors import Trouble
from .guests import EMULATED
from .hostsite import HostSite
from .page import Page
from .report import Steps, say
from .shell import Answer
from .site import ROOT

# The part of the scripts of nix/tests that asks a lab and judges its answers.
sys.path.insert(0, str(ROOT / "nix/tests/driver"))
from lab import LEDGER, LEDGER_PROGRESS_BYTES, Lab, grown, wait  # noqa: E402

PAGE = ROOT / "docs/hosts.md"
# How long the writer of a block may take, and Prometheus to reach all targets.
BLOCK_SECONDS = 600.0
TARGETS_SECONDS = 60.0
# Five nodes and the writer by themselves, what redis_exporter says of the five, and Prometheus.
TARGETS = 12
UNITS = {
    "one": ("halab-data-node@redis-a", "halab-sentinel@sentinel-1"),
    "two": ("halab-data-node@redis-b", "halab-sentinel@sentinel-2"),
    "three": ("halab-sentinel@sentinel-3",),
}
HOST_OF = {"redis-a": "one", "redis-b": "two"}
# Of ports that the page names, where nodes on other hosts than three listen.
LISTENERS = {
    6379: ("192.0.2.11", "192.0.2.12"),
    26379: ("192.0.2.21", "192.0.2.22"),
    9400: ("192.0.2.11", "192.0.2.21"),
}
STRANGER = "192.0.2.99"
# How long a connection may take on a host that answers.
CONNECT_SECONDS = 10


def slower(lab_toml: str, tls: bool = True) -> str:
    """The page's lab.toml with time limits for emulated processors: a user of slow hosts would add the same."""
    added = "".join(
        f"\n[{table}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
        for table, keys in EMULATED.items()
    )
    return (
        lab_toml if tls else re.sub(r"^tls = true", "tls = false", lab_toml, flags=re.MULTILINE)
    ) + added


def wants_tls() -> bool:
    """As the page has it, unless LAB_MACHINES_TLS says no: where a machine has little of a core, a
    handshake takes longer than nodes wait for it."""
    told = os.environ.get("LAB_MACHINES_TLS", "yes")
    if told not in ("yes", "no"):
        raise Trouble(f"LAB_MACHINES_TLS is {told!r}", "it may be yes or no")
    if told == "no":
        say("LAB_MACHINES_TLS=no: the lab of the hosts is without TLS, unlike that of the page")
    return told == "yes"


def held(verified: str) -> dict[str, int]:
    """Of each data node that has all acknowledged records, how many these are."""
    parts = re.findall(
        r"^\w+: holds: (\S+), run \w+.*\n(?:.*\n)*?  acknowledged +(\d+)",
        verified,
        flags=re.MULTILINE,
    )
    return {node: int(count) for node, count in parts}


def down(series: list[str]) -> list[str]:
    """Of what promtool says of `up`, the series that are not 1."""
    return [line for line in series if not re.search(r"=> 1 @", line)]


class Story:
    def __init__(self, site: HostSite, page: Page) -> None:
        self.site = site
        self.page = page
        self.desk: Desk = site.desk
        self.one, self.two, self.three = (
            typing.cast(Host, site.machines[name]) for name in ("one", "two", "three")
        )
        self.lab = Lab(self.three)

    def yours(self, heading: str) -> Answer:
        """The next block, on your machine."""
        block = self.page.next(heading)
        return self.right(self.desk.run(block), block)

    def on_three(self, heading: str) -> Answer:
        block = self.page.next(heading)
        return self.right(self.desk.run_on("three", block), block)

    def right(self, answer: Answer, commands: str) -> Answer:
        if answer.status != 0:
            raise AssertionError(
                f"status {answer.status} of:\n{commands}\n{answer.output}{answer.errors}"
            )
        return answer

    def verified(self, ledger: str) -> dict[str, int]:
        """Fails where one is missing; on both data nodes."""
        said = held(self.three.succeed(f"halab verify --ledger {ledger}"))
        self.on_both(said)
        return said

    def on_both(self, said: dict[str, int]) -> None:
        if said.keys() != HOST_OF.keys():
            raise AssertionError(f"verify holds for {said}, not for both data nodes")

    def package_and_lab(self) -> None:
        self.yours("The lab")
        lab = self.desk.work / "hosts/lab.toml"
        lab.write_text(slower(lab.read_text(), wants_tls()))
        self.yours("The lab")

    def start_nodes(self) -> None:
        self.yours("The lab")
        for name, units in UNITS.items():
            for unit in units:
                self.site.machines[name].wait_for_unit(unit)

    def first_thousand(self) -> None:
        said = held(self.on_three("The lab").output)
        if said != {"redis-a": 1000, "redis-b": 1000}:
            raise AssertionError(f"verified: {said}")

    def crash_under_load(self) -> None:
        self.as_the_page_says()
        block = self.page.next("A crash")
        writer = self.desk.begin_on("three", block)
        self.lab.wait_writes("second.ledger")
        self.yours("A crash")
        self.one.wait_for_shutdown()
        self.right(self.desk.finish(writer, block, BLOCK_SECONDS), block)
        if self.lab.status().primary != "redis-b":
            raise AssertionError("no failover was needed")
        self.one.start()
        self.on_both(held(self.on_three("A crash").output))

    def a_loss_is_found(self) -> None:
        self.three.succeed(
            "\n".join(
                [
                    f'redis() {{ halab cli {self.lab.status().primary} -e "$@"; }}',
                    # Of records alone: the lab keeps other keys there too.
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

    def writer_goes_on(self) -> None:
        self.on_three("A writer that stays")
        self.lab.wait_writes()
        before = self.lab.wait_healthy()
        assert before.primary is not None
        lost = self.site.machines[HOST_OF[before.primary]]
        lost.crash()
        # While there is no primary, so that it leaves records unknown.
        self.three.succeed("systemctl stop halab-writer")
        ended = self.three.succeed(
            "systemctl show --property=ActiveState,ExecMainStatus --value halab-writer"
        ).split()
        if sorted(ended) != ["3", "inactive"]:
            raise AssertionError(f"a writer that was stopped while records were unknown is {ended}")
        self.lab.wait_failover(before)
        self.three.succeed("systemctl start halab-writer")
        self.lab.wait_writes()
        lost.start()
        self.lab.wait_healthy()
        self.three.succeed("systemctl stop halab-writer")
        self.verified(LEDGER)
        self.three.succeed("systemctl start halab-writer")

    def reached(self, listeners: list[str]) -> set[str]:
        """Which of these (ADDRESS/PORT) take a connection from host three; from the source address
        of its routes."""
        attempts = [
            f"(! timeout {CONNECT_SECONDS} bash -c ': </dev/tcp/{at}' 2>/dev/null || echo {at}) &"
            for at in listeners
        ]
        return set(self.three.succeed("\n".join([*attempts, "wait"])).split())

    def stranger_is_refused(self) -> None:
        listeners = [
            f"{address}/{port}" for port, addresses in LISTENERS.items() for address in addresses
        ]
        if missing := set(listeners) - self.reached(listeners):
            raise AssertionError(f"host three does not reach {missing}")
        asked = {address for addresses in LISTENERS.values() for address in addresses}
        self.three.succeed(
            f"ip address add {STRANGER}/24 dev eth1",
            *(f"ip route add {address}/32 dev eth1 src {STRANGER}" for address in sorted(asked)),
        )
        let_in = self.reached(listeners)
        self.three.succeed(
            f"ip address del {STRANGER}/24 dev eth1",
            *(f"ip route del {address}/32 || true" for address in sorted(asked)),
        )
        if let_in:
            raise AssertionError(f"{STRANGER}, which is not of the lab, reaches {let_in}")
        if missing := set(listeners) - self.reached(listeners):
            raise AssertionError(f"host three does not reach {missing} any more")

    def all_is_watched(self) -> None:
        self.on_three("Monitoring")
        ask = "promtool query instant http://192.0.2.31:9090 up"

        def asked() -> list[str]:
            status, said = self.three.execute(ask)
            return said.splitlines() if status == 0 else []

        wait(
            "every target of Prometheus is up",
            TARGETS_SECONDS * self.lab.slowness,
            asked,
            lambda said: len(said) == TARGETS and not down(said),
            lambda said: f"{len(said)} targets, not up: {'; '.join(down(said)) or 'none'}",
        )

    def upgrade(self) -> None:
        self.as_the_page_says()
        pids = self.pids()
        self.right(self.desk.run("./lab package --output hosts --revision 2"), "a newer package")
        self.lab.wait_writes()
        before = self.lab.ledger_bytes()
        self.yours("Upgrade")
        if same := pids & self.pids():
            raise AssertionError(f"not restarted: {same}")
        for machine in self.site.machines.values():
            version = machine.succeed("dpkg-query -W -f '${Version}' redis-ha-lab")
            if not version.endswith("-2"):
                raise AssertionError(f"{machine.name} has {version}")
        self.lab.wait_writes()
        # Those before the upgrade may have been in flight.
        if not grown(before + LEDGER_PROGRESS_BYTES, self.lab.ledger_bytes()):
            raise AssertionError("next to nothing was written meanwhile")
        said = self.three.succeed(
            "systemctl stop halab-writer && journalctl -b -u halab-writer -o cat | tail -n 8"
        )
        if " failed 0 " not in said:
            raise AssertionError(f"writes have failed:\n{said}")
        self.verified(LEDGER)

    def as_the_page_says(self) -> None:
        """redis-a is primary: a crash before may have made it the other."""
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

    def data(self) -> str:
        list_all = "cd / && find var/lib/private/redis-ha-lab/redis-* etc/redis-ha-lab -type f -exec sha256sum {} + | sort"
        return self.one.succeed(list_all) + self.two.succeed(list_all)

    def removed_and_back(self) -> None:
        self.on_three("Remove")
        self.yours("Remove")
        for machine in self.site.machines.values():
            machine.fail("command -v halab")
        before = self.data()
        for machine in self.site.machines.values():
            machine.succeed(
                'DEBIAN_FRONTEND=noninteractive apt-get install -y "$(ls -v ./redis-ha-lab_*.deb | tail -n 1)"'
            )
        if self.data() != before:
            raise AssertionError("a removal or an installation has changed data")
        for name, units in UNITS.items():
            self.site.machines[name].succeed(f"systemctl start {' '.join(units)}")
        self.lab.wait_healthy()
        self.verified(LEDGER)

    def purged(self) -> None:
        self.yours("Remove")
        for machine in self.site.machines.values():
            machine.fail("ls -d /var/lib/redis-ha-lab /var/lib/private/redis-ha-lab")
            machine.fail("ls -d /etc/redis-ha-lab")

    def tell(self, steps: Steps) -> None:
        def step(claim: str, act: Callable[[], object]) -> None:
            with steps.step(claim):
                act()

        def power_on() -> None:
            self.site.start()
            for machine in self.site.machines.values():
                machine.connect()
            self.lab.measure([self.one, self.two, self.three])

        step("three Debian hosts are up, and let in by ssh", power_on)
        step(
            "1, 2: the package is made, the lab is a good one and has its secrets",
            self.package_and_lab,
        )
        step("3: it is installed on all of them", lambda: self.yours("The lab"))
        step("4: the nodes have their addresses", lambda: self.yours("The lab"))
        step(
            "5: the ports are closed to strangers, and the kernel is set",
            lambda: self.yours("The lab"),
        )
        step("6: the nodes are started", self.start_nodes)
        step("7: a thousand records are verified on both data nodes", self.first_thousand)
        step("a host crashes under load, as the page says: nothing is lost", self.crash_under_load)
        step("a record that is taken away is missed", self.a_loss_is_found)
        step(
            "the writer's unit: stopped amid a crash of the primary's host it has not failed, and goes on",
            self.writer_goes_on,
        )
        step("an address that is not of the lab is refused", self.stranger_is_refused)
        step("monitoring: every target is up", self.all_is_watched)
        step(
            "upgrade: every node is restarted with the new package, and no write fails",
            self.upgrade,
        )
        step(
            "remove keeps the data: installed again, the lab has every record",
            self.removed_and_back,
        )
        step("purge, answered with yes, leaves none of it", self.purged)
        self.page.ended()


def tell(site: HostSite, steps: Steps) -> None:
    Story(site, Page(PAGE.read_text())).tell(steps)
