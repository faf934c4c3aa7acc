"""Queries and actions of the VM tests on a lab, from the machine of its writer.

This file is put before each test script, in one file. Code that evaluates answers is pure
(`Status`, `grown`) and has unit tests beside it. Code that acts takes a `Host`, a protocol that the
test driver's machines implement.
"""

import json
import pathlib
import shlex
import time
import typing
from dataclasses import dataclass

# With KVM: a machine boots in half a minute, and its nodes find each other.
BOOT_SECONDS = 150
# Down-after time, an election, and a second election.
FAILOVER_SECONDS = 60
# A shell counts to 20,000 in COUNT_SECONDS with KVM. Where it takes longer, limits grow by the same
# factor, at most SLOWEST.
COUNT = "i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done"
COUNT_SECONDS = 0.15
SLOWEST = 8.0
# The ledger grows by about 10 bytes per batch. At most connections times in_flight of lab.toml (64)
# batches are in flight, so growth by this size includes acknowledged batches.
LEDGER_PROGRESS_BYTES = 2000
LEDGER = "/var/lib/redis-ha-lab/writer/writer.ledger"
# The interval of a wait's progress messages.
REPORT_SECONDS = 30
# In the log of a Redis or Valkey server that is stopped.
SERVER_STOPS = "User requested shutdown"
PAUSE_SECONDS = 0.5
# The limit of every wait. A run with a fault sets a shorter one: it waits for a condition that is
# never met (docs/machines.md).
LIMIT_SECONDS = float("inf")
# Limit of a connection: a dropped packet gets no answer. An emulated machine takes a second to
# start these programs.
CONNECT_SECONDS = 4
# The time for which no alert may fire on a lab with which nothing is wrong: longer than any `for:`
# of prometheus/rules but that of ten minutes.
QUIET_SECONDS = 35
# A query of a dashboard is answered if its panel would show a line for some of this time: a slow
# machine misses scrapes.
PANEL_SECONDS = 60
# The last number of an address outside the lab.
FOREIGN_ADDRESS = 250

Seen = typing.TypeVar("Seen")

# Claims that these machines cannot test, each with the reason.
skipped: list[tuple[str, str]] = []


def skip(claim: str, reason: str) -> None:
    """Reports a claim that is not tested, in place of its step."""
    skipped.append((claim, reason))
    print(f"skipped: {claim}: {reason}", flush=True)


def unit_of(node: str) -> str:
    """The unit of a node of the shipped lab.toml, on the node's machine."""
    kind = "sentinel" if node.startswith("sentinel-") else "data-node"
    return f"halab-{kind}@{node}.service"


class Host(typing.Protocol):
    """The methods of the test driver's machines that are used here."""

    def succeed(self, *commands: str) -> str: ...

    def execute(self, command: str) -> tuple[int, str]: ...


class Disk(typing.Protocol):
    """The attributes used of a machine that is off."""

    name: str
    state_dir: pathlib.Path


