# shellcheck shell=bash
# The test of the containers lane: a whole lab on its own Docker engine, in its own namespaces. It
# changes nothing on the machine, and nothing outlives the test. Sourced by scripts/test.sh and, in
# the namespaces, by ./lab containers-test.

# Network, mounts and processes: the kernel removes all of them with their first process.
CONTAINER_NAMESPACES=(--net --mount --pid --fork --kill-child --mount-proc)

# Prints why the test cannot run here; nothing if it can.
containers_test_obstacle() {
    if [ "$(id -u)" -ne 0 ]; then
        echo "starting a Docker engine needs root"
    elif ! have unshare ||
        ! unshare "${CONTAINER_NAMESPACES[@]}" mount -t tmpfs tmpfs /mnt 2>/dev/null; then
        echo "root may not create namespaces (a container without privileges)"
    elif ! (setup_docker && { have dockerd || install_docker; }) >/dev/null; then
        echo "Docker or Compose cannot be installed"
    else
        unshare "${CONTAINER_NAMESPACES[@]}" "$LAB_ROOT/lab" containers-test probe
    fi
}

test_containers() {
    unshare "${CONTAINER_NAMESPACES[@]}" "$LAB_ROOT/lab" containers-test run
}

# run_container_test probe|run: runs in those namespaces.
run_container_test() {
    unset DOCKER_HOST LAB_PROJECT LAB_NETWORK LAB_LOOPBACK LAB_UI HALAB_STATE HALAB_SUBNET HALAB_SECRETS
    export LAB_ENGINE=own HALAB_PROFILE=fast LAB_GRAFANA=no
    ip link set lo up
    # All files of the test are in memory and disappear with the namespace.
    mount -t tmpfs tmpfs /run
    scratch=$(mktemp -d -p /run)
    export LAB_DIR=$scratch/lab
    if [ "$1" = probe ]; then
        trap 'own_engine_down >/dev/null 2>&1; rm -rf "$scratch"' EXIT
        export LAB_RUN=$LAB_DIR/run
        # Tries to start a container, with the smallest image.
        (own_engine_up && "$LAB_ROOT/scripts/images.py" writer &&
            docker run --rm --read-only --cap-drop ALL \
                "$(docker image ls --format '{{.Repository}}:{{.Tag}}' redis-ha-lab-writer)" \
                --version) >"$scratch/output" 2>&1 ||
            echo "no container can be started: $(tail -n 1 "$scratch/output")"
        return
    fi
    trap remove_containers EXIT
    whole_container_lab
}

remove_containers() {
    ./lab down >/dev/null 2>&1 || ./lab down || true
    rm -rf "$scratch"
}

whole_container_lab() {
    traces_before=$(present_traces)
    ./lab up --containers
    export DOCKER_HOST=unix://$LAB_DIR/run/docker.sock
    within 20 "every container is healthy, by halab" every_container_is_healthy
    containers_have_least_privileges
    only_loopbacks_listen
    within 30 "cAdvisor shows each node once" one_series_per_node
    within 30 "the dashboard of the containers has each node in every panel" containers_dashboard_has_data

    say "kill of the primary's container under load"
    local primary writer
    primary=$(the_primary)
    ./lab write --duration 10s --rate 5000 --ledger "$scratch/kill.ledger" >"$scratch/write.log" 2>&1 &
    writer=$!
    within 10 "the writer writes" grep -q 'primary found' "$scratch/write.log"
    ./lab kill "$primary"
    within 15 "the alert ReplicaMissing fires" alert_fires ReplicaMissing
    wait $writer || { cat "$scratch/write.log" && return 1; }
    cat "$scratch/write.log"
    [ "$(the_primary)" != "$primary" ]
    ./lab start "$primary"
    ./lab status --wait 30s >/dev/null
    ./lab verify --ledger "$scratch/kill.ledger"

    ./lab down
    nothing_is_left
    tls_container_lab
    ./lab clean
    [ ! -e "$LAB_DIR" ]
}

# The same volumes, with mutual TLS turned on while the lab is stopped.
tls_container_lab() {
    sed 's/^tls = false/tls = true/; s/^mutual_tls = false/mutual_tls = true/' lab.toml \
        >"$scratch/lab.toml"
    export HALAB_CONFIG=$scratch/lab.toml
    ./lab up --containers
    ./lab verify --ledger "$scratch/kill.ledger"
    no_server_answers_without_tls
    within 20 "redis_exporter reaches every server" exporter_reaches_every_server
    ./lab certificates renew
    ./lab status >/dev/null

    # A node isolated, a node frozen; the drill heals and verifies each.
    ./lab drill isolate-primary hang-primary-node --attach --lane containers --rate 5000
    # The negative control: a drill that the engine cannot do is inconclusive.
    local status=0
    ./lab drill slow-link --attach --lane containers || status=$?
    [ $status -eq 3 ]

    ./lab down
    nothing_is_left
}

# within SECONDS WHAT TEST...
within() {
    local limit=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ $SECONDS -lt $limit ] || die "not met in time: $what"
        sleep 0.2
    done
    say "$what"
}

the_primary() { ./lab status --primary; }

