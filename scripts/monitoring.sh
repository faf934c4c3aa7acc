# shellcheck shell=bash
# Installs the monitoring: Prometheus, redis_exporter, cAdvisor, Grafana. Sourced by ./lab.
#
# The lab runs without any of them, so no error here is fatal: a missing program is reported in one
# line and recorded in $LAB_TOOLS/NAME.absent, and only `./lab setup` tries again. No system service
# is started or enabled.

# Debian had cAdvisor up to bullseye, as a static program that runs on later releases, with cgroup
# v1 and v2. The hash is that of Debian's package list.
CADVISOR_DEB=pool/main/c/cadvisor/cadvisor_0.38.7%2bds1-2%2bb7_amd64.deb
CADVISOR_SHA256=42d4fa456d31caa972bd2686f993c43ccbc4c784009b6104b538e69af8615e14

# Grafana is in no package registry: this is its own archive, with the hashes of Gentoo's package.
GRAFANA_VERSION=12.4.0
GRAFANA_URL=https://dl.grafana.com/oss/release
GRAFANA_SHA512_amd64=0d0f573b22d8839943c6a346f429dd1db43d676e62460e53f041335500f671371f9cebd015b2197ecc87e4d8b1381fadc7a0d4ee49a7e5259f6b83ce6b46a33f
GRAFANA_SHA512_arm64=3888c531bbce11ddd5293219f72a880d7bcf9b0eedc0e1ea8502782fc3971723e83ed2317be4bc9771a9aa807e22255e0778dc97993bdc9a75840bb0219ab263

setup_monitoring() {
    setup_prometheus
    setup_redis_exporter
    setup_cadvisor
    # 200 MB; LAB_GRAFANA=no skips it.
    [ "${LAB_GRAFANA-}" = no ] || setup_grafana
}

# absent NAME WHY: reports and records a missing program.
absent() {
    say "no $1: $2; the lab runs without it"
    printf '%s\n' "$2" >"$LAB_TOOLS/$1.absent"
}

# wanted NAME: true if the program is missing and not recorded as unavailable.
wanted() { ! have "$1" && [ ! -e "$LAB_TOOLS/$1.absent" ]; }

# Prometheus is installed, not only unpacked, because it looks for its web pages in /usr/share.
setup_prometheus() {
    wanted prometheus || return 0
    if ! have apt-get || ! may_install; then
        absent prometheus "installing it needs apt-get and root"
        return
    fi
    apt_update
    local packages=(prometheus)
    # promtool has its own package since Debian 13.
    [ -z "$(apt-cache madison promtool 2>/dev/null)" ] || packages+=(promtool)
    # In a subshell: apt_install exits if it fails.
    (without_services apt_install "Prometheus" "${packages[@]}") ||
        absent prometheus "its package could not be installed"
    hash -r
    # Its service would start at boot and listen on every address.
    ! have prometheus || ! have update-rc.d ||
        as_root update-rc.d prometheus disable >/dev/null 2>&1 || true
}

# without_services COMMAND...: runs a command with a policy-rc.d that keeps packages from starting
# their services.
without_services() {
    local policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        # shellcheck disable=SC2064  # expanded now
        trap "as_root rm -f $policy" EXIT
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
        as_root chmod 755 $policy
    fi
    "$@"
}

# setup_go_tools builds redis_exporter if there is a Go for it. Debian's is older and has fewer
# metrics of Sentinels.
setup_redis_exporter() {
    wanted redis_exporter || return 0
    local package=prometheus-redis-exporter scratch
    if ! have apt-get || ! have dpkg-deb; then
        absent redis_exporter "it needs Go 1.26, or Debian's package"
        return
    fi
    apt_update
    say "unpacking Debian's $package into $LAB_TOOLS: Go 1.26, which builds a newer one, is missing"
    scratch=$(mktemp -d)
    # Unpack only: an installation would start a service.
    if (cd "$scratch" && apt-get download -qq $package && dpkg-deb -x ./*.deb .) >/dev/null 2>&1; then
        install -m 755 "$scratch/usr/bin/$package" "$LAB_TOOLS/redis_exporter"
    else
        absent redis_exporter "it needs Go 1.26, or Debian's package $package"
    fi
    rm -rf "$scratch"
}

setup_cadvisor() {
    wanted cadvisor || return 0
    local helper=/usr/lib/apt/apt-helper scratch mirror
    if [ ! -x $helper ] || [ "$(dpkg --print-architecture 2>/dev/null)" != amd64 ]; then
        absent cadvisor "set-up fetches it on Debian and Ubuntu on amd64 only; put one on PATH"
        return
    fi
    scratch=$(mktemp -d)
    chmod 755 "$scratch" # apt downloads as its own user
    for mirror in "$(debian_mirror 2>/dev/null)" http://deb.debian.org/debian; do
        [ -n "$mirror" ] || continue
        if $helper download-file "$mirror/$CADVISOR_DEB" "$scratch/cadvisor.deb" \
            "SHA256:$CADVISOR_SHA256" >/dev/null 2>&1 && dpkg-deb -x "$scratch/cadvisor.deb" "$scratch"; then
            say "unpacking cAdvisor 0.38.7 into $LAB_TOOLS"
            install -m 755 "$scratch/usr/bin/cadvisor" "$LAB_TOOLS/cadvisor"
            break
        fi
    done
    rm -rf "$scratch"
    hash -r
    have cadvisor || absent cadvisor "cannot fetch its Debian package"
}

setup_grafana() {
    wanted grafana || return 0
    local arch sha512 part=$LAB_TOOLS/grafana.part
    case $(uname -m) in
    x86_64) arch=amd64 sha512=$GRAFANA_SHA512_amd64 ;;
    aarch64) arch=arm64 sha512=$GRAFANA_SHA512_arm64 ;;
    *)
        absent grafana "set-up fetches it on x86_64 and aarch64 only; put one on PATH"
        return
        ;;
    esac
    if ! have curl; then
        absent grafana "fetching its archive needs curl"
        return
    fi
    rm -rf "$part"
    mkdir -p "$part"
    # Unpack beside the final place and move at the end: it is complete and verified, or not there.
    if ! curl -fsSL --connect-timeout 5 --max-time 900 -o "$part/archive" \
        "$GRAFANA_URL/grafana-$GRAFANA_VERSION.linux-$arch.tar.gz" 2>/dev/null; then
        absent grafana \
            "cannot fetch its archive from $GRAFANA_URL; put one on PATH, or use 'nix run', which has it"
    elif ! printf '%s  %s\n' "$sha512" "$part/archive" | sha512sum --check --status; then
        absent grafana "the hash of the archive at $GRAFANA_URL differs from the pinned one"
    elif ! (mkdir "$part/grafana" &&
        tar -xzf "$part/archive" -C "$part/grafana" --strip-components=1); then
        absent grafana "cannot unpack its archive"
    else
        rm -rf "$LAB_TOOLS/grafana-$GRAFANA_VERSION"
        mv "$part/grafana" "$LAB_TOOLS/grafana-$GRAFANA_VERSION"
        ln -sf "grafana-$GRAFANA_VERSION/bin/grafana" "$LAB_TOOLS/grafana"
        say "unpacked Grafana $GRAFANA_VERSION into $LAB_TOOLS"
    fi
    rm -rf "$part"
    hash -r
}
