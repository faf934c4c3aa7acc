#!/usr/bin/env python3
"""Prints the licence notices of all crates that the program is linked with, from the sources that Cargo built it of.

Each crate is named with its version, licence and authors, and with the numbers of its notices; a text that many crates share
stands once. Crates that run only while others are compiled (build scripts, procedural macros) are no part of the program.
"""

import json
import subprocess
import sys
import typing
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("licen", "copying", "copyright", "notice", "unlicense")
Package = dict[str, typing.Any]


def said_by(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def linked(tree: str) -> set[tuple[str, str]]:
    """Names and versions in what `cargo tree` prints without a prefix; the first is the program itself."""
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
        "The crates that the program halab is linked with, and their notices by number, below.",
        "One without a notice has none in its source; its licence is that of its manifest.",
        "",
    ]
    for package in packages:
        own = [str(numbers.setdefault(notice, len(numbers) + 1)) for notice in notices(package)]
        lines.append(
            f"{package['name']} {package['version']}: {package['license']}; notices: {', '.join(own) or 'none'}"
        )
        lines += [f"    by {author}" for author in package["authors"]]
    for notice, number in numbers.items():
        lines += ["", f"{'=' * 40} {number}", "", notice]
    return "\n".join([*lines, ""])


def main() -> None:
    platform = next(
        line.split()[1] for line in said_by("rustc", "-vV").splitlines() if line.startswith("host:")
    )
    tree = said_by(
        *(
            "cargo",
            "tree",
            "--locked",
            "--edges",
            "normal,no-proc-macro",
            "--target",
            platform,
            "--prefix",
            "none",
            "--format",
            "{p}",
        )
    )
    known = json.loads(
        said_by(
            "cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", platform
        )
    )["packages"]
    of = {(package["name"], package["version"]): package for package in known}
    sys.stdout.write(text_of([of[crate] for crate in sorted(linked(tree))]))


if __name__ == "__main__":
    main()
