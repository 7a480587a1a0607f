#!/usr/bin/env bash
# Where are the programs that check the Helm chart? Prints a folder with helm, helm-docs, kubeconform, python (with PyYAML)
# and schemas/VERSION/ (of the oldest and the newest Kubernetes that is checked against); makes it first if it is not there.
#
# Go modules at pinned versions, which Go checks against its checksum database, and two Python packages pinned by hash:
# kubernetes-validate carries the JSON schemas of Kubernetes, so that no check needs a network. Kept outside the checkout,
# in ${SPHERE_CACHE:-${XDG_CACHE_HOME:-~/.cache}/sphere}/chart-…, so that all checkouts share it. Needs go and python3 with
# venv: scripts/setup.sh helm. The first time takes some minutes. Messages go to stderr.
set -euo pipefail

HELM_VERSION=v4.3.1
HELM_DOCS_VERSION=v1.14.2
KUBECONFORM_VERSION=v0.8.0
# Also the newest Kubernetes whose schemas it has; the oldest is kubeVersion of Chart.yaml.
SCHEMAS_VERSION=1.37.0
SCHEMAS_HASH=85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9
PYYAML_VERSION=6.0.3

say() { printf 'chart-tools: %s\n' "$*" >&2; }

cache=${SPHERE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sphere}
tools=$cache/chart-$HELM_VERSION-$HELM_DOCS_VERSION-$KUBECONFORM_VERSION-$SCHEMAS_VERSION
if [ ! -d "$tools" ]; then
    # A new enough one, fetched if need be.
    go=$("$(dirname "$0")/go.sh")
    command -v python3 >/dev/null 2>&1 || { say "missing: python3; run scripts/setup.sh helm"; exit 1; }
    say "building helm $HELM_VERSION, helm-docs and kubeconform into $tools (some minutes, once)"
    mkdir -p "$cache"
    # Renamed into place when complete: whoever sees the folder sees all of it, and of two at work the first one wins.
    part=$(mktemp -d "$cache/chart.part-XXXXXX")
    trap 'chmod -R u+w "$part" 2>/dev/null; rm -rf "$part"' EXIT
    for module in helm.sh/helm/v4/cmd/helm@$HELM_VERSION \
        github.com/norwoodj/helm-docs/cmd/helm-docs@$HELM_DOCS_VERSION \
        github.com/yannh/kubeconform/cmd/kubeconform@$KUBECONFORM_VERSION; do
        # Not in a module of ours.
        (cd "$part" && GOBIN=$part GOFLAGS='' CGO_ENABLED=0 "$go" install -trimpath -ldflags='-s -w' "$module") >&2
    done
    python3 -m venv "$part/venv" >&2
    printf 'kubernetes-validate==%s --hash=sha256:%s\n' "$SCHEMAS_VERSION" "$SCHEMAS_HASH" >"$part/schemas.txt"
    "$part/venv/bin/pip" install --quiet --disable-pip-version-check "pyyaml==$PYYAML_VERSION" >&2
    "$part/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --require-hashes \
        --requirement "$part/schemas.txt" --dest "$part" >&2
    "$part/venv/bin/python" - "$part"/*.whl "$part/schemas" $SCHEMAS_VERSION 1.29.0 <<'PYTHON'
import json, pathlib, sys, zipfile

DEFINITIONS = "/api/_definitions.json"

def used(node, found):
    """Names of the definitions below a node."""
    if isinstance(node, dict):
        # A property may be called $ref, too; that one is no text.
        if isinstance(node.get("$ref"), str):
            node["$ref"] = node["$ref"].removeprefix(DEFINITIONS)
            found.add(node["$ref"].removeprefix("#/$defs/"))
        for child in node.values():
            used(child, found)
    elif isinstance(node, list):
        for child in node:
            used(child, found)

wheel, folder, *versions = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    for version in versions:
        home = f"kubernetes_validate/kubernetes-json-schema/v{version}-local-strict/"
        shared = json.loads(archive.read(home + "_definitions.json"))["$defs"]
        needs = {}
        for name, definition in shared.items():
            needs[name] = set()
            used(definition, needs[name])
        target = pathlib.Path(folder, version)
        target.mkdir(parents=True)
        for name in archive.namelist():
            if not name.startswith(home) or name.endswith("_definitions.json"):
                continue
            schema = json.loads(archive.read(name))
            # Only kinds of objects; their parts are among the definitions.
            if "enum" not in schema.get("properties", {}).get("kind", {}):
                continue
            todo, closure = set(), set()
            used(schema, todo)
            while todo:
                part = todo.pop()
                closure.add(part)
                todo |= needs[part] - closure
            # One file each, so that nothing has to be found beside it.
            schema["$defs"] = {part: shared[part] for part in sorted(closure)}
            schema.pop("$id", None)
            (target / pathlib.Path(name).name).write_text(json.dumps(schema))
PYTHON
    rm -f "$part"/*.whl "$part/schemas.txt"
    # A link to the interpreter of the virtual environment would not find its packages after the move.
    printf '#!/bin/sh\nexec "$(dirname "$0")/venv/bin/python" "$@"\n' >"$part/python"
    chmod +x "$part/python"
    mv -T "$part" "$tools" 2>/dev/null || [ -d "$tools" ]
fi
printf '%s\n' "$tools"
