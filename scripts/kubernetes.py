#!/usr/bin/env python3
"""Generates deploy/kubernetes/*.yaml from lab.toml, containers/images.toml and prometheus/, or
checks them (--check).

With --schemas FOLDER and --operator FOLDER, every object is also checked against its API
(scripts/kubernetes_api.py): unknown fields, wrong types, missing fields."""

import argparse
import json
import sys
from pathlib import Path

import compose
import yaml
from templates import read_lab, read_toml

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "deploy/kubernetes"
# Each node has the address of a Service, with the last octet of lab.toml. This /24 is the first of
# the default Service range of kubeadm, kind and minikube, a part for addresses that are requested.
NETWORK = "10.96.0"
NAME = "redis-ha-lab"
PORTS = {"redis": 6379, "sentinel": 26379, "metrics": 9400}
LABEL = {"app.kubernetes.io/part-of": NAME}
USER = 65532
SECRETS = "/run/secrets"

LAB = read_lab("monitoring")
VERSION = read_toml("Cargo.toml")["package"]["version"]
IMAGES = read_toml("containers/images.toml")["image"]
# None: the lab has no proxy.
PROXY = compose.proxy_settings(LAB)
# The label of a pod, in any namespace, that may connect to the proxy.
CLIENT = f"{NAME}/client"


def thing(api, kind, name, spec=None, labels=None, **more):
    meta = {"name": name, "labels": {**LABEL, **(labels or {})}}
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": meta,
        **({"spec": spec} if spec is not None else {}),
        **more,
    }


def address(given):
    return f"{NETWORK}.{given.split('.')[-1]}"


def labels_of(component, node=None):
    return {"app.kubernetes.io/component": component, **({f"{NAME}/node": node} if node else {})}


