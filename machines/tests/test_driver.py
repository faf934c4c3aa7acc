"""Runs of scripts, with mocks instead of machines."""

import typing
import unittest
from contextlib import redirect_stdout
from io import StringIO
from unittest import mock

from machines import driver
from machines.errors import LabError
from machines.report import Steps


class ScriptTest(unittest.TestCase):
    def run_script(self, script: str) -> Steps:
        steps = Steps()
        machines: dict[str, typing.Any] = {
            name: mock.Mock(name=name) for name in ("one", "two", "three")
        }
        with (
            mock.patch.object(
                driver, "script_of", lambda test, limit: driver.hosts_line() + script
            ),
            redirect_stdout(StringIO()),
        ):
            driver.run_script("failover", machines, mock.Mock(), steps)
        return steps

    def test_a_script_has_its_machines_and_steps(self) -> None:
        steps = self.run_script(
            "start_all()\nwith subtest('crashes'):\n"
            "    hosts['redis-b'].crash()\n    two.crash.assert_called_once()\n"
        )
        self.assertEqual([(step.claim, step.holds) for step in steps.done], [("crashes", True)])

    def test_a_claim_that_does_not_hold_fails_the_script(self) -> None:
        with self.assertRaises(AssertionError):
            self.run_script("with subtest('is so'):\n    assert False\n")

    def test_a_skipped_claim_does_not_count_as_tested(self) -> None:
        steps = self.run_script(
            "skipped = [('it is refused', 'no firewall')]\nwith subtest('is so'):\n    pass\n"
        )
        self.assertEqual(steps.result(), "all 1 claims tested hold; 1 skipped")
        self.assertIn("skipped  it is refused: no firewall", steps.table())

    def test_no_wait_exceeds_the_limit_of_a_run_with_a_fault(self) -> None:
        reach: dict[str, typing.Any] = {"one": 1, "two": 2, "three": 3}
        script = driver.script_of("failover", 0.0).split("\nlab = Lab(")[0]
        exec(script, reach)
        with self.assertRaisesRegex(AssertionError, "not met after 0 s: never"):
            reach["wait"]("never", 3600, lambda: 1, lambda seen: False)

    def test_the_firewalled_ports_are_those_of_the_lab(self) -> None:
        reach: dict[str, typing.Any] = {}
        exec(driver.closed_line(), reach)
        closed = reach["FIREWALLED_PORTS"]
        self.assertEqual(closed[:2], ["redis-a:6379", "redis-a:9400"])
        self.assertEqual(closed[-3:], ["writer:9401", "proxy:6379", "proxy:9402"])
        self.assertEqual(len(closed), 13)

    def test_every_script_is_python(self) -> None:
        for test in driver.SCRIPTS:
            compile(driver.script_of(test), test, "exec")

    def test_an_unknown_test_is_an_error(self) -> None:
        with self.assertRaisesRegex(LabError, "failovr"):
            driver.known(["failovr"])
        self.assertEqual(driver.known([]), list(driver.NAMES))
