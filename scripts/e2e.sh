#!/usr/bin/env bash
# Tests the operator on a Kubernetes control plane: starts one, runs the suite, stops it, and prints what came out.
#
#     scripts/e2e.sh [arguments of the test programs, e.g. part of a test's name]
#
# With SPHERE_TEST_KUBECONFIG and SPHERE_TEST_HARNESS set it uses the control plane they name. The table is kept in
# target/e2e.md, logs in target/e2e. Exit code 0: all passed.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
logs=$(cd "$target" && pwd)/e2e
rm -rf "$logs"
mkdir -p "$logs"
export SPHERE_E2E_ROWS=$logs/rows SPHERE_E2E_LOGS=$logs/operators
: >"$SPHERE_E2E_ROWS"
say() { printf 'e2e: %s\n' "$*" >&2; }

control=
stop() {
    if [ -n "$control" ] && kill -0 "$control" 2>/dev/null; then
        kill "$control"
        wait "$control" 2>/dev/null || true
    fi
}
trap stop EXIT

say "building the operator and the tests"
# Of the workspace, as in `make test`: of single packages, dependencies would be built anew with fewer features.
cargo test --locked --workspace --no-run

(cd tests/e2e/controlplane && "$(../../../scripts/go.sh)" test ./internal/...) >&2
controlplane=$(scripts/controlplane.sh build)
if [ -z "${SPHERE_TEST_KUBECONFIG:-}" ] || [ -z "${SPHERE_TEST_HARNESS:-}" ]; then
    data=$logs/controlplane
    "$controlplane" run --data "$data" >"$logs/controlplane.out" 2>&1 &
    control=$!
    until grep -q ' s  ready$' "$logs/controlplane.out" 2>/dev/null; do
        kill -0 "$control" 2>/dev/null || { cat "$logs/controlplane.out" >&2; exit 1; }
        sleep 1
    done
    export SPHERE_TEST_KUBECONFIG=$data/kubeconfig
    SPHERE_TEST_HARNESS=$(cat "$data/control")
    export SPHERE_TEST_HARNESS
fi

began=$SECONDS
code=0
# A program of the suite, with its log kept and shown when it ends.
run() {
    local program=$1 name
    shift
    name=$(basename "$program")
    name=${name%-*}
    if (cd tests/e2e && "$program" --include-ignored --test-threads="${SPHERE_E2E_THREADS:-4}" "$@") >"$logs/$name.log" 2>&1; then
        say "$name: ok after $((SECONDS - began)) s"
    else
        cat "$logs/$name.log" >&2
        say "$name: FAILED after $((SECONDS - began)) s"
        return 1
    fi
}
# They wait most of their time, so all run side by side; but what is shared is broken in `faults`, which comes last.
last=
running=()
while read -r program; do
    program=$(realpath "$program")
    case $program in
        */faults-*) last=$program ;;
        *)
            run "$program" "$@" &
            running+=($!)
            ;;
    esac
done < <(cargo test --locked --workspace --no-run --message-format json 2>/dev/null |
    sed -n '/"package_id":"[^"]*tests\/e2e#/s/.*"executable":"\([^"]*\)".*/\1/p' | grep -v '/sphere_e2e-')
[ -n "$last" ] || { say "no test programs found"; exit 1; }
for program in "${running[@]}"; do
    wait "$program" || code=1
done
run "$last" "$@" || code=1
{
    printf '# End-to-end tests\n\nKubernetes: %s. %d s in total.\n\n' \
        "$("$controlplane" kubectl --kubeconfig "$SPHERE_TEST_KUBECONFIG" version | sed -n 's/^Server Version: //p')" $((SECONDS - began))
    printf '| test | result | seconds | figures |\n|---|---|---|---|\n'
    cat "$SPHERE_E2E_ROWS"
} | tee "$target/e2e.md"
exit "$code"
