"""Makes the boot files of guests from packages: kernel, initrd, and a read-only image of /usr that
all guests share."""

import fnmatch
import gzip
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from . import locks, packages
from .boot import Boot
from .errors import LabError
from .report import say

HERE = Path(__file__).resolve().parent

# Kernel modules loaded before the disks are there, and modules that may be loaded later. All others
# are left out of the image.
EARLY = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng", "ext4", "erofs")
LATER = (
    "nf_tables",
    "nft_ct",
    "nft_reject_inet",
    "nft_limit",
    "nft_log",
    "nft_counter",
    "af_packet",
    "autofs4",
    "configfs",
)

# Not needed on a guest: documents; units and rules for hardware, users and tasks that it does not
# have. Units that a package's scripts would enable need no entry: no script runs.
LEFT_OUT = (
    *(
        "share/doc",
        "share/man",
        "share/locale",
        "share/info",
        "share/lintian",
        "share/bug",
        "share/bash-completion",
        "share/zsh",
    ),
    *(
        "share/initramfs-tools",
        "share/perl*",
        "share/fonts",
        "lib/x86_64-linux-gnu/perl*",
        "lib/x86_64-linux-gnu/gconv",
    ),
    *("lib/udev/hwdb.d", "lib/udev/hwdb.bin", "lib/systemd/catalog"),
    *(
        "lib/systemd/system-generators/systemd-gpt-auto-generator",
        "lib/systemd/system-generators/systemd-*crypt*",
    ),
    *(
        f"lib/systemd/system/sysinit.target.wants/{unit}"
        for unit in ("systemd-hwdb-*", "*crypt*", "*verity*", "dev-*", "sys-fs-fuse*")
    ),
    *(
        f"lib/systemd/system/sysinit.target.wants/{unit}"
        for unit in ("*binfmt*", "systemd-boot-*", "*-pcr*", "systemd-update-done*")
    ),
    *(
        f"lib/systemd/system/multi-user.target.wants/{unit}"
        for unit in ("systemd-logind*", "getty*", "systemd-ask*", "dbus*")
    ),
)


def modules_wanted(names: Iterable[str], dependencies: dict[str, list[str]]) -> list[str]:
    """The files of these modules and of their dependencies, in load order. Names without a module
    are skipped: they may be built in."""
    files = {Path(file).name.split(".ko")[0].replace("-", "_"): file for file in dependencies}
    order: list[str] = []

    def add(file: str) -> None:
        if file in order:
            return
        # depmod lists the deepest dependency last.
        for need in reversed(dependencies[file]):
            add(need)
        order.append(file)

    for name in names:
        if file := files.get(name.replace("-", "_")):
            add(file)
    return order


def parse_dependencies(text: str) -> dict[str, list[str]]:
    """Parse modules.dep: one line per module, FILE: NEEDED-FILE..."""
    lines = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {file.strip(): needs.split() for file, needs in lines}


def left_out(path: str) -> bool:
    """Whether a path in /usr, or a folder above it, is left out of the image."""
    parts = path.split("/")
    return any(
        fnmatch.fnmatchcase("/".join(parts[:n]), pattern)
        for n in range(1, len(parts) + 1)
        for pattern in LEFT_OUT
    )


