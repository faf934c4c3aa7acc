"""The site of the test `hosts`: three installed Debian hosts and their operator's workstation."""

from functools import partial
from pathlib import Path

from . import qemu
from .archive import Archive
from .debian import Debian, own_files
from .guests import GUESTS, SUBNET
from .site import ROOT, Site
from .workstation import Host, Workstation, free_port

# The packages that the page installs by apt on a host, including the dependency of the lab's
# package.
INSTALLED_LATER = ("nftables", "redis-server", "prometheus", "prometheus-redis-exporter")
# Most of it is for apt, and for Prometheus on host three.
MEMORY_MIB = {"one": 448, "two": 448, "three": 896}
# Each second, on host three, redis_exporter connects to every node, with TLS, and Prometheus asks
# twelve targets.
CORES = {"one": 1, "two": 1, "three": 2}


class HostSite(Site):
    def __init__(self, folder: Path, made: Path, kvm: bool) -> None:
        """`made` has the parts that later runs use again: the Debian disk and the packages."""
        super().__init__(folder, kvm)
        self.debian = Debian(made / "debian")
        self.archive = Archive(made / "archive")
        self.sources = ""
        ports = {guest.name: free_port() for guest in GUESTS}
        self.workstation = Workstation(folder / "workstation", ROOT, ports)
        self.machines = {}
        for guest in GUESTS:
            hardware = qemu.Hardware(
                folder / guest.name,
                guest.name,
                guest.number,
                MEMORY_MIB[guest.name],
                self.debian.boot,
                cores=CORES[guest.name],
                ssh_port=ports[guest.name],
            )
            host = Host(
                hardware,
                kvm,
                self.socket,
                partial(self.make_disk, guest.name, f"{SUBNET}.{guest.number}"),
            )
            host.workstation = self.workstation
            self.machines[guest.name] = host

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.debian.make()
        self.archive.fill(INSTALLED_LATER, self.debian.status)
        self.sources = self.archive.serve()
        self.workstation.set_up()

    def make_disk(self, name: str, address: str, disk: Path) -> None:
        self.debian.copy(disk, own_files(name, address, self.workstation.public_key, self.sources))

    def logs(self) -> list[Path]:
        return [*super().logs(), self.workstation.log]

    def remove(self) -> None:
        super().remove()
        self.archive.stop()
