# shellcheck shell=bash
# The containers lane: compose.yaml on a Docker engine, on the one that is here or on one of the lab's own. Sourced by ./lab.
#
# What runs is noted in $LAB_RUN/containers, as settings that every later command takes over: `./lab status`, `write`,
# `verify` and `drill` then go to the containers' addresses, which Linux reaches from outside.

ENGINE_SECONDS=30 # a first start takes 2 s
LAB_PROJECT=${LAB_PROJECT:-redis-ha-lab}
export LAB_PROJECT

# --- the engine ---------------------------------------------------------------------------------------

engine_answers() { docker info >/dev/null 2>&1; }

setup_docker() {
    have docker || install_docker
    compose version >/dev/null 2>&1 && return
    local package=docker-compose
    apt_update
    # Ubuntu's name of version 2.
    [ -z "$(apt-cache madison docker-compose-v2 2>/dev/null)" ] || package=docker-compose-v2
    apt_install "Docker Compose" $package
    compose version >/dev/null || die "neither 'docker compose' nor 'docker-compose' works" "its message is above"
}

# Not started: whether there is to be one with the machine is not for the lab to say.
install_docker() {
    (without_services apt_install "Docker" docker.io) || exit
    hash -r
    if have systemctl; then
        as_root systemctl disable docker.service docker.socket containerd.service >/dev/null 2>&1 || true
    fi
}

compose() {
    local compose=(docker-compose)
    ! docker compose version >/dev/null 2>&1 || compose=(docker compose)
    if [ "${1-}" = version ]; then
        "${compose[@]}" version
    else
        "${compose[@]}" --project-name "$LAB_PROJECT" --file "$LAB_ROOT/compose.yaml" "$@"
    fi
}

# The engine at hand, or one of the lab's own: LAB_ENGINE=own, or nobody answers.
engine_up() {
    setup_docker
    if [ "${LAB_ENGINE-}" != own ] && [ "${engine-}" != own ] && engine_answers; then
        engine=given
        LAB_ENGINE_SOCKET=$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null | sed -n 's|^unix://||p')
        LAB_ENGINE_SOCKET=${LAB_ENGINE_SOCKET:-/var/run/docker.sock}
        case ${DOCKER_HOST-} in unix://*) LAB_ENGINE_SOCKET=${DOCKER_HOST#unix://} ;; esac
        say "using the Docker engine that is here, $LAB_ENGINE_SOCKET"
    else
        engine=own
        own_engine_up
    fi
    LAB_ENGINE_ROOT=$(docker info --format '{{.DockerRootDir}}')
    export LAB_ENGINE_SOCKET LAB_ENGINE_ROOT
}

# Sockets have short paths; and this one is in memory where /run is.
engine_run() { printf '/run/halab-%s\n' "$(printf '%s' "$LAB_DIR" | sha256sum | cut -c1-8)"; }

engine_pid() {
    local pid
    pid=$(cut -d' ' -f1 "$LAB_RUN/engine" 2>/dev/null) && [ -n "$pid" ] &&
        [ "$(start_time "$pid")" = "$(cut -d' ' -f2 "$LAB_RUN/engine")" ] && printf '%s\n' "$pid"
}

