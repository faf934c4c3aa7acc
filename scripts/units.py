#!/usr/bin/env python3
"""The units of deploy/systemd, made from nix/lib/units.nix: what a host without NixOS installs in /usr/lib/systemd/system.

`--check` writes nothing: it says which file is not what would be written, and lets systemd judge the files where
`systemd-analyze` is on this machine: whether it understands every line, and how much of the system each unit is left with."""

import argparse
import difflib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "deploy/systemd"
SOURCE = "nix/lib/units-shipped.nix"
HEAD = "# Generated from nix/lib/units.nix by scripts/units.py: change it there.\n\n"
# What `systemd-analyze security` may say at most, in tenths: 0 is best, 100 is worst. As in nix/checks/units.nix.
EXPOSURE = 20
# An instance of a template is judged by this name.
INSTANCE = "node-1"


def rendered():
    """The text of each file, by its name."""
    nix = ["nix-instantiate", "--store", "dummy://", "--eval", "--strict", "--json", SOURCE]
    shown = subprocess.run(nix, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {name: HEAD + text.strip() + "\n" for name, text in json.loads(shown).items()}


def write(wanted):
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.iterdir():
        if old.name not in wanted:
            old.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text)
    print(f"{len(wanted)} units in {FOLDER.relative_to(ROOT)}")


def differences(wanted):
    """What the files say instead, as a diff."""
    there = {path.name: path.read_text() for path in FOLDER.iterdir()} if FOLDER.is_dir() else {}
    for name in sorted(wanted.keys() | there.keys()):
        old, new = (texts.get(name, "").splitlines(keepends=True) for texts in (there, wanted))
        yield from difflib.unified_diff(
            old, new, f"deploy/systemd/{name}", f"{SOURCE}: {name}", n=0
        )


def judged(wanted):
    """What systemd finds wrong, a line each."""
    # A root of its own, so that nothing of this machine's units is read: with the program, and what the units refer to.
    with tempfile.TemporaryDirectory() as root:
        units = Path(root) / "usr/lib/systemd/system"
        units.mkdir(parents=True)
        program = Path(root) / "usr/bin/halab"
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/true\n")
        program.chmod(0o755)
        for name in ("network-online", "multi-user", "sysinit", "basic", "shutdown"):
            (units / f"{name}.target").write_text(
                "[Unit]\nDescription=There\nDefaultDependencies=no\n"
            )
        (units / "system.slice").write_text("[Unit]\nDescription=There\nDefaultDependencies=no\n")
        for name, text in wanted.items():
            (units / name).write_text(text)
        instances = [name.replace("@.", f"@{INSTANCE}.") for name in wanted]
        verify = ["systemd-analyze", "verify", f"--root={root}", "--man=no", *instances]
        said = subprocess.run(verify, check=False, capture_output=True, text=True)
        yield from said.stderr.splitlines()
        if said.returncode != 0 and not said.stderr:
            yield f"systemd-analyze verify: exit code {said.returncode}"
        for name in instances:
            if not name.endswith(".service"):
                continue
            security = ["systemd-analyze", "security", "--offline=true", f"--root={root}", "--no-pager",
                        f"--threshold={EXPOSURE}", name]  # fmt: skip
            said = subprocess.run(security, check=False, capture_output=True, text=True)
            overall = [
                line for line in said.stdout.splitlines() if "Overall exposure level" in line
            ]
            print(f"{name}: {overall[0].split(': ')[1] if overall else said.stderr.strip()}")
            if said.returncode != 0:
                yield f"{name}: left with more than {EXPOSURE / 10:.1f} of 10, or not judged"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write the files (the default)")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail where the files are not right"
    )
    args = parser.parse_args()
    wanted = rendered()
    if not args.check:
        write(wanted)
        return
    problems = list(differences(wanted))
    if problems:
        sys.stderr.writelines(problems)
        sys.exit("deploy/systemd is not what nix/lib/units.nix says: ./lab generate writes it")
    if not shutil.which("systemd-analyze"):
        print("systemd-analyze is not on this machine: the units are held to their source alone")
        return
    os.environ["SYSTEMD_COLORS"] = "0"
    problems = list(judged(wanted))
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
