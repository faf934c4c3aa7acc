"""QEMU's command line."""

import unittest
from dataclasses import replace
from pathlib import Path

from machines.boot import Boot
from machines.qemu import Hardware, arguments


class ArgumentsTest(unittest.TestCase):
    boot = Boot(Path("/vmlinuz"), Path("/initrd"))
    hardware = Hardware(Path("/a,b/one"), "one", 1, 256, boot)

    def test_a_comma_in_a_path_is_escaped(self) -> None:
        self.assertIn("file=/a,,b/one/one.img,", " ".join(arguments(self.hardware, True, 9)))

    def test_kvm_is_used_only_if_it_works(self) -> None:
        self.assertNotIn("kvm", " ".join(arguments(self.hardware, False, 9)))
        self.assertIn("-accel kvm -cpu host", " ".join(arguments(self.hardware, True, 9)))

    def test_sockets_are_relative(self) -> None:
        """Their paths are limited to about a hundred bytes; QEMU runs in the machine's folder."""
        for word in arguments(self.hardware, True, 9):
            if ".sock" in word:
                self.assertNotIn("/", word)

    def test_ssh_is_forwarded_from_loopback_only_and_only_if_requested(self) -> None:
        reached = replace(self.hardware, ssh_port=2201)
        self.assertIn("user,id=outside,hostfwd=tcp:127.0.0.1:2201-:22", arguments(reached, True, 9))
        self.assertNotIn("hostfwd", " ".join(arguments(self.hardware, True, 9)))

    def test_a_shared_usr_is_optional(self) -> None:
        self.assertNotIn("id=usr", " ".join(arguments(self.hardware, True, 9)))
        self.assertIn(
            "id=usr",
            " ".join(
                arguments(
                    replace(self.hardware, boot=replace(self.boot, usr=Path("/usr.erofs"))), True, 9
                )
            ),
        )
