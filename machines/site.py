"""A folder with machines and their network, which later processes can find and use again.

Subclasses define the machines and their disks.
"""

import abc
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from . import locks, qemu, sockets
from .errors import LabError
from .image import HERE
from .machine import Machine
from .report import say

SWITCH_SECONDS = 20.0
ROOT = HERE.parent


SWITCH_SOCKET = "switch.sock"
SWITCH_PID = "switch.pid"


def lock_file(folder: Path) -> Path:
    """Beside the folder, which may be removed."""
    return folder.with_suffix(".lock")


def stop_switch(folder: Path) -> bool:
    """Ends the switch of a site's folder; False if there is none."""
    try:
        pid = int((folder / SWITCH_PID).read_text())
        # Another process may have the same ID now.
        if str(folder / SWITCH_SOCKET) not in qemu.command_of(pid):
            return False
        os.kill(pid, signal.SIGTERM)
    except (OSError, ValueError):
        return False
    return True


def remove_abandoned(folder: Path) -> bool:
    """End the machines of a folder whose process was killed, and remove it; False if a process
    still uses it."""
    lock = locks.try_lock(lock_file(folder))
    if lock is None:
        return False
    try:
        for machine in folder.iterdir():
            for pid in qemu.running_in(machine):
                os.kill(pid, signal.SIGKILL)
        stop_switch(folder)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
    return True


class Site(abc.ABC):
    machines: dict[str, Machine]

    def __init__(self, folder: Path, kvm: bool) -> None:
        self.folder = folder
        self.kvm = kvm
        self.socket = folder / SWITCH_SOCKET
        self.switch_pid = folder / SWITCH_PID

    @abc.abstractmethod
    def prepare(self) -> None:
        """Make what all machines need; each disk is made when its machine starts."""

    def logs(self) -> list[Path]:
        """Logs of the whole site, which a failed test keeps."""
        return [self.folder / "switch.log"]

    @property
    def exists(self) -> bool:
        return self.socket.exists()

    def lock(self, shared: bool = False) -> int:
        """Lock the machines of this folder against other processes until the descriptor is closed.
        Processes with a shared lock, for single machines, exclude only those that use all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = locks.try_lock(lock_file(self.folder), shared)
        if lock is None:
            raise LabError(
                f"another process uses {self.folder}",
                "wait for it to end, or set another LAB_DIR",
            )
        return lock

    def switch_is_on(self) -> bool:
        try:
            sockets.connect(self.socket).close()
        except OSError:
            return False
        return True

    def start_switch(self) -> None:
        with locks.locked(self.folder / "switch.lock", "starts the switch"):
            self.start_switch_alone()

    def start_switch_alone(self) -> None:
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
        if not stop_switch(self.folder) and self.switch_is_on():
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
