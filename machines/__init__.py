"""The lab on virtual machines made of Debian packages; `./lab machines` runs this package.

Documented in docs/machines.md. Needs Python's standard library and QEMU; needs neither root nor
KVM.
"""
