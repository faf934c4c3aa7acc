"""Power of machines and their locks, with a copy of `sleep` in place of QEMU."""

import os
import shutil
import subprocess
import tempfile
import threading
import time
import unittest
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from unittest import mock

from machines import locks, qemu, site, sockets
from machines.boot import Boot
from machines.errors import LabError
from machines.machine import Machine


class PowerTest(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.site = Path(scratch.name) / "test-a"
        self.site.mkdir()
        self.program = Path(scratch.name) / qemu.PROGRAM
        shutil.copy(shutil.which("sleep") or "", self.program)
        self.ended: list[subprocess.Popen[bytes]] = []
        self.addCleanup(self.end_all)
        self.enterContext(mock.patch.object(qemu, "start", self.start_qemu))
        self.enterContext(redirect_stdout(StringIO()))
        self.switch = self.site / site.SWITCH_SOCKET
        self.addCleanup(sockets.listen(self.switch).close)

    def end_all(self) -> None:
        for process in self.ended:
            process.kill()
            process.wait()

    def start_qemu(self, hardware: qemu.Hardware, *_: object) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([self.program, "600"], cwd=hardware.folder)
        self.ended.append(process)
        # As the process that waits for its children; here it is this one.
        threading.Thread(target=process.wait, daemon=True).start()
        return process

    def machine(self) -> Machine:
        """The machine `one`, as each command has it."""
        hardware = qemu.Hardware(
            self.site / "one", "one", 1, 256, Boot(Path("/vmlinuz"), Path("/initrd"))
        )
        return Machine(hardware, False, self.switch, self.make_disk)

    def make_disk(self, disk: Path) -> None:
        # Long enough for another command to see the machine off.
        time.sleep(0.1)
        disk.touch()

    def test_two_commands_at_once_start_one_machine(self) -> None:
        starts = [threading.Thread(target=self.machine().start) for _ in range(8)]
        for start in starts:
            start.start()
        for start in starts:
            start.join()
        self.assertEqual(len(self.machine().pids), 1)
        self.assertEqual(len(self.ended), 1)

    def test_a_crash_ends_every_qemu_of_the_machine(self) -> None:
        """Also those whose process was killed before it noted the ID, and no other program that
        runs in the folder."""
        machine = self.machine()
        machine.start()
        self.start_qemu(machine.hardware)
        beside = subprocess.Popen(["sleep", "600"], cwd=machine.state_dir)
        self.addCleanup(beside.wait)
        self.addCleanup(beside.kill)
        self.assertEqual(len(self.machine().pids), 2)
        self.machine().crash()
        self.assertFalse(self.machine().booted)
        self.assertIsNone(beside.poll())

    def test_a_machine_that_another_command_turned_off_stays_off(self) -> None:
        machine = self.machine()
        machine.start()
        machine.turned_on_by_command = True
        self.machine().crash()
        with self.assertRaisesRegex(LabError, "one is off"):
            machine.execute("halab status")
        self.assertFalse(machine.booted)

    def test_the_machines_of_a_killed_test_are_removed(self) -> None:
        self.machine().start()
        lock = locks.try_lock(site.lock_file(self.site))
        assert lock is not None
        self.assertFalse(site.remove_abandoned(self.site))
        self.assertTrue(self.machine().booted)
        os.close(lock)
        self.assertTrue(site.remove_abandoned(self.site))
        self.assertFalse(self.site.exists())
        for process in self.ended:
            process.wait(10)

    def test_a_command_is_ended_by_the_console(self) -> None:
        """By the unit that guests have."""
        machine = self.machine()
        machine.end_command()  # without a console
        machine.state_dir.mkdir()
        with sockets.listen(machine.hardware.console) as server:
            machine.end_command()
            with server.accept()[0] as console, console.makefile() as lines:
                typed = lines.read()
        self.assertEqual(typed.split()[-1], "lab-shell.service")
        self.assertEqual(typed[-1], "\n")

    def test_a_process_that_is_not_the_switch_is_not_ended(self) -> None:
        other = subprocess.Popen(["sleep", "600"])
        self.addCleanup(other.wait)
        self.addCleanup(other.kill)
        (self.site / site.SWITCH_PID).write_text(f"{other.pid}\n")
        self.assertFalse(site.stop_switch(self.site))
        self.assertIsNone(other.poll())


class LockTest(unittest.TestCase):
    def test_shared_locks_exclude_an_exclusive_one_only(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "a.lock"
            held = [locks.try_lock(file, shared=True) for _ in range(2)]
            self.assertNotIn(None, held)
            self.assertIsNone(locks.try_lock(file))
            for lock in held:
                os.close(lock or 0)
            last = locks.try_lock(file)
            self.assertIsNotNone(last)
            self.assertIsNone(locks.try_lock(file, shared=True))
            os.close(last or 0)


class KvmTest(unittest.TestCase):
    def test_a_result_that_cannot_be_read_is_unknown(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "kvm"
            self.assertIsNone(qemu.known_result(file))
            for text in (
                "",
                "\n",
                qemu.boot_id(),
                f"{qemu.boot_id()} wor",
                "other works",
                "\udcff",
            ):
                file.write_text(text, errors="surrogateescape")
                self.assertIsNone(qemu.known_result(file), text)
            for works, word in qemu.WORKS.items():
                file.write_text(f"{qemu.boot_id()} {word}\n")
                self.assertIs(qemu.known_result(file), works)
