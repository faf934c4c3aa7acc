# shellcheck shell=bash
# Checks of the flake that need no package of Nix: its files parse and have nothing unused; logic that
# needs no nixpkgs has the right results; the lock file fits; the scripts of the tests on virtual machines
# have the right types. Sourced by scripts/test.sh. The rest is for `nix flake check`.

DEADNIX=1.3.1

setup_nix_checks() {
    have mypy || apt_install "mypy, for the scripts of the VM tests" mypy
    have pyflakes3 || have pyflakes || apt_install "pyflakes, for the same" pyflakes3
    cargo_tool deadnix deadnix $DEADNIX
}

# No store: nothing is built or fetched here.
nix_eval() { nix-instantiate --store dummy:// "$@"; }

nix_files_are_right() {
    local file
    while read -r file; do
        nix_eval --parse "$file" >/dev/null
    done < <(nix_files)
    nix_files | xargs deadnix --fail
    # In `nix develop`, and in `nix flake check`. The crate of that name is another program, so it isn't installed here.
    ! have statix || statix check .
}

nix_logic_is_right() {
    local failed
    failed=$(nix_eval --eval --strict --json nix/lib/tests.nix)
    [ "$failed" = "[]" ] || die "claims about the flake that do not hold: $failed" "they stand in nix/lib/tests.nix"
}

# Both make it from lab.toml: halab for itself, the flake for a Prometheus that NixOS runs.
scraping_is_that_of_halab() {
    nix_eval --eval --strict --json nix/lib/scraping-shipped.nix | python3 -c '
import json, sys, yaml
flake = json.load(sys.stdin)
halab = yaml.safe_load(open("prometheus/prometheus.yml"))["scrape_configs"]
different = [job["job_name"] for job in halab if job not in flake] + [job["job_name"] for job in flake if job not in halab]
sys.exit(f"nix/lib/scraping.nix and prometheus/prometheus.yml differ in: {different}" if different else 0)'
}

# Both make them of containers/images.toml; where a program lies is for each to know.
images_are_those_of_the_flake() {
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

# Each script as the test driver sees it: what the driver gives, the machines, what the test puts before it, the script.
vm_scripts_are_right() {
    local scratch test pyflakes=pyflakes3 machines=(one two three engine)
    have pyflakes3 || pyflakes=pyflakes
    scratch=$(mktemp -d)
    # shellcheck disable=SC2064  # the folder of now
    trap "rm -rf '$scratch'" EXIT
    # Those of nix/tests/driver/machines.nix, and of the tests that have others.
    for test in nix/tests/*/test.py; do
        echo "$test"
        {
            # As scriptOf of machines.nix does.
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
    # What runs the same scripts without Nix.
    MYPYPATH=nix/tests/driver mypy --strict --cache-dir="$scratch/cache" -p machines
    $pyflakes machines
    python3 -B -m unittest discover --top-level-directory . --start-directory machines/tests
    cd nix/tests/driver || exit
    mypy --strict --cache-dir="$scratch/cache" lab.py test_lab.py
    $pyflakes lab.py test_lab.py
    python3 -B -m unittest test_lab
}
