# shellcheck shell=bash
# Installs what watches the lab: Prometheus, redis_exporter, cAdvisor, Grafana. Sourced by ./lab.
#
# The lab runs without any of them, so nothing here is fatal: what can't be had is said in one line, noted in
# $LAB_TOOLS/NAME.absent, and asked for again by `./lab setup` only. No system service is started or enabled.

# Debian had cAdvisor up to bullseye: a static program that runs on later releases, with cgroup v1 and v2. The
# hash is that of Debian's package list.
CADVISOR_DEB=pool/main/c/cadvisor/cadvisor_0.38.7%2bds1-2%2bb7_amd64.deb
CADVISOR_SHA256=42d4fa456d31caa972bd2686f993c43ccbc4c784009b6104b538e69af8615e14

# Grafana is in no package registry. Its own archive, with the hashes that Gentoo's package states.
GRAFANA_VERSION=12.4.0
GRAFANA_URL=https://dl.grafana.com/oss/release
GRAFANA_SHA512_amd64=0d0f573b22d8839943c6a346f429dd1db43d676e62460e53f041335500f671371f9cebd015b2197ecc87e4d8b1381fadc7a0d4ee49a7e5259f6b83ce6b46a33f
GRAFANA_SHA512_arm64=3888c531bbce11ddd5293219f72a880d7bcf9b0eedc0e1ea8502782fc3971723e83ed2317be4bc9771a9aa807e22255e0778dc97993bdc9a75840bb0219ab263

setup_monitoring() {
    setup_prometheus
    setup_redis_exporter
    setup_cadvisor
    # 200 MB; LAB_GRAFANA=no does without.
    [ "${LAB_GRAFANA-}" = no ] || setup_grafana
}

# absent NAME WHY
absent() {
    say "no $1: $2; the lab runs without it"
    printf '%s\n' "$2" >"$LAB_TOOLS/$1.absent"
}

# wanted NAME: true if it is not there, and is not known to be out of reach.
wanted() { ! have "$1" && [ ! -e "$LAB_TOOLS/$1.absent" ]; }

# Prometheus is installed, not unpacked: its web pages are looked for in /usr/share.
setup_prometheus() {
    wanted prometheus || return 0
    if ! have apt-get || ! may_install; then
        absent prometheus "installing it needs apt-get and root"
        return
    fi
    apt_update
    local packages=(prometheus)
    # Its own package since Debian 13.
    [ -z "$(apt-cache madison promtool 2>/dev/null)" ] || packages+=(promtool)
    # In a subshell: apt_install ends the shell when it fails.
    (without_services apt_install "Prometheus" "${packages[@]}") ||
        absent prometheus "its package could not be installed"
    hash -r
    # It would start with the machine, and listen on every address.
    ! have prometheus || ! have update-rc.d || as_root update-rc.d prometheus disable >/dev/null 2>&1 || true
}

# without_services COMMAND...: Debian's way to install a daemon without starting it.
without_services() {
    local policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        # shellcheck disable=SC2064  # the path of now
        trap "as_root rm -f $policy" EXIT
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
        as_root chmod 755 $policy
    fi
    "$@"
}

# Built by setup_go_tools where there is a Go for it. Debian's is older, and has fewer of the Sentinels' metrics.
setup_redis_exporter() {
    wanted redis_exporter || return 0
    local package=prometheus-redis-exporter scratch
    if ! have apt-get || ! have dpkg-deb; then
        absent redis_exporter "it needs Go 1.26 to be built, or Debian's package"
        return
    fi
    apt_update
    say "unpacking Debian's $package into $LAB_TOOLS: there is no Go 1.26 to build a newer one"
    scratch=$(mktemp -d)
    # Only unpacked: installed, it would start a service.
    if (cd "$scratch" && apt-get download -qq $package && dpkg-deb -x ./*.deb .) >/dev/null 2>&1; then
        install -m 755 "$scratch/usr/bin/$package" "$LAB_TOOLS/redis_exporter"
    else
        absent redis_exporter "it needs Go 1.26 to be built, or Debian's package $package"
    fi
    rm -rf "$scratch"
}

setup_cadvisor() {
    wanted cadvisor || return 0
    local helper=/usr/lib/apt/apt-helper scratch mirror
    if [ ! -x $helper ] || [ "$(dpkg --print-architecture 2>/dev/null)" != amd64 ]; then
        absent cadvisor "this set-up knows it for Debian and Ubuntu on amd64; put one on PATH"
        return
    fi
    scratch=$(mktemp -d)
    chmod 755 "$scratch" # apt downloads as a user of its own
    for mirror in "$(debian_mirror 2>/dev/null)" http://deb.debian.org/debian; do
        [ -n "$mirror" ] || continue
        if $helper download-file "$mirror/$CADVISOR_DEB" "$scratch/cadvisor.deb" "SHA256:$CADVISOR_SHA256" \
            >/dev/null 2>&1 && dpkg-deb -x "$scratch/cadvisor.deb" "$scratch"; then
            say "unpacking cAdvisor 0.38.7 into $LAB_TOOLS"
            install -m 755 "$scratch/usr/bin/cadvisor" "$LAB_TOOLS/cadvisor"
            break
        fi
    done
    rm -rf "$scratch"
    hash -r
    have cadvisor || absent cadvisor "Debian's package of it can't be reached"
}

setup_grafana() {
    wanted grafana || return 0
    local arch sha512 part=$LAB_TOOLS/grafana.part
    case $(uname -m) in
    x86_64) arch=amd64 sha512=$GRAFANA_SHA512_amd64 ;;
    aarch64) arch=arm64 sha512=$GRAFANA_SHA512_arm64 ;;
    *)
        absent grafana "its archive is known for x86_64 and aarch64 here; put one on PATH"
        return
        ;;
    esac
    if ! have curl; then
        absent grafana "fetching its archive needs curl"
        return
    fi
    rm -rf "$part"
    mkdir -p "$part"
    # Whole and right, or not at all: it is unpacked beside its place, and moved there at the end.
    if ! curl -fsSL --connect-timeout 5 --max-time 900 -o "$part/archive" \
        "$GRAFANA_URL/grafana-$GRAFANA_VERSION.linux-$arch.tar.gz" 2>/dev/null; then
        absent grafana "its archive can't be fetched from $GRAFANA_URL; put one on PATH, or use 'nix run', which brings it"
    elif ! printf '%s  %s\n' "$sha512" "$part/archive" | sha512sum --check --status; then
        absent grafana "the archive at $GRAFANA_URL is not the one that is pinned here"
    elif ! (mkdir "$part/grafana" && tar -xzf "$part/archive" -C "$part/grafana" --strip-components=1); then
        absent grafana "its archive could not be unpacked"
    else
        rm -rf "$LAB_TOOLS/grafana-$GRAFANA_VERSION"
        mv "$part/grafana" "$LAB_TOOLS/grafana-$GRAFANA_VERSION"
        ln -sf "grafana-$GRAFANA_VERSION/bin/grafana" "$LAB_TOOLS/grafana"
        say "unpacked Grafana $GRAFANA_VERSION into $LAB_TOOLS"
    fi
    rm -rf "$part"
    hash -r
}
