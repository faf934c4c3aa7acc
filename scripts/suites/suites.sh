# shellcheck shell=bash
# `./lab suites`: the test suites of client libraries, directly and through the proxy
# (scripts/suites/suites.py). Sourced by ./lab.

REDIS_PY=$(sed -n 's/^redis==\([0-9.]*\).*/\1/p' "$LAB_ROOT/tools/suites-requirements.txt")
GO_REDIS=$(sed -n 's/^require github.com\/redis\/go-redis\/v9 //p' "$LAB_ROOT/examples/go/go.mod")

setup_redis_py() {
    local to=$LAB_TOOLS/suites/redis-$REDIS_PY
    pinned_python suites
    [ -d "$to" ] && return
    rm -rf "$to.part"
    mkdir -p "$to.part"
    # With its hashes: the lines of one package end where no backslash follows.
    sed -n '/^redis==/,/[^\\]$/p' "$LAB_ROOT/tools/suites-requirements.txt" >"$to.part/pinned"
    "$LAB_TOOLS/suites-venv/bin/python" -m pip download --quiet --no-deps --no-binary redis \
        --require-hashes --dest "$to.part" -r "$to.part/pinned" ||
        die "pip cannot fetch the source of redis-py" "see its messages above"
    tar -C "$to.part" -xzf "$to.part/redis-$REDIS_PY.tar.gz"
    mv "$to.part/redis-$REDIS_PY" "$to"
    rm -rf "$to.part"
}

# The tests use database 0, where the lab has its own keys, and empty it before each test.
setup_go_redis() {
    local to=$LAB_TOOLS/suites/go-redis-$GO_REDIS from
    go_builds_example || apt_install "Go" golang-go
    [ -x "$to/suite" ] && return
    from=$(cd "$LAB_ROOT/examples/go" && go mod download && go list -m -f '{{.Dir}}' \
        github.com/redis/go-redis/v9) || die "Go cannot fetch go-redis" "see its messages above"
    rm -rf "$to"
    mkdir -p "$LAB_TOOLS/suites"
    cp -r "$from" "$to"
    chmod -R u+w "$to"
    sed -i 's/^\([[:space:]]*DB:[[:space:]]*\)0,/\19,/' "$to/main_test.go"
    grep -q '^[[:space:]]*DB:[[:space:]]*9,' "$to/main_test.go" ||
        die "the tests of go-redis do not state their database as expected" "report it"
    (cd "$to" && go test -vet=off -c -o suite .) ||
        die "cannot build the tests of go-redis" "see Go's messages above"
}

cmd_suites() {
    local program=$LAB_ROOT/scripts/suites/suites.py
    case ${1-} in -h | --help) exec "$program" --help ;; esac
    # shellcheck source=scripts/examples.sh
    . "$LAB_ROOT/scripts/examples.sh"
    setup
    setup_redis_py
    setup_go_redis
    exec "$program" --tools "$LAB_TOOLS" "$@"
}
