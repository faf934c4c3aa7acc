"""What the VM tests ask of a lab, from the machine of its writer.

Stands before each test script, in one file with it. What judges is pure (`Status`, `grown`), and has a unit
test beside it; what acts takes a `Host`, of which the test driver's machines are ones.
"""

import json
import pathlib
import shlex
import time
import typing
from dataclasses import dataclass

# With KVM: a machine boots in half a minute, and its nodes find each other.
BOOT_SECONDS = 150
# Down-after, an election and a second one.
FAILOVER_SECONDS = 60
# How long a shell counts to 20,000 with KVM; limits are longer where it takes longer, up to so many times.
COUNT = "i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done"
COUNT_SECONDS = 0.15
SLOWEST = 8.0
# The ledger grows by about 10 bytes a batch, and no more batches are in flight than connections times in_flight
# of lab.toml (64). So this much is not in flight any more: it was acknowledged.
LEDGER_PROGRESS_BYTES = 2000
LEDGER = "/var/lib/redis-ha-lab/writer/writer.ledger"
# How often a wait reports what it waits for.
REPORT_SECONDS = 30
PAUSE_SECONDS = 0.5
# No wait is longer. Shorter in a run with a fault: such a run waits once for what never comes
# (docs/machines.md).
LIMIT_SECONDS = float("inf")
# What the firewall drops gets no answer. An emulated machine takes a second to start these programs.
CONNECT_SECONDS = 4
# The last number of an address that nothing of the lab has.
STRANGER = 250

Seen = typing.TypeVar("Seen")


def unit_of(node: str) -> str:
    """The unit of a node of the shipped lab.toml, on the node's machine."""
    kind = "sentinel" if node.startswith("sentinel-") else "data-node"
    return f"halab-{kind}@{node}.service"


class Host(typing.Protocol):
    """The part of the test driver's machine that is used here."""

    def succeed(self, *commands: str) -> str: ...

    def execute(self, command: str) -> tuple[int, str]: ...


class Disk(typing.Protocol):
    """The same, of a machine that is off."""

    name: str
    state_dir: pathlib.Path


@dataclass(frozen=True)
class Status:
    """What `halab status --json` says."""

    primary: str | None
    epoch: int
    healthy: bool
    roles: dict[str, str]
    problems: tuple[str, ...]

    @staticmethod
    def parse(text: str) -> "Status":
        said: dict[str, typing.Any] = json.loads(text)
        named = said["primary"]
        return Status(
            primary=named["node"] if named else None,
            epoch=named["epoch"] if named else -1,
            healthy=said["healthy"],
            roles={
                node["name"]: node["up"]["role"] if "up" in node else "unreachable"
                for node in said["data_nodes"]
            },
            problems=tuple(
                problem["what"] + (f" ({problem['cause']})" if problem["cause"] else "")
                for problem in said["problems"]
            ),
        )

    def brief(self) -> str:
        """One line for the log of a wait."""
        named = f"primary {self.primary} at epoch {self.epoch}" if self.primary else "no primary"
        roles = ", ".join(f"{name} {role}" for name, role in self.roles.items())
        return f"{named}; {roles}; problems: {'; '.join(self.problems) or 'none'}"

    def others(self) -> list[str]:
        """The data nodes that are not primary."""
        return [name for name in self.roles if name != self.primary]

    def failed_over_from(self, before: "Status") -> bool:
        """Whether another node is primary, named by a majority and by itself."""
        return (
            self.primary is not None
            and self.primary != before.primary
            and self.epoch > before.epoch
            and self.roles[self.primary] == "primary"
        )


def grown(before: int, now: int) -> bool:
    """Whether a ledger of that many bytes has had records acknowledged since."""
    return now - before >= LEDGER_PROGRESS_BYTES


def samples(text: str) -> dict[str, float]:
    """What Prometheus answers to an instant query: the value of each series, by the label `node`, else `lab`."""
    said: dict[str, typing.Any] = json.loads(text)
    if said["status"] != "success":
        raise AssertionError(text)
    return {
        series["metric"].get("node", series["metric"].get("lab", "")): float(series["value"][1])
        for series in said["data"]["result"]
    }


def alerts(text: str) -> set[str]:
    """The names of the alerts in Prometheus' answer."""
    said: dict[str, typing.Any] = json.loads(text)
    if said["status"] != "success":
        raise AssertionError(text)
    return {series["metric"]["alertname"] for series in said["data"]["result"]}


def frames(text: str) -> int:
    """How many values Grafana's data source has answered with."""
    said: dict[str, typing.Any] = json.loads(text)
    return sum(
        len(column)
        for result in said["results"].values()
        for frame in result.get("frames", [])
        for column in frame["data"]["values"]
    )


def slowness(seconds: float) -> float:
    """How many times longer than with KVM anything takes on a machine whose counting loop takes that long."""
    return min(SLOWEST, max(1.0, seconds / COUNT_SECONDS))


