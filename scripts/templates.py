"""What the generators of files have in common: lab.toml with its defaults, and templates."""

import argparse
import json
import re
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


def read_toml(name):
    return tomllib.loads((ROOT / name).read_text())


def read_lab(*tables):
    """lab.toml with the defaults of lab.schema.json. Ends the program if one of `tables` is left
    out."""
    schema = json.loads((ROOT / "lab.schema.json").read_text())
    lab = with_defaults(read_toml("lab.toml"), schema)
    for table in tables:
        if table not in lab:
            sys.exit(f"lab.toml: no table [{table}], whose addresses this file needs; add it")
    return lab


def with_defaults(value, schema):
    """`value` with what it leaves out, as far as the schema has a default."""
    if isinstance(value, list):
        return [with_defaults(element, schema.get("items", {})) for element in value]
    if not isinstance(value, dict):
        return value
    complete = {}
    for key, described in schema.get("properties", {}).items():
        if key in value:
            complete[key] = with_defaults(value[key], described)
        elif "default" in described:
            complete[key] = described["default"]
        elif is_all_defaults(described):
            complete[key] = with_defaults({}, described)
    return {**value, **complete}


def is_all_defaults(table):
    """Whether every key of a table has a default, so that the table may be left out."""
    keys = table.get("properties", {}).values()
    return bool(keys) and all("default" in key for key in keys)


def yaml_key(name):
    """A name as a key in YAML: quoted if it would be read as something else, such as a number."""
    return name if yaml.safe_load(name) == name else json.dumps(name)


def filled(template, values):
    """The text of the template with each @NAME@ replaced by its value."""
    return re.sub(r"@(\w+)@", lambda mark: values[mark[1]], (ROOT / template).read_text())


def depending(nodes, indent, condition):
    """The lines of a `depends_on` with that condition on each node."""
    return "\n".join(
        f"{' ' * indent}{yaml_key(node['name'])}: {{ condition: {condition} }}" for node in nodes
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
