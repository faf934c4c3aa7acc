"""Files that are made of a template and lab.toml: what scripts/compose.py and
scripts/process_compose.py have in common."""

import argparse
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def read_toml(name):
    return tomllib.loads((ROOT / name).read_text())


def filled(template, values):
    """The text of the template with each @NAME@ replaced by its value."""
    return re.sub(r"@(\w+)@", lambda mark: values[mark[1]], (ROOT / template).read_text())


def depending(nodes, indent, condition):
    """The lines of a `depends_on` with that condition on each node."""
    return "\n".join(
        f"{' ' * indent}{node['name']}: {{ condition: {condition} }}" for node in nodes
    )


def checks_only(description):
    """Parses the arguments; True with --check."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write the file (the default)")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if the file differs"
    )
    return parser.parse_args().check


def differences(name, text, check):
    """Writes the file, or yields the problem that it differs."""
    if not check:
        (ROOT / name).write_text(text)
    elif (ROOT / name).read_text() != text:
        yield f"{name} differs: run ./lab generate"