def connecting(targets: typing.Iterable[str], source: str = "") -> str:
    """A command that connects to each PART:PORT at the same time and sends nothing, from an address of
    this machine. `connected` reads what it prints."""
    from_it = f"--interface {source} " if source else ""
    curl = f"curl -s --max-time {CONNECT_SECONDS} {from_it}"
    each = [
        f"{{ {curl}-w '%{{time_connect}} {target}\\n' telnet://{target} </dev/null || true; }} &"
        for target in targets
    ]
    return "\n".join([*each, "wait"])


def connected(text: str) -> set[str]:
    """Which targets took the connection: it took a time."""
    lines = [line.split() for line in text.splitlines()]
    return {target for seconds, target in lines if float(seconds) > 0}


Same = typing.TypeVar("Same")


def unique(machines: typing.Iterable[Same]) -> list[Same]:
    """Each once, as several nodes may be on one."""
    return list(dict.fromkeys(machines))


def renew_disk(machine: Disk) -> None:
    """Of a machine that is off; at its start it gets a new one."""
    [disk] = [
        *machine.state_dir.glob(f"{machine.name}.qcow2"),
        *machine.state_dir.glob(f"{machine.name}.img"),
    ]
    disk.unlink()


def wait(
    what: str,
    seconds: float,
    look: typing.Callable[[], Seen],
    holds: typing.Callable[[Seen], bool],
    brief: typing.Callable[[Seen], str] = str,
) -> Seen:
    """Looks until it holds. Every 30 s it prints what it waits for, and what it sees instead."""
    seconds = min(seconds, LIMIT_SECONDS)
    began = reported = next_look = time.monotonic()
    while not holds(seen := look()):
        now = time.monotonic()
        if now - began > seconds:
            raise AssertionError(f"not so after {seconds:.0f} s: {what}; last seen: {brief(seen)}")
        if now - reported >= REPORT_SECONDS:
            print(
                f"waiting since {now - began:.0f} s, of {seconds:.0f} s: {what}; now: {brief(seen)}",
                flush=True,
            )
            reported = now
        # To look costs a slow machine time that it needs for what is waited for.
        pause = max(PAUSE_SECONDS, now - next_look)
        next_look = now + pause
        time.sleep(pause)
    return seen


