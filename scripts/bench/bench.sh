# shellcheck shell=bash
# `./lab bench`, `./lab bench proxy` and `./lab bench web`. Sourced by ./lab.

cmd_bench() {
    local program=bench
    case ${1-} in
    proxy | web)
        program=$1
        shift
        ;;
    esac
    have python3 || apt_install "Python, for the benchmarks" python3
    case ${1-} in
    -h | --help) ;;
    *) setup ;;
    esac
    case $program:${1-} in
    bench:* | proxy:-h | proxy:--help | web:-h | web:--help) ;;
    web:*)
        if have node && have npm; then
            export LAB_BROWSER_TOOLS=$LAB_TOOLS/browser
            setup_browser_tools "$LAB_BROWSER_TOOLS"
        fi
        ;;
    *)
        (cd "$LAB_ROOT" && cargo build --release --locked --example load) ||
            die "cannot build the load of the benchmark" "see cargo's messages above"
        set -- --load "$CARGO_TARGET_DIR/release/examples/load" "$@"
        ;;
    esac
    exec "$LAB_ROOT/scripts/bench/$program.py" "$@"
}
