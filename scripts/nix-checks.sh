# shellcheck shell=bash
# Checks of the flake without nixpkgs: its files parse and have nothing unused; its own logic has
# the right results; the lock file fits; the scripts of the VM tests have the right types. Sourced
# by scripts/test.sh. `nix flake check` has the other checks.

DEADNIX=1.3.1

setup_nix_checks() {
    have mypy || apt_install "mypy, for the scripts of the VM tests" mypy
    have pyflakes3 || have pyflakes || apt_install "pyflakes, for the same" pyflakes3
    cargo_tool deadnix deadnix $DEADNIX
}

# Without a store: nothing is built or fetched.
nix_eval() { nix-instantiate --store dummy:// "$@"; }

check_nix_files() {
    local file
    while read -r file; do
        nix_eval --parse "$file" >/dev/null
    done < <(nix_files)
    nix_files | xargs deadnix --fail
    # `nix develop` and `nix flake check` have statix. It is not installed here: the crate of that
    # name is another program.
    ! have statix || statix check .
}

check_nix_logic() {
    local failed
    failed=$(nix_eval --eval --strict --json nix/lib/tests.nix)
    [ "$failed" = "[]" ] || die "claims about the flake that do not hold: $failed" \
        "see nix/lib/tests.nix"
}

# Both make the images from containers/images.toml; only the paths of programs differ.
check_nix_images() {
    nix_eval --eval --strict --json nix/lib/images-shipped.nix | python3 -c '
import json, os, sys
def comparable(config):
    config = {key: value for key, value in config.items() if key not in ("meta", "reference")}
    config["Entrypoint"][0] = os.path.basename(config["Entrypoint"][0])
    config["Healthcheck"]["Test"][1] = os.path.basename(config["Healthcheck"]["Test"][1])
    placed = ("PATH", "HALAB_REDIS_SERVER")
    config["Env"] = sorted(e.split("=")[0] if e.split("=")[0] in placed else e for e in config["Env"])
    return config
flake, ours = json.load(sys.stdin), json.load(open(sys.argv[1]))
if flake.keys() != ours.keys():
    sys.exit(f"images of the flake: {sorted(flake)}; of scripts/images.py: {sorted(ours)}")
different = [
    f"{name} {key}: {a.get(key)} in the flake, {b.get(key)} in scripts/images.py"
    for name in flake
    for a, b in [(comparable(flake[name]), comparable(ours[name]))]
    for key in sorted(a.keys() | b.keys())
    if a.get(key) != b.get(key)
]
sys.exit("\n".join(different) or 0)' <(scripts/images.py --configs)
}

# Checks each script as the test driver runs it: the driver's names, the machines, the lines before
# the script, and the script.
check_vm_scripts() {
    local scratch test pyflakes=pyflakes3 machines=(one two three engine)
    have pyflakes3 || pyflakes=pyflakes
    scratch=$(mktemp -d)
    # shellcheck disable=SC2064  # expanded now
    trap "rm -rf '$scratch'" EXIT
    # `machines` are those of nix/tests/driver/machines.nix and of tests with others.
    for test in nix/tests/*/test.py; do
        echo "$test"
        {
            # As scriptOf in machines.nix does.
            if grep -q scriptOf "${test%/*}/default.nix"; then
                python3 -B -c 'from machines import driver; print(driver.given_lines(), end="")'
                cat nix/tests/driver/lab.py
            fi
            cat "$test"
        } >"$scratch/script.py"
        {
            cat nix/tests/driver/prelude.py
            printf '%s: Machine\n' "${machines[@]}"
            cat "$scratch/script.py"
        } >"$scratch/typed.py"
        mypy --strict --cache-dir="$scratch/cache" "$scratch/typed.py"
        PYFLAKES_BUILTINS=$(printf '%s,' "${machines[@]}")start_all,subtest $pyflakes "$scratch/script.py"
    done
    # The code that runs the same scripts without Nix.
    MYPYPATH=nix/tests/driver mypy --strict --cache-dir="$scratch/cache" -p machines
    $pyflakes machines
    python3 -B -m unittest discover --top-level-directory . --start-directory machines/tests
    cd nix/tests/driver || exit
    mypy --strict --cache-dir="$scratch/cache" lab.py test_lab.py
    $pyflakes lab.py test_lab.py
    python3 -B -m unittest test_lab
}
