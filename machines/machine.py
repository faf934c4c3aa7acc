"""One machine, with as much of the interface of NixOS' test driver as nix/tests uses, and a little more for who works by hand.

What it knows of itself is in its folder: another process goes on with the same machine. Times are in seconds. As with NixOS,
`start` does not wait, and whatever needs the machine's shell starts the machine if it is off, and waits for it.
"""

import base64
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from . import qemu, sockets
from .qmp import Monitor
from .report import Waiting, say
from .shell import Answer, Line, NoAnswer, Shell

# From power on to a shell: 40 s were seen on an emulated machine that had a core for itself.
BOOT_SECONDS = 600.0
# A command; what a wait may take that says nothing else. As with NixOS.
COMMAND_SECONDS = 900.0
OFF_SECONDS = 300.0
PAUSE_SECONDS = 0.5
# A piece of a file, on its way through the serial line.
PIECE_BYTES = 48_000


class Machine:
    def __init__(
        self, hardware: qemu.Hardware, kvm: bool, switch: Path, make_disk: Callable[[Path], None]
    ) -> None:
        self.hardware = hardware
        self.name = hardware.name
        self.kvm = kvm
        self.switch = switch
        self.make_disk = make_disk
        # As with NixOS: the folder with its disk, which is made anew at the next start if it is gone.
        self.state_dir = hardware.folder
        self.process: subprocess.Popen[bytes] | None = None
        self.shell: Line | None = None
        # When it was started last, and whether it has answered since.
        self.began = time.monotonic()
        self.seen = True

    # --- The power button ---------------------------------------------------------------------------------

    @property
    def pid(self) -> int | None:
        """Of its QEMU; None: it is off."""
        if self.process is not None and self.process.poll() is not None:
            self.process = None
        try:
            pid = int((self.state_dir / "qemu.pid").read_text())
            # Not another process that has got that number meanwhile.
            here = os.readlink(f"/proc/{pid}/cwd") == str(self.state_dir.resolve())
            dead = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (OSError, ValueError):
            return None
        return pid if here and not dead else None

    @property
    def booted(self) -> bool:
        return self.pid is not None

    def start(self) -> None:
        if self.booted:
            return
        self.log("start")
        self.state_dir.mkdir(parents=True, exist_ok=True)
        if not self.hardware.disk.exists():
            self.make_disk(self.hardware.disk)
        self.forget_shell()
        with sockets.connect(self.switch) as card:
            self.process = qemu.start(self.hardware, self.kvm, card)
        (self.state_dir / "qemu.pid").write_text(f"{self.process.pid}\n")
        self.began = time.monotonic()
        self.seen = False

    def crash(self) -> None:
        """As if its power had failed."""
        pid = self.pid
        if pid is None:
            return
        self.log("crash")
        os.kill(pid, signal.SIGKILL)
        self.wait_for_shutdown()

    def shutdown(self) -> None:
        """In order: every unit is stopped."""
        if not self.booted:
            return
        self.log("shutdown")
        self.execute("systemctl poweroff --no-block")
        self.wait_for_shutdown()

    def reboot(self) -> None:
        """In order; back when its shell is."""
        self.log("reboot")
        before = self.succeed("cat /proc/sys/kernel/random/boot_id")
        self.execute("systemctl reboot --no-block")
        waiting = Waiting(f"{self.name} has been rebooted", BOOT_SECONDS + OFF_SECONDS)
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
                    f"{self.name} has not been rebooted after {waiting.limit:.0f} s{self.console_tail()}"
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
        (self.state_dir / "qemu.pid").unlink(missing_ok=True)

    # --- The network cable --------------------------------------------------------------------------------

    def block(self) -> None:
        """As if its cable had been pulled."""
        self.log("cut off from the network")
        self.set_link(up=False)

    def unblock(self) -> None:
        self.log("back on the network")
        self.set_link(up=True)

    def set_link(self, up: bool) -> None:
        with Monitor(self.hardware.monitor) as monitor:
            monitor.execute("set_link", name=qemu.CARD, up=up)

    # --- Its shell ----------------------------------------------------------------------------------------

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
        """Until its shell answers."""
        if not self.booted:
            self.start()
        if self.shell is not None:
            return
        waiting = Waiting(f"{self.name} has a shell", BOOT_SECONDS)
        while True:
            try:
                if self.connected().ready():
                    if not self.seen:
                        self.log(
                            f"has a shell, {time.monotonic() - self.began:.0f} s after power on"
                        )
                    self.seen = True
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

    def execute(self, command: str, timeout: float = COMMAND_SECONDS) -> tuple[int, str]:
        """Its status, and what it printed on standard output."""
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
                    f"{self.name}: status {answer.status} of: {command}\n{answer.output}{answer.errors}"
                )
            output += answer.output
        return output

    def fail(self, *commands: str, timeout: float = COMMAND_SECONDS) -> str:
        output = ""
        for command in commands:
            answer = self.ask(command, timeout)
            if answer.status == 0:
                raise AssertionError(f"{self.name}: this was to fail: {command}\n{answer.output}")
            output += answer.output
        return output

    def wait_until(self, what: str, timeout: float, holds: Callable[[], bool]) -> None:
        waiting = Waiting(f"{self.name}: {what}", timeout)
        while not holds():
            if waiting.over():
                raise AssertionError(f"{self.name}: not so after {timeout:.0f} s: {what}")
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
        """Until it is active; at once an error where it has failed."""

        def active() -> bool:
            state = self.execute(f"systemctl show --property=ActiveState --value {unit}")[1].strip()
            if state == "failed":
                raise AssertionError(
                    f"{self.name}: {unit} has failed\n{self.execute(f'journalctl -b -u {unit} -o cat | tail -n 20')[1]}"
                )
            return state == "active"

        self.wait_until(f"{unit} is active", timeout, active)

    # --- Files --------------------------------------------------------------------------------------------

    def copy_from_host(self, source: str, target: str) -> None:
        """One file."""
        data = Path(source).read_bytes()
        self.succeed(f"mkdir -p {Path(target).parent} && : >{target}")
        for at in range(0, len(data), PIECE_BYTES):
            self.succeed(
                f"base64 -d >>{target} <<<{base64.b64encode(data[at : at + PIECE_BYTES]).decode()}"
            )

    def copy_from_machine(self, source: str, target_dir: str = "") -> None:
        """One file, into a folder beside the machine's own things."""
        folder = self.state_dir / target_dir
        folder.mkdir(parents=True, exist_ok=True)
        (folder / Path(source).name).write_bytes(
            base64.b64decode(self.succeed(f"base64 -w 0 {source}"))
        )

    # --- The rest -----------------------------------------------------------------------------------------

    def remove(self) -> None:
        """Off, and gone with its disk."""
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
