"""An interactive terminal on a machine's console."""

import os
import select
import sys
import termios
import tty
from pathlib import Path

from . import sockets

# Ctrl-].
LEAVE = b"\x1d"


def attend(path: Path) -> None:
    """Returns on Ctrl-] or when the machine goes off."""
    connection = sockets.connect(path)
    before = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)
    try:
        connection.sendall(b"\n")
        while True:
            ready = select.select([connection, sys.stdin], [], [])[0]
            if connection in ready:
                data = connection.recv(1 << 16)
                if not data:
                    return
                os.write(sys.stdout.fileno(), data)
            if sys.stdin in ready:
                typed = os.read(sys.stdin.fileno(), 1024)
                if not typed or LEAVE in typed:
                    return
                connection.sendall(typed)
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        connection.close()
