"""Three hosts of an installed Debian each, and the machine of their operator: the site of the test `hosts`."""

from functools import partial
from pathlib import Path

from . import qemu
from .archive import Archive
from .debian import Debian, own_files
from .desk import Desk, Host, free_port
from .guests import GUESTS, SUBNET
from .site import ROOT, Site

# What the page has apt install on a host beside the lab's own package, which needs redis-server.
INSTALLED_LATER = ("nftables", "redis-server", "prometheus", "prometheus-redis-exporter")
# apt takes most of it, and on host three Prometheus.
MEMORY_MIB = {"one": 448, "two": 448, "three": 640}


class HostSite(Site):
    def __init__(self, folder: Path, made: Path, kvm: bool) -> None:
        """In `made` is what can be used again: the Debian and the packages."""
        super().__init__(folder, kvm)
        self.debian = Debian(made / "debian")
        self.archive = Archive(made / "archive")
        self.sources = ""
        ports = {guest.name: free_port() for guest in GUESTS}
        self.desk = Desk(folder / "yours", ROOT, ports)
        self.machines = {}
        for guest in GUESTS:
            hardware = qemu.Hardware(
                folder / guest.name,
                guest.name,
                guest.number,
                MEMORY_MIB[guest.name],
                self.debian.boot,
                ssh_port=ports[guest.name],
            )
            host = Host(
                hardware,
                kvm,
                self.socket,
                partial(self.make_disk, guest.name, f"{SUBNET}.{guest.number}"),
            )
            host.desk = self.desk
            self.machines[guest.name] = host

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.debian.make()
        self.archive.fill(INSTALLED_LATER, self.debian.status)
        self.sources = self.archive.serve()
        self.desk.set_up()

    def make_disk(self, name: str, address: str, disk: Path) -> None:
        self.debian.copy(disk, own_files(name, address, self.desk.public_key, self.sources))

    def logs(self) -> list[Path]:
        return [*super().logs(), self.desk.log]

    def remove(self) -> None:
        super().remove()
        self.archive.end()
