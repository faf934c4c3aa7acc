"""The three machines, with the same parts as the template of NixOS hosts (nix/templates/hosts)."""

import re
from dataclasses import dataclass

# A network for documentation (RFC 5737). The last number of an address is that of lab.toml.
SUBNET = "192.0.2"
# Extra memory for Prometheus and redis_exporter.
MONITORING_MIB = 384


# Time limits for an emulated processor, by table of lab.toml.
EMULATED = {
    "timing": {
        # As in nix/tests/driver/machines.nix: a slow node must not count as down.
        "down_after_ms": "10000",
        "failover_timeout_ms": "10000",
        "hang_timeout_ms": "5000",
        # Answers take up to a hundred times as long as with KVM.
        "raise_limit_ms": "2000",
    },
    # Ten batches a second, as with 1000 records a second and the shipped batch size, but a fifth of
    # the data: each start of a server reads all data.
    "writer": {"batch": "20"},
}


@dataclass(frozen=True)
class Guest:
    name: str
    number: int
    memory_mib: int
    data_nodes: tuple[str, ...] = ()
    sentinels: tuple[str, ...] = ()
    writer: bool = False
    proxy: bool = False
    monitoring: bool = False

    @property
    def address(self) -> str:
        """The host's own address: everything except its nodes connects from it."""
        return f"{SUBNET}.{self.number}"

    def memory(self, variant: "Variant") -> int:
        """In MiB."""
        return self.memory_mib + (MONITORING_MIB if self.monitors(variant) else 0)

    def cores(self, variant: "Variant") -> int:
        """Prometheus and redis_exporter would take two thirds of an emulated processor's time, and
        miss scrapes."""
        return 2 if self.monitors(variant) else 1

    def monitors(self, variant: "Variant") -> bool:
        return variant.monitoring and self.monitoring

    @property
    def nodes(self) -> tuple[str, ...]:
        return self.data_nodes + self.sentinels


GUESTS = (
    Guest("one", 1, 256, data_nodes=("redis-a",), sentinels=("sentinel-1",)),
    Guest("two", 2, 256, data_nodes=("redis-b",), sentinels=("sentinel-2",)),
    Guest("three", 3, 320, sentinels=("sentinel-3",), writer=True, proxy=True, monitoring=True),
)


@dataclass(frozen=True)
class Variant:
    """Settings that differ between tests."""

    tls: bool = False
    monitoring: bool = False

    @property
    def proxy(self) -> bool:
        """Prometheus and the exporters leave an emulated machine no time for a proxy."""
        return not self.monitoring


def without_tables(text: str, name: str) -> str:
    """lab.toml without the tables whose names begin with a pattern."""
    return re.sub(rf"^\[{name}[^\n]*\n(?:(?!\[)[^\n]*\n)*", "", text, flags=re.MULTILINE)


def lab_toml(shipped: str, variant: Variant) -> str:
    """The project's lab.toml with the network of these machines and limits for emulated ones."""
    changes = {
        **EMULATED["timing"],
        **EMULATED["writer"],
        "tls": str(variant.tls).lower(),
        "mutual_tls": str(variant.tls).lower(),
    }
    # Profiles have other limits.
    text = without_tables(shipped, r"profiles\.")
    if not variant.proxy:
        text = without_tables(text, r"proxy\]")
    for key, value in changes.items():
        text = re.sub(rf"^{key} *=[^\n#]*", f"{key} = {value} ", text, flags=re.MULTILINE)
    return re.sub(r"\b127\.0\.0\.(\d+)", rf"{SUBNET}.\1", text)
