#!/usr/bin/env python3
"""Makes deploy/kubernetes/*.yaml of lab.toml, containers/images.toml and prometheus/, or holds them to those (--check).

With --schemas FOLDER and --operator FOLDER, every object is also held to the API that it is for (scripts/kubernetes_api.py):
its fields, their types, what is required; a field that the API does not know is refused."""

import argparse
import json
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "deploy/kubernetes"
# Each node is known by the address of a Service, with its last octet of lab.toml. This /24 is the first of the range that
# kubeadm, kind and minikube give to Services, where addresses are for who asks for one.
NETWORK = "10.96.0"
NAME = "redis-ha-lab"
PORTS = {"redis": 6379, "sentinel": 26379, "metrics": 9400}
LABEL = {"app.kubernetes.io/part-of": NAME}
USER = 65532
SECRETS = "/run/secrets"

read = lambda name: tomllib.loads((ROOT / name).read_text())
LAB = read("lab.toml")
VERSION = read("Cargo.toml")["package"]["version"]
IMAGES = read("containers/images.toml")["image"]


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
    # A pod has whatever address the network gives it; its Service's leads there.
    listen = {"name": "HALAB_LISTEN", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    made = {
        "name": name,
        "image": f"{NAME}-{image}:{VERSION}",
        # Loaded into the machines, or pushed to a registry of one's own: kustomization.yaml renames it then.
        "imagePullPolicy": "IfNotPresent",
        "env": [listen, *({"name": key, "value": value} for key, value in variables.items())],
        "ports": [{"name": what, "containerPort": port} for what, port in ports],
        # What a container may use at most is all that it is promised: it is never moved away for lack of memory.
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
    if {path for _, path in mounts} | {SECRETS} != set(described["state"]) | {SECRETS}:
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
            # The next one waits for nobody: whether a node may start is decided by the node.
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
    # No liveness probe: whether a server is to be killed is for its parent to say, who knows what the Sentinels say.
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
            # A node that is not ready is the one that the others have to find.
            "publishNotReadyAddresses": True,
            "selector": labels_of(component),
            "ports": [{"name": what, "port": port} for what, port in ports],
        }
        made.append(thing("v1", "Service", component, spec, labels_of(component)))
    for node in LAB["data_node"] + LAB["sentinel"]:
        # By whose address the others know it, wherever its pod is; without the labels that Prometheus looks for.
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
        # SIGTERM is the handover: longer than the 15 s that it may take, and the end of the server.
        template = pod(component, node["name"], [inside], 45 if data else 15, True)
        made.append(stateful(node["name"], component, template, "state", "8Gi" if data else "1Gi"))
    # Of all nodes one at a time, be it a data node or a Sentinel: that is the loss that the lab survives.
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
        # Records stay: at this rate a data node's memory is full of them after two months.
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
        # Two would each be asked for all.
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


def policies():
    """Who may speak with whom: nobody, but for what follows."""
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
    asking = ("redis", "sentinel", "writer", "exporter")
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
    ]


def camel(rule):
    """A relabelling of prometheus.yml, as the operator writes it."""
    names = {"source_labels": "sourceLabels", "target_label": "targetLabel"}
    return {names.get(key, key): value for key, value in rule.items()}


def monitoring():
    """For the Prometheus operator: what prometheus/ says, in its words."""
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
    return f"# Made by scripts/kubernetes.py of lab.toml and prometheus/, and held to them by ./lab test.\n{text}"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write the files (the default)")
    parser.add_argument(
        "--check", action="store_true", help="write nothing, and fail where a file is another"
    )
    parser.add_argument(
        "--schemas",
        type=Path,
        metavar="FOLDER",
        help="of the package kubernetes-validate: hold objects to it too",
    )
    parser.add_argument(
        "--operator",
        type=Path,
        metavar="FOLDER",
        help="the source of the Prometheus operator: likewise",
    )
    args = parser.parse_args()
    found = []
    for name, make in FILES.items():
        text = rendered(make())
        path = FOLDER / name
        if args.check:
            if not path.exists() or path.read_text() != text:
                found.append(
                    f"{path.relative_to(ROOT)} is not what scripts/kubernetes.py makes: ./lab generate"
                )
        else:
            path.write_text(text)
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    if sorted(kustomization["resources"]) != sorted(FILES):
        found.append(
            f"kustomization.yaml has {kustomization['resources']}, the files are {sorted(FILES)}"
        )
    needed = [
        f"secrets/{name}.pem"
        for name in (
            "ca",
            "client",
            *(f"node-{n['name']}" for n in LAB["data_node"] + LAB["sentinel"]),
        )
    ]
    if LAB.get("security", {}).get("tls"):
        given = [file for secret in kustomization["secretGenerator"] for file in secret["files"]]
        found += [
            f"kustomization.yaml: security.tls needs {file} among the files of the secret"
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
        import kubernetes_api as api  # its packages are not needed for the rest

        # As they are written, not as they were made.
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