def container(name, image, memory, cpu, mounts, args=None, env=None, ports=(), probes=None):
    described = IMAGES[image]
    variables = {"HALAB_SUBNET": NETWORK, **(env or {})}
    # The pod's own address differs from that of its Service, by which the others know the node.
    listen = {"name": "HALAB_LISTEN", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    made = {
        "name": name,
        "image": f"{NAME}-{image}:{VERSION}",
        # The image is loaded into the machines, or pushed to a registry; kustomization.yaml renames
        # it then.
        "imagePullPolicy": "IfNotPresent",
        "env": [listen, *({"name": key, "value": value} for key, value in variables.items())],
        "ports": [{"name": what, "containerPort": port} for what, port in ports],
        # Requests equal limits: the pod is not evicted for lack of memory.
        "resources": {
            "requests": {"memory": memory, "cpu": cpu},
            "limits": {"memory": memory},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            *({"name": volume, "mountPath": path} for volume, path in mounts),
            {"name": "secrets", "mountPath": SECRETS, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
        **(probes or {}),
    }
    if args:
        made["args"] = args
    if {path for _, path in mounts} | {SECRETS} != set(described.get("state", [])) | {SECRETS}:
        sys.exit(f"{name}: the image {image} keeps its state in {described['state']}")
    return made


def pod(component, node, containers, grace, spread):
    apart = {"matchLabels": {**LABEL, "app.kubernetes.io/component": component}}
    return {
        "metadata": {
            "labels": {**LABEL, **labels_of(component, node)},
        },
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": grace,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            **(
                {
                    "affinity": {
                        "podAntiAffinity": {
                            "requiredDuringSchedulingIgnoredDuringExecution": [
                                {"topologyKey": "kubernetes.io/hostname", "labelSelector": apart}
                            ]
                        }
                    }
                }
                if spread
                else {}
            ),
            "containers": containers,
            "volumes": [
                {"name": "secrets", "secret": {"secretName": NAME, "defaultMode": 0o440}},
                {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
            ],
        },
    }


def stateful(name, service, template, volume, size):
    return thing(
        "apps/v1",
        "StatefulSet",
        name,
        {
            "replicas": 1,
            "serviceName": service,
            # No start order: each node decides whether it may start.
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "RollingUpdate"},
            "selector": {"matchLabels": {f"{NAME}/node": name}},
            "template": template,
            "volumeClaimTemplates": [
                {
                    "metadata": {"name": volume},
                    "spec": {
                        "accessModes": ["ReadWriteOncePod"],
                        "resources": {"requests": {"storage": size}},
                    },
                }
            ],
        },
        template["metadata"]["labels"],
    )


def probe():
    # No liveness probe: the supervisor, which asks the Sentinels, decides whether to kill a server.
    health = {
        "exec": {"command": ["/bin/halab", "health"]},
        "periodSeconds": 2,
        "timeoutSeconds": 3,
    }
    return {"readinessProbe": {**health, "failureThreshold": 3}}


def nodes():
    made = [
        thing("v1", "Namespace", NAME, labels={"pod-security.kubernetes.io/enforce": "restricted"})
    ]
    for component in ("redis", "sentinel"):
        ports = [(component, PORTS[component]), ("metrics", PORTS["metrics"])]
        spec = {
            "clusterIP": "None",
            # The other nodes must also find a node that is not ready.
            "publishNotReadyAddresses": True,
            "selector": labels_of(component),
            "ports": [{"name": what, "port": port} for what, port in ports],
        }
        made.append(thing("v1", "Service", component, spec, labels_of(component)))
    for node in LAB["data_node"] + LAB["sentinel"]:
        # The fixed address of the node, wherever its pod runs; without the labels that Prometheus
        # selects.
        spec = {
            "type": "ClusterIP",
            "clusterIP": address(node["address"]),
            "publishNotReadyAddresses": True,
            "selector": {f"{NAME}/node": node["name"]},
            "ports": [{"name": "server", "port": node["port"]}],
        }
        made.append(thing("v1", "Service", f"at-{node['name']}", spec))
    kinds = [("redis", node) for node in LAB["data_node"]] + [
        ("sentinel", node) for node in LAB["sentinel"]
    ]
    for component, node in kinds:
        data = component == "redis"
        ports = [(component, node["port"]), ("metrics", LAB["monitoring"]["node_port"])]
        inside = container(
            "node",
            component,
            "1Gi" if data else "128Mi",
            "500m" if data else "100m",
            [("state", "/state")],
            env={"HALAB_NODE": node["name"]},
            ports=ports,
            probes=probe(),
        )
        # SIGTERM triggers the handover: longer than the 15 s that it may take, plus the stop of the
        # server.
        template = pod(component, node["name"], [inside], 45 if data else 15, True)
        made.append(stateful(node["name"], component, template, "state", "8Gi" if data else "1Gi"))
    # One node at a time, data node or Sentinel: the lab survives the loss of one.
    voluntary = {
        "maxUnavailable": 1,
        "selector": {
            "matchExpressions": [
                {
                    "key": "app.kubernetes.io/component",
                    "operator": "In",
                    "values": ["redis", "sentinel"],
                }
            ]
        },
    }
    made.append(thing("policy/v1", "PodDisruptionBudget", "nodes", voluntary))
    monitoring = LAB["monitoring"]
    writer = container(
        "writer",
        "writer",
        "256Mi",
        "250m",
        [("ledger", "/ledger")],
        # Records are never deleted: at this rate they fill a data node's memory in two months.
        args=[
            "write",
            "--duration",
            "1000h",
            "--rate",
            "1",
            "--ledger",
            "/ledger/$(RUN).ledger",
            "--metrics",
            f"$(HALAB_LISTEN):{monitoring['writer_port']}",
        ],
        ports=[("metrics", monitoring["writer_port"])],
    )
    writer["env"].insert(
        0, {"name": "RUN", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}
    )
    template = pod("writer", "writer", [writer], 15, False)
    made.append(stateful("writer", "writer", template, "ledger", "8Gi"))
    spec = {
        "clusterIP": "None",
        "selector": labels_of("writer"),
        "ports": [{"name": "metrics", "port": monitoring["writer_port"]}],
    }
    made.append(thing("v1", "Service", "writer", spec, labels_of("writer")))
    made += proxy() if PROXY else []
    made += web()
    exporter = container(
        "redis-exporter",
        "redis-exporter",
        "128Mi",
        "50m",
        [("state", "/state")],
        ports=[("metrics", monitoring["redis_exporter_port"])],
        probes={
            "readinessProbe": {
                "exec": {"command": ["/bin/halab", "monitor"]},
                "periodSeconds": 5,
                "timeoutSeconds": 3,
            }
        },
    )
    template = pod("exporter", None, [exporter], 10, False)
    template["spec"]["volumes"].append(
        {"name": "state", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}}
    )
    spec = {
        "replicas": 1,
        # Two instances would each be scraped for all nodes.
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": labels_of("exporter")},
        "template": template,
    }
    made.append(thing("apps/v1", "Deployment", "redis-exporter", spec, labels_of("exporter")))
    spec = {
        "clusterIP": "None",
        "selector": labels_of("exporter"),
        "ports": [{"name": "metrics", "port": monitoring["redis_exporter_port"]}],
    }
    made.append(thing("v1", "Service", "redis-exporter", spec, labels_of("exporter")))
    return made


