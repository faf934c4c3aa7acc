# shellcheck shell=bash
# The test of the containers lane: a whole lab on a Docker engine of its own, in namespaces of its own, so that nothing of
# the machine is touched and nothing outlives the test. Sourced by scripts/test.sh and, inside, by ./lab containers-test.

# Network, mounts and processes: the kernel ends and removes all of it with the first process in there.
CONTAINER_NAMESPACES=(--net --mount --pid --fork --kill-child --mount-proc)

# Why it can't be run here, if so.
containers_cannot() {
    if [ "$(id -u)" -ne 0 ]; then
        echo "an engine of its own needs root"
    elif ! have unshare || ! unshare "${CONTAINER_NAMESPACES[@]}" mount -t tmpfs tmpfs /mnt 2>/dev/null; then
        echo "this machine gives root no namespaces of its own (a container without privileges)"
    elif ! (setup_docker && { have dockerd || install_docker; }) >/dev/null; then
        echo "there is no Docker to be had, or no Compose"
    else
        unshare "${CONTAINER_NAMESPACES[@]}" "$LAB_ROOT/lab" containers-test probe
    fi
}

containers_lane() {
    unshare "${CONTAINER_NAMESPACES[@]}" "$LAB_ROOT/lab" containers-test run
}

# containers_test probe|run: in those namespaces.
containers_test() {
    unset DOCKER_HOST LAB_PROJECT LAB_NETWORK LAB_LOOPBACK LAB_UI HALAB_STATE HALAB_SUBNET HALAB_SECRETS
    export LAB_ENGINE=own HALAB_PROFILE=fast LAB_GRAFANA=no
    ip link set lo up
    # Everything that is written is in memory, and of this test alone: it is gone with the namespace.
    mount -t tmpfs tmpfs /run
    scratch=$(mktemp -d -p /run)
    export LAB_DIR=$scratch/lab
    if [ "$1" = probe ]; then
        trap 'own_engine_down >/dev/null 2>&1; rm -rf "$scratch"' EXIT
        export LAB_RUN=$LAB_DIR/run
        # With the least image there can be: that a container is started is what is to be known.
        (own_engine_up && "$LAB_ROOT/scripts/images.py" writer &&
            docker run --rm --read-only --cap-drop ALL "$(docker image ls --format '{{.Repository}}:{{.Tag}}' redis-ha-lab-writer)" \
                --version) >"$scratch/said" 2>&1 || echo "no container can be started here: $(tail -n 1 "$scratch/said")"
        return
    fi
    trap end_containers EXIT
    whole_container_lab
}

end_containers() {
    ./lab down >/dev/null 2>&1 || ./lab down || true
    rm -rf "$scratch"
}

whole_container_lab() {
    traces_before=$(present_traces)
    ./lab up --containers
    export DOCKER_HOST=unix://$LAB_DIR/run/docker.sock
    within 20 "every container is healthy, by halab" every_container_is_healthy
    containers_have_no_rights
    listens_on_loopbacks_alone
    within 30 "cAdvisor shows each node once" one_series_a_node
    within 30 "the page of the containers has each node in every panel" containers_page_has_data

    say "kill of the primary's container under load"
    local primary writer
    primary=$(the_primary)
    ./lab write --duration 10s --rate 5000 --ledger "$scratch/kill.ledger" >"$scratch/write.log" 2>&1 &
    writer=$!
    within 10 "the writer writes" grep -q 'primary found' "$scratch/write.log"
    ./lab kill "$primary"
    within 15 "the alert about it fires" alert_fires ReplicaMissing
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

# The same volumes with TLS, switched on in one stop; both sides show certificates.
tls_container_lab() {
    sed 's/^tls = false/tls = true/; s/^mutual_tls = false/mutual_tls = true/' lab.toml >"$scratch/lab.toml"
    export HALAB_CONFIG=$scratch/lab.toml
    ./lab up --containers
    ./lab verify --ledger "$scratch/kill.ledger"
    nobody_answers_in_the_clear
    within 20 "redis_exporter asks every server" asked_by_exporter
    ./lab certificates renew
    ./lab status >/dev/null

    # Out of the network, frozen: each healed and judged by the drill.
    ./lab drill isolate-primary hang-primary-node --attach --lane containers --rate 5000
    # The negative control: what an engine can't do is not said to hold.
    local said=0
    ./lab drill slow-link --attach --lane containers || said=$?
    [ $said -eq 3 ]

    ./lab down
    nothing_is_left
}

# within SECONDS WHAT TEST...
within() {
    local limit=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ $SECONDS -lt $limit ] || die "not in time: $what"
        sleep 0.2
    done
    say "$what"
}

the_primary() { ./lab status --primary; }

