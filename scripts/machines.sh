# shellcheck shell=bash
# `./lab machines`: the lab on three virtual machines. This file installs its dependencies; the rest
# is Python code in machines/. Sourced by ./lab.

# mke2fs and depmod may be installed and not on PATH.
MACHINES_PATH=$PATH:/usr/sbin:/sbin

# setup_machines WORDS: installs the tools that the command WORDS needs.
setup_machines() {
    local packages=() program hosts=no
    local -A of=(
        [qemu-system-x86_64]=qemu-system-x86 [mkfs.erofs]=erofs-utils [cpio]=cpio
        [depmod]=kmod [mke2fs]=e2fsprogs [dpkg-deb]=dpkg
    )
    # The test `hosts` installs Debian and serves an archive of packages.
    case "$* " in
    'test ' | *' hosts '*)
        hosts=yes
        of+=([mmdebstrap]=mmdebstrap [newuidmap]=uidmap [fakeroot]=fakeroot
            [dpkg-scanpackages]=dpkg-dev [ssh]=openssh-client)
        ;;
    esac
    for program in "${!of[@]}"; do
        PATH=$MACHINES_PATH have "$program" || packages+=("${of[$program]}")
    done
    [ ${#packages[@]} -eq 0 ] || apt_install "tools for virtual machines" "${packages[@]}"
    if [ $hosts = yes ]; then
        LAB_DEBIAN_MIRROR=$(debian_mirror) || exit
        export LAB_DEBIAN_MIRROR
    fi
    [ "$(uname -m)" = x86_64 ] || die "./lab machines supports x86_64 only" \
        "nix flake check runs the same tests on $(uname -m)"
}

cmd_machines() {
    have python3 || apt_install "Python, for ./lab machines" python3
    python3 -c 'import tomllib' 2>/dev/null ||
        die "./lab machines needs Python 3.11 or later" "install it, then try again"
    cd "$LAB_ROOT" || exit
    python3 -B -m machines --check "$@" || exit
    case "${1-} $* " in
    *' -h '* | *' --help '* | *' --list '*) ;;
    'up '* | 'test '* | 'faults '*)
        setup_machines "$@"
        mkdir -p "$LAB_TOOLS"
        setup_rust
        setup_halab
        ;;
    esac
    PATH=$MACHINES_PATH exec python3 -B -m machines "$@"
}
