"""The lab on virtual machines of Debian's packages: what `./lab machines` runs. docs/machines.md is its page.

Python's standard library and QEMU, no root, no KVM needed. Each module says what it is for.
"""
