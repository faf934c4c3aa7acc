"""A Python with redis-py, for the clients of benchmarks."""

import os
import subprocess
import sys
from pathlib import Path

from lab import HERE


def python_with_redis() -> str | None:
    """A Python with redis-py, in a venv in the tool folder; None if it cannot be installed."""
    venv = Path(os.environ.get("LAB_TOOLS", ".lab/tools")) / "bench-venv"
    python = str(venv / "bin" / "python")
    pinned = HERE.parent.parent / "tools" / "bench-requirements.txt"
    steps = [[python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(pinned)]]
    if not Path(python).exists():
        steps.insert(0, [sys.executable, "-m", "venv", str(venv)])
    for step in steps:
        if subprocess.run(step, capture_output=True, check=False).returncode != 0:
            print(
                "bench: skipping redis-py, which cannot be installed (needs python3-venv and PyPI)",
                file=sys.stderr,
            )
            return None
    return python
