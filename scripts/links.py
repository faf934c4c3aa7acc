#!/usr/bin/env python3
"""Says which links between the project's documents lead nowhere: to no file, or to no heading of it."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def documents() -> list[pathlib.Path]:
    return [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("deploy/**/*.md"),
        *ROOT.glob("fuzz/*.md"),
    ]


def prose(text: str) -> str:
    """Without code, in which brackets are something else."""
    return re.sub(
        r"`[^`\n]*`", "", re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)
    )


def headings(text: str) -> set[str]:
    """What a link can name after #, by GitHub's way to make it."""
    titles = re.findall(
        r"^#+ (.+)$",
        re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE),
        re.MULTILINE,
    )
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


def main() -> int:
    found, seen = 0, 0
    for document in documents():
        for link in re.findall(r"\]\(([^)\s]+)\)", prose(document.read_text())):
            if re.match(r"[a-z]+:", link):
                continue
            seen += 1
            file, _, heading = link.partition("#")
            target = (document.parent / file).resolve() if file else document
            there = target.exists() and (not heading or heading in headings(target.read_text()))
            if not there:
                print(f"{document.relative_to(ROOT)}: {link} leads nowhere", file=sys.stderr)
                found = 1
    if not seen:
        sys.exit("no link was seen at all")
    return found


if __name__ == "__main__":
    sys.exit(main())
