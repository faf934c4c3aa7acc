# shellcheck shell=bash
# Installs and builds what the lab needs, by the machine's own package manager. Each part looks first and
# does nothing when all is there; asks nothing; starts no system service. Sourced by ./lab.

RUST_MIN=1.89            # rust-version in Cargo.toml
RUST_VERSION=1.95.0      # what is installed where there is none, or an older one
REDIS_MIN=7.0            # the first with the Sentinel commands that halab relies on
PROCESS_COMPOSE_MIN=1.94 # the first that process-compose.yaml was checked against

setup() {
    mkdir -p "$LAB_TOOLS"
    setup_redis
    setup_rust
    setup_go_tools
    setup_monitoring
    setup_drills
    have nix && say "Nix is here: 'nix run' does the same, and installs nothing"
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
    as_root apt-get update -qq </dev/null >&2 || say "apt-get update failed; going on with the lists there are"
}

# apt_install WHY PACKAGE...
apt_install() {
    local why=$1
    shift
    have apt-get || die "$why is missing, and this machine has no apt-get" \
        "install it by hand (on Debian: $*), then run this again"
    may_install || die "$why is missing, and installing it needs root or sudo" "as root: apt-get install $*"
    say "installing $why: apt-get install $*"
    apt_update
    # Never in exchange for something the machine has.
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends --no-remove "$@" </dev/null >&2 ||
        die "apt-get could not install $*" "its messages are above; when it is installed, run this again"
    hash -r
}

# --- Redis --------------------------------------------------------------------------------------------

server_version() { "$1" --version 2>/dev/null | sed -n 's/.*v=\([0-9][0-9.]*\).*/\1/p'; }

# Whatever the server is and wherever it comes from, the lab finds it as `redis-server` in its tool folder, which
# is first on PATH.
setup_redis() {
    local server version
    for server in $(type -aP redis-server) $(type -aP valkey-server); do
        version=$(server_version "$server")
        if [ -n "$version" ] && at_least "$REDIS_MIN" "$version"; then
            [ "$server" = "$LAB_TOOLS/redis-server" ] || ln -sf "$server" "$LAB_TOOLS/redis-server"
            return
        fi
    done
    # Debian's package `redis-server` would start a service. The same program is in `redis-tools`, as
    # redis-check-rdb: it acts by the name it is called by.
    have redis-check-rdb || apt_install "a Redis server" redis-tools
    ln -sf "$(type -P redis-check-rdb)" "$LAB_TOOLS/redis-server"
    version=$(server_version "$LAB_TOOLS/redis-server")
    at_least "$REDIS_MIN" "${version:-0}" ||
        die "the Redis server here is version ${version:-unknown}, the lab needs $REDIS_MIN or later" \
            "install a newer redis-server or valkey-server and put it on PATH, then run this again"
}

# --- Drills -------------------------------------------------------------------------------------------

has_libfaketime() {
    compgen -G '/usr/lib*/faketime/libfaketimeMT.so.1' >/dev/null || compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null
}

# What cuts and slows links in a network namespace, and what steps clocks. Without it those drills are inconclusive, so nothing here is fatal.
setup_drills() {
    have nft && have tc && have unshare && have strace && has_libfaketime && return
    if ! have apt-get || ! may_install; then
        say "nft, tc, unshare, strace or libfaketime is not here: drills that cut links, slow disks or step clocks will be inconclusive"
        return
    fi
    (apt_install "nft, tc, strace and libfaketime, for drills that cut links, slow disks and step clocks" nftables iproute2 util-linux strace libfaketime) ||
        say "drills that cut links, slow disks or step clocks will be inconclusive"
    hash -r
}

# --- Rust ---------------------------------------------------------------------------------------------

rust_is_new_enough() {
    have cargo && at_least "$RUST_MIN" "$(cargo --version 2>/dev/null | sed -n 's/^cargo \([0-9.]*\).*/\1/p')"
}

# Rust's installer, by version and hash; it checks what it fetches against the hashes of that release.
RUSTUP_VERSION=1.28.2
RUSTUP_URL=https://static.rust-lang.org/rustup/archive/$RUSTUP_VERSION
# shellcheck disable=SC2034  # both by name, of the machine at hand
RUSTUP_SHA256_x86_64=20a06e644b0d9bd2fbdbfd52d42540bdde820ea7df86e92e533c073da0cdd43c
# shellcheck disable=SC2034
RUSTUP_SHA256_aarch64=e3853c5a252fca15252d07cb23a1bdd9377a8c6f3efa01531109281ae47f841c

