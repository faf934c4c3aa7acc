# shellcheck shell=bash
# Starts, checks and stops the lab in the background. Sourced by ./lab.
#
# The runner is process-compose, or `halab up` without it. Either is one process, recorded in
# $LAB_RUN/runner as "PID START-TIME NAME". The start time detects a PID that was reused.

SETTLE_SECONDS=60 # a first start takes about 3 s, one after a crash a few failover timeouts
STOP_SECONDS=120  # each data node may take the 30 s of a handover

# start_time PID: prints the start time in ticks since boot; nothing if the process is gone or a
# zombie.
start_time() {
    # The state follows the name, which may contain blanks and ends at the last parenthesis.
    sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" { print $20 }'
}

runner_field() { cut -d' ' -f"$1" "$LAB_RUN/runner" 2>/dev/null; }
runner() { runner_field 3; }

lab_is_up() {
    local pid
    pid=$(runner_field 1) && [ -n "$pid" ] && [ "$(start_time "$pid")" = "$(runner_field 2)" ]
}

# left_over clients|nodes|servers|monitors: prints the PIDs of this lab's processes, whoever started
# them. A node is found by its environment; a server overwrites that with its title, so it is found
# by its working folder.
left_over() {
    local proc name
    for proc in /proc/[0-9]*; do
        read -r name <"$proc/comm" || continue
        case $1/$name in
        nodes/halab)
            grep -qzxF "HALAB_STATE=$HALAB_STATE" "$proc/environ" && grep -qzxE 'node|up' "$proc/cmdline"
            ;;
        clients/halab)
            # The proxy and the page in the browser, but not one that was started by hand.
            grep -qzxF "HALAB_STATE=$HALAB_STATE" "$proc/environ" && grep -qzxF -e --if-configured "$proc/cmdline"
            ;;
        servers/redis-server | servers/valkey-server)
            [[ $(readlink "$proc/cwd") == "$HALAB_STATE"/* ]]
            ;;
        monitors/*)
            # `halab monitor` sets it and then executes the program.
            [[ $(readlink "$proc/cwd") == "$HALAB_STATE"/monitoring/* ]] && grep -qz '^HALAB_MONITOR=' "$proc/environ"
            ;;
        *) false ;;
        esac && printf '%s\n' "${proc#/proc/}"
    done 2>/dev/null
    return 0
}

any_left_over() { [ -n "$(left_over "$1")" ]; }

refuse_leftovers() {
    if any_left_over nodes || any_left_over servers; then
        die "nodes of this lab still run without a runner" "stop them first: ./lab down"
    fi
}

# Another lab on the same addresses would be taken for this one and get its writes.
refuse_taken_addresses() {
    local nodes node
    nodes=$(lab_nodes) || exit
    for node in $nodes; do
        ! halab health "$node" >/dev/null 2>&1 ||
            die "another lab uses the same addresses: something answers as $node" \
                "stop it, or use another network: HALAB_SUBNET=127.1.1 ./lab up (any 127.x.y)"
    done
}

choose_runner() {
    if [ -n "${LAB_RUNNER-}" ]; then
        printf '%s\n' "$LAB_RUNNER"
    elif ! find_process_compose >/dev/null; then
        printf 'halab\n'
    elif ! same_nodes; then
        # A custom lab.toml may have other nodes; only `halab up` can start those.
        printf 'halab\n'
    else
        printf 'process-compose\n'
    fi
}

# True if process-compose.yaml was generated for the nodes of this lab.
same_nodes() {
    local nodes
    nodes=$(lab_nodes | tr '\n' ' ') && grep -qxF "# nodes: ${nodes% }" "$LAB_ROOT/process-compose.yaml"
}

# process-compose with this lab's socket; the path is relative, as a socket's path is limited to 107
# bytes.
pc() {
    (cd "$LAB_RUN" && PROC_COMP_CONFIG=$LAB_RUN process-compose \
        --use-uds --unix-socket pc.sock --log-file "$LAB_RUN/pc-client.log" "$@")
}

# The settings of a running lab apply to later commands too, unless their caller sets others.
save_settings() {
    local name
    for name in HALAB_SUBNET HALAB_PROFILE HALAB_CONFIG HALAB_STATE; do
        # shellcheck disable=SC2016  # expanded when it is read
        [ -z "${!name-}" ] ||
            printf '[[ $LAB_GIVEN == *" %s "* ]] || export %s=%q\n' "$name" "$name" "${!name}"
    done >"$LAB_RUN/settings"
}

load_settings() {
    # shellcheck source=/dev/null
    if lab_is_up && [ -e "$LAB_RUN/settings" ]; then . "$LAB_RUN/settings"; fi
}

lab_start() {
    local runner
    refuse_leftovers
    refuse_taken_addresses
    runner=$(choose_runner)
    mkdir -p "$LAB_LOG" "$LAB_RUN" "$HALAB_STATE"
    # The socket of a killed runner would keep the new one from listening.
    rm -f "$LAB_RUN/pc.sock"
    say "starting the lab with $runner; its data is in $LAB_DIR"
    # A cgroup for each node, so that cAdvisor can tell them apart.
    export HALAB_CGROUP=true
    # How the page in the browser starts and stops a node; `halab up` tells the page its own way.
    [ "$runner" != process-compose ] ||
        export HALAB_NODE_COMMAND="cd '$LAB_RUN' && process-compose --use-uds --unix-socket pc.sock --log-file pc-client.log process"
    # A session of its own: Ctrl-C and the end of this terminal do not reach the lab.
    case $runner in
    process-compose)
        (
            cd "$LAB_RUN" || exit
            export PROC_COMP_CONFIG=$LAB_RUN
            # Standard output repeats the nodes' logs, which are in files.
            exec setsid process-compose --config "$LAB_ROOT/process-compose.yaml" --tui=false --disable-dotenv \
                --use-uds --unix-socket pc.sock --log-file "$LAB_RUN/pc.log"
        ) </dev/null >/dev/null 2>"$LAB_RUN/runner.log" &
        ;;
    halab)
        setsid halab up --logs "$LAB_LOG" </dev/null >"$LAB_RUN/runner.log" 2>&1 &
        ;;
    *) die "LAB_RUNNER is '$runner'" "set it to process-compose or halab" ;;
    esac
    save_settings
    printf '%s %s %s\n' $! "$(start_time $!)" "$runner" >"$LAB_RUN/runner"
}

wait_until_healthy() {
    local began=$SECONDS
    until halab status --wait 1s >/dev/null 2>&1; do
        lab_is_up || fail_with_logs "the lab has ended"
        ! a_node_has_ended || fail_with_logs "a node has ended"
        [ $((SECONDS - began)) -lt $SETTLE_SECONDS ] ||
            fail_with_logs "the lab is not healthy after $SETTLE_SECONDS s"
    done
    say "healthy"
}

# Nothing restarts a node that has ended, so waiting would be useless.
a_node_has_ended() {
    case $(runner) in
    process-compose)
        pc list --output wide 2>/dev/null | grep -vE ' (monitoring|proxy|web) ' |
            grep -qE ' (Completed|Error|Skipped) '
        ;;
    *) grep -q 'node exited' "$LAB_RUN/runner.log" ;;
    esac
}

# fail_with_logs PROBLEM: prints the end of the logs of unhealthy nodes and of the runner, and
# exits.
fail_with_logs() {
    local node file
    for node in $(lab_nodes); do
        ! halab health "$node" >/dev/null 2>&1 || continue
        file=$LAB_LOG/$node.log
        [ ! -s "$file" ] || { printf '\n--- %s\n' "$file" && tail -n 15 "$file"; } >&2
    done
    [ ! -s "$LAB_RUN/runner.log" ] || tail -n 5 "$LAB_RUN/runner.log" >&2
    halab status >&2 || true
    die "$1" "see the logs above; all logs: $LAB_LOG; remedies: docs/runbook.md. Data stays in $LAB_DIR"
}

lab_stop() {
    if lab_is_up; then
        say "stopping the lab"
        # process-compose answers after all nodes have ended; `halab up` ends after its nodes.
        if [ "$(runner)" != process-compose ] || ! pc down >/dev/null 2>&1; then
            kill -TERM "$(runner_field 1)" 2>/dev/null || true
        fi
        wait_until_gone lab_is_up
    elif ! any_left_over clients && ! any_left_over monitors && ! any_left_over nodes && ! any_left_over servers; then
        say "the lab is not running"
        return
    fi
    # A killed runner leaves nodes behind, and a killed node its server.
    local kind
    for kind in clients monitors nodes servers; do
        left_over $kind | xargs -r kill -TERM 2>/dev/null || true
        wait_until_gone any_left_over $kind
    done
    rm -f "$LAB_RUN/runner"
    remove_empty_cgroups
    say "all nodes have ended; their data is in $HALAB_STATE"
}

# Removes the cgroups of nodes that have ended; rmdir fails for one in use.
remove_empty_cgroups() {
    rmdir /sys/fs/cgroup/{,*/}halab/* /sys/fs/cgroup/{,*/}halab 2>/dev/null || true
    # With cgroup v2 and delegation to a user they are somewhere above this process.
    local place
    place=$(sed -n 's/^0:://p' /proc/self/cgroup 2>/dev/null)
    while [ -n "${place%/}" ]; do
        rmdir "/sys/fs/cgroup$place/halab"/* "/sys/fs/cgroup$place/halab" 2>/dev/null || true
        place=${place%/*}
    done
}

# wait_until_gone TEST...: waits until the test fails.
wait_until_gone() {
    local began=$SECONDS
    while "$@"; do
        [ $((SECONDS - began)) -lt $STOP_SECONDS ] ||
            die "processes still run after $STOP_SECONDS s" "see $LAB_LOG; to force their end: kill -KILL" \
                "$({
                    runner_field 1
                    left_over clients
                    left_over monitors
                    left_over nodes
                    left_over servers
                } | sort -un | tr '\n' ' ')"
        sleep 0.1
    done
}

lab_logs() {
    local files=("$LAB_LOG"/*.log)
    [ $# -eq 0 ] || files=("$LAB_LOG/$1.log")
    [ -e "${files[0]}" ] || die "there is no log of ${1-any node}" \
        "start the lab: ./lab up; its nodes: $(lab_nodes | tr '\n' ' ')"
    exec tail -n 20 -f "${files[@]}"
}

lab_tui() {
    lab_is_up || die "the lab is not running" "start it: ./lab up"
    [ "$(runner)" = process-compose ] || die "'halab up' runs the lab; it has no terminal interface" \
        "install process-compose, or Go 1.26 to build it, then run ./lab down && ./lab up"
    pc attach
}

# Kills the server of a node; its supervisor decides when and in which role to start it again.
node_kill() {
    [ -n "${1-}" ] || die "kill: which node?" "the nodes: $(lab_nodes | tr '\n' ' ')"
    local server
    for server in $(left_over servers); do
        [[ $(readlink "/proc/$server/cwd") != "$HALAB_STATE/$1"/* ]] || {
            kill -KILL "$server"
            say "killed the server of $1, process $server"
            return
        }
    done
    die "no server of '$1' runs" "the nodes: $(lab_nodes | tr '\n' ' ')"
}

node_control() {
    [ -n "${2-}" ] || die "$1: which node?" "the nodes: $(lab_nodes | tr '\n' ' ')"
    lab_is_up || die "the lab is not running" "start it: ./lab up"
    case $(runner) in
    halab) halab up "--$1" "$2" ;;
    *) pc process "$1" "$2" ;;
    esac
}
