#!/usr/bin/env python3
"""Reports broken links between the project's documents: the file or the heading does not exist."""

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
        *ROOT.glob("examples/*.md"),
    ]


def prose(text: str) -> str:
    """The text without code, in which brackets have another meaning."""
    return re.sub(
        r"`[^`\n]*`", "", re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)
    )


def headings(text: str) -> set[str]:
    """The anchors of a document, in GitHub's form."""
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
                print(f"{document.relative_to(ROOT)}: broken link {link}", file=sys.stderr)
                found = 1
    if not seen:
        sys.exit("found no link at all")
    return found


if __name__ == "__main__":
    sys.exit(main())
