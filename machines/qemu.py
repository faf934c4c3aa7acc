"""QEMU: starts a machine, and tests whether KVM works."""

import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .boot import Boot
from .errors import LabError
from .image import Image
from .report import say

PROGRAM = "qemu-system-x86_64"
# With KVM, a kernel boots within a second.
PROBE_SECONDS = 15
CARD = "card"
# guest/lab-shell finds its port by this name.
SHELL_PORT = "redis-ha-lab.shell"
# The emulator's cache of translated code, per machine.
TRANSLATED_MIB = 128


@dataclass(frozen=True)
class Hardware:
    """One machine's hardware. QEMU runs in `folder`, so the paths of sockets are short."""

    folder: Path
    name: str
    number: int
    memory_mib: int
    boot: Boot
    cores: int = 1
    # If set, the machine has a first network card with QEMU's user network, and its ssh port is
    # forwarded to this port on the loopback of the machine that runs QEMU.
    ssh_port: int | None = None

    @property
    def disk(self) -> Path:
        return self.folder / f"{self.name}.img"

    @property
    def shell(self) -> Path:
        return self.folder / "shell.sock"

    @property
    def console(self) -> Path:
        return self.folder / "console.sock"

    @property
    def monitor(self) -> Path:
        return self.folder / "monitor.sock"

    @property
    def console_log(self) -> Path:
        return self.folder / "console.log"

    @property
    def ethernet(self) -> str:
        """A MAC address in QEMU's range."""
        return f"52:54:00:6c:61:{self.number:02x}"


def accelerator(kvm: bool) -> list[str]:
    if kvm:
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", f"tcg,thread=multi,tb-size={TRANSLATED_MIB}", "-cpu", "max"]


def arguments(hardware: Hardware, kvm: bool, card: int) -> list[str]:
    """QEMU's command line; `card` is the file descriptor of a connection to the switch."""

    # Without KVM, each notification of a device by way of an event descriptor wakes another thread:
    # a quarter of the processor time of a machine with little to do.
    ioeventfd = "ioeventfd=on" if kvm else "ioeventfd=off"

    def device(kind: str, more: str = "") -> list[str]:
        return ["-device", ",".join(filter(None, [f"virtio-{kind}", ioeventfd, more]))]

    def drive(name: str, file: Path, more: str) -> list[str]:
        # In -drive a comma ends a value; a doubled comma is a literal one.
        path = str(file).replace(",", ",,")
        return [
            *("-drive", f"if=none,id={name},file={path},format=raw,{more}"),
            *device("blk-pci", f"drive={name},serial={name}"),
        ]

    boot = hardware.boot
    own_network = f"user,id=outside,hostfwd=tcp:127.0.0.1:{hardware.ssh_port}-:22"
    return [
        *(
            PROGRAM,
            "-name",
            hardware.name,
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-machine",
            "pc",
        ),
        *accelerator(kvm),
        *("-m", str(hardware.memory_mib), "-smp", str(hardware.cores)),
        *("-kernel", str(boot.kernel), "-initrd", str(boot.initrd)),
        # Console messages are expensive on an emulated machine.
        *(
            "-append",
            "console=ttyS0 loglevel=3 quiet panic=-1 net.ifnames=0 systemd.show_status=no "
            + boot.command_line,
        ),
        # A rebooting guest keeps its process; a panic ends it.
        *("-action", "panic=exit-failure"),
        *drive("root", hardware.disk, "cache=unsafe"),
        *(drive("usr", boot.usr, "readonly=on") if boot.usr else []),
        *(
            ("-netdev", own_network, *device("net-pci", "netdev=outside,romfile="))
            if hardware.ssh_port
            else ()
        ),
        *("-netdev", f"socket,id={CARD},fd={card}"),
        *device("net-pci", f"netdev={CARD},mac={hardware.ethernet},romfile="),
        *device("rng-pci"),
        *device("serial-pci"),
        # A serial port, not a console: the console driver polls for input at intervals.
        *("-chardev", "socket,id=shell,path=shell.sock,server=on,wait=off"),
        *("-device", f"virtserialport,chardev=shell,name={SHELL_PORT}"),
        *(
            "-chardev",
            "socket,id=console,path=console.sock,server=on,wait=off,logfile=console.log,logappend=on",
        ),
        *("-serial", "chardev:console"),
        *("-qmp", "unix:monitor.sock,server=on,wait=off"),
    ]


def start(hardware: Hardware, kvm: bool, card: socket.socket) -> subprocess.Popen[bytes]:
    """Start QEMU as a process that outlives this one."""
    with open(hardware.folder / "qemu.log", "ab") as log:
        return subprocess.Popen(
            arguments(hardware, kvm, card.fileno()),
            cwd=hardware.folder,
            pass_fds=[card.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def command_of(pid: int) -> list[str]:
    """The command line of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")


def running_in(folder: Path) -> list[int]:
    """The process IDs of the machines of a folder, in which QEMU runs."""
    here = str(folder.resolve())
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # A process that has ended and was not waited for has no folder.
            if os.readlink(entry / "cwd") != here:
                continue
            if Path(command_of(int(entry.name))[0]).name == PROGRAM:
                found.append(int(entry.name))
        except OSError:
            continue
    return sorted(found)


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def kvm_boots(image: Image) -> bool:
    """Boots a kernel with KVM: /dev/kvm may open and still not work."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    command = [
        *(
            PROGRAM,
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-machine",
            "pc",
            "-no-reboot",
            "-m",
            "256",
        ),
        *accelerator(kvm=True),
        *(
            "-kernel",
            str(image.kernel),
            "-initrd",
            str(image.initrd),
            "-append",
            "console=ttyS0 quiet lab.probe",
        ),
        *("-serial", "stdio"),
    ]
    try:
        output = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_SECONDS
        ).stdout
    except subprocess.TimeoutExpired as late:
        output = late.stdout or b""
    return b"the probe has booted" in output


WORKS = {True: "works", False: "does-not-work"}


def known_result(file: Path) -> bool | None:
    """The result of an earlier test in this boot; None if there is none that can be read."""
    try:
        words = file.read_text().split()
    except (OSError, ValueError):
        return None
    return next((works for works, word in WORKS.items() if words == [boot_id(), word]), None)


def kvm_works(image: Image) -> bool:
    """Whether KVM works: tested once per boot of this machine, unless LAB_MACHINES_KVM is set."""
    setting = os.environ.get("LAB_MACHINES_KVM", "")
    if setting in ("yes", "no"):
        return setting == "yes"
    if setting:
        raise LabError(f"LAB_MACHINES_KVM is {setting!r}", "set it to yes or no")
    known = image.folder / "kvm"
    if (before := known_result(known)) is not None:
        return before
    works = kvm_boots(image)
    part = known.with_suffix(f".{os.getpid()}")
    part.write_text(f"{boot_id()} {WORKS[works]}\n")
    part.rename(known)
    say(
        "KVM works: the machines run at full speed"
        if works
        else "KVM does not work here: the machines are emulated and slow"
    )
    return works
