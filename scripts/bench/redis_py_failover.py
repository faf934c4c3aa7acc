"""The same client during a failover: it writes without a pause and retries at once after an error.

Prints `at work` when the load has started. When it has written for two seconds after
`+switch-master`, it prints, in ms, the longest time without a successful write, and the time from
the event to the end of that pause (negative: it ended before the event).
"""

import json
import sys
import threading
import time

import redis

from redis_py import connect, write

WARM_UP = 1000  # records before the first one that counts
CALM = 2.0  # seconds without a longer pause, after which the failover is over
LIMIT = 60.0  # limit of the whole run, in seconds


def main() -> None:
    hosts, name, how = sys.argv[1].split(","), sys.argv[2], sys.argv[3]
    user = {"username": "bench", "password": "any"}
    primary = connect(hosts, name, user)
    switched: list[float] = []
    listening = threading.Event()

    def listen() -> None:
        events = redis.Redis(host=hosts[0], port=26379, **user).pubsub()
        events.subscribe("+switch-master")
        for message in events.listen():
            if message["type"] == "subscribe":
                listening.set()
            elif message["type"] == "message":
                switched.append(time.perf_counter())
                return

    threading.Thread(target=listen, daemon=True).start()
    listening.wait(10)

    begun = last = ended = time.perf_counter()
    done, longest = 0, 0.0
    while (now := time.perf_counter()) - begun < LIMIT:
        if switched and last > switched[0] and now - max(ended, switched[0]) > CALM:
            print(json.dumps([longest * 1000, (ended - switched[0]) * 1000]))
            return
        try:
            written = write(primary, done, how == "wait")
        except redis.RedisError:
            written = False
        if not written:
            time.sleep(0.001)
            continue
        now = time.perf_counter()
        done += 1
        if done > WARM_UP and now - last > longest:
            longest, ended = now - last, now
        last = now
        if done == WARM_UP:
            print("at work", flush=True)
    raise SystemExit(
        f"redis-py: the failover is not over after {LIMIT:.0f} s, {done} records and "
        f"{len(switched)} switches"
    )


if __name__ == "__main__":
    main()
