# shellcheck shell=bash
# `./lab fuzz`: fuzzes all parsers of external input. Sourced by ./lab.

# The targets of src/fuzz.rs. Ordinary tests run their committed corpora.
FUZZ_TARGETS=(lab_toml ledger sentinel resp report)

fuzz_usage() {
    cat <<EOF
./lab fuzz [--for TIME] [TARGET...]

Runs each target for TIME (60s, 10m; default: 1m): ${FUZZ_TARGETS[*]}.
With cargo-fuzz and a nightly toolchain it uses libFuzzer, guided by coverage; otherwise the same
functions get random mutations of the corpora. On a finding, exits with 1 and prints its path.
EOF
}

# seconds TIME: prints the time in seconds.
seconds() {
    case $1 in
    *[!0-9]*m | *[!0-9]*s | '' | [!0-9]*) die "fuzz: '$1' is no time" "use 60s or 10m" ;;
    *m) printf '%d\n' $((${1%m} * 60)) ;;
    *s) printf '%d\n' "${1%s}" ;;
    *) die "fuzz: '$1' is no time" "use 60s or 10m" ;;
    esac
}

cmd_fuzz() {
    local time=60 targets=() target
    while [ $# -gt 0 ]; do
        case $1 in
        --for)
            [ $# -ge 2 ] || die "fuzz: --for needs a time" "use 60s or 10m"
            time=$(seconds "$2")
            shift
            ;;
        -h | --help)
            fuzz_usage
            return
            ;;
        *)
            case " ${FUZZ_TARGETS[*]} " in
            *" $1 "*) targets+=("$1") ;;
            *) die "fuzz: no target '$1'" "targets: ${FUZZ_TARGETS[*]}" ;;
            esac
            ;;
        esac
        shift
    done
    [ ${#targets[@]} -gt 0 ] || targets=("${FUZZ_TARGETS[@]}")
    setup_rust
    cd "$LAB_ROOT" || return
    if cargo fuzz --version >/dev/null 2>&1 && cargo +nightly --version >/dev/null 2>&1; then
        mkdir -p "$LAB_DIR/fuzz"
        for target in "${targets[@]}"; do
            say "fuzzing $target by cargo-fuzz, $time s"
            mkdir -p "$LAB_DIR/fuzz/$target"
            # New inputs go into the first folder; the second is the committed corpus.
            cargo +nightly fuzz run "$target" "$LAB_DIR/fuzz/$target" "fuzz/corpus/$target" -- \
                -max_total_time="$time" -max_len=16384 -timeout=20
        done
    else
        say "no cargo-fuzz with a nightly toolchain: using random mutations of the corpora instead"
        for target in "${targets[@]}"; do
            HALAB_FUZZ_FOR=$time HALAB_FUZZ_TARGET=$target \
                cargo test --release --locked --test fuzz -- --ignored --nocapture
        done
    fi
}
