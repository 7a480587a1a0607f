#!/usr/bin/env bash
# Is the Helm chart right? Is all that is made from it up to date, does every set of values in ci/ render into objects that
# Kubernetes and the program itself accept, is every set in ci/refused/ refused with the message it expects?
#
#     scripts/chart-check.sh [PROGRAM]
#
# PROGRAM reads the rendered configurations; target/release/sphere when absent.
set -euo pipefail
cd "$(dirname "$0")/.."
program=${1:-${CARGO_TARGET_DIR:-target}/release/sphere}
tools=$(scripts/chart-tools.sh)
chart=deploy/helm/sphere
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
helm() { HELM_CACHE_HOME=$out/helm HELM_CONFIG_HOME=$out/helm HELM_DATA_HOME=$out/helm "$tools/helm" "$@"; }

passed=0
failed=0
ok() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); printf 'FAILED: %s\n' "$*"; }

# Of the oldest Kubernetes the chart admits, and the newest with schemas at hand.
conform() {
    local version
    for version in 1.29.0 1.37.0; do
        # Objects of the Prometheus operator are looked at below.
        "$tools/kubeconform" -strict -kubernetes-version "$version" -skip ServiceMonitor,PrometheusRule \
            -schema-location "$tools/schemas/$version/{{.ResourceKind}}{{.KindSuffix}}.json" \
            "$@" || return 1
    done
}

scripts/render-manifests.sh --check && ok || bad "generated files"

for manifest in deploy/manifests/*.yaml deploy/crd/*.yaml; do
    conform "$manifest" && ok || bad "$manifest"
done

for values in $chart/ci/*.yaml; do
    name=$(basename "$values" .yaml)
    rendered=$out/$name.yaml
    helm lint --strict --quiet "$chart" --values "$values" >"$out/lint" 2>&1 && ok || { bad "$name: helm lint"; cat "$out/lint"; }
    if ! helm template release "$chart" --namespace sphere-system --values "$values" >"$rendered" 2>"$out/errors"; then
        bad "$name: helm template"; cat "$out/errors"; continue
    fi
    # A warning of Helm is a value that does not arrive.
    [ -s "$out/errors" ] && { bad "$name: helm warns"; cat "$out/errors"; }
    conform "$rendered" && ok || bad "$name: kubeconform"
    "$tools/python" scripts/chart-look.py "$rendered" "$out/$name" && ok || bad "$name: chart-look"
    "$program" operator --check --config "$out/$name/sphere.yaml" >"$out/said" 2>&1 && ok ||
        { bad "$name: the program refuses its configuration"; cat "$out/said"; }
    if [ -e "$out/$name/rules.yaml" ]; then
        cp $chart/ci/alerts/alerts.yaml "$out/$name/"
        { promtool check rules "$out/$name/rules.yaml" && (cd "$out/$name" && promtool test rules alerts.yaml); } \
            >"$out/said" 2>&1 && ok || { bad "$name: promtool"; cat "$out/said"; }
    fi
done

# What a mode of installation must not have.
grep -q '^kind: ClusterRole' "$out/namespaced.yaml" && bad "namespaced: has a ClusterRole" || ok
grep -q 'CustomResourceDefinition' "$out/namespaced.yaml" && bad "namespaced: has a CRD" || ok

for values in $chart/ci/refused/*.yaml; do
    name=$(basename "$values" .yaml)
    expected=$(sed -n '1s/^# expect: //p' "$values")
    if [ -z "$expected" ]; then
        bad "$name: the first line should say what is expected"
    elif helm template release "$chart" --namespace sphere-system --values "$values" >"$out/said" 2>&1; then
        bad "$name: accepted"
    elif tr '\n' ' ' <"$out/said" | grep -qE -- "$expected"; then
        ok
    else
        bad "$name: refused with another message than '$expected':"; cat "$out/said"
    fi
done

printf '%d passed, %d failed\n' $passed $failed
[ $failed = 0 ]
