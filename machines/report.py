"""Progress messages, and the table of a test's steps with their durations."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

# The interval of messages during a wait.
EVERY_SECONDS = 30.0


def say(text: str) -> None:
    print(f"machines: {text}", flush=True)


class Waiting:
    """One wait: reports at intervals what it waits for, and whether the limit is exceeded."""

    def __init__(self, what: str, limit: float) -> None:
        self.what = what
        self.limit = limit
        self.began = time.monotonic()
        self.reported = self.began

    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def over(self) -> bool:
        now = time.monotonic()
        if now - self.reported >= EVERY_SECONDS:
            self.reported = now
            say(f"waited {self.elapsed():.0f} s of at most {self.limit:.0f} s for: {self.what}")
        return self.elapsed() > self.limit


@dataclass
class Step:
    """A claim of a test, with its duration and result."""

    claim: str
    seconds: float
    holds: bool


@dataclass
class Steps:
    """The completed steps of a test, including nested ones, and the skipped ones."""

    done: list[Step] = field(default_factory=list)
    # Claims that the machines cannot test, each with the reason.
    skipped: list[tuple[str, str]] = field(default_factory=list)

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
        """The claim that failed; of nested ones the innermost."""
        return next((step.claim for step in self.done if not step.holds), None)

    def result(self) -> str:
        """One line for a test whose claims all hold."""
        skipped = f"; {len(self.skipped)} skipped" if self.skipped else ""
        return f"all {len(self.done)} claims tested hold{skipped}"

    def table(self) -> str:
        lines = [f"{'seconds':>8}  claim"]
        lines += [
            f"{step.seconds:8.1f}  {step.claim}{'' if step.holds else '  -- FAILED'}"
            for step in self.done
        ]
        lines += [f"{'skipped':>8}  {claim}: {reason}" for claim, reason in self.skipped]
        lines.append(f"{sum(step.seconds for step in self.done):8.1f}  total")
        return "\n".join(lines)


def say_error(problem: str, remedy: str = "") -> None:
    print(f"machines: error: {problem}", file=sys.stderr)
    if remedy:
        print(f"machines: {remedy}", file=sys.stderr)
