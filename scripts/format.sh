# shellcheck shell=bash
# `./lab format`: formats every kind of file to 100 columns: code, comments and prose. Sourced by
# ./lab and by scripts/test.sh.

NIXFMT=0.5.3 # version of the crate nixfmt_rs, which has the format of nixpkgs' nixfmt

# rustfmt wraps comments only as an unstable feature, which RUSTC_BOOTSTRAP allows.
rust_format() {
    local manifest status=0
    for manifest in Cargo.toml examples/rust/Cargo.toml fuzz/Cargo.toml; do
        RUSTC_BOOTSTRAP=1 cargo fmt --all --manifest-path "$manifest" "$@" -- \
            --config wrap_comments=true,comment_width=100 || status=1
    done
    return $status
}

# Except files with parts that tests compare byte by byte or that Nix generates.
prose_files() {
    find README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md docs examples/README.md -name '*.md' \
        ! -name configuration.md ! -name drills.md ! -name ledger.md ! -name nixos-options.md \
        ! -name drill-report.md
}

python_files() { find scripts machines nix examples/python -name venv -prune -o -name '*.py' -print; }

nix_files() { find flake.nix nix -name '*.nix'; }

setup_format() {
    mkdir -p "$LAB_TOOLS"
    setup_rust
    pinned_python format
    cargo_tool nixfmt nixfmt_rs $NIXFMT
}

format_usage() {
    cat <<EOF
./lab format [--check]

Formats Rust, Nix, Python and Markdown files. Fails if a comment outside of Rust is wider than 100
columns. With --check, changes nothing and fails if a file is not formatted.
Installs mdformat and ruff from PyPI (pinned by hash) and nixfmt from crates.io in the tool folder.
EOF
}

cmd_format() {
    local check=()
    case ${1-} in
    '') ;;
    --check) check=(--check) ;;
    -h | --help)
        format_usage
        return
        ;;
    *) die "format: unknown option '$1'" "./lab format --help" ;;
    esac
    setup_format
    cd "$LAB_ROOT" || exit
    format_all "${check[@]}"
}

format_all() {
    local bin=$LAB_TOOLS/format-venv/bin status=0
    rust_format "$@" || status=1
    prose_files | xargs "$bin/mdformat" --wrap 100 --number --compact-tables "$@" || status=1
    python_files | xargs "$bin/ruff" format --quiet --no-cache --line-length 100 "$@" || status=1
    nix_files | xargs nixfmt "$@" || status=1
    scripts/comment-width.py || status=1
    return $status
}
