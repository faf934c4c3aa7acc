"""How the test of docs/hosts.md parses output, and the configuration of its hosts."""

import json
import signal
import tempfile
import tomllib
import unittest
from pathlib import Path

from machines.debian import debugfs_commands, install, interfaces, own_files
from machines.errors import LabError
from machines.guests import EMULATED
from machines.hosts import (
    addresses_in,
    require_unchanged,
    series_of,
    targets_down,
    verified_counts,
    with_emulated_limits,
)
from machines.site import ROOT
from machines.workstation import ssh_config

BOTH = """primary: holds: redis-b, run 1f890ca7c2266fde, policy available
  invoked       1000
  acknowledged  1000: 984 replicated, 16 witnessed, 0 unconfirmed
  otherwise     0 failed, 0 unsettled

replica: holds: redis-a, run 1f890ca7c2266fde, policy available
  invoked       1000
  acknowledged  999: 999 replicated, 0 witnessed, 0 unconfirmed
"""


class ConclusionsTest(unittest.TestCase):
    def test_the_output_of_verify_is_parsed_by_data_node(self) -> None:
        self.assertEqual(verified_counts(BOTH), {"redis-b": 1000, "redis-a": 999})

    def test_a_node_with_a_loss_does_not_count(self) -> None:
        self.assertEqual(
            verified_counts(BOTH.replace("replica: holds", "replica: violated")), {"redis-b": 1000}
        )

    def test_a_target_that_is_down_is_named(self) -> None:
        series = [
            {"metric": {"job": "redis", "instance": f"192.0.2.1{n}"}, "value": [1.5, f"{n}"]}
            for n in (0, 1)
        ]
        body = json.dumps({"status": "success", "data": {"result": series}})
        answer = f"HTTP/1.0 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        self.assertEqual(targets_down(series_of(answer)), ["redis at 192.0.2.10"])
        # An answer that was cut off has no targets at all.
        self.assertEqual(series_of(answer[:-5]), [])
        self.assertEqual(series_of("HTTP/1.0 503 Service Unavailable\r\n\r\n"), [])

    def test_a_file_that_is_changed_or_missing_on_any_host_is_named(self) -> None:
        before = {"one": "aa  etc/lab.toml\n", "three": "bb  var/a.ledger\ncc  etc/x\n"}
        require_unchanged("the removal", before, dict(before))
        with self.assertRaisesRegex(
            AssertionError, "^the removal has changed three: var/a.ledger$"
        ):
            require_unchanged(
                "the removal", before, {**before, "three": "b1  var/a.ledger\ncc  etc/x\n"}
            )
        with self.assertRaisesRegex(AssertionError, "three: etc/x"):
            require_unchanged("it", before, {**before, "three": "bb  var/a.ledger\n"})

    def test_an_address_counts_as_often_as_it_is_there(self) -> None:
        shown = "3: eth1    inet 192.0.2.{}/{} brd 192.0.2.11 scope global eth1"
        self.assertEqual(
            addresses_in("\n".join(shown.format(*at) for at in ((11, 32), (1, 24), (11, 24)))),
            ["192.0.2.1", "192.0.2.11", "192.0.2.11"],
        )


class InstallTest(unittest.TestCase):
    def test_an_interrupted_installation_is_cleaned_up_before_the_process_ends(self) -> None:
        """By the program itself, here a script, which needs SIGTERM and some time for it."""
        with tempfile.TemporaryDirectory() as folder:
            started, cleaned = Path(folder) / "started", Path(folder) / "cleaned"
            script = f"trap 'sleep 0.3; touch {cleaned}; exit 1' TERM; touch {started}; while :; do sleep 0.05; done"

            def interrupt(number: int, frame: object) -> None:
                raise KeyboardInterrupt

            before = signal.signal(signal.SIGALRM, interrupt)
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            try:
                with self.assertRaises(KeyboardInterrupt):
                    install(["bash", "-c", script])
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)
            self.assertTrue(started.exists())
            self.assertTrue(cleaned.exists())

    def test_a_failed_installation_is_an_error(self) -> None:
        with self.assertRaisesRegex(LabError, "bash failed:\nno space"):
            install(["bash", "-c", "echo no space >&2; exit 1"])


class HostsTest(unittest.TestCase):
    def test_lab_toml_differs_from_the_page_in_time_limits_only(self) -> None:
        shipped = (ROOT / "packaging/debian/lab.toml").read_text()
        there = tomllib.loads(with_emulated_limits(shipped))
        self.assertEqual(
            {key: there[key] for key in tomllib.loads(shipped)}, tomllib.loads(shipped)
        )
        self.assertEqual(there.keys() - tomllib.loads(shipped).keys(), EMULATED.keys())
        self.assertTrue(there["security"]["tls"])
        self.assertFalse(tomllib.loads(with_emulated_limits(shipped, tls=False))["security"]["tls"])

    def test_a_host_has_its_own_address_on_the_network_of_the_lab(self) -> None:
        self.assertIn("iface eth1 inet static\n\taddress 192.0.2.2/24", interfaces("192.0.2.2"))
        # The page adds the addresses of nodes there.
        self.assertIn("source /etc/network/interfaces.d/*", interfaces("192.0.2.2"))

    def test_a_file_of_a_host_replaces_the_copied_one(self) -> None:
        commands = debugfs_commands(own_files("two", "192.0.2.2", "key", "deb")).splitlines()
        self.assertLess(commands.index("rm /etc/hostname"), commands.index("write 0 /etc/hostname"))

    def test_ssh_finds_each_host_by_its_name(self) -> None:
        config = ssh_config(Path("/a b"), {"one": 2201, "two": 2202})
        self.assertIn("Host two\n  HostName 127.0.0.1\n  Port 2202\n", config)
        self.assertIn('IdentityFile "/a b/key"', config)
