# shellcheck shell=bash
# Tools with pinned versions from the registries of crates and Python packages. Sourced by ./lab.

# cargo_tool PROGRAM CRATE VERSION: installs a program in the tool folder unless it is on PATH.
cargo_tool() {
    have "$1" && return
    say "building $1, a tool for checks"
    # Without optimizations: builds faster and runs fast enough.
    env -u CARGO_TARGET_DIR cargo install --quiet --debug --locked --version "$3" \
        --root "$LAB_TOOLS/$1.cargo" "$2" || die "cannot build $1" "see cargo's messages above"
    ln -sf "$LAB_TOOLS/$1.cargo/bin/$1" "$LAB_TOOLS/$1"
}

# pinned_python NAME [OPTION...]: makes a venv in the tool folder with exactly the packages of
# tools/NAME-requirements.txt.
pinned_python() {
    local name=$1
    shift
    pinned_venv "$LAB_TOOLS/$name-venv" "tools/$name-requirements.txt" "$@"
}

# pinned_venv FOLDER FILE [OPTION...]: makes a venv with exactly the packages of a file.
pinned_venv() {
    local venv=$1 pinned=$2
    shift 2
    if ! cmp -s "$pinned" "$venv/installed"; then
        python3 -c 'import ensurepip' 2>/dev/null ||
            apt_install "Python virtual environments" python3-venv
        rm -rf "$venv"
        python3 -m venv --system-site-packages "$venv"
        "$venv/bin/python" -m pip install --quiet --require-hashes -r "$pinned" "$@"
        cp "$pinned" "$venv/installed"
    fi
}

# setup_browser_tools FOLDER: the scripts of tests/browser, with what they need, in that folder.
setup_browser_tools() {
    rm -rf "$1"
    mkdir -p "$1"
    cp "$LAB_ROOT"/tests/browser/* "$1"
    (cd "$1" && npm ci --ignore-scripts --no-audit --no-fund --silent) ||
        die "npm cannot install playwright-core" "see its messages above"
}
