#!/usr/bin/env python3
"""Writes the commands of `./lab help` into docs/commands.md; with --check, fails if they differ."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "commands.md"
MARK = "<!-- lab commands -->\n"


def commands() -> list[tuple[str, str]]:
    """Each command with its words, and what it does."""
    text = (ROOT / "lab").read_text()
    listed = text.partition("./lab COMMAND\n\n")[2].partition("\n\n")[0]
    found = []
    for line in listed.splitlines():
        words, *what = re.split("  +", line.strip(), maxsplit=1)
        if not what:
            raise SystemExit(f"commands.py: two spaces are missing in ./lab help: {line!r}")
        found.append((words, what[0].replace("$LAB_DIR", ".lab")))
    return found


def page() -> str:
    before, _, after = PAGE.read_text().split(MARK)
    rows = "".join(
        "| `./lab {}` | {} |\n".format(words.replace("|", r"\|"), what)
        for words, what in commands()
    )
    return f"{before}{MARK}\n| command | what it does |\n| -- | -- |\n{rows}\n{MARK}{after}"


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        if page() != PAGE.read_text():
            raise SystemExit("docs/commands.md differs from ./lab help: ./lab generate")
    else:
        PAGE.write_text(page())
