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
decide_sample=contracts/decide/sample.jsonl
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

# Two days of a daily wave with some noise, one value each 10 s.
trace=$here/wave.csv
awk 'BEGIN {
    srand(1); print "timestamp_s,value"
    for (i = 0; i < 17280; i++)
        printf "%d,%.3f\n", i * 10, 60 + 40 * sin(i / 8640 * 6.2831853) + 10 * rand()
}' >"$trace"
{ head -n 4 "$trace"; echo "40,many"; tail -n +6 "$trace"; } >"$here/bad.csv"
: >"$here/empty.csv"
echo nonsense >"$here/bad.jsonl"

# Help.
promise "--help" "$sphere" --help
promise "--version" "$sphere" --version
commands=$("$sphere" --help | awk '/^Commands:/ { on = 1; next } on && /^  [a-z]/ { print $1 } on && /^$/ { exit }')
has_commands() { [ -n "$commands" ]; }
promise "--help lists commands" has_commands
for command in $commands; do
    promise "$command --help" "$sphere" "$command" --help
done

# Mistakes.
promise "no command" refused "Usage" "$sphere"
promise "unknown command" refused "nonsense" "$sphere" nonsense
promise "unknown flag" refused "nonsense" "$sphere" simulate --nonsense
promise "missing file" refused "no-such-file.csv" "$sphere" simulate "$here/no-such-file.csv"
promise "empty file" refused "empty.csv" "$sphere" simulate "$here/empty.csv"
promise "bad line names file and line" refused "bad.csv line.5 many" "$sphere" simulate "$here/bad.csv"
promise "evaluate: bad line" refused "bad.csv line.5 many" "$sphere" evaluate "$here/bad.csv"
promise "decide: not JSON" refused "bad.jsonl line.1" "$sphere" decide "$here/bad.jsonl"

# Results.
promise "simulate prints JSON" is_json "$sphere" simulate "$trace" --seed 1 --output json
promise "simulate: same seed, same bytes" same_twice "$sphere" simulate "$trace" --seed 1 --output json
promise "simulate prints a table" "$sphere" simulate "$trace" --seed 1
promise "evaluate prints JSON" is_json "$sphere" evaluate "$trace" --output json
promise "schema prints JSON" is_json "$sphere" schema decision
promise "decide: a sample line" is_json "$sphere" decide "$decide_sample" --output json
promise "completions" "$sphere" completions bash
if [ $# -gt 0 ]; then
    promise "simulate prints JSON for $1" is_json "$sphere" simulate "$1" --seed 1 --output json
fi

# A report killed on the way leaves what was there before, or is whole.
killed_report() {
    local report=$here/report.html pid
    echo old >"$report"
    "$sphere" simulate "$trace" --seed 1 --report "$report" &
    pid=$!
    sleep "$1"
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" || true
    [ "$(cat "$report")" = old ] || grep -q '</html>' "$report"
}
whole_report() {
    "$sphere" simulate "$trace" --seed 1 --report "$here/report.html" || return 1
    grep -q '</html>' "$here/report.html" || return 1
    [ "$(find "$here" -name '*report*' | wc -l)" = 1 ] || { echo "left behind:"; ls -A "$here"; return 1; }
}
for seconds in 0.05 0.3 1; do
    promise "a report killed after $seconds s" killed_report "$seconds"
done
rm -f "$here"/*report* "$here"/.*report*
promise "a report is written whole" whole_report

printf 'smoke: %d promises kept, %d broken\n' "$kept" ${#broken[@]}
[ ${#broken[@]} = 0 ]
