"""Messages of waits and steps."""

import unittest
from contextlib import redirect_stdout
from io import StringIO
from unittest import mock

from machines.report import Steps, Waiting


class WaitingTest(unittest.TestCase):
    def test_a_wait_is_reported_every_30_s_and_ends(self) -> None:
        now = 0.0
        output = StringIO()
        with mock.patch("time.monotonic", lambda: now), redirect_stdout(output):
            waiting = Waiting("the lab is healthy", 65)
            over = []
            for moment in (0, 29, 30, 31, 59, 61, 66):
                now = moment
                over.append(waiting.over())
        self.assertEqual(over, [False] * 6 + [True])
        self.assertEqual(output.getvalue().count("the lab is healthy"), 2)


class StepsTest(unittest.TestCase):
    def test_a_failed_claim_is_in_the_table_and_its_exception_passes(self) -> None:
        steps = Steps()
        with redirect_stdout(StringIO()):
            with steps.step("holds"):
                pass
            with self.assertRaisesRegex(AssertionError, "no"), steps.step("does not"):
                raise AssertionError("no")
        self.assertIn("does not  -- FAILED", steps.table())
        self.assertEqual([step.holds for step in steps.done], [True, False])
