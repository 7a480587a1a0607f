#!/usr/bin/env python3
"""Does SPHERE need fewer pod-hours than an HPA tuned per trace, at the same violations, with one setting for all?

Runs `sphere simulate` on every trace of a folder in both physics and writes the tables of README.md to stdout.

    cargo build --release
    python3 experiments/scaling/run.py --data DIR [--sphere target/release/sphere] [--quick]

DIR holds the traces named below (see the README for their origin). A trace that is missing is said to be missing.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

STARTUPS = "30s,60s,180s"
# name, file, options; the first eight are the traces the goals are stated for.
CELLS = [
    ("NASA day 3", "nasa_jul95_10s.csv", ["--scale", "50", "--from", "3d", "--to", "5d"], True),
    ("NASA day 7", "nasa_jul95_10s.csv", ["--scale", "50", "--from", "7d", "--to", "9d"], True),
    ("NASA day 11", "nasa_jul95_10s.csv", ["--scale", "50", "--from", "11d", "--to", "13d"], True),
    ("NASA day 16", "nasa_jul95_10s.csv", ["--scale", "50", "--from", "16d", "--to", "18d"], True),
    ("NASA day 20", "nasa_jul95_10s.csv", ["--scale", "50", "--from", "20d", "--to", "22d"], True),
    ("WC98 day 1", "wc98_10s.csv", ["--to", "1d"], True),
    ("WC98 day 2", "wc98_10s.csv", ["--from", "1d"], True),
    ("Alibaba", "alibaba2018_cpu_10s.csv", ["--from", "499620s"], True),
    ("Azure CPU", "azure2019_cpu_5min.csv", ["--from", "23d"], False),
    ("ELB requests", "nab_elb_8c0756_5min.csv", ["--from", "7d"], False),
    ("Tweets AMZN", "nab_tweets_AMZN_5min.csv", ["--from", "45d", "--to", "52d"], False),
    ("Azure LLM, 1 h", "azure_llm_conv_10s.csv", [], False),
    ("Minikube front-end", "minikube_frontend_cpu_10s.csv", [], False),
]


def simulate(sphere, path, options):
    command = [sphere, "simulate", "--trace", path, "--output", "json", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def mean(runs, policy, startup, key):
    values = [r[key] for r in runs if r["policy"] == policy and r["startup_s"] == startup]
    return statistics.fmean(values) if values and all(v is not None for v in values) else None


def show(value, decimals):
    return "–" if value is None else f"{value:.{decimals}f}"


def table(rows):
    print("| trace | start-up s | oracle h | HPA 60 %: over %, h | classic: over %, h | SPHERE: over %, h | tuned HPA h | saving % |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--sphere", default="target/release/sphere")
    parser.add_argument("--quick", action="store_true", help="coarser sweep, two seeds")
    args = parser.parse_args()
    step = "5" if args.quick else "1"
    seeds = "2" if args.quick else "5"
    for physics, options in [
        ("loss", ["--physics", "loss", "--sweep", "--sweep-step", step]),
        ("queue", ["--physics", "queue", "--sweep", "--sweep-step", "5", "--seeds", seeds]),
    ]:
        print(f"\n## {physics} physics\n")
        rows, goal, other, worse, slo = [], [], [], [], []
        for name, file, cut, stated in CELLS:
            path = os.path.join(args.data, file)
            if not os.path.exists(path):
                print(f"{file}: missing", file=sys.stderr)
                continue
            print(f"{physics}: {name}", file=sys.stderr)
            policies = "hpa-60,classic,sphere,sphere-slo0.5,sphere-slo1,sphere-slo2,oracle"
            out = simulate(args.sphere, path, ["--startup", STARTUPS, "--policies", policies, *cut, *options])
            runs = out["runs"]
            for c in out["comparisons"]:
                startup = c["startup_s"]
                if c["policy"].startswith("sphere-slo"):
                    asked = float(c["policy"].removeprefix("sphere-slo"))
                    events = sum(bool(r.get("events")) for r in runs
                                 if r["policy"] == c["policy"] and r["startup_s"] == startup)
                    slo.append((name, startup, asked, c["violation_time_pct"] / asked, events, stated))
                    continue
                if c["policy"] != "sphere":
                    continue
                both = [(mean(runs, p, startup, "violation_time_pct"), mean(runs, p, startup, "pod_hours"))
                        for p in ("hpa-60", "classic", "sphere")]
                hpa, own = both[0], both[2]
                if own[0] > hpa[0] and own[1] > hpa[1]:
                    worse.append(f"{name} at {startup:.0f} s")
                saving, half = c["saving_pct"], c["saving_ci95_half_width_pct"]
                if saving is not None:
                    (goal if stated else other).append(saving)
                rows.append([
                    name, f"{startup:.0f}", show(mean(runs, "oracle", startup, "pod_hours"), 1),
                    *[f"{v:.2f}, {h:.1f}" for v, h in both],
                    show(c["tuned_hpa_pod_hours"], 1),
                    show(saving, 1) + (f" ±{half:.1f}" if half is not None else ""),
                ])
        table(rows)
        for label, values in [("first eight traces", goal), ("other traces", other)]:
            if values:
                print(f"\nSaving against the tuned HPA, {label}: median {statistics.median(values):.1f} %, "
                      f"from {min(values):.1f} to {max(values):.1f} %, positive in {sum(v > 0 for v in values)} of {len(values)}.")
        print(f"\nWorse than the HPA at 60 % in both cost and violations: {', '.join(worse) or 'none'}.")
        print("\nSLO mode, achieved over requested share of time:\n")
        print("| trace | start-up s | 0.5 % | 1 % | 2 % |\n|---|---|---|---|---|")
        for name, startup in dict.fromkeys((s[0], s[1]) for s in slo):
            cells = [f"{ratio:.2f}" + (" (reported)" if events else "")
                     for n, st, _, ratio, events, _ in slo if (n, st) == (name, startup)]
            print(f"| {name} | {startup:.0f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
