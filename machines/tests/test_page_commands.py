"""Commands of docs/hosts.md that change files, run in a folder, with a substitute for ssh that runs
the command for a host in the folder of that host."""

import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

from machines import hosts
from machines.hosts import ADDRESSES
from machines.page import blocks
from machines.site import ROOT

# The host's commands run in its folder, with its paths of /etc below it. Programs that change the
# system are left out.
SSH = """#!/bin/bash
host=${1#root@}; shift
cd "$HOSTS/$host" || exit
ip() { :; }
eval "${*//\\/etc\\//$HOSTS/$host/etc/}"
"""


def block_with(text: str) -> str:
    """The page's block that contains a text."""
    [found] = [block.text for block in blocks(hosts.PAGE.read_text()) if text in block.text]
    return found


class PageCommandsTest(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        for host in ("one", "two", "three"):
            (self.folder / host / "etc/network/interfaces.d").mkdir(parents=True)
        self.work = self.folder / "work"
        self.work.mkdir()
        (self.folder / "bin").mkdir()
        ssh = self.folder / "bin/ssh"
        ssh.write_text(SSH)
        ssh.chmod(0o755)

    def run_here(self, commands: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=self.work,
            env={
                **os.environ,
                "HOSTS": str(self.folder),
                "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            },
            capture_output=True,
            text=True,
        )

    def test_repeated_addresses_are_written_once(self) -> None:
        commands = block_with("interfaces.d")
        for _ in range(2):
            done = self.run_here(commands)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
        for host, addresses in ADDRESSES.items():
            written = self.folder / host / "etc/network/interfaces.d/redis-ha-lab"
            self.assertEqual(
                written.read_text(),
                "".join(f"iface eth1 inet static\n\taddress {each}/32\n" for each in addresses),
            )

    def test_an_address_that_the_firewall_lacks_is_reported(self) -> None:
        [compare] = [
            line.strip().removeprefix("ssh root@$host ").strip("'")
            for line in block_with("nft list set").splitlines()
            if "nft list set" in line
        ]
        listed = "halab() { printf '192.0.2.%s\\n' 12 11; }\n"
        loaded = "nft() { echo 'elements = { 192.0.2.11, 192.0.2.@ }'; }\n"
        for number, status in ((12, 0), (13, 1)):
            done = self.run_here(listed + loaded.replace("@", str(number)) + compare)
            self.assertEqual(done.returncode, status, done.stdout)
        self.assertIn("< 192.0.2.12\n", done.stdout)
        self.assertIn("> 192.0.2.13\n", done.stdout)

    def test_a_repeated_first_step_keeps_the_edited_files(self) -> None:
        (self.work / "packaging").symlink_to(ROOT / "packaging")
        (self.work / "hosts").mkdir()
        commands = "".join(
            line for line in block_with("cp packaging").splitlines(True) if "./lab" not in line
        )
        self.assertEqual(self.run_here(commands).returncode, 0)
        (self.work / "hosts/lab.toml").write_text("edited")
        self.assertEqual(self.run_here(commands).returncode, 0)
        self.assertEqual((self.work / "hosts/lab.toml").read_text(), "edited")
        self.assertEqual(
            {path.name for path in (self.work / "hosts").iterdir()},
            {"lab.toml", "nftables.conf", "profile.sh"},
        )

    def test_a_host_gets_only_the_keys_of_its_nodes(self) -> None:
        """Also after a kill of `secrets make`, which may leave `.NAME.XXXXXX`, and with a copy of
        the CA's key."""
        secrets = self.work / "hosts/secrets"
        secrets.mkdir(parents=True)
        shared = {"writer", "app-shop", "ca.pem", "client.pem"}
        keys = {"ca.key", ".ca.key.Ab12Cd", "ca.key.bak", "ca.key~", ".node-redis-b.pem.Ab12Cd"}
        nodes = {f"node-{node}.pem" for node in ("redis-a", "redis-b", "sentinel-1")}
        for name in shared | keys | nodes:
            (secrets / name).write_text("")
        define = block_with("install -m 644 lab.toml").partition("secrets() {")[2]
        define = f"secrets() {{{define.partition(chr(10) + '}')[0]}\n}}\n"
        copy = 'scp() { cp "$1" "$HOSTS/one${2#root@one:}"; }\n'
        for _ in range(2):
            done = self.run_here(define + copy + "secrets one redis-a sentinel-1")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(
            {path.name for path in (self.folder / "one/etc/redis-ha-lab/secrets").iterdir()},
            shared | {"node-redis-a.pem", "node-sentinel-1.pem"},
        )

    def test_a_repeated_exchange_of_passwords_loses_none(self) -> None:
        folders = {"secrets": "old", "secrets-new": "new"}
        for folder, password in folders.items():
            (self.work / "hosts" / folder).mkdir(parents=True)
            (self.work / "hosts" / folder / "writer").write_text(password)
        [exchange] = re.findall(r"`([^`]*mv -T [^`]*)`", hosts.PAGE.read_text())
        self.assertEqual(self.run_here(exchange).returncode, 0)
        self.assertNotEqual(self.run_here(exchange).returncode, 0)
        (self.work / "hosts/secrets-new").mkdir()
        self.assertNotEqual(self.run_here(exchange).returncode, 0)
        for folder, password in {"secrets": "new", "secrets-old": "old"}.items():
            kept = self.work / "hosts" / folder
            self.assertEqual([path.name for path in kept.iterdir()], ["writer"])
            self.assertEqual((kept / "writer").read_text(), password)

    def test_an_upgrade_brings_the_secrets_to_the_hosts_as_the_installation_does(self) -> None:
        """Before the package: a unit of a newer version may need one more password."""
        texts = [block.text for block in blocks(hosts.PAGE.read_text())]
        functions = [
            re.findall(r"^secrets\(\) \{.*?^\}\n(?:secrets [^\n]*\n)+", text, re.M | re.S)
            for text in texts
        ]
        installed, upgraded = [found for found in functions if found]
        self.assertEqual(installed, upgraded)
        [upgrade] = [text for text in texts if "systemctl restart halab-data-node" in text]
        made, given, installs, restarts = (
            upgrade.index(text)
            for text in ("secrets make hosts/secrets", "secrets three", "apt-get", "restart")
        )
        self.assertTrue(made < given < installs < restarts)
