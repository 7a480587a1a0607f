#!/usr/bin/env bash
# Is everything here that the Makefile needs? Installs what is missing, says nothing when nothing is.
#
#     scripts/setup.sh [make] [python] [venv] [deny] [go] [kafka] [redis] [prometheus] [clock] [helm] [buildah]
#
# Always wanted: cargo, by rustup, a C linker, and what the Kafka client is built with (C++ compiler, make, pkg-config,
# OpenSSL, zlib). On request: make, python3, python3 with venv and pip, cargo-deny, Go (new enough for the
# Kubernetes control plane that tests start; Debian's own fetches it), the Kafka broker that tests start
# (Java, Maven, and its jars, in a cache outside the checkout), the programs of Redis, prometheus with promtool (tests
# start both themselves on ports of their own; the services of the packages are kept from starting or not needed),
# libfaketime, with which tests let the clock of a process jump, helm and what else checks the chart (in a cache outside
# the checkout), buildah for images.
# On Debian and its relatives missing packages come from apt-get, as root or by sudo; elsewhere one line says what to
# install. Installs nothing that is there. Messages go to stderr.
set -euo pipefail
cd "$(dirname "$0")/.."

# The version that checked deny.toml last.
DENY_VERSION=0.20.2

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
header() { printf '#include <%s>\n' "$1" | cc -E - >/dev/null 2>&1; }

# Right after rustup was installed, its folder is not in PATH yet.
PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"

packages=()
for want in cc client "$@"; do
    case $want in
        make) have make || packages+=(make) ;;
        cc) have cc || packages+=(gcc libc6-dev) ;;
        client)
            have c++ || packages+=(g++)
            have make || packages+=(make)
            have pkg-config || packages+=(pkg-config)
            # Headers: asked of the compiler, as they are no commands.
            header openssl/ssl.h || packages+=(libssl-dev)
            header zlib.h || packages+=(zlib1g-dev)
            ;;
        kafka)
            have java && have keytool || packages+=(openjdk-17-jre-headless)
            have mvn || packages+=(maven)
            ;;
        python) have python3 || packages+=(python3) ;;
        venv) python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3 python3-venv) ;;
        deny) ;;
        go)
            # Any Go will do: it fetches a newer one, see scripts/go.sh.
            have go || packages+=(golang-go)
            # Tells where modules are from and checks their sums over TLS.
            [ -e /etc/ssl/certs/ca-certificates.crt ] || packages+=(ca-certificates)
            ;;
        redis)
            have redis-server || packages+=(redis-server)
            have redis-cli || packages+=(redis-tools)
            have openssl || packages+=(openssl)
            ;;
        prometheus)
            have prometheus && have promtool || packages+=(prometheus)
            have openssl || packages+=(openssl)
            ;;
        clock) have faketime || packages+=(faketime) ;;
        helm)
            # Any Go will do: it fetches a newer one, see scripts/go.sh.
            have go || packages+=(golang-go)
            python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3 python3-venv)
            ;;
        buildah)
            have buildah || packages+=(buildah)
            [ -e /etc/ssl/certs/ca-certificates.crt ] || packages+=(ca-certificates)
            ;;
        *) die "unknown argument '$want'; known are make, python, venv, deny, go, kafka, redis, prometheus, clock, helm, buildah" ;;
    esac
done

if [ ${#packages[@]} -gt 0 ]; then
    list="${packages[*]}"
    have apt-get || die "missing: $list (names as in Debian); install them with your package manager"
    if [ "$(id -u)" = 0 ]; then
        root=()
    elif have sudo && { [ -t 2 ] || sudo -n true 2>/dev/null; }; then
        root=(sudo)
    else
        die "missing: $list; as root: apt-get install $list"
    fi
    say "installing $list"
    # RUNLEVEL=1: a package that brings a service does not start it.
    install=("${root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -q --no-install-recommends)
    # Without fresh package lists the first attempt may fail; that costs less than updating each time.
    "${install[@]}" "${packages[@]}" >&2 2>/dev/null || {
        "${root[@]}" apt-get update -q >&2 && "${install[@]}" "${packages[@]}" >&2
    } || die "apt-get could not install: $list"
    case $list in
        *prometheus*)
            # Port 9090 belongs to whoever wants it; where systemd runs, it would start the service all the same.
            if [ -d /run/systemd/system ]; then
                "${root[@]}" systemctl disable --now prometheus prometheus-node-exporter >&2 2>/dev/null || true
            fi
            ;;
    esac
fi

if ! have cargo; then
    die "missing: Rust; get it from https://rustup.rs, then run this again"
fi
# Where rustup installs toolchains by itself, this already did it.
if ! cargo --version >/dev/null 2>&1; then
    have rustup || die "cargo does not run and there is no rustup; get it from https://rustup.rs"
    say "installing the toolchain of rust-toolchain.toml"
    rustup toolchain install >&2 || die "rustup could not install the toolchain of rust-toolchain.toml"
fi

case " $* " in
    *" deny "*)
        if ! have cargo-deny; then
            say "installing cargo-deny $DENY_VERSION (some minutes, once)"
            cargo install --quiet --locked cargo-deny --version "$DENY_VERSION" >&2 ||
                die "could not install cargo-deny; try: cargo install --locked cargo-deny --version $DENY_VERSION"
        fi
        ;;
esac
case " $* " in
    *" go "*) scripts/go.sh >/dev/null ;;
esac
case " $* " in
    *" kafka "*) scripts/kafka-jars.sh >/dev/null ;;
esac
case " $* " in
    *" helm "*) scripts/chart-tools.sh >/dev/null ;;
esac
