# The lab as containers: the nodes of lab.toml with addresses in Docker's network (HALAB_SUBNET).
NETWORK = "198.51.100"
SECRETS = "--volume /secrets:/run/secrets:ro"
NODES = {"redis-a": 11, "redis-b": 12, "sentinel-1": 21, "sentinel-2": 22, "sentinel-3": 23}

start_all()
engine.wait_for_unit("docker.service")


def image(role: str) -> str:
    return engine.succeed(
        f"docker images --format '{{{{.Repository}}}}:{{{{.Tag}}}}' redis-ha-lab-{role}"
    ).strip()


def run(name: str, role: str, address: int, *arguments: str) -> None:
    engine.succeed(
        f"docker run --detach --name {name} --network lab --ip {NETWORK}.{address}"
        f" --env HALAB_NODE={name} --env HALAB_SUBNET={NETWORK}"
        f" --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges {SECRETS}"
        f" {image(role)} {' '.join(arguments)}"
    )


with subtest("one command loads every image"):
    engine.succeed("load-images docker")

with subtest("no image runs as root or has a shell, and each has a healthcheck"):
    images = engine.succeed("docker images --format '{{.Repository}}:{{.Tag}}'").split()
    for loaded in images:
        assert (
            engine.succeed(f"docker inspect -f '{{{{.Config.User}}}}' {loaded}").strip()
            == "65532:65532"
        ), loaded
        assert "CMD" in engine.succeed(
            f"docker inspect -f '{{{{.Config.Healthcheck.Test}}}}' {loaded}"
        ), loaded
        engine.fail(f"docker run --rm --entrypoint /bin/sh {loaded} -c true")

with subtest("the passwords are made once, for all containers"):
    engine.succeed("install -d -m 700 -o 65532 -g 65532 /secrets")
    engine.succeed(f"docker run --rm --volume /secrets:/run/secrets {image('writer')} secrets make")

with subtest("the nodes come up as containers and are healthy"):
    engine.succeed(f"docker network create --subnet {NETWORK}.0/24 lab")
    for name, address in NODES.items():
        run(name, name.split("-")[0], address)
    for name in NODES:
        engine.wait_until_succeeds(
            f"docker inspect -f '{{{{.State.Health.Status}}}}' {name} | grep -qx healthy"
        )

with subtest("the monitoring comes up, one container per service, and reaches every node"):
    run("prometheus", "prometheus", 31)
    for service in ["redis-exporter", "grafana"]:
        # All services listen at the one address of [monitoring].
        engine.succeed(
            f"docker run --detach --name {service} --network container:prometheus --env HALAB_SUBNET={NETWORK}"
            f" --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges {SECRETS} {image(service)}"
        )
    for service in ["prometheus", "redis-exporter", "grafana"]:
        engine.wait_until_succeeds(
            f"docker inspect -f '{{{{.State.Health.Status}}}}' {service} | grep -qx healthy"
        )
    engine.wait_until_succeeds(
        f"curl -fsS http://{NETWORK}.31:9090/api/v1/query --data-urlencode 'query=count(up{{job=~\"halab-node|redis\"}} == 1)'"
        " | grep -q '\"10\"'"
    )

with subtest("the primary's container is killed under load and no acknowledged record is lost"):
    run(
        "writer",
        "writer",
        41,
        "write",
        "--ledger",
        "/ledger/w.ledger",
        "--duration",
        "60s",
        "--rate",
        "1000",
    )
    engine.wait_until_succeeds("docker logs writer 2>&1 | grep -q 'primary found primary=redis-a'")
    engine.succeed("docker kill --signal KILL redis-a")
    engine.wait_until_succeeds("docker logs writer 2>&1 | grep -q 'primary found primary=redis-b'")
    engine.succeed("docker start redis-a")
    assert engine.succeed("docker wait writer").strip() == "0", engine.succeed(
        "docker logs writer 2>&1"
    )
    print(
        engine.succeed(
            f"docker run --rm --network lab --env HALAB_SUBNET={NETWORK} --volumes-from writer {SECRETS}"
            f" {image('writer')} verify --ledger /ledger/w.ledger"
        )
    )
