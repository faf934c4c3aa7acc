#!/usr/bin/env python3
"""The cost of acknowledged writes: compares `halab write` with redis-benchmark and redis-py on the
same servers in one run.

Starts a separate lab on a /24 of 127/8, and a second one with TLS. Each round measures every client
in turn. Prints medians and their ratio to redis-benchmark's plain SET. Absolute rates depend on the
machine and its load; compare ratios.
"""

import argparse
import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import typing
from pathlib import Path

from lab import ALL_CORES, BENCH_USER, HERE, Lab, add_output_options, cores, publish, timed
from python_env import python_with_redis

VALUE_BYTES = 44  # of a record: a time and a number
ROUND_RECORDS = 1_000_000
SINGLE_RECORDS = 20_000
CONNECTIONS, DEPTH = 4, 100
TLS = ", TLS"  # the suffix of measurements in the lab with TLS
HEADS = {
    "pipelined": f"{CONNECTIONS} connections, depth {DEPTH}",
    "single": "one at a time",
    "apart": "one at a time, the primary on a core of its own",
}

USERS_COLUMNS = [
    "records_per_second_with",
    "records_per_second_without",
    "server_cpu_us_with",
    "server_cpu_us_without",
]

# Records a second, median latency in ms, the client's processor time in µs a record and peak memory
# in MiB.
Measured = tuple[float, float, float, float]
# The longest time without a successful write, and the time from `+switch-master` to its end; in ms.
Pause = tuple[float, float]
PRIMARY_NAME = "halab"  # in lab.toml


