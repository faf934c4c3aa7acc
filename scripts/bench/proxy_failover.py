"""What clients of `halab proxy` notice when the primary is lost: of redis-py, without repeats."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
import typing

from lab import HERE, Lab
from serving import served

CLIENTS = 20
APP = "shop"
PROXY_HOST = 62
WAYS = {"disconnect": "", "retry": "retry"}  # of --unanswered
CALM = 1.0  # seconds of work before and after

Run = dict[str, float]


def kill(lab: Lab) -> None:
    os.kill(lab.primary_node()["up"]["pid"], signal.SIGKILL)


def hand_over(lab: Lab) -> None:
    lab.halab("handover")


FAULTS = {"the primary's server is killed": kill, "handover": hand_over}


def run_once(lab: Lab, python: str, address: str, fault: typing.Callable[[Lab], None]) -> Run:
    """The clients, and `halab write` beside them, during one fault."""
    password = lab.secret(f"app-{APP}").read_text().strip()
    writing = ["halab", "write", "--endless", "--json", "--metrics", "off"]
    writing += ["--connections", "1", "--batch", "1", "--rate", "1000"]
    pipes = {"stdout": subprocess.PIPE, "text": True, "env": lab.env}
    clients = subprocess.Popen(
        [python, str(HERE / "redis_py_clients.py"), str(CLIENTS)], stdin=subprocess.PIPE, **pipes
    )
    writer = subprocess.Popen(writing, stderr=subprocess.DEVNULL, **pipes)
    try:
        assert clients.stdin is not None and clients.stdout is not None
        clients.stdin.write(f"redis://{APP}:{password}@{address}:6379/0\n")
        clients.stdin.flush()
        if clients.stdout.readline() != "at work\n":
            raise SystemExit("bench: the clients of redis-py do not write")
        time.sleep(CALM)
        fault(lab)
        time.sleep(CALM)
        lab.wait_healthy()
        said, _ = clients.communicate(timeout=60)
        writer.send_signal(signal.SIGINT)
        written, _ = writer.communicate(timeout=60)
    finally:
        clients.kill()
        writer.kill()
    each = json.loads(said)
    return {
        "calls": sum(calls for calls, _, _ in each),
        "failed": sum(failed for _, failed, _ in each),
        "failed_of_one": max(failed for _, failed, _ in each),
        "longest_ms": max(longest for _, _, longest in each),
        "writer_gap_ms": json.loads(written)["longest_gap_ms"],
    }


def measure(python: str, rounds: int) -> dict[str, dict[str, list[Run]]]:
    measured: dict[str, dict[str, list[Run]]] = {}
    with Lab(apps=[APP]) as lab:
        address = f"{lab.subnet}.{PROXY_HOST}"
        command = ["halab", "proxy", "--listen", f"{address}:6379", "--metrics", "off"]
        for what, fault in FAULTS.items():
            for unanswered in WAYS:
                with served(lab, address, [*command, "--unanswered", unanswered]):
                    for turn in range(rounds):
                        print(f"bench: {what}, {unanswered}, round {turn + 1}", file=sys.stderr)
                        run = run_once(lab, python, address, fault)
                        measured.setdefault(what, {}).setdefault(unanswered, []).append(run)
    return measured


def table(measured: dict[str, dict[str, list[Run]]]) -> list[str]:
    lines = [
        f"**When the primary is lost**: {CLIENTS} clients of redis-py, which repeat no call",
        "",
        "|  | `--unanswered` | calls | failed | of one client, most | longest call, ms "
        "| longest gap of `halab write`, ms |",
        "| -- | -- | -- | -- | -- | -- | -- |",
    ]
    for what, ways in measured.items():
        for unanswered, runs in ways.items():
            calls, failed = (sum(run[of] for run in runs) for of in ("calls", "failed"))
            most = max(run["failed_of_one"] for run in runs)
            longest, gap = (
                spread(run[of] for run in runs) for of in ("longest_ms", "writer_gap_ms")
            )
            lines += [
                f"| {what} | {unanswered} | {calls:,} | {failed} | {most} | {longest} | {gap} |"
            ]
    return lines


def spread(values: typing.Iterable[float]) -> str:
    """The median, with the least and the most."""
    all_values = sorted(values)
    return f"{statistics.median(all_values):,.0f} ({all_values[0]:,.0f} to {all_values[-1]:,.0f})"
