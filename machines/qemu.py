"""QEMU: how a machine is started, and whether KVM works here."""

import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .boot import Boot
from .errors import Trouble
from .image import Image
from .report import say

PROGRAM = "qemu-system-x86_64"
# A kernel is there within a second where KVM works.
PROBE_SECONDS = 15
CARD = "card"
# By this name guest/lab-shell finds its end.
SHELL_PORT = "redis-ha-lab.shell"
# What the emulator keeps translated code in, of each machine.
TRANSLATED_MIB = 128


@dataclass(frozen=True)
class Hardware:
    """What one machine is made of. Paths are within `folder`, where QEMU runs; those of sockets are then short."""

    folder: Path
    name: str
    number: int
    memory_mib: int
    boot: Boot
    cores: int = 1
    # A card before that of the lab: to whoever started the machine, whose loopback has its port of ssh by this number.
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
        """Of the addresses that are nobody's."""
        return f"52:54:00:6c:61:{self.number:02x}"


def accelerator(kvm: bool) -> list[str]:
    if kvm:
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", f"tcg,thread=multi,tb-size={TRANSLATED_MIB}", "-cpu", "max"]


def arguments(hardware: Hardware, kvm: bool, card: int) -> list[str]:
    """QEMU's command line; `card` is the descriptor of a connection to the switch."""

    def drive(name: str, file: Path, more: str) -> list[str]:
        # In -drive a comma ends a value, and two of them are one.
        path = str(file).replace(",", ",,")
        return [
            *("-drive", f"if=none,id={name},file={path},format=raw,{more}"),
            *("-device", f"virtio-blk-pci,drive={name},serial={name}"),
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
        # A console with many messages costs an emulated machine dearly.
        *(
            "-append",
            "console=ttyS0 loglevel=3 quiet panic=-1 net.ifnames=0 systemd.show_status=no "
            + boot.command_line,
        ),
        # A guest that reboots stays the same process; one that panics is off.
        *("-action", "panic=exit-failure"),
        *drive("root", hardware.disk, "cache=unsafe"),
        *(drive("usr", boot.usr, "readonly=on") if boot.usr else []),
        *(
            ("-netdev", own_network, "-device", "virtio-net-pci,netdev=outside,romfile=")
            if hardware.ssh_port
            else ()
        ),
        *("-netdev", f"socket,id={CARD},fd={card}"),
        *("-device", f"virtio-net-pci,netdev={CARD},mac={hardware.ethernet},romfile="),
        *("-device", "virtio-rng-pci", "-device", "virtio-serial-pci"),
        # A port, not a console: a console's driver looks for input only now and then.
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
    """A process of its own: it goes on when who started it ends."""
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


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def kvm_boots(image: Image) -> bool:
    """A kernel is booted with KVM: the device can open, and be of no use."""
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
        said = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_SECONDS
        ).stdout
    except subprocess.TimeoutExpired as late:
        said = late.stdout or b""
    return b"the probe has booted" in said


def kvm_works(image: Image) -> bool:
    """Tried once since this machine was started; LAB_MACHINES_KVM=yes or no does without the trial."""
    told = os.environ.get("LAB_MACHINES_KVM", "")
    if told in ("yes", "no"):
        return told == "yes"
    if told:
        raise Trouble(f"LAB_MACHINES_KVM is {told!r}", "it may be yes or no")
    known = image.folder / "kvm"
    if known.exists() and known.read_text().split()[0] == boot_id():
        return known.read_text().split()[1] == "works"
    works = kvm_boots(image)
    known.write_text(f"{boot_id()} {'works' if works else 'does-not-work'}\n")
    say(
        "KVM works: the machines run at full speed"
        if works
        else "KVM does not work here: the machines are emulated, and slow"
    )
    return works