def redis_benchmark(
    lab: Lab, connections: int, depth: int, count: int, together: int = 1
) -> Measured:
    """`SET` with `depth` commands in flight, or `MSET` of `together` records."""
    command = ["redis-benchmark", "-h", lab.primary(), "-c", str(connections), "-P", str(depth)]
    command += ["-n", str(count // together), "--user", BENCH_USER[0], "-a", "any"]
    if lab.tls:
        command += ["--tls", "--cacert", str(lab.scratch / "state" / "secrets" / "ca.pem")]
    command += ["-d", str(VALUE_BYTES), "-r", "1000000000", "--csv"]
    command += (
        ["-t", "set"]
        if together == 1
        else ["MSET", *["key:__rand_int__", "x" * VALUE_BYTES] * together]
    )
    out, cpu, memory = timed(command, lab.env)
    fields = [f.strip('"') for f in out.strip().splitlines()[-1].split(",")]
    return float(fields[1]) * together, float(fields[4]), cpu / count * 1e6, memory


def halab_write(lab: Lab, policy: str, connections: int, depth: int, count: int) -> Measured:
    command = [
        "halab",
        "write",
        "--policy",
        policy,
        "--connections",
        str(connections),
        "--batch",
        str(depth),
    ]
    command += ["--count", str(count), "--json"]
    if connections == 1:
        command += ["--in-flight", "1"]
    out, cpu, memory = timed(command, lab.env)
    said = json.loads(out)
    return said["records_per_second"], said["latency"]["p50_ms"], cpu / count * 1e6, memory


def redis_py(lab: Lab, python: str, how: str, count: int) -> Measured:
    command = [python, str(HERE / "redis_py.py"), f"{lab.subnet}.21", PRIMARY_NAME, str(count), how]
    out, cpu, memory = timed(command, lab.env)
    rate, p50 = (float(x) for x in out.split())
    return rate, p50, cpu / count * 1e6, memory


def bare_socket(lab: Lab, how: str, count: int) -> Measured:
    command = [sys.executable, str(HERE / "bare.py"), lab.primary(), BENCH_USER[0], str(count), how]
    out, cpu, memory = timed(command, lab.env)
    rate, p50 = (float(x) for x in out.split())
    return rate, p50, cpu / count * 1e6, memory


def redis_py_pause(lab: Lab, python: str, how: str, fault: signal.Signals) -> Pause:
    hosts = ",".join(f"{lab.subnet}.{n}" for n in (21, 22, 23))
    command = [python, str(HERE / "redis_py_failover.py"), hosts, PRIMARY_NAME, how]
    with subprocess.Popen(command, env=lab.env, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        if client.stdout.readline() == "at work\n":
            os.kill(lab.primary_node()["up"]["pid"], fault)
        said = client.stdout.readline()
    if client.returncode != 0:
        raise SystemExit(f"bench: redis-py ended with {client.returncode} in a failover")
    lab.wait_healthy()
    pause, after_switch = json.loads(said)
    return pause, after_switch


def halab_write_pauses(drill: str, runs: int) -> list[Pause]:
    """Pauses of a drill, which has its own lab, with one record at a time."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [
            "halab",
            "drill",
            drill,
            "--connections",
            "1",
            "--batch",
            "1",
            "--runs",
            str(runs),
        ]
        subprocess.run([*command, "--json", str(report)], check=True, capture_output=True)
        measured = json.loads(report.read_text())["drills"][0]["runs"]
    return [
        (run["outages"][0]["rto_ms"], run["outages"][0]["switch_to_ack_ms"]) for run in measured
    ]


def users(labs: int, pairs: int) -> list[list[tuple[float, ...]]]:
    """Acknowledged writes a second in labs with and without ACL, and the processor time of the
    primary's server per write. The order of start and measurement alternates.

    Two equal labs differ by a few percent for as long as they run, because of memory layout and the
    seeds of hash tables. So several labs of each kind are measured."""
    measured = []
    for number in range(labs):
        with contextlib.ExitStack() as running:
            both = {
                acl: running.enter_context(Lab(acl=acl))
                for acl in ((True, False) if number % 2 == 0 else (False, True))
            }
            pairs_of_labs = []
            # The first pair warms both up.
            for turn in range(pairs + 1):
                print(
                    f"bench: labs {number + 1} of {labs}, pair {turn}, with and without ACL",
                    file=sys.stderr,
                )
                rates, costs = {}, {}
                for acl in (True, False) if turn % 2 == 0 else (False, True):
                    lab = both[acl]
                    lab.empty()
                    before = lab.primary_cpu()
                    rates[acl] = halab_write(lab, "available", CONNECTIONS, DEPTH, ROUND_RECORDS)[0]
                    costs[acl] = (lab.primary_cpu() - before) / ROUND_RECORDS * 1e6
                pairs_of_labs.append((rates[True], rates[False], costs[True], costs[False]))
            measured.append(pairs_of_labs[1:])
    return measured


def failovers(rounds: int, python: str | None) -> dict[str, dict[str, list[Pause]]]:
    measured: dict[str, dict[str, list[Pause]]] = {}
    for drill, fault in (("kill-primary", signal.SIGKILL), ("hang-primary", signal.SIGSTOP)):
        print(f"bench: {drill}", file=sys.stderr)
        pauses = measured.setdefault(drill, {})
        pauses["halab write"] = halab_write_pauses(drill, rounds)
        for how, name in (("set", "redis-py, SET"), ("wait", "redis-py, SET and WAIT")):
            if python is not None:
                with Lab() as lab:
                    pauses[name] = [redis_py_pause(lab, python, how, fault) for _ in range(rounds)]
    return measured


def tables(report: dict[str, typing.Any]) -> str:
    """The measurements as Markdown tables."""
    lines = []
    for title, head in HEADS.items():
        if title not in report["measured"]:
            continue
        where = (
            f"Redis {report['redis']}, {report['cores']} cores, "
            f"medians of {report['rounds']} rounds"
        )
        lines += [f"**{head}** ({where})", ""]
        lines += [
            "|  | records/s | of redis-benchmark | p50, ms | times redis-benchmark's "
            "| client CPU, µs a record | client, MiB |"
        ]
        lines += ["| -- | -- | -- | -- | -- | -- | -- |"]
        rows = {
            name: [statistics.median(c) for c in zip(*runs)]
            for name, runs in report["measured"][title].items()
        }
        base = rows["redis-benchmark SET"]
        for name, (rate, p50, cpu, memory) in rows.items():
            ratios = f"{rate / base[0]:.2f} | {p50:.3f} | {p50 / base[1]:.2f}"
            lines += [f"| {name} | {rate:,.0f} | {ratios} | {cpu:.2f} | {memory:.0f} |"]
        lines += [""]
    labs = report["users"]
    head = f"{len(labs)} times two labs, each pair measured {len(labs[0])} times, medians"
    lines += [f"**ACL on vs off**, {CONNECTIONS} connections, depth {DEPTH} ({head})", ""]
    lines += [
        "|  | with | without | median of the ratios | of one pair of labs, least | most |",
        "| -- | -- | -- | -- | -- | -- |",
    ]
    for name, (one, other), digits in (
        ("records/s", (0, 1), 0),
        ("CPU of the primary's server, µs a record", (2, 3), 2),
    ):
        medians = (
            f"{statistics.median(pair[c] for lab in labs for pair in lab):,.{digits}f}"
            for c in (one, other)
        )
        ratios = [[pair[one] / pair[other] for pair in lab] for lab in labs]
        each = sorted(statistics.median(lab) for lab in ratios)
        middle = statistics.median(ratio for lab in ratios for ratio in lab)
        lines += [
            f"| {name} | {' | '.join(medians)} | {middle:.3f} | {each[0]:.2f} | {each[-1]:.2f} |"
        ]
    lines += [""]
    lines += [f"**through a failover**, one at a time (medians of {report['rounds']})", ""]
    lines += [
        "|  |  | without a successful write, ms | its end after `+switch-master`, ms |",
        "| -- | -- | -- | -- |",
    ]
    for drill, clients in report["failover"].items():
        for name, runs in clients.items():
            pause, after = (statistics.median(column) for column in zip(*runs))
            lines += [f"| {drill} | {name} | {pause:,.0f} | {after:,.0f} |"]
    lines += [""]
    return "\n".join(lines)


def measure(rounds: int) -> dict[str, typing.Any]:
    python = python_with_redis()
    pipelined = {
        "redis-benchmark SET": lambda lab: redis_benchmark(lab, CONNECTIONS, DEPTH, ROUND_RECORDS)
    }
    pipelined[f"redis-benchmark MSET of {DEPTH}"] = lambda lab: redis_benchmark(
        lab, CONNECTIONS, 1, ROUND_RECORDS, DEPTH
    )
    single = {"redis-benchmark SET": lambda lab: redis_benchmark(lab, 1, 1, SINGLE_RECORDS)}
    for policy in ("none", "available", "replicated"):
        name = f"halab write --policy {policy}"
        pipelined[name] = lambda lab, p=policy: halab_write(
            lab, p, CONNECTIONS, DEPTH, ROUND_RECORDS
        )
        single[name] = lambda lab, p=policy: halab_write(lab, p, 1, 1, SINGLE_RECORDS)
    for subjects, depths in (
        (pipelined, (CONNECTIONS, DEPTH, ROUND_RECORDS)),
        (single, (1, 1, SINGLE_RECORDS)),
    ):
        subjects["redis-benchmark SET" + TLS] = lambda lab, d=depths: redis_benchmark(lab, *d)
        subjects["halab write --policy available" + TLS] = lambda lab, d=depths: halab_write(
            lab, "available", *d
        )
    for how, name in (("set", "bare socket, SET"), ("wait", "bare socket, SET and WAIT")):
        single[name] = lambda lab, h=how: bare_socket(lab, h, SINGLE_RECORDS)
    apart = (
        {name: subject for name, subject in single.items() if not name.endswith(TLS)}
        if len(ALL_CORES) > 1
        else {}
    )
    if python is not None:
        single["redis-py, SET"] = lambda lab: redis_py(lab, python, "set", SINGLE_RECORDS)
        single["redis-py, SET and WAIT"] = lambda lab: redis_py(lab, python, "wait", SINGLE_RECORDS)
    measured: dict[str, dict[str, list[Measured]]] = {}
    with Lab() as lab, Lab(tls=True) as secured:
        server = re.search(r"redis_version:(\S+)", lab.redis("INFO", "server"))
        for turn in range(rounds):
            for title, subjects in (("pipelined", pipelined), ("single", single), ("apart", apart)):
                for name, subject in subjects.items():
                    print(f"bench: round {turn + 1}, {title}, {name}", file=sys.stderr)
                    where = secured if name.endswith(TLS) else lab
                    where.empty()
                    if title == "apart":
                        where.set_apart(True)
                        os.sched_setaffinity(0, cores(True, False))
                    measured.setdefault(title, {}).setdefault(name, []).append(subject(where))
                    if title == "apart":
                        os.sched_setaffinity(0, ALL_CORES)
                        where.set_apart(False)
    return {
        "redis": server.group(1) if server else "unknown",
        "cores": os.cpu_count(),
        "rounds": rounds,
        "columns": ["records_per_second", "p50_ms", "client_cpu_us_per_record", "peak_mib"],
        "measured": measured,
        "users_columns": USERS_COLUMNS,
        "users": users(3 * rounds, 4),
        "failover_columns": ["pause_ms", "end_after_switch_ms"],
        "failover": failovers(rounds, python),
    }


def main() -> None:
    options = argparse.ArgumentParser(prog="./lab bench", description=__doc__)
    options.add_argument("--rounds", type=int, default=3, help="number of rounds (default: 3)")
    add_output_options(options, "performance.md")
    asked = options.parse_args()
    publish(asked, "performance.md", "bench.json", tables, lambda: measure(asked.rounds))


if __name__ == "__main__":
    main()
