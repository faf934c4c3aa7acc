# shellcheck shell=bash
# Tests of the Debian package: its files, lintian, and installation, upgrade, removal and purge by
# dpkg in a small Debian in a folder. Sourced by scripts/test.sh.

# Prints why the package cannot be tested here; nothing if it can.
package_test_obstacle() {
    if ! have dpkg-deb || ! grep -qx 'ID=debian' /etc/os-release; then
        echo "this machine does not run Debian"
    elif ! may_install; then
        echo "dpkg in a folder needs root or sudo"
    elif ! as_root unshare --mount true 2>/dev/null; then
        echo "this container may not mount anything"
    fi
}

# The same as a reason to skip the test; with LAB_PACKAGE_TEST=required it fails instead.
package_step_obstacle() { [ "${LAB_PACKAGE_TEST-}" = required ] || package_test_obstacle; }

setup_package_test() {
    [ -z "$(package_test_obstacle)" ] || return 0
    setup_package_tools
    { have lintian && have mmdebstrap && have nft; } ||
        apt_install "tools that test a Debian package" lintian mmdebstrap nftables
}

# Makes, once, a small Debian of this machine's release with the package's dependencies. Prints the
# path of its archive.
debian_for_package() {
    local suite archive mirror
    suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    archive=$LAB_TOOLS/debian-root-$suite.tar
    if [ ! -f "$archive" ]; then
        mirror=$(debian_mirror) || exit
        say "making a small Debian to install the package into" >&2
        as_root mmdebstrap --format=tar --variant=essential \
            --include=debconf,libc6,libgcc-s1,redis-server \
            "$suite" "$archive.new" "$mirror" >&2 || return 1
        mv "$archive.new" "$archive"
    fi
    printf '%s\n' "$archive"
}

test_package() {
    local first second archive obstacle
    obstacle=$(package_test_obstacle)
    [ -z "$obstacle" ] ||
        die "the package cannot be tested here, and LAB_PACKAGE_TEST=required: $obstacle"
    scratch=$(mktemp -d)
    trap 'as_root rm -rf "$scratch"' EXIT
    mkdir "$scratch"/{again,root}
    archive=$(debian_for_package)
    first=$(make_package "$scratch" 1)
    second=$(make_package "$scratch" 2)
    cmp "$first" "$(make_package "$scratch/again" 1)" || die "two builds of the package differ"
    lintian --allow-root --fail-on error,warning "$first"
    dpkg-deb -x "$first" "$scratch/files"
    package_files_are_right "$scratch/files"

    as_root tar -C "$scratch/root" -xpf "$archive"
    cp "$first" "$scratch/first.deb"
    cp "$second" "$scratch/second.deb"
    as_root cp "$scratch"/{first,second}.deb "$scratch/root/"
    test_dpkg "$scratch/root"
}

# claim WHAT COMMAND...: the claim holds if the command succeeds.
claim() {
    local what=$1
    shift
    "$@" || die "the package: claim does not hold: $what"
    printf '  %s\n' "$what"
}

not() { ! "$@"; }

# --- files ----------------------------------------------------------------------------------------

package_files_are_right() {
    local files=$1 doc=$1/usr/share/doc/redis-ha-lab pages=$scratch/pages units=$1/usr/lib/systemd/system
    claim "the units are those of deploy/systemd, and that of the firewall" \
        same "$(cd deploy/systemd && ls; echo redis-ha-lab-firewall.service)" "$(ls "$units")"
    claim "the units are as in deploy/systemd" \
        diff -r --exclude redis-ha-lab-firewall.service deploy/systemd "$units"
    halab man "$pages"
    install -D -t "$scratch/packed" "$files"/usr/share/man/man1/*.gz
    gunzip "$scratch"/packed/*.gz
    claim "every command has its manual page" diff -r "$pages" "$scratch/packed"
    claim "bash completion works" bash -euc \
        ". '$files/usr/share/bash-completion/completions/halab'; complete -p halab >/dev/null"
    claim "zsh completion is in place" \
        grep -qx '#compdef halab' "$files/usr/share/zsh/vendor-completions/_halab"
    claim "fish completion is in place" \
        grep -q '^complete -c halab ' "$files/usr/share/fish/vendor_completions.d/halab.fish"
    claim "the program runs and has this version" test "$("$files/usr/bin/halab" --version)" = \
        "halab $(sed -n '/^version = /{s/.*"\(.*\)"/\1/p;q}' Cargo.toml)"
    claim "the example lab.toml is valid" \
        "$files/usr/bin/halab" --config "$doc/examples/lab.toml" check-config
    claim "nft accepts the firewall rules" nft_accepts "$doc/examples/nftables.conf"
    claim "profile.sh has the paths of the units" \
        profile_has_the_paths_of_units "$doc/examples/profile.sh" "$units"
    claim "every crate whose name is in the program has its notice" \
        notices_name_crates "$doc/NOTICES.gz"
    claim "the package contains no lab.toml" test -z "$(ls -A "$files/etc/redis-ha-lab")"
}

# The program contains paths of sources, such as registry/src/REGISTRY/NAME-VERSION/src/lib.rs.
notices_name_crates() {
    local crate found=0
    while read -r crate; do
        found=$((found + 1))
        gzip -dc "$1" | sed -n 's/^\([^ ]*\) \([^ ]*\): .*; notices: .*/\1-\2/p' |
            grep -xF "$crate" >/dev/null || die "the package has no notice of $crate"
    done < <(strings -n 8 "$CARGO_TARGET_DIR/release/halab" |
        grep -oE 'registry/src/[^/]+/[^/]+/' | awk -F / '{ print $4 }' | sort -u)
    [ $found -gt 0 ] || die "found no name of a crate in the program"
}

