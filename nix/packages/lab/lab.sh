# shellcheck shell=bash
# The lab from the Nix store; its state is in the user's state folder. default.nix makes a program
# of this file and sets LAB_COMPOSE, LAB_COMPOSE_WRITER, LAB_TOML and LAB_REDIS_SERVER.

usage() {
    cat <<EOF
redis-ha-lab [COMMAND]

  up [--headless]  run the lab in process-compose's terminal interface (the default), or without it
  down             stop the running lab; its data stays
  pc ARGS...       a process-compose client of the running lab: pc process list
  help             this text

All other commands go to halab, with this lab's settings: write, verify, status, handover, drill ...

Data, logs and ledgers are in $LAB_DIR.
Environment: LAB_DIR, HALAB_CONFIG, HALAB_PROFILE, HALAB_STATE, HALAB_SUBNET, HALAB_REDIS_SERVER.
EOF
}

die() {
    printf 'redis-ha-lab: error: %s\n' "$1" >&2
    shift
    [ $# -eq 0 ] || printf 'redis-ha-lab: %s\n' "$*" >&2
    exit 1
}

: "${LAB_DIR:=${XDG_STATE_HOME:-${HOME:?set HOME, LAB_DIR or XDG_STATE_HOME}/.local/state}/redis-ha-lab}"
LAB_DIR=$(realpath -m "$LAB_DIR")
LAB_LOG=$LAB_DIR/log
LAB_RUN=$LAB_DIR/run
HALAB_CONFIG=$(realpath -m "${HALAB_CONFIG:-$LAB_TOML}")
HALAB_STATE=$(realpath -m "${HALAB_STATE:-$LAB_DIR/state}")
: "${HALAB_REDIS_SERVER:=$LAB_REDIS_SERVER}"
export LAB_DIR LAB_LOG LAB_RUN HALAB_CONFIG HALAB_STATE HALAB_REDIS_SERVER

# process-compose with this lab's socket; the path is relative, as a socket's path is limited to 107
# bytes.
pc() {
    (cd "$LAB_RUN" && PROC_COMP_CONFIG=$LAB_RUN process-compose \
        --use-uds --unix-socket pc.sock --log-file "$LAB_RUN/pc.log" "$@")
}

# On macOS the loopback interface has a single address; the lab needs one per node.
need_addresses() {
    [ "$(uname -s)" = Darwin ] || return 0
    local addresses address missing=
    addresses=$(halab check-config --print addresses) || exit
    for address in $addresses; do
        ifconfig lo0 | grep -qF "inet $address " || missing+=" sudo ifconfig lo0 alias $address up;"
    done
    [ -z "$missing" ] || die "the loopback interface lacks addresses of the lab's nodes" \
        "add them until the next reboot:$missing"
}

up() {
    local tui=true
    case "${1-}" in
    '') ;;
    --headless) tui=false ;;
    *) die "up: unknown option '$1'" "redis-ha-lab up [--headless]" ;;
    esac
    [ -t 1 ] || tui=false
    need_addresses
    mkdir -p "$LAB_LOG" "$LAB_RUN" "$HALAB_STATE"
    if [ -S "$LAB_RUN/pc.sock" ]; then
        ! pc project state >/dev/null 2>&1 ||
            die "the lab is already up" "stop it first: redis-ha-lab down"
        # The socket of a killed lab would keep the new one from listening.
        rm -f "$LAB_RUN/pc.sock"
    fi
    # Another lab on the same addresses would be taken for this one and get its writes.
    local nodes node
    nodes=$(halab check-config --print nodes) || exit
    for node in $nodes; do
        ! halab health "$node" >/dev/null 2>&1 ||
            die "another lab uses the same addresses: something answers as $node" \
                "stop it, or use another network: HALAB_SUBNET=127.1.1 (any 127.x.y)"
    done
    # A cgroup for each node if permitted, so that cAdvisor can tell them apart.
    export HALAB_CGROUP=true
    # How the page in the browser starts and stops a node.
    export HALAB_NODE_COMMAND="cd '$LAB_RUN' && process-compose --use-uds --unix-socket pc.sock --log-file pc-client.log process"
    cd "$LAB_RUN" || exit
    export PROC_COMP_CONFIG=$LAB_RUN
    printf 'the lab in a browser: %s\n' "$(halab web --link)" >&2
    exec process-compose --config "$LAB_COMPOSE" --config "$LAB_COMPOSE_WRITER" --tui="$tui" \
        --disable-dotenv --use-uds --unix-socket pc.sock --log-file "$LAB_RUN/pc.log"
}

command=${1-up}
[ $# -eq 0 ] || shift
case $command in
up) up "$@" ;;
down) pc down ;;
pc) pc "$@" ;;
help | -h | --help) usage ;;
# The first word may be a flag of halab.
*) exec halab "$command" "$@" ;;
esac
