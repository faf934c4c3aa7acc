"""Boot files of guests, made from packages."""

import tempfile
import threading
import time
import unittest
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from unittest import mock

from machines import packages
from machines.image import Image, left_out, modules_wanted, parse_dependencies
from machines.packages import Package, key_of, parse_uris


class PackagesTest(unittest.TestCase):
    uris = (
        "'http://mirror/pool/main/r/redis/redis-tools_7.0.15-1_amd64.deb'"
        " redis-tools_5%3a7.0.15-1_amd64.deb 990000 SHA256:ab\n"
        "'http://mirror/pool/main/b/bash/bash_5.2_amd64.deb' bash_5.2_amd64.deb 1 MD5Sum:cd\n"
    )

    def test_packages_are_parsed_from_the_output_of_apt(self) -> None:
        found = parse_uris(f"Reading package lists...\n{self.uris}")
        self.assertEqual([package.name for package in found], ["bash", "redis-tools"])
        self.assertEqual(found[1].file, "redis-tools_5%3a7.0.15-1_amd64.deb")

    def test_the_key_depends_on_versions_but_not_on_their_order(self) -> None:
        old, other = Package("a_1_amd64.deb"), Package("b_1_amd64.deb")
        self.assertEqual(key_of([old, other]), key_of([other, old]))
        self.assertNotEqual(key_of([old, other]), key_of([Package("a_2_amd64.deb"), other]))


class ModulesTest(unittest.TestCase):
    dependencies = parse_dependencies(
        "kernel/fs/erofs/erofs.ko: kernel/lib/libcrc32c.ko kernel/lib/crc.ko\n"
        "kernel/lib/libcrc32c.ko: kernel/lib/crc.ko\n"
        "kernel/lib/crc.ko:\n"
        "kernel/net/virtio-net.ko:\n"
        "kernel/net/other.ko:\n"
    )

    def test_dependencies_of_a_module_come_first_and_once(self) -> None:
        self.assertEqual(
            modules_wanted(["erofs", "libcrc32c"], self.dependencies),
            ["kernel/lib/crc.ko", "kernel/lib/libcrc32c.ko", "kernel/fs/erofs/erofs.ko"],
        )

    def test_a_dash_equals_an_underscore(self) -> None:
        self.assertEqual(
            modules_wanted(["virtio_net"], self.dependencies), ["kernel/net/virtio-net.ko"]
        )

    def test_built_in_modules_are_skipped(self) -> None:
        self.assertEqual(modules_wanted(["ext4"], self.dependencies), [])


class LeftOutTest(unittest.TestCase):
    def test_a_folder_is_left_out_with_its_content(self) -> None:
        self.assertTrue(left_out("share/doc"))
        self.assertTrue(left_out("share/doc/bash/copyright"))

    def test_a_longer_name_stays(self) -> None:
        self.assertFalse(left_out("share/docbook"))
        self.assertFalse(left_out("bin/redis-server"))


class MakeTest(unittest.TestCase):
    """The order of a making, with parts that are no real ones."""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name) / "image"
        self.enterContext(redirect_stdout(StringIO()))
        apt = mock.Mock(packages=lambda: [packages.Package("a_1_amd64.deb")])
        self.enterContext(mock.patch.object(packages, "Apt", return_value=apt))
        self.made = 0

    def make_parts(self, image: Image, *_: object) -> None:
        self.made += 1
        for file in (image.kernel, image.initrd):
            file.write_text(f"{self.made}")
        time.sleep(0.05)
        image.usr.write_text(f"{self.made}")
        for folder in (image.etc, image.share):
            folder.mkdir()
            (folder / "file").write_text(f"{self.made}")

    def parts(self) -> set[str]:
        image = Image(self.folder)
        files = [image.kernel, image.initrd, image.usr, image.etc / "file", image.share / "file"]
        return {file.read_text() for file in files}

    def test_several_processes_make_it_once(self) -> None:
        with mock.patch.object(Image, "make_parts", lambda *of: self.make_parts(*of)):
            makers = [threading.Thread(target=Image(self.folder).make) for _ in range(4)]
            for maker in makers:
                maker.start()
            for maker in makers:
                maker.join()
        self.assertEqual((self.made, self.parts()), (1, {"1"}))

    def test_a_making_that_is_interrupted_leaves_the_earlier_image(self) -> None:
        def interrupted(image: Image, *_: object) -> None:
            image.kernel.write_text("half")
            raise KeyboardInterrupt

        with mock.patch.object(Image, "make_parts", lambda *of: self.make_parts(*of)):
            Image(self.folder).make()
            with mock.patch("machines.image.own_key", return_value="other"):
                with mock.patch.object(Image, "make_parts", interrupted):
                    with self.assertRaises(KeyboardInterrupt):
                        Image(self.folder).make()
                self.assertEqual(self.parts(), {"1"})
                Image(self.folder).make()
        self.assertEqual(self.parts(), {"2"})
        self.assertFalse((self.folder / "new").exists())