@dataclass(frozen=True)
class Status:
    """The output of `halab status --json`."""

    primary: str | None
    epoch: int
    healthy: bool
    roles: dict[str, str]
    problems: tuple[str, ...]

    @staticmethod
    def parse(text: str) -> "Status":
        answer: dict[str, typing.Any] = json.loads(text)
        named = answer["primary"]
        return Status(
            primary=named["node"] if named else None,
            epoch=named["epoch"] if named else -1,
            healthy=answer["healthy"],
            roles={
                node["name"]: node["up"]["role"] if "up" in node else "unreachable"
                for node in answer["data_nodes"]
            },
            problems=tuple(
                problem["what"] + (f" ({problem['cause']})" if problem["cause"] else "")
                for problem in answer["problems"]
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
        """Whether another node is primary, by the majority of the Sentinels and by its own role."""
        return (
            self.primary is not None
            and self.primary != before.primary
            and self.epoch > before.epoch
            and self.roles[self.primary] == "primary"
        )


def grown(before: int, now: int) -> bool:
    """Whether records were acknowledged since the ledger had `before` bytes."""
    return now - before >= LEDGER_PROGRESS_BYTES


def samples(text: str) -> dict[str, float]:
    """The values in Prometheus' answer to an instant query, by the label `node`, else `job`, else
    `lab`."""
    answer: dict[str, typing.Any] = json.loads(text)
    if answer["status"] != "success":
        raise AssertionError(text)
    return {
        next(
            (
                series["metric"][label]
                for label in ("node", "job", "lab")
                if label in series["metric"]
            ),
            "",
        ): float(series["value"][1])
        for series in answer["data"]["result"]
    }


def alert_labels(text: str) -> list[dict[str, str]]:
    """The labels of each alert in Prometheus' answer."""
    answer: dict[str, typing.Any] = json.loads(text)
    if answer["status"] != "success":
        raise AssertionError(text)
    return [series["metric"] for series in answer["data"]["result"]]


def alert_names(text: str) -> set[str]:
    return {labels["alertname"] for labels in alert_labels(text)}


def alerts_with_targets(text: str) -> set[str]:
    """Each alert with its job and node, such as `TargetDown (redis redis-a)`."""
    return {
        f"{labels['alertname']} ({target})" if target else labels["alertname"]
        for labels in alert_labels(text)
        for target in [" ".join(labels[key] for key in ("job", "node") if key in labels)]
    }


@dataclass(frozen=True)
class NoPrometheus:
    """No answer: the error of curl, such as 7 for a refused connection."""

    error: str


def handed_over_first(log: str) -> bool:
    """Whether a node that was stopped last handed over before its server was stopped, by the log of
    both."""
    ending = log.rpartition(" stopping node=")[2]
    before, handed_over, _ = ending.partition(" handed over ")
    return bool(handed_over) and SERVER_STOPS not in before


def panels_query(queries: typing.Iterable[str]) -> str:
    """One query for all of these: a value for each that had a series within PANEL_SECONDS, with its
    position as the label `position`. One after the other, they take a slow machine's time from what
    they ask for, and the answer with every series is long."""
    return " or ".join(
        f"label_replace(count(last_over_time(({query})[{PANEL_SECONDS}s:5s])), "
        f'"position", "{position}", "", "")'
        for position, query in enumerate(queries)
    )


def positions(text: str) -> "set[int] | NoPrometheus":
    """The positions in the answer to `panels_query`. A slow machine may give none in time."""
    answer: dict[str, typing.Any] = json.loads(text)
    if answer.get("errorType") in ("timeout", "unavailable"):
        return NoPrometheus(text)
    if answer["status"] != "success":
        raise AssertionError(text)
    return {int(series["metric"]["position"]) for series in answer["data"]["result"]}


def count_values(text: str) -> int:
    """The number of values in an answer of Grafana's data source."""
    answer: dict[str, typing.Any] = json.loads(text)
    return sum(
        len(column)
        for result in answer["results"].values()
        for frame in result.get("frames", [])
        for column in frame["data"]["values"]
    )


def slowness(seconds: float) -> float:
    """The factor by which a machine is slower than one with KVM, from the time of its counting
    loop."""
    return min(SLOWEST, max(1.0, seconds / COUNT_SECONDS))


def connect_command(targets: typing.Iterable[str], source: str = "") -> str:
    """A command that connects to each PART:PORT at the same time, from `source` if given, and sends
    nothing. `accepted` parses its output."""
    from_it = f"--interface {source} " if source else ""
    curl = f"curl -s --max-time {CONNECT_SECONDS} {from_it}"
    each = [
        f"{{ {curl}-w '%{{time_connect}} {target}\\n' telnet://{target} </dev/null || true; }} &"
        for target in targets
    ]
    return "\n".join([*each, "wait"])


def accepted(text: str) -> set[str]:
    """The targets that accepted the connection: their connect time is not 0."""
    lines = [line.split() for line in text.splitlines()]
    return {target for seconds, target in lines if float(seconds) > 0}


Same = typing.TypeVar("Same")


def unique(machines: typing.Iterable[Same]) -> list[Same]:
    """Each machine once: several nodes may share one."""
    return list(dict.fromkeys(machines))


def renew_disk(machine: Disk) -> None:
    """Remove the disk of a machine that is off; at its start it gets a new one."""
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
    """Looks until the condition holds. Every 30 s it prints the condition and what it last saw."""
    seconds = min(seconds, LIMIT_SECONDS)
    began = reported = next_look = time.monotonic()
    while not holds(seen := look()):
        now = time.monotonic()
        if now - began > seconds:
            raise AssertionError(f"not met after {seconds:.0f} s: {what}; last seen: {brief(seen)}")
        if now - reported >= REPORT_SECONDS:
            print(
                f"waited {now - began:.0f} s of at most {seconds:.0f} s for: {what}; "
                f"now: {brief(seen)}",
                flush=True,
            )
            reported = now
        # On a slow machine, looking takes time from what the wait is for.
        pause = max(PAUSE_SECONDS, now - next_look)
        next_look = now + pause
        time.sleep(pause)
    return seen


class Lab:
    """A lab, queried from the machine of its writer."""

    def __init__(self, writer: Host) -> None:
        self.writer = writer
        self.slowness = 1.0

    def measure(self, machines: typing.Iterable[Host]) -> None:
        """Waits until the machines answer, and measures their speed; limits of waits follow it."""
        for machine in unique(machines):
            machine.succeed("true")
            began = time.monotonic()
            machine.succeed(COUNT)
            self.slowness = max(self.slowness, slowness(time.monotonic() - began))
        print(f"limits of waits are {self.slowness:.1f} times those with KVM", flush=True)

    def status(self) -> Status:
        # The exit code says whether the lab is healthy; the output is the same either way.
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
        """Wait until records that were sent after this call are acknowledged."""
        before = self.ledger_bytes(ledger)
        wait(
            "records are acknowledged",
            FAILOVER_SECONDS * self.slowness,
            lambda: self.ledger_bytes(ledger),
            lambda now: grown(before, now),
            lambda now: (
                f"{now - before} bytes more in the ledger; {self.status().brief()}"
                + (f"; the writer: {self.writer_log(3)}" if ledger == LEDGER else "")
            ),
        )

    def wait_proxy(self) -> None:
        """Wait until the proxy answers a command from the primary."""

        def serves(seen: tuple[int, str]) -> bool:
            return seen[0] == 0

        wait(
            "the proxy serves",
            FAILOVER_SECONDS * self.slowness,
            lambda: self.writer.execute("halab health proxy"),
            serves,
        )

    def writer_log(self, lines: int) -> str:
        """What the writer has said last, without systemd's messages about its unit."""
        return self.writer.execute(
            f"journalctl -b _SYSTEMD_UNIT=halab-writer.service -o cat | tail -n {lines}"
        )[1].strip()

    def reached(self, source: Host, targets: typing.Iterable[str]) -> set[str]:
        """The targets (PART:PORT) that accept a connection from a machine."""
        return accepted(source.succeed(connect_command(targets)))

    def refuses_foreign_addresses(
        self, hosts: typing.Mapping[str, Host], targets: typing.Iterable[str]
    ) -> None:
        """Check that each PART:PORT accepts connections from another machine of the lab, and none
        from an address on that machine that is outside the lab."""
        machines = unique(hosts.values())
        for number, asked in enumerate(machines):
            there = [target for target in targets if hosts[target.split(":")[0]] is asked]
            asking = machines[number - 1]
            taken = self.reached(asking, there)
            assert taken == set(there), (
                f"only {sorted(taken)} of {there} accept connections from an address of the lab"
            )
            peer = there[0].split(":")[0]
            foreign, device = asking.succeed(
                f"address=$(getent ahostsv4 {peer} | sed -n '1s/ .*//p')\n"
                # Each machine has its own: the peers' ARP caches still have the last one.
                f"foreign=${{address%.*}}.{FOREIGN_ADDRESS + number}\n"
                "device=$(ip -o route get $address | sed 's/.* dev \\([^ ]*\\) .*/\\1/')\n"
                "ip address add $foreign/32 dev $device\n"
                # The control: packets get there and back, so a refusal is the firewall's.
                f"ping -c 1 -W {CONNECT_SECONDS} -I $foreign $address >&2\n"
                "echo $foreign $device"
            ).split()
            taken = accepted(asking.succeed(connect_command(there, foreign)))
            asking.succeed(f"ip address del {foreign}/32 dev {device}")
            assert not taken, (
                f"{sorted(taken)} accept connections from {foreign}, an address outside the lab"
            )

    def ask_prometheus(
        self, expression: str, parse: typing.Callable[[str], Seen]
    ) -> Seen | NoPrometheus:
        """Prometheus' answer, parsed; the error of curl if there is none."""
        code, text = self.writer.execute(
            "curl -sS http://monitoring:9090/api/v1/query"
            f" --data-urlencode {shlex.quote(f'query={expression}')} 2>&1"
        )
        return parse(text) if code == 0 else NoPrometheus(text.strip())

    def query(self, expression: str) -> dict[str, float] | NoPrometheus:
        return self.ask_prometheus(expression, samples)

    def firing(self) -> set[str] | NoPrometheus:
        """The names of the alerts that fire now."""
        return self.ask_prometheus('ALERTS{alertstate="firing"}', alert_names)

    def wait_quiet(self) -> None:
        """Wait until for QUIET_SECONDS no alert has fired, and none has been active throughout: one
        with a longer `for:` is about to fire then."""
        recent = (
            f'max_over_time(ALERTS{{alertstate="firing"}}[{QUIET_SECONDS}s])'
            f" or time() - ALERTS_FOR_STATE > {QUIET_SECONDS}"
        )
        began = time.monotonic()
        wait(
            f"no alert fires for {QUIET_SECONDS} s",
            BOOT_SECONDS * self.slowness,
            lambda: self.ask_prometheus(recent, alerts_with_targets),
            lambda seen: seen == set() and time.monotonic() - began > QUIET_SECONDS,
        )

    def wait_firing(self, what: str, holds: typing.Callable[[set[str]], bool]) -> None:
        wait(
            f"alerts that fire: {what}",
            BOOT_SECONDS * self.slowness,
            self.firing,
            lambda seen: not isinstance(seen, NoPrometheus) and holds(seen),
        )

    def wait_query(
        self, what: str, expression: str, holds: typing.Callable[[dict[str, float]], bool]
    ) -> None:
        wait(
            f"{what}: {expression}",
            FAILOVER_SECONDS * self.slowness,
            lambda: self.query(expression),
            lambda seen: not isinstance(seen, NoPrometheus) and holds(seen),
        )

    def wait_series(self, queries: typing.Iterable[str]) -> None:
        """Wait until each query has had a series within the last PANEL_SECONDS."""
        left = list(queries)

        def look() -> list[str] | NoPrometheus:
            seen = self.ask_prometheus(panels_query(left), positions)
            if isinstance(seen, NoPrometheus):
                return seen
            left[:] = [query for position, query in enumerate(left) if position not in seen]
            return left

        wait(
            "every query has a series",
            FAILOVER_SECONDS * self.slowness,
            look,
            lambda seen: not isinstance(seen, NoPrometheus) and not seen,
            lambda seen: str(seen) if isinstance(seen, NoPrometheus) else f"none for {seen}",
        )

    def wait_targets(self, expected: dict[str, float]) -> None:
        """Wait until Prometheus has these numbers of targets, by job, and each of them is up."""
        self.wait_query("targets by job", "count by (job) (up)", lambda seen: seen == expected)
        self.wait_query(
            "no target is down",
            # The maximum over several scrapes: a slow machine does not answer each within a second.
            "sum by (job) (max_over_time(up[15s]))",
            lambda seen: seen == expected,
        )

    def dashboards(self) -> list[str]:
        """Fetch every dashboard from Grafana without a login; returns their uids."""
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
        """The number of values that Grafana's data source returns for a query."""
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
        return count_values(
            self.writer.succeed(
                "curl -fsS http://monitoring:3000/api/ds/query -H 'Content-Type: application/json'"
                f" --data {shlex.quote(json.dumps(query))}"
            )
        )

    def hand_over(self, before: Status) -> Status:
        """Change the primary by `halab handover`."""
        code, output = self.writer.execute("halab handover 2>&1")
        if code:
            raise AssertionError(f"halab handover exited with {code}: {output}")
        return self.wait_failover(before)

    def kill_server(self, machine: Host, node: str) -> None:
        """Kill the Redis server only; its supervisor keeps running."""
        machine.succeed(
            f"pkill -KILL -P $(systemctl show --property=MainPID --value {unit_of(node)})"
        )

    def stop_writing(self) -> str:
        """Stop the writer in order; returns its summary."""
        self.writer.succeed("systemctl stop halab-writer.service")
        return self.writer_log(8)

    def verify(self) -> str:
        """Verify every acknowledged record on the primary and the replica; fails if one is
        missing."""
        return self.writer.succeed(f"halab verify --ledger {LEDGER}")

    def verify_detects_loss(self) -> None:
        """The negative control: delete one record, and check that verify reports it."""
        self.writer.succeed(
            "\n".join(
                [
                    "primary=$(halab status --json | jq -r .primary.node)",
                    'redis() { halab cli "$primary" -e "$@"; }',
                    # Records only: the lab keeps other keys too.
                    "key=$(redis --scan --pattern 'halab:*:*' | head -n 1 || true)",
                    'redis DEL "$key" | grep -qx 1',
                    f"code=0; halab verify --ledger {LEDGER} >&2 || code=$?",
                    "[ $code -eq 1 ]",
                ]
            )
        )
