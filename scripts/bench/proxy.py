#!/usr/bin/env python3
"""The cost of `halab proxy`: compares it with the primary itself and with HAProxy in front of it,
on the same servers in one run.

Starts a separate lab on a /24 of 127/8. Each round loads every way to the primary in turn, by the
same client. Prints medians and their ratio to HAProxy's. Absolute rates depend on the machine and
its load; compare ratios.
"""

import argparse
import contextlib
import json
import os
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import time
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

import proxy_failover
from lab import BENCH_USER, Lab, add_output_options, peak_kib, publish
from python_env import python_with_redis
from serving import Way, served

KEYS = 100_000
LOADS = {"1 x 1": (1, 1), "50 x 1": (50, 1), "4 x 100": (4, 100)}  # connections x depth
MIXES = {"SET": 0, "GET": 100, "90 % GET": 90}  # percent of GET
VALUES = {"44 B": 44, "4 KB": 4096}
IDLE_CLIENTS = 10_000
OWN_CONNECTIONS = 1_000  # of the lab, its clients and the test, beside the idle ones
HAPROXY = "HAProxy"
WAYS = {
    "direct": 11,
    HAPROXY: 61,
    "proxy, linearizable": 62,
    "proxy, local": 63,
}  # and the host part of the address, but for the primary's

HAPROXY_CONFIG = """\
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend clients
  bind {listen}:6379
  default_backend primary
backend primary
  server primary {primary}:6379
"""


def load(program: str, way: Way, *words: str) -> dict[str, float]:
    command = [program, "--address", f"{way.address}:6379", "--user", BENCH_USER[0]]
    command += ["--password", "any", "--keys", str(KEYS), *words]
    run = subprocess.run(command, text=True, capture_output=True, check=False)
    if run.returncode != 0:
        raise SystemExit(f"bench: {' '.join(command[2:4])}: {run.stderr.strip()}")
    return dict(json.loads(run.stdout))


@contextlib.contextmanager
def ways(lab: Lab) -> Iterator[dict[str, Way]]:
    """Every way that can be had here."""
    with contextlib.ExitStack() as running:
        primary = lab.primary()
        found = {"direct": Way(primary)}
        for name, host in WAYS.items():
            address = f"{lab.subnet}.{host}"
            if name == HAPROXY:
                haproxy = shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin")
                if haproxy is None:
                    print(
                        "bench: skipping HAProxy, which is missing: rates are compared with the "
                        "primary's own (apt-get install haproxy; its package starts a service)",
                        file=sys.stderr,
                    )
                    continue
                config = lab.scratch / "haproxy.cfg"
                config.write_text(HAPROXY_CONFIG.format(listen=address, primary=primary))
                command = [haproxy, "-db", "-f", str(config)]
            elif name.startswith("proxy"):
                reads = name.split()[-1]
                command = ["halab", "proxy", "--listen", f"{address}:6379", "--reads", reads]
                command += ["--metrics", "off"]
            else:
                continue
            found[name] = running.enter_context(served(lab, address, command))
        yield found


def measured_loads(
    program: str, lab: Lab, each: dict[str, Way], seconds: float, turn: int
) -> Iterator[tuple[tuple[str, str, str, str], dict[str, float]]]:
    for size, value in VALUES.items():
        lab.empty()
        load(program, each["direct"], "--fill", "--value-bytes", str(value))
        for mix, gets in MIXES.items():
            for shape, (connections, depth) in LOADS.items():
                print(f"bench: round {turn + 1}, {shape}, {mix}, {size}", file=sys.stderr)
                for name, way in each.items():
                    before = way.cpu()
                    words = ["--connections", str(connections), "--depth", str(depth)]
                    words += ["--gets", str(gets), "--value-bytes", str(value)]
                    result = load(program, way, *words, "--seconds", str(seconds))
                    # Of the load's warm-up, too: a part of each operation's cost all the same.
                    spent = seconds + 0.5
                    operations = result["per_second"] * spent
                    result["cpu_us"] = (way.cpu() - before) / operations * 1e6
                    yield (shape, mix, size, name), result


