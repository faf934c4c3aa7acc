"""The names that the NixOS test driver gives a script, as far as the scripts here use them.

scripts/nix-checks.sh checks the scripts' types with it, without Nix, and adds the machines. The
build uses the driver's own types.
"""

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
