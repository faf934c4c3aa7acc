"""The configuration of guests: lab.toml, addresses, files."""

import re
import tomllib
import unittest
from pathlib import Path

from machines.disk import FIREWALL, FIREWALL_UNIT, addresses, addresses_of, firewall, network_unit
from machines.driver import hosts_line
from machines.guests import GUESTS, Variant, lab_toml
from machines.site import ROOT
from machines.units import enabled, files, template_of

SHIPPED = (ROOT / "lab.toml").read_text()


class LabTomlTest(unittest.TestCase):
    lab = tomllib.loads(lab_toml(SHIPPED, Variant(tls=True)))

    def test_every_address_is_in_the_network_of_the_machines(self) -> None:
        self.assertEqual(
            [node["address"] for node in self.lab["data_node"]], ["192.0.2.11", "192.0.2.12"]
        )
        self.assertNotIn("127.0.0.", lab_toml(SHIPPED, Variant()))

    def test_the_rest_is_as_shipped(self) -> None:
        shipped = tomllib.loads(SHIPPED)
        self.assertEqual(self.lab["lab"], shipped["lab"])
        self.assertEqual(self.lab["monitoring"].keys(), shipped["monitoring"].keys())
        self.assertNotIn("profiles", self.lab)

    def test_time_limits_are_those_for_emulated_processors(self) -> None:
        self.assertEqual(self.lab["timing"]["down_after_ms"], 10000)

    def test_tls_is_on_only_if_the_test_sets_it(self) -> None:
        self.assertTrue(self.lab["security"]["mutual_tls"])
        self.assertFalse(tomllib.loads(lab_toml(SHIPPED, Variant()))["security"]["tls"])


class PlacementTest(unittest.TestCase):
    def test_every_node_of_the_lab_is_on_one_machine(self) -> None:
        lab = tomllib.loads(SHIPPED)
        nodes = [node["name"] for node in lab["data_node"] + lab["sentinel"]]
        self.assertEqual(sorted(nodes), sorted(node for guest in GUESTS for node in guest.nodes))

    def test_a_machine_has_the_address_of_each_of_its_parts(self) -> None:
        self.assertEqual(
            addresses_of(GUESTS[2], addresses()),
            ["192.0.2.3", "192.0.2.23", "192.0.2.31", "192.0.2.41", "192.0.2.51"],
        )
        self.assertIn("Address=192.0.2.23/24\n", network_unit(["192.0.2.23"]))

    def test_addresses_are_those_of_the_lab(self) -> None:
        lab = tomllib.loads(lab_toml(SHIPPED, Variant()))
        expected = {node["name"]: node["address"] for node in lab["data_node"] + lab["sentinel"]}
        expected |= {
            "monitoring": lab["monitoring"]["address"],
            "writer": lab["monitoring"]["writer_address"],
            "proxy": lab["proxy"]["address"],
        }
        self.assertEqual(addresses(), expected)

    def test_the_firewall_of_hosts_names_the_addresses_of_these_machines(self) -> None:
        shipped = (ROOT / "packaging/debian/nftables.conf").read_text()
        rules = firewall(shipped, addresses())
        sets = {
            name: re.findall(r"[\d.]+\d", elements)
            for name, elements in re.findall(r"set (\w+) {[^}]*elements = {([^}]*)}", rules)
        }
        self.assertEqual(sets["lab"], list(addresses().values()))
        self.assertEqual(sets["clients"], [guest.address for guest in GUESTS])

    def test_the_unit_of_the_firewall_loads_the_file_of_the_page(self) -> None:
        unit = (ROOT / "packaging/debian" / FIREWALL_UNIT).read_text()
        self.assertIn(f"\nExecStart=/usr/sbin/nft -f {FIREWALL}\n", unit)
        self.assertIn(f"`{FIREWALL}`", (ROOT / "docs/hosts.md").read_text())

    def test_nixos_has_the_same_parts_on_the_same_machines(self) -> None:
        text = Path(ROOT / "nix/tests/driver/machines.nix").read_text()
        for guest in GUESTS:
            placed = text.split(f"{guest.name} = [")[1].split("]")[0]
            for node in guest.nodes:
                self.assertIn(f'"{node}"', placed)

    def test_a_script_finds_the_machine_of_a_node(self) -> None:
        machines = {"one": 1, "two": 2, "three": 3}
        reach: dict[str, object] = dict(machines)
        exec(hosts_line(), reach)
        hosts = reach["hosts"]
        assert isinstance(hosts, dict)
        self.assertEqual((hosts["redis-a"], hosts["sentinel-2"], hosts["writer"]), (1, 2, 3))


class UnitsTest(unittest.TestCase):
    shipped = files(ROOT / "deploy/systemd")

    def test_every_enabled_unit_is_shipped(self) -> None:
        for guest in GUESTS:
            for unit in enabled(guest, Variant(monitoring=True)):
                self.assertIn(template_of(unit), self.shipped)

    def test_the_first_machine_enables_its_data_node_and_its_sentinel(self) -> None:
        self.assertEqual(
            enabled(GUESTS[0], Variant()),
            ["halab-sentinel@sentinel-1.service", "halab-data-node@redis-a.service"],
        )

    def test_the_writer_differs_from_the_shipped_one_in_its_rate(self) -> None:
        self.assertIn("--continue", self.shipped["halab-writer.service.d/rate.conf"])
        self.assertIn(" --rate 200 ", self.shipped["halab-writer.service.d/rate.conf"])
