"""A guest's own disk: an ext4 file system with /etc, /var and the lab's programs, made without
root.

No maintainer script runs. This module makes what they would make, as far as a guest needs it:
accounts, links of units, and files in /etc that are copies of others.
"""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import units
from .errors import LabError
from .guests import GUESTS, SUBNET, Guest, Variant
from .image import HERE, Image
from .units import CONFIG, SECRETS

SIZE = "2G"
FIREWALL = "/etc/redis-ha-lab/nftables.conf"
FIREWALL_UNIT = "redis-ha-lab-firewall.service"
# Parts of the packages' /etc that no guest needs: other init systems, log rotation, package
# manager.
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
# Folders made in the root file system; the others are links into /usr, or mounted.
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
Description=Shell on the serial line, for ./lab machines
DefaultDependencies=no
[Service]
ExecStart=/opt/halab/lab-shell
WorkingDirectory=/root
Environment=HOME=/root
Restart=always
RestartSec=1
"""

CONSOLE_UNIT = """[Unit]
Description=Shell on the console, for interactive use
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
# An interactive shell ignores SIGTERM.
KillSignal=SIGHUP
Restart=always
RestartSec=1
"""

# By default systemd gives up after five restarts in a row. systemd-networkd needs no limit: it was
# seen to start before its user existed.
NETWORKD_DROP_IN = """[Unit]
StartLimitIntervalSec=0
[Service]
RestartSec=1
"""


@dataclass(frozen=True)
class Contents:
    """The parts of a guest's disk that depend on the lab."""

    halab: Path
    units: Path
    # Files for a host without NixOS: firewall, sysctl.
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
    # Keep the addresses while the cable is out, as with static addresses.
    lines += [
        "LinkLocalAddressing=no",
        "IPv6AcceptRA=no",
        "ConfigureWithoutCarrier=yes",
        "IgnoreCarrierLoss=yes",
    ]
    return "\n".join([*lines, "", "[Link]", "RequiredForOnline=carrier", ""])


def addresses_of(guest: Guest, known: Mapping[str, str]) -> list[str]:
    """All addresses of a machine, its own first; `known` maps nodes to addresses."""
    names = [
        *guest.nodes,
        *(["monitoring"] if guest.monitoring else []),
        *(["writer"] if guest.writer else []),
        *(["proxy"] if guest.proxy else []),
    ]
    return [guest.address, *(known[name] for name in names)]


def files_of(guest: Guest, contents: Contents, known: Mapping[str, str]) -> dict[str, str]:
    """The guest's own files, by path."""
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
        # The same path as in docs/hosts.md; its addresses are those of these machines.
        FIREWALL.lstrip("/"): firewall((contents.packaging / "nftables.conf").read_text(), known),
        f"etc/systemd/system/{FIREWALL_UNIT}": (contents.packaging / FIREWALL_UNIT).read_text(),
        "etc/systemd/journald.conf.d/lab.conf": "[Journal]\nStorage=persistent\nSystemMaxUse=64M\nForwardToWall=no\n",
        "etc/profile.d/redis-ha-lab.sh": f"export HALAB_CONFIG={CONFIG} HALAB_SECRETS={SECRETS}\n",
        CONFIG.lstrip("/"): contents.lab_toml,
        "etc/systemd/system/lab-shell.service": SHELL_UNIT,
        "etc/systemd/system/lab-console.service": CONSOLE_UNIT,
    }
    return files | {
        f"etc/systemd/system/{path}": text for path, text in units.files(contents.units).items()
    }


def firewall(shipped: str, known: Mapping[str, str]) -> str:
    """The shipped rules, which have no proxy, with its address, as docs/hosts.md says."""
    last = known["writer"]
    if shipped.count(last) != 1:
        raise ValueError(f"nftables.conf does not have {last} once")
    return shipped.replace(last, f"{last}, {known['proxy']}")


def links_of(guest: Guest, contents: Contents) -> dict[str, str]:
    """The links that enable units, by path."""
    system = "/lib/systemd/system"
    links = {
        "default.target": f"{system}/multi-user.target",
        "multi-user.target.wants/systemd-networkd.service": f"{system}/systemd-networkd.service",
        "network-online.target.wants/systemd-networkd-wait-online.service": f"{system}/systemd-networkd-wait-online.service",
        "sysinit.target.wants/lab-shell.service": "../lab-shell.service",
        # Before the network.
        f"sysinit.target.wants/{FIREWALL_UNIT}": f"../{FIREWALL_UNIT}",
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
    # No account has a password.
    accounts = [line.split(":")[0] for line in (root / "etc/passwd").read_text().splitlines()]
    (root / "etc/shadow").write_text(
        "".join(f"{account}:*:19000:0:99999:7:::\n" for account in accounts)
    )
    (root / "etc/shadow").chmod(0o600)
    switch = (image.share / "nsswitch.conf").read_text()
    for table in ("passwd", "group", "shadow"):
        # Resolves the dynamic users of units.
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
    """Make the disk; `change` can edit its files last, before they are written."""
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
            raise LabError(f"the disk of {guest.name} could not be made:\n{made.stderr}")
        part.rename(disk)


def addresses() -> dict[str, str]:
    """The address of every node, of the monitoring, of the writer and of the proxy; the last number
    is that of lab.toml."""
    last = {
        "redis-a": 11,
        "redis-b": 12,
        "sentinel-1": 21,
        "sentinel-2": 22,
        "sentinel-3": 23,
        "monitoring": 31,
        "writer": 41,
        "proxy": 51,
    }
    assert {name for guest in GUESTS for name in guest.nodes} <= last.keys()
    return {name: f"{SUBNET}.{number}" for name, number in last.items()}
