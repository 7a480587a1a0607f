#!/usr/bin/env bash
# Where are the jars of the Kafka broker that tests start? Prints the folder; fetches them first if they are not there.
#
# They are kept outside the checkout, in ${SPHERE_CACHE:-${XDG_CACHE_HOME:-~/.cache}/sphere}/kafka-VERSION, so that all
# checkouts share them. Needs java and mvn: scripts/setup.sh kafka. Messages go to stderr.
set -euo pipefail
cd "$(dirname "$0")/kafka"

KAFKA_VERSION=3.9.0

cache=${SPHERE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sphere}
jars=$cache/kafka-$KAFKA_VERSION
if [ ! -d "$jars" ]; then
    command -v mvn >/dev/null 2>&1 || {
        printf 'kafka-jars: missing: mvn; run scripts/setup.sh kafka\n' >&2
        exit 1
    }
    printf 'kafka-jars: fetching Kafka %s into %s (about a minute, once)\n' "$KAFKA_VERSION" "$jars" >&2
    mkdir -p "$cache"
    # Renamed into place when complete: whoever sees the folder sees all of it, and of two at work the first one wins.
    part=$(mktemp -d "$cache/kafka-$KAFKA_VERSION.part-XXXXXX")
    trap 'rm -rf "$part"' EXIT
    mvn --batch-mode --quiet --file pom.xml -Dkafka.version="$KAFKA_VERSION" \
        org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$part/jars" >&2
    mv -T "$part/jars" "$jars" 2>/dev/null || [ -d "$jars" ]
fi
printf '%s\n' "$jars"
