#!/usr/bin/env python3
"""Runs the examples for applications while the primary is lost, and checks what they report.

Starts a separate lab on a /24 of 127/8, in which each example is an application, and `halab proxy`.
All examples run at the same time. Exit code 1 if a promise of the proxy is broken, or an example
does not end.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "bench"))
from lab import Lab  # noqa: E402

ROOT = HERE.parent.parent
TOOLS = Path(os.environ.get("LAB_TOOLS", ROOT / ".lab" / "tools")) / "examples"
COMMANDS = {
    "python": [str(TOOLS / "python/bin/python"), str(ROOT / "examples/python/records.py")],
    "nodejs": ["node", str(TOOLS / "nodejs/records.js")],
    "go": [str(TOOLS / "go/records")],
    "java": ["java", "-cp", str(TOOLS / "java/*"), str(ROOT / "examples/java/Records.java")],
    "rust": [str(TOOLS / "rust/debug/redis-ha-lab-example")],
}
PRIMARY_NAME = "halab"  # in lab.toml
PROXY_HOST = 51
LIMIT = 180.0  # of each wait, in seconds
PACE_MS = {"kill": 10, "hang": 20, "control": 10}
# How long a hung primary stays so after its failover.
HUNG_AFTER_FAILOVER = 2.0

Report = dict[str, typing.Any]


class Apps(Lab):
    """A lab with an application for each example."""

    def wait_healthy(self) -> None:
        self.halab("status", "--wait", "60s")

    def named_primary(self) -> str | None:
        """The node that is primary now; None while there is none."""
        run = subprocess.run(
            ["halab", "status", "--primary"],
            env=self.env,
            text=True,
            capture_output=True,
            check=False,
        )
        # Exit code 1: not healthy, as after any fault.
        return run.stdout.strip() or None if run.returncode in (0, 1) else None

    def app(self, language: str, *words: str) -> str:
        """The answer of the primary to a command of an application."""
        node = self.primary_node()["name"]
        return self.halab("cli", "--user", language, node, "-e", *words).strip()

    def keys(self, language: str, records: int) -> list[str]:
        return [f"{language}:record:{number}" for number in range(records)]

    def environment(self, language: str, sentinel: bool) -> dict[str, str]:
        """How an example connects."""
        password = self.secret(f"app-{language}")
        if not sentinel:
            login = f"{language}:{password.read_text().strip()}"
            return {"REDIS_URL": f"redis://{login}@{self.subnet}.{PROXY_HOST}:6379/0"}
        hosts = [node["address"] for node in self.status()["sentinels"]]
        found = {"SENTINELS": ",".join(hosts), "PRIMARY_NAME": PRIMARY_NAME}
        found |= {"REDIS_USER": language, "REDIS_PASSWORD_FILE": str(password)}
        return found | ({"REDIS_CA": str(self.secret("ca.pem"))} if self.tls else {})


class Example:
    """An example that runs."""

    def __init__(
        self, lab: Apps, language: str, pace_ms: int, settings: argparse.Namespace
    ) -> None:
        self.language, self.records = language, settings.records
        environment = {k: v for k, v in os.environ.items() if not k.startswith("REDIS_")}
        environment |= {"APP": language, "RECORDS": str(self.records)}
        environment |= {"PACE_MS": str(pace_ms)}
        self.child = subprocess.Popen(
            COMMANDS[language],
            env=environment | lab.environment(language, settings.sentinel),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def report(self) -> Report:
        """What it prints at its end."""
        try:
            out, errors = self.child.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            self.child.kill()
            raise SystemExit(f"examples: {self.language} did not end within {LIMIT:.0f} s")
        try:
            return dict(json.loads(out))
        except ValueError:
            raise SystemExit(f"examples: {self.language} printed no report: {errors.strip()}")


def wait_until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"examples: waited {LIMIT:.0f} s for {what}")
        time.sleep(0.05)


@contextlib.contextmanager
def proxy(lab: Apps) -> Iterator[None]:
    """`halab proxy` at the lab's address for it."""
    with open(lab.scratch / "proxy.log", "w") as log:
        child = subprocess.Popen(["halab", "proxy"], env=lab.env, stdout=log, stderr=log)
        try:
            wait_until(
                "the proxy to listen",
                lambda: child.poll() is not None or "clients can connect" in proxy_log(lab),
            )
            if child.poll() is not None:
                raise SystemExit(f"examples: the proxy has ended: {proxy_log(lab).strip()}")
            yield
        finally:
            child.terminate()
            child.wait()


