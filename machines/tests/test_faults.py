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
