"""The commands of a page of docs: its blocks fenced with `console`, one after the other, each with the heading that it stands
under. Who runs them takes them in the page's order, and each says which heading it expects: a block that is added, removed or
moved is noticed."""

import textwrap
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    heading: str
    text: str


def blocks(page: str) -> list[Block]:
    """Also those within lists, where they are indented."""
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
        raise AssertionError(f"a block under {heading!r} has no end")
    return found


class Page:
    def __init__(self, text: str) -> None:
        self.left = blocks(text)

    def next(self, heading: str) -> str:
        if not self.left or self.left[0].heading != heading:
            there = repr(self.left[0]) if self.left else "none"
            raise AssertionError(
                f"the next block of the page is to stand under {heading!r}; it is {there}"
            )
        return self.left.pop(0).text

    def ended(self) -> None:
        if self.left:
            raise AssertionError(f"the page has a block that nobody has run: {self.left[0]!r}")