def half_load(
    program: str, each: dict[str, Way], seconds: float, slowest: float
) -> dict[str, dict[str, float]]:
    """Latencies at half the rate that every way reaches, 50 connections, 90 % GET."""
    words = ["--connections", "50", "--gets", "90", "--rate", str(slowest / 2)]
    return {
        name: load(program, way, *words, "--seconds", str(seconds)) for name, way in each.items()
    }


def idle(lab: Lab, way: Way) -> dict[str, float]:
    """Memory of a proxy with clients that are logged in and silent; and how long one of them waits
    for an answer."""
    count = idle_clients()
    for node in lab.status()["data_nodes"]:
        lab.halab(
            "cli", node["name"], "-e", "CONFIG", "SET", "maxclients", str(count + OWN_CONNECTIONS)
        )
    login = f"AUTH {BENCH_USER[0]} any\r\n".encode()
    before = resident_kib(way)
    clients = []
    try:
        for _ in range(count):
            client = socket.create_connection((way.address, 6379), 10)
            clients.append(client)
            client.sendall(login)
            if client.recv(64) != b"+OK\r\n":
                raise SystemExit("bench: an idle client could not log in")
        held = resident_kib(way)
        begun = time.perf_counter()
        for client in clients[::100]:
            client.sendall(b"PING\r\n")
            client.recv(64)
        answered = (time.perf_counter() - begun) / len(clients[::100])
    finally:
        for client in clients:
            client.close()
    return {
        "clients": count,
        "before_mib": before / 1024,
        "held_mib": held / 1024,
        "peak_mib": (peak_kib(way.pid) if way.pid else 0) / 1024,
        "answer_ms": answered * 1000,
    }


def resident_kib(way: Way) -> int:
    found = re.search(r"VmRSS:\s*(\d+)", Path(f"/proc/{way.pid}/status").read_text())
    return int(found.group(1)) if found else 0


