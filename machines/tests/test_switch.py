"""The switch: frames, addresses, and a real switch with three cards."""

import socket
import tempfile
import unittest
from pathlib import Path

from machines import sockets
from machines.switch import UNREAD_BYTES, Addresses, Frames, Port, Switch

A, B, ALL = b"\x52\0\0\0\0\x0a", b"\x52\0\0\0\0\x0b", b"\xff" * 6


def wire(frame: bytes) -> bytes:
    return len(frame).to_bytes(4, "big") + frame


class FramesTest(unittest.TestCase):
    def test_frames_are_complete_however_the_stream_is_split(self) -> None:
        stream = wire(b"first") + wire(b"") + wire(b"second one")
        for size in range(1, len(stream) + 1):
            frames = Frames()
            whole = [
                frame
                for at in range(0, len(stream), size)
                for frame in frames.feed(stream[at : at + size])
            ]
            self.assertEqual(whole, [b"first", b"", b"second one"])


class AddressesTest(unittest.TestCase):
    def test_a_frame_goes_to_all_ports_until_its_address_is_known(self) -> None:
        addresses = Addresses()
        ports: list[object] = ["1", "2", "3"]
        self.assertEqual(addresses.targets(B + A, "1", ports), ["2", "3"])
        self.assertEqual(addresses.targets(A + B, "2", ports), ["1"])
        self.assertEqual(addresses.targets(B + A, "1", ports), ["2"])

    def test_a_broadcast_goes_to_all_other_ports(self) -> None:
        self.assertEqual(Addresses().targets(ALL + A, "1", ["1", "2", "3"]), ["2", "3"])

    def test_a_closed_port_is_forgotten(self) -> None:
        addresses = Addresses()
        addresses.targets(ALL + A, "1", ["1", "2"])
        addresses.forget("1")
        self.assertEqual(addresses.targets(A + B, "2", ["2", "3"]), ["3"])


class SwitchTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        # Longer than the path of a Unix socket may be.
        deep = Path(folder.name) / ("d" * 100) / ("e" * 100)
        deep.mkdir(parents=True)
        self.path = deep / "switch.sock"
        self.switch = Switch(sockets.listen(self.path))
        self.addCleanup(self.switch.server.close)

    def card(self) -> socket.socket:
        card = sockets.connect(self.path)
        card.settimeout(0.2)
        self.addCleanup(card.close)
        self.switch.turn(1)
        return card

    def test_a_frame_arrives_at_its_target_only(self) -> None:
        one, two, three = self.card(), self.card(), self.card()
        one.sendall(wire(B + A + b"hello"))
        self.switch.turn(1)
        self.assertEqual(two.recv(100), wire(B + A + b"hello"))
        self.assertEqual(three.recv(100), wire(B + A + b"hello"))
        two.sendall(wire(A + B + b"answer"))
        self.switch.turn(1)
        self.assertEqual(one.recv(100), wire(A + B + b"answer"))
        with self.assertRaises(TimeoutError):
            three.recv(100)

    def test_a_closed_card_does_not_affect_the_others(self) -> None:
        one, two, three = self.card(), self.card(), self.card()
        three.close()
        self.switch.turn(1)
        one.sendall(wire(ALL + A))
        self.switch.turn(1)
        self.assertEqual(two.recv(100), wire(ALL + A))
        self.assertEqual(len(self.switch.ports), 2)


class PortTest(unittest.TestCase):
    def test_unread_bytes_are_limited(self) -> None:
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        port = Port(ours)
        for _ in range(2 * UNREAD_BYTES // 60_000):
            port.send(bytes(60_000))
        self.assertLess(len(port.unsent), UNREAD_BYTES + 70_000)
