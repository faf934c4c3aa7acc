"""What Kubernetes' API, and that of the Prometheus operator, would refuse of an object: unknown fields, wrong types, what is
missing. For scripts/kubernetes.py.

The schemas are those of the package kubernetes-validate, and the operator's own CustomResourceDefinitions. Of the latter's
rules in CEL (x-kubernetes-validations) nothing is judged."""

import json

import jsonschema
import yaml

API = "v1.34.0"


def kubernetes(folder):
    """Group, version and kind to schema, of Kubernetes' own."""
    strict = next(folder.rglob(f"{API}-local-strict"))
    text = (strict / "_definitions.json").read_text()
    # They name each other by file; here all are in one.
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
    """The same of the operator, of what is used here, out of its source."""
    found = {}
    for kind in ("servicemonitors", "prometheusrules"):
        path = folder / f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml"
        spec = yaml.safe_load(path.read_text())["spec"]
        for version in spec["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            # The API server knows what is in there, whatever the definition says.
            schema["properties"]["metadata"] = {"type": "object"}
            found[spec["group"], version["name"], spec["names"]["kind"]] = schema
    return found


def strict(schema):
    """The schema, but unknown fields are refused: an API server drops them, or refuses them when asked to."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        # Of `properties` the keys are names of fields, not words of a schema.
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