def idle_clients() -> int:
    """As many as the limit of open files allows: the proxy needs two descriptors for each."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(IDLE_CLIENTS, (hard - OWN_CONNECTIONS) // 2)


def measure(program: str, rounds: int, seconds: float) -> dict[str, typing.Any]:
    loads: dict[str, dict[str, list[dict[str, float]]]] = {}
    halves: dict[str, list[dict[str, float]]] = {}
    with Lab() as lab, ways(lab) as each:
        server = re.search(r"redis_version:(\S+)", lab.redis("INFO", "server"))
        for turn in range(rounds):
            for (shape, mix, size, name), result in measured_loads(
                program, lab, each, seconds, turn
            ):
                loads.setdefault(f"{mix}, {size}, {shape}", {}).setdefault(name, []).append(result)
            lab.empty()
            load(program, each["direct"], "--fill")
            slowest = min(
                runs[turn]["per_second"] for runs in loads["90 % GET, 44 B, 50 x 1"].values()
            )
            print(f"bench: round {turn + 1}, half load", file=sys.stderr)
            for name, result in half_load(program, each, seconds, slowest).items():
                halves.setdefault(name, []).append(result | {"rate": slowest / 2})
        memory = {name: idle(lab, way) for name, way in each.items() if name.startswith("proxy")}
    python = python_with_redis()
    return {
        "redis": server.group(1) if server else "unknown",
        "cores": os.cpu_count(),
        "rounds": rounds,
        "seconds": seconds,
        "loads": loads,
        "half_load": halves,
        "idle": memory,
        "failover": proxy_failover.measure(python, rounds) if python else {},
    }


def medians(runs: list[dict[str, float]]) -> Callable[[str], float]:
    return lambda column: statistics.median(run[column] for run in runs)


def tables(report: dict[str, typing.Any]) -> str:
    """The measurements as Markdown tables."""
    where = (
        f"Redis {report['redis']}, {report['cores']} cores, medians of {report['rounds']} rounds "
        f"of {report['seconds']:.0f} s."
    )
    lines = [where, "", "**Rate** in operations a second, and of HAProxy's", ""]
    names = list(next(iter(report["loads"].values())))
    base = HAPROXY if HAPROXY in names else "direct"
    lines += [f"| connections x depth | {' | '.join(names)} |", "| -- " * (len(names) + 1) + "|"]
    for title, each in report["loads"].items():
        rates = {name: medians(runs)("per_second") for name, runs in each.items()}
        # Within each round, the ratio of what ran one after the other.
        ratios = {
            name: statistics.median(
                run["per_second"] / other["per_second"] for run, other in zip(runs, each[base])
            )
            for name, runs in each.items()
        }
        cells = [f"{rates[name]:,.0f} ({ratios[name]:.2f})" for name in names]
        lines += [f"| {title} | {' | '.join(cells)} |"]
    for head, shape in (("one at a time", "1 x 1"), ("50 connections", "50 x 1")):
        lines += ["", f"**Latency, {head}**, 44 B: median in ms, and times {base}'s", ""]
        lines += [f"|  | {' | '.join(names)} |", "| -- " * (len(names) + 1) + "|"]
        for mix in MIXES:
            each = report["loads"][f"{mix}, 44 B, {shape}"]
            cells = []
            for name in names:
                ratio = statistics.median(
                    run["p50_ms"] / other["p50_ms"] for run, other in zip(each[name], each[base])
                )
                cells += [f"{medians(each[name])('p50_ms'):.3f} ({ratio:.2f})"]
            lines += [f"| {mix} | {' | '.join(cells)} |"]
    lines += [
        "",
        "**Latency at half load**: half the rate of the slowest, 50 connections, 90 % GET",
    ]
    lines += [
        "",
        "|  | operations/s | p50, ms | p99, ms | p99.9, ms |",
        "| -- | -- | -- | -- | -- |",
    ]
    for name, runs in report["half_load"].items():
        of = medians(runs)
        lines += [
            f"| {name} | {of('rate'):,.0f} | {of('p50_ms'):.3f} | {of('p99_ms'):.3f} "
            f"| {of('p999_ms'):.3f} |"
        ]
    lines += ["", "**Processor time** of the process in between, µs an operation, 44 B", ""]
    between = [name for name in names if name != "direct"]
    lines += [f"|  | {' | '.join(between)} |", "| -- " * (len(between) + 1) + "|"]
    for mix in MIXES:
        for shape in LOADS:
            each = report["loads"][f"{mix}, 44 B, {shape}"]
            cells = [f"{medians(each[name])('cpu_us'):.1f}" for name in between]
            lines += [f"| {mix}, {shape} | {' | '.join(cells)} |"]
    lines += ["", "**Memory** with idle clients that are logged in", ""]
    lines += [
        "|  | clients | MiB before | MiB with them | MiB a client | a `PING`, ms |",
        "| -- | -- | -- | -- | -- | -- |",
    ]
    for name, held in report["idle"].items():
        one = (held["held_mib"] - held["before_mib"]) / held["clients"]
        lines += [
            f"| {name} | {held['clients']:,} | {held['before_mib']:.0f} | {held['held_mib']:.0f} "
            f"| {one:.4f} | {held['answer_ms']:.2f} |"
        ]
    if report.get("failover"):
        lines += ["", *proxy_failover.table(report["failover"])]
    return "\n".join([*lines, ""])


def main() -> None:
    options = argparse.ArgumentParser(prog="./lab bench proxy", description=__doc__)
    options.add_argument("--rounds", type=int, default=3, help="number of rounds (default: 3)")
    options.add_argument(
        "--seconds", type=float, default=2, help="length of each measurement (default: 2)"
    )
    add_output_options(options, "proxy-performance.md")
    options.add_argument("--load", default="load", help=argparse.SUPPRESS)
    asked = options.parse_args()
    publish(
        asked,
        "proxy-performance.md",
        "proxy-bench.json",
        tables,
        lambda: measure(asked.load, asked.rounds, asked.seconds),
    )


if __name__ == "__main__":
    main()
