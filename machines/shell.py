"""A shell on a guest's serial line: one line per command, one line per answer.

    ? NUMBER COMMAND                    to the guest
    ! NUMBER STATUS OUTPUT ERRORS       from the guest

The control character 31 separates the words. In a command, backslash, newline and that character
are escaped as in C. Output starts with its encoding: `text:`, escaped likewise, or `base64:`. The
other end is guest/lab-shell. Other lines are ignored, such as answers that came too late.
"""

import base64
import re
import select
import socket
import time
import typing
from dataclasses import dataclass
from pathlib import Path

from . import sockets

# Interval of attempts until the guest answers; shorter ones would only fill the line.
ASK_SECONDS = 2.0
BETWEEN = "\x1f"
CODED = {"\\": "\\\\", "\n": "\\n", BETWEEN: "\\x1f"}


@dataclass(frozen=True)
class Answer:
    number: int
    status: int
    output: str
    errors: str


def request(number: int, command: str) -> bytes:
    coded = re.sub(r"[\\\n\x1f]", lambda found: CODED[found[0]], command)
    return f"?{BETWEEN}{number}{BETWEEN}{coded}\n".encode()


def decoded(word: str) -> str:
    how, _, text = word.partition(":")
    if how == "base64":
        return base64.b64decode(text).decode(errors="replace")
    if how != "text":
        raise ValueError(how)
    return re.sub(r"\\([\\n])", lambda found: "\n" if found[1] == "n" else "\\", text)


def parse(line: str) -> Answer | None:
    """None if the line is no answer."""
    words = line.strip("\n").split(BETWEEN)
    if len(words) != 5 or words[0] != "!":
        return None
    try:
        return Answer(int(words[1]), int(words[2]), decoded(words[3]), decoded(words[4]))
    except ValueError:
        return None


class NoAnswer(Exception):
    """The guest does not answer, or the line is closed."""


class Line(typing.Protocol):
    """A connection to a guest's shell."""

    def ready(self) -> bool: ...

    def run(self, command: str, limit: float) -> Answer: ...

    def close(self) -> None: ...


class Shell:
    def __init__(self, path: Path) -> None:
        self.connection: socket.socket = sockets.connect(path)
        self.buffer = bytearray()
        # Numbers differ from those of other connections to the same guest.
        self.number = time.time_ns() // 1_000_000 % 10**9 * 1000

    def close(self) -> None:
        self.connection.close()

    def ask(self, command: str) -> int:
        self.number += 1
        try:
            self.connection.sendall(request(self.number, command))
        except OSError as error:
            raise NoAnswer(f"the machine's line is closed: {error}") from None
        return self.number

    def answer(self, number: int, seconds: float) -> Answer | None:
        """None if there is no answer in that time."""
        deadline = time.monotonic() + seconds
        while True:
            while (end := self.buffer.find(b"\n")) >= 0:
                line = self.buffer[:end].decode(errors="replace")
                del self.buffer[: end + 1]
                found = parse(line)
                if found and found.number == number:
                    return found
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.connection], [], [], left)[0]:
                return None
            try:
                data = self.connection.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                raise NoAnswer("the machine is off")
            self.buffer += data

    def ready(self) -> bool:
        """Whether the guest answers within ASK_SECONDS."""
        return self.answer(self.ask("true"), ASK_SECONDS) is not None

    def run(self, command: str, limit: float) -> Answer:
        found = self.answer(self.ask(command), limit)
        if found is None:
            raise NoAnswer(f"no answer within {limit:.0f} s: {command}")
        return found
