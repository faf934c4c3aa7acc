"""Fetches Debian packages and unpacks them into a folder, from which a guest's /usr and /etc are
made.

apt-get resolves and fetches them as for a machine without any package. Nothing is installed: no
maintainer script runs. disk.py makes what such scripts would make, as far as a guest needs it.
"""

import hashlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError

# The packages of a guest. Their dependencies are included, their recommendations are not.
NAMES = (
    # The system.
    *(
        "base-files",
        "base-passwd",
        "bash",
        "coreutils",
        "dash",
        "debianutils",
        "findutils",
        "grep",
        "gzip",
        "hostname",
    ),
    *(
        "kmod",
        "libc-bin",
        "libnss-systemd",
        "mawk",
        "mount",
        "ncurses-base",
        "netbase",
        "passwd",
        "procps",
        "sed",
    ),
    *("systemd", "systemd-sysv", "tar", "udev", "util-linux"),
    # The network, and tools to examine it.
    *("curl", "iproute2", "iputils-ping", "nftables"),
    # The lab.
    *("jq", "prometheus", "prometheus-redis-exporter", "redis-server"),
    # For interactive use.
    *("less", "psmisc", "strace"),
    # For booting.
    *("busybox-static", "linux-image-cloud-amd64"),
)


@dataclass(frozen=True, order=True)
class Package:
    """A package of a guest; the file's name contains the version."""

    file: str

    @property
    def name(self) -> str:
        return self.file.split("_")[0]


def parse_uris(text: str) -> list[Package]:
    """Parse the output of `apt-get --print-uris`: one line per package, 'URI' FILE SIZE HASH."""
    found = re.findall(r"^'[^']*' (\S+\.deb) \d+", text, flags=re.MULTILINE)
    return sorted(Package(file) for file in found)


def key_of(packages: list[Package]) -> str:
    """A hash of the packages' names and versions."""
    return hashlib.sha256(
        "\n".join(package.file for package in sorted(packages)).encode()
    ).hexdigest()[:16]


class Apt:
    """apt-get for another machine, with the sources and package lists of this one."""

    def __init__(
        self,
        folder: Path,
        names: tuple[str, ...],
        status: Path | None = None,
        recommends: bool = False,
    ) -> None:
        """`status` is the dpkg status file of that machine; None for one without any package."""
        self.names = names
        self.archives = folder / "archives"
        self.nothing = folder / "nothing"
        for archives in (self.archives, self.nothing):
            (archives / "partial").mkdir(parents=True, exist_ok=True)
        if status is None:
            status = folder / "status"
            status.touch()
        self.command = [
            "apt-get",
            "-qq",
            *("-o", f"Dir::State::status={status}"),
            *("-o", f"Dir::State::extended_states={folder}/extended_states"),
            *("-o", f"Dir::Cache::archives={self.archives}"),
            *("-o", f"Dir::Cache::pkgcache={folder}/pkgcache.bin"),
            *("-o", f"Dir::Cache::srcpkgcache={folder}/srcpkgcache.bin"),
            *("-o", "Debug::NoLocking=1"),
            *("-o", f"APT::Install-Recommends={int(recommends)}"),
            # In a folder that is not root's, apt cannot switch to its own user.
            *("-o", "APT::Sandbox::User=root"),
        ]

    def run(self, *arguments: str) -> str:
        try:
            done = subprocess.run(
                [*self.command, *arguments, "install", *self.names],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=1800,
            )
        except FileNotFoundError:
            raise LabError(
                "this machine has no apt-get", "run this on Debian: guests are made of its packages"
            ) from None
        if done.returncode != 0:
            raise LabError(
                f"apt-get could not fetch the guests' packages:\n{done.stderr.strip()}",
                "run apt-get update as root, then try again",
            )
        return done.stdout

    def packages(self) -> list[Package]:
        # apt-get does not list packages that are fetched already, so use an empty folder.
        return parse_uris(
            self.run("-o", f"Dir::Cache::archives={self.nothing}", "--print-uris", "-y")
        )

    def fetch(self) -> None:
        self.run("--download-only", "-y")


def unpack(archives: Path, packages: list[Package], tree: Path) -> None:
    """Unpack the packages into a tree with a merged /usr."""
    shutil.rmtree(tree, ignore_errors=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")
    for package in packages:
        # In file names, apt writes the colon of an epoch as %3a.
        with subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", archives / package.file], stdout=subprocess.PIPE
        ) as files:
            subprocess.run(
                [
                    "tar",
                    "-x",
                    "-C",
                    tree,
                    "--no-same-owner",
                    "--keep-directory-symlink",
                    "--delay-directory-restore",
                ],
                stdin=files.stdout,
                check=True,
            )
        if files.returncode != 0:
            raise LabError(
                f"{package.file} could not be unpacked",
                f"remove it from {archives}, then try again",
            )
