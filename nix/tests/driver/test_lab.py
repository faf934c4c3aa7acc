"""Unit tests of lab.py: how the VM tests evaluate answers."""

import json
import pathlib
import re
import tempfile
import unittest
from contextlib import redirect_stdout
from io import StringIO
from typing import Any
from unittest import mock

from lab import (
    COUNT_SECONDS,
    LEDGER_PROGRESS_BYTES,
    SLOWEST,
    QUIET_SECONDS,
    Lab,
    Status,
    alert_names,
    alerts_with_targets,
    accepted,
    connect_command,
    count_values,
    grown,
    handed_over_first,
    renew_disk,
    samples,
    slowness,
    panels_query,
    unique,
    unit_of,
    wait,
)

RULES = pathlib.Path(__file__).resolve().parents[3] / "prometheus/rules"


def status_json(
    primary: str | None, epoch: int = 0, problems: tuple[str, ...] = (), **roles: str
) -> str:
    """An output of `halab status --json`, without the keys that lab.py does not read."""
    nodes: list[dict[str, Any]] = [
        {"name": name, "unreachable": "timed out"}
        if role == "unreachable"
        else {"name": name, "up": {"role": role}}
        for name, role in roles.items()
    ]
    return json.dumps(
        {
            "primary": {"node": primary, "epoch": epoch} if primary else None,
            "healthy": "unreachable" not in roles.values(),
            "data_nodes": nodes,
            "problems": [
                {
                    "code": "c",
                    "severity": "fault",
                    "node": None,
                    "what": what,
                    "cause": None,
                    "remedy": "r",
                }
                for what in problems
            ],
        }
    )


