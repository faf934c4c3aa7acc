# shellcheck shell=bash
# The Debian package: what is in it, what lintian says, and what dpkg does with it in a Debian of its own, in a folder.
# Sourced by scripts/test.sh.

# What keeps it from being tested here; nothing where nothing does.
package_cannot() {
    if ! have dpkg-deb || ! grep -qx 'ID=debian' /etc/os-release; then
        echo "this is no Debian"
    elif ! may_install; then
        echo "dpkg in a folder needs root or sudo"
    elif ! as_root unshare --mount true 2>/dev/null; then
        echo "this container may not mount anything"
    fi
}

setup_package_test() {
    [ -z "$(package_cannot)" ] || return 0
    setup_package_tools
    { have lintian && have mmdebstrap && have nft; } ||
        apt_install "what judges and tries a Debian package" lintian mmdebstrap nftables
}

# A small Debian of this machine's release, with what the package depends on; made once. Prints its archive.
debian_for_package() {
    local archive=$LAB_TOOLS/debian-root.tar mirror
    if [ ! -f "$archive" ]; then
        mirror=$(debian_mirror) || exit
        say "making a small Debian, to install the package into" >&2
        as_root mmdebstrap --quiet --format=tar --variant=essential --include=debconf,libc6,libgcc-s1,redis-server \
            "$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)" "$archive.new" "$mirror" >&2 ||
            return 1
        mv "$archive.new" "$archive"
    fi
    printf '%s\n' "$archive"
}

package_lane() {
    local first second archive
    scratch=$(mktemp -d)
    trap 'as_root rm -rf "$scratch"' EXIT
    mkdir "$scratch"/{again,root}
    archive=$(debian_for_package)
    first=$(make_package "$scratch" 1)
    second=$(make_package "$scratch" 2)
    cmp "$first" "$(make_package "$scratch/again" 1)" || die "made twice of the same, the package differs"
    lintian --allow-root --fail-on error,warning "$first"
    dpkg-deb -x "$first" "$scratch/files"
    package_files_are_right "$scratch/files"

    as_root tar -C "$scratch/root" -xpf "$archive"
    cp "$first" "$scratch/first.deb"
    cp "$second" "$scratch/second.deb"
    as_root cp "$scratch"/{first,second}.deb "$scratch/root/"
    package_is_handled "$scratch/root"
}

# claim WHAT COMMAND...: the command's success is what is claimed.
claim() {
    local what=$1
    shift
    "$@" || die "the package: not so: $what"
    printf '  %s\n' "$what"
}

not() { ! "$@"; }

# --- what is in it -------------------------------------------------------------------------------------

package_files_are_right() {
    local files=$1 doc=$1/usr/share/doc/redis-ha-lab pages=$scratch/pages units=$1/usr/lib/systemd/system
    claim "the units are those of deploy/systemd" diff -r deploy/systemd "$units"
    halab man "$pages"
    install -D -t "$scratch/packed" "$files"/usr/share/man/man1/*.gz
    gunzip "$scratch"/packed/*.gz
    claim "every command has its manual page" diff -r "$pages" "$scratch/packed"
    claim "bash completes" bash -euc ". '$files/usr/share/bash-completion/completions/halab'; complete -p halab >/dev/null"
    claim "zsh's completion is one" grep -qx '#compdef halab' "$files/usr/share/zsh/vendor-completions/_halab"
    claim "fish's completion is one" grep -q '^complete -c halab ' "$files/usr/share/fish/vendor_completions.d/halab.fish"
    claim "the program runs, and is of this version" \
        test "$("$files/usr/bin/halab" --version)" = "halab $(sed -n '/^version = /{s/.*"\(.*\)"/\1/p;q}' Cargo.toml)"
    claim "the lab of the example is a good one" "$files/usr/bin/halab" --config "$doc/examples/lab.toml" check-config
    claim "the firewall's rules are understood" nft_understands "$doc/examples/nftables.conf"
    claim "a shell means the lab that the units mean" profile_is_that_of_units "$doc/examples/profile.sh" "$units"
    claim "every crate that has left its name in the program has its notice" notices_name_crates "$doc/NOTICES.gz"
    claim "no lab is described beforehand" test -z "$(ls -A "$files/etc/redis-ha-lab")"
}

# The compiler leaves paths of sources in the program, as registry/src/REGISTRY/NAME-VERSION/src/lib.rs.
notices_name_crates() {
    local crate found=0
    while read -r crate; do
        found=$((found + 1))
        gzip -dc "$1" | sed -n 's/^\([^ ]*\) \([^ ]*\): .*; notices: .*/\1-\2/p' | grep -xF "$crate" >/dev/null ||
            die "the package has no notice of $crate"
    done < <(strings -n 8 "$CARGO_TARGET_DIR/release/halab" | grep -oE 'registry/src/[^/]+/[^/]+/' | awk -F / '{ print $4 }' | sort -u)
    [ $found -gt 0 ] || die "the program names no crate at all"
}

# In a network of its own where that may be made: to judge rules, nft asks the kernel.
nft_understands() { as_root unshare -n nft --check --file "$1" || as_root nft --check --file "$1"; }

