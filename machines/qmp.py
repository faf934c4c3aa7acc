"""QEMU's monitor protocol (QMP): one JSON object per line; events may come between answers."""

import json
import typing
from pathlib import Path

from . import sockets
from .errors import LabError

ANSWER_SECONDS = 60.0


class Monitor:
    """A connection to a machine's monitor; a context manager."""

    def __init__(self, path: Path) -> None:
        self.connection = sockets.connect(path)
        self.connection.settimeout(ANSWER_SECONDS)
        self.lines = self.connection.makefile("r", encoding="utf-8")
        self.lines.readline()  # the greeting
        self.execute("qmp_capabilities")

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, *_: object) -> None:
        self.lines.close()
        self.connection.close()

    def execute(self, command: str, **arguments: typing.Any) -> typing.Any:
        request = {"execute": command, "arguments": arguments}
        self.connection.sendall(json.dumps(request).encode() + b"\n")
        while line := self.lines.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise LabError(f"QEMU refused {command}: {answer['error'].get('desc')}")
            if "return" in answer:
                return answer["return"]
        raise LabError(f"QEMU ended before it answered {command}")
