# shellcheck shell=bash
# `./lab examples`: builds the examples for applications in the tool folder, and runs them in a lab
# of their own while the primary is lost (scripts/examples/examples.py). Sourced by ./lab and by
# scripts/test.sh.

EXAMPLES=(python nodejs go java rust)

# example_obstacle LANGUAGE: prints what is missing that the build of the others does not install.
example_obstacle() {
    case $1 in
    nodejs) have node && have npm || echo "node or npm is not installed" ;;
    go) go_builds_example || echo "Go $(go_of_example) or later is not installed" ;;
    java) have javac && have mvn || echo "a JDK or mvn is not installed" ;;
    esac
}

go_of_example() { sed -n 's/^go //p' "$LAB_ROOT/examples/go/go.mod"; }

# Go since 1.21 fetches a later one that go.mod asks for, if it may.
go_builds_example() { have go && (cd "$LAB_ROOT/examples/go" && go version) >/dev/null 2>&1; }

# setup_example LANGUAGE: installs and builds what it needs.
setup_example() {
    local from=$LAB_ROOT/examples/$1 to=$LAB_TOOLS/examples/$1
    mkdir -p "$LAB_TOOLS/examples"
    case $1 in
    python)
        have python3 || apt_install "Python" python3
        pinned_venv "$to" "$from/requirements.txt"
        ;;
    nodejs)
        [ -z "$(example_obstacle nodejs)" ] || apt_install "Node.js" nodejs npm
        if ! cmp -s "$from/package-lock.json" "$to/installed"; then
            rm -rf "$to"
            mkdir "$to"
            cp "$from"/package*.json "$to"
            (cd "$to" && npm ci --ignore-scripts --no-audit --no-fund --silent) ||
                die "npm cannot install ioredis" "see its messages above"
            cp "$from/package-lock.json" "$to/installed"
        fi
        cp "$from/records.js" "$to"
        ;;
    go)
        go_builds_example || apt_install "Go" golang-go
        go_builds_example || die "$(example_obstacle go)" "install it, then try again"
        (cd "$from" && go build -mod=readonly -o "$to/records" .) ||
            die "cannot build the example in Go" "see Go's messages above"
        ;;
    java)
        [ -z "$(example_obstacle java)" ] || apt_install "a JDK and Maven" default-jdk-headless maven
        if ! cmp -s "$from/jars.sha256" "$to/installed"; then
            rm -rf "$to"
            mvn --batch-mode --quiet -f "$from/pom.xml" dependency:copy-dependencies \
                -DoutputDirectory="$to" -DincludeScope=runtime ||
                die "Maven cannot fetch Jedis" "see its messages above"
            (cd "$to" && sha256sum --check --quiet --strict "$from/jars.sha256" &&
                [ "$(find . -name '*.jar' | wc -l)" -eq "$(wc -l <"$from/jars.sha256")" ]) ||
                die "the jars are not those of examples/java/jars.sha256" "delete $to, try again"
            cp "$from/jars.sha256" "$to/installed"
        fi
        ;;
    rust)
        cargo build --quiet --locked --manifest-path "$from/Cargo.toml" --target-dir "$to" ||
            die "cannot build the example in Rust" "see cargo's messages above"
        ;;
    *) die "there is no example $1" "choose from: ${EXAMPLES[*]}" ;;
    esac
}

# setup_examples LANGUAGE...: Rust beside the others, which mostly wait for downloads.
setup_examples() {
    local language rust=
    for language; do
        if [ "$language" = rust ]; then
            setup_example rust &
            rust=$!
        fi
    done
    for language; do
        [ "$language" = rust ] || setup_example "$language"
    done
    [ -z "$rust" ] || wait "$rust"
}

cmd_examples() {
    local option languages=() skip=
    local program=$LAB_ROOT/scripts/examples/examples.py
    for option; do
        case $option in
        -h | --help) exec "$program" --help ;;
        --fault | --runs | --records | --pace-ms | --json)
            skip=yes
            continue
            ;;
        -*) ;;
        *) [ -n "$skip" ] || languages+=("$option") ;;
        esac
        skip=
    done
    [ ${#languages[@]} -gt 0 ] || languages=("${EXAMPLES[@]}")
    setup
    setup_examples "${languages[@]}"
    exec "$program" "$@"
}

# may_be_left_out LANGUAGE: whether ./lab test goes on without it.
may_be_left_out() {
    [ "${LAB_EXAMPLES-}" != required ] || return
    case $1 in python | rust) return 1 ;; esac
}

# For ./lab test: those whose language is on this machine, and whose packages can be had; Python and
# Rust always. With LAB_EXAMPLES=required, all, and what is missing is installed.
test_examples() {
    local language obstacle languages=()
    for language in "${EXAMPLES[@]}"; do
        if may_be_left_out "$language"; then
            obstacle=$(example_obstacle "$language")
            if [ -z "$obstacle" ] && ! (setup_example "$language"); then
                obstacle="its packages cannot be had here"
            fi
            if [ -n "$obstacle" ]; then
                say "left out: the example for $language: $obstacle"
                continue
            fi
        fi
        languages+=("$language")
    done
    setup_examples "${languages[@]}"
    scripts/examples/examples.py "${languages[@]}" --control --records 500
}
