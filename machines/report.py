"""What is said: lines for who waits, and how long each step of a test took."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

# Who waits hears of it so often.
EVERY_SECONDS = 30.0


def say(text: str) -> None:
    print(f"machines: {text}", flush=True)


class Waiting:
    """One wait: says from time to time what for, and when it has been long enough."""

    def __init__(self, what: str, limit: float) -> None:
        self.what = what
        self.limit = limit
        self.began = time.monotonic()
        self.said = self.began

    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def over(self) -> bool:
        now = time.monotonic()
        if now - self.said >= EVERY_SECONDS:
            self.said = now
            say(f"waiting for {self.elapsed():.0f} s, of {self.limit:.0f} at most: {self.what}")
        return self.elapsed() > self.limit


@dataclass
class Step:
    """A claim of a test, with how long it took to see it."""

    claim: str
    seconds: float
    holds: bool


@dataclass
class Steps:
    """The steps of a test as far as it got; nested ones too, each at its end."""

    done: list[Step] = field(default_factory=list)

    @contextmanager
    def step(self, claim: str) -> Iterator[None]:
        began = time.monotonic()
        holds = False
        print(f"==> {claim}", flush=True)
        try:
            yield
            holds = True
        finally:
            seconds = time.monotonic() - began
            self.done.append(Step(claim, seconds, holds))
            print(f"    {'holds' if holds else 'FAILED'}, {seconds:.0f} s", flush=True)

    def failed(self) -> str | None:
        """The claim that does not hold; the innermost of nested ones."""
        return next((step.claim for step in self.done if not step.holds), None)

    def table(self) -> str:
        lines = [f"{'seconds':>8}  claim"]
        lines += [
            f"{step.seconds:8.1f}  {step.claim}{'' if step.holds else '  -- FAILED'}"
            for step in self.done
        ]
        lines.append(f"{sum(step.seconds for step in self.done):8.1f}  in all")
        return "\n".join(lines)


def complain(problem: str, remedy: str = "") -> None:
    print(f"machines: error: {problem}", file=sys.stderr)
    if remedy:
        print(f"machines: {remedy}", file=sys.stderr)
