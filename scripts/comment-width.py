#!/usr/bin/env python3
"""Reports comments and docstrings wider than 100 columns, as FILE:LINE. Exits with 1 if there are
any.

Covers shell, Python, Nix, YAML, TOML and configuration files; rustfmt wraps the comments of Rust.
Tables, URLs and generated files may be wider.
"""

import ast
import io
import pathlib
import re
import sys
import tokenize
import typing

ROOT = pathlib.Path(__file__).resolve().parent.parent
COLUMNS = 100
FILES = (
    *("lab", "*.nix", "*.toml", "*.yaml"),
    *("scripts/**/*", "machines/**/*", "nix/**/*", "prometheus/**/*", "containers/*"),
    *("examples/*/*", "packaging/**/*", ".github/**/*.yml", ".ci/*", "redis/*", "sentinel/*"),
)
EXCEPTED = re.compile(r"https?://|^\s*#?\s*\|.*\|\s*$")


def comment_lines(text: str, python: bool) -> typing.Iterator[int]:
    """The numbers of lines with a comment or a part of a docstring."""
    if not python:
        yield from (
            number
            for number, line in enumerate(text.splitlines(), 1)
            if line.lstrip().startswith("#")
        )
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0]
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            yield from range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1)


def too_wide(text: str, python: bool) -> list[int]:
    lines = text.splitlines()
    return [
        number
        for number in sorted(set(comment_lines(text, python)))
        if len(lines[number - 1]) > COLUMNS and not EXCEPTED.search(lines[number - 1])
    ]


def check_itself() -> None:
    """The negative control: wide comments must be found, exceptions must not."""
    wide = "x " * 60
    found = {
        f"# {wide}\n": [1],
        f"a: 1\n  # {wide}\n": [2],
        f"# http://example.org/{wide}\n# | {wide} |\nprintf '{wide}'\n": [],
    }
    for text, numbers in found.items():
        assert too_wide(text, python=False) == numbers, text
    module = f'"""Short.\n\n{wide}\n"""\nx = 1  # {wide}\ny = "{wide}"\n'
    assert too_wide(module, python=True) == [3, 5], module


def main() -> int:
    check_itself()
    files = sorted({file for pattern in FILES for file in ROOT.glob(pattern) if file.is_file()})
    wide = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in files
        if file.suffix not in (".pyc", ".json", ".lock", ".md")
        for number in too_wide(file.read_text(), file.suffix == ".py")
    ]
    for place in wide:
        print(f"{place}: comment wider than {COLUMNS} columns", file=sys.stderr)
    return 1 if wide else 0


if __name__ == "__main__":
    sys.exit(main())
