"""Writes records to Redis, repeats calls that fail, and reads all records back.

The settings are environment variables: see the README of the examples.
"""

import json
import os
import random
import sys
import time

import redis
from redis.sentinel import Sentinel

GIVE_UP = 60.0  # seconds without an answer to one command
TIMEOUT = 15.0  # longer than the proxy waits for a primary: 10 s


def connect() -> redis.Redis:
    """A client of `halab proxy`, or of the primary that the Sentinels name."""
    if "SENTINELS" not in os.environ and "REDIS_URL" not in os.environ:
        raise SystemExit("set REDIS_URL or SENTINELS: see the README")
    if "SENTINELS" not in os.environ:
        return redis.Redis.from_url(
            os.environ["REDIS_URL"], decode_responses=True, socket_timeout=TIMEOUT
        )
    with open(os.environ["REDIS_PASSWORD_FILE"]) as file:
        login = {"username": os.environ["REDIS_USER"], "password": file.read().strip()}
    if "REDIS_CA" in os.environ:
        login |= {"ssl": True, "ssl_ca_certs": os.environ["REDIS_CA"]}
    addresses = [address.rsplit(":", 1) for address in os.environ["SENTINELS"].split(",")]
    sentinel = Sentinel(
        [(host, int(port)) for host, port in addresses], sentinel_kwargs=login, **login
    )
    return sentinel.master_for(os.environ["PRIMARY_NAME"], decode_responses=True)


class Caller:
    """Repeats calls that fail, which is harmless here: it sets the same key to the same value."""

    def __init__(self) -> None:
        self.failed, self.first_error = 0, None
        self.longest_call = self.longest_wait = 0.0

    def __call__(self, command, *arguments):
        begun = time.monotonic()
        while True:
            called = time.monotonic()
            try:
                return command(*arguments)
            except redis.RedisError as error:
                self.failed += 1
                self.first_error = self.first_error or f"{type(error).__name__}: {error}"
                if time.monotonic() - begun > GIVE_UP:
                    raise
            finally:
                now = time.monotonic()
                self.longest_call = max(self.longest_call, now - called)
                self.longest_wait = max(self.longest_wait, now - begun)
            time.sleep(0.05)


def main() -> int:
    prefix = f"{os.environ.get('APP', 'shop')}:record"
    records, pace = int(os.environ.get("RECORDS", 1000)), int(os.environ.get("PACE_MS", 0)) / 1000
    db, call = connect(), Caller()
    acknowledged = {}
    missing = None
    try:
        for number in range(records):
            value = f"{time.time_ns()} {random.getrandbits(64):016x}"
            call(db.set, f"{prefix}:{number}", value)
            acknowledged[number] = value
            time.sleep(pace)
        found = {number: call(db.get, f"{prefix}:{number}") for number in acknowledged}
        missing = sum(found[number] != value for number, value in acknowledged.items())
    except redis.RedisError:
        pass  # given up: the numbers show it
    print(
        json.dumps(
            {
                "client": f"redis-py {redis.__version__}",
                "records": records,
                "acknowledged": len(acknowledged),
                "missing": missing,
                "failed_calls": call.failed,
                "first_error": call.first_error,
                "longest_call_ms": round(call.longest_call * 1000),
                "longest_wait_ms": round(call.longest_wait * 1000),
            }
        )
    )
    return 0 if len(acknowledged) == records and missing == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
