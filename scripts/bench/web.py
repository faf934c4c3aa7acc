#!/usr/bin/env python3
"""The cost of `halab web` with open pages: what the writer at full load loses by it, its memory,
and the frames a second that a browser draws.

Starts a separate lab on a /24 of 127/8, without monitoring. Writes in pairs of runs, one with the
page and one without, in alternating order, and prints the median of the ratios of each pair. Frames
need Node.js, Chromium and playwright-core; without them they are left out.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
import typing
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from lab import ALL_CORES, Lab, add_output_options, publish

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = 5
PORT = 8000
HOST = 31  # the host part of the address


class Page(threading.Thread):
    """An open page: reads everything that it is sent."""

    def __init__(self, address: str, token: str) -> None:
        super().__init__(daemon=True)
        request = urllib.request.Request(f"http://{address}/events")
        request.add_header("Authorization", f"Bearer {token}")
        self.stream = urllib.request.urlopen(request)
        self.read = 0

    def run(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while line := self.stream.readline():
                self.read += len(line)


class Served(typing.NamedTuple):
    link: str
    process: subprocess.Popen[bytes]
    pages: list[Page]

    def memory_mib(self) -> float:
        """The resident memory of the server."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0]) / 1024

    def processor_seconds(self) -> float:
        """The processor time of the server so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def served(lab: Lab, pages: int) -> Iterator[Served]:
    """The page of the lab, open in some browsers."""
    # Without the records of the last time, which would be read back and removed first.
    shutil.rmtree(lab.scratch / "state" / "web", ignore_errors=True)
    address = f"{lab.subnet}.{HOST}:{PORT}"
    command = ["halab", "web", "--allow-faults", "--listen", address]
    with (lab.scratch / "web.log").open("a") as log:
        process = subprocess.Popen(command, env=lab.env, stdout=log, stderr=log)
    try:
        link = lab.halab("web", "--link", "--listen", address).strip()
        token = link.split("token=")[1]
        yield Served(link, process, [opened(address, token) for _ in range(pages)])
    finally:
        process.terminate()
        process.wait()


def opened(address: str, token: str) -> Page:
    deadline = time.monotonic() + 20
    while True:
        try:
            page = Page(address, token)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
            continue
        page.start()
        return page


def written(lab: Lab, seconds: float) -> float:
    """Records a second of a writer at full load."""
    output = lab.halab("write", "--duration", f"{seconds:g}s", "--json")
    lab.empty()
    return float(json.loads(output)["records_per_second"])


def pair(lab: Lab, number: int, seconds: float) -> dict[str, float]:
    """A run with the page, and one without."""
    rates = {}
    for way in ("with", "without") if number % 2 else ("without", "with"):
        print(f"bench: pair {number + 1}, {way} the page", file=sys.stderr)
        if way == "without":
            rates[way] = written(lab, seconds)
        else:
            with served(lab, PAGES) as web:
                time.sleep(2)
                begun, used = time.monotonic(), web.processor_seconds()
                rates[way] = written(lab, seconds)
                used = web.processor_seconds() - used
                share = used / (time.monotonic() - begun) / len(ALL_CORES)
                rates["processor_percent"] = 100 * share
                rates["memory_mib"] = web.memory_mib()
    return rates


def frames(lab: Lab, seconds: float) -> dict[str, float] | None:
    """What a browser draws a second, while the writer is idle and at full load."""
    tools = os.environ.get("LAB_BROWSER_TOOLS")
    if not tools or not shutil.which("node"):
        print("bench: no Node.js with playwright-core: frames are left out", file=sys.stderr)
        return None
    found = {}
    with served(lab, 0) as web:
        command = ["node", f"{tools}/frames.mjs", web.link, f"{seconds:g}"]
        for load in ("idle", "full load"):
            writer = None
            if load != "idle":
                write = ["halab", "write", "--duration", f"{seconds + 8:g}s"]
                writer = subprocess.Popen(
                    write, env=lab.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            run = subprocess.run(command, text=True, capture_output=True, check=True)
            found[load] = float(run.stdout)
            if writer:
                writer.wait()
    return found


def measured(asked: argparse.Namespace) -> dict[str, typing.Any]:
    with Lab() as lab:
        version = lab.primary_node()["up"]["version"]
        written(lab, asked.seconds)  # the first one warms up
        pairs = [pair(lab, number, asked.seconds) for number in range(asked.pairs)]
        return {
            "server": f"Redis {version}",
            "cores": len(ALL_CORES),
            "seconds": asked.seconds,
            "pages": PAGES,
            "pairs": pairs,
            "frames": frames(lab, asked.seconds),
        }


def tables(found: dict[str, typing.Any]) -> str:
    pairs = found["pairs"]
    ratios = sorted(one["with"] / one["without"] for one in pairs)
    quartiles = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [ratios[0]] * 3
    median = lambda key: statistics.median(one[key] for one in pairs)
    lines = [
        f"{found['server']}, {found['cores']} cores, {len(pairs)} pairs of runs of"
        f" {found['seconds']:g} s, {found['pages']} open pages.",
        "",
        "|  | measured |",
        "| -- | -- |",
        f"| records a second of a writer at full load, without the page | {median('without'):,.0f} |",
        f"| with the page | {median('with'):,.0f} |",
        f"| ratio of a pair: median (quartiles) | {statistics.median(ratios):.3f}"
        f" ({quartiles[0]:.3f} to {quartiles[2]:.3f}) |",
        "| processor time of `halab web`, of all processors: median |"
        f" {median('processor_percent'):.1f} % |",
        "| resident memory of `halab web`, most of all runs |"
        f" {max(one['memory_mib'] for one in pairs):.0f} MiB |",
    ]
    if found["frames"]:
        for load, rate in found["frames"].items():
            lines.append(f"| frames a second in Chromium, writer {load} | {rate:.0f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=15, help="pairs of runs (default: 15)")
    parser.add_argument("--seconds", type=float, default=4, help="length of a run (default: 4)")
    add_output_options(parser, "web.md")
    asked = parser.parse_args()
    publish(asked, "web.md", "web-bench.json", tables, lambda: measured(asked))