profile_is_that_of_units() {
    local said line
    # shellcheck disable=SC2016  # for that shell
    said=$(env -i sh -euc '. "$1"
        echo "Environment=\"HALAB_CONFIG=$HALAB_CONFIG\""
        echo "Environment=\"HALAB_STATE=$HALAB_STATE\""
        echo "LoadCredential=writer:$HALAB_SECRETS/writer"' - "$1")
    while read -r line; do
        grep -qxF "$line" "$2/halab-data-node@.service" || die "no unit has $line"
    done <<<"$said"
}

# --- what dpkg does with it ----------------------------------------------------------------------------

# within COMMAND...: in that Debian, with nobody to answer.
within() { as_root chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }

# answering TEXT COMMAND...: the same, with somebody at a terminal, who types that.
answering() {
    local text=$1
    shift
    printf '%s\n' "$text" | as_root script -qec "chroot $root env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 TERM=dumb DEBIAN_FRONTEND=teletype $*" /dev/null
}

# What is in the folders that a node, a writer and whoever runs them fill.
kept() {
    # shellcheck disable=SC2016
    within sh -c 'cd / && for folder in var/lib/redis-ha-lab var/lib/private/redis-ha-lab etc/redis-ha-lab; do
        [ ! -e "$folder" ] || find "$folder" -printf "%p %y %m %l\n" -type f -exec sha256sum {} +
    done' | sort
}

# What systemd was asked since the last call.
asked_of_systemd() {
    within sh -c 'if [ -e /systemctl.log ]; then cat /systemctl.log; rm /systemctl.log; fi'
}

# shellcheck disable=SC2016  # of dpkg-query, not of the shell
is_installed() { [ "$(within dpkg-query -W -f '${db:Status-Status} ${Version}' redis-ha-lab 2>/dev/null)" = "installed $1" ]; }

same() { diff <(printf '%s\n' "$1") <(printf '%s\n' "$2"); }

package_is_handled() {
    local root=$1 reload="--system daemon-reload" version before data users
    version=$(package_version)
    # As if systemd ran: it writes down what it is asked.
    within sh -c 'mkdir -p /run/systemd/system
        printf "#!/bin/sh\necho \"\$*\" >>/systemctl.log\n" >/usr/bin/systemctl
        chmod 755 /usr/bin/systemctl'
    users=$(within cat /etc/passwd /etc/group)

    within dpkg -i /first.deb
    claim "it is installed" is_installed "$version-1"
    claim "the program runs there" within halab --version
    claim "every file is as it was packed" test -z "$(within dpkg --verify redis-ha-lab)"
    claim "systemd reads the units, and starts none" same "$reload" "$(asked_of_systemd)"
    claim "no unit is enabled" test -z "$(within find /etc/systemd -name 'halab*')"
    claim "nothing is kept yet" same "etc/redis-ha-lab d 755 " "$(kept)"
    claim "users and groups are as before" same "$users" "$(within cat /etc/passwd /etc/group)"

    fill_state
    data=$(kept)
    within dpkg -i /second.deb
    claim "it is upgraded" is_installed "$version-2"
    claim "an upgrade stops, starts and restarts nothing" same "$reload" "$(asked_of_systemd)"
    claim "data, lab.toml and passwords survive an upgrade" same "$data" "$(kept)"

    within dpkg --remove redis-ha-lab
    claim "the program is removed" not within test -e /usr/bin/halab
    claim "a removal stops the data nodes first, then the rest" \
        same "stop halab-data-node@*.service
stop halab-*
$reload" "$(asked_of_systemd)"
    claim "data, lab.toml and passwords survive a removal" same "$data" "$(kept)"
    claim "what was enabled is known still" within test -L "$enabled"

    within dpkg --purge redis-ha-lab
    claim "a purge with nobody to answer keeps all of it" same "$data" "$(kept)"
    claim "links to units that are gone are removed" not within test -L "$enabled"
    claim "links of others stay" within test -L "${enabled%/*}/other.service"
    claim "dpkg has forgotten it" not within dpkg-query -W redis-ha-lab
    claim "debconf has forgotten it" not within grep -q redis-ha-lab /var/cache/debconf/config.dat

    within dpkg -i /first.deb
    before=$(answering no dpkg --purge redis-ha-lab)
    claim "a purge asks" grep -q "Remove the data of the lab's nodes" <<<"$before"
    claim "data, lab.toml and passwords survive a no" same "$data" "$(kept)"

    within dpkg -i /first.deb
    answering yes dpkg --purge redis-ha-lab
    claim "a yes removes them" same "" "$(kept)"
    claim "the folders of others stay" within test -e /var/lib/private/other/data

    within dpkg -i /first.deb
    within mkdir -p /var/lib/private/redis-ha-lab/redis-a
    within sh -c 'echo redis-ha-lab redis-ha-lab/remove-data boolean true | debconf-set-selections'
    within dpkg --purge redis-ha-lab
    claim "a yes that was given beforehand removes them" same "" "$(kept)"

    within dpkg -i /first.deb
    within dpkg --purge redis-ha-lab
    claim "without data a purge leaves nothing" same "" "$(kept)"
    claim "every purge has removed the program" not within test -e /usr/bin/halab
}

# As systemd, a data node, a writer and whoever runs them leave it.
fill_state() {
    enabled=/etc/systemd/system/multi-user.target.wants/halab-data-node@redis-a.service
    # shellcheck disable=SC2016
    within sh -euc '
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
