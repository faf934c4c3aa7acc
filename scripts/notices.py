#!/usr/bin/env python3
"""Prints the licence notices of all crates that the program is linked with, from their sources:
scripts/notices.py [TARGET], by default for this machine.

Each crate is listed with its version, licence and authors, and with the numbers of its notices. A
text that several crates share is printed once. Crates that only run during compilation (build
scripts, procedural macros) are not part of the program.
"""

import json
import subprocess
import sys
import typing
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("licen", "copying", "copyright", "notice", "unlicense")
Package = dict[str, typing.Any]


def output_of(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def linked(tree: str) -> set[tuple[str, str]]:
    """Names and versions from the output of `cargo tree` without prefix; the first line, the
    program itself, is skipped."""
    lines = [line.split() for line in tree.splitlines()]
    return {(line[0], line[1].removeprefix("v")) for line in lines[1:]}


def notices(package: Package) -> list[str]:
    folder = Path(package["manifest_path"]).parent
    files = [
        file
        for file in sorted(folder.iterdir())
        if file.is_file() and file.name.lower().startswith(NAMES)
    ]
    return [
        file.read_text(encoding="utf-8", errors="replace").strip()
        for file in files
        if file.suffix not in (".rs", ".html")
    ]


def text_of(packages: list[Package]) -> str:
    numbers: dict[str, int] = {}
    lines = [
        "The crates linked into halab. The numbers refer to the notices below.",
        "A crate without a notice has none in its source; its manifest names its licence.",
        "",
    ]
    for package in packages:
        own = [str(numbers.setdefault(notice, len(numbers) + 1)) for notice in notices(package)]
        lines.append(
            f"{package['name']} {package['version']}: {package['license']}; "
            f"notices: {', '.join(own) or 'none'}"
        )
        lines += [f"    by {author}" for author in package["authors"]]
    for notice, number in numbers.items():
        lines += ["", f"{'=' * 40} {number}", "", notice]
    return "\n".join([*lines, ""])


def host() -> str:
    """The target of this machine."""
    version = output_of("rustc", "-vV")
    return next(line.split()[1] for line in version.splitlines() if line.startswith("host:"))


def of_program(target: str) -> str:
    """The notices of all crates that the program for `target` is linked with."""
    edges = ["--edges", "normal,no-proc-macro"]
    layout = ["--prefix", "none", "--format", "{p}"]
    tree = output_of("cargo", "tree", "--locked", "--target", target, *edges, *layout)
    metadata = ["cargo", "metadata", "--locked", "--format-version", "1"]
    known = json.loads(output_of(*metadata, "--filter-platform", target))["packages"]
    of = {(package["name"], package["version"]): package for package in known}
    return text_of([of[crate] for crate in sorted(linked(tree))])


if __name__ == "__main__":
    sys.stdout.write(of_program(sys.argv[1] if len(sys.argv) > 1 else host()))