def own_key() -> str:
    """A hash of the code that makes the image."""
    text = "".join((HERE / name).read_text() for name in ("image.py", "initrd-init", "packages.py"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Image:
    """The boot files of guests; made again when the version of a package, or this code, changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kernel = folder / "vmlinuz"
        self.initrd = folder / "initrd"
        self.usr = folder / "usr.erofs"
        # /etc of the packages, and files of /usr/share that are copied to /etc.
        self.etc = folder / "etc"
        self.share = folder / "share"

    @property
    def boot(self) -> Boot:
        return Boot(self.kernel, self.initrd, usr=self.usr)

    def make(self) -> None:
        """Several processes may call it at once."""
        with locks.locked(self.folder / "lock", "makes the guests' image"):
            self.make_alone()

    def make_alone(self) -> None:
        apt = packages.Apt(self.folder / "apt", packages.NAMES)
        wanted = apt.packages()
        key = f"{packages.key_of(wanted)} {own_key()}"
        stamp = self.folder / "made-of"
        if stamp.exists() and stamp.read_text() == key:
            return
        say(f"making the guests' image of {len(wanted)} Debian packages")
        apt.fetch()
        # Machines may run with the earlier image, or be made of it, until this one is complete.
        new = Image(self.folder / "new")
        shutil.rmtree(new.folder, ignore_errors=True)
        new.folder.mkdir()
        new.make_parts(apt, wanted)
        stamp.unlink(missing_ok=True)
        self.take(new)
        stamp.write_text(key)

    def make_parts(self, apt: packages.Apt, wanted: list[packages.Package]) -> None:
        tree = self.folder / "tree"
        packages.unpack(apt.archives, wanted, tree)
        self.take_kernel(tree)
        shutil.copytree(tree / "etc", self.etc, symlinks=True)
        for name in ("base-files", "base-passwd", "libc-bin"):
            shutil.copytree(tree / "usr/share" / name, self.share, dirs_exist_ok=True)
        self.make_usr(tree / "usr")
        shutil.rmtree(tree)

    def take(self, new: "Image") -> None:
        """Replace the parts by those of another folder, which is removed."""
        for file in (self.kernel, self.initrd, self.usr):
            (new.folder / file.name).rename(file)
        for folder in (self.etc, self.share):
            shutil.rmtree(folder, ignore_errors=True)
            (new.folder / folder.name).rename(folder)
        shutil.rmtree(new.folder)

    def take_kernel(self, tree: Path) -> None:
        found = sorted((tree / "boot").glob("vmlinuz-*"))
        if not found:
            raise LabError("the packages contain no kernel")
        version = found[-1].name.removeprefix("vmlinuz-")
        shutil.copy(found[-1], self.kernel)
        modules = tree / "usr/lib/modules" / version
        subprocess.run(["depmod", "-b", tree, version], check=True)
        dependencies = parse_dependencies((modules / "modules.dep").read_text())
        early = modules_wanted(EARLY, dependencies)
        self.make_initrd(modules, early)
        kept = {*early, *modules_wanted(LATER, dependencies)}
        for file in dependencies:
            if file not in kept:
                (modules / file).unlink()
        subprocess.run(["depmod", "-b", tree, version], check=True)

    def make_initrd(self, modules: Path, early: list[str]) -> None:
        root = self.folder / "initrd.d"
        shutil.rmtree(root, ignore_errors=True)
        for name in ("bin", "proc", "sys", "dev", "mnt", "modules"):
            (root / name).mkdir(parents=True)
        shutil.copy(modules.parents[2] / "bin/busybox", root / "bin/busybox")
        for file in early:
            shutil.copy(modules / file, root / "modules")
        (root / "modules/order").write_text("".join(f"{Path(file).name}\n" for file in early))
        shutil.copy(HERE / "initrd-init", root / "init")
        (root / "init").chmod(0o755)
        names = "".join(f"{path.relative_to(root)}\n" for path in sorted(root.rglob("*")))
        archive = subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"],
            cwd=root,
            input=names.encode(),
            stdout=subprocess.PIPE,
            check=True,
        )
        self.initrd.write_bytes(gzip.compress(archive.stdout, 1))
        shutil.rmtree(root)

    def make_usr(self, usr: Path) -> None:
        for here, folders, files in os.walk(usr):
            for name in [*folders, *files]:
                path = Path(here) / name
                if left_out(str(path.relative_to(usr))):
                    if path.is_dir() and not path.is_symlink():
                        shutil.rmtree(path)
                        folders.remove(name)
                    else:
                        path.unlink()
        # Links that Debian's scripts would make.
        for name, target in {"awk": "mawk", "sh": "dash", "pager": "less"}.items():
            link = usr / "bin" / name
            if not link.is_symlink() and not link.exists():
                link.symlink_to(target)
        # The program under test is on the machine's own disk: disk.py.
        for name in ("halab",):
            (usr / "bin" / name).symlink_to(f"/opt/halab/bin/{name}")
        self.usr.unlink(missing_ok=True)
        subprocess.run(
            ["mkfs.erofs", "--quiet", "-T0", "--all-root", self.usr, usr],
            stdout=subprocess.DEVNULL,
            check=True,
        )
