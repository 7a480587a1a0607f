#!/usr/bin/env bash
# Does the command line keep its promises to someone who just types?
#
#     scripts/smoke.sh [TRACE]
#
# Uses the release binary (SPHERE=... for another one) on a small generated trace, and once on TRACE if given. Promises:
# every command has --help; wrong input ends with exit code 2 and names file and line; a seed gives the same bytes each
# time; --output json is JSON; a report is there whole or not at all. All promises are tried, the broken ones listed.
set -euo pipefail
exec </dev/null
cd "$(dirname "$0")/.."

sphere=${SPHERE:-${CARGO_TARGET_DIR:-target}/release/sphere}
[ -x "$sphere" ] || { echo "smoke: no $sphere; run: cargo build --release -p sphere" >&2; exit 1; }

here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT

kept=0
broken=()
# promise NAME COMMAND...: the command must succeed; what it said is shown only if it does not.
promise() {
    local name=$1
    shift
    if "$@" >"$here/said" 2>&1; then
        kept=$((kept + 1))
    else
        broken+=("$name")
        printf 'broken: %s\n' "$name"
        sed 's/^/    /' "$here/said" | head -n 20
    fi
}

# refused WORDS COMMAND...: exit code 2, every one of WORDS (a pattern per word) on stderr, nothing on stdout.
refused() {
    local words=$1 word code=0
    shift
    "$@" >"$here/out" 2>"$here/err" || code=$?
    echo "exit code $code"
    cat "$here/out" "$here/err"
    [ "$code" = 2 ] && [ ! -s "$here/out" ] || return 1
    for word in $words; do
        grep -qE -- "$word" "$here/err" || { echo "does not say: $word"; return 1; }
    done
}

is_json() {
    "$@" | python3 -m json.tool >/dev/null
}

same_twice() {
    "$@" >"$here/first" && "$@" >"$here/second" && [ -s "$here/first" ] && cmp "$here/first" "$here/second"
}

# One day of a wave with some noise, one value each 10 s.
trace=$here/wave.csv
awk 'BEGIN {
    srand(1); print "timestamp_s,value"
    for (i = 0; i < 8640; i++)
        printf "%d,%.3f\n", i * 10, 60 + 40 * sin(i / 4320 * 6.2831853) + 10 * rand()
}' >"$trace"
{ head -n 4 "$trace"; echo "40,many"; tail -n +6 "$trace"; } >"$here/bad.csv"
: >"$here/empty.csv"
simulate=("$sphere" simulate --seed 1 --seeds 2 --policies "hpa-60,sphere,oracle" --trace)

# Help.
promise "--help" "$sphere" --help
promise "--version" "$sphere" --version
commands=$("$sphere" --help | awk '/^Commands:/ { on = 1; next } on && /^  [a-z]/ { print $1 } on && /^$/ { exit }')
for command in $commands; do
    [ "$command" = help ] || promise "$command --help" "$sphere" "$command" --help
done
# What the README's table promises is there.
while read -r command; do
    promise "the README's command $command" grep -qx "$command" <<<"$commands"
done < <(awk '/^\| `sphere / { gsub("`", ""); print $3 }' README.md)

# Mistakes.
promise "no command" refused "Usage" "$sphere"
promise "unknown command" refused "nonsense" "$sphere" nonsense
promise "unknown flag" refused "nonsense" "$sphere" simulate --nonsense
promise "unknown policy" refused "nonsense hpa-60" "$sphere" simulate --policies nonsense --trace "$trace"
promise "missing file" refused "no-such-file.csv" "${simulate[@]}" "$here/no-such-file.csv"
promise "empty file" refused "empty.csv" "${simulate[@]}" "$here/empty.csv"
promise "bad line is named with its file" refused "bad.csv line.5 many" "${simulate[@]}" "$here/bad.csv"
promise "evaluate: bad line is named with its file" refused "bad.csv line.5 many" \
    "$sphere" evaluate --trace "$here/bad.csv"
decide() { "$sphere" decide "$@" <<<"$line"; }
line=nonsense
promise "decide: bad line is named" refused "line.1" decide

# Results.
promise "simulate prints JSON" is_json "${simulate[@]}" "$trace" --output json
promise "simulate: same seed, same bytes" same_twice "${simulate[@]}" "$trace" --output json
promise "simulate prints a table" "${simulate[@]}" "$trace"
promise "evaluate prints JSON" is_json "$sphere" evaluate --trace "$trace" --output json
line=$(cat contracts/decide/fixtures/v1-short.json 2>/dev/null | tr -d "\n" || true)
promise "decide: a sample line" is_json decide
promise "schema prints JSON" is_json "$sphere" schema decision
promise "completions" "$sphere" completions bash
if [ $# -gt 0 ]; then
    promise "simulate prints JSON for $1" is_json "${simulate[@]}" "$1" --output json
fi

# A report killed on the way leaves what was there before, or is whole.
report=$here/reports/wave.html
killed_report() {
    mkdir -p "$here/reports"
    echo old >"$report"
    "${simulate[@]}" "$trace" --sweep-step 40 --report "$report" &
    local pid=$!
    sleep "$1"
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" || true
    [ "$(cat "$report")" = old ] || grep -q '</html>' "$report"
}
whole_report() {
    rm -rf "$here/reports"
    "${simulate[@]}" "$trace" --sweep-step 40 --report "$report" || return 1
    grep -q '</html>' "$report" || return 1
    [ "$(ls -A "$here/reports")" = wave.html ] || { echo "left behind:"; ls -A "$here/reports"; return 1; }
}
for seconds in 0.05 0.5 2; do
    promise "a report killed after $seconds s" killed_report "$seconds"
done
promise "a report is written whole" whole_report

printf 'smoke: %d promises kept, %d broken\n' "$kept" ${#broken[@]}
[ ${#broken[@]} = 0 ]