install_rustup() {
    local machine by_hand expected installer
    machine=$(uname -m)
    by_hand="install Rust $RUST_MIN or later by hand, then run this again"
    expected=RUSTUP_SHA256_$machine
    [ -n "${!expected-}" ] || die "no installer of Rust is pinned for $machine" "$by_hand"
    have curl || apt_install "curl, to fetch Rust's installer" curl ca-certificates
    say "installing Rust into ~/.cargo and ~/.rustup with its own installer, rustup $RUSTUP_VERSION"
    installer=$LAB_TOOLS/rustup-init
    curl --proto '=https' --tlsv1.2 -sSf -o "$installer" "$RUSTUP_URL/$machine-unknown-linux-gnu/rustup-init" ||
        die "Rust's installer could not be fetched" "$by_hand"
    printf '%s  %s\n' "${!expected}" "$installer" | sha256sum --check --quiet ||
        die "Rust's installer is not the one that is pinned" "$by_hand"
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
        # Debian's cargo is too old up to trixie; its rustup (trixie and later) installs the current one, but
        # not beside a cargo from Debian.
        ! have apt-get || have cargo || apt_update
        if ! have cargo && have apt-cache && [ -n "$(apt-cache madison rustup 2>/dev/null)" ]; then
            apt_install "rustup, Rust's installer" rustup
        else
            install_rustup
        fi
    fi
    say "installing Rust $RUST_VERSION with rustup"
    rustup toolchain install "$RUST_VERSION" --profile minimal --no-self-update ||
        die "rustup could not install Rust $RUST_VERSION" "install Rust $RUST_MIN or later, then run this again"
    # Only for this run: which toolchain is the user's default is not the lab's business.
    export RUSTUP_TOOLCHAIN=$RUST_VERSION
    rust_is_new_enough || die "cargo is still older than $RUST_MIN" \
        "a cargo that is not rustup's comes first on PATH ($(type -P cargo)); update or remove it"
}

setup_halab() {
    [ -x "$CARGO_TARGET_DIR/release/halab" ] || say "building halab (a few minutes the first time)"
    # Run in the project's folder: its Cargo configuration counts, not that of the current one.
    (cd "$LAB_ROOT" && cargo build --release --locked) ||
        die "halab could not be built" "cargo's messages are above"
}

# --- process-compose ----------------------------------------------------------------------------------

# Prints its path: the one from set-up if it was built from the versions pinned now, else the system's.
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

# Likewise. One that is on PATH from elsewhere is taken as it is.
find_redis_exporter() {
    local path
    path=$(type -P redis_exporter) || return 1
    [ "$path" != "$LAB_TOOLS/redis_exporter" ] || cmp -s "$LAB_ROOT/tools/go.sum" "$path.sum" || return 1
    printf '%s\n' "$path"
}

# Without them the lab runs all the same, by `halab up`: so nothing here is fatal.
setup_go_tools() {
    local modules=() module
    find_process_compose >/dev/null || modules+=(github.com/f1bonacc1/process-compose)
    find_redis_exporter >/dev/null || modules+=(github.com/oliver006/redis_exporter)
    [ ${#modules[@]} -gt 0 ] || return 0
    # Asked in tools/, Go answers with the version that go.mod there wants, or fails if it can't be had.
    if ! have go || ! (cd "$LAB_ROOT/tools" && go version) >/dev/null 2>&1; then
        find_process_compose >/dev/null ||
            say "process-compose is not here, nor a Go that builds it (1.26 or later): the lab will run by 'halab up'"
        return
    fi
    say "building ${modules[*]##*/} (about a minute) into $LAB_TOOLS"
    if (cd "$LAB_ROOT/tools" && GOBIN=$LAB_TOOLS go install -mod=readonly "${modules[@]}") >"$LAB_TOOLS/build.log" 2>&1; then
        for module in "${modules[@]##*/}"; do
            cp "$LAB_ROOT/tools/go.sum" "$LAB_TOOLS/$module.sum"
        done
    else
        tail -n 5 "$LAB_TOOLS/build.log" >&2
        say "${modules[*]##*/} could not be built; the lab runs all the same"
    fi
    hash -r
}
