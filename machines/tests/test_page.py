"""Blocks of a docs page; the test of docs/hosts.md must run each of them."""

import re
import unittest
from collections import Counter

from machines import hosts
from machines.page import Block, Page, blocks
from machines.site import ROOT

TEXT = """# A page

1. First

   ```console
   one
     two
   ```

## Later

```sh
not this
```

```console
three
```
"""


class BlocksTest(unittest.TestCase):
    def test_a_block_has_its_heading_and_loses_the_indentation_of_its_list(self) -> None:
        self.assertEqual(blocks(TEXT), [Block("A page", "one\n  two\n"), Block("Later", "three\n")])

    def test_a_block_that_is_not_closed_is_an_error(self) -> None:
        with self.assertRaisesRegex(AssertionError, "not closed"):
            blocks("# A\n```console\none\n")

    def test_a_comment_in_a_block_is_no_heading(self) -> None:
        self.assertEqual(
            blocks("# A\n```console\n# one\n```\n```console\ntwo\n```\n")[1].heading, "A"
        )


class PageTest(unittest.TestCase):
    def test_blocks_are_taken_in_the_pages_order(self) -> None:
        page = Page(TEXT)
        with self.assertRaisesRegex(AssertionError, "Later"):
            page.next("Later")
        self.assertEqual([page.next("A page"), page.next("Later")], ["one\n  two\n", "three\n"])
        page.assert_finished()

    def test_a_block_that_was_not_run_is_an_error(self) -> None:
        page = Page(TEXT)
        page.next("A page")
        with self.assertRaisesRegex(AssertionError, "three"):
            page.assert_finished()
        page.next("Later")
        with self.assertRaisesRegex(AssertionError, "none"):
            page.next("Later")


class HostsPageTest(unittest.TestCase):
    def test_every_block_under_every_heading_is_run(self) -> None:
        """Fails without machines when a block is added to the page and not to the test."""
        source = (ROOT / "machines/hosts.py").read_text()
        taken = re.findall(r'(?:on_workstation|on_three|page\.next)\("([^"]+)"\)', source)
        self.assertEqual(
            Counter(taken), Counter(block.heading for block in blocks(hosts.PAGE.read_text()))
        )

    def test_addresses_and_ports_are_those_of_the_page(self) -> None:
        page = hosts.PAGE.read_text()
        for port, addresses in hosts.LISTENERS.items():
            self.assertIn(str(port), page)
            for address in addresses:
                self.assertIn(address, page)
