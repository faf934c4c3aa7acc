"""A minimal client: one socket, one record after the other, the command and its WAIT in one packet.

It has no service discovery and no error handling, and trusts the number of replicas in the answer,
so its time is that of the servers. Prints records a second and the median latency in ms.
"""

import socket
import sys
import time

VALUE = b"x" * 44


def command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(
        b"$%d\r\n%s\r\n" % (len(word), word) for word in words
    )


def main() -> None:
    host, user, count, how = sys.argv[1:5]
    expected, wait = b"+OK\r\n", b""
    if how == "wait":
        expected, wait = b"+OK\r\n:1\r\n", command(b"WAIT", b"1", b"1000")
    times = []
    with socket.create_connection((host, 6379)) as primary:
        primary.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        primary.sendall(command(b"AUTH", user.encode(), b"any"))
        if primary.recv(64) != b"+OK\r\n":
            raise SystemExit("bare socket: authentication failed")
        begun = time.perf_counter()
        for number in range(int(count)):
            at = time.perf_counter()
            primary.sendall(command(b"SET", b"key:%d" % number, VALUE) + wait)
            answer = primary.recv(64)
            while len(answer) < len(expected) and answer:
                answer += primary.recv(64)
            if answer != expected:
                raise SystemExit(f"bare socket: the primary answered {answer!r}")
            times.append(time.perf_counter() - at)
    print(int(count) / (time.perf_counter() - begun), sorted(times)[int(count) // 2] * 1000)


if __name__ == "__main__":
    main()
