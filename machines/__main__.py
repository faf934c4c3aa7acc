"""`./lab machines COMMAND`: scripts/machines.sh sets up what this needs, and says where the lab's folder is."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from . import console, driver, hosts, qemu
from .errors import Trouble
from .faults import LIMIT_SECONDS, Fault, runs_of, table
from .guests import GUESTS, Variant
from .hostsite import HostSite
from .image import Image
from .labsite import LabSite
from .machine import Machine
from .report import complain, say

PARTS = {
    guest.name: ", ".join((*guest.nodes, *(["writer"] if guest.writer else []))) for guest in GUESTS
}
NEXT = """
Next:
  ./lab machines status          the lab, as the writer's machine sees it
  ./lab machines crash one       as if its power had failed; start one brings it back
  ./lab machines cut two         as if its cable had been pulled; heal two puts it back
  ./lab machines shell three     a shell there; Ctrl-] leaves it
  ./lab machines down            all off; their disks stay
"""


class Command:
    """What was asked for, with what it needs."""

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
        """The machines that `up` has made."""
        site = self.site("up", Variant())
        if not site.exists:
            raise Trouble("the machines are not up", "./lab machines up")
        return site

    def machine(self) -> Machine:
        return self.by_hand().machines[self.options.machine]

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
        say(f"all off; their disks are in {site.folder}, until ./lab machines clean")
        return 0

    def clean(self) -> int:
        site = self.site("up", Variant())
        lock = site.lock()
        site.remove()
        os.close(lock)
        site.folder.with_suffix(".lock").unlink()
        say("the machines and their disks are gone; the image stays for the next ones")
        return 0

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
        machine = self.machine()
        machine.start()
        machine.connect()
        return 0

    def run(self) -> int:
        answer = self.machine().ask(" ".join(self.options.command))
        print(answer.output, end="")
        print(answer.errors, end="", file=sys.stderr)
        return answer.status

    def shell(self) -> int:
        machine = self.machine()
        if not machine.booted:
            raise Trouble(f"{machine.name} is off", f"./lab machines start {machine.name}")
        print("Ctrl-] leaves the console.", file=sys.stderr)
        console.attend(machine.hardware.console)
        return 0

    def by_method(self, method: Callable[[Machine], None]) -> int:
        method(self.machine())
        return 0

    def trial(self, test: str, limit: float | None = None) -> driver.Trial:
        name = f"test-{test}"
        if test in driver.SCRIPTS:
            site = self.site(name, driver.variant_of(test))
            return driver.Trial(
                test, site, partial(driver.run_script, test, site.machines, site.start, limit=limit)
            )
        hosts_site = HostSite(self.folder / name, self.folder / "hosts", self.kvm())
        return driver.Trial(test, hosts_site, partial(hosts.tell, hosts_site))

    def test(self) -> int:
        self.make_image()
        return self.tests(self.options.tests)

    def holds(self, trial: driver.Trial) -> bool:
        lock = trial.site.lock()
        try:
            return driver.run_test(trial, self.folder / "failed")
        finally:
            os.close(lock)
            trial.site.folder.with_suffix(".lock").unlink()

    def tests(self, tests: Iterable[str], limit: float | None = None) -> int:
        failed = [test for test in tests if not self.holds(self.trial(test, limit))]
        if failed:
            complain(f"failed: {', '.join(failed)}")
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
            results.append(self.holds(driver.Trial(run.test, site, act, run.expected)))
        for run, seen in zip(self.options.runs, results, strict=True):
            print(
                f"  {'seen' if seen else 'NOT SEEN':8}  {run.fault.kind:10}  {run.fault.name} by {run.test}"
            )
        if not all(results):
            complain(f"faults not seen: {results.count(False)} of {len(results)}")
            return 1
        return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="./lab machines", description="The lab on three virtual machines of Debian's packages."
    )
    # For scripts/machines.sh, which installs nothing for a command that is none.
    top.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
    commands = top.add_subparsers(dest="name", required=True, metavar="COMMAND")
    commands.add_parser("up", help="make the machines, start them, wait until the lab is healthy")
    commands.add_parser("down", help="shut them down; their disks stay")
    commands.add_parser("clean", help="remove them with their disks")
    commands.add_parser("status", help="which are on, and the lab as one of them sees it")
    for name, text in {
        "crash": "as if its power had failed",
        "start": "power on, and wait for a shell",
        "shutdown": "power off, in order",
        "reboot": "off and on, in order",
        "cut": "as if its network cable had been pulled",
        "heal": "the cable is back",
        "shell": "its console; Ctrl-] leaves it",
    }.items():
        commands.add_parser(name, help=text).add_argument("machine", choices=list(PARTS))
    run = commands.add_parser("run", help="a command there, as root")
    run.add_argument("machine", choices=list(PARTS))
    run.add_argument("command", nargs=argparse.REMAINDER)
    test = commands.add_parser(
        "test",
        help=f"tests on machines of their own: {', '.join(driver.NAMES)}; all of them if none is named",
    )
    test.add_argument("tests", nargs="*", metavar="TEST")
    fault = commands.add_parser(
        "faults",
        help="tests of machines with a fault each, which must fail by it; all faults if none is named",
    )
    fault.add_argument("--list", action="store_true", help="which there are, and what sees them")
    fault.add_argument(
        "--control",
        action="store_true",
        help="the same tests with the same limit, without faults: they must pass",
    )
    fault.add_argument("--test", choices=driver.SCRIPTS, help="by this test only")
    fault.add_argument("faults", nargs="*", metavar="FAULT")
    return top


def main() -> int:
    options = parser().parse_args()
    try:
        if options.name == "test":
            options.tests = driver.known(options.tests)
        if options.name == "faults":
            options.runs = runs_of(options.faults, options.test)
    except Trouble as trouble:
        complain(str(trouble), trouble.remedy)
        return 2
    if options.check:
        return 0
    # As Ctrl-C does: a test takes its machines with it.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    command = Command(options)
    methods = {
        "crash": Machine.crash,
        "shutdown": Machine.shutdown,
        "reboot": Machine.reboot,
        "cut": Machine.block,
        "heal": Machine.unblock,
    }
    try:
        if options.name in methods:
            return command.by_method(methods[options.name])
        result: int = getattr(command, options.name)()
        return result
    except Trouble as trouble:
        complain(str(trouble), trouble.remedy)
    except AssertionError as failure:
        complain(str(failure))
    except KeyboardInterrupt:
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main())