# It changes nothing of the machine but for one bridge while the lab is up: no rules, no forwarding, no bridge of
# its own. Ports are published by a process each, so nothing is reachable that listens on a loopback.
own_engine_up() {
    LAB_ENGINE_SOCKET=$LAB_RUN/docker.sock
    [ ${#LAB_ENGINE_SOCKET} -le 100 ] || die "the path of LAB_DIR is too long for a socket in it: $LAB_DIR" "choose a shorter one"
    export DOCKER_HOST=unix://$LAB_ENGINE_SOCKET
    ! engine_pid >/dev/null || return 0
    have dockerd || install_docker
    may_install || die "a Docker engine of the lab's own needs root or sudo" "or start one, and run this again"
    mkdir -p "$LAB_RUN" "$LAB_DIR/engine"
    # For its end. One that was killed has made them already.
    [ -e "$LAB_RUN/engine.new" ] || engine_traces | while read -r trace; do
        [ -e "$trace" ] || printf '%s\n' "$trace"
    done >"$LAB_RUN/engine.new"
    say "starting a Docker engine of the lab's own; what it keeps is in $LAB_DIR/engine"
    # No limit is raised and no score lowered: root may lack the right to, in a container for one.
    as_root setsid dockerd --host "$DOCKER_HOST" --group "$(id -g)" --pidfile "$LAB_RUN/engine.pid" \
        --data-root "$LAB_DIR/engine" --exec-root "$(engine_run)" \
        --bridge none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false \
        --default-ulimit nofile=20000:20000 --oom-score-adjust 0 \
        </dev/null >"$LAB_RUN/engine.log" 2>&1 &
    local began=$SECONDS started=$!
    until engine_answers; do
        if [ -z "$(start_time $started)" ] || [ $((SECONDS - began)) -ge $ENGINE_SECONDS ]; then
            tail -n 5 "$LAB_RUN/engine.log" >&2
            own_engine_down
            die "no Docker engine can be started here" "what it said is above, and in $LAB_RUN/engine.log"
        fi
        sleep 0.1
    done
    local pid
    pid=$(cat "$LAB_RUN/engine.pid")
    printf '%s %s\n' "$pid" "$(start_time "$pid")" >"$LAB_RUN/engine"
}

own_engine_down() {
    local pid
    if pid=$(engine_pid); then
        as_root kill -TERM "$pid"
        wait_until_gone engine_pid >/dev/null
    fi
    as_root rm -rf "$(engine_run)"
    remove_engine_traces
    rm -f "$LAB_RUN/engine" "$LAB_RUN/engine.pid" "$LAB_RUN/docker.sock"
}

# What an engine leaves outside its folders, whatever it is told: nothing but empty folders, and a name for itself.
# The inner ones first.
engine_traces() {
    printf '%s\n' /etc/docker/key.json /etc/docker /opt/containerd/{bin,lib} /opt/containerd \
        /run/docker/{plugins,swarm} /run/docker /run/containerd/{fifo,s} /run/containerd
    local controller
    for controller in /sys/fs/cgroup /sys/fs/cgroup/*/; do
        printf '%s/docker\n' "${controller%/}"
    done
}

# Of those, what the engine's start did not find, if it is empty.
remove_engine_traces() {
    local path
    while read -r path; do
        if [ -f "$path" ]; then
            as_root rm "$path"
        elif [ -d "$path" ]; then
            as_root rmdir "$path" 2>/dev/null || true
        fi
    done < <(cat "$LAB_RUN/engine.new" 2>/dev/null)
    rm -f "$LAB_RUN/engine.new"
}

# --- the lab ------------------------------------------------------------------------------------------

containers_are_up() { [ -e "$LAB_RUN/containers" ]; }

recall_containers() {
    # shellcheck source=/dev/null
    ! containers_are_up || . "$LAB_RUN/containers"
}

note_containers() {
    local name
    # shellcheck disable=SC2154  # set by engine_up
    {
        printf 'engine=%s\n' "$engine"
        for name in HALAB_SUBNET HALAB_SECRETS HALAB_PROFILE DOCKER_HOST LAB_PROJECT LAB_NETWORK LAB_LOOPBACK LAB_UI \
            HALAB_CONFIG LAB_ENGINE_SOCKET LAB_ENGINE_ROOT LAB_LEDGER; do
            [ -z "${!name-}" ] || printf 'export %s=%q\n' "$name" "${!name}"
        done
    } >"$LAB_RUN/containers"
}

lab_images() {
    setup
    mkdir -p "$LAB_DIR"
    case " $* " in
    *" --save "* | *" --configs "*) ;;
    *)
        engine_answers || die "there is no Docker engine to load them into" \
            "./lab up --containers starts one; ./lab images --save FILE writes an archive for any"
        ;;
    esac
    "$LAB_ROOT/scripts/images.py" "$@"
}

containers_up() {
    local engine=${engine-}
    mkdir -p "$LAB_RUN" "$LAB_LOG"
    python3 -c 'import tomllib' 2>/dev/null || apt_install "Python 3.11, for the images" python3
    engine_up
    "$LAB_ROOT/scripts/images.py"
    export LAB_NETWORK=${LAB_NETWORK:-198.51.100}
    export HALAB_SUBNET=$LAB_NETWORK HALAB_SECRETS=$LAB_RUN/secrets
    note_containers
    compose --profile monitoring up --detach || up_failed
    copy_secrets
    ! grafana_image || compose --profile full up --detach grafana || up_failed
    containers_healthy
}

# The containers have them in a volume, whose files are for their user alone; commands on this machine need them too.
copy_secrets() {
    rm -rf "$HALAB_SECRETS"
    docker cp "$(compose --profile core ps --all --quiet secrets):/run/secrets" "$HALAB_SECRETS" >/dev/null ||
        die "the passwords could not be copied out of their volume" "the message is above"
}

# containers_secrets ARGS...: `./lab secrets` on the passwords that all containers share.
containers_secrets() {
    compose --profile core run --rm -T secrets secrets "$@" --shared
    copy_secrets
    # It has read its own at its start.
    compose --profile monitoring restart redis-exporter >/dev/null 2>&1
}

# containers_certificates ARGS...: `./lab certificates` on those that all containers share.
containers_certificates() {
    compose --profile core run --rm -T secrets certificates "$@" --shared
    copy_secrets
}

up_failed() {
    die "the containers could not be brought up" "Compose's messages are above; to end what there is: ./lab down"
}

grafana_image() { [ -n "$(docker image ls --quiet redis-ha-lab-grafana)" ]; }

containers_healthy() {
    local began=$SECONDS
    until halab status --wait 1s >/dev/null 2>&1; do
        [ $((SECONDS - began)) -lt "$SETTLE_SECONDS" ] || {
            compose logs --tail 10 >&2 || true
            halab status >&2 || true
            die "the lab is not healthy after $SETTLE_SECONDS s" "what the containers said is above; to end them: ./lab down"
        }
    done
    say "healthy"
}

containers_down() {
    local engine=
    recall_containers
    # Containers outlive an engine that was killed.
    [ "$engine" != own ] || own_engine_up
    if engine_answers; then
        say "stopping the containers"
        compose --profile full down
    fi
    if [ "$engine" = own ]; then
        say "stopping the Docker engine"
        own_engine_down
    fi
    rm -f "$LAB_RUN/containers"
    say "all containers have ended; their data is in the volumes of $LAB_PROJECT${engine:+ ($engine engine)}"
}

# containers_control start|stop|kill NAME
containers_control() {
    [ -n "${2-}" ] || die "$1: which node?" "the nodes: $(lab_nodes | tr '\n' ' ')"
    case $1 in
    kill) compose --profile full kill -s KILL "$2" ;;
    *) compose --profile full "$1" "$2" ;;
    esac
}

containers_urls() {
    printf '\nWatching it:\n'
    local ui=${LAB_UI:-127.0.0.1}
    printf '  %-16s http://%s:%s\n' prometheus "$ui" 9090 cadvisor "$ui" 8080
    if grafana_image; then
        printf '  %-16s http://%s:%s\n' grafana "$ui" 3000
    else
        printf '  %-16s not here: %s\n' grafana "its program is not on this machine, so there is no image of it"
    fi
}