def proxy_log(lab: Apps) -> str:
    return (lab.scratch / "proxy.log").read_text()


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def kill_primary(lab: Apps) -> None:
    """kill -9 of the primary's server, and wait for the failover."""
    node = lab.primary_node()
    os.kill(node["up"]["pid"], signal.SIGKILL)
    wait_until("a failover", lambda: lab.named_primary() not in (None, node["name"]))


def hang_primary(lab: Apps) -> None:
    """The primary stands still, as its host would, until there is another one."""
    node = lab.primary_node()
    server = node["up"]["pid"]
    # The supervisor first: it kills a server that hangs.
    stopped = [parent(server), server]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        wait_until("a failover", lambda: lab.named_primary() not in (None, node["name"]))
        time.sleep(HUNG_AFTER_FAILOVER)
    finally:
        for pid in reversed(stopped):
            os.kill(pid, signal.SIGCONT)


def delete_records(lab: Apps) -> None:
    """The control: removes an acknowledged record of each example."""
    for language in lab.apps:
        if lab.app(language, "DEL", f"{language}:record:0") != "1":
            raise SystemExit(f"examples: {language} has no record to remove")


FAULTS = {"kill": kill_primary, "hang": hang_primary, "control": delete_records}


def not_ended(examples: list[Example]) -> None:
    """The fault is in the middle of each run."""
    for example in examples:
        if example.child.poll() is not None:
            report = example.report()
            raise SystemExit(f"examples: {example.language} ended too early: {report}")


def run_once(lab: Apps, fault: str, settings: argparse.Namespace) -> list[Report]:
    """All examples at the same time, with the fault in the middle."""
    lab.wait_healthy()
    for language in lab.apps:
        lab.app(language, "DEL", *lab.keys(language, settings.records))
    pace = PACE_MS[fault] if settings.pace_ms is None else settings.pace_ms
    examples: list[Example] = []
    try:
        # Java first: it takes seconds to start.
        for language in sorted(lab.apps, key=lambda language: language != "java"):
            example = Example(lab, language, pace, settings)
            examples.append(example)
            early = f"{language}:record:{settings.records // 20}"
            wait_until(
                f"{language} to write",
                lambda: (
                    example.child.poll() is not None or lab.app(language, "EXISTS", early) == "1"
                ),
            )
        not_ended(examples)
        FAULTS[fault](lab)
        not_ended(examples)
        reports = [example.report() for example in examples]
    finally:
        for example in examples:
            example.child.kill()
    lab.wait_healthy()
    for report, example in zip(reports, examples):
        # Counted on the primary: an example may have read from an old one.
        kept = lab.app(example.language, "EXISTS", *lab.keys(example.language, settings.records))
        report["language"] = example.language
        report["lost"] = report["acknowledged"] - int(kept)
    return reports


def broken(report: Report, sentinel: bool) -> list[str]:
    """What is not as it must be."""
    wrong = []
    if report["acknowledged"] != report["records"]:
        wrong.append(f"{report['acknowledged']} of {report['records']} records are acknowledged")
    if report["fault"] == "control":
        if (report["missing"], report["lost"]) != (1, 1):
            wrong.append(f"{report['missing']} missing, {report['lost']} lost, but 1 was removed")
    elif not sentinel:
        if report["failed_calls"] > 1:
            wrong.append(f"{report['failed_calls']} calls failed: {report['first_error']}")
        if report["missing"] or report["lost"]:
            wrong.append(f"{report['missing']} missing, {report['lost']} lost")
    return wrong


def line(report: Report) -> str:
    error = f" ({report['first_error'].splitlines()[0]})" if report["first_error"] else ""
    return (
        f"{report['fault']:<7} {report['client']:<16} {report['acknowledged']} acknowledged, {report['lost']} lost, "
        f"{report['failed_calls']} failed calls, longest call {report['longest_call_ms']} ms, "
        f"longest wait {report['longest_wait_ms']} ms{error}"
    )


