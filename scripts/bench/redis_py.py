"""A typical client with redis-py: one record after the other, with discovery by Sentinel.

It trusts +OK, or with WAIT the number of replicas in the answer. Prints records a second and the
median latency in ms.
"""

import sys
import time
import typing

import redis
from redis.sentinel import Sentinel

VALUE = "x" * 44


def write(primary: "redis.Redis[bytes]", number: int, wait: bool) -> bool:
    """Whether this record counts as written."""
    if not wait:
        return bool(primary.set(f"py:{number}", VALUE))
    pipe = primary.pipeline(transaction=False)
    pipe.set(f"py:{number}", VALUE).execute_command("WAIT", 1, 1000)
    return int(pipe.execute()[1]) >= 1


def connect(sentinels: list[str], name: str, user: dict[str, typing.Any]) -> "redis.Redis[bytes]":
    """A client of the primary named by Sentinel, which reconnects after an error."""
    asked = Sentinel(
        [(host, 26379) for host in sentinels], sentinel_kwargs={**user, "socket_timeout": 2}
    )
    return asked.master_for(name, socket_timeout=2, **user)


def main() -> None:
    host, name, count, how = sys.argv[1:5]
    primary = connect([host], name, {"username": "bench", "password": "any"})
    times = []
    begun = time.perf_counter()
    for number in range(int(count)):
        at = time.perf_counter()
        if not write(primary, number, how == "wait"):
            raise SystemExit("redis-py: no replica confirmed a record")
        times.append(time.perf_counter() - at)
    print(int(count) / (time.perf_counter() - begun), sorted(times)[int(count) // 2] * 1000)


if __name__ == "__main__":
    main()
