#!/usr/bin/env bash
# Are the crates that think still free of everything that talks? The list and the reason are in deny-pure.toml.
set -euo pipefail
cd "$(dirname "$0")/.."

for crate in sphere-core sphere-forecast sphere-scaling sphere-sim sphere-trace; do
    cargo deny --locked --config deny-pure.toml --manifest-path "crates/$crate/Cargo.toml" check bans >&2 || {
        printf '%s must not depend on that: see deny-pure.toml\n' "$crate" >&2
        exit 1
    }
done
