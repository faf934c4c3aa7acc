"""guest/lab-shell on a pseudo-terminal, with the real other end (machines/shell.py)."""

import contextlib
import os
import pty
import socket
import subprocess
import tempfile
import threading
import tty
import unittest

from machines.image import HERE
from machines.shell import Answer, NoAnswer, Shell

LIMIT = 20.0


class LabShellTest(unittest.TestCase):
    def setUp(self) -> None:
        master, slave = pty.openpty()
        tty.setraw(slave)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        ended = subprocess.Popen(
            ["bash", HERE / "guest/lab-shell", os.ttyname(slave), folder.name],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(ended.wait)
        self.addCleanup(ended.kill)
        ours, theirs = socket.socketpair()
        for descriptor in (master, slave):
            self.addCleanup(os.close, descriptor)

        def copy(read: int, write: int) -> None:
            # Until either end is closed.
            with contextlib.suppress(OSError):
                while data := os.read(read, 4096):
                    os.write(write, data)

        for ends in ((master, theirs.fileno()), (theirs.fileno(), master)):
            threading.Thread(target=copy, args=ends, daemon=True).start()
        self.addCleanup(theirs.close)
        self.addCleanup(ours.close)
        self.shell = Shell.__new__(Shell)
        self.shell.connection, self.shell.buffer, self.shell.number = ours, bytearray(), 0
        for _ in range(10):
            if self.shell.ready():
                return
        raise NoAnswer("lab-shell does not start")

    def run_here(self, command: str) -> Answer:
        return self.shell.run(command, LIMIT)

    def test_output_and_status_come_back_unchanged(self) -> None:
        answer = self.run_here("printf 'a\\tb\\\\\\n\\n'; echo \"e'\" >&2; exit 3")
        self.assertEqual((answer.status, answer.output, answer.errors), (3, "a\tb\\\n\n", "e'\n"))
        self.assertEqual(self.run_here("# several\nx=1\necho $((x + 1))").output, "2\n")

    def test_long_output_comes_back_unchanged(self) -> None:
        self.assertEqual(
            self.run_here("seq 5000").output, "".join(f"{n}\n" for n in range(1, 5001))
        )

    def test_output_may_contain_the_separator(self) -> None:
        self.assertEqual(self.run_here("printf 'a\\x1fb'").output, "a\x1fb")

    def test_a_failure_within_a_command_fails_it(self) -> None:
        self.assertEqual(self.run_here("false | cat; echo on").output, "")
        self.assertNotEqual(self.run_here("false | cat").status, 0)
        self.assertNotEqual(self.run_here("echo $not_set").status, 0)

    def test_a_command_does_not_change_the_shell(self) -> None:
        self.run_here("cd /; exit 1")
        self.run_here("cat")
        self.assertEqual(self.run_here("pwd").output, os.path.expanduser("~") + "\n")
