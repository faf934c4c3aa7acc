#!/usr/bin/env python3
"""Reads dashboards with Grafana's own types and reports unknown fields.

Grafana silently ignores an unknown field, so a misspelt one changes the panel. Needs the Python
packages of tools/dashboards-requirements.txt. Exits with 1 if there is an unknown field.
"""

import json
import pathlib
import sys
import typing

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

# Fields of an annotation that belong to the Prometheus data source, not to Grafana:
# https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/annotate-visualizations/
OF_PROMETHEUS = {"step", "titleFormat", "textFormat", "tagKeys"}


def lost(written: typing.Any, read: typing.Any, path: str = "") -> typing.Iterator[str]:
    """The parts of `written` that are missing in `read`, its round trip through Grafana's types."""
    if isinstance(written, dict) and isinstance(read, dict):
        for key, value in written.items():
            if (
                path.startswith(".annotations.list[")
                and path.count(".") == 2
                and key in OF_PROMETHEUS
            ):
                continue
            if key in read:
                yield from lost(value, read[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}: no such field"
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        for number, (one, other) in enumerate(zip(written, read)):
            yield from lost(one, other, f"{path}[{number}]")
    elif written != read:
        yield f"{path}: {written!r} is read as {read!r}"


def main(files: list[str]) -> int:
    plugins.register_default_plugins()
    found = 0
    for file in files:
        dashboard = json.loads(pathlib.Path(file).read_text())
        read = json.loads(json.dumps(Dashboard.from_json(dashboard), cls=JSONEncoder))
        for problem in lost(dashboard, read):
            print(f"{file}: {problem}", file=sys.stderr)
            found = 1
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
