"""The units of the lab on a guest: those of deploy/systemd, as a host without NixOS has them, and which of them it starts."""

import re
from pathlib import Path

from .guests import Guest, Variant

# Where those units look.
CONFIG = "/etc/redis-ha-lab/lab.toml"
SECRETS = "/etc/redis-ha-lab/secrets"
# Of the writer, in records a second, as nix/tests/driver/machines.nix has it.
RATE = 200


def enabled(guest: Guest, variant: Variant) -> list[str]:
    """The units that start with the machine, by name."""
    units = [f"halab-sentinel@{name}.service" for name in guest.sentinels]
    units += [f"halab-data-node@{name}.service" for name in guest.data_nodes]
    if guest.writer:
        units.append("halab-writer.service")
    if variant.monitoring and guest.monitoring:
        units += ["halab-prometheus.service", "halab-redis-exporter.service"]
    return units


def template_of(unit: str) -> str:
    """The file of an instance is that of its template."""
    return re.sub(r"@[^.]+\.", "@.", unit)


def writer_drop_in(shipped: str) -> str:
    """The writer's own command, at another rate."""
    found = re.search(r"^ExecStart=(.*) --rate \d+(.*)$", shipped, flags=re.MULTILINE)
    if found is None:
        raise ValueError("halab-writer.service says no rate")
    return f"[Service]\nExecStart=\nExecStart={found[1]} --rate {RATE}{found[2]}\n"


def files(shipped: Path) -> dict[str, str]:
    """All of them, by their path in /etc/systemd/system, and what a test has otherwise."""
    texts = {path.name: path.read_text() for path in sorted(shipped.iterdir())}
    return texts | {
        "halab-writer.service.d/rate.conf": writer_drop_in(texts["halab-writer.service"]),
        # With its period of a second one takes all that an emulated machine has: no guest runs any.
        "halab-prometheus.service.d/cadvisors.conf": "[Service]\nEnvironment=HALAB_CADVISORS=none\n",
    }
