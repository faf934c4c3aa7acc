# shellcheck shell=bash
# `./lab generate`: writes generated files and generated parts of documents. Sourced by ./lab and by
# scripts/test.sh.

# Each writes its files; with --check it fails if a file differs.
GENERATORS=(
    scripts/process_compose.py # process-compose.yaml
    scripts/compose.py         # compose.yaml
    scripts/units.py           # deploy/systemd
    scripts/kubernetes.py      # deploy/kubernetes
    scripts/dashboards.py      # grafana/dashboards
    scripts/commands.py        # the commands of ./lab in docs/commands.md
    scripts/bench/bench.py     # the tables of docs/performance.md
    scripts/bench/proxy.py     # the tables of docs/proxy-performance.md
    scripts/bench/web.py       # the table of docs/web.md
)

generate_usage() {
    cat <<EOF
./lab generate [--check]

Writes the files and the parts of documents that are generated from lab.toml, the source and the
committed reports: process-compose.yaml, compose.yaml, deploy/, grafana/dashboards,
prometheus/prometheus.yml, lab.schema.json, the tables of docs/ and README.md, and the snapshots of
--help. With --check, changes nothing and fails if a file differs. docs/nixos-options.md is left
out: only Nix with the nixpkgs of flake.lock can write it.
EOF
}

cmd_generate() {
    case ${*-} in
    '' | --check) ;;
    -h | --help)
        generate_usage
        return
        ;;
    *) die "generate: unknown option '$*'" "./lab generate --help" ;;
    esac
    cd "$LAB_ROOT" || exit
    setup_rust
    setup_generators
    generated_by_scripts "$@"
    generated_by_tests "$@"
    # Its evaluation would fetch all of nixpkgs. `nix flake check` compares it.
    say "left out: docs/nixos-options.md, which needs nixpkgs; after changes to nix/modules run:" \
        "nix eval --raw .#docs.optionsMarkdown >docs/nixos-options.md"
}

setup_generators() {
    have python3 || apt_install "Python, for generated files" python3
    python3 -c 'import yaml' 2>/dev/null || apt_install "PyYAML, for YAML files" python3-yaml
    # The program only: this package starts no daemon and creates no /nix.
    have nix-instantiate || apt_install "Nix, to read the flake" nix-bin
}

# generated_by_scripts [--check]: runs the generators.
generated_by_scripts() {
    local generator failed=0
    for generator in "${GENERATORS[@]}"; do
        "$generator" "${1---write}" || failed=1
    done
    return $failed
}

# generated_by_tests [--check]: the tests write or compare files that the program generates.
generated_by_tests() {
    local settings=(-u GENERATE INSTA_UPDATE=no)
    say "compiling the tests that write documents (takes minutes)"
    [ "${1-}" = --check ] || settings=(GENERATE=1 INSTA_UPDATE=always)
    env "${settings[@]}" cargo test --locked --quiet --lib --test drills --test cli -- generated_
}
