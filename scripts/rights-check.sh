#!/usr/bin/env bash
# Does a real API server take the plain manifests, and does their ServiceAccount have the rights it needs, and no others?
#
#     KUBECONFIG=… scripts/rights-check.sh
#
# Applies deploy/manifests and deploy/crd to the cluster of KUBECONFIG, asks it what the ServiceAccount may do, and takes
# everything away again. For a cluster made for tests. KUBECTL names another kubectl.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${KUBECONFIG:?the kubeconfig of a cluster made for tests is expected}"
read -ra kubectl <<<"${KUBECTL:-kubectl}"
k() { "${kubectl[@]}" "$@"; }

passed=0
failed=0
account=system:serviceaccount:sphere-system:sphere

# may yes|no VERB RESOURCE[/SUBRESOURCE] [NAMESPACE|-] [NAME]
may() {
    local expected=$1 verb=$2 resource=${3%%/*} sub= where=(--all-namespaces) said
    [[ $3 == */* ]] && sub=--subresource=${3#*/}
    [ "${4:--}" = - ] || where=(--namespace "$4")
    # Exit code 1 is the answer no.
    said=$(k auth can-i "$verb" "$resource${5:+/$5}" ${sub:+$sub} "${where[@]}" --as "$account" 2>/dev/null || true)
    if [ "${said%% *}" = "$expected" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED (%s): %s: %s is expected, %s is the answer\n' "$mode" "${*:2}" "$expected" "${said:-nothing}"
    fi
}

# does yes|no ARGUMENTS OF KUBECTL: a request of the account itself, for what the question above can not express.
does() {
    local expected=$1 said=yes
    k "${@:2}" --as "$account" >/dev/null 2>&1 || said=no
    if [ $said = "$expected" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED (%s): kubectl %s: %s is expected\n' "$mode" "${*:2}" "$expected"
    fi
}

api=predictiveautoscalers.autoscaling.sphere.dev
hpa=horizontalpodautoscalers.autoscaling

served() {
    local ns=$1
    for verb in get list watch; do
        may yes $verb $api "$ns"
        may yes $verb $hpa "$ns"
    done
    may yes patch $api/status "$ns"
    for kind in deployments statefulsets replicasets; do
        for verb in get update; do may yes $verb $kind.apps/scale "$ns"; done
        for verb in list watch; do may yes $verb $kind.apps "$ns"; done
        for verb in get create update patch delete; do may no $verb $kind.apps "$ns"; done
    done
    for verb in list watch; do may yes $verb pods "$ns"; done
    may yes patch $hpa "$ns"
    for verb in create patch; do may yes $verb events.events.k8s.io "$ns"; done
    may yes list pods.metrics.k8s.io "$ns"
}

# What must not be, wherever it is.
never() {
    local ns=$1
    for verb in create update patch delete; do may no $verb $api "$ns"; done
    for verb in create update delete; do may no $verb $hpa "$ns"; done
    for verb in get create delete; do may no $verb pods "$ns"; done
    may no create pods/exec "$ns"
    may no create pods/eviction "$ns"
    for verb in get list watch create; do may no $verb secrets "$ns"; done
    may no create serviceaccounts/token "$ns"
    may no get daemonsets.apps/scale "$ns"
    for verb in create bind escalate; do may no $verb clusterroles.rbac.authorization.k8s.io; done
    may no impersonate users
}

own() {
    may yes create leases.coordination.k8s.io sphere-system
    for verb in get update; do
        may yes $verb leases.coordination.k8s.io sphere-system sphere-operator
        may no $verb leases.coordination.k8s.io sphere-system another
        may yes $verb configmaps sphere-system sphere-state-0
        may yes $verb configmaps sphere-system sphere-state-15
    done
    may no delete leases.coordination.k8s.io sphere-system sphere-operator
    for verb in get list watch; do may yes $verb configmaps sphere-system sphere-kill-switch; done
    for verb in update patch delete; do may no $verb configmaps sphere-system sphere-kill-switch; done
    may yes create configmaps sphere-system
    may no get configmaps sphere-system sphere-config
    may no list configmaps sphere-system
    # As the operator watches it: by name, whether it is there or not.
    does yes get configmaps --namespace sphere-system --field-selector metadata.name=sphere-kill-switch
    does no get configmaps --namespace sphere-system --field-selector metadata.name=sphere-config
    may no get configmaps shop sphere-state-0
    may no create configmaps shop
    may no get leases.coordination.k8s.io kube-system sphere-operator
}

remove() {
    k delete --ignore-not-found --wait=false -f deploy/manifests/cluster-wide.yaml -f deploy/manifests/namespaced.yaml >/dev/null 2>&1 || true
    k delete --ignore-not-found --wait=false namespace shop elsewhere >/dev/null 2>&1 || true
}
trap remove EXIT

# A namespace may be on its way out from a run before; a create waits for it.
namespace() {
    for _ in $(seq 120); do
        k create namespace "$1" >/dev/null 2>&1 && return
        [ "$(k get namespace "$1" --output 'jsonpath={.status.phase}' 2>/dev/null)" = Active ] && return
        sleep 0.5
    done
    printf 'namespace %s can not be made\n' "$1"
    exit 1
}
for name in sphere-system shop elsewhere; do namespace $name; done

mode=cluster-wide
k apply --server-side -f deploy/manifests/cluster-wide.yaml >/dev/null
k wait --for condition=Established --timeout 60s crd/$api >/dev/null
served shop
served elsewhere
never shop
own
may yes list $api
for verb in get list watch; do may yes $verb namespaces; done
may no patch namespaces
may no get nodes

# People: what view and edit of a namespace bring. Another controller adds it to these roles; it is awaited.
k create rolebinding --namespace shop reader --clusterrole view --user reader >/dev/null
k create rolebinding --namespace shop editor --clusterrole edit --user editor >/dev/null
for _ in $(seq 120); do
    [ "$(k auth can-i list $api --namespace shop --as editor 2>/dev/null)" = yes ] && break
    sleep 0.5
done
account=reader
may yes get $api shop
may no patch $api shop
account=editor
for verb in get create patch delete; do may yes $verb $api shop; done
may no patch $api/status shop
may no get $api elsewhere
account=system:serviceaccount:sphere-system:sphere

mode=namespaced
# All but the namespace.
k delete -f deploy/manifests/cluster-wide.yaml --timeout 120s --selector app.kubernetes.io/name=sphere >/dev/null
k apply --server-side -f deploy/crd/predictiveautoscalers.yaml >/dev/null
k apply --server-side -f deploy/manifests/namespaced.yaml >/dev/null
served shop
never shop
never elsewhere
own
does yes get namespace shop
does no get namespace elsewhere
does no get namespaces
may no list $api
may no get $api elsewhere
may no get deployments.apps/scale elsewhere
may no list pods elsewhere
may no patch $hpa elsewhere
may no get nodes

printf '%d passed, %d failed\n' $passed $failed
[ $failed = 0 ]
