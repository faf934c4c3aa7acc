# shellcheck shell=bash
# `./lab package`: makes a Debian package of the program, the units of deploy/systemd and their
# files by dpkg-deb. Handwritten parts are in packaging/debian. Sourced by ./lab package and by
# scripts/test.sh.
#
# The package needs no sysusers and no tmpfiles: systemd creates the users of running units
# (DynamicUser) and their folders (StateDirectory, RuntimeDirectory).

package_usage() {
    cat <<EOF
./lab package [--output DIR] [--revision N]

Makes redis-ha-lab_VERSION-N_ARCHITECTURE.deb in DIR (default: the current folder) from the release
binary, which is built first if needed. N is the Debian revision (default: 1). The environment
variables DEBFULLNAME and DEBEMAIL name the maintainer.
EOF
}

cmd_package() {
    local output=. revision=1
    while [ $# -gt 0 ]; do
        case $1 in
        --output | --revision)
            [ $# -ge 2 ] || die "package: $1 needs a value" "./lab package --help"
            if [ "$1" = --output ]; then output=$2; else revision=$2; fi
            shift
            ;;
        -h | --help)
            package_usage
            return
            ;;
        *) die "package: unknown option '$1'" "./lab package --help" ;;
        esac
        shift
    done
    [[ $revision =~ ^[0-9]+$ ]] || die "package: '$revision' is no revision" "use a number, such as 1"
    setup_package_tools
    mkdir -p "$LAB_TOOLS" "$output"
    setup_rust
    setup_halab
    make_package "$(realpath "$output")" "$revision"
}

setup_package_tools() {
    have dpkg-deb || die "dpkg-deb is missing" "make the package on Debian or a derivative"
    # They list the program's libraries, strip it, and collect notices.
    { have dpkg-shlibdeps && have strip && have python3; } ||
        apt_install "tools to make the package" dpkg-dev binutils python3
}

# As Debian orders versions: 0.2.0-rc.1 comes before 0.2.0.
package_version() {
    sed -n '/^version = /{s/.*"\(.*\)"/\1/;s/-/~/;p;q}' "$LAB_ROOT/Cargo.toml"
}

# The time of the last commit; without git, as in an archive, that of Cargo.toml.
package_epoch() { git -C "$LAB_ROOT" log -1 --format=%ct 2>/dev/null || stat -c %Y "$LAB_ROOT/Cargo.toml"; }

# make_package FOLDER REVISION: prints the file. The same sources and program give the same bytes.
make_package() {
    local version arch scratch file
    local -x SOURCE_DATE_EPOCH
    SOURCE_DATE_EPOCH=$(package_epoch)
    version=$(package_version)-$2
    arch=$(dpkg --print-architecture)
    file=$1/redis-ha-lab_${version}_$arch.deb
    scratch=$(mktemp -d)
    # A subshell with its own -e, which bash ignores in a condition, and a umask independent of the
    # caller's.
    set +e
    (
        set -e
        umask 022
        package_files "$scratch/root" "$version"
        package_control "$scratch" "$version" "$arch"
        dpkg-deb --root-owner-group -Zxz --build "$scratch/root" "$file" >/dev/null
    )
    local status=$?
    set -e
    rm -rf "$scratch"
    [ $status -eq 0 ] || die "cannot make the package" "see the messages above"
    printf '%s\n' "$file"
}

package_maintainer() {
    printf '%s <%s>\n' "${DEBFULLNAME:-The redis-ha-lab authors}" "${DEBEMAIL:-redis-ha-lab@packages.invalid}"
}

# package_files ROOT VERSION: writes all files that the package installs.
package_files() {
    local root=$1 packaging=$LAB_ROOT/packaging/debian halab=$CARGO_TARGET_DIR/release/halab
    local doc=$root/usr/share/doc/redis-ha-lab
    install -D "$halab" "$root/usr/bin/halab"
    strip --strip-unneeded --remove-section=.comment --remove-section=.note "$root/usr/bin/halab"

    install -D -m 644 -t "$root/usr/lib/systemd/system" "$LAB_ROOT"/deploy/systemd/* \
        "$packaging/redis-ha-lab-firewall.service"
    install -D -m 644 -t "$root/usr/share/redis-ha-lab" "$LAB_ROOT/lab.schema.json"
    install -D -m 644 "$packaging/sysctl.conf" "$root/usr/lib/sysctl.d/30-redis-ha-lab.conf"
    install -D -m 644 "$packaging/lintian-overrides" "$root/usr/share/lintian/overrides/redis-ha-lab"
    # For lab.toml and the secrets of the host.
    install -d "$root/etc/redis-ha-lab"

    "$halab" man "$root/usr/share/man/man1"
    gzip -9n "$root"/usr/share/man/man1/*
    install -d "$root"/usr/share/{bash-completion/completions,zsh/vendor-completions,fish/vendor_completions.d}
    "$halab" completions bash >"$root/usr/share/bash-completion/completions/halab"
    "$halab" completions zsh >"$root/usr/share/zsh/vendor-completions/_halab"
    "$halab" completions fish >"$root/usr/share/fish/vendor_completions.d/halab.fish"

    install -D -m 644 -t "$doc" "$packaging/copyright" "$packaging/README.Debian"
    install -D -m 644 -t "$doc/examples" "$packaging"/{lab.toml,nftables.conf,profile.sh}
    gzip -9nc "$LAB_ROOT/CHANGELOG.md" >"$doc/changelog.gz"
    "$LAB_ROOT/scripts/notices.py" | gzip -9n >"$doc/NOTICES.gz"
    package_changelog "$2" | gzip -9n >"$doc/changelog.Debian.gz"
}

package_changelog() {
    cat <<EOF
redis-ha-lab ($1) unstable; urgency=medium

  * Made from the source of this version by ./lab package; its changes are in
    changelog.gz.

 -- $(package_maintainer)  $(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")
EOF
}

# package_control SCRATCH VERSION ARCHITECTURE: writes the control files for the files in
# SCRATCH/root.
package_control() {
    local root=$1/root packaging=$LAB_ROOT/packaging/debian sums libraries size
    sums=$(cd "$root" && find . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 md5sum)
    size=$(du -sk --apparent-size "$root" | cut -f 1)
    install -D -m 755 -t "$root/DEBIAN" "$packaging"/{config,postinst,prerm,postrm}
    install -m 644 -t "$root/DEBIAN" "$packaging/templates"
    printf '%s\n' "$sums" >"$root/DEBIAN/md5sums"

    # dpkg-shlibdeps needs a folder that looks like a source package.
    mkdir "$1/debian"
    printf 'Source: redis-ha-lab\n\nPackage: redis-ha-lab\nArchitecture: any\n' >"$1/debian/control"
    libraries=$(cd "$1" && dpkg-shlibdeps -O root/usr/bin/halab)
    sed -e "s|\${version}|$2|; s|\${arch}|$3|; s|\${size}|$size|; s|\${maintainer}|$(package_maintainer)|" \
        -e "s|\${shlibs}|${libraries#shlibs:Depends=}|" "$packaging/control" >"$root/DEBIAN/control"
}
