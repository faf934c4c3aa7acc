"""A lab of its own for a benchmark, what a process costs, and the page with the results."""

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import typing
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ALL_CORES = os.sched_getaffinity(0)

# redis-benchmark takes a password only as an argument, which every user of the machine can read. So
# this throwaway lab has a user without a password.
BENCH_USER = ["bench", "on", "nopass", "~key:*", "~py:*", "&*", "+@all"]


class Lab:
    """A lab that runs during a `with` block."""

    def __init__(self, apps: Sequence[str] = (), **security: bool) -> None:
        self.apps = apps
        self.security = security
        self.tls = security.get("tls", False)

    def __enter__(self) -> "Lab":
        self.scratch = Path(tempfile.mkdtemp(prefix="halab-bench-"))
        self.subnet = f"127.{random.randrange(127, 250)}.{random.randrange(1, 250)}"
        config = self.scratch / "lab.toml"
        config.write_text(self.description())
        self.env = dict(
            os.environ, HALAB_STATE=str(self.scratch / "state"), HALAB_SUBNET=self.subnet
        )
        self.env["HALAB_CONFIG"] = str(config)
        with (self.scratch / "up.log").open("w") as log:
            self.up = subprocess.Popen(
                ["halab", "up", "--no-proxy"], env=self.env, stdout=log, stderr=log
            )
        try:
            self.wait_healthy()
        except BaseException as error:
            self.__exit__(type(error))
            raise
        return self

    def description(self) -> str:
        """The current lab.toml with other security settings and applications, and without
        monitoring, whose load would disturb the measurement."""
        shipped = Path(os.environ.get("HALAB_CONFIG", HERE.parent.parent / "lab.toml")).read_text()
        text, found = re.subn(r"(?ms)^\[monitoring\]\n.*?(?=^\[)", "", shipped)
        for key, value in self.security.items():
            text, again = re.subn(
                rf"(?m)^{key} = (true|false)", f"{key} = {str(value).lower()}", text
            )
            found = min(found, again)
        if found != 1:
            raise SystemExit("bench: lab.toml lacks the shipped tables [monitoring] and [security]")
        return text + "".join(f'\n[[app]]\nname = "{app}"\n' for app in self.apps)

    def __exit__(self, error: type[BaseException] | None = None, *_: object) -> None:
        self.up.terminate()
        self.up.wait()
        if error in (None, KeyboardInterrupt):
            shutil.rmtree(self.scratch)
        else:
            print(f"bench: the lab's logs are kept: {self.scratch}", file=sys.stderr)

    def halab(self, *words: str) -> str:
        run = subprocess.run(
            ["halab", *words], env=self.env, text=True, capture_output=True, check=False
        )
        if run.returncode != 0:
            raise SystemExit(f"bench: halab {' '.join(words)}: {run.stderr.strip()}")
        return run.stdout

    def status(self) -> dict[str, typing.Any]:
        # Exit code 1 means not healthy, as it may seem for a moment on a busy machine.
        run = subprocess.run(
            ["halab", "status", "--json"], env=self.env, text=True, capture_output=True, check=False
        )
        if run.returncode not in (0, 1):
            raise SystemExit(f"bench: halab status: {run.stderr.strip()}")
        return dict(json.loads(run.stdout))

    def wait_healthy(self) -> None:
        self.halab("status", "--wait", "60s")
        status = self.status()
        # A restarted server has only the users of its file.
        for node in (
            (status["data_nodes"] + status["sentinels"]) if self.security.get("acl", True) else []
        ):
            self.halab("cli", node["name"], "-e", "acl", "setuser", *BENCH_USER)

    def secret(self, name: str) -> Path:
        return self.scratch / "state" / "secrets" / name

    def primary_node(self) -> dict[str, typing.Any]:
        status = self.status()
        named = status["primary"]["node"]
        return next(n for n in status["data_nodes"] if n["name"] == named)

    def primary(self) -> str:
        return str(self.primary_node()["address"]).split(":")[0]

    def primary_cpu(self) -> float:
        """The processor time of the primary's server in seconds."""
        used = dict(re.findall(r"(used_cpu_(?:sys|user)):([\d.]+)", self.redis("INFO", "cpu")))
        return float(used["used_cpu_sys"]) + float(used["used_cpu_user"])

    def redis(self, *words: str) -> str:
        return self.halab("cli", self.primary_node()["name"], "-e", *words)

    def answer(self, *words: str) -> str:
        """The same, but empty if there is no answer."""
        command = ["halab", "cli", self.primary_node()["name"], "-e", *words]
        return subprocess.run(
            command, env=self.env, text=True, capture_output=True, check=False
        ).stdout

    def set_apart(self, apart: bool) -> None:
        """Run the primary's server on the first core and the replicas on the others, as on separate
        hosts; or all of them on all cores again."""
        primary = self.primary_node()["name"]
        for node in self.status()["data_nodes"]:
            for task in Path(f"/proc/{node['up']['pid']}/task").iterdir():
                os.sched_setaffinity(int(task.name), cores(apart, node["name"] == primary))

    def empty(self) -> None:
        """Delete all data; asynchronously, or a million keys would block the server for its
        hang-timeout."""
        self.redis("FLUSHALL", "ASYNC")
        # The list of members is emptied as well. When it is written again, connections are closed.
        while "lazyfree_pending_objects:0" not in self.answer("INFO", "memory"):
            time.sleep(0.1)
        self.wait_healthy()


