# shellcheck shell=bash
# What every part of ./lab says and asks. Sourced by ./lab.

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
    [ -x "$CARGO_TARGET_DIR/release/halab" ] || die "halab is not built yet" "build it: ./lab setup"
}

# The names of the nodes as lab.toml states them, in its order. It fails where halab is not built yet, or lab.toml is wrong.
lab_nodes() {
    need_halab
    halab check-config --print nodes
}

# The mirror that the machine has its packages from, by the way of one that is always there.
debian_mirror() {
    local mirror
    mirror=$(apt-get download --print-uris base-files 2>/dev/null | sed -n "s|^'\(.*\)/pool/.*|\1|p")
    [ -n "$mirror" ] || die "apt has no lists of packages" "as root: apt-get update; then this again"
    printf '%s\n' "$mirror"
}