def proxy():
    """Two proxies behind the lab's address for them: a client's connection is with one of them."""
    port, metrics = PROXY["port"], LAB["monitoring"]["proxy_port"]
    inside = container(
        "proxy",
        "proxy",
        "512Mi",
        "500m",
        [],
        # Together below the maxclients of a data node, 10000.
        args=["--max-clients", "4500"],
        ports=[("server", port), ("metrics", metrics)],
        probes=probe(),
    )
    labels = labels_of("proxy")
    spec = {
        "replicas": 2,
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
        },
        "selector": {"matchLabels": labels},
        # SIGTERM: commands that were sent are answered first.
        "template": pod("proxy", "proxy", [inside], 15, True),
    }
    service = {
        "type": "ClusterIP",
        "clusterIP": address(PROXY["address"]),
        "selector": labels,
        "ports": [{"name": "server", "port": port}, {"name": "metrics", "port": metrics}],
    }
    return [
        thing("apps/v1", "Deployment", "proxy", spec, labels),
        thing("v1", "Service", "proxy", service, labels),
    ]


def web():
    """The page in a browser, which only looks. It listens in its pod only: `kubectl port-forward`
    reaches it there."""
    port = LAB["monitoring"]["web_port"]
    inside = container(
        "web",
        "writer",
        "128Mi",
        "100m",
        [("ledger", "/ledger")],
        args=["web", "--listen", f"127.0.0.1:{port}"],
        env={"HALAB_STATE": "/ledger"},
        ports=[("web", port)],
    )
    template = pod("web", "web", [inside], 15, False)
    return [stateful("web", "web", template, "ledger", "1Gi")]


def policies():
    """The network policies: all connections are refused except these."""
    monitoring = LAB["monitoring"]
    tcp = lambda *ports: [{"protocol": "TCP", "port": port} for port in ports]
    among = lambda *components: {
        "podSelector": {
            "matchExpressions": [
                {"key": "app.kubernetes.io/component", "operator": "In", "values": list(components)}
            ]
        }
    }
    servers = tcp(PORTS["redis"], PORTS["sentinel"])
    metrics = tcp(PORTS["metrics"], monitoring["writer_port"], monitoring["redis_exporter_port"])
    prometheus = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
    }
    selected = among("redis", "sentinel")["podSelector"]
    asking = ("redis", "sentinel", "writer", "exporter", "web", *(["proxy"] if PROXY else []))
    clients = []
    if PROXY:
        metrics += tcp(LAB["monitoring"]["proxy_port"])
        clients = [
            {"namespaceSelector": {}, "podSelector": {"matchLabels": {CLIENT: "true"}}},
        ]
    return [
        thing(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "nobody",
            {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
        ),
        thing(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "nodes-are-asked",
            {
                "podSelector": selected,
                "policyTypes": ["Ingress"],
                "ingress": [{"from": [among(*asking)], "ports": servers}],
            },
        ),
        thing(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "nodes-may-be-asked",
            {
                "podSelector": among(*asking)["podSelector"],
                "policyTypes": ["Egress"],
                "egress": [{"to": [among("redis", "sentinel")], "ports": servers}],
            },
        ),
        thing(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "prometheus-asks",
            {
                "podSelector": {},
                "policyTypes": ["Ingress"],
                "ingress": [{"from": [prometheus], "ports": metrics}],
            },
        ),
        *(
            thing(
                "networking.k8s.io/v1",
                "NetworkPolicy",
                "clients-use-the-proxy",
                {
                    "podSelector": among("proxy")["podSelector"],
                    "policyTypes": ["Ingress"],
                    "ingress": [{"from": [client], "ports": tcp(PROXY["port"])}],
                },
            )
            for client in clients
        ),
    ]


def camel(rule):
    """A relabelling rule of prometheus.yml in the operator's form."""
    names = {"source_labels": "sourceLabels", "target_label": "targetLabel"}
    return {names.get(key, key): value for key, value in rule.items()}


def monitoring():
    """The configuration of prometheus/ as objects of the Prometheus operator."""
    shipped = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in shipped["scrape_configs"]}
    elsewhere = lambda value: json.loads(
        json.dumps(value)
        .replace("127.0.0.", f"{NETWORK}.")
        .replace("127\\\\.0\\\\.0\\\\.", NETWORK.replace(".", "\\\\.") + "\\\\.")
    )
    times = {
        "interval": shipped["global"]["scrape_interval"],
        "scrapeTimeout": shipped["global"]["scrape_timeout"],
    }
    fixed = lambda label, value: {"targetLabel": label, "replacement": value}
    lab = fixed("lab", LAB["lab"]["name"])
    node = {
        "sourceLabels": ["__meta_kubernetes_pod_label_redis_ha_lab_node"],
        "targetLabel": "node",
    }

    def monitor(name, components, endpoints):
        select = {
            "matchExpressions": [
                {"key": "app.kubernetes.io/component", "operator": "In", "values": components}
            ]
        }
        return thing(
            "monitoring.coreos.com/v1",
            "ServiceMonitor",
            name,
            {"selector": select, "endpoints": endpoints},
        )

    made = []
    for name, kinds in (
        ("halab-node", {"redis": "data", "sentinel": "sentinel"}),
        ("halab-writer", {"writer": "writer"}),
        *([("halab-proxy", {"proxy": "proxy"})] if PROXY else []),
    ):
        kind = [
            {
                "sourceLabels": ["__meta_kubernetes_pod_label_app_kubernetes_io_component"],
                "regex": component,
                **fixed("kind", kind),
            }
            for component, kind in kinds.items()
        ]
        endpoint = {
            "port": "metrics",
            **times,
            "relabelings": [fixed("job", name), lab, node, *kind],
        }
        made.append(monitor(name, list(kinds), [endpoint]))
    redis = jobs["redis"]
    endpoints = []
    for target in redis["static_configs"]:
        at = elsewhere(target["targets"][0])
        endpoints.append(
            {
                "port": "metrics",
                "path": redis["metrics_path"],
                "params": {"target": [at]},
                **times,
                "relabelings": [
                    fixed("job", "redis"),
                    fixed("instance", at.split("://")[1]),
                    *(fixed(label, value) for label, value in target["labels"].items()),
                ],
                "metricRelabelings": [
                    camel(rule) for rule in elsewhere(redis["metric_relabel_configs"])
                ],
            }
        )
    made.append(monitor("redis", ["exporter"], endpoints))
    for file in sorted((ROOT / "prometheus/rules").glob("*.yml")):
        rules = yaml.safe_load(file.read_text())
        made.append(
            thing("monitoring.coreos.com/v1", "PrometheusRule", f"{NAME}-{file.stem}", rules)
        )
    return made


