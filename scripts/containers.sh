# shellcheck shell=bash
# The containers lane: compose.yaml on the running Docker engine or on one started by the lab.
# Sourced by ./lab.
#
# $LAB_RUN/containers has the settings of the running containers for later commands: `./lab status`,
# `write`, `verify` and `drill` then use the containers' addresses, which Linux can reach from
# outside.

ENGINE_SECONDS=30 # a first start takes 2 s
LAB_PROJECT=${LAB_PROJECT:-redis-ha-lab}
export LAB_PROJECT

# --- the engine -----------------------------------------------------------------------------------

engine_answers() { docker info >/dev/null 2>&1; }

setup_docker() {
    have docker || install_docker
    compose version >/dev/null 2>&1 && return
    local package=docker-compose
    apt_update
    # The name of version 2 in Ubuntu.
    [ -z "$(apt-cache madison docker-compose-v2 2>/dev/null)" ] || package=docker-compose-v2
    apt_install "Docker Compose" $package
    compose version >/dev/null ||
        die "neither 'docker compose' nor 'docker-compose' works" "see its message above"
}

# Installs Docker without starting or enabling its service.
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

# Uses the running engine. With LAB_ENGINE=own, or if none answers, starts one of the lab's own.
engine_up() {
    setup_docker
    if [ "${LAB_ENGINE-}" != own ] && [ "${engine-}" != own ] && engine_answers; then
        engine=given
        LAB_ENGINE_SOCKET=$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null | sed -n 's|^unix://||p')
        LAB_ENGINE_SOCKET=${LAB_ENGINE_SOCKET:-/var/run/docker.sock}
        case ${DOCKER_HOST-} in unix://*) LAB_ENGINE_SOCKET=${DOCKER_HOST#unix://} ;; esac
        say "using the running Docker engine, $LAB_ENGINE_SOCKET"
    else
        engine=own
        own_engine_up
    fi
    LAB_ENGINE_ROOT=$(docker info --format '{{.DockerRootDir}}')
    export LAB_ENGINE_SOCKET LAB_ENGINE_ROOT
}

# A short path, as sockets need; in memory if /run is.
engine_run() { printf '/run/halab-%s\n' "$(printf '%s' "$LAB_DIR" | sha256sum | cut -c1-8)"; }

engine_pid() {
    local pid
    pid=$(cut -d' ' -f1 "$LAB_RUN/engine" 2>/dev/null) && [ -n "$pid" ] &&
        [ "$(start_time "$pid")" = "$(cut -d' ' -f2 "$LAB_RUN/engine")" ] && printf '%s\n' "$pid"
}

