#!/usr/bin/env python3
"""The test suites of redis-py and go-redis, directly at a Redis server and through the proxy.

Runs the parts that need no cluster, no module and no Sentinel: first at a server of its own, then
through `halab proxy` in front of a lab of its own. Lists the tests that pass directly and not
through the proxy, with the reason. Exit code 1: a test fails for a reason that is not known.
Takes about ten minutes. Uses port 6379 of 127.0.0.1, which go-redis has in its tests.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "bench"))

from lab import Lab
from serving import served

ADDRESS = "127.0.0.1"
DATABASE = 9  # the lab's own keys are in database 0

PYTHON_FILES = """
    test_cache test_client test_commands test_connection test_connection_pool test_encoding
    test_function test_keyspace_notifications test_lock test_monitor test_pipeline test_pubsub
    test_scripting
    test_asyncio/test_commands test_asyncio/test_connection test_asyncio/test_connection_pool
    test_asyncio/test_encoding test_asyncio/test_lock test_asyncio/test_monitor
    test_asyncio/test_pipeline test_asyncio/test_pubsub test_asyncio/test_scripting
""".split()
PYTHON_MARKS = "not onlycluster and not redismod and not ssl and not fixed_client"

GO_FOCUS = (
    "Commands|Client|Tx|pipelining|PubSub|pool|Conn|Race|Scan|Monitor|Function|Keyspace"
    "|AutoPipeline|Timeouts|OnConnect"
)
GO_SKIP = (
    "[Ss]entinel|[Cc]luster|Ring |Failover|Routing Policy|Command Tips|multiple shards|Shutdown"
    r"|RediSearch|FT\.|JSON|imeseries|loom|uckoo|ector|Probabilistic|otkeys|HOTKEYS"
)
# So many tests pass directly at least. With fewer, something else is wrong.
PASS_DIRECTLY = {"redis-py": 1500, "go-redis": 400}

# Why a test that passes directly does not pass through the proxy: what its failure says, or its
# name.
KNOWN = {
    "refused by the proxy (docs/proxy.md)": r"is not available through halab proxy",
    "counts the replicas; the lab has one": r"should Wait\n",
    "CLIENT KILL ends the connection to the primary; the client's connection stays": (
        r"connection_error_raised_when_connection_dies|test_kill|client_kill"
    ),
    "the log of slow commands is of all connections": r"SlowLog|slowlog",
}

Outcomes = dict[str, str]  # of each test: empty if it passes, else what its failure says


def redis_py(tools: Path, scratch: Path) -> Outcomes:
    folder = next((tools / "suites").glob("redis-*/tests")).parent
    report = scratch / "report.xml"
    command = [str(tools / "suites-venv/bin/pytest"), "-q", "-p", "no:cacheprovider"]
    command += ["--timeout", "60", "--junitxml", str(report), "-m", PYTHON_MARKS]
    command += ["--redis-url", f"redis://{ADDRESS}:6379/{DATABASE}"]
    command += [f"tests/{name}.py" for name in PYTHON_FILES]
    run = subprocess.run(command, cwd=folder, text=True, capture_output=True, check=False)
    if not report.exists():
        raise SystemExit(f"suites: pytest has no results: {run.stdout[-2000:]}{run.stderr}")
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        failed = [kind for kind in case if kind.tag in ("failure", "error")]
        if case.find("skipped") is None:
            found[name] = " ".join(f"{kind.get('message')} {kind.text}" for kind in failed)
    return found


def go_redis(tools: Path, scratch: Path) -> Outcomes:
    folder = next((tools / "suites").glob("go-redis-*"))
    command = ["./suite", "-test.run", "TestGinkgoSuite", "-test.timeout", "600s"]
    command += ["-ginkgo.v", "-ginkgo.noColor", "-ginkgo.seed", "1"]
    command += ["-ginkgo.focus", GO_FOCUS, "-ginkgo.skip", GO_SKIP]
    # Without its own cluster, ring and Sentinels.
    env = dict(os.environ, RE_CLUSTER="true", REDIS_VERSION="7.0")
    run = subprocess.run(command, cwd=folder, env=env, text=True, capture_output=True, check=False)
    (scratch / "go-redis.log").write_text(run.stdout + run.stderr)
    if not re.search(r"^Ran \d+ of", run.stdout, re.M):
        raise SystemExit(f"suites: go-redis has no results: {(run.stdout + run.stderr)[-2000:]}")
    found = {}
    for block in re.split(r"\n-{30}\n", run.stdout):
        lines = block.strip().splitlines()
        ended = [line for line in lines if line.startswith("• ")]
        if not ended or lines[0].startswith("["):
            continue
        found[lines[0]] = "" if "[FAILED]" not in ended[0] else block
    return found


SUITES: dict[str, Callable[[Path, Path], Outcomes]] = {"redis-py": redis_py, "go-redis": go_redis}


@contextlib.contextmanager
def server(lab: Lab) -> Iterator[None]:
    program = os.environ.get("HALAB_REDIS_SERVER") or shutil.which("redis-server")
    words = ["--bind", ADDRESS, "--save", "", "--dir", str(lab.scratch)]
    with served(lab, ADDRESS, [str(program), *words]):
        yield


@contextlib.contextmanager
def through_proxy(lab: Lab) -> Iterator[None]:
    with served(lab, ADDRESS, ["halab", "proxy", "--listen", f"{ADDRESS}:6379", "--metrics=off"]):
        yield


def reason(name: str, failure: str) -> str | None:
    text = f"{name}\n" + re.sub(r"\s+", " ", failure)
    return next((why for why, pattern in KNOWN.items() if re.search(pattern, text)), None)


def main() -> int:
    options = argparse.ArgumentParser(prog="./lab suites", description=__doc__)
    options.add_argument("suites", nargs="*", metavar="SUITE", help=" or ".join(SUITES))
    options.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    options.add_argument("--tools", type=Path, default=Path(), help=argparse.SUPPRESS)
    asked = options.parse_args()
    unknown = set(asked.suites) - set(SUITES)
    if unknown:
        options.error(
            f"no such suite: {', '.join(sorted(unknown))}; there are: {', '.join(SUITES)}"
        )
    results = {}
    # Without users: the tests use commands that no application may use.
    with Lab(acl=False) as lab:
        for name in asked.suites or SUITES:
            each = {}
            for way, serving in (("directly", server), ("through the proxy", through_proxy)):
                print(f"suites: {name}, {way}", file=sys.stderr)
                with serving(lab):
                    each[way] = SUITES[name](asked.tools, lab.scratch)
            results[name] = each
    is_good = True
    rows = {}
    for name, each in results.items():
        directly, proxied = each["directly"], each["through the proxy"]
        passed = [test for test, failure in directly.items() if not failure]
        all_proxied = {test: proxied.get(test, "not run") for test in passed}
        differing = {test: failure for test, failure in all_proxied.items() if failure}
        why = {test: reason(test, failure) for test, failure in differing.items()}
        rows[name] = {"tests": len(directly), "directly": len(passed), "differing": why}
        print(
            f"{name}: {len(directly)} tests, {len(passed)} pass directly, of which "
            f"{len(passed) - len(differing)} pass through the proxy"
        )
        if len(passed) < PASS_DIRECTLY[name]:
            print(f"  too few pass directly: at least {PASS_DIRECTLY[name]} do at a sound server")
            is_good = False
        for test, known in sorted(why.items(), key=lambda pair: (str(pair[1]), pair[0])):
            print(f"  {test}: {known or 'not known: ' + differing[test][:500]}")
            is_good &= known is not None
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