class FakeHost:
    """Returns the given answers in order; an empty answer has an exit code of 7."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)

    def succeed(self, *commands: str) -> str:
        return self.answers.pop(0)

    def execute(self, command: str) -> tuple[int, str]:
        answer = self.answers.pop(0)
        return 0 if answer else 7, answer


class StatusTest(unittest.TestCase):
    before = Status.parse(status_json("a", 3, a="primary", b="replica"))

    def test_roles_and_primary_are_parsed(self) -> None:
        self.assertEqual(self.before.primary, "a")
        self.assertEqual(self.before.others(), ["b"])
        self.assertTrue(self.before.healthy)

    def test_problems_are_parsed(self) -> None:
        now = Status.parse(
            status_json("a", 3, problems=("b is not reachable",), a="primary", b="unreachable")
        )
        self.assertEqual(now.problems, ("b is not reachable",))
        self.assertEqual(self.before.problems, ())

    def test_a_promoted_replica_is_a_failover(self) -> None:
        now = Status.parse(status_json("b", 4, a="unreachable", b="primary"))
        self.assertTrue(now.failed_over_from(self.before))
        self.assertFalse(now.healthy)

    def test_without_a_named_primary_there_is_no_failover(self) -> None:
        now = Status.parse(status_json(None, a="unreachable", b="replica"))
        self.assertFalse(now.failed_over_from(self.before))

    def test_before_the_promotion_there_is_no_failover(self) -> None:
        now = Status.parse(status_json("b", 4, a="unreachable", b="replica"))
        self.assertFalse(now.failed_over_from(self.before))

    def test_with_the_same_epoch_there_is_no_failover(self) -> None:
        now = Status.parse(status_json("b", 3, a="replica", b="primary"))
        self.assertFalse(now.failed_over_from(self.before))


class LabTest(unittest.TestCase):
    def test_waits_until_another_node_is_primary(self) -> None:
        host = FakeHost(
            status_json(None, a="unreachable", b="replica"),
            status_json("b", 1, a="unreachable", b="primary"),
        )
        before = Status.parse(status_json("a", 0, a="primary", b="replica"))
        self.assertEqual(Lab(host).wait_failover(before).primary, "b")

    old, new = (
        status_json("a", 0, a="primary", b="replica"),
        status_json("b", 1, a="replica", b="primary"),
    )

    def hand_over(self, *answers: str) -> Status:
        """An empty answer means that the handover failed."""
        return Lab(FakeHost(*answers)).hand_over(Status.parse(self.old))

    def test_a_handover_is_requested_once(self) -> None:
        self.assertEqual(self.hand_over("handed over", self.new).primary, "b")
        with self.assertRaisesRegex(AssertionError, "halab handover exited with 7"):
            self.hand_over("", "handed over", self.new)

    def test_a_wait_beyond_its_limit_reports_what_it_last_saw(self) -> None:
        host = FakeHost(status_json("a", 0, a="primary", b="replica"))
        with self.assertRaisesRegex(
            AssertionError,
            "not met after -1 s: never; last seen: "
            "primary a at epoch 0; a primary, b replica; problems: none",
        ):
            Lab(host).wait_until("never", lambda _: False, -1)

    def test_a_long_wait_reports_its_state_every_30_s(self) -> None:
        def healthy(status: Status) -> bool:
            return status.healthy

        ill = Status.parse(
            status_json("a", 3, problems=("b is not reachable",), a="primary", b="unreachable")
        )
        well = Status.parse(status_json("a", 3, a="primary", b="replica"))
        seen = iter([ill] * 5 + [well])
        printed = StringIO()
        with (
            mock.patch("lab.time.monotonic", side_effect=[0, 29, 30, 31, 61, 62]),
            mock.patch("lab.time.sleep"),
            redirect_stdout(printed),
        ):
            wait("the lab is healthy", 900, seen.__next__, healthy, Status.brief)
        ending = (
            "of at most 900 s for: the lab is healthy; now: primary a at epoch 3; "
            "a primary, b unreachable; problems: b is not reachable"
        )
        self.assertEqual(
            printed.getvalue().splitlines(),
            [f"waited 30 s {ending}", f"waited 61 s {ending}"],
        )

    def test_bytes_that_may_be_in_flight_are_no_progress(self) -> None:
        self.assertFalse(grown(100, 100 + LEDGER_PROGRESS_BYTES - 1))
        self.assertTrue(grown(100, 100 + LEDGER_PROGRESS_BYTES))


class FirewallTest(unittest.TestCase):
    """Two machines, `a` and `b`, with a port each."""

    def refuses(self, a: FakeHost, b: FakeHost) -> None:
        Lab(a).refuses_foreign_addresses({"a": a, "b": b}, ["a:1", "b:1"])
        self.assertEqual(a.answers + b.answers, [])

    def asking(self, of: str, own: str = "0.001", foreign: str = "0.000000") -> FakeHost:
        """A machine that connects to another from its own address, then from one outside the
        lab."""
        return FakeHost(f"{own} {of}:1\n", "192.0.2.250 eth0\n", f"{foreign} {of}:1\n", "")

    def test_open_to_the_lab_and_closed_to_a_foreign_address(self) -> None:
        self.refuses(self.asking("b"), self.asking("a"))

    def test_a_port_that_a_foreign_address_reaches_is_named(self) -> None:
        with self.assertRaisesRegex(
            AssertionError,
            r"\['b:1'\] accept connections from 192.0.2.250, an address outside the lab",
        ):
            self.refuses(self.asking("b", foreign="0.002"), self.asking("a"))

    def test_a_port_that_is_closed_to_the_lab_is_an_error(self) -> None:
        with self.assertRaisesRegex(
            AssertionError,
            r"only \[\] of \['a:1'\] accept connections from an address of the lab",
        ):
            self.refuses(self.asking("b"), self.asking("a", own="0.000000"))

    def test_connections_use_the_source_address(self) -> None:
        command = connect_command(["a:1", "b:2"], "192.0.2.250")
        for target in ("a:1", "b:2"):
            self.assertRegex(
                command, rf"--interface 192.0.2.250 -w '[^']* {target}\\n' telnet://{target} "
            )
        self.assertNotIn("--interface", connect_command(["a:1"]))
        self.assertEqual(accepted("0.000213 a:1\n0.000000 b:2\n"), {"a:1"})


class UnitTest(unittest.TestCase):
    def test_a_server_that_is_stopped_with_its_node_is_no_handover_before_the_stop(self) -> None:
        earlier = (
            "INFO stopping node=a\nINFO handed over node=a to=b\n1:S # User requested shutdown...\n"
        )
        stopping, over = "INFO stopping node=a\n", "INFO handed over node=a to=b paused_ms=9\n"
        refused, server = (
            "WARN stopping without a handover node=a\n",
            "1:M # User requested shutdown...\n",
        )
        self.assertTrue(handed_over_first(earlier + stopping + over + server))
        self.assertTrue(handed_over_first(stopping + over))
        # The server waits for its replica, in which time the handover can still succeed.
        self.assertFalse(handed_over_first(stopping + server + over))
        self.assertFalse(handed_over_first(earlier + stopping + refused + server))
        self.assertFalse(handed_over_first(""))

    def test_the_unit_of_a_node_is_an_instance_of_its_template(self) -> None:
        self.assertEqual(unit_of("redis-a"), "halab-data-node@redis-a.service")
        self.assertEqual(unit_of("sentinel-1"), "halab-sentinel@sentinel-1.service")


class MachinesTest(unittest.TestCase):
    def test_limits_follow_the_machine_and_are_never_shorter_than_with_kvm(self) -> None:
        self.assertEqual(slowness(COUNT_SECONDS / 5), 1.0)
        self.assertAlmostEqual(slowness(COUNT_SECONDS * 4), 4.0)
        self.assertEqual(slowness(COUNT_SECONDS * 1000), SLOWEST)

    def test_a_machine_with_several_nodes_counts_once(self) -> None:
        self.assertEqual(unique({"a": "one", "s": "one", "b": "two"}.values()), ["one", "two"])

    def test_a_disk_is_removed_in_the_format_of_either_driver(self) -> None:
        for name in ("one.qcow2", "one.img"):
            with tempfile.TemporaryDirectory() as folder:
                disk = pathlib.Path(folder) / name
                disk.touch()
                machine = mock.Mock(state_dir=pathlib.Path(folder))
                machine.name = "one"
                renew_disk(machine)
                self.assertFalse(disk.exists())
                with self.assertRaises(ValueError):
                    renew_disk(machine)


class MonitoringTest(unittest.TestCase):
    def test_samples_are_keyed_by_node(self) -> None:
        vector = [
            {"metric": {"node": "a", "lab": "l"}, "value": [1.5, "1"]},
            {"metric": {"lab": "l"}, "value": [1.5, "0.5"]},
        ]
        text = json.dumps({"status": "success", "data": {"resultType": "vector", "result": vector}})
        self.assertEqual(samples(text), {"a": 1.0, "l": 0.5})
        self.assertEqual(samples(self.by_job({"redis": 5})), {"redis": 5.0})
        self.assertEqual(samples(self.answer()), {})

    def answer(self, *vector: dict[str, Any]) -> str:
        data = {"resultType": "vector", "result": list(vector)}
        return json.dumps({"status": "success", "data": data})

    def by_job(self, counts: dict[str, int]) -> str:
        return self.answer(
            *({"metric": {"job": job}, "value": [1.5, str(n)]} for job, n in counts.items())
        )

    def test_a_target_that_is_missing_down_or_unexpected_is_an_error(self) -> None:
        well = self.by_job({"redis": 2, "prometheus": 1})
        expected: dict[str, float] = {"redis": 2, "prometheus": 1}
        with mock.patch("lab.time.sleep"), mock.patch("lab.LIMIT_SECONDS", -1):
            Lab(FakeHost(well, well)).wait_targets(expected)
            for there, up in (
                (self.by_job({"redis": 1, "prometheus": 1}), well),
                (self.by_job({"prometheus": 1}), well),
                (self.by_job({"redis": 2, "prometheus": 1, "cadvisor": 1}), well),
                (well, self.by_job({"redis": 1, "prometheus": 1})),
                (self.answer(), self.answer()),
            ):
                with self.assertRaisesRegex(AssertionError, "not met"):
                    Lab(FakeHost(there, up)).wait_targets(expected)

    def wait_quiet(self, seconds: int, *answers: str) -> None:
        """The wait begins at 0 and has this time at its next look."""
        clock = [0.0] * 2 + [float(seconds)] * 10
        with (
            mock.patch("lab.time.sleep"),
            mock.patch("lab.LIMIT_SECONDS", 1),
            mock.patch("lab.time.monotonic", side_effect=clock),
        ):
            Lab(FakeHost(*answers)).wait_quiet()

    def test_no_alert_is_quiet_only_after_the_whole_time(self) -> None:
        none = self.answer()
        fires = self.answer({"metric": {"alertname": "A"}, "value": [1.5, "1"]})
        self.wait_quiet(QUIET_SECONDS + 1, none)
        with self.assertRaisesRegex(AssertionError, "no alert fires for 35 s; last seen: set()"):
            self.wait_quiet(QUIET_SECONDS - 1, none)
        with self.assertRaisesRegex(AssertionError, "last seen: {'A'}"):
            self.wait_quiet(QUIET_SECONDS + 1, fires)
        with self.assertRaisesRegex(AssertionError, "NoPrometheus"):
            self.wait_quiet(QUIET_SECONDS + 1, "")

    def test_the_quiet_time_is_longer_than_alerts_need_to_fire(self) -> None:
        rules = "".join(path.read_text() for path in RULES.glob("*.yml"))
        units = {"s": 1, "m": 60}
        needed = [
            int(n) * units[unit] for n, unit in re.findall(r"^ +for: (\d+)([sm])$", rules, re.M)
        ]
        self.assertGreater(len(needed), 10)
        self.assertEqual([seconds for seconds in needed if seconds >= QUIET_SECONDS], [600])

    def at_positions(self, *found: int) -> str:
        return self.answer(
            *({"metric": {"position": str(at)}, "value": [1.5, "1"]} for at in found)
        )

    def test_a_query_needs_a_series_once(self) -> None:
        # Of a, b and c the first answer has b; of a and c the next one has c.
        host = FakeHost("", self.at_positions(1), self.at_positions(1), self.at_positions(0))
        with mock.patch("lab.time.sleep"):
            Lab(host).wait_series(["a", "b", "c"])
        self.assertEqual(host.answers, [])

    def test_a_query_without_a_series_is_named(self) -> None:
        with mock.patch("lab.LIMIT_SECONDS", -1):
            with self.assertRaisesRegex(AssertionError, r"none for \['b'\]"):
                Lab(FakeHost(self.at_positions(0))).wait_series(["a", "b"])
            with self.assertRaisesRegex(AssertionError, "NoPrometheus"):
                Lab(FakeHost("")).wait_series(["a"])

    def test_all_queries_are_one(self) -> None:
        self.assertEqual(
            panels_query(["up", "rate(a[10s])"]),
            'label_replace(count(last_over_time((up)[60s:5s])), "position", "0", "", "") or '
            "label_replace(count(last_over_time((rate(a[10s]))[60s:5s])), "
            '"position", "1", "", "")',
        )

    def test_the_error_of_curl_is_reported(self) -> None:
        host = mock.Mock(execute=mock.Mock(return_value=(7, "curl: (7) Failed to connect\n")))
        with (
            mock.patch("lab.LIMIT_SECONDS", -1),
            self.assertRaisesRegex(
                AssertionError, r"last seen: NoPrometheus\(error='curl: \(7\) Failed to connect'\)"
            ),
        ):
            Lab(host).wait_query("up", "up", lambda seen: True)

    def test_the_query_is_repeated_until_prometheus_listens(self) -> None:
        vector = [{"metric": {"node": "a"}, "value": [1.5, "1"]}]
        answer = json.dumps(
            {"status": "success", "data": {"resultType": "vector", "result": vector}}
        )
        host = FakeHost("", answer)
        Lab(host).wait_query("up", "up", lambda seen: seen == {"a": 1.0})
        self.assertEqual(host.answers, [])

    def test_alerts_are_named_with_their_targets(self) -> None:
        vector = [
            {"metric": {"alertname": name, "node": node}, "value": [1.5, "1"]}
            for name in "AB"
            for node in "ab"
        ]
        text = json.dumps({"status": "success", "data": {"result": vector}})
        self.assertEqual(alert_names(text), {"A", "B"})
        self.assertEqual(alerts_with_targets(text), {"A (a)", "A (b)", "B (a)", "B (b)"})
        vector = [{"metric": {"alertname": "A", "job": "j", "node": "a"}, "value": [1.5, "1"]}]
        vector.append({"metric": {"alertname": "B", "lab": "l"}, "value": [1.5, "1"]})
        text = json.dumps({"status": "success", "data": {"result": vector}})
        self.assertEqual(alerts_with_targets(text), {"A (j a)", "B"})

    def test_an_error_of_prometheus_is_raised(self) -> None:
        with self.assertRaisesRegex(AssertionError, "parse error"):
            samples('{"status": "error", "error": "parse error"}')

    def test_values_of_grafana_are_counted(self) -> None:
        text = json.dumps({"results": {"A": {"frames": [{"data": {"values": [[1, 2], [3, 4]]}}]}}})
        self.assertEqual(count_values(text), 4)
        self.assertEqual(count_values('{"results": {"A": {"status": 200, "frames": []}}}'), 0)


if __name__ == "__main__":
    unittest.main()
