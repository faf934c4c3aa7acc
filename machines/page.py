"""The commands of a docs page: its blocks fenced with `console`, in order, each with its heading.

A test takes the blocks in the page's order and names the heading it expects, so a block that is
added, removed or moved fails the test.
"""

import textwrap
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    heading: str
    text: str


def blocks(page: str) -> list[Block]:
    """All blocks of the page, including indented ones in lists."""
    found: list[Block] = []
    heading = ""
    lines: list[str] | None = None
    for line in page.splitlines():
        fence = line.strip()
        if lines is None and fence == "```console":
            lines = []
        elif lines is not None and fence == "```":
            found.append(Block(heading, textwrap.dedent("\n".join(lines)) + "\n"))
            lines = None
        elif lines is not None:
            lines.append(line)
        elif line.startswith("#"):
            heading = line.lstrip("#").strip()
    if lines is not None:
        raise AssertionError(f"a block under {heading!r} is not closed")
    return found


class Page:
    def __init__(self, text: str) -> None:
        self.left = blocks(text)

    def next(self, heading: str) -> str:
        if not self.left or self.left[0].heading != heading:
            there = repr(self.left[0]) if self.left else "none"
            raise AssertionError(
                f"expected a block under {heading!r} next on the page; found {there}"
            )
        return self.left.pop(0).text

    def assert_finished(self) -> None:
        if self.left:
            raise AssertionError(f"the page has a block that was not run: {self.left[0]!r}")
