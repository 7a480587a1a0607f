#!/usr/bin/env bash
# Writes what is made from the Helm chart: values.schema.json, the chart's README, the plain manifests, the table of rights
# in deploy/README.md, and the chart's copy of the CRD. With --check writes nothing and fails if something is out of date.
#
# Needs what scripts/chart-tools.sh brings.
set -euo pipefail
cd "$(dirname "$0")/.."

check=
case ${1:-} in
    '') ;;
    --check) check=yes ;;
    *) printf 'render-manifests: unknown argument %s; --check or nothing is expected\n' "'$1'" >&2; exit 2 ;;
esac

tools=$(scripts/chart-tools.sh)
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
mkdir -p "$new/deploy/manifests"
cp -r deploy/helm "$new/deploy/helm"
chart=$new/deploy/helm/sphere

cp deploy/crd/predictiveautoscalers.yaml "$chart/files/predictiveautoscalers.yaml"
"$tools/python" scripts/chart-schema.py >"$chart/values.schema.json"
"$tools/helm-docs" --chart-search-root "$chart" --sort-values-order file --log-level warning

# Plain manifests: what the chart renders, without what only Helm reads.
render() {
    "$tools/helm" template sphere "$chart" --namespace sphere-system --kube-version 1.37.0 "$@" |
        sed -e '/^# Source: /d' -e '/^ *helm\.sh\//d' -e '/app\.kubernetes\.io\/managed-by: /d'
}
# The namespace admits only pods without any privilege; the operator is one.
namespace='apiVersion: v1
kind: Namespace
metadata:
  name: sphere-system
  labels:
    pod-security.kubernetes.io/enforce: restricted'
for manifest in cluster-wide namespaced; do
    {
        printf '# Rendered from deploy/helm/sphere with deploy/helm/values/%s.yaml (make manifests). Change to yours:\n' "$manifest"
        printf '# the image%s.\n' "$([ $manifest = cluster-wide ] || echo ', the namespace shop')"
        printf '# kubectl apply --server-side -f %s.yaml\n---\n%s\n' "$manifest" "$namespace"
        render --values "deploy/helm/values/$manifest.yaml"
    } >"$new/deploy/manifests/$manifest.yaml"
done

# The table of rights, from a rendering with all of them.
{
    render --values "deploy/helm/values/all-rights.yaml"
    echo ---
    render --values "deploy/helm/values/all-rights.yaml" --set 'watchNamespaces={shop}'
} | "$tools/python" scripts/rbac-table.py >"$new/table"
"$tools/python" - "$new/table" <<'PYTHON' >"$new/deploy/README.md"
import pathlib, re, sys
table = pathlib.Path(sys.argv[1]).read_text()
text = pathlib.Path("deploy/README.md").read_text()
begin, end = "<!-- rights: make manifests -->", "<!-- end of rights -->"
if text.count(begin) != 1 or text.count(end) != 1:
    sys.exit(f"deploy/README.md: {begin} and {end} are expected once each")
head, rest = text.split(begin)
print(head + begin + "\n" + table + end + rest.split(end)[1], end="")
PYTHON

stale=0
for file in deploy/helm/sphere/files/predictiveautoscalers.yaml deploy/helm/sphere/values.schema.json \
    deploy/helm/sphere/README.md deploy/manifests/cluster-wide.yaml deploy/manifests/namespaced.yaml deploy/README.md; do
    if [ -n "$check" ]; then
        diff -u "$file" "$new/$file" || stale=1
    else
        mkdir -p "$(dirname "$file")"
        cmp -s "$new/$file" "$file" || { cp "$new/$file" "$file"; printf 'wrote %s\n' "$file"; }
    fi
done
[ $stale = 0 ] || { printf 'not up to date; run make manifests, look at the diff, commit it\n'; exit 1; }
