"""A guest's own disk: its /etc and /var, its programs of the lab; an ext4 file system, made without root.

What maintainer scripts would make is made here, as far as a guest needs it: accounts, links of units, /etc's files that are
copies of others.
"""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import units
from .errors import Trouble
from .guests import GUESTS, SUBNET, Guest, Variant
from .image import HERE, Image
from .units import CONFIG, SECRETS

SIZE = "2G"
FIREWALL = "/etc/nftables.d/redis-ha-lab.conf"
# Of the packages' /etc, what no guest needs: services of another init, their logs' rotation, the package manager.
ETC_LEFT_OUT = shutil.ignore_patterns(
    "init.d",
    "rc?.d",
    "cron*",
    "apt",
    "dpkg",
    "initramfs-tools",
    "logrotate.d",
    "apache2",
    "lighttpd",
    "perl",
)
# The first folders of a root; others are links into /usr, and what is mounted.
FOLDERS = (
    "dev",
    "home",
    "mnt",
    "opt",
    "proc",
    "root",
    "run",
    "srv",
    "sys",
    "tmp",
    "usr",
    "var/lib",
    "var/log/journal",
    "var/tmp",
)

SHELL_UNIT = """[Unit]
Description=Shell on the serial line, for who started this machine
DefaultDependencies=no
[Service]
ExecStart=/opt/halab/lab-shell
WorkingDirectory=/root
Environment=HOME=/root
Restart=always
RestartSec=1
"""

CONSOLE_UNIT = """[Unit]
Description=Shell on the console, for whoever has this machine in hand
After=multi-user.target
[Service]
ExecStart=/bin/bash --login
WorkingDirectory=/root
Environment=HOME=/root TERM=linux
StandardInput=tty-force
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
TTYReset=true
# A shell that somebody types into does not heed the usual signal.
KillSignal=SIGHUP
Restart=always
RestartSec=1
"""

# systemd-networkd is restarted at once five times, and then never again. Once, its user was not yet there.
NETWORKD_DROP_IN = """[Unit]
StartLimitIntervalSec=0
[Service]
RestartSec=1
"""


@dataclass(frozen=True)
class Contents:
    """What goes on guests' disks beside what is the same for all labs."""

    halab: Path
    units: Path
    # What a host without NixOS is given beside the units: firewall, sysctl.
    packaging: Path
    lab_toml: str
    secrets: Path
    variant: Variant


def network_unit(addresses: list[str]) -> str:
    lines = [
        "[Match]",
        "Name=eth0",
        "",
        "[Network]",
        *(f"Address={address}/24" for address in addresses),
    ]
    # As on a host with its addresses set by hand: they stay while the cable is out.
    lines += [
        "LinkLocalAddressing=no",
        "IPv6AcceptRA=no",
        "ConfigureWithoutCarrier=yes",
        "IgnoreCarrierLoss=yes",
    ]
    return "\n".join([*lines, "", "[Link]", "RequiredForOnline=carrier", ""])


def addresses_of(guest: Guest, known: Mapping[str, str]) -> list[str]:
    """All of a machine's, its own first; `known` says which a node has."""
    names = [
        *guest.nodes,
        *(["monitoring"] if guest.monitoring else []),
        *(["writer"] if guest.writer else []),
    ]
    return [guest.address, *(known[name] for name in names)]


def files_of(guest: Guest, contents: Contents, known: Mapping[str, str]) -> dict[str, str]:
    """Files that are a guest's own, by their path."""
    of_hosts = {other.name: other.address for other in GUESTS}
    hosts = [
        "127.0.0.1 localhost",
        *(f"{address} {name}" for name, address in {**of_hosts, **known}.items()),
    ]
    files = {
        "etc/hostname": f"{guest.name}\n",
        "etc/hosts": "\n".join([*hosts, ""]),
        "etc/machine-id": hashlib.md5(f"redis-ha-lab {guest.name}".encode()).hexdigest() + "\n",
        "etc/systemd/network/10-lab.network": network_unit(addresses_of(guest, known)),
        "etc/systemd/system/systemd-networkd.service.d/restart.conf": NETWORKD_DROP_IN,
        "etc/sysctl.d/30-redis-ha-lab.conf": (contents.packaging / "sysctl.conf").read_text(),
        # As docs/hosts.md puts it there; its addresses are those of these machines.
        FIREWALL.lstrip("/"): (contents.packaging / "nftables.conf").read_text(),
        "etc/systemd/journald.conf.d/lab.conf": "[Journal]\nStorage=persistent\nSystemMaxUse=64M\nForwardToWall=no\n",
        "etc/profile.d/redis-ha-lab.sh": f"export HALAB_CONFIG={CONFIG} HALAB_SECRETS={SECRETS}\n",
        CONFIG.lstrip("/"): contents.lab_toml,
        "etc/systemd/system/lab-shell.service": SHELL_UNIT,
        "etc/systemd/system/lab-console.service": CONSOLE_UNIT,
    }
    return files | {
        f"etc/systemd/system/{path}": text for path, text in units.files(contents.units).items()
    }


