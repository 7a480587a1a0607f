#!/usr/bin/env bash
# How does the release binary become a container image?
#
#     scripts/image.sh [PROGRAM [NAME]]
#
# Copies PROGRAM (target/release/sphere when absent) with the shared libraries it is linked with into a folder, builds an
# image NAME (localhost/sphere:VERSION) from it with deploy/Containerfile, and runs it as the user it is for. Needs buildah:
# scripts/setup.sh buildah. To push it: buildah push NAME docker://registry.example/sphere:VERSION
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
program=${1:-$target/release/sphere}
version=$("$program" --version | cut -d' ' -f2)
name=${2:-localhost/sphere:$version}
context=$target/image/context
root=$context/rootfs

rm -rf "$context"
mkdir -p "$root/usr/bin" "$root/etc/ssl/certs" "$root/var/lib/sphere" "$root/tmp"
chmod 1777 "$root/tmp"
install -m 0755 "$program" "$root/usr/bin/sphere"
# At the paths where the loader of this machine finds them, the loader included.
ldd "$program" | grep -oE '/[^ ]+' | sort -u | while read -r library; do
    install -D -m 0755 "$library" "$root$library"
done
authorities=/etc/ssl/certs/ca-certificates.crt
[ -e "$authorities" ] || { printf 'image: missing: %s; install ca-certificates\n' "$authorities" >&2; exit 1; }
install -m 0644 "$authorities" "$root$authorities"
printf 'sphere:x:65532:65532:SPHERE:/var/lib/sphere:/sbin/nologin\n' >"$root/etc/passwd"
printf 'sphere:x:65532:\n' >"$root/etc/group"
# Names from files first, then DNS; without this file glibc asks in another order.
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
chown -R 65532:65532 "$root/var/lib/sphere" 2>/dev/null || true

# Of the last commit: the same program gives the same layer.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
buildah build --quiet --isolation chroot --timestamp "$SOURCE_DATE_EPOCH" \
    --label org.opencontainers.image.title=sphere --label org.opencontainers.image.version="$version" \
    --label org.opencontainers.image.licenses=Apache-2.0 \
    --file deploy/Containerfile --tag "$name" "$context" >/dev/null

# It runs, by itself, as nobody in particular.
container=$(buildah from --pull-never "$name")
trap 'buildah rm "$container" >/dev/null' EXIT
said=$(buildah run --isolation chroot "$container" -- /usr/bin/sphere --version)
[ "$said" = "sphere $version" ] || { printf 'image: says %s instead of sphere %s\n' "'$said'" "$version" >&2; exit 1; }
user=$(buildah inspect --format '{{.OCIv1.Config.User}}' "$container")
[ "$user" = 65532:65532 ] || { printf 'image: runs as %s\n' "'$user'" >&2; exit 1; }
printf '%s\n' "$name"
