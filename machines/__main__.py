"""`./lab machines COMMAND`. scripts/machines.sh installs the tools and passes the lab's folder."""

import argparse
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from . import console, driver, hosts, qemu
from .errors import LabError
from .faults import LIMIT_SECONDS, Fault, runs_of, table
from .guests import GUESTS, Variant
from .hostsite import HostSite
from .image import Image
from .labsite import LabSite
from .machine import Machine
from .report import say_error, say
from .site import remove_abandoned

PARTS = {
    guest.name: ", ".join(
        (
            *guest.nodes,
            *(["writer"] if guest.writer else []),
            *(["proxy"] if guest.proxy else []),
        )
    )
    for guest in GUESTS
}
NEXT = """
Next:
  ./lab machines status          state of the machines and of the lab
  ./lab machines crash one       power failure; `start one` turns it on again
  ./lab machines cut two         pull the network cable; `heal two` plugs it in again
  ./lab machines shell three     console; Ctrl-] leaves it
  ./lab machines down            shut all machines down; their disks stay
"""


class Command:
    """The command to run, with its options and files."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.folder = Path(os.environ["LAB_DIR"]) / "machines"
        self.image = Image(self.folder / "image")
        self.halab = Path(os.environ["CARGO_TARGET_DIR"]) / "release/halab"

    def kvm(self) -> bool:
        return self.image.initrd.exists() and qemu.kvm_works(self.image)

    def site(self, name: str, variant: Variant, fault: Fault | None = None) -> LabSite:
        return LabSite(self.folder / name, self.image, self.halab, variant, self.kvm(), fault)

    def by_hand(self) -> LabSite:
        """The machines created by `up`."""
        site = self.site("up", Variant())
        if not site.exists:
            raise LabError("the machines are not up", "./lab machines up")
        for machine in site.machines.values():
            machine.turned_on_by_command = True
        return site

    @contextmanager
    def one_machine(self) -> Iterator[Machine]:
        """A machine, with a lock against `up`, `down` and `clean`, which use all."""
        site = self.by_hand()
        lock = site.lock(shared=True)
        try:
            yield site.machines[self.options.machine]
        finally:
            os.close(lock)

    @contextmanager
    def running(self) -> Iterator[Machine]:
        with self.one_machine() as machine:
            self.require_on(machine)
            yield machine

    def require_on(self, machine: Machine) -> None:
        if not machine.booted:
            raise LabError(f"{machine.name} is off", f"./lab machines start {machine.name}")

    def make_image(self) -> None:
        self.image.folder.mkdir(parents=True, exist_ok=True)
        self.image.make()

    def up(self) -> int:
        self.make_image()
        site = self.site("up", Variant())
        lock = site.lock()
        site.prepare()
        site.start()
        for machine in site.machines.values():
            machine.connect()
            # Another command may turn one off from here on.
            machine.turned_on_by_command = True
        os.close(lock)
        three = site.machines["three"]
        three.wait_until(
            "the lab is healthy: halab status", 900, lambda: three.execute("halab status")[0] == 0
        )
        print(three.execute("halab status")[1])
        for name, parts in PARTS.items():
            print(f"  {name:6} {parts}")
        print(NEXT)
        return 0

    def down(self) -> int:
        site = self.by_hand()
        lock = site.lock()
        for machine in site.machines.values():
            if machine.booted:
                machine.log("shutdown")
                machine.execute("systemctl poweroff --no-block")
        for machine in site.machines.values():
            machine.wait_for_shutdown()
        site.stop_switch()
        os.close(lock)
        say(f"all machines are off; ./lab machines clean removes their disks in {site.folder}")
        return 0

    def clean(self) -> int:
        site = self.site("up", Variant())
        lock = site.lock()
        site.remove()
        os.close(lock)
        for folder in self.abandoned():
            if remove_abandoned(folder):
                say(f"removed the machines of a test that was killed: {folder.name}")
            else:
                say(f"kept the machines of a test that runs: {folder.name}")
        say("removed the machines and their disks; the image stays for later runs")
        return 0

    def abandoned(self) -> list[Path]:
        """The folders of tests, which remove theirs unless they are killed."""
        return [
            folder
            for pattern in ("test-*", "fault-*")
            for folder in sorted(self.folder.glob(pattern))
            if folder.is_dir()
        ]

    def status(self) -> int:
        site = self.by_hand()
        for name, machine in site.machines.items():
            print(f"  {name:6} {'on ' if machine.booted else 'off'} {PARTS[name]}")
        seen_from = next(
            (machine for machine in reversed(site.machines.values()) if machine.booted), None
        )
        if seen_from is None:
            return 1
        status, output = seen_from.execute("halab status")
        print(output, end="")
        return status

    def start(self) -> int:
        site = self.by_hand()
        lock = site.lock(shared=True)
        machine = site.machines[self.options.machine]
        # After a reboot of this computer the switch is off too.
        site.start_switch()
        machine.start()
        machine.connect()
        os.close(lock)
        return 0

    def run(self) -> int:
        # Without a lock, as `shell`: `down` ends the command.
        machine = self.by_hand().machines[self.options.machine]
        self.require_on(machine)
        try:
            answer = machine.ask(" ".join(self.options.command))
        except (KeyboardInterrupt, SystemExit):
            machine.end_command()
            raise
        print(answer.output, end="")
        print(answer.errors, end="", file=sys.stderr)
        return answer.status

    def shell(self) -> int:
        if not sys.stdin.isatty():
            raise LabError(
                "the console needs a terminal",
                f"./lab machines run {self.options.machine} COMMAND",
            )
        machine = self.by_hand().machines[self.options.machine]
        self.require_on(machine)
        print("Ctrl-] leaves the console.", file=sys.stderr)
        console.attend(machine.hardware.console)
        return 0

    def crash(self) -> int:
        with self.one_machine() as machine:
            machine.crash()
        return 0

    def shutdown(self) -> int:
        with self.one_machine() as machine:
            machine.shutdown()
        return 0

    def reboot(self) -> int:
        with self.running() as machine:
            machine.reboot()
        return 0

    def cut(self) -> int:
        with self.running() as machine:
            machine.block()
        return 0

    def heal(self) -> int:
        with self.running() as machine:
            machine.unblock()
        return 0

    def trial(self, test: str, limit: float | None = None) -> driver.TestRun:
        name = f"test-{test}"
        if test in driver.SCRIPTS:
            site = self.site(name, driver.variant_of(test))
            return driver.TestRun(
                test, site, partial(driver.run_script, test, site.machines, site.start, limit=limit)
            )
        hosts_site = HostSite(self.folder / name, self.folder / "hosts", self.kvm())
        return driver.TestRun(test, hosts_site, partial(hosts.run, hosts_site))

    def test(self) -> int:
        self.make_image()
        return self.tests(self.options.tests)

    def holds(self, trial: driver.TestRun) -> bool:
        lock = trial.site.lock()
        try:
            return driver.run_test(trial, self.folder / "failed")
        finally:
            os.close(lock)

    def tests(self, tests: Iterable[str], limit: float | None = None) -> int:
        failed = [test for test in tests if not self.holds(self.trial(test, limit))]
        if failed:
            say_error(f"failed: {', '.join(failed)}")
        return 1 if failed else 0

    def faults(self) -> int:
        if self.options.list:
            print(table(self.options.runs), end="")
            return 0
        self.make_image()
        if self.options.control:
            return self.tests(dict.fromkeys(run.test for run in self.options.runs), LIMIT_SECONDS)
        results = []
        for run in self.options.runs:
            say(f"{run.test} with the fault {run.fault.name}: {run.fault.what}")
            site = self.site(f"fault-{run.fault.name}", driver.variant_of(run.test), run.fault)
            act = partial(
                driver.run_script, run.test, site.machines, site.start, limit=LIMIT_SECONDS
            )
            results.append(self.holds(driver.TestRun(run.test, site, act, run.expected)))
        for run, detected in zip(self.options.runs, results, strict=True):
            print(
                f"  {'detected' if detected else 'NOT DETECTED':12}  {run.fault.kind:10}  "
                f"{run.fault.name} by {run.test}"
            )
        if not all(results):
            say_error(f"faults not detected: {results.count(False)} of {len(results)}")
            return 1
        return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="./lab machines", description="The lab on three virtual machines of Debian packages."
    )
    # scripts/machines.sh checks the command line with this before it installs anything.
    top.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
    commands = top.add_subparsers(dest="name", required=True, metavar="COMMAND")
    commands.add_parser("up", help="create and start the machines, wait until the lab is healthy")
    commands.add_parser("down", help="shut the machines down; their disks stay")
    commands.add_parser("clean", help="remove the machines and their disks")
    commands.add_parser("status", help="state of the machines and of the lab")
    for name, text in {
        "crash": "power failure",
        "start": "power on, wait for a shell",
        "shutdown": "orderly shutdown",
        "reboot": "orderly reboot",
        "cut": "pull the network cable",
        "heal": "plug the network cable in again",
        "shell": "console; Ctrl-] leaves it",
    }.items():
        commands.add_parser(name, help=text).add_argument("machine", choices=list(PARTS))
    run = commands.add_parser("run", help="run a command as root on a machine that is on")
    run.add_argument("machine", choices=list(PARTS))
    run.add_argument("command", nargs=argparse.REMAINDER)
    test = commands.add_parser(
        "test",
        help=f"run tests on machines of their own (default: all): {', '.join(driver.NAMES)}",
    )
    test.add_argument("tests", nargs="*", metavar="TEST")
    fault = commands.add_parser(
        "faults",
        help="run tests on machines with a fault, by which they must fail (default: all faults)",
    )
    fault.add_argument("--list", action="store_true", help="list the faults and their tests")
    fault.add_argument(
        "--control",
        action="store_true",
        help="run the same tests with the same limit and without faults; they must pass",
    )
    fault.add_argument("--test", choices=driver.SCRIPTS, help="run this test only")
    fault.add_argument("faults", nargs="*", metavar="FAULT")
    return top


def main() -> int:
    options = parser().parse_args()
    try:
        if options.name == "test":
            options.tests = driver.known(options.tests)
        if options.name == "faults":
            options.runs = runs_of(options.faults, options.test)
    except LabError as trouble:
        say_error(str(trouble), trouble.remedy)
        return 2
    if options.check:
        return 0
    # As Ctrl-C does: a test removes its machines when it ends.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    command = Command(options)
    try:
        result: int = getattr(command, options.name)()
        return result
    except LabError as trouble:
        say_error(str(trouble), trouble.remedy)
    except (AssertionError, OSError) as failure:
        say_error(str(failure))
    except KeyboardInterrupt:
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main())