def links_of(guest: Guest, contents: Contents) -> dict[str, str]:
    """Links that enable units, by their path."""
    system = "/lib/systemd/system"
    links = {
        "default.target": f"{system}/multi-user.target",
        "multi-user.target.wants/systemd-networkd.service": f"{system}/systemd-networkd.service",
        "network-online.target.wants/systemd-networkd-wait-online.service": f"{system}/systemd-networkd-wait-online.service",
        "sysinit.target.wants/lab-shell.service": "../lab-shell.service",
        # Before the network, as `systemctl enable nftables` has it.
        "sysinit.target.wants/nftables.service": f"{system}/nftables.service",
        "multi-user.target.wants/lab-console.service": "../lab-console.service",
    }
    links |= {
        f"multi-user.target.wants/{unit}": f"../{units.template_of(unit)}"
        for unit in units.enabled(guest, contents.variant)
    }
    return {f"etc/systemd/system/{path}": target for path, target in links.items()}


def fill(
    root: Path, image: Image, guest: Guest, contents: Contents, known: Mapping[str, str]
) -> None:
    for name in FOLDERS:
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    (root / "root").chmod(0o700)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / ".new").touch()
    shutil.copytree(image.etc, root / "etc", symlinks=True, ignore=ETC_LEFT_OUT)
    for name in ("passwd", "group"):
        shutil.copy(image.share / f"{name}.master", root / "etc" / name)
    shutil.copy(image.share / "profile", root / "etc")
    with (root / "etc/nftables.conf").open("a") as rules:
        rules.write(f'include "{FIREWALL}"\n')
    # Nobody logs in by a password: none is given.
    accounts = [line.split(":")[0] for line in (root / "etc/passwd").read_text().splitlines()]
    (root / "etc/shadow").write_text(
        "".join(f"{account}:*:19000:0:99999:7:::\n" for account in accounts)
    )
    (root / "etc/shadow").chmod(0o600)
    switch = (image.share / "nsswitch.conf").read_text()
    for table in ("passwd", "group", "shadow"):
        # The users that units have for as long as they run.
        switch = switch.replace(f"{table}:", f"{table}: systemd", 1).replace(
            f"{table}: systemd         files", f"{table}: files systemd"
        )
    (root / "etc/nsswitch.conf").write_text(switch)
    for path, text in files_of(guest, contents, known).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    for path, target in links_of(guest, contents).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).symlink_to(target)
    shutil.copytree(
        contents.secrets, root / SECRETS.lstrip("/"), ignore=shutil.ignore_patterns("ca.key")
    )
    (root / SECRETS.lstrip("/")).chmod(0o700)
    (root / "opt/halab/bin").mkdir(parents=True)
    shutil.copy(contents.halab, root / "opt/halab/bin/halab")
    shutil.copy(HERE / "guest/lab-shell", root / "opt/halab/lab-shell")


def make(
    disk: Path,
    image: Image,
    guest: Guest,
    contents: Contents,
    known: Mapping[str, str],
    change: Callable[[Path], None],
) -> None:
    """`change` is given the folder of what comes onto the disk, last."""
    with tempfile.TemporaryDirectory(dir=disk.parent) as scratch:
        root = Path(scratch) / "root"
        fill(root, image, guest, contents, known)
        change(root)
        part = disk.with_suffix(".part")
        part.unlink(missing_ok=True)
        made = subprocess.run(
            [
                "mke2fs",
                "-q",
                "-t",
                "ext4",
                "-N",
                "16384",
                "-E",
                "root_owner=0:0",
                "-d",
                root,
                part,
                SIZE,
            ],
            capture_output=True,
            text=True,
        )
        if made.returncode != 0:
            raise Trouble(f"the disk of {guest.name} could not be made:\n{made.stderr}")
        part.rename(disk)


def addresses() -> dict[str, str]:
    """Of every node, the monitoring and the writer, by the last number that lab.toml gives them."""
    last = {
        "redis-a": 11,
        "redis-b": 12,
        "sentinel-1": 21,
        "sentinel-2": 22,
        "sentinel-3": 23,
        "monitoring": 31,
        "writer": 41,
    }
    assert {name for guest in GUESTS for name in guest.nodes} <= last.keys()
    return {name: f"{SUBNET}.{number}" for name, number in last.items()}
