#!/usr/bin/env python3
"""Generates deploy/systemd, the units for hosts without NixOS, from nix/lib/units.nix.

`--check` writes nothing. It reports files that differ from their source. If systemd-analyze is
installed, it also verifies every unit and limits its exposure (`systemd-analyze security`)."""

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
# The highest exposure allowed by `systemd-analyze security`, in tenths: 0 is best, 100 is worst. As
# in nix/checks/units.nix.
EXPOSURE = 20
# The name of the instance with which a template is checked.
INSTANCE = "node-1"


def rendered():
    """The text of each file, by name."""
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
    """A diff between the files and their source."""
    there = {path.name: path.read_text() for path in FOLDER.iterdir()} if FOLDER.is_dir() else {}
    for name in sorted(wanted.keys() | there.keys()):
        old, new = (texts.get(name, "").splitlines(keepends=True) for texts in (there, wanted))
        yield from difflib.unified_diff(
            old, new, f"deploy/systemd/{name}", f"{SOURCE}: {name}", n=0
        )


def systemd_problems(wanted):
    """The problems that systemd finds, one per line."""
    # A separate root, without this machine's units: it has the program and the units referred to.
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
        done = subprocess.run(verify, check=False, capture_output=True, text=True)
        yield from done.stderr.splitlines()
        if done.returncode != 0 and not done.stderr:
            yield f"systemd-analyze verify: exit code {done.returncode}"
        for name in instances:
            if not name.endswith(".service"):
                continue
            security = ["systemd-analyze", "security", "--offline=true", f"--root={root}", "--no-pager",
                        f"--threshold={EXPOSURE}", name]  # fmt: skip
            done = subprocess.run(security, check=False, capture_output=True, text=True)
            overall = [
                line for line in done.stdout.splitlines() if "Overall exposure level" in line
            ]
            print(f"{name}: {overall[0].split(': ')[1] if overall else done.stderr.strip()}")
            if done.returncode != 0:
                yield f"{name}: exposure above {EXPOSURE / 10:.1f} of 10, or not analyzed"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write the files (the default)")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if a file differs or is invalid"
    )
    args = parser.parse_args()
    wanted = rendered()
    if not args.check:
        write(wanted)
        return
    problems = list(differences(wanted))
    if problems:
        sys.stderr.writelines(problems)
        sys.exit("deploy/systemd differs from nix/lib/units.nix: run ./lab generate")
    if not shutil.which("systemd-analyze"):
        print("systemd-analyze is missing: the units are only compared with their source")
        return
    os.environ["SYSTEMD_COLORS"] = "0"
    problems = list(systemd_problems(wanted))
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