# The only change to the machine is one bridge while the lab is up: no firewall rules, no
# forwarding, no default bridge. A proxy process publishes each port, so services on a loopback stay
# unreachable.
own_engine_up() {
    LAB_ENGINE_SOCKET=$LAB_RUN/docker.sock
    [ ${#LAB_ENGINE_SOCKET} -le 100 ] ||
        die "the path of LAB_DIR is too long for a socket: $LAB_DIR" "choose a shorter path"
    export DOCKER_HOST=unix://$LAB_ENGINE_SOCKET
    ! engine_pid >/dev/null || return 0
    have dockerd || install_docker
    may_install || die "the lab needs root or sudo to start a Docker engine" "or start one yourself"
    mkdir -p "$LAB_RUN" "$LAB_DIR/engine"
    # For the clean-up at the end. After a killed engine, the file already exists.
    [ -e "$LAB_RUN/engine.new" ] || engine_traces | while read -r trace; do
        [ -e "$trace" ] || printf '%s\n' "$trace"
    done >"$LAB_RUN/engine.new"
    say "starting a Docker engine for the lab; its data is in $LAB_DIR/engine"
    # Do not raise limits or lower the OOM score: root in a container may not be allowed to.
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
            die "cannot start a Docker engine" "see its log above and in $LAB_RUN/engine.log"
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

# Paths that an engine creates outside its folders, whatever its options: empty folders and its key.
# Inner folders come first.
engine_traces() {
    printf '%s\n' /etc/docker/key.json /etc/docker /opt/containerd/{bin,lib} /opt/containerd \
        /run/docker/{plugins,swarm} /run/docker /run/containerd/{fifo,s} /run/containerd
    local controller
    for controller in /sys/fs/cgroup /sys/fs/cgroup/*/; do
        printf '%s/docker\n' "${controller%/}"
    done
}

# Removes the paths that did not exist before the engine started; folders only if empty.
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

# --- the lab --------------------------------------------------------------------------------------

containers_are_up() { [ -e "$LAB_RUN/containers" ]; }

load_container_settings() {
    # shellcheck source=/dev/null
    ! containers_are_up || . "$LAB_RUN/containers"
}

save_container_settings() {
    local name
    # shellcheck disable=SC2154  # set by engine_up
    {
        printf 'engine=%s\n' "$engine"
        for name in HALAB_SUBNET HALAB_SECRETS HALAB_PROFILE HALAB_CONFIG DOCKER_HOST LAB_PROJECT \
            LAB_NETWORK LAB_LOOPBACK LAB_UI LAB_ENGINE_SOCKET LAB_ENGINE_ROOT LAB_LEDGER; do
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
        engine_answers || die "no Docker engine answers" \
            "./lab up --containers starts one; ./lab images --save FILE writes an archive"
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
    save_container_settings
    compose --profile monitoring up --detach || up_failed
    copy_secrets
    ! grafana_image || compose --profile full up --detach grafana || up_failed
    containers_healthy
}

# Copies the secrets out of the containers' volume, which only their user can read, for commands on
# this machine.
copy_secrets() {
    rm -rf "$HALAB_SECRETS"
    docker cp "$(compose --profile core ps --all --quiet secrets):/run/secrets" "$HALAB_SECRETS" >/dev/null ||
        die "cannot copy the secrets out of their volume" "see the message above"
}

# containers_secrets ARGS...: runs `./lab secrets` on the passwords that all containers share.
containers_secrets() {
    compose --profile core run --rm -T secrets secrets "$@" --shared
    copy_secrets
    # redis_exporter reads its password at its start only.
    compose --profile monitoring restart redis-exporter >/dev/null 2>&1
}

# containers_certificates ARGS...: runs `./lab certificates` on the certificates that all containers
# share.
containers_certificates() {
    compose --profile core run --rm -T secrets certificates "$@" --shared
    copy_secrets
}

up_failed() {
    die "cannot start the containers" "see Compose's messages above; ./lab down removes the rest"
}

grafana_image() { [ -n "$(docker image ls --quiet redis-ha-lab-grafana)" ]; }

containers_healthy() {
    local began=$SECONDS
    until halab status --wait 1s >/dev/null 2>&1; do
        [ $((SECONDS - began)) -lt "$SETTLE_SECONDS" ] || {
            compose logs --tail 10 >&2 || true
            halab status >&2 || true
            die "the lab is not healthy after $SETTLE_SECONDS s" \
                "see the containers' logs above; ./lab down removes them"
        }
    done
    say "healthy"
}

containers_down() {
    local engine=
    load_container_settings
    # Containers survive an engine that was killed: start it again to remove them.
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

# containers_web_link: prints the link to the page in the browser, at its published address.
containers_web_link() {
    compose exec -T web halab web --link | sed "s,//[^:/]*:,//${LAB_UI:-127.0.0.1}:,"
}

containers_urls() {
    printf '\nMonitoring:\n'
    local ui=${LAB_UI:-127.0.0.1}
    printf '  %-16s http://%s:%s\n' prometheus "$ui" 9090 cadvisor "$ui" 8080
    if grafana_image; then
        printf '  %-16s http://%s:%s\n' grafana "$ui" 3000
    else
        printf '  %-16s missing: %s\n' grafana "not installed on this machine, so it has no image"
    fi
}
