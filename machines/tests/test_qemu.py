"""QEMU's command line."""

import unittest
from dataclasses import replace
from pathlib import Path

from machines.boot import Boot
from machines.qemu import Hardware, arguments


class ArgumentsTest(unittest.TestCase):
    boot = Boot(Path("/vmlinuz"), Path("/initrd"))
    hardware = Hardware(Path("/a,b/one"), "one", 1, 256, boot)

    def test_a_comma_in_a_path_is_one(self) -> None:
        self.assertIn("file=/a,,b/one/one.img,", " ".join(arguments(self.hardware, True, 9)))

    def test_without_kvm_it_is_not_asked_for(self) -> None:
        self.assertNotIn("kvm", " ".join(arguments(self.hardware, False, 9)))
        self.assertIn("-accel kvm -cpu host", " ".join(arguments(self.hardware, True, 9)))

    def test_sockets_are_relative(self) -> None:
        """Their paths may be no longer than a hundred bytes; the program runs in the machine's folder."""
        for word in arguments(self.hardware, True, 9):
            if ".sock" in word:
                self.assertNotIn("/", word)

    def test_a_way_from_outside_is_by_loopback_alone_and_only_where_asked_for(self) -> None:
        reached = replace(self.hardware, ssh_port=2201)
        self.assertIn("user,id=outside,hostfwd=tcp:127.0.0.1:2201-:22", arguments(reached, True, 9))
        self.assertNotIn("hostfwd", " ".join(arguments(self.hardware, True, 9)))

    def test_a_root_of_its_own_needs_no_shared_usr(self) -> None:
        self.assertNotIn("id=usr", " ".join(arguments(self.hardware, True, 9)))
        self.assertIn(
            "id=usr",
            " ".join(
                arguments(
                    replace(self.hardware, boot=replace(self.boot, usr=Path("/usr.erofs"))), True, 9
                )
            ),
        )
