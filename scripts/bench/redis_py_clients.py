"""Many redis-py clients at one address, which write one key after the other and repeat no call.

Prints `at work` when each of them writes. When its standard input ends, it prints of each client
the number of calls, the number of failed ones, and the longest call in ms, as JSON.
"""

import json
import sys
import threading
import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

VALUE = "x" * 44
ANSWER_LIMIT = 20.0  # seconds: longer than the proxy's --patience
WARM_UP = 50  # calls of each client


class Client(threading.Thread):
    def __init__(self, url: str, number: int) -> None:
        super().__init__()
        self.connection = redis.Redis.from_url(
            url, retry=Retry(NoBackoff(), 0), socket_timeout=ANSWER_LIMIT
        )
        self.number = number
        self.calls = self.failed = 0
        self.longest = 0.0
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.is_set():
            begun = time.perf_counter()
            try:
                self.connection.set(f"shop:{self.number}:{self.calls}", VALUE)
            except redis.RedisError:
                self.failed += 1
            self.calls += 1
            self.longest = max(self.longest, time.perf_counter() - begun)


def main() -> None:
    # All threads share one interpreter: with its default of 5 ms, they would wait for each other.
    sys.setswitchinterval(0.0005)
    url = sys.stdin.readline().strip()
    clients = [Client(url, number) for number in range(int(sys.argv[1]))]
    for client in clients:
        client.start()
    while min(client.calls for client in clients) < WARM_UP:
        time.sleep(0.01)
    for client in clients:
        client.longest = 0.0
    print("at work", flush=True)
    sys.stdin.read()
    for client in clients:
        client.stopped.set()
    for client in clients:
        client.join()
    print(json.dumps([[c.calls, c.failed, c.longest * 1000] for c in clients]))


if __name__ == "__main__":
    main()
