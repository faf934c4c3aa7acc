#!/usr/bin/env python3
"""Generates process-compose.yaml from scripts/process-compose.yaml.in and lab.toml: the nodes and
their order. With --check, fails if process-compose.yaml differs."""

import sys

from templates import checks_only, depending, differences, filled, read_lab, yaml_key

FILE = "process-compose.yaml"


def other_sentinel(name):
    return f"""\
  {yaml_key(name)}:
    <<: *sentinel
    log_location: ${{LAB_LOG:-.lab/log}}/{name}.log
"""


def other_data_node(name, previous):
    """`previous` is the data node that starts before it and stops after it."""
    return f"""\
  {yaml_key(name)}:
    <<: *redis
    log_location: ${{LAB_LOG:-.lab/log}}/{name}.log
    # For the order of the stop, not of the start (`process_started` does not wait for health): data
    # nodes stop one after the other. Otherwise the primary would hand over to a node that is
    # stopping too.
    depends_on:
      <<: *after_sentinels
      {yaml_key(previous)}: {{ condition: process_started }}
"""


def rendered(lab):
    data, sentinels = lab["data_node"], lab["sentinel"]
    data_names = [node["name"] for node in data]
    sentinel_names = [node["name"] for node in sentinels]
    values = {
        "nodes": " ".join([*data_names, *sentinel_names]),
        "first_sentinel": sentinel_names[0],
        "first_sentinel_key": yaml_key(sentinel_names[0]),
        "other_sentinels": "".join(map(other_sentinel, sentinel_names[1:])),
        "first_data_node": data_names[0],
        "first_data_node_key": yaml_key(data_names[0]),
        "other_data_nodes": "".join(map(other_data_node, data_names[1:], data_names)),
        "sentinels_started": depending(sentinels, 6, "process_started"),
        "data_nodes_started": depending(data, 6, "process_started"),
    }
    return filled("scripts/process-compose.yaml.in", values)


if __name__ == "__main__":
    check = checks_only(__doc__)
    sys.exit("\n".join(differences(FILE, rendered(read_lab()), check)) or 0)
