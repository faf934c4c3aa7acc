"""Checks objects against the APIs of Kubernetes and the Prometheus operator: unknown fields, wrong
types, missing fields. For scripts/kubernetes.py.

The schemas are those of the package kubernetes-validate and the operator's own
CustomResourceDefinitions; the rules of the latter in CEL (x-kubernetes-validations) are not
checked."""

import json

import jsonschema
import yaml

API = "v1.34.0"


def kubernetes(folder):
    """The schemas of Kubernetes' own objects, by group, version and kind."""
    strict = next(folder.rglob(f"{API}-local-strict"))
    text = (strict / "_definitions.json").read_text()
    # The references name a file; here all definitions are in one document.
    definitions = json.loads(text.replace('"/api/_definitions.json#/', '"#/'))["$defs"]
    return {
        (kind["group"], kind["version"], kind["kind"]): {
            "$ref": f"#/$defs/{name}",
            "$defs": definitions,
        }
        for name, definition in definitions.items()
        for kind in definition.get("x-kubernetes-group-version-kind", [])
    }


def operators(folder):
    """The schemas of the operator's objects that are used here, from its source."""
    found = {}
    for kind in ("servicemonitors", "prometheusrules"):
        path = folder / f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml"
        spec = yaml.safe_load(path.read_text())["spec"]
        for version in spec["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            # The API server checks metadata itself.
            schema["properties"]["metadata"] = {"type": "object"}
            found[spec["group"], version["name"], spec["names"]["kind"]] = schema
    return found


def strict(schema):
    """The schema with unknown fields refused; an API server drops them unless told to refuse
    them."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        # The keys of `properties` are names of fields, not keywords of a schema.
        key: {name: strict(of) for name, of in value.items()}
        if key == "properties"
        else strict(value)
        for key, value in schema.items()
    }
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


def refused(objects, schemas):
    found = []
    for thing in objects:
        group, _, version = thing["apiVersion"].rpartition("/")
        who = f"{thing['kind']} {thing['metadata']['name']}"
        schema = schemas.get((group, version, thing["kind"]))
        if schema is None:
            found.append(f"{who}: there is no {thing['kind']} in {thing['apiVersion']}")
            continue
        for error in jsonschema.Draft7Validator(schema).iter_errors(thing):
            found.append(f"{who}: {'.'.join(map(str, error.absolute_path))}: {error.message[:200]}")
    return found
