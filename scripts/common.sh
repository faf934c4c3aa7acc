# shellcheck shell=bash
# Functions that every part of ./lab uses. Sourced by ./lab.

say() { printf 'lab: %s\n' "$*"; }

# die PROBLEM REMEDY...
die() {
    printf 'lab: error: %s\n' "$1" >&2
    shift
    [ $# -eq 0 ] || printf 'lab: %s\n' "$*" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# at_least WANTED FOUND: true if version FOUND is WANTED or later.
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

need_halab() {
    [ -x "$CARGO_TARGET_DIR/release/halab" ] || die "halab is not built" "build it: ./lab setup"
}

# Prints the names of the nodes in the order of lab.toml. Fails if halab is not built or lab.toml is
# wrong.
lab_nodes() {
    need_halab
    halab check-config --print nodes
}

# Prints the Debian mirror of this machine, taken from the address of a package that always exists.
debian_mirror() {
    local mirror
    mirror=$(apt-get download --print-uris base-files 2>/dev/null | sed -n "s|^'\(.*\)/pool/.*|\1|p")
    [ -n "$mirror" ] || die "apt has no package lists" "run apt-get update as root, then try again"
    printf '%s\n' "$mirror"
}
