"""Unit tests: what needs no QEMU and no packages."""
