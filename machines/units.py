"""The lab's units on a guest: those of deploy/systemd, as on a host without NixOS, and the enabled
ones."""

import re
from pathlib import Path

from .guests import Guest, Variant

# The paths in those units.
CONFIG = "/etc/redis-ha-lab/lab.toml"
SECRETS = "/etc/redis-ha-lab/secrets"
# The writer's rate in records a second, as in nix/tests/driver/machines.nix.
RATE = 200


def enabled(guest: Guest, variant: Variant) -> list[str]:
    """The names of the units that start with the machine."""
    units = [f"halab-sentinel@{name}.service" for name in guest.sentinels]
    units += [f"halab-data-node@{name}.service" for name in guest.data_nodes]
    if guest.writer:
        units.append("halab-writer.service")
    if variant.proxy and guest.proxy:
        units.append("halab-proxy.service")
    if variant.monitoring and guest.monitoring:
        units += ["halab-prometheus.service", "halab-redis-exporter.service"]
    return units


def template_of(unit: str) -> str:
    """The file of a unit; for an instance, that of its template."""
    return re.sub(r"@[^.]+\.", "@.", unit)


def writer_drop_in(shipped: str) -> str:
    """The writer's shipped command with another rate."""
    found = re.search(r"^ExecStart=(.*) --rate \d+(.*)$", shipped, flags=re.MULTILINE)
    if found is None:
        raise ValueError("halab-writer.service has no --rate")
    return f"[Service]\nExecStart=\nExecStart={found[1]} --rate {RATE}{found[2]}\n"


def files(shipped: Path) -> dict[str, str]:
    """All units and the drop-ins of a test, by path in /etc/systemd/system."""
    texts = {path.name: path.read_text() for path in sorted(shipped.iterdir())}
    return texts | {
        "halab-writer.service.d/rate.conf": writer_drop_in(texts["halab-writer.service"]),
        # cAdvisor looks every second, which would take most of an emulated machine: none runs.
        "halab-prometheus.service.d/cadvisors.conf": "[Service]\nEnvironment=HALAB_CADVISORS=none\n",
    }
