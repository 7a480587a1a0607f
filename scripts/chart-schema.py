#!/usr/bin/env python3
"""Which values does the Helm chart accept? Prints values.schema.json.

The sections of `config` are those of the program's own configuration (contracts/config/schema.json), so that chart and
program can not disagree; the rest is stated here. Unknown keys are refused everywhere, except inside what Kubernetes
defines (affinity, volumes, peers of a NetworkPolicy, labels), where the API server knows better. Draft 7, which every
Helm 3 and 4 understands.
"""
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = json.loads((ROOT / "contracts/config/schema.json").read_text())


def table(properties, **more):
    return {"type": "object", "additionalProperties": False, "properties": properties, **more}


def text(pattern=None, **more):
    return {"type": "string", **({"pattern": pattern} if pattern else {}), **more}


def whole(least, most):
    return {"type": "integer", "minimum": least, "maximum": most}


def many(items, **more):
    return {"type": "array", "items": items, **more}


def section(name):
    """Empty, or as the program has it; not anyOf, whose errors tell both sides."""
    return {"type": "object", "if": {"minProperties": 1}, "then": {"$ref": f"#/$defs/{name}"}}


def plain(node):
    """The same with fewer alternatives, so that errors can be read: what may be absent need not be null, and a choice of
    texts is an enum."""
    if isinstance(node, list):
        return [plain(child) for child in node]
    if not isinstance(node, dict):
        return node
    node = {key: plain(child) for key, child in node.items()}
    if "anyOf" in node:
        others = [child for child in node["anyOf"] if child != {"type": "null"}]
        if len(others) == 1:
            node.pop("anyOf")
            node = {**others[0], **node}
    if isinstance(node.get("type"), list) and "null" in node["type"]:
        types = [kind for kind in node["type"] if kind != "null"]
        node["type"] = types[0] if len(types) == 1 else types
    if "oneOf" in node and all("const" in child for child in node["oneOf"]):
        node["enum"] = [child["const"] for child in node.pop("oneOf")]
    return node