def cores(apart: bool, first: bool) -> set[int]:
    """The cores for the primary (`first`) or for the other servers."""
    usable = sorted(ALL_CORES)
    if not apart:
        return set(usable)
    return {usable[0]} if first else set(usable[1:])


def timed(command: list[str], env: dict[str, str]) -> tuple[str, float, float]:
    """A command's output, processor time in seconds, and peak memory in MiB."""
    with tempfile.TemporaryFile("w+") as out:
        # The child inherits this process's set of cores.
        child = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.DEVNULL)
        # Not ru_maxrss: it starts with the memory of this process at the fork.
        peak, ended = 0, 0
        while not ended:
            peak = max(peak, peak_kib(child.pid))
            time.sleep(0.02)
            ended, status, used = os.wait4(child.pid, os.WNOHANG)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            raise SystemExit(f"bench: {' '.join(command[:4])} ... ended with {child.returncode}")
        out.seek(0)
        return out.read(), used.ru_utime + used.ru_stime, peak / 1024


def peak_kib(pid: int) -> int:
    """The peak resident memory of a running process; 0 once it has ended."""
    found = re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found.group(1)) if found else 0


def add_output_options(options: argparse.ArgumentParser, page: str) -> None:
    options.add_argument("--json", metavar="FILE", help="write all measurements to FILE")
    options.add_argument("--document", action="store_true", help=f"also write them to docs/{page}")
    options.add_argument(
        "--check",
        action="store_true",
        help=f"measure nothing; fail if docs/{page} differs from its report",
    )
    options.add_argument(
        "--write", action="store_true", help=f"measure nothing; write docs/{page} from its report"
    )


def publish(
    asked: argparse.Namespace,
    page: str,
    report: str,
    tables: typing.Callable[[dict[str, typing.Any]], str],
    measure: typing.Callable[[], dict[str, typing.Any]],
) -> None:
    """Measures and publishes what was asked for, or only compares the page with its report."""
    docs = HERE.parent.parent / "docs"
    path, committed = docs / page, docs / "reports" / report
    if asked.check or asked.write:
        text = document(path, tables(json.loads(committed.read_text())))
        if asked.write:
            path.write_text(text)
        elif text != path.read_text():
            raise SystemExit(f"docs/{page} differs from docs/reports/{report}: ./lab generate")
        return
    measured = measure()
    print(tables(measured))
    written = json.dumps(measured, indent=1) + "\n"
    if asked.json:
        Path(asked.json).write_text(written)
    if asked.document:
        committed.write_text(written)
        path.write_text(document(path, tables(json.loads(written))))


def document(path: Path, text: str) -> str:
    """The document with `text` as its generated part."""
    before, _, after = path.read_text().split("<!-- measured -->\n")
    return f"{before}<!-- measured -->\n\n{text}\n<!-- measured -->\n{after}"