# nft asks the kernel to check rules: in a separate network namespace if possible.
nft_accepts() { as_root unshare -n nft --check --file "$1" || as_root nft --check --file "$1"; }

profile_has_the_paths_of_units() {
    local settings line
    # shellcheck disable=SC2016  # expanded by that shell
    settings=$(env -i sh -euc '. "$1"
        echo "Environment=\"HALAB_CONFIG=$HALAB_CONFIG\""
        echo "Environment=\"HALAB_STATE=$HALAB_STATE\""
        echo "LoadCredential=writer:$HALAB_SECRETS/writer"' - "$1")
    while read -r line; do
        grep -qxF "$line" "$2/halab-data-node@.service" || die "no unit has $line"
    done <<<"$settings"
}

# --- dpkg -----------------------------------------------------------------------------------------

# in_root COMMAND...: runs a command in that Debian, non-interactively.
in_root() {
    as_root chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive "$@"
}

# Limit of a command that asks: one that waits for another answer would wait forever.
ANSWER_LIMIT=5m

# in_root_answering TEXT COMMAND...: the same at a terminal, with TEXT typed in.
in_root_answering() {
    local text=$1 env="PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 TERM=dumb"
    shift
    printf '%s\n' "$text" |
        as_root timeout $ANSWER_LIMIT script -qec "chroot $root env -i $env DEBIAN_FRONTEND=teletype $*" /dev/null
}

# with_cancelled_question COMMAND...: runs a command while debconf has a preseeded yes, and every
# question is cancelled: db_go returns 30.
with_cancelled_question() {
    local module=/usr/share/debconf/confmodule
    # shellcheck disable=SC2016  # expanded in that Debian
    in_root sh -euc 'mv "$1" "$1.kept"
        for call in version fset input purge stop; do echo "db_$call() { :; }"; done >"$1"
        echo "db_go() { return 30; }" >>"$1"
        echo "db_get() { RET=true; }" >>"$1"' - $module
    "$@"
    in_root mv $module.kept $module
}

# Lists the data of nodes and writer, lab.toml and passwords, with checksums.
kept_files() {
    # shellcheck disable=SC2016
    in_root sh -c 'cd / && for folder in var/lib/redis-ha-lab var/lib/private/redis-ha-lab etc/redis-ha-lab; do
        [ ! -e "$folder" ] || find "$folder" -printf "%p %y %m %l\n" -type f -exec sha256sum {} +
    done' | sort
}

# Prints the arguments of all systemctl calls since the last call of this function.
systemctl_calls() {
    in_root sh -c 'if [ -e /systemctl.log ]; then cat /systemctl.log; rm /systemctl.log; fi'
}

# shellcheck disable=SC2016  # variables of dpkg-query
is_installed() {
    [ "$(in_root dpkg-query -W -f '${db:Status-Status} ${Version}' redis-ha-lab 2>/dev/null)" = \
        "installed $1" ]
}

same() { diff <(printf '%s\n' "$1") <(printf '%s\n' "$2"); }

test_dpkg() {
    local root=$1 reload="--system daemon-reload" version before data users
    version=$(package_version)
    # A systemctl that records its calls, as if systemd ran.
    in_root sh -c 'mkdir -p /run/systemd/system
        printf "#!/bin/sh\necho \"\$*\" >>/systemctl.log\n" >/usr/bin/systemctl
        chmod 755 /usr/bin/systemctl'
    users=$(in_root cat /etc/passwd /etc/group)

    in_root dpkg -i /first.deb
    claim "the package is installed" is_installed "$version-1"
    claim "the program runs" in_root halab --version
    claim "every file is as packed" test -z "$(in_root dpkg --verify redis-ha-lab)"
    claim "systemd reads the units and starts none" same "$reload" "$(systemctl_calls)"
    claim "no unit is enabled" test -z "$(in_root find /etc/systemd -name 'halab*')"
    claim "there is no data yet" same "etc/redis-ha-lab d 755 " "$(kept_files)"
    claim "users and groups are as before" same "$users" "$(in_root cat /etc/passwd /etc/group)"

    fill_state
    data=$(kept_files)
    in_root dpkg -i /second.deb
    claim "the package is upgraded" is_installed "$version-2"
    claim "an upgrade stops, starts and restarts nothing" same "$reload" "$(systemctl_calls)"
    claim "data, lab.toml and passwords survive an upgrade" same "$data" "$(kept_files)"

    in_root dpkg --remove redis-ha-lab
    claim "the program is removed" not in_root test -e /usr/bin/halab
    claim "removal stops the data nodes first, then the rest, the firewall last" \
        same "stop halab-data-node@*.service
stop halab-*
stop redis-ha-lab-firewall.service
$reload" "$(systemctl_calls)"
    claim "data, lab.toml and passwords survive removal" same "$data" "$(kept_files)"
    claim "links of enabled units stay" in_root test -L "$enabled"

    in_root dpkg --purge redis-ha-lab
    claim "a non-interactive purge keeps data, lab.toml and passwords" same "$data" "$(kept_files)"
    claim "links to removed units are removed" not in_root test -L "$enabled"
    claim "links of other units stay" in_root test -L "${enabled%/*}/other.service"
    claim "dpkg no longer knows the package" not in_root dpkg-query -W redis-ha-lab
    claim "debconf no longer knows the package" not in_root grep -q redis-ha-lab /var/cache/debconf/config.dat

    in_root dpkg -i /first.deb
    before=$(in_root_answering no dpkg --purge redis-ha-lab)
    claim "an interactive purge asks" grep -q "Remove the data of the lab's nodes" <<<"$before"
    claim "data, lab.toml and passwords survive the answer no" same "$data" "$(kept_files)"

    in_root dpkg -i /first.deb
    with_cancelled_question in_root dpkg --purge redis-ha-lab
    claim "data, lab.toml and passwords survive a cancelled question after a preseeded yes" \
        same "$data" "$(kept_files)"

    in_root dpkg -i /first.deb
    in_root_answering yes dpkg --purge redis-ha-lab
    claim "the answer yes removes them" same "" "$(kept_files)"
    claim "folders of other programs stay" in_root test -e /var/lib/private/other/data

    in_root dpkg -i /first.deb
    in_root mkdir -p /var/lib/private/redis-ha-lab/redis-a
    in_root sh -c 'echo redis-ha-lab redis-ha-lab/remove-data boolean true | debconf-set-selections'
    in_root dpkg --purge redis-ha-lab
    claim "a preseeded yes removes them" same "" "$(kept_files)"

    in_root dpkg -i /first.deb
    in_root dpkg --purge redis-ha-lab
    claim "a purge without data leaves nothing" same "" "$(kept_files)"
    claim "every purge has removed the program" not in_root test -e /usr/bin/halab
}

# Creates the files that systemd, a data node, a writer and an operator would create.
fill_state() {
    enabled=/etc/systemd/system/multi-user.target.wants/halab-data-node@redis-a.service
    # shellcheck disable=SC2016
    in_root sh -euc '
        cp /usr/share/doc/redis-ha-lab/examples/lab.toml /etc/redis-ha-lab/lab.toml
        mkdir -m 700 /etc/redis-ha-lab/secrets
        echo "a password" >/etc/redis-ha-lab/secrets/writer
        mkdir -p -m 700 /var/lib/private/redis-ha-lab/redis-a/appendonlydir /var/lib/private/redis-ha-lab/writer
        mkdir -p /var/lib/redis-ha-lab /var/lib/private/other
        echo "of others" >/var/lib/private/other/data
        for unit in redis-a writer; do ln -s ../private/redis-ha-lab/$unit /var/lib/redis-ha-lab/$unit; done
        echo records >/var/lib/private/redis-ha-lab/redis-a/appendonlydir/appendonly.aof.1.incr.aof
        echo acknowledged >/var/lib/private/redis-ha-lab/writer/writer.ledger
        mkdir -p "${1%/*}"
        ln -s /usr/lib/systemd/system/halab-data-node@.service "$1"
        ln -s /usr/lib/systemd/system/other.service "${1%/*}/other.service"
    ' - "$enabled"
}
