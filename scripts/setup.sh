# shellcheck shell=bash
# Installs the lab's dependencies by the machine's package manager and builds halab. Each part does
# nothing if its program exists; asks no questions; starts no system service. Sourced by ./lab.

RUST_MIN=1.89            # rust-version in Cargo.toml
RUST_VERSION=1.95.0      # installed if there is none, or an older one
REDIS_MIN=7.0            # the first with the Sentinel commands that halab uses
PROCESS_COMPOSE_MIN=1.94 # the first that was tested with process-compose.yaml

setup() {
    mkdir -p "$LAB_TOOLS"
    setup_redis
    setup_rust
    setup_go_tools
    setup_monitoring
    setup_drills
    setup_halab
    need_halab
}

apt_updated=

may_install() { [ "$(id -u)" -eq 0 ] || have sudo; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

apt_update() {
    [ -z "$apt_updated" ] && may_install || return 0
    apt_updated=yes
    as_root apt-get update -qq </dev/null >&2 ||
        say "apt-get update failed; continuing with the present package lists"
}

# apt_install WHY PACKAGE...
apt_install() {
    local why=$1
    shift
    have apt-get || die "$why is missing, and this machine has no apt-get" \
        "install it (packages on Debian: $*), then try again"
    may_install || die "$why is missing, and installing it needs root or sudo" \
        "run as root: apt-get install $*"
    say "installing $why: apt-get install $*"
    apt_update
    # Never remove a package of the machine.
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends --no-remove "$@" </dev/null >&2 ||
        die "apt-get could not install $*" "see its messages above; install it, then try again"
    hash -r
}

# --- Redis ----------------------------------------------------------------------------------------

server_version() { "$1" --version 2>/dev/null | sed -n 's/.*v=\([0-9][0-9.]*\).*/\1/p'; }

# The lab finds the server, Redis or Valkey, as `redis-server` in its tool folder, which is first on
# PATH.
setup_redis() {
    local server version
    for server in $(type -aP redis-server) $(type -aP valkey-server); do
        version=$(server_version "$server")
        if [ -n "$version" ] && at_least "$REDIS_MIN" "$version"; then
            [ "$server" = "$LAB_TOOLS/redis-server" ] || ln -sf "$server" "$LAB_TOOLS/redis-server"
            return
        fi
    done
    # Debian's package `redis-server` would start a service. `redis-tools` has the same program as
    # redis-check-rdb; it is the server if called by that name.
    have redis-check-rdb || apt_install "a Redis server" redis-tools
    ln -sf "$(type -P redis-check-rdb)" "$LAB_TOOLS/redis-server"
    version=$(server_version "$LAB_TOOLS/redis-server")
    at_least "$REDIS_MIN" "${version:-0}" ||
        die "the Redis server here is version ${version:-unknown}, the lab needs $REDIS_MIN or later" \
            "put a newer redis-server or valkey-server on PATH, then try again"
}

# --- Drills ---------------------------------------------------------------------------------------

has_libfaketime() {
    compgen -G '/usr/lib*/faketime/libfaketimeMT.so.1' >/dev/null ||
        compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null
}

# The programs that drills run (src/drill), which may be missing on a Debian machine.
DRILL_PROGRAMS=(nft iptables ip tc unshare strace)

has_drill_programs() {
    local program
    for program in "${DRILL_PROGRAMS[@]}"; do
        have "$program" || return
    done
    has_libfaketime
}

# Tools that cut and slow links in a network namespace, slow disks, and step clocks. Without them
# those drills are inconclusive, so no error here is fatal.
setup_drills() {
    local consequence="drills that cut links, slow disks or step clocks will be inconclusive"
    has_drill_programs && return
    if ! have apt-get || ! may_install; then
        say "one of ${DRILL_PROGRAMS[*]} or libfaketime is missing: $consequence"
        return
    fi
    (apt_install "programs for drills that cut links, slow disks and step clocks" \
        nftables iptables iproute2 util-linux strace libfaketime) || say "$consequence"
    hash -r
}

# --- Rust -----------------------------------------------------------------------------------------

rust_is_new_enough() {
    have cargo && at_least "$RUST_MIN" "$(cargo --version 2>/dev/null | sed -n 's/^cargo \([0-9.]*\).*/\1/p')"
}

# Rust's installer, by version and hash. It checks its downloads against the hashes of the release.
RUSTUP_VERSION=1.28.2
RUSTUP_URL=https://static.rust-lang.org/rustup/archive/$RUSTUP_VERSION
# shellcheck disable=SC2034  # read by name, for this machine's architecture
RUSTUP_SHA256_x86_64=20a06e644b0d9bd2fbdbfd52d42540bdde820ea7df86e92e533c073da0cdd43c
# shellcheck disable=SC2034
RUSTUP_SHA256_aarch64=e3853c5a252fca15252d07cb23a1bdd9377a8c6f3efa01531109281ae47f841c

install_rustup() {
    local machine by_hand expected installer
    machine=$(uname -m)
    by_hand="install Rust $RUST_MIN or later, then try again"
    expected=RUSTUP_SHA256_$machine
    [ -n "${!expected-}" ] || die "no Rust installer is pinned for $machine" "$by_hand"
    have curl || apt_install "curl, to fetch Rust's installer" curl ca-certificates
    say "installing Rust into ~/.cargo and ~/.rustup with its own installer, rustup $RUSTUP_VERSION"
    installer=$LAB_TOOLS/rustup-init
    curl --proto '=https' --tlsv1.2 -sSf -o "$installer" \
        "$RUSTUP_URL/$machine-unknown-linux-gnu/rustup-init" ||
        die "cannot fetch Rust's installer" "$by_hand"
    printf '%s  %s\n' "${!expected}" "$installer" | sha256sum --check --quiet ||
        die "the hash of Rust's installer differs from the pinned one" "$by_hand"
    chmod +x "$installer"
    "$installer" -y -q --no-modify-path --profile minimal --default-toolchain none ||
        die "Rust's installer failed" "$by_hand"
    rm -f "$installer"
    hash -r
}

setup_rust() {
    have cc || apt_install "a C compiler, for linking" gcc libc6-dev
    rust_is_new_enough && return
    if ! have rustup; then
        # Debian's cargo is too old up to trixie. Its rustup (trixie and later) installs the current
        # Rust, but not beside Debian's cargo.
        ! have apt-get || have cargo || apt_update
        if ! have cargo && have apt-cache && [ -n "$(apt-cache madison rustup 2>/dev/null)" ]; then
            apt_install "rustup, Rust's installer" rustup
        else
            install_rustup
        fi
    fi
    say "installing Rust $RUST_VERSION with rustup"
    rustup toolchain install "$RUST_VERSION" --profile minimal --no-self-update ||
        die "rustup could not install Rust $RUST_VERSION" \
            "install Rust $RUST_MIN or later, then try again"
    # For this run only: the user's default toolchain stays.
    export RUSTUP_TOOLCHAIN=$RUST_VERSION
    rust_is_new_enough || die "cargo is still older than $RUST_MIN" \
        "another cargo comes first on PATH ($(type -P cargo)); update or remove it"
}

# Whether halab is built, and no source is newer.
halab_is_current() {
    local program=$CARGO_TARGET_DIR/release/halab
    [ -x "$program" ] || return 1
    [ -z "$(cd "$LAB_ROOT" && find src Cargo.toml Cargo.lock -newer "$program" -print -quit)" ]
}

setup_halab() {
    halab_is_current || say "building halab (takes minutes)"
    # Run in the project's folder, so that its Cargo configuration applies.
    (cd "$LAB_ROOT" && cargo build --release --locked) ||
        die "cannot build halab" "see cargo's messages above"
}

# --- process-compose ------------------------------------------------------------------------------

# Prints the path of process-compose: that of the tool folder if it was built from the versions
# pinned now, else another one on PATH.
find_process_compose() {
    local path version
    path=$(type -P process-compose) || return 1
    if [ "$path" = "$LAB_TOOLS/process-compose" ]; then
        cmp -s "$LAB_ROOT/tools/go.sum" "$path.sum" || return 1
    else
        version=$("$path" version --short 2>/dev/null | tr -d v)
        at_least "$PROCESS_COMPOSE_MIN" "$version" || return 1
    fi
    printf '%s\n' "$path"
}

# The same for redis_exporter; another one on PATH is used whatever its version.
find_redis_exporter() {
    local path
    path=$(type -P redis_exporter) || return 1
    [ "$path" != "$LAB_TOOLS/redis_exporter" ] ||
        cmp -s "$LAB_ROOT/tools/go.sum" "$path.sum" || return 1
    printf '%s\n' "$path"
}

# The lab also runs without these tools, by `halab up`, so no error here is fatal.
setup_go_tools() {
    local modules=() module
    find_process_compose >/dev/null || modules+=(github.com/f1bonacc1/process-compose)
    find_redis_exporter >/dev/null || modules+=(github.com/oliver006/redis_exporter)
    [ ${#modules[@]} -gt 0 ] || return 0
    # In tools/, Go uses the version required by go.mod, or fails if it cannot get it.
    if ! have go || ! (cd "$LAB_ROOT/tools" && go version) >/dev/null 2>&1; then
        find_process_compose >/dev/null ||
            say "process-compose and Go 1.26, which builds it, are missing: 'halab up' will run the lab"
        return
    fi
    say "building ${modules[*]##*/} (about a minute) into $LAB_TOOLS"
    if (cd "$LAB_ROOT/tools" && GOBIN=$LAB_TOOLS go install -mod=readonly "${modules[@]}") \
        >"$LAB_TOOLS/build.log" 2>&1; then
        for module in "${modules[@]##*/}"; do
            cp "$LAB_ROOT/tools/go.sum" "$LAB_TOOLS/$module.sum"
        done
    else
        tail -n 5 "$LAB_TOOLS/build.log" >&2
        say "cannot build ${modules[*]##*/}; the lab runs without"
    fi
    hash -r
}
