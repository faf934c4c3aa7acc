"""The three machines of `./lab machines`: guests of the image, with the lab of this working
tree."""

import os
import subprocess
from functools import partial
from pathlib import Path

from . import disk, qemu
from .errors import LabError
from .faults import Fault
from .guests import GUESTS, Variant, lab_toml
from .image import Image
from .machine import Machine
from .site import ROOT, Site


class LabSite(Site):
    def __init__(
        self,
        folder: Path,
        image: Image,
        halab: Path,
        variant: Variant,
        kvm: bool,
        fault: Fault | None = None,
    ) -> None:
        super().__init__(folder, kvm)
        self.image = image
        self.halab = halab
        self.variant = variant
        self.fault = fault
        self.machines = {
            guest.name: Machine(
                qemu.Hardware(
                    folder / guest.name,
                    guest.name,
                    guest.number,
                    guest.memory(variant),
                    image.boot,
                    guest.cores(variant),
                ),
                kvm,
                self.socket,
                partial(self.make_disk, guest.name),
            )
            for guest in GUESTS
        }

    def prepare(self) -> None:
        """Make lab.toml and the secrets, the same for all machines; disks are made at their
        start."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "lab.toml").write_text(
            lab_toml((ROOT / "lab.toml").read_text(), self.variant)
        )
        self.make_secrets("secrets")
        if self.fault is not None:
            # Another lab with the same lab.toml.
            self.make_secrets("secrets-of-another-lab")

    def make_secrets(self, name: str) -> None:
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("HALAB_")
        }
        made = subprocess.run(
            [
                self.halab,
                "--config",
                self.folder / "lab.toml",
                "secrets",
                "make",
                self.folder / name,
            ],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if made.returncode != 0:
            raise LabError(f"halab secrets make failed:\n{made.stderr}")

    def make_disk(self, name: str, path: Path) -> None:
        contents = disk.Contents(
            halab=self.halab,
            units=ROOT / "deploy/systemd",
            packaging=ROOT / "packaging/debian",
            lab_toml=(self.folder / "lab.toml").read_text(),
            secrets=self.folder / "secrets",
            variant=self.variant,
        )
        guest = next(guest for guest in GUESTS if guest.name == name)
        disk.make(
            path, self.image, guest, contents, disk.addresses(), partial(self.apply_fault, name)
        )

    def apply_fault(self, name: str, root: Path) -> None:
        if self.fault is not None:
            self.fault.apply(name, root, self.folder / "secrets-of-another-lab")
