#!/usr/bin/env bash
# The Kubernetes control plane for tests: where is it, and run it.
#
#     scripts/controlplane.sh build            build it if need be; prints the path of the program
#     scripts/controlplane.sh run [flags]      build it if need be and run it in the foreground; --help lists the flags
#
# The program is kept outside the checkout, in ${SPHERE_CACHE:-${XDG_CACHE_HOME:-~/.cache}/sphere}/controlplane-HASH,
# where HASH is of its sources, go.mod, go.sum and the version of Go. Needs Go: scripts/setup.sh go. The first build
# compiles most of Kubernetes; Go's own build cache makes later ones short. Messages go to stderr.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
source=$root/tests/e2e/controlplane

build() {
    local go version hash cache folder part started
    # Where scripts/setup.sh put one if the system has none or an old one.
    cache=${SPHERE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sphere}
    go=$("$root/scripts/go.sh")
    version=$(cd "$source" && "$go" version)
    hash=$(cd "$source" && {
        printf '%s\n' "$version"
        find . -type f ! -name '*_test.go' \( -name '*.go' -o -name '*.yaml' -o -name go.mod -o -name go.sum \) -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
    } | sha256sum | cut -c1-16)
    folder=$cache/controlplane-$hash
    if [ ! -x "$folder/controlplane" ]; then
        printf 'controlplane: building it with %s (the first time: compiles Kubernetes, some minutes)\n' "$version" >&2
        started=$SECONDS
        mkdir -p "$cache"
        part=$(mktemp -d "$cache/controlplane-$hash.part-XXXXXX")
        trap 'rm -rf "$part"' EXIT
        local kubernetes
        kubernetes=$(cd "$source" && "$go" list -m -f '{{.Version}}' k8s.io/kubernetes)
        local minor=${kubernetes#v1.}
        local set=k8s.io/component-base/version
        # What the API server answers at /version; upstream's build sets the same variables.
        (cd "$source" && "$go" build \
            -ldflags "-s -w -X $set.gitVersion=$kubernetes -X $set.gitMajor=1 -X $set.gitMinor=${minor%%.*}" \
            -o "$part/controlplane" .) >&2
        # Renamed into place when complete, so that of two at work the first one wins.
        mv -T "$part" "$folder" 2>/dev/null || [ -x "$folder/controlplane" ]
        trap - EXIT
        rm -rf "$part"
        printf 'controlplane: built in %d s\n' $((SECONDS - started)) >&2
    fi
    printf '%s\n' "$folder/controlplane"
}

case ${1:-} in
    build) build ;;
    run)
        shift
        program=$(build)
        cd "$root"
        exec "$program" run "$@"
        ;;
    *)
        sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
esac