FILES = {"nodes.yaml": nodes, "policies.yaml": policies, "monitoring.yaml": monitoring}


def rendered(objects):
    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data):
            return True

        def increase_indent(self, flow=False, indentless=False):
            return super().increase_indent(flow, False)

    text = yaml.dump_all(objects, Dumper=Plain, sort_keys=False, width=1000, explicit_start=True)
    head = "Generated by scripts/kubernetes.py from lab.toml and prometheus/; ./lab test checks it."
    return f"# {head}\n{text}"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write the files (the default)")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if a file differs"
    )
    parser.add_argument(
        "--schemas",
        type=Path,
        metavar="FOLDER",
        help="schemas of the package kubernetes-validate, to check objects against",
    )
    parser.add_argument(
        "--operator",
        type=Path,
        metavar="FOLDER",
        help="source of the Prometheus operator, to check its objects against",
    )
    args = parser.parse_args()
    found = []
    for name, make in FILES.items():
        text = rendered(make())
        path = FOLDER / name
        if args.check:
            if not path.exists() or path.read_text() != text:
                found.append(f"{path.relative_to(ROOT)} differs: run ./lab generate")
        else:
            path.write_text(text)
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    if sorted(kustomization["resources"]) != sorted(FILES):
        found.append(
            f"kustomization.yaml lists {kustomization['resources']}; the files are {sorted(FILES)}"
        )
    needed = [
        f"secrets/{name}.pem"
        for name in (
            "ca",
            "client",
            *(["proxy"] if PROXY else []),
            *(f"node-{n['name']}" for n in LAB["data_node"] + LAB["sentinel"]),
        )
    ]
    given = [file for secret in kustomization["secretGenerator"] for file in secret["files"]]
    found += [
        f"kustomization.yaml: the application {app['name']} needs secrets/app-{app['name']}"
        for app in LAB.get("app", [])
        if f"secrets/app-{app['name']}" not in given
    ]
    if LAB["security"]["tls"]:
        found += [
            f"kustomization.yaml: security.tls needs {file} in the files of the secret"
            for file in needed
            if file not in given
        ]
    else:
        shown = (FOLDER / "kustomization.yaml").read_text().splitlines()
        found += [
            f"kustomization.yaml does not show {file}, for security.tls"
            for file in needed
            if f"      # - {file}" not in shown
        ]
    if args.schemas:
        import kubernetes_api as api  # needs packages that nothing else here needs

        # The objects of the files, not those in memory.
        objects = [
            thing for name in FILES for thing in yaml.safe_load_all((FOLDER / name).read_text())
        ]
        schemas = api.kubernetes(args.schemas)
        if args.operator:
            schemas |= api.operators(args.operator)
        else:
            objects = [
                thing
                for thing in objects
                if not thing["apiVersion"].startswith("monitoring.coreos.com/")
            ]
        found += api.refused(objects, schemas)
    sys.exit("\n".join(found) or 0)


if __name__ == "__main__":
    main()
