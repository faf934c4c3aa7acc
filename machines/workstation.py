"""The machine that the page calls yours: a folder with this source, and `ssh NAME` to the hosts.

ssh reads the user's real home whatever HOME is. So `ssh` and `scp` on PATH are wrappers that use
the keys and known hosts of the test.
"""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from .machine import Machine
from .shell import Answer, Line, NoAnswer

# Limit for one block of commands; one installs packages on three emulated machines.
BLOCK_SECONDS = 1800.0
PAUSE_SECONDS = 2.0
READY_SECONDS = 60.0
# ssh's exit status if the connection fails, not the command.
NO_CONNECTION = 255
# Stop at the first failing command.
STRICT = "set -euo pipefail\n"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ssh_config(folder: Path, ports: Mapping[str, int]) -> str:
    lines = []
    for name, port in ports.items():
        lines += [
            f"Host {name}",
            "  HostName 127.0.0.1",
            f"  Port {port}",
            f"  HostKeyAlias {name}",
        ]
    return "\n".join(
        [
            *lines,
            *(
                "Host *",
                f'  IdentityFile "{folder}/key"',
                "  IdentitiesOnly yes",
                "  BatchMode yes",
                "  LogLevel ERROR",
            ),
            *(f'  UserKnownHostsFile "{folder}/known_hosts"', "  StrictHostKeyChecking accept-new"),
            # Detects a host that is off, and tolerates a slow one.
            *("  ConnectTimeout 60", "  ServerAliveInterval 5", "  ServerAliveCountMax 24", ""),
        ]
    )


class Workstation:
    def __init__(self, folder: Path, source: Path, ports: Mapping[str, int]) -> None:
        self.folder = folder
        self.source = source
        self.ports = ports
        self.work = folder / "source"
        # All commands with their output and status.
        self.log = folder / "commands.log"

    def set_up(self) -> None:
        """Link the source's files, so that files made by the page's commands stay out of the
        source."""
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "bin").mkdir(parents=True)
        self.work.mkdir()
        for name in ("lab", "packaging"):
            (self.work / name).symlink_to(self.source / name)
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / "key"], check=True
        )
        (self.folder / "ssh_config").write_text(ssh_config(self.folder, self.ports))
        for name in ("ssh", "scp"):
            program = shutil.which(name)
            assert program, name
            wrapper = self.folder / "bin" / name
            wrapper.write_text(
                f'#!/bin/sh\nexec {program} -F {shlex.quote(str(self.folder / "ssh_config"))} "$@"\n'
            )
            wrapper.chmod(0o755)

    @property
    def public_key(self) -> str:
        return (self.folder / "key.pub").read_text()

    def environment(self) -> dict[str, str]:
        # As for the machines of labsite.py: a setting of the caller's lab is not the page's.
        own = {key: value for key, value in os.environ.items() if not key.startswith("HALAB_")}
        return {**own, "PATH": f"{self.folder}/bin:{os.environ['PATH']}"}

    def begin(self, command: list[str], typed: str) -> subprocess.Popen[str]:
        with tempfile.TemporaryFile("w+") as file:
            file.write(typed)
            file.seek(0)
            return subprocess.Popen(
                command,
                cwd=self.work,
                env=self.environment(),
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )

    def finish(self, process: subprocess.Popen[str], what: str, limit: float) -> Answer:
        began = time.monotonic()
        try:
            output, errors = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            # The whole process group.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise NoAnswer(f"no answer within {limit:.0f} s: {what}") from None
        answer = Answer(0, process.returncode, output, errors)
        with open(self.log, "a") as log:
            log.write(
                f"--- {what.strip()}\n{output}{errors}--- status {answer.status}, {time.monotonic() - began:.0f} s\n\n"
            )
        return answer

    def run(self, commands: str, limit: float = BLOCK_SECONDS) -> Answer:
        """Run on the workstation, up to the first command that fails."""
        return self.finish(
            self.begin(["bash", "-euo", "pipefail", "-c", commands], ""), commands, limit
        )

    def begin_on(self, host: str, commands: str) -> subprocess.Popen[str]:
        """Start in a login shell (`ssh root@HOST`), up to the first command that fails; the output
        includes the host's greeting."""
        return self.begin(["ssh", f"root@{host}"], STRICT + commands)

    def run_on(self, host: str, commands: str, limit: float = BLOCK_SECONDS) -> Answer:
        return self.finish(self.begin_on(host, commands), f"on {host}: {commands}", limit)

    def ask(self, host: str, commands: str, limit: float) -> Answer:
        """Run in a login shell on a host, without the greeting in the output."""
        return self.finish(
            self.begin(["ssh", f"root@{host}", "bash", "--login"], STRICT + commands),
            f"asked of {host}: {commands}",
            limit,
        )


class SshLine(Line):
    def __init__(self, workstation: Workstation, host: str) -> None:
        self.workstation = workstation
        self.host = host

    def ready(self) -> bool:
        try:
            self.run("true", READY_SECONDS)
        except NoAnswer:
            time.sleep(PAUSE_SECONDS)
            return False
        return True

    def run(self, command: str, limit: float) -> Answer:
        answer = self.workstation.ask(self.host, command, limit)
        if answer.status == NO_CONNECTION:
            raise NoAnswer(f"no ssh connection to {self.host}: {answer.errors.strip()}")
        return answer

    def close(self) -> None:
        pass


class Host(Machine):
    """A machine reached over ssh."""

    workstation: Workstation

    def open_line(self) -> Line:
        return SshLine(self.workstation, self.name)
