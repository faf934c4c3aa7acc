"""QEMU's command line."""

import unittest
from pathlib import Path

from machines.image import Image
from machines.qemu import Hardware, arguments


class ArgumentsTest(unittest.TestCase):
    hardware = Hardware(Path("/a,b/one"), "one", 1, 256)
    image = Image(Path("/image"))

    def test_a_comma_in_a_path_is_one(self) -> None:
        self.assertIn("file=/a,,b/one/one.img,", " ".join(arguments(self.hardware, self.image, True, 9)))

    def test_without_kvm_it_is_not_asked_for(self) -> None:
        self.assertNotIn("kvm", " ".join(arguments(self.hardware, self.image, False, 9)))
        self.assertIn("-accel kvm -cpu host", " ".join(arguments(self.hardware, self.image, True, 9)))

    def test_sockets_are_relative(self) -> None:
        """Their paths may be no longer than a hundred bytes; the program runs in the machine's folder."""
        for word in arguments(self.hardware, self.image, True, 9):
            if ".sock" in word:
                self.assertNotIn("/", word)
