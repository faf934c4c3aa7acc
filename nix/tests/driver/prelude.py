"""What the test driver puts into a script's reach, as far as the scripts here use it; for a check of their types
without Nix (scripts/nix-checks.sh), which adds the machines. In the build, the driver's own types are used."""

import contextlib
import pathlib
import typing


class Machine(typing.Protocol):
    name: str
    state_dir: pathlib.Path

    def start(self) -> None: ...

    def shutdown(self) -> None: ...

    def crash(self) -> None: ...

    def block(self) -> None: ...

    def unblock(self) -> None: ...

    def wait_for_unit(self, unit: str) -> None: ...

    def succeed(self, *commands: str) -> str: ...

    def fail(self, *commands: str) -> str: ...

    def wait_until_succeeds(self, command: str) -> str: ...

    def execute(self, command: str) -> tuple[int, str]: ...


start_all: typing.Callable[[], None]
subtest: typing.Callable[[str], contextlib.AbstractContextManager[None]]
