"""A package archive for hosts whose own network has no way out: fetched by this machine's apt,
served on loopback."""

import functools
import subprocess
import threading
import typing
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from .errors import LabError
from .packages import Apt

# QEMU's user network (qemu.py) maps this address to the loopback of the machine that runs QEMU.
OUTSIDE = "10.0.2.2"


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: typing.Any) -> None:
        pass


class Archive:
    """A flat archive: packages and one index."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "archives"
        self.scratch = folder
        self.server: ThreadingHTTPServer | None = None

    def fill(self, names: tuple[str, ...], status: Path) -> None:
        """Fetch what `apt-get install NAMES` needs on a machine with this dpkg status."""
        Apt(self.scratch, names, status=status, recommends=True).fetch()
        made = subprocess.run(
            ["dpkg-scanpackages", "--multiversion", "."],
            cwd=self.folder,
            capture_output=True,
            text=True,
        )
        if made.returncode != 0:
            raise LabError(f"dpkg-scanpackages failed:\n{made.stderr}")
        (self.folder / "Packages").write_text(made.stdout)

    def serve(self) -> str:
        """Serve until `stop`; returns the line for a machine's sources.list."""
        self.server = ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(QuietHandler, directory=str(self.folder))
        )
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"deb [trusted=yes] http://{OUTSIDE}:{self.server.server_port}/ ./\n"

    def stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None
