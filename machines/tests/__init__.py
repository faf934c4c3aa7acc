"""Unit tests, without QEMU and without packages."""
