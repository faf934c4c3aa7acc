"""What a machine is started with beside its own disk."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Boot:
    kernel: Path
    initrd: Path
    # Where the root is; the rest of the kernel's command line is the same for all.
    command_line: str = ""
    # A /usr that machines share.
    usr: Path | None = None
