"""From Debian's packages to a folder: what a guest's /usr and /etc are made of.

apt-get finds and fetches them, as for a machine that has none, and dpkg-deb's archives are unpacked one over the other.
Nothing is installed: no maintainer script runs, and what such scripts make is made in disk.py, as far as it is needed.
"""

import hashlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .errors import Trouble

# All that a guest runs. What these depend on comes with them, what they recommend does not.
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
    # The network, and what looks at it.
    *("curl", "iproute2", "iputils-ping", "nftables"),
    # The lab.
    *("jq", "prometheus", "prometheus-redis-exporter", "redis-server"),
    # For who works in it by hand.
    *("less", "psmisc", "strace"),
    # What boots it.
    *("busybox-static", "linux-image-cloud-amd64"),
)


@dataclass(frozen=True, order=True)
class Package:
    """One that a guest has: the name of its file holds its version."""

    file: str

    @property
    def name(self) -> str:
        return self.file.split("_")[0]


def parse_uris(text: str) -> list[Package]:
    """What `apt-get --print-uris` names: a line a package, 'URI' FILE SIZE HASH."""
    found = re.findall(r"^'[^']*' (\S+\.deb) \d+", text, flags=re.MULTILINE)
    return sorted(Package(file) for file in found)


def key_of(packages: list[Package]) -> str:
    """The same for the same names and versions."""
    return hashlib.sha256(
        "\n".join(package.file for package in sorted(packages)).encode()
    ).hexdigest()[:16]


class Apt:
    """apt-get for another machine, with the sources and lists of this one: it installs packages by name."""

    def __init__(
        self,
        folder: Path,
        names: tuple[str, ...],
        status: Path | None = None,
        recommends: bool = False,
    ) -> None:
        """`status` is what dpkg has there; a machine without any package has none."""
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
            # Where it is not root's, apt can't give up its rights.
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
            raise Trouble(
                "this machine has no apt-get", "the guests are made of Debian's packages, on Debian"
            ) from None
        if done.returncode != 0:
            raise Trouble(
                f"apt-get could not get the guests' packages:\n{done.stderr.strip()}",
                "as root: apt-get update; then this again",
            )
        return done.stdout

    def packages(self) -> list[Package]:
        # It does not name what it has fetched already: here it has fetched nothing.
        return parse_uris(
            self.run("-o", f"Dir::Cache::archives={self.nothing}", "--print-uris", "-y")
        )

    def fetch(self) -> None:
        self.run("--download-only", "-y")


def unpack(archives: Path, packages: list[Package], tree: Path) -> None:
    """Each package's files, in a tree with a merged /usr."""
    shutil.rmtree(tree, ignore_errors=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")
    for package in packages:
        # apt has the colon of an epoch in a file's name as %3a.
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
            raise Trouble(
                f"{package.file} could not be unpacked",
                f"remove it from {archives}, then this again",
            )