class Lab:
    """A lab, seen from the machine of its writer."""

    def __init__(self, writer: Host) -> None:
        self.writer = writer
        self.slowness = 1.0

    def measure(self, machines: typing.Iterable[Host]) -> None:
        """Waits until the machines are there, and sees how slow they are; limits of waits follow it."""
        for machine in unique(machines):
            machine.succeed("true")
            began = time.monotonic()
            machine.succeed(COUNT)
            self.slowness = max(self.slowness, slowness(time.monotonic() - began))
        print(f"limits of waits are {self.slowness:.1f} times those with KVM", flush=True)

    def status(self) -> Status:
        # Its exit code says whether the lab is healthy; the text is there either way.
        return Status.parse(self.writer.execute("halab status --json")[1])

    def wait_until(
        self, what: str, holds: typing.Callable[[Status], bool], seconds: float
    ) -> Status:
        return wait(what, seconds, self.status, holds, Status.brief)

    def wait_healthy(self) -> Status:
        return self.wait_until(
            "the lab is healthy", lambda s: s.healthy, BOOT_SECONDS * self.slowness
        )

    def wait_failover(self, before: Status) -> Status:
        return self.wait_until(
            f"another node than {before.primary} is primary",
            lambda s: s.failed_over_from(before),
            FAILOVER_SECONDS * self.slowness,
        )

    def ledger_bytes(self, ledger: str = LEDGER) -> int:
        code, size = self.writer.execute(f"stat -c %s {ledger}")
        return int(size) if code == 0 else 0

    def wait_writes(self, ledger: str = LEDGER) -> None:
        """Until records are acknowledged that were sent after this was called."""
        before = self.ledger_bytes(ledger)
        wait(
            "records are acknowledged",
            FAILOVER_SECONDS * self.slowness,
            lambda: self.ledger_bytes(ledger),
            lambda now: grown(before, now),
            lambda now: f"{now - before} bytes more in the ledger; {self.status().brief()}",
        )

    def reached(self, source: Host, targets: typing.Iterable[str]) -> set[str]:
        """Which PART:PORT take a connection from a machine."""
        return connected(source.succeed(connecting(targets)))

    def refuses_strangers(
        self, hosts: typing.Mapping[str, Host], targets: typing.Iterable[str]
    ) -> None:
        """Each PART:PORT takes connections from another machine of the lab, and none from an address on
        that machine that is not of the lab."""
        machines = unique(hosts.values())
        for number, asked in enumerate(machines):
            there = [target for target in targets if hosts[target.split(":")[0]] is asked]
            asking = machines[number - 1]
            taken = self.reached(asking, there)
            assert taken == set(there), (
                f"from an address of the lab, only {sorted(taken)} of {there} take connections"
            )
            peer = there[0].split(":")[0]
            stranger = asking.succeed(
                f"address=$(getent ahostsv4 {peer} | sed -n '1s/ .*//p')\n"
                # Each machine has another, or the next would be sought where the last one was.
                f"stranger=${{address%.*}}.{STRANGER + number}\n"
                "device=$(ip -o route get $address | sed 's/.* dev \\([^ ]*\\) .*/\\1/')\n"
                "ip address add $stranger/32 dev $device\n"
                # The control: packets have a way there and back, so it is the firewall that refuses.
                f"ping -c 1 -W {CONNECT_SECONDS} -I $stranger $address >&2\n"
                "echo $stranger $device"
            ).split()
            taken = connected(asking.succeed(connecting(there, stranger[0])))
            asking.succeed(f"ip address del {stranger[0]}/32 dev {stranger[1]}")
            assert not taken, (
                f"from {stranger[0]}, which is not of the lab, {sorted(taken)} take connections"
            )

    def ask_prometheus(self, expression: str) -> str | None:
        """Its answer; None: it does not listen, or not yet."""
        code, text = self.writer.execute(
            f"curl -sS http://monitoring:9090/api/v1/query --data-urlencode {shlex.quote(f'query={expression}')}"
        )
        return text if code == 0 else None

    def query(self, expression: str) -> dict[str, float] | None:
        text = self.ask_prometheus(expression)
        return samples(text) if text is not None else None

    def firing(self) -> set[str] | None:
        """The names of the alerts that fire now."""
        text = self.ask_prometheus('ALERTS{alertstate="firing"}')
        return alerts(text) if text is not None else None

    def wait_firing(self, what: str, holds: typing.Callable[[set[str]], bool]) -> None:
        wait(
            f"alerts that fire: {what}",
            BOOT_SECONDS * self.slowness,
            self.firing,
            lambda seen: seen is not None and holds(seen),
        )

    def wait_query(
        self, what: str, expression: str, holds: typing.Callable[[dict[str, float]], bool]
    ) -> None:
        wait(
            f"{what}: {expression}",
            FAILOVER_SECONDS * self.slowness,
            lambda: self.query(expression),
            lambda seen: seen is not None and holds(seen),
        )

    def has_grafana(self) -> bool:
        """Whether its unit starts with the machine of the monitoring, which is the writer's too."""
        return (
            self.writer.execute(
                "systemctl list-dependencies --plain multi-user.target | grep -q grafana"
            )[0]
            == 0
        )

    def dashboards(self) -> list[str]:
        """The uids of the dashboards that Grafana serves to anyone, each fetched."""
        found = json.loads(
            self.writer.succeed("curl -fsS 'http://monitoring:3000/api/search?type=dash-db'")
        )
        uids = [dashboard["uid"] for dashboard in found]
        for uid in uids:
            self.writer.succeed(
                f"curl -fsS -o /dev/null http://monitoring:3000/api/dashboards/uid/{uid}"
            )
        return uids

    def ask_grafana(self, expression: str) -> int:
        """How many values Grafana's own data source answers with."""
        query = {
            "from": "now-1m",
            "to": "now",
            "queries": [
                {
                    "refId": "A",
                    "datasource": {"uid": "halab-prometheus", "type": "prometheus"},
                    "expr": expression,
                    "instant": True,
                }
            ],
        }
        return frames(
            self.writer.succeed(
                "curl -fsS http://monitoring:3000/api/ds/query -H 'Content-Type: application/json'"
                f" --data {shlex.quote(json.dumps(query))}"
            )
        )

    def hand_over(self, before: Status) -> Status:
        """By `halab handover`."""
        code, said = self.writer.execute("halab handover 2>&1")
        if code:
            raise AssertionError(f"halab handover ends with {code}: {said}")
        return self.wait_failover(before)

    def kill_server(self, machine: Host, node: str) -> None:
        """The Redis server alone: what runs it is left."""
        machine.succeed(
            f"pkill -KILL -P $(systemctl show --property=MainPID --value {unit_of(node)})"
        )

    def stop_writing(self) -> str:
        """Ends the writer in order; returns its summary."""
        self.writer.succeed("systemctl stop halab-writer.service")
        return self.writer.succeed("journalctl -b -u halab-writer.service -o cat | tail -n 8")

    def verify(self) -> str:
        """Every acknowledged record, from the primary and from the replica; fails if one is missing."""
        return self.writer.succeed(f"halab verify --ledger {LEDGER}")

    def verify_finds_a_loss(self) -> None:
        """The negative control: one record is taken away, and has to be missed."""
        self.writer.succeed(
            "\n".join(
                [
                    "primary=$(halab status --json | jq -r .primary.node)",
                    'redis() { halab cli "$primary" -e "$@"; }',
                    "key=$(redis RANDOMKEY)",
                    'redis DEL "$key" | grep -qx 1',
                    f"code=0; halab verify --ledger {LEDGER} >&2 || code=$?",
                    "[ $code -eq 1 ]",
                ]
            )
        )
