# shellcheck shell=bash
# `./lab mutants`: changes pure modules, one place at a time, and prints the changes that no test
# detects. Sourced by ./lab.

MUTANTS=27.1.0
MUTANT_MODULES=(protocol checker config)

mutants_usage() {
    cat <<END
./lab mutants [MODULE...] [--integration] [-- OPTION...]

Tests the tests of pure modules with cargo-mutants, and prints each change (mutant) that no unit
test detects. Modules: protocol (with node/machine), checker, config; default: all.
Each is compiled as a small crate with few dependencies: a mutant takes seconds, not minutes.
--integration runs its tests in tests/ too, which takes longer: the models, or the histories.
OPTION: of cargo-mutants, such as --list, or --re protocol/ack for the mutants in one file.
END
}

cmd_mutants() {
    local modules=() integration=no module crate missed=no
    while [ $# -gt 0 ]; do
        case $1 in
        -h | --help)
            mutants_usage
            return
            ;;
        --integration) integration=yes ;;
        --)
            shift
            break
            ;;
        *)
            case " ${MUTANT_MODULES[*]} " in
            *" $1 "*) modules+=("$1") ;;
            *) die "mutants: no module '$1'" "modules: ${MUTANT_MODULES[*]}" ;;
            esac
            ;;
        esac
        shift
    done
    [ ${#modules[@]} -gt 0 ] || modules=("${MUTANT_MODULES[@]}")
    mkdir -p "$LAB_TOOLS"
    setup_rust
    cargo_tool cargo-mutants cargo-mutants $MUTANTS
    export CARGO_TARGET_DIR=$LAB_DIR/mutants/target
    # A failed test must not change the crate: the next mutant would have other tests.
    export INSTA_UPDATE=no PROPTEST_DISABLE_FAILURE_PERSISTENCE=true
    for module in "${modules[@]}"; do
        crate=$LAB_DIR/mutants/$module
        mutants_crate "$module" || return
        (cd "$crate" && cargo mutants --in-place --no-shuffle "${mutated[@]}" "$@" \
            -- "${tests[@]}") || missed=yes
    done
    [ $missed = no ]
}

# mutants_crate MODULE: makes its crate; sets `mutated`, the files to change, and `tests`.
mutants_crate() {
    local paths lib crates integration_tests=() optimized=0 path
    tests=(--lib)
    case $1 in
    protocol)
        mutated=(--file 'src/protocol/**' --file 'src/node/machine{.rs,/**}')
        paths=(src/protocol src/node/machine.rs src/node/machine)
        lib='pub mod protocol; pub mod node { pub mod machine; }'
        crates='serde|serde_json|strum|thiserror|insta'
        integration_tests=(model members)
        [ "$integration" = no ] || crates+='|stateright'
        ;;
    checker)
        mutated=(--file 'src/checker/**')
        paths=(src/checker src/exit.rs src/ledger src/record.rs src/record docs/ledger.md)
        lib='pub mod checker; pub mod exit; pub mod ledger; pub mod record;'
        crates='chrono|crc|crc32fast|serde|serde_json|thiserror|proptest|tempfile'
        integration_tests=(histories)
        tests+=(checker::)
        ;;
    config)
        mutated=(--file 'src/config/**')
        paths=(src/config tests/generated lab.toml lab.schema.json docs/configuration.md)
        lib='pub mod config; #[cfg(test)] #[path = "../tests/generated/mod.rs"] mod generated;'
        crates='schemars|serde|serde_json|strsim|thiserror|toml|insta|proptest|tempfile'
        ;;
    esac
    if [ "$integration" = yes ]; then
        tests=(--lib)
        optimized=1 # the models take long
        for path in "${integration_tests[@]}"; do
            paths+=("tests/$path" "tests/$path.rs")
            tests+=(--test "$path")
        done
    fi
    rm -rf "$crate"
    for path in "${paths[@]}"; do
        mkdir -p "$crate/$(dirname "$path")"
        cp -r "$LAB_ROOT/$path" "$crate/$path"
    done
    cp "$LAB_ROOT/Cargo.lock" "$crate"
    printf '%s\n' "$lib" >"$crate/src/lib.rs"
    {
        printf '[workspace]\n[package]\nname = "redis-ha-lab"\nedition = "2024"\n'
        printf '[profile.dev]\ndebug = false\nopt-level = %s\n' $optimized
        printf '[profile.dev.package."*"]\nopt-level = 1\n'
        sed -nE "/^\[(dev-)?dependencies\]/p; /^($crates) = /p" "$LAB_ROOT/Cargo.toml"
    } >"$crate/Cargo.toml"
}
