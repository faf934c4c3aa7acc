# shellcheck shell=bash
# `./lab release`: makes the files of a release, which .github/workflows/release.yml publishes.
# Sourced by ./lab.

RELEASE_TARGETS=(x86_64-unknown-linux-musl aarch64-unknown-linux-musl)
CYCLONEDX=0.5.9 # cargo-cyclonedx

release_usage() {
    cat <<EOF
./lab release [--output DIR] [--tag TAG]

Makes in DIR (default: ./release):
  redis-ha-lab-VERSION-TARGET.tar.gz  a static program, manual pages, completions, an example
                                      lab.toml, licences, notices of all linked crates; for each of:
                                      ${RELEASE_TARGETS[*]}
  redis-ha-lab_VERSION-1_ARCH.deb     the Debian package, for the architecture of this machine
  redis-ha-lab-VERSION.cdx.json       a bill of materials of the program (CycloneDX)
  SHA256SUMS                          checksums of all of them

With --tag, fails unless TAG is vVERSION, with the version of Cargo.toml, and CHANGELOG.md has a
section for it with a date, and nothing in its section Unreleased. Needs rustup. The cross compiler
comes from PyPI (cargo-zigbuild, pinned by hash).

Example: ./lab release --output /tmp/release && (cd /tmp/release && sha256sum --check SHA256SUMS)
EOF
}

cmd_release() {
    local output=release tag=
    while [ $# -gt 0 ]; do
        case $1 in
        --output | --tag)
            [ $# -ge 2 ] || die "release: $1 needs a value" "./lab release --help"
            if [ "$1" = --output ]; then output=$2; else tag=$2; fi
            shift
            ;;
        -h | --help)
            release_usage
            return
            ;;
        *) die "release: unknown option '$1'" "./lab release --help" ;;
        esac
        shift
    done
    # shellcheck source=scripts/package.sh
    . "$LAB_ROOT/scripts/package.sh"
    [ -z "$tag" ] || release_matches "$tag"
    mkdir -p "$output"
    output=$(realpath "$output")
    cd "$LAB_ROOT" || exit
    # SHA256SUMS lists all files there, so there may be none of an earlier version.
    [ -z "$(cd "$output" && release_files)" ] || die "$output has files of an earlier release" \
        "remove them, or choose another folder with --output"
    setup_release
    SOURCE_DATE_EPOCH=$(package_epoch)
    export SOURCE_DATE_EPOCH
    make_package "$output" 1
    local target
    for target in "${RELEASE_TARGETS[@]}"; do
        release_archive "$output" "$target"
    done
    release_bill "$output"
    (cd "$output" && release_files | xargs sha256sum >SHA256SUMS)
    say "made in $output:"
    (cd "$output" && ls -l SHA256SUMS && release_files | xargs ls -l)
}

release_version() { sed -n '/^version = /{s/.*"\(.*\)"/\1/;p;q}' "$LAB_ROOT/Cargo.toml"; }

release_files() { find . -maxdepth 1 -name 'redis-ha-lab[-_]*' -printf '%f\n' | LC_ALL=C sort; }

# release_matches TAG
release_matches() {
    local version
    version=$(release_version)
    [ "$1" = "v$version" ] || die "the tag is $1, but the version in Cargo.toml is $version" \
        "use the tag v$version, or change the version"
    grep -qE "^## \[${version//./\\.}\] - [0-9]{4}-[0-9]{2}-[0-9]{2}$" "$LAB_ROOT/CHANGELOG.md" ||
        die "CHANGELOG.md has no section [$version] with a date" \
            "add the date to its heading: ## [$version] - $(date -u +%F)"
    awk '/^## / { on = /Unreleased/ } on && /^- / { exit 1 }' "$LAB_ROOT/CHANGELOG.md" ||
        die "CHANGELOG.md has unreleased entries" "move them to the section [$version]"
}

setup_release() {
    mkdir -p "$LAB_TOOLS"
    setup_rust
    have rustup || die "rustup is missing" \
        "install Rust by rustup, which has the standard library of every target"
    rustup target add "${RELEASE_TARGETS[@]}"
    setup_package_tools
    pinned_python release
    cargo_tool cargo-cyclonedx cargo-cyclonedx $CYCLONEDX
    setup_halab
}

# release_archive FOLDER TARGET: the same sources and tools give the same bytes.
release_archive() {
    local target=$2 name scratch flags
    name=redis-ha-lab-$(release_version)-$target
    flags="--remap-path-prefix=$LAB_ROOT=. --remap-path-prefix=${CARGO_HOME:-${HOME-}/.cargo}=cargo"
    say "building for $target"
    PATH=$LAB_TOOLS/release-venv/bin:$PATH RUSTFLAGS="${RUSTFLAGS-} $flags" \
        cargo zigbuild --release --locked --target "$target"
    scratch=$(mktemp -d)
    install -D "$CARGO_TARGET_DIR/$target/release/halab" "$scratch/$name/halab"
    # Manual pages and completions do not depend on the architecture: this machine's program writes
    # them.
    halab man "$scratch/$name/man/man1"
    mkdir "$scratch/$name/completions"
    halab completions bash >"$scratch/$name/completions/halab.bash"
    halab completions zsh >"$scratch/$name/completions/_halab"
    halab completions fish >"$scratch/$name/completions/halab.fish"
    scripts/notices.py "$target" >"$scratch/$name/NOTICES"
    install -m 644 -t "$scratch/$name" lab.toml README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE
    tar -C "$scratch" --sort=name --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw \
        --mtime="@$SOURCE_DATE_EPOCH" -c "$name" |
        gzip -9n >"$1/$name.tar.gz"
    rm -rf "$scratch"
}

# release_bill FOLDER
release_bill() {
    local bill
    bill=redis-ha-lab-$(release_version).cdx
    cargo cyclonedx --quiet --format json --target "${RELEASE_TARGETS[0]}" --override-filename "$bill"
    mv "$LAB_ROOT/$bill.json" "$1/"
}
