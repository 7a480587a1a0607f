#!/usr/bin/env python3
"""Which model forecasts demand best over the next 15 steps, how honest are its quantiles, and what does it cost?

Runs `sphere evaluate` on the traces of a folder, a group of models at a time, and writes the tables of README.md to stdout.

    cargo build --release
    python3 experiments/forecasting/run.py --data DIR [--sphere target/release/sphere] [--keep DIR] [--quick] [--limit SECONDS]

DIR holds the traces named below (see the README for their origin). A trace that is missing is said to be missing. With
--keep each answer of `sphere evaluate` is kept in a folder as JSON, and what is there is not run again.
"""

import argparse
import hashlib
import json
import math
import os
import pathlib
import subprocess
import sys
import time

# name, file, options: the last two days, or the last week of 5-minute series, after at most a week to learn from.
TRACES = [
    ("NASA", "nasa_jul95_10s.csv", ["--from", "11d", "--to", "13d"]),
    ("WC98", "wc98_10s.csv", ["--from", "1d"]),
    ("Alibaba", "alibaba2018_cpu_10s.csv", ["--from", "499620s"]),
    ("Azure", "azure2019_cpu_5min.csv", ["--from", "23d"]),
    ("EC2", "nab_ec2_825cc2_5min.csv", ["--from", "7d"]),
    ("RDS", "nab_rds_cc0c53_5min.csv", ["--from", "7d"]),
    ("ELB", "nab_elb_8c0756_5min.csv", ["--from", "7d"]),
    ("AMZN", "nab_tweets_AMZN_5min.csv", ["--from", "4144500s"]),
    ("Minikube", "minikube_frontend_cpu_10s.csv", ["--from", "10090s"]),
]
# Models run together, and the stride between their forecasts: slow ones are scored at fewer origins, always against the
# baseline at the same ones.
GROUPS = [
    ("simple", 1, ["last", "mean-6", "seasonal-naive-1d", "last-week", "ses", "holt", "damped-holt"]),
    ("founding", 1, ["classic"]),
    ("own", 1, ["sphere", "auto"]),
    ("classical", 30, ["ets", "theta", "arima-1-1-1", "arima", "hw-add-1d", "prophet", "ensemble(ses;theta;arima-1-1-1)"]),
    ("seasonal", 60, ["mstl-1d", "prophet-1d", "sarimax-1d", "prophet-arima"]),
    ("learned", 30, ["lstm", "wavelet-lstm"]),
    ("trees", 60, ["gbt", "xgboost"]),
]
BASELINE = "classic-fresh"
MEASURES = [("mase", "MASE 1–15"), ("mase_13_15", "MASE 13–15"), ("pinball_95_13_15", "pinball 0.95, 13–15")]


def evaluate(args, path, models, stride, cut):
    """Rows of `sphere evaluate` by model, or why there are none; nothing if it shall not run."""
    command = [args.sphere, "evaluate", "--trace", path, "--every", str(stride), "--output", "json", "--models",
               ",".join([*models, BASELINE]), *cut]
    kept = None
    if args.keep:
        name = hashlib.sha256(" ".join([*command[1:3][:1], os.path.basename(path), *command[4:]]).encode()).hexdigest()[:16]
        kept = pathlib.Path(args.keep) / f"{name}.json"
        if kept.exists():
            return json.loads(kept.read_text())
        if args.tables:
            return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=args.limit)
    except subprocess.TimeoutExpired:
        return f"longer than {args.limit / 60:.0f} minutes"
    if done.returncode != 0 and "at no origin" in done.stderr:
        return "not enough history for a first forecast"
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    rows = {row["model"]: row for row in json.loads(done.stdout)["rows"]}
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(rows))
    return rows


def ratio(row, base, key):
    """Relative to the baseline; None where either is undefined."""
    a, b = row.get(key), base.get(key)
    return a / b if a is not None and b else None


def geometric(values):
    values = [v for v in values if v is not None and v > 0]
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def show(value, decimals=2):
    return "–" if value is None else f"{value:.{decimals}f}"


def header(*names):
    print("| " + " | ".join(names) + " |")
    print("|" + "---|" * len(names))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--sphere", default="target/release/sphere")
    parser.add_argument("--keep", help="folder for the answers, so that an interrupted run goes on")
    parser.add_argument("--tables", action="store_true", help="only write the tables of what --keep has")
    parser.add_argument("--limit", type=float, default=300, metavar="SECONDS", help="longest time for one model on one trace (default 300)")
    parser.add_argument("--quick", action="store_true", help="only the groups that answer within minutes")
    args = parser.parse_args()
    groups = GROUPS[:3] if args.quick else GROUPS
    rows, bases, absent = {}, {}, []
    for label, file, cut in TRACES:
        path = os.path.join(args.data, file)
        if not os.path.exists(path):
            print(f"{file}: missing", file=sys.stderr)
            continue
        for group, stride, models in groups:
            # One by one where one may take too long, so that the others are kept.
            for part in ([[m] for m in models] if stride > 6 else [models]):
                began = time.monotonic()
                found = evaluate(args, path, part, stride, cut)
                print(f"{label}: {group}: {', '.join(part)}: {time.monotonic() - began:.0f} s", file=sys.stderr)
                if found is None:
                    continue
                if isinstance(found, str):
                    absent.append(f"{', '.join(part)} on {label} ({found})")
                    continue
                for model in part:
                    rows[model, label] = found[model]
                    bases[model, label] = found[BASELINE]
    labels = [label for label, _, _ in TRACES if any(l == label for _, l in rows)]
    models = [m for _, _, group in groups for m in group if any((m, label) in rows for label in labels)]

    def relative(model, label, key):
        if (model, label) not in rows:
            return None
        return ratio(rows[model, label], bases[model, label], key)

    for key, name in MEASURES:
        print(f"\n## {name}, relative to `{BASELINE}`\n")
        header("model", "geometric mean", *labels)
        cells_of = {m: [relative(m, label, key) for label in labels] for m in models}
        means = {m: geometric(cells) for m, cells in cells_of.items()}
        # Means over fewer traces are no match for the others: they come last.
        for model in sorted(models, key=lambda m: (None in cells_of[m], means[m] if means[m] is not None else math.inf)):
            cells = cells_of[model]
            best = "**" if model in ("auto", "sphere") else ""
            whole = None not in cells
            print(f"| {best}{model}{best} | {show(means[model], 3)}{'' if whole else ' (not on all)'} | "
                  + " | ".join(show(c) for c in cells) + " |")

    print("\n## Share of values at or below the quantile, %\n")
    header("model", "quantile", *labels)
    for model in models:
        for key, quantile in [("coverage_90", "0.9"), ("coverage_95", "0.95")]:
            cells = [100 * rows[model, label][key] if rows.get((model, label), {}).get(key) is not None else None
                     for label in labels]
            if any(c is not None for c in cells):
                print(f"| {model} | {quantile} | " + " | ".join(show(c, 1) for c in cells) + " |")

    print("\n## Cost on Azure, microseconds\n")
    header("model", "a fit or refit", "one forecast of 15 steps with quantiles")
    for model in models:
        row = rows.get((model, "Azure"))
        if row:
            print(f"| {model} | {show(1000 * row['fit_ms'], 0) if row['fit_ms'] is not None else '–'} "
                  f"| {show(1000 * row['forecast_ms'], 1) if row['forecast_ms'] is not None else '–'} |")
    print(f"\nWithout a result: {'; '.join(absent) or 'none'}.")


if __name__ == "__main__":
    main()
