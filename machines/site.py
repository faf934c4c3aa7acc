"""A folder with machines and their network, which later processes can find and use again.

Subclasses define the machines and their disks.
"""

import abc
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from . import sockets
from .errors import LabError
from .image import HERE
from .machine import Machine
from .report import say

SWITCH_SECONDS = 20.0
ROOT = HERE.parent


class Site(abc.ABC):
    machines: dict[str, Machine]

    def __init__(self, folder: Path, kvm: bool) -> None:
        self.folder = folder
        self.kvm = kvm
        self.socket = folder / "switch.sock"
        self.switch_pid = folder / "switch.pid"

    @abc.abstractmethod
    def prepare(self) -> None:
        """Make what all machines need; each disk is made when its machine starts."""

    def logs(self) -> list[Path]:
        """Logs of the whole site, which a failed test keeps."""
        return [self.folder / "switch.log"]

    @property
    def exists(self) -> bool:
        return self.socket.exists()

    def lock(self) -> int:
        """Lock the machines of this folder against other processes until the descriptor is
        closed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # Beside the folder, which may be removed. The lock file stays: if it were removed, one
        # process could lock the removed file while another locks a new one.
        lock = os.open(self.folder.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(
                f"another process uses {self.folder}",
                "wait for it to end, or set another LAB_DIR",
            ) from None
        return lock

    def switch_is_on(self) -> bool:
        try:
            sockets.connect(self.socket).close()
        except OSError:
            return False
        return True

    def start_switch(self) -> None:
        if self.switch_is_on():
            return
        with open(self.folder / "switch.log", "ab") as log:
            switch = subprocess.Popen(
                [sys.executable, "-B", "-m", "machines.switch", self.socket],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.switch_pid.write_text(f"{switch.pid}\n")
        deadline = time.monotonic() + SWITCH_SECONDS
        while not self.switch_is_on():
            if switch.poll() is not None or time.monotonic() > deadline:
                raise LabError(
                    "the machines' switch does not start", f"see {self.folder}/switch.log"
                )
            time.sleep(0.05)

    def stop_switch(self) -> None:
        if self.switch_is_on():
            try:
                os.kill(int(self.switch_pid.read_text()), signal.SIGTERM)
            except (OSError, ValueError):
                say(f"could not stop the switch of {self.folder}")
        self.socket.unlink(missing_ok=True)

    def start(self) -> None:
        self.start_switch()
        for machine in self.machines.values():
            machine.start()

    def crash(self) -> None:
        """Crash all machines and stop the switch."""
        for machine in self.machines.values():
            machine.crash()
        self.stop_switch()

    def remove(self) -> None:
        self.crash()
        shutil.rmtree(self.folder, ignore_errors=True)
