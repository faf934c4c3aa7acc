"""The network of the machines: an Ethernet switch in its own process, with a connection per card.

On a connection, each frame follows its length (4 bytes, big-endian), as in QEMU's socket networks.
The switch learns addresses from the frames' senders. It needs no root. QEMU cuts a cable
(`set_link`).

    python3 -m machines.switch SOCKET
"""

import selectors
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from . import sockets

HEADER = 4
# Frames for a machine that does not read are dropped beyond this many unread bytes.
UNREAD_BYTES = 4 << 20


class Frames:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self.buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        self.buffer += data
        whole = []
        at = 0
        while len(self.buffer) - at >= HEADER:
            end = at + HEADER + int.from_bytes(self.buffer[at : at + HEADER], "big")
            if len(self.buffer) < end:
                break
            whole.append(bytes(self.buffer[at + HEADER : end]))
            at = end
        del self.buffer[:at]
        return whole


class Addresses:
    """The port at which each Ethernet address was last seen; ports are opaque objects."""

    def __init__(self) -> None:
        self.ports: dict[bytes, object] = {}

    def forget(self, port: object) -> None:
        self.ports = {address: at for address, at in self.ports.items() if at is not port}

    def targets(self, frame: bytes, source: object, ports: list[object]) -> list[object]:
        """The target ports of a frame that came in at `source`: one port, or all others."""
        to, sender = frame[:6], frame[6:12]
        if sender and not sender[0] & 1:
            self.ports[sender] = source
        # The lowest bit of the first byte marks a multicast address.
        known = None if to[:1] and to[0] & 1 else self.ports.get(to)
        return [port for port in ([known] if known is not None else ports) if port is not source]


class Port:
    """A machine's card."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.frames = Frames()
        self.unsent = bytearray()

    def send(self, frame: bytes) -> None:
        if len(self.unsent) > UNREAD_BYTES:
            return
        self.unsent += len(frame).to_bytes(HEADER, "big") + frame
        self.flush()

    def flush(self) -> None:
        try:
            while self.unsent:
                del self.unsent[: self.connection.send(self.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            # The connection is closed; reading will notice too.
            self.unsent.clear()


class Switch:
    def __init__(self, server: socket.socket) -> None:
        self.selector = selectors.DefaultSelector()
        self.server = server
        self.ports: list[object] = []
        self.addresses = Addresses()
        server.setblocking(False)
        self.selector.register(server, selectors.EVENT_READ)

    def turn(self, timeout: float | None = None) -> None:
        for key, events in self.selector.select(timeout):
            if key.fileobj is self.server:
                connection, _ = self.server.accept()
                port = Port(connection)
                self.ports.append(port)
                self.selector.register(connection, selectors.EVENT_READ, port)
                continue
            port = key.data
            if events & selectors.EVENT_WRITE:
                port.flush()
                self.watch(port)
            if events & selectors.EVENT_READ:
                self.read(port)

    def read(self, port: Port) -> None:
        try:
            data = port.connection.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.selector.unregister(port.connection)
            port.connection.close()
            self.ports.remove(port)
            self.addresses.forget(port)
            return
        for frame in port.frames.feed(data):
            for target in self.addresses.targets(frame, port, self.ports):
                assert isinstance(target, Port)
                target.send(frame)
                self.watch(target)

    def watch(self, port: Port) -> None:
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if port.unsent else 0)
        if self.selector.get_key(port.connection).events != wanted:
            self.selector.modify(port.connection, wanted, port)


def main(path: str) -> None:
    end: Callable[[int, object], None] = lambda number, frame: sys.exit(0)  # noqa: E731
    signal.signal(signal.SIGTERM, end)
    switch = Switch(sockets.listen(Path(path)))
    while True:
        switch.turn()


if __name__ == "__main__":
    main(sys.argv[1])
