#!/usr/bin/env python3
"""Generates compose.yaml from containers/compose.yaml.in and lab.toml: nodes, addresses and ports.
With --check, fails if compose.yaml differs. In both cases checks that every container has least
privileges: no root user, no capabilities, a read-only root file system, ports on loopback addresses
only."""

import re
import sys

import yaml
from templates import (
    checks_only,
    depending,
    differences,
    filled,
    read_lab,
    read_toml,
    yaml_key,
)

NETWORK = "${LAB_NETWORK:-198.51.100}"
PROFILES = ["core", "monitoring", "full"]
# The only service that runs as root: it reads the engine's files.
ROOT_SERVICES = {"cadvisor"}
# Services that run commands of the program in the writer's image.
OF_WRITER = {"secrets", "closing", "web"}


def last_octet(address):
    return address.rsplit(".", 1)[1]


def in_network(address):
    return f"{NETWORK}.{last_octet(address)}"


def node_service(node, kind, previous=None):
    """The service of a node; `previous` is the data node that starts before it and stops after
    it."""
    name, port = node["name"], node["port"]
    address = in_network(node["address"])
    lines = [
        f"{yaml_key(name)}:",
        f"  <<: *{kind}",
        f"  environment: {{ <<: *environment, HALAB_NODE: {yaml_key(name)} }}",
        f'  labels: {{ redis-ha-lab.node: "{name}@{address}" }}',
        f'  networks: {{ lab: {{ ipv4_address: "{address}" }} }}',
        f'  ports: ["${{LAB_LOOPBACK:-127.0.0}}.{last_octet(node["address"])}:{port}:{port}"]',
        f'  volumes: ["{name}:/state", "secrets:/run/secrets:ro"]',
    ]
    if previous:
        lines += [
            "  # Data nodes stop one after the other: otherwise the primary would hand over to a node that",
            "  # is stopping too.",
            "  depends_on:",
            "    <<: *sentinels-started",
            f"    {yaml_key(previous)}: {{ condition: service_started }}",
        ]
    return "".join(f"  {line}\n" for line in lines)


def proxy_settings(lab):
    """The table [proxy] with its defaults; None without it."""
    if "proxy" not in lab:
        return None
    network = lab["data_node"][0]["address"].rsplit(".", 1)[0]
    return {"address": f"{network}.51", **lab["proxy"]}


def proxy_service(proxy):
    """The service of the proxy; nothing for a lab without one."""
    if proxy is None:
        return ""
    address, port = proxy["address"], proxy["port"]
    lines = [
        "# One address for any Redis client. It depends on `closing`, so it stops first: its clients are",
        "# answered before the lab closes.",
        "proxy:",
        "  <<: *node",
        "  image: redis-ha-lab-proxy:${LAB_VERSION:-@version@}",
        "  environment: { <<: *environment }",
        f'  networks: {{ lab: {{ ipv4_address: "{in_network(address)}" }} }}',
        f'  ports: ["${{LAB_LOOPBACK:-127.0.0}}.{last_octet(address)}:{port}:{port}"]',
        '  volumes: ["secrets:/run/secrets:ro"]',
        "  stop_grace_period: 15s",
        "  mem_limit: 512m",
        "  cpus: 1.0",
        "  depends_on:",
        "    closing: { condition: service_started }",
    ]
    return "".join(f"  {line}\n" for line in lines)


def rendered(lab, version):
    data, sentinels = lab["data_node"], lab["sentinel"]
    monitoring = lab["monitoring"]
    before = [None, *(node["name"] for node in data)]
    values = {
        "version": version,
        "sentinels": "".join(node_service(node, "sentinel") for node in sentinels),
        "data_nodes": "".join(
            node_service(node, "data-node", previous)
            for node, previous in zip(data, before, strict=False)
        ),
        "sentinels_started": depending(sentinels, 4, "service_started"),
        "data_nodes_started": depending(data, 6, "service_started"),
        "data_nodes_healthy": depending(data, 6, "service_healthy"),
        "proxy": proxy_service(proxy_settings(lab)).replace("@version@", version),
        "node_volumes": "\n".join(f"  {yaml_key(node['name'])}:" for node in [*data, *sentinels]),
        "monitoring_address": in_network(monitoring["address"]),
        "writer_address": in_network(monitoring["writer_address"]),
        **{
            f"{name}_port": str(monitoring[f"{name}_port"])
            for name in ("prometheus", "grafana", "cadvisor", "web")
        },
    }
    return filled("containers/compose.yaml.in", values)


def expanded(value):
    """The value as Compose expands it without environment variables."""
    if isinstance(value, str):
        return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", value)
    if isinstance(value, list):
        return [expanded(item) for item in value]
    if isinstance(value, dict):
        return {key: expanded(item) for key, item in value.items()}
    return value


def problems(compose, lab, images, version):
    """The services without least privileges, or that differ from their image."""
    data = {node["name"]: node["port"] for node in lab["data_node"]}
    sentinels = {node["name"]: node["port"] for node in lab["sentinel"]}
    ports = {
        **data,
        **sentinels,
        **{
            name: lab["monitoring"][f"{name.replace('-', '_')}_port"]
            for name in ("prometheus", "redis-exporter", "cadvisor", "grafana")
        },
    }
    if proxy := proxy_settings(lab):
        ports["proxy"] = proxy["port"]
    for name, service in compose["services"].items():
        image = (
            "redis"
            if name in data
            else "sentinel"
            if name in sentinels
            else "writer"
            if name in OF_WRITER
            else name
        )
        described = images["image"].get(image, {})
        secrets = described.get("env", {}).get("HALAB_SECRETS")
        profiles = service.get("profiles", [])
        expected = {
            "image": f"redis-ha-lab-{image}:{version}",
            "cap_drop": ["ALL"],
            "cap_add": None,
            "privileged": None,
            "read_only": True,
            "security_opt": ["no-new-privileges:true"],
            "restart": "no",
            "pid": "host" if name in ROOT_SERVICES else None,
            "user": "0:0" if name in ROOT_SERVICES else None,
            # The image defines it.
            "healthcheck": None,
            "profiles": PROFILES[len(PROFILES) - len(profiles) :] or "not empty",
        }
        for key, value in expected.items():
            if service.get(key) != value:
                yield f"{name}: {key} is {service.get(key)}; it must be {value}"
        for limit in ("mem_limit", "cpus", "pids_limit", "stop_grace_period"):
            if limit not in service:
                yield f"{name}: has no {limit}"
        for port in service.get("ports", []):
            if not port.startswith("127."):
                yield f"{name}: port {port} is not on a loopback address"
        mounted = [volume for volume in service.get("volumes", []) if volume.startswith("secrets:")]
        wanted = [f"secrets:{secrets}" + (":ro" if name != "secrets" else "")] if secrets else []
        if mounted != wanted:
            yield f"{name}: the passwords are mounted as {mounted}; they must be as {wanted}"
        if name in ports and described.get("ports") != [ports[name]]:
            yield f"{name}: port {ports[name]} in lab.toml, {described.get('ports')} in its image"


def main():
    check = checks_only(__doc__)
    lab, version = read_lab("monitoring"), read_toml("Cargo.toml")["package"]["version"]
    text = rendered(lab, version)
    images = read_toml("containers/images.toml")
    found = [
        f"compose.yaml: {problem}"
        for problem in problems(expanded(yaml.safe_load(text)), lab, images, version)
    ]
    found += differences("compose.yaml", text, check)
    sys.exit("\n".join(found) or 0)


if __name__ == "__main__":
    main()
