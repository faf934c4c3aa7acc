"""A script's run, on machines that are none."""

import typing
import unittest
from contextlib import redirect_stdout
from io import StringIO
from unittest import mock

from machines import driver
from machines.errors import Trouble
from machines.report import Steps


class ScriptTest(unittest.TestCase):
    def run_script(self, script: str) -> Steps:
        steps = Steps()
        machines: dict[str, typing.Any] = {name: mock.Mock(name=name) for name in ("one", "two", "three")}
        with mock.patch.object(driver, "script_of", lambda test: driver.hosts_line() + script), redirect_stdout(StringIO()):
            driver.run_script("failover", machines, mock.Mock(), steps)
        return steps

    def test_a_script_has_its_machines_and_steps(self) -> None:
        steps = self.run_script("start_all()\nwith subtest('crashes'):\n    hosts['redis-b'].crash()\n    two.crash.assert_called_once()\n")
        self.assertEqual([(step.claim, step.holds) for step in steps.done], [("crashes", True)])

    def test_a_claim_that_does_not_hold_fails_the_script(self) -> None:
        with self.assertRaises(AssertionError):
            self.run_script("with subtest('is so'):\n    assert False\n")

    def test_every_script_is_python(self) -> None:
        for test in driver.SCRIPTS:
            compile(driver.script_of(test), test, "exec")

    def test_an_unknown_test_is_named_with_the_known_ones(self) -> None:
        with self.assertRaisesRegex(Trouble, "failovr"):
            driver.known(["failovr"])
        self.assertEqual(driver.known([]), list(driver.NAMES))
