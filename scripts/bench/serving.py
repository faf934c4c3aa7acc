"""A process that serves an address in front of a lab, during a `with` block."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from lab import Lab


class Way:
    """One way to the primary: an address, and the process that serves it."""

    def __init__(self, address: str, pid: int | None = None) -> None:
        self.address = address
        self.pid = pid

    def cpu(self) -> float:
        """Processor time of the process so far, in seconds."""
        if self.pid is None:
            return 0.0
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((address, 6379), 1):
            return
        time.sleep(0.1)
    raise SystemExit(
        f"bench: {process.args!r} does not accept connections at {address}: {log.read_text()}"
    )


@contextlib.contextmanager
def served(lab: Lab, address: str, command: list[str]) -> Iterator[Way]:
    log = lab.scratch / f"{address}.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, env=lab.env, stdout=output, stderr=output)
    try:
        wait_for(address, process, log)
        yield Way(address, process.pid)
    finally:
        process.terminate()
        process.wait()
