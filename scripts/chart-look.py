#!/usr/bin/env python3
"""Do the rendered objects fit each other? What no schema can say.

    chart-look.py RENDERED FOLDER

Writes the program's configuration (sphere.yaml) and the alert rules (rules.yaml), if there are any, into FOLDER, for other
programs to check.
"""
import pathlib
import sys

import yaml

rendered, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
objects = [o for o in yaml.safe_load_all(rendered.read_text()) if o]
problems = []


def of(kind):
    return [o for o in objects if o["kind"] == kind]


def one(kind):
    found = of(kind)
    if len(found) != 1:
        problems.append(f"{len(found)} objects of kind {kind}; one is expected")
    return found[0]


def expect(true, what):
    if not true:
        problems.append(what)


identities = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects]
expect(len(set(identities)) == len(identities), f"an object is there twice: {identities}")

deployment = one("Deployment")
pod = deployment["spec"]["template"]
spec = pod["spec"]
container = spec["containers"][0]
config = one("ConfigMap")["data"]["sphere.yaml"]
settings = yaml.safe_load(config)

# Names that must meet.
labels = pod["metadata"]["labels"]
for kind, selector in [("Deployment", lambda o: o["spec"]["selector"]["matchLabels"]),
                       ("Service", lambda o: o["spec"]["selector"]),
                       ("PodDisruptionBudget", lambda o: o["spec"]["selector"]["matchLabels"]),
                       ("NetworkPolicy", lambda o: o["spec"]["podSelector"]["matchLabels"])]:
    for o in of(kind):
        expect(selector(o).items() <= labels.items(), f"{kind} {o['metadata']['name']} does not select the pods")
for monitor in of("ServiceMonitor"):
    service = one("Service")
    expect(monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items(),
           "the ServiceMonitor does not select the Service")
    expect(monitor["spec"]["endpoints"][0]["port"] in [p["name"] for p in service["spec"]["ports"]],
           "the ServiceMonitor names no port of the Service")
# Who speaks TLS is spoken to in TLS.
tls = "listenTls" in settings
for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
    expect(container[probe]["httpGet"].get("scheme", "HTTP") == ("HTTPS" if tls else "HTTP"), f"scheme of the {probe}")
for monitor in of("ServiceMonitor"):
    expect(monitor["spec"]["endpoints"][0].get("scheme", "http") == ("https" if tls else "http"), "scheme of the ServiceMonitor")
for binding in of("RoleBinding") + of("ClusterRoleBinding"):
    expect(binding["subjects"][0]["name"] == spec["serviceAccountName"]
           and binding["subjects"][0]["namespace"] == deployment["metadata"]["namespace"],
           f"{binding['metadata']['name']} is for another account than the pods have")
    role = (binding["roleRef"]["kind"], binding["metadata"].get("namespace"), binding["roleRef"]["name"])
    expect(role in identities, f"{binding['metadata']['name']} is of a role that is not there: {role}")

# Every file that the configuration names is mounted.
mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
expect(len(set(mounts.values())) == len(mounts), "two volumes are mounted at one place")
expect(set(mounts) <= {v["name"] for v in spec["volumes"]}, "a mount without a volume")
there = {f"{mounts[v['name']]}/{item['path']}"
         for v in spec["volumes"] if "secret" in v and v["name"] in mounts for item in v["secret"]["items"]}


def files(node):
    if isinstance(node, dict):
        for key, value in node.items():
            if key.endswith("File"):
                yield value
            yield from files(value)


named = set(files(settings))
expect(named == there, f"files named by the configuration and files mounted differ: {sorted(named ^ there)}")
expect(settings["listen"].endswith(f":{container['ports'][0]['containerPort']}"), "listen and containerPort differ")
expect(mounts["config"] + "/sphere.yaml" in container["args"], "--config names another file than is mounted")
store = settings["store"]
if "file" in store:
    expect(store["file"]["path"].startswith(mounts["data"] + "/"), "the state file is not on the volume")

# Restricted, whatever was asked for.
secure = container["securityContext"]
expect(secure["readOnlyRootFilesystem"] is True and secure["allowPrivilegeEscalation"] is False
       and secure["capabilities"] == {"drop": ["ALL"]} and secure["privileged"] is False
       and spec["securityContext"]["runAsNonRoot"] is True
       and spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, "the pod is not restricted")

# Least privilege: nothing is deleted, no secret is read, nothing but our own is written outside scale, floor, events.
for role in of("Role") + of("ClusterRole"):
    if any(label.startswith("rbac.authorization.k8s.io/aggregate-to-") for label in role["metadata"]["labels"]):
        continue
    for rule in role["rules"]:
        name = f"{role['metadata']['name']}: {rule}"
        expect(not {"delete", "deletecollection", "*", "escalate", "bind", "impersonate"} & set(rule["verbs"]), name)
        expect("secrets" not in rule["resources"] and "*" not in rule["apiGroups"], name)
        expect("*" not in rule["resources"] or rule["apiGroups"][0].endswith(".metrics.k8s.io"), name)
        if {"patch", "update"} & set(rule["verbs"]):
            allowed = {"predictiveautoscalers/status", "horizontalpodautoscalers", "events"}
            expect(all(r.endswith("/scale") or r in allowed or rule.get("resourceNames") for r in rule["resources"]), name)
if rendered.stem == "observe-only":
    writes = [r for o in of("Role") + of("ClusterRole") if "aggregate" not in str(o["metadata"]["labels"]) for r in o["rules"]
              if {"patch", "update"} & set(r["verbs"])
              and any(x.endswith("/scale") or x == "horizontalpodautoscalers" for x in r["resources"])]
    expect(not writes, f"observe-only may change something: {writes}")

folder.mkdir(parents=True, exist_ok=True)
(folder / "sphere.yaml").write_text(config)
for rule in of("PrometheusRule"):
    (folder / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]))

for problem in problems:
    print(f"{rendered.stem}: {problem}")
sys.exit(bool(problems))
