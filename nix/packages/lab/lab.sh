# shellcheck shell=bash
# The lab from the Nix store: state goes to the user's state folder, never here. Made into a program by
# default.nix beside this file, which sets LAB_COMPOSE, LAB_COMPOSE_WRITER, LAB_TOML and LAB_REDIS_SERVER.

usage() {
    cat <<EOF
redis-ha-lab [COMMAND]

  up [--headless]  run the lab in process-compose's terminal interface (the default), or without it
  down             stop a lab that runs elsewhere; its data stays
  pc ARGS...       process-compose, talking to the running lab: pc process list
  help             this text

Any other command goes to halab, in this lab's environment: write, verify, status, handover, drill ...

Everything it keeps is in $LAB_DIR: data, logs, ledgers.
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

# process-compose with this lab's socket. Its path is relative, since a socket's may have 107 bytes only.
pc() {
    (cd "$LAB_RUN" && PROC_COMP_CONFIG=$LAB_RUN process-compose \
        --use-uds --unix-socket pc.sock --log-file "$LAB_RUN/pc.log" "$@")
}

# macOS gives the loopback interface one address only. Every node here has its own.
need_addresses() {
    [ "$(uname -s)" = Darwin ] || return 0
    local addresses address missing=
    addresses=$(halab check-config --print addresses) || exit
    for address in $addresses; do
        ifconfig lo0 | grep -qF "inet $address " || missing+=" sudo ifconfig lo0 alias $address up;"
    done
    [ -z "$missing" ] || die "this machine's loopback interface lacks addresses of the lab's nodes" \
        "to add them until the next start:$missing"
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
        ! pc project state >/dev/null 2>&1 || die "the lab is up already" "stop it first: redis-ha-lab down"
        # Of a lab that was killed; it would keep the new one from listening.
        rm -f "$LAB_RUN/pc.sock"
    fi
    # Another lab on the same addresses would look like this one, healthy, and get this one's writes.
    local nodes node
    nodes=$(halab check-config --print nodes) || exit
    for node in $nodes; do
        ! halab health "$node" >/dev/null 2>&1 ||
            die "another lab runs on this one's addresses: something answers as $node" \
                "stop it there, or give this one a network of its own: HALAB_SUBNET=127.1.1 (any 127.x.y)"
    done
    # So that what each node uses can be told apart, where that is permitted.
    export HALAB_CGROUP=true
    cd "$LAB_RUN" || exit
    export PROC_COMP_CONFIG=$LAB_RUN
    exec process-compose --config "$LAB_COMPOSE" --config "$LAB_COMPOSE_WRITER" --tui="$tui" --disable-dotenv \
        --use-uds --unix-socket pc.sock --log-file "$LAB_RUN/pc.log"
}

command=${1-up}
[ $# -eq 0 ] || shift
case $command in
up) up "$@" ;;
down) pc down ;;
pc) pc "$@" ;;
help | -h | --help) usage ;;
# A flag of halab may come first.
*) exec halab "$command" "$@" ;;
esac
