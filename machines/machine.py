"""One machine, with the part of the NixOS test driver's interface that nix/tests uses, and methods
for interactive use.

Its state is in its folder, so another process can continue with the same machine. Times are in
seconds. As with NixOS, `start` does not wait; methods that need the shell start the machine if it
is off, and wait for it.
"""

import base64
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from . import locks, qemu, sockets
from .errors import LabError
from .qmp import Monitor
from .report import Waiting, say
from .shell import Answer, Line, NoAnswer, Shell

# Limit from power on to a shell. It took 40 s on an emulated machine with a core for itself.
BOOT_SECONDS = 600.0
# Limit of a command, and the default limit of a wait, as with NixOS.
COMMAND_SECONDS = 900.0
OFF_SECONDS = 300.0
PAUSE_SECONDS = 0.5
# A file goes over the serial line in pieces of this size.
PIECE_BYTES = 48_000
# Typed on the console; systemd ends all processes of the unit.
END_COMMAND = b"\nsystemctl restart --no-block lab-shell.service\n"


class Machine:
    def __init__(
        self, hardware: qemu.Hardware, kvm: bool, switch: Path, make_disk: Callable[[Path], None]
    ) -> None:
        self.hardware = hardware
        self.name = hardware.name
        self.kvm = kvm
        self.switch = switch
        self.make_disk = make_disk
        # The folder with the disk, as with NixOS. A missing disk is made again at the next start.
        self.state_dir = hardware.folder
        self.process: subprocess.Popen[bytes] | None = None
        self.shell: Line | None = None
        # The time of the last start, and whether the shell has answered since.
        self.began = time.monotonic()
        self.answered = True
        # Whether the machine stays off until `start`: another process may have turned it off.
        self.turned_on_by_command = False

    # --- Power ------------------------------------------------------------------------------------

    @property
    def pids(self) -> list[int]:
        """The process ID of QEMU; none if the machine is off. Found by its folder: a file with the
        ID would be missing after a kill between QEMU's start and the write."""
        if self.process is not None and self.process.poll() is not None:
            self.process = None
        return qemu.running_in(self.state_dir)

    @property
    def booted(self) -> bool:
        return bool(self.pids)

    def power_switch(self) -> AbstractContextManager[None]:
        """One process at a time turns the machine on or off."""
        # Beside the folder, which may be removed.
        return locks.locked(self.state_dir.with_suffix(".lock"), f"turns {self.name} on or off")

    def start(self) -> None:
        with self.power_switch():
            if self.booted:
                return
            self.log("start")
            self.state_dir.mkdir(parents=True, exist_ok=True)
            if not self.hardware.disk.exists():
                self.make_disk(self.hardware.disk)
            self.forget_shell()
            with sockets.connect(self.switch) as card:
                self.process = qemu.start(self.hardware, self.kvm, card)
            self.began = time.monotonic()
            self.answered = False

    def crash(self) -> None:
        """Power failure."""
        with self.power_switch():
            pids = self.pids
            if not pids:
                return
            self.log("crash")
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.wait_for_shutdown()

    def shutdown(self) -> None:
        """Orderly shutdown: every unit is stopped."""
        if not self.booted:
            return
        self.log("shutdown")
        self.execute("systemctl poweroff --no-block")
        self.wait_for_shutdown()

    def reboot(self) -> None:
        """Orderly reboot; returns when the shell answers again."""
        self.log("reboot")
        before = self.succeed("cat /proc/sys/kernel/random/boot_id")
        self.execute("systemctl reboot --no-block")
        waiting = Waiting(f"{self.name} has rebooted", BOOT_SECONDS + OFF_SECONDS)
        while True:
            try:
                if (
                    self.connected().ready()
                    and self.run("cat /proc/sys/kernel/random/boot_id", 60).output != before
                ):
                    return
            except NoAnswer:
                self.forget_shell()
            if waiting.over():
                raise AssertionError(
                    f"{self.name} has not rebooted after {waiting.limit:.0f} s{self.console_tail()}"
                )
            time.sleep(PAUSE_SECONDS)

    def wait_for_shutdown(self) -> None:
        waiting = Waiting(f"{self.name} is off", OFF_SECONDS)
        while self.booted:
            if waiting.over():
                raise AssertionError(
                    f"{self.name} is still on after {waiting.limit:.0f} s{self.console_tail()}"
                )
            time.sleep(0.1)
        self.forget_shell()

    # --- Network cable ----------------------------------------------------------------------------

    def block(self) -> None:
        """Pull the network cable."""
        self.log("network cable pulled")
        self.set_link(up=False)

    def unblock(self) -> None:
        self.log("network cable plugged in")
        self.set_link(up=True)

    def set_link(self, up: bool) -> None:
        with Monitor(self.hardware.monitor) as monitor:
            monitor.execute("set_link", name=qemu.CARD, up=up)

    # --- Shell ------------------------------------------------------------------------------------

    def open_line(self) -> Line:
        try:
            return Shell(self.hardware.shell)
        except OSError as error:
            raise NoAnswer(f"{self.name} has no serial line: {error}") from None

    def connected(self) -> Line:
        if self.shell is None:
            self.shell = self.open_line()
        return self.shell

    def forget_shell(self) -> None:
        if self.shell is not None:
            self.shell.close()
            self.shell = None

    def connect(self) -> None:
        """Start the machine if it is off, unless only a command turns it on, and wait until its
        shell answers."""
        if not self.booted:
            if self.turned_on_by_command:
                raise LabError(f"{self.name} is off", f"./lab machines start {self.name}")
            self.start()
        if self.shell is not None:
            return
        waiting = Waiting(f"{self.name} has a shell", BOOT_SECONDS)
        while True:
            try:
                if self.connected().ready():
                    if not self.answered:
                        self.log(
                            f"has a shell, {time.monotonic() - self.began:.0f} s after power on"
                        )
                    self.answered = True
                    return
            except NoAnswer:
                self.forget_shell()
                time.sleep(PAUSE_SECONDS)
            if not self.booted:
                raise AssertionError(f"{self.name} went off{self.console_tail()}")
            if waiting.over():
                raise AssertionError(
                    f"{self.name} has no shell after {waiting.limit:.0f} s{self.console_tail()}"
                )

    def run(self, command: str, limit: float) -> Answer:
        return self.connected().run(command, limit)

    def end_command(self) -> None:
        """End a command that nobody waits for: the shell runs one at a time, so later ones would
        wait for it. By the console's shell, as the other one is busy."""
        with suppress(OSError), sockets.connect(self.hardware.console) as console:
            console.sendall(END_COMMAND)

    def execute(self, command: str, timeout: float = COMMAND_SECONDS) -> tuple[int, str]:
        """The command's exit status and standard output."""
        answer = self.ask(command, timeout)
        return answer.status, answer.output

    def ask(self, command: str, timeout: float = COMMAND_SECONDS) -> Answer:
        self.connect()
        try:
            return self.run(command, timeout)
        except NoAnswer as silence:
            self.forget_shell()
            raise AssertionError(f"{self.name}: {silence}{self.console_tail()}") from None

    def succeed(self, *commands: str, timeout: float = COMMAND_SECONDS) -> str:
        output = ""
        for command in commands:
            answer = self.ask(command, timeout)
            if answer.status != 0:
                raise AssertionError(
                    f"{self.name}: status {answer.status} of: {command}\n"
                    f"{answer.output}{answer.errors}"
                )
            output += answer.output
        return output

    def fail(self, *commands: str, timeout: float = COMMAND_SECONDS) -> str:
        output = ""
        for command in commands:
            answer = self.ask(command, timeout)
            if answer.status == 0:
                raise AssertionError(
                    f"{self.name}: command should fail: {command}\n{answer.output}"
                )
            output += answer.output
        return output

    def wait_until(self, what: str, timeout: float, holds: Callable[[], bool]) -> None:
        waiting = Waiting(f"{self.name}: {what}", timeout)
        while not holds():
            if waiting.over():
                raise AssertionError(f"{self.name}: not met after {timeout:.0f} s: {what}")
            time.sleep(PAUSE_SECONDS)

    def wait_until_succeeds(self, command: str, timeout: float = COMMAND_SECONDS) -> str:
        seen: list[Answer] = []

        def holds() -> bool:
            seen.append(self.ask(command, timeout))
            return seen[-1].status == 0

        self.wait_until(command, timeout, holds)
        return seen[-1].output

    def wait_until_fails(self, command: str, timeout: float = COMMAND_SECONDS) -> str:
        seen: list[Answer] = []

        def holds() -> bool:
            seen.append(self.ask(command, timeout))
            return seen[-1].status != 0

        self.wait_until(f"fails: {command}", timeout, holds)
        return seen[-1].output

    def wait_for_unit(self, unit: str, timeout: float = COMMAND_SECONDS) -> None:
        """Wait until the unit is active; raises at once if it has failed."""

        def active() -> bool:
            state = self.execute(f"systemctl show --property=ActiveState --value {unit}")[1].strip()
            if state == "failed":
                raise AssertionError(
                    f"{self.name}: {unit} has failed\n{self.execute(f'journalctl -b -u {unit} -o cat | tail -n 20')[1]}"
                )
            return state == "active"

        self.wait_until(f"{unit} is active", timeout, active)

    # --- Files ------------------------------------------------------------------------------------

    def copy_from_host(self, source: str, target: str) -> None:
        """Copy one file to the machine."""
        data = Path(source).read_bytes()
        self.succeed(f"mkdir -p {Path(target).parent} && : >{target}")
        for at in range(0, len(data), PIECE_BYTES):
            self.succeed(
                f"base64 -d >>{target} <<<{base64.b64encode(data[at : at + PIECE_BYTES]).decode()}"
            )

    def copy_from_machine(self, source: str, target_dir: str = "") -> None:
        """Copy one file from the machine into a folder under `state_dir`."""
        folder = self.state_dir / target_dir
        folder.mkdir(parents=True, exist_ok=True)
        (folder / Path(source).name).write_bytes(
            base64.b64decode(self.succeed(f"base64 -w 0 {source}"))
        )

    # --- Other ------------------------------------------------------------------------------------

    def remove(self) -> None:
        """Crash the machine and remove its folder with the disk."""
        self.crash()
        shutil.rmtree(self.state_dir, ignore_errors=True)

    def console_tail(self) -> str:
        try:
            lines = self.hardware.console_log.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return "; the end of its console:\n" + "\n".join(lines[-15:])

    def log(self, text: str) -> None:
        say(f"{self.name}: {text}")
