# shellcheck shell=bash
# `./lab bench` and `./lab bench proxy`. Sourced by ./lab.

cmd_bench() {
    local program=bench
    if [ "${1-}" = proxy ]; then
        program=proxy
        shift
    fi
    have python3 || apt_install "Python, for the benchmarks" python3
    case ${1-} in
    -h | --help) ;;
    *) setup ;;
    esac
    case $program:${1-} in
    bench:* | proxy:-h | proxy:--help) ;;
    *)
        (cd "$LAB_ROOT" && cargo build --release --locked --example load) ||
            die "cannot build the load of the benchmark" "see cargo's messages above"
        set -- --load "$CARGO_TARGET_DIR/release/examples/load" "$@"
        ;;
    esac
    exec "$LAB_ROOT/scripts/bench/$program.py" "$@"
}
