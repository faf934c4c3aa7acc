# shellcheck shell=bash
# `./lab fuzz`: everything that reads bytes from outside, given bytes that nobody thought of. Sourced by ./lab.

# The targets, as src/fuzz.rs has them; their corpora, committed, run as ordinary tests.
FUZZ_TARGETS=(lab_toml ledger sentinel resp report)

fuzz_usage() {
    cat <<EOF
./lab fuzz [--for TIME] [TARGET...]

Runs each target for that long (60s, 10m; default: 1m): ${FUZZ_TARGETS[*]}.
With cargo-fuzz and a nightly toolchain it is libFuzzer, guided by coverage; without, the same functions get
random mutations of the corpora. Exits with 1 when one finds something, and says where the input is kept.
EOF
}

# seconds TIME
seconds() {
    case $1 in
    *[!0-9]*m | *[!0-9]*s | '' | [!0-9]*) die "fuzz: '$1' is no time" "say 60s, or 10m" ;;
    *m) printf '%d\n' $((${1%m} * 60)) ;;
    *s) printf '%d\n' "${1%s}" ;;
    *) die "fuzz: '$1' is no time" "say 60s, or 10m" ;;
    esac
}

cmd_fuzz() {
    local time=60 targets=() target
    while [ $# -gt 0 ]; do
        case $1 in
        --for)
            [ $# -ge 2 ] || die "fuzz: --for needs a time" "say 60s, or 10m"
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
            *) die "fuzz: no target '$1'" "there are: ${FUZZ_TARGETS[*]}" ;;
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
            # What it learns goes into the first folder; the second is the committed one.
            cargo +nightly fuzz run "$target" "$LAB_DIR/fuzz/$target" "fuzz/corpus/$target" -- \
                -max_total_time="$time" -max_len=16384 -timeout=20
        done
    else
        say "no cargo-fuzz with a nightly toolchain here: random mutations of the corpora instead"
        for target in "${targets[@]}"; do
            HALAB_FUZZ_FOR=$time HALAB_FUZZ_TARGET=$target \
                cargo test --release --locked --test fuzz -- --ignored --nocapture
        done
    fi
}
