"""A Debian root file system as its installer leaves it, as far as a machine without a screen needs.

mmdebstrap makes it once, and every maintainer script runs. It is copied for each machine, which
gets its own name, addresses and SSH key.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import locks, packages
from .boot import Boot
from .errors import LabError
from .image import HERE
from .report import say

# In addition to mmdebstrap's variant `important`.
NAMES = (
    *(
        "linux-image-cloud-amd64",
        "initramfs-tools",
        "systemd-sysv",
        "udev",
        "dbus",
        "libpam-systemd",
        "libnss-systemd",
    ),
    *("ifupdown", "iproute2", "openssh-server"),
)
# Removes the apt settings of mmdebstrap and the resolver of the build machine.
NOT_INSTALLED = ('rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"', ': >"$1/etc/resolv.conf"')
FSTAB = "/dev/vda / ext4 errors=remount-ro 0 1\n"
SIZE = "3G"
# The time in which mmdebstrap removes an installation that is not complete.
END_SECONDS = 60.0


def interfaces(address: str) -> str:
    """eth0 is QEMU's user network; eth1 is the lab's network, with the host's own address."""
    return "\n".join(
        [
            *("source /etc/network/interfaces.d/*", "auto lo", "iface lo inet loopback"),
            *(
                "auto eth0",
                "iface eth0 inet static",
                "\taddress 10.0.2.15/24",
                "\tgateway 10.0.2.2",
            ),
            *("auto eth1", "iface eth1 inet static", f"\taddress {address}/24", ""),
        ]
    )


def own_files(name: str, address: str, key: str, sources: str) -> dict[str, str]:
    """The files that differ between machines, by path."""
    return {
        "etc/hostname": f"{name}\n",
        "etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {name}\n",
        "etc/network/interfaces": interfaces(address),
        "etc/apt/sources.list": sources,
        "root/.ssh/authorized_keys": key,
    }


def debugfs_commands(files: Mapping[str, str]) -> str:
    """debugfs commands that replace each path by the file of the current folder named by its
    number."""
    lines = ["cd /"]
    folders = [path.rpartition("/")[0] for path in files]
    lines += [f"mkdir /{folder}" for folder in dict.fromkeys(folders) if folder == "root/.ssh"]
    for number, path in enumerate(files):
        lines += [f"rm /{path}", f"write {number} /{path}"]
    return "\n".join([*lines, ""])


def as_root(command: list[str | Path], folder: Path) -> None:
    """Run with root's file ownership, by fakeroot if needed: the archive's owners are kept."""
    faked: list[str | Path] = [] if os.geteuid() == 0 else ["fakeroot", "--"]
    done = subprocess.run([*faked, *command], cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise LabError(f"{command[0]} failed:\n{done.stderr.strip()}")


def install(command: Sequence[str | Path]) -> None:
    """Run mmdebstrap. If this process is ended meanwhile, mmdebstrap removes what it has made in
    the folder for temporary files. That one is not of the lab's folder: the user for which
    mmdebstrap makes it may not be let in there."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        errors = process.communicate()[1]
    except BaseException:
        process.terminate()
        try:
            process.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        raise
    if process.returncode != 0:
        raise LabError(f"{command[0]} failed:\n{errors.strip()[-2000:]}")


def suite() -> str:
    """The Debian release of this machine, whose apt sources are used."""
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise LabError("/etc/os-release has no VERSION_CODENAME", "run this on Debian")


def key_of(wanted: list[packages.Package]) -> str:
    return f"{packages.key_of(wanted)} {hashlib.sha256((HERE / 'debian.py').read_bytes()).hexdigest()[:16]}"


class Debian:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disk = folder / "disk.img"
        # dpkg's status file: the installed packages.
        self.status = folder / "status"

    @property
    def boot(self) -> Boot:
        return Boot(self.folder / "vmlinuz", self.folder / "initrd.img", "root=/dev/vda ro")

    def make(self) -> None:
        """Made again when the version of a package, or this file, changes. Several processes may
        call it at once."""
        with locks.locked(self.folder / "lock", "installs Debian"):
            self.make_alone()

    def make_alone(self) -> None:
        key = key_of(packages.Apt(self.folder / "apt", NAMES).packages())
        stamp = self.folder / "made-of"
        if stamp.exists() and stamp.read_text() == key:
            return
        stamp.unlink(missing_ok=True)
        say("installing Debian once; it is copied for each host")
        archive = self.folder / "root.tar"
        hooks = [f"--customize-hook={hook}" for hook in NOT_INSTALLED]
        command = [
            "mmdebstrap",
            "--quiet",
            "--format=tar",
            "--variant=important",
            '--aptopt=APT::Install-Recommends "false"',
        ]
        install(
            [
                *command,
                *hooks,
                f"--include={','.join(NAMES)}",
                suite(),
                archive,
                os.environ["LAB_DEBIAN_MIRROR"],
            ]
        )
        root = self.folder / "root"
        shutil.rmtree(root, ignore_errors=True)
        (self.folder / "fstab").write_text(FSTAB)
        self.disk.unlink(missing_ok=True)
        as_root(
            [
                *("sh", "-euc"),
                """mkdir root
                tar -C root -xpf root.tar
                cp fstab root/etc/fstab
                mke2fs -q -t ext4 -E root_owner=0:0 -d root disk.img "$1"
                cat root/boot/vmlinuz-* >vmlinuz
                cat root/boot/initrd.img-* >initrd.img
                cp root/var/lib/dpkg/status status
                rm -rf root root.tar""",
                *("-", SIZE),
            ],
            self.folder,
        )
        stamp.write_text(key)

    def copy(self, disk: Path, files: Mapping[str, str]) -> None:
        """Copy the disk for one machine and write its own files."""
        scratch = disk.parent / "files"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        for number, text in enumerate(files.values()):
            (scratch / str(number)).write_text(text)
            # sshd refuses an authorized_keys file that others can write.
            (scratch / str(number)).chmod(0o644)
        (scratch / "commands").write_text(debugfs_commands(files))
        part = scratch / "disk"
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", self.disk, part], check=True)
        done = subprocess.run(
            ["debugfs", "-w", "-f", "commands", "disk"], cwd=scratch, capture_output=True, text=True
        )
        for path in files:
            # debugfs exits with 0 even after an error.
            if (
                "Inode:"
                not in subprocess.run(
                    ["debugfs", "-R", f"stat /{path}", part], capture_output=True, text=True
                ).stdout
            ):
                raise LabError(f"{path} could not be written to {disk.name}:\n{done.stderr}")
        part.rename(disk)
        shutil.rmtree(scratch)
