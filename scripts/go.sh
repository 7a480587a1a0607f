#!/usr/bin/env bash
# Which Go builds the control plane for tests? Prints the path of a `go` that is new enough; gets one if there is none.
#
# The one in PATH if it is new enough. Otherwise Go's own distribution through the module proxy, which any older Go can
# fetch (Debian 12 has 1.19: scripts/setup.sh go), into ${SPHERE_CACHE:-${XDG_CACHE_HOME:-~/.cache}/sphere}/go-VERSION.
# Messages go to stderr.
set -euo pipefail
cd "$(dirname "$0")/.."

# At least that of `go` in tests/e2e/controlplane/go.mod.
GO_VERSION=1.26.8

newest() { printf '%s\n' "$@" | sort -V | tail -n 1; }

wanted=$(sed -n 's/^go //p' tests/e2e/controlplane/go.mod)
old=$(command -v go || true)
if [ -n "$old" ]; then
    # Asked for itself: not for the toolchain it would fetch.
    has=$(cd / && GOTOOLCHAIN=local "$old" env GOVERSION | sed 's/^go//; s/ .*//')
    if [ "$(newest "$has" "$wanted")" = "$has" ]; then
        printf '%s\n' "$old"
        exit
    fi
fi
cache=${SPHERE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sphere}
folder=$cache/go-$GO_VERSION
if [ ! -x "$folder/bin/go" ]; then
    [ -n "$old" ] || {
        printf 'go: none found, and an older one is needed to fetch %s; run scripts/setup.sh go\n' "$GO_VERSION" >&2
        exit 1
    }
    printf 'go: %s is older than %s; fetching %s (once)\n' "$has" "$wanted" "$GO_VERSION" >&2
    case $(uname -m) in
        x86_64) platform=linux-amd64 ;;
        aarch64) platform=linux-arm64 ;;
        *)
            printf 'go: no toolchain known for %s; install Go %s by hand\n' "$(uname -m)" "$wanted" >&2
            exit 1
            ;;
    esac
    mkdir -p "$cache"
    part=$(mktemp -d "$cache/go-$GO_VERSION.part-XXXXXX")
    trap 'chmod -R u+w "$part"; rm -rf "$part"' EXIT
    module=golang.org/toolchain@v0.0.1-go$GO_VERSION.$platform
    (cd "$part" && GOTOOLCHAIN=local GOFLAGS= GOMODCACHE=$part/mod GO111MODULE=on "$old" mod download "$module") >&2
    mv "$part/mod/$module" "$part/go"
    # Modules carry no modes.
    chmod -R u+w "$part/go"
    chmod +x "$part"/go/bin/* "$part"/go/pkg/tool/*/*
    mv -T "$part/go" "$folder" 2>/dev/null || [ -x "$folder/bin/go" ]
fi
printf '%s\n' "$folder/bin/go"
