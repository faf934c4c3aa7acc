"""Commands of `./lab machines` on machines that are off."""

import os
import typing
import unittest
from contextlib import redirect_stdout
from io import StringIO
from unittest import mock

from machines.__main__ import Command, parser
from machines.errors import LabError


class OffTest(unittest.TestCase):
    """The machine `two` is off, as after a crash or a reboot of the computer that runs it."""

    def setUp(self) -> None:
        self.two = mock.Mock(booted=False)
        self.two.name = "two"
        self.site = mock.Mock(machines={"two": self.two})
        # A descriptor that the command closes.
        self.site.lock.side_effect = lambda shared=False: os.open("/dev/null", os.O_RDONLY)

    def run_command(self, *words: str) -> None:
        options = parser().parse_args(words)
        folders = {"LAB_DIR": "/nowhere", "CARGO_TARGET_DIR": "/nowhere"}
        with mock.patch.dict("os.environ", folders), redirect_stdout(StringIO()):
            command = Command(options)
            with (
                mock.patch.object(command, "by_hand", return_value=self.site),
                mock.patch("sys.stdin.isatty", return_value=True),
            ):
                act: typing.Callable[[], int] = getattr(command, options.name)
                self.assertEqual(act(), 0)

    def test_a_command_that_needs_a_running_machine_says_that_it_is_off(self) -> None:
        for words in (
            ("run", "two", "true"),
            ("shell", "two"),
            ("reboot", "two"),
            ("cut", "two"),
            ("heal", "two"),
        ):
            with self.subTest(words=words), self.assertRaisesRegex(LabError, "two is off"):
                self.run_command(*words)
        # None of them turned it on.
        self.assertEqual(self.two.method_calls, [])

    def test_an_interrupted_run_ends_its_command(self) -> None:
        self.two.booted = True
        for interruption in (KeyboardInterrupt, SystemExit):
            self.two.reset_mock()
            self.two.ask.side_effect = interruption
            with self.assertRaises(interruption):
                self.run_command("run", "two", "sleep", "9")
            self.two.end_command.assert_called_once_with()

    def test_start_also_starts_the_switch(self) -> None:
        self.run_command("start", "two")
        self.site.start_switch.assert_called_once_with()
        self.assertEqual([call[0] for call in self.two.method_calls], ["start", "connect"])

    def test_a_machine_that_is_off_can_be_crashed_and_shut_down(self) -> None:
        self.run_command("crash", "two")
        self.run_command("shutdown", "two")
        self.assertEqual([call[0] for call in self.two.method_calls], ["crash", "shutdown"])
