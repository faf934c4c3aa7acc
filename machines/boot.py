"""The files that a machine boots from, except its own disk."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Boot:
    kernel: Path
    initrd: Path
    # The root file system; the rest of the kernel command line is the same for all machines.
    command_line: str = ""
    # A /usr shared by all machines.
    usr: Path | None = None
