"""Debian packages for machines whose own network ends here: fetched by this machine's apt, served to theirs on loopback."""

import functools
import subprocess
import threading
import typing
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from .errors import Trouble
from .packages import Apt

# By this address a machine's own network (qemu.py) has the loopback of whoever started it.
OUTSIDE = "10.0.2.2"


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: typing.Any) -> None:
        pass


class Archive:
    """An archive without folders: packages, and one index of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "archives"
        self.scratch = folder
        self.server: ThreadingHTTPServer | None = None

    def fill(self, names: tuple[str, ...], status: Path) -> None:
        """With what `apt-get install` of these brings on a machine whose dpkg has that status."""
        Apt(self.scratch, names, status=status, recommends=True).fetch()
        made = subprocess.run(
            ["dpkg-scanpackages", "--multiversion", "."],
            cwd=self.folder,
            capture_output=True,
            text=True,
        )
        if made.returncode != 0:
            raise Trouble(f"dpkg-scanpackages failed:\n{made.stderr}")
        (self.folder / "Packages").write_text(made.stdout)

    def serve(self) -> str:
        """Until `end`; what a machine's sources.list says of it."""
        self.server = ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Silent, directory=str(self.folder))
        )
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"deb [trusted=yes] http://{OUTSIDE}:{self.server.server_port}/ ./\n"

    def end(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None
