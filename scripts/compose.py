#!/usr/bin/env python3
"""Holds compose.yaml to lab.toml, and to what every container of the lab has to be: not root, without capabilities, its
root file system read-only, published on loopback addresses alone."""

import argparse
import re
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
PROFILES = ["core", "monitoring", "full"]
# The one service that is root, since it reads the engine's own files.
ROOT_SERVICES = {"cadvisor"}
NO_NODES = {"secrets", "closing", "prometheus", "redis-exporter", "cadvisor", "grafana", "writer"}
# Other commands of the program in the writer's image.
OF_WRITER = {"secrets", "closing"}


def expanded(value):
    """As Compose reads it when nothing is set."""
    if isinstance(value, str):
        return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", value)
    if isinstance(value, list):
        return [expanded(item) for item in value]
    if isinstance(value, dict):
        return {key: expanded(item) for key, item in value.items()}
    return value


def problems(compose, lab, images, version):
    """Every way in which the file is not what it has to be."""
    services = compose["services"]
    subnet = compose["networks"]["lab"]["ipam"]["config"][0]["subnet"]
    network = subnet.removesuffix(".0/24")
    moved = lambda address: f"{network}.{address.split('.')[-1]}"
    data = {node["name"]: node for node in lab["data_node"]}
    sentinels = {node["name"]: node for node in lab["sentinel"]}
    nodes = data | sentinels
    monitoring = lab["monitoring"]
    found = []

    def hold(service, what, is_now, has_to_be):
        if is_now != has_to_be:
            found.append(f"{service}: {what} is {is_now}, and has to be {has_to_be}")

    hold("services", "the list", sorted(services), sorted(set(nodes) | NO_NODES))
    address = lambda service: service.get("networks", {}).get("lab", {}).get("ipv4_address")
    for name, service in services.items():
        image = (
            "redis"
            if name in data
            else "sentinel"
            if name in sentinels
            else "writer"
            if name in OF_WRITER
            else name
        )
        hold(name, "image", service.get("image"), f"redis-ha-lab-{image}:{version}")
        hold(name, "image's description", image in images["image"], True)
        hold(name, "cap_drop", service.get("cap_drop"), ["ALL"])
        hold(name, "cap_add", service.get("cap_add"), None)
        hold(name, "privileged", service.get("privileged"), None)
        hold(name, "read_only", service.get("read_only"), True)
        hold(name, "security_opt", service.get("security_opt"), ["no-new-privileges:true"])
        hold(name, "restart", service.get("restart"), "no")
        hold(name, "pid", service.get("pid"), "host" if name in ROOT_SERVICES else None)
        hold(name, "user", service.get("user"), "0:0" if name in ROOT_SERVICES else None)
        hold(name, "a healthcheck of its own", "healthcheck" in service, False)
        for limit in ("mem_limit", "cpus", "pids_limit", "stop_grace_period"):
            hold(name, f"{limit} is given", limit in service, True)
        profiles = service.get("profiles", [])
        hold(
            name,
            "profiles",
            profiles,
            PROFILES[len(PROFILES) - len(profiles) :] if profiles else "not empty",
        )
        for port in service.get("ports", []):
            hold(name, f"port {port} on a loopback", port.startswith("127."), True)
        hold(name, "HALAB_SUBNET", service["environment"].get("HALAB_SUBNET"), network)
    for name, node in nodes.items():
        service = services.get(name, {})
        hold(name, "address", address(service), moved(node["address"]))
        hold(
            name,
            "ports",
            service.get("ports"),
            [f"{node['address']}:{node['port']}:{node['port']}"],
        )
        hold(name, "HALAB_NODE", service.get("environment", {}).get("HALAB_NODE"), name)
        hold(
            name,
            "label",
            service.get("labels"),
            {"redis-ha-lab.node": f"{name}@{moved(node['address'])}"},
        )
        hold(name, "profiles", service.get("profiles"), PROFILES)
        hold(name, "volumes", service.get("volumes", [])[:1], [f"{name}:/state"])
        image = images["image"]["redis" if name in data else "sentinel"]
        hold(name, "port of its image", image["ports"], [node["port"]])
    for name, service in services.items():
        mounted = [volume for volume in service.get("volumes", []) if volume.startswith("secrets:")]
        path = (
            images["image"]
            .get("writer" if name in OF_WRITER else name, images["image"]["redis"])["env"]
            .get("HALAB_SECRETS")
        )
        hold(
            name,
            "the passwords",
            mounted,
            [f"secrets:{path}" + (":ro" if name != "secrets" else "")] if path else [],
        )
    hold("writer", "address", address(services["writer"]), moved(monitoring["writer_address"]))
    hold("prometheus", "address", address(services["prometheus"]), moved(monitoring["address"]))
    shown = [monitoring[f"{name}_port"] for name in ("prometheus", "grafana", "cadvisor")]
    hold(
        "prometheus",
        "ports",
        services["prometheus"]["ports"],
        [f"127.0.0.1:{port}:{port}" for port in shown],
    )
    for name in ("redis-exporter", "cadvisor", "grafana"):
        hold(name, "network_mode", services[name].get("network_mode"), "service:prometheus")
    for name in ("prometheus", "redis-exporter", "cadvisor", "grafana"):
        port = monitoring[f"{name.replace('-', '_')}_port"]
        hold(name, "port of its image", images["image"][name]["ports"], [port])
    # What Docker takes when nothing is said is 10 s; a handover may take longer.
    for name in data:
        hold(name, "stop_grace_period", services[name]["stop_grace_period"], "30s")
    hold(
        "volumes",
        "the list",
        sorted(compose["volumes"]),
        sorted(
            {
                volume.split(":")[0]
                for service in services.values()
                for volume in service.get("volumes", [])
                if not volume.startswith("/")
            }
        ),
    )
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", required=True, help="say what does not fit, and fail then"
    )
    parser.parse_args()
    read = lambda name: tomllib.loads((ROOT / name).read_text())
    compose = expanded(yaml.safe_load((ROOT / "compose.yaml").read_text()))
    version = read("Cargo.toml")["package"]["version"]
    found = problems(compose, read("lab.toml"), read("containers/images.toml"), version)
    sys.exit("\n".join(f"compose.yaml: {problem}" for problem in found) or 0)


if __name__ == "__main__":
    main()
