"""A folder with three machines and their network: made, started, and found again by whoever comes later."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from . import disk, qemu, sockets
from .errors import Trouble
from .guests import GUESTS, Variant, lab_toml
from .image import HERE, Image
from .machine import Machine
from .report import say

SWITCH_SECONDS = 20.0
ROOT = HERE.parent


class Site:
    def __init__(self, folder: Path, image: Image, halab: Path, variant: Variant, kvm: bool) -> None:
        self.folder = folder
        self.image = image
        self.halab = halab
        self.variant = variant
        self.socket = folder / "switch.sock"
        self.switch_pid = folder / "switch.pid"
        self.machines = {
            guest.name: Machine(
                qemu.Hardware(folder / guest.name, guest.name, guest.number, guest.memory(variant)),
                image,
                kvm,
                self.socket,
                partial(self.make_disk, guest.name),
            )
            for guest in GUESTS
        }

    @property
    def exists(self) -> bool:
        return self.socket.exists()

    def lock(self) -> int:
        """Nobody else makes or ends the machines of this folder as long as the descriptor is open."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # Beside it: the folder itself is removed.
        lock = os.open(self.folder.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Trouble(f"somebody else is at work in {self.folder}", "wait for it to end, or take another LAB_DIR") from None
        return lock

    def prepare(self) -> None:
        """The lab's description and secrets, the same on all machines; their disks are made when they start."""
        self.folder.mkdir(parents=True, exist_ok=True)
        toml = self.folder / "lab.toml"
        toml.write_text(lab_toml((ROOT / "lab.toml").read_text(), self.variant))
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HALAB_")}
        made = subprocess.run(
            [self.halab, "--config", toml, "secrets", "make", self.folder / "secrets"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if made.returncode != 0:
            raise Trouble(f"halab secrets make failed:\n{made.stderr}")

    def make_disk(self, name: str, path: Path) -> None:
        contents = disk.Contents(
            self.halab, ROOT / "deploy/systemd", (self.folder / "lab.toml").read_text(), self.folder / "secrets", self.variant
        )
        guest = next(guest for guest in GUESTS if guest.name == name)
        disk.make(path, self.image, guest, contents, disk.addresses())

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
                raise Trouble(f"the machines' switch does not start: {self.folder}/switch.log")
            time.sleep(0.05)

    def stop_switch(self) -> None:
        if self.switch_is_on():
            try:
                os.kill(int(self.switch_pid.read_text()), signal.SIGTERM)
            except (OSError, ValueError):
                say(f"the switch of {self.folder} does not end")
        self.socket.unlink(missing_ok=True)

    def start(self) -> None:
        self.start_switch()
        for machine in self.machines.values():
            machine.start()

    def crash(self) -> None:
        """All of it, at once."""
        for machine in self.machines.values():
            machine.crash()
        self.stop_switch()

    def remove(self) -> None:
        self.crash()
        shutil.rmtree(self.folder, ignore_errors=True)
