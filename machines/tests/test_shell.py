"""The line format of a guest's shell, and the reader of its answers."""

import base64
import socket
import subprocess
import threading
import unittest

from machines.shell import Answer, NoAnswer, Shell, decoded, parse, request

HARD = "printf 'a\\n\\tb' \\\n && echo \"$x\\\\\" \x1f end"


def answered(*words: str) -> str:
    return "\x1f".join(("!", *words))


class LinesTest(unittest.TestCase):
    def test_a_command_is_one_line_that_bash_reads_back(self) -> None:
        line = request(7, HARD).decode()
        mark, number, coded = line.rstrip("\n").split("\x1f")
        self.assertEqual((mark, number), ("?", "7"))
        self.assertNotIn("\n", coded)
        read = subprocess.run(
            ["bash", "-c", 'printf %b "$1"', "bash", coded],
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual(read.stdout, HARD)

    def test_an_answer_is_parsed_in_both_encodings(self) -> None:
        long = base64.b64encode(b"long\n").decode()
        self.assertEqual(
            parse(answered("7", "1", "text:a\\nb\\\\n", f"base64:{long}") + "\n"),
            Answer(7, 1, "a\nb\\n", "long\n"),
        )

    def test_other_lines_are_no_answers(self) -> None:
        for line in (
            "",
            "root@one:~# ",
            answered("7", "0", "text:"),
            answered("x", "0", "text:", "text:"),
            answered("7", "0", "?", "text:"),
        ):
            self.assertIsNone(parse(line), line)

    def test_an_unknown_encoding_is_an_error(self) -> None:
        with self.assertRaises(ValueError):
            decoded("rot13:uryyb")


class ShellTest(unittest.TestCase):
    def setUp(self) -> None:
        ours, self.guest = socket.socketpair()
        self.shell = Shell.__new__(Shell)
        self.shell.connection, self.shell.buffer, self.shell.number = ours, bytearray(), 0
        self.addCleanup(ours.close)
        self.addCleanup(self.guest.close)

    def test_an_answer_to_an_earlier_command_is_ignored(self) -> None:
        lines = "\n".join(
            [
                "echo of a boot",
                answered("0", "5", "text:old", "text:"),
                answered("1", "0", "text:new", "text:"),
                "",
            ]
        )
        threading.Timer(0.1, lambda: self.guest.sendall(lines.encode())).start()
        self.assertEqual(self.shell.run("true", 5).output, "new")

    def test_no_answer_within_the_limit_is_an_error(self) -> None:
        with self.assertRaisesRegex(NoAnswer, "no answer within 0 s: sleep"):
            self.shell.run("sleep 9", 0.1)

    def test_a_machine_that_goes_off_is_an_error_at_once(self) -> None:
        self.guest.close()
        with self.assertRaises(NoAnswer):
            self.shell.run("true", 60)