def table(reports: list[Report]) -> str:
    """A row for each library: medians, smallest and largest value of all runs."""
    rows = [
        "| library | failed calls | longest call, ms | longest wait, ms | lost |",
        "| -- | -- | -- | -- | -- |",
    ]
    for language in COMMANDS:
        of = [report for report in reports if report["language"] == language]
        if not of:
            continue
        cells = [of[0]["client"]]
        for column in ("failed_calls", "longest_call_ms", "longest_wait_ms"):
            values = [report[column] for report in of]
            least, most = min(values), max(values)
            middle = statistics.median_low(values)
            cells.append(str(most) if least == most else f"{middle} ({least} to {most})")
        lost, all_of = (sum(report[key] for report in of) for key in ("lost", "acknowledged"))
        rows.append(f"| {' | '.join(cells)} | {lost} of {all_of} |")
    return "\n".join(rows)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./lab examples",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Runs the examples for applications (examples/) in a separate lab while the primary is "
            "lost.\nThrough halab proxy, at most one call of each may fail, and no acknowledged "
            "record may be lost.\nInstalls what a language needs."
        ),
        epilog=(
            "Examples:\n"
            "  ./lab examples                      All examples through the proxy, and kill -9\n"
            "  ./lab examples python go            Two of them\n"
            "  ./lab examples --sentinel           By Sentinel: what is lost, how long it stalls\n"
            "  ./lab examples --fault hang         The primary stands still, and continues\n"
            "  ./lab examples --control            Before, show that a lost record is noticed\n"
            "  ./lab examples --runs 5 --json F    Write all results to the file F\n\n"
            "Exit codes: 0 holds, 1 a promise is broken or an example failed, 2 usage"
        ),
    )
    parser.add_argument(
        "languages", nargs="*", metavar="LANGUAGE", help=f"{', '.join(COMMANDS)} [default: all]"
    )
    parser.add_argument(
        "--sentinel", action="store_true", help="connect by Sentinel instead of the proxy"
    )
    parser.add_argument(
        "--fault",
        choices=("kill", "hang"),
        default="kill",
        help="kill -9 of the primary's server, or its node stands still during a failover "
        "[default: kill]",
    )
    parser.add_argument(
        "--control",
        action="store_true",
        help="before, a run without a fault, in which an acknowledged record of each example is "
        "removed: it must report it",
    )
    parser.add_argument("--runs", type=int, default=1, metavar="N", help="[default: 1]")
    parser.add_argument(
        "--records", type=int, default=1000, metavar="N", help="records of a run [default: 1000]"
    )
    parser.add_argument(
        "--pace-ms", type=int, metavar="MS", help="pause after each record [default: 10; hang: 20]"
    )
    parser.add_argument("--tls", action="store_true", help="a lab with TLS")
    parser.add_argument("--json", metavar="FILE", help="write the results to a file")
    settings = parser.parse_args()
    for language in settings.languages:
        if language not in COMMANDS:
            parser.error(f"no example {language}; choose from {', '.join(COMMANDS)}")
    if settings.runs < 1 or settings.records < 50:
        parser.error("--runs is 1 or more, --records 50 or more")
    settings.languages = settings.languages or list(COMMANDS)
    return settings


def main() -> int:
    settings = arguments()
    reports, wrong = [], []
    with Apps(settings.languages, tls=settings.tls) as lab, proxy(lab):
        version = lab.primary_node()["up"]["version"]
        print(
            f"{'by Sentinel' if settings.sentinel else 'through halab proxy'}, server {version}, "
            f"{len(os.sched_getaffinity(0))} cores",
            flush=True,
        )
        faults = ["control"] * settings.control + [settings.fault] * settings.runs
        for run, fault in enumerate(faults, 1 - settings.control):
            for report in run_once(lab, fault, settings):
                report = {"run": run, "fault": fault, **report}
                reports.append(report)
                print(line(report), flush=True)
                found = broken(report, settings.sentinel)
                wrong += [f"{fault}, run {run}: {report['client']}: {what}" for what in found]
        if wrong:
            print(f"--- the log of the proxy:\n{proxy_log(lab)}", file=sys.stderr)
    if settings.runs > 1:
        print(table([report for report in reports if report["fault"] != "control"]))
    if settings.json:
        Path(settings.json).write_text(json.dumps(reports, indent=2) + "\n")
    for what in wrong:
        print(f"examples: {what}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
