"""Faults: their changes, and when they count as detected."""

import tempfile
import unittest
from pathlib import Path

from machines import disk, driver, faults
from machines.errors import LabError
from machines.faults import (
    FAULTS,
    Removal,
    Edit,
    Failure,
    ForeignSecret,
    ExpectedFailure,
    judge,
)
from machines.guests import GUESTS
from machines.site import ROOT


class JudgeTest(unittest.TestCase):
    expected = ExpectedFailure("it comes up", r"redis-b is not in sync")

    def test_the_expected_claim_and_reason_detect_the_fault(self) -> None:
        self.assertIsNone(
            judge(self.expected, Failure("it comes up", "problems: redis-b is not in sync", ""))
        )

    def test_a_test_that_passes_has_not_detected_the_fault(self) -> None:
        self.assertEqual(judge(self.expected, None), "the test passed")

    def test_another_claim_or_reason_does_not_detect_the_fault(self) -> None:
        self.assertRegex(
            judge(self.expected, Failure("it goes on", "redis-b is not in sync", "")) or "",
            "another claim: 'it goes on'",
        )
        self.assertRegex(
            judge(self.expected, Failure("it comes up", "too late", "")) or "",
            "another reason: 'too late'",
        )


class TextsTest(unittest.TestCase):
    """A text is that of the fault and not that of any failure at the same claim."""

    def judge(self, fault: str, reason: str) -> bool:
        [run] = faults.runs_of([fault])
        return judge(run.expected, Failure(run.expected.claim, reason, "")) is None

    def test_a_server_stopped_before_the_handover(self) -> None:
        stops, over = "1:M # User requested shutdown...", "INFO handed over node=a to=b"
        refused = "WARN stopping without a handover node=a"
        fault = "server-ends-with-its-node"
        for log, detected in (
            (["INFO stopping node=a", stops, over], True),
            (["INFO stopping node=a", stops, refused], True),
            (["INFO stopping node=a", over, stops], False),
            (["INFO stopping node=a", stops, over, "INFO stopping node=a", over, stops], False),
            (["INFO stopping node=a", refused], False),
            (["one: status 1 of: journalctl"], False),
        ):
            with self.subTest(log=log):
                self.assertEqual(self.judge(fault, "\n".join(log)), detected)

    def test_a_writer_that_refuses_its_ledger(self) -> None:
        waited = (
            "not met after 90 s: records are acknowledged; last seen: 0 bytes more in the ledger"
        )
        says = "the ledger /var/lib/redis-ha-lab/writer/writer.ledger already exists; continue"
        for log, detected in ((f"halab: {says}", True), ("INFO primary found", False)):
            reason = f"{waited}; primary a; the writer: Started.\n{log}"
            self.assertEqual(self.judge("ledger-not-continued", reason), detected)

    def test_an_exporter_that_may_not_log_in(self) -> None:
        waited = (
            "not met after 90 s: redis_exporter reaches every server: redis_up == 1; last seen: "
        )
        for seen, detected in (
            ("{'sentinel-3': 1.0}", True),
            ("{'redis-a': 1.0, 'sentinel-3': 1.0}", False),
            ("{}", False),
            ("NoPrometheus()", False),
        ):
            self.assertEqual(
                self.judge("exporter-password-of-another-lab", waited + seen), detected
            )

    def test_a_prometheus_that_does_not_listen(self) -> None:
        waited = "not met after 90 s: targets by job: count by (job) (up); last seen: "
        for error, detected in (
            ("curl: (7) Failed to connect to monitoring port 9090", True),
            ("curl: (28) Operation timed out", False),
            ("curl: (6) Could not resolve host: monitoring", False),
        ):
            seen = f"NoPrometheus(error={error!r})"
            self.assertEqual(self.judge("prometheus-not-enabled", waited + seen), detected, seen)

    def test_a_target_that_should_not_be_there(self) -> None:
        waited = "not met after 90 s: targets by job: count by (job) (up); last seen: "
        for seen, detected in (
            ("{'redis': 5.0, 'cadvisor': 1.0}", True),
            ("{'redis': 5.0}", False),
        ):
            self.assertEqual(self.judge("cadvisors-that-are-not-there", waited + seen), detected)

    def test_the_roles_of_the_other_node_are_required(self) -> None:
        refused = "(cannot connect to 192.0.2.12:6379: Connection refused (os error 111))"
        passwords = "redis-b: different passwords for the user replica"
        for fault, problem in (
            ("data-node-not-restarted", f"redis-b is not reachable {refused}"),
            ("password-of-another-lab", passwords),
        ):
            for primary, detected in (("primary", True), ("unreachable", False)):
                seen = f"redis-a {primary}, redis-b unreachable; problems: {problem}"
                self.assertEqual(self.judge(fault, seen), detected, seen)


class ReasonsTest(unittest.TestCase):
    """The texts tell a lab with the fault from one whose machines are too slow."""

    refused = "(cannot connect to 192.0.2.12:6379: Connection refused (os error 111))"

    def matches(self, fault: str, problems: str) -> bool:
        expected = faults.runs_of([fault], "failover")[0].expected
        reason = (
            "not met after 90 s: the lab is healthy; last seen: primary redis-a at epoch 0; "
            f"{problems}"
        )
        return judge(expected, Failure(expected.claim, reason, "")) is None

    def test_a_missing_node_refuses_connections_while_the_others_are_well(self) -> None:
        seen = (
            "redis-a primary, redis-b unreachable; "
            f"problems: redis-b is not reachable {self.refused}"
        )
        self.assertTrue(self.matches("data-node-not-enabled", seen))
        slow = (
            "redis-a primary, redis-b unreachable; "
            "problems: redis-b is not reachable (192.0.2.12:6379: timed out)"
        )
        self.assertFalse(self.matches("data-node-not-enabled", slow))
        self.assertFalse(
            self.matches(
                "data-node-not-enabled", seen.replace("redis-a primary", "redis-a unreachable")
            )
        )

    def test_a_replica_that_gets_no_answer_is_the_first_problem(self) -> None:
        seen = (
            "redis-a primary, redis-b parked; problems: redis-b has no role yet (its node waits for "
            "an answer of the node that the Sentinels name, to learn whether it holds more)"
        )
        self.assertTrue(self.matches("firewall-without-the-replica", seen))
        self.assertFalse(
            self.matches(
                "firewall-without-the-replica",
                seen.replace("problems:", "problems: sentinel-1 is not reachable;"),
            )
        )