BOOL = {"type": "boolean"}
# Maps of texts: labels, annotations.
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
# What Kubernetes defines and checks itself.
KUBERNETES = {"type": "object"}
# RFC 1123.
NAME = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
QUANTITY = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, text(r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")]}
DURATION = r"^([0-9]+(ms|s|m|h))+$"
PEERS = many(
    table({"ipBlock": KUBERNETES, "namespaceSelector": KUBERNETES, "podSelector": KUBERNETES}, minProperties=1)
)


def secret(keys, **more):
    return table(
        {"existingSecret": text(r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?$"),
         "keys": table({key: text(r"^[-._a-zA-Z0-9]*$") for key in keys}), **more}
    )


def config():
    """The program's sections, without what the chart decides itself."""
    definitions = plain(PROGRAM["$defs"])
    kept = {}

    def keep(name):
        """A definition with all it needs."""
        if name in kept:
            return
        kept[name] = definitions[name]
        walk(definitions[name])

    def walk(node):
        if isinstance(node, dict):
            if "$ref" in node:
                keep(node["$ref"].removeprefix("#/$defs/"))
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    # Objects only: a text in their place would be a simulated cluster, or the default.
    for name in ("SourceConfig", "BusConfig", "StoreConfig"):
        variants = [v for v in definitions[name]["oneOf"] if v.get("type") == "object"]
        definitions[name] = {"description": definitions[name]["description"], **joined(variants)}
    # watchNamespaces says it; what a pod is in the cluster need not be told.
    for name, keys in {"KubernetesConfig": ["namespaces"], "OperatorConfig": ["namespaces", "kubeconfig", "context"],
                       "LeaseConfig": ["name"]}.items():
        for key in keys:
            definitions[name]["properties"].pop(key)
    # changeBudget says it.
    definitions["AutoscaleConfig"]["properties"].pop("changeLimit")
    names = {"source": "SourceConfig", "bus": "BusConfig", "store": "StoreConfig", "collect": "CollectConfig",
             "forecast": "ForecastConfig", "cache": "CacheConfig", "autoscale": "AutoscaleConfig",
             "kubernetes": "KubernetesConfig", "operator": "OperatorConfig", "log": "LogConfig"}
    properties = {key: section(name) if key in ("source", "bus", "store") else {"$ref": f"#/$defs/{name}"}
                  for key, name in names.items()}
    properties["step"] = {"$ref": "#/$defs/Duration"}
    walk(properties)
    return table(properties), kept


def joined(variants):
    """Variants with one key each, as one object with one of the keys: that gives errors that can be read."""
    properties = {}
    for variant in variants:
        properties.update(variant["properties"])
    return table(properties, minProperties=1, maxProperties=1)


def schema():
    configuration, definitions = config()
    pem = ["ca", "cert", "key"]
    values = table({
        "replicas": whole(1, 10),
        "image": table({
            "repository": text(r"^[a-z0-9]([-a-z0-9._/:]*[a-z0-9])?$"),
            "tag": text(r"^[\w.-]{0,128}$"),
            "digest": text(r"^(sha256:[0-9a-f]{64})?$"),
            "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
            "pullSecrets": many(table({"name": text(minLength=1)}, required=["name"])),
        }),
        "watchNamespaces": many(text(NAME), uniqueItems=True),
        "crds": table({"install": BOOL, "keep": BOOL}),
        "config": configuration,
        "changeBudget": table({"maxReplicasChanged": whole(0, 1_000_000), "windowSeconds": whole(1, 86_400)}),
        "secrets": table({
            "kafka": secret(["password", *pem]),
            "redis": secret(["password", *pem]),
            "prometheus": secret(["bearerToken", "password", *pem], username=text()),
            "metrics": secret(["token", "cert", "key"]),
        }),
        "rbac": table({
            **{key: BOOL for key in ("create", "floor", "scale", "watchTargets", "resourceMetrics", "customMetrics", "externalMetrics",
                                     "nodes", "userRoles")},
            "extraScaleTargets": many(table(
                {"apiGroup": text(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"), "resource": text(r"^[a-z]([-a-z0-9]*[a-z0-9])?$")},
                required=["apiGroup", "resource"])),
        }),
        "serviceAccount": table({"create": BOOL, "name": text(), "annotations": TEXTS}),
        **{key: TEXTS for key in ("commonLabels", "annotations", "podAnnotations", "podLabels", "nodeSelector")},
        "resources": table({key: table({"cpu": QUANTITY, "memory": QUANTITY, "ephemeral-storage": QUANTITY})
                            for key in ("requests", "limits")}),
        "dataSize": QUANTITY,
        "priorityClassName": text(),
        "tolerations": many(table({
            "key": text(), "operator": {"enum": ["Exists", "Equal", "Lt", "Gt"]}, "value": text(),
            "effect": {"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]}, "tolerationSeconds": {"type": "integer"},
        })),
        "affinity": table({key: KUBERNETES for key in ("nodeAffinity", "podAffinity", "podAntiAffinity")}),
        "topologySpreadConstraints": many(KUBERNETES),
        "terminationGracePeriodSeconds": whole(5, 600),
        "podDisruptionBudget": table({
            "enabled": BOOL, "maxUnavailable": {"anyOf": [whole(0, 10), text(r"^(100|[0-9]{1,2})%$")]}}),
        "podSecurityContext": table({key: {"anyOf": [whole(1, 2**31 - 1), {"type": "null"}]}
                                     for key in ("runAsUser", "runAsGroup", "fsGroup")}),
        "service": table({"port": whole(1024, 65535), "annotations": TEXTS}),
        "serviceMonitor": table({"enabled": BOOL, "interval": text(DURATION), "labels": TEXTS, "tlsConfig": KUBERNETES}),
        "prometheusRule": table({"enabled": BOOL, "labels": TEXTS}),
        "networkPolicy": table({
            "enabled": BOOL,
            "apiServer": table({"cidrs": many(text(r"^[0-9a-fA-F.:]+/[0-9]{1,3}$")),
                                "ports": many(whole(1, 65535), minItems=1, uniqueItems=True)}),
            **{key: PEERS for key in ("metricsFrom", "dnsTo", "prometheusTo", "kafkaTo", "redisTo")},
            "extraEgress": many(table({"ports": many(KUBERNETES), "to": PEERS})),
        }),
        "extraEnv": many(table({
            "name": text(r"^[A-Za-z_][A-Za-z0-9_]*$"), "value": text(),
            "valueFrom": table({key: KUBERNETES for key in ("secretKeyRef", "configMapKeyRef", "fieldRef")},
                               minProperties=1, maxProperties=1),
        }, required=["name"])),
        "extraVolumes": many(KUBERNETES),
        "extraVolumeMounts": many(KUBERNETES),
        "nameOverride": text(r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$"),
        "fullnameOverride": text(r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$"),
        # Helm hands these to a chart that is part of another one.
        "global": KUBERNETES,
    })
    return {"$schema": "http://json-schema.org/draft-07/schema#",
            "$comment": "Made by scripts/chart-schema.py (make manifests).",
            **values, "$defs": dict(sorted(definitions.items()))}


if __name__ == "__main__":
    json.dump(schema(), sys.stdout, indent=1, ensure_ascii=False)
    print()