# Checks the running containers, not compose.yaml.
containers_have_least_privileges() {
    docker ps --all --quiet | xargs docker inspect | python3 -c '
import json, sys
containers = json.load(sys.stdin)
wrong = []
for container in containers:
    name, host = container["Config"]["Labels"]["com.docker.compose.service"], container["HostConfig"]
    right = {
        "running or succeeded": container["State"]["Running"] or container["State"]["ExitCode"] == 0,
        "user": container["Config"]["User"] == ("0:0" if name == "cadvisor" else "65532:65532"),
        "no capability": host["CapDrop"] == ["ALL"] and not host["CapAdd"] and not host["Privileged"],
        "no new privileges": "no-new-privileges:true" in host["SecurityOpt"],
        "read-only root": host["ReadonlyRootfs"],
        "no restart": host["RestartPolicy"]["Name"] == "no",
        "time for a handover": container["Config"]["StopTimeout"]
        >= (30 if name.startswith("redis-") and name != "redis-exporter" else 10),
        "limits": host["Memory"] > 0 and host["NanoCpus"] > 0 and host["PidsLimit"] > 0,
        "loopback ports only": all(
            at["HostIp"].startswith("127.")
            for ports in (host["PortBindings"] or {}).values()
            for at in ports
        ),
    }
    wrong += [f"{name}: {what}" for what, holds in right.items() if not holds]
print("lab:", len(containers), "containers, each with least privileges")
sys.exit("not met: " + ", ".join(wrong) if wrong or len(containers) < 8 else 0)'
}

every_container_is_healthy() {
    docker ps --quiet | xargs docker inspect | python3 -c '
import json, sys
containers = json.load(sys.stdin)
sys.exit(not all(c["State"]["Health"]["Status"] == "healthy" and c["Config"]["Healthcheck"]["Test"][1] == "/bin/halab"
                 for c in containers))'
}

# The namespace has only this lab. Addresses in /proc/net/tcp are in hexadecimal, lowest byte last.
only_loopbacks_listen() {
    local elsewhere
    elsewhere=$(awk '$4 == "0A" && $2 !~ /^......7F:/' /proc/net/tcp &&
        sed 1d /proc/net/tcp6 2>/dev/null) || true
    [ -z "$elsewhere" ] || die "a socket listens on another address than a loopback: $elsewhere"
    [ "$(awk '$4 == "0A"' /proc/net/tcp | wc -l)" -ge 8 ] || die "nodes or services are not published"
    say "all listening sockets are on loopback addresses"
}

no_server_answers_without_tls() {
    python3 -c '
import socket, sys
servers = [(11, 6379), (12, 6379), (21, 26379), (22, 26379), (23, 26379)]
for last, port in servers:
    address = f"198.51.100.{last}"
    with socket.create_connection((address, port), timeout=5) as server:
        server.sendall(b"PING\r\n")
        try:
            answer = server.recv(100)
        except ConnectionResetError:
            answer = b""
    if b"PONG" in answer or b"NOAUTH" in answer:
        sys.exit(f"{address} answers without TLS: {answer}")'
    say "no server answers without TLS"
}

exporter_reaches_every_server() {
    ask_prometheus 'redis_up == 1' | python3 -c '
import json, sys
nodes = sorted(series["metric"]["node"] for series in json.load(sys.stdin)["data"]["result"])
sys.exit(nodes != sorted(sys.argv[1].split()))' "$(lab_nodes)" 2>/dev/null
}

# ask_prometheus QUERY: prints the result as JSON.
ask_prometheus() {
    curl -fsS "http://127.0.0.1:9090/api/v1/query" --data-urlencode "query=$1" 2>/dev/null
}

one_series_per_node() {
    ask_prometheus container_memory_working_set_bytes | python3 -c '
import json, sys
nodes = sorted(series["metric"].get("node", "?") for series in json.load(sys.stdin)["data"]["result"])
sys.exit(nodes != sorted(sys.argv[1].split()))' "$(lab_nodes)" 2>/dev/null
}

# Each node is in the result of every query. Only these values may be 0: those that a cAdvisor
# without capabilities cannot read, and the kernel time and cache of an idle node.
containers_dashboard_has_data() {
    # shellcheck disable=SC2016  # Grafana's variables
    python3 -c '
import json, sys, urllib.parse, urllib.request
nodes, may_be_zero = sorted(sys.argv[1].split()), ("file_descriptors", "sockets", "cpu_", "cache")
for panel in json.load(open("grafana/dashboards/containers.json"))["panels"]:
    for target in panel.get("targets", []):
        query = target["expr"].replace("$__rate_interval", "10s")
        query = query.replace("$lab", "redis-ha-lab").replace("$node", ".*")
        asked = urllib.parse.urlencode({"query": query})
        answer = urllib.request.urlopen(f"http://127.0.0.1:9090/api/v1/query?{asked}")
        series = json.load(answer)["data"]["result"]
        if sorted(one["metric"].get("node", "?") for one in series) != nodes:
            sys.exit(1)
        zero = any(float(one["value"][1]) == 0 for one in series)
        if zero and not any(word in query for word in may_be_zero):
            sys.exit(1)' "$(lab_nodes)" 2>/dev/null
}

alert_fires() { ask_prometheus "ALERTS{alertname=\"$1\", alertstate=\"firing\"}" | grep -q '"alertname"'; }

present_traces() {
    engine_traces | while read -r trace; do
        [ ! -e "$trace" ] || printf '%s\n' "$trace"
    done | sort
}

nothing_is_left() {
    local left
    left=$(
        # The namespace has only processes of this test.
        grep -lE '^(dockerd|containerd.*|docker-proxy|halab|redis-server)$' /proc/[0-9]*/comm 2>/dev/null
        ip -oneline link | grep -v ': lo:'
        grep -F "$scratch" /proc/mounts
        grep -F " $(engine_run)/" /proc/mounts
        # Paths of the machine itself, including cgroups.
        comm -13 <(printf '%s\n' "$traces_before") <(present_traces)
        find /run -maxdepth 1 -name 'halab-*'
        nft list ruleset
    ) || true
    [ -z "$left" ] || die "left behind: $left"
    say "nothing is left behind"
}
