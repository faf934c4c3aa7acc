"""The blocks of a page, and that the test of docs/hosts.md runs each of them."""

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
    def test_a_block_is_known_by_its_heading_and_loses_the_indentation_of_its_list(self) -> None:
        self.assertEqual(blocks(TEXT), [Block("A page", "one\n  two\n"), Block("Later", "three\n")])

    def test_a_block_without_an_end_is_no_block(self) -> None:
        with self.assertRaisesRegex(AssertionError, "no end"):
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
        page.ended()

    def test_a_block_that_nobody_has_run_is_noticed(self) -> None:
        page = Page(TEXT)
        page.next("A page")
        with self.assertRaisesRegex(AssertionError, "three"):
            page.ended()
        page.next("Later")
        with self.assertRaisesRegex(AssertionError, "none"):
            page.next("Later")


class HostsPageTest(unittest.TestCase):
    def test_the_story_takes_as_many_blocks_under_each_heading_as_there_are(self) -> None:
        """Seen without machines: a block that is added to the page has to be run by someone."""
        source = (ROOT / "machines/hosts.py").read_text()
        taken = re.findall(r'(?:yours|on_three|page\.next)\("([^"]+)"\)', source)
        self.assertEqual(
            Counter(taken), Counter(block.heading for block in blocks(hosts.PAGE.read_text()))
        )

    def test_addresses_that_the_story_asks_are_those_of_the_page(self) -> None:
        page = hosts.PAGE.read_text()
        for port, addresses in hosts.LISTENERS.items():
            self.assertIn(str(port), page)
            for address in addresses:
                self.assertIn(address, page)