class ChangesTest(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root, self.other = Path(scratch.name) / "root", Path(scratch.name) / "other"
        secrets = self.root / faults.SECRETS_FOLDER
        for folder in (secrets, self.other):
            folder.mkdir(parents=True)
        (secrets / "writer").write_text("a")
        (self.other / "writer").write_text("b")
        (self.root / "unit").write_text("Restart=always\n")

    def test_a_file_is_edited(self) -> None:
        Edit("unit", "always", "no").apply(self.root, self.other)
        self.assertEqual((self.root / "unit").read_text(), "Restart=no\n")

    def test_a_fault_that_would_change_nothing_is_an_error(self) -> None:
        with self.assertRaisesRegex(LabError, "'on-failure' in unit, which does not contain it"):
            Edit("unit", "on-failure", "no").apply(self.root, self.other)
        with self.assertRaises(FileNotFoundError):
            Removal("link").apply(self.root, self.other)
        (self.other / "writer").write_text("a")
        with self.assertRaisesRegex(LabError, "writer is the same in two labs"):
            ForeignSecret("writer").apply(self.root, self.other)

    def test_a_dangling_link_can_be_removed(self) -> None:
        (self.root / "link").symlink_to("/nowhere")
        Removal("link").apply(self.root, self.other)
        self.assertFalse((self.root / "link").is_symlink())

    def test_a_secret_is_replaced_by_that_of_another_lab(self) -> None:
        ForeignSecret("writer").apply(self.root, self.other)
        self.assertEqual((self.root / faults.SECRETS_FOLDER / "writer").read_text(), "b")

    def test_only_the_machines_of_a_fault_are_changed(self) -> None:
        fault = faults.Fault("f", "unit", "", ("two",), (Edit("unit", "always", "no"),), {})
        fault.apply("one", self.root, self.other)
        self.assertEqual((self.root / "unit").read_text(), "Restart=always\n")
        fault.apply("two", self.root, self.other)
        self.assertEqual((self.root / "unit").read_text(), "Restart=no\n")


class TableTest(unittest.TestCase):
    def test_each_fault_names_a_claim_of_its_test(self) -> None:
        for fault in FAULTS:
            for test, seen in fault.expected.items():
                with self.subTest(fault=fault.name, test=test):
                    self.assertIn(f'"{seen.claim}"', driver.script_of(test))

    def test_each_test_detects_a_fault_and_failover_one_of_each_kind(self) -> None:
        for test in driver.SCRIPTS:
            self.assertTrue(any(test in fault.expected for fault in FAULTS), test)
        self.assertEqual(
            {fault.kind for fault in FAULTS if "failover" in fault.expected}, set(faults.KINDS)
        )

    def test_each_fault_changes_files_that_its_machines_have(self) -> None:
        for fault in FAULTS:
            for guest in (guest for guest in GUESTS if guest.name in fault.machines):
                for test in fault.expected:
                    contents = disk.Contents(
                        halab=Path("halab"),
                        units=ROOT / "deploy/systemd",
                        packaging=ROOT / "packaging/debian",
                        lab_toml="",
                        secrets=Path("secrets"),
                        variant=driver.variant_of(test),
                    )
                    files, links = (
                        disk.files_of(guest, contents, disk.addresses()),
                        disk.links_of(guest, contents),
                    )
                    for change in fault.changes:
                        with self.subTest(fault=fault.name, machine=guest.name, change=change):
                            if isinstance(change, Edit):
                                self.assertIn(change.old, files[change.path])
                            elif isinstance(change, Removal) and not change.path.startswith(
                                faults.SECRETS_FOLDER
                            ):
                                self.assertIn(change.path, {**files, **links})

    def test_names_are_unique_and_kinds_and_machines_are_known(self) -> None:
        self.assertEqual(len({fault.name for fault in FAULTS}), len(FAULTS))
        for fault in FAULTS:
            self.assertIn(fault.kind, faults.KINDS)
            self.assertLessEqual(set(fault.machines), {guest.name for guest in GUESTS})

    def test_an_unknown_fault_is_an_error(self) -> None:
        with self.assertRaisesRegex(LabError, "no fault 'firewal'.*"):
            faults.runs_of(["firewal"])

    def test_runs_are_selected_by_fault_and_test(self) -> None:
        fault = next(fault for fault in FAULTS if len(fault.expected) > 1)
        [test, *_] = fault.expected
        self.assertEqual([run.test for run in faults.runs_of([fault.name])], list(fault.expected))
        self.assertEqual([run.fault for run in faults.runs_of([fault.name], test)], [fault])
        self.assertEqual(
            {run.fault.name for run in faults.runs_of([])}, {fault.name for fault in FAULTS}
        )

    def test_an_empty_selection_is_an_error(self) -> None:
        with self.assertRaisesRegex(LabError, "monitoring is not expected to detect data-not-kept"):
            faults.runs_of(["data-not-kept"], "monitoring")