# As the engine sees them, not as compose.yaml says.
containers_have_no_rights() {
    docker ps --all --quiet | xargs docker inspect | python3 -c '
import json, sys
containers = json.load(sys.stdin)
wrong = []
for container in containers:
    name, host = container["Config"]["Labels"]["com.docker.compose.service"], container["HostConfig"]
    right = {
        "runs, or has done its work": container["State"]["Running"] or container["State"]["ExitCode"] == 0,
        "user": container["Config"]["User"] == ("0:0" if name == "cadvisor" else "65532:65532"),
        "no capability": host["CapDrop"] == ["ALL"] and not host["CapAdd"] and not host["Privileged"],
        "no new privileges": "no-new-privileges:true" in host["SecurityOpt"],
        "read-only root": host["ReadonlyRootfs"],
        "not started again": host["RestartPolicy"]["Name"] == "no",
        "time for a handover": container["Config"]["StopTimeout"] >= (30 if name.startswith("redis-") and name != "redis-exporter" else 10),
        "limits": host["Memory"] > 0 and host["NanoCpus"] > 0 and host["PidsLimit"] > 0,
        "on loopbacks alone": all(
            at["HostIp"].startswith("127.") for ports in (host["PortBindings"] or {}).values() for at in ports
        ),
    }
    wrong += [f"{name}: {what}" for what, held in right.items() if not held]
print("lab:", len(containers), "containers, each without rights that it does not need")
sys.exit("not so: " + ", ".join(wrong) if wrong or len(containers) < 8 else 0)'
}

every_container_is_healthy() {
    docker ps --quiet | xargs docker inspect | python3 -c '
import json, sys
containers = json.load(sys.stdin)
sys.exit(not all(c["State"]["Health"]["Status"] == "healthy" and c["Config"]["Healthcheck"]["Test"][1] == "/bin/halab"
                 for c in containers))'
}

# In here is nobody else. Addresses are written backwards there, in hexadecimal.
listens_on_loopbacks_alone() {
    local elsewhere
    elsewhere=$(awk '$4 == "0A" && $2 !~ /^......7F:/' /proc/net/tcp && sed 1d /proc/net/tcp6 2>/dev/null) || true
    [ -z "$elsewhere" ] || die "something listens beside the loopbacks: $elsewhere"
    [ "$(awk '$4 == "0A"' /proc/net/tcp | wc -l)" -ge 8 ] || die "nodes or services are not published"
    say "nothing listens but on loopback addresses"
}

nobody_answers_in_the_clear() {
    python3 -c '
import socket, sys
servers = [(11, 6379), (12, 6379), (21, 26379), (22, 26379), (23, 26379)]
for last, port in servers:
    address = f"198.51.100.{last}"
    with socket.create_connection((address, port), timeout=5) as server:
        server.sendall(b"PING\r\n")
        try:
            said = server.recv(100)
        except ConnectionResetError:
            said = b""
    if b"PONG" in said or b"NOAUTH" in said:
        sys.exit(f"{address} answers in the clear: {said}")'
    say "no server answers in the clear"
}

asked_by_exporter() {
    ask_prometheus 'redis_up == 1' | python3 -c '
import json, sys
nodes = sorted(series["metric"]["node"] for series in json.load(sys.stdin)["data"]["result"])
sys.exit(nodes != sorted(sys.argv[1].split()))' "$(lab_nodes)" 2>/dev/null
}

# ask_prometheus QUERY: the result as JSON.
ask_prometheus() { curl -fsS "http://127.0.0.1:9090/api/v1/query" --data-urlencode "query=$1" 2>/dev/null; }

one_series_a_node() {
    ask_prometheus container_memory_working_set_bytes | python3 -c '
import json, sys
nodes = sorted(series["metric"].get("node", "?") for series in json.load(sys.stdin)["data"]["result"])
sys.exit(nodes != sorted(sys.argv[1].split()))' "$(lab_nodes)" 2>/dev/null
}

# Each node in every query. Nothing is 0 but what a cAdvisor without capabilities may not look at, and the kernel's
# time and cache of a node that has done little.
containers_page_has_data() {
    # shellcheck disable=SC2016  # Grafana's variables
    python3 -c '
import json, sys, urllib.parse, urllib.request
nodes, may_be_zero = sorted(sys.argv[1].split()), ("file_descriptors", "sockets", "cpu_", "cache")
for panel in json.load(open("grafana/dashboards/containers.json"))["panels"]:
    for target in panel.get("targets", []):
        query = target["expr"].replace("$__rate_interval", "10s").replace("$lab", "redis-ha-lab").replace("$node", ".*")
        asked = urllib.parse.urlencode({"query": query})
        answer = json.load(urllib.request.urlopen(f"http://127.0.0.1:9090/api/v1/query?{asked}"))["data"]["result"]
        if sorted(series["metric"].get("node", "?") for series in answer) != nodes:
            sys.exit(1)
        if not any(word in query for word in may_be_zero) and any(float(s["value"][1]) == 0 for s in answer):
            sys.exit(1)' "$(lab_nodes)" 2>/dev/null
}

alert_fires() { ask_prometheus "ALERTS{alertname=\"$1\", alertstate=\"firing\"}" | grep -q '"alertname"'; }

present_traces() { engine_traces | while read -r trace; do [ ! -e "$trace" ] || printf '%s\n' "$trace"; done | sort; }

nothing_is_left() {
    local left
    left=$(
        # In here is nothing but this test.
        grep -lE '^(dockerd|containerd.*|docker-proxy|halab|redis-server)$' /proc/[0-9]*/comm 2>/dev/null
        ip -oneline link | grep -v ': lo:'
        grep -F "$scratch" /proc/mounts
        grep -F " $(engine_run)/" /proc/mounts
        # Of the machine's own, cgroups among them.
        comm -13 <(printf '%s\n' "$traces_before") <(present_traces)
        find /run -maxdepth 1 -name 'halab-*'
        nft list ruleset
    ) || true
    [ -z "$left" ] || die "left behind: $left"
    say "nothing is left behind"
}
