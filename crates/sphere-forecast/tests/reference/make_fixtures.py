"""Writes fixtures.json: what statsmodels estimates on small series of many kinds.

    python make_fixtures.py DIRECTORY_WITH_TRACES > fixtures.json

The directory holds CSV files `timestamp_s,value`. Windows of them are copied into the fixture, so the traces are
needed only to make it again. Constructed series are seeded.
"""

import csv
import json
import pathlib
import sys
import time
import warnings

import numpy as np
from statsmodels.tsa.holtwinters import ExponentialSmoothing

warnings.simplefilter("ignore")
SIGNIFICANT = 12


def rounded(values):
    return [float(f"{float(v):.{SIGNIFICANT}g}") for v in values]


def trace(directory, name, first, length):
    with open(directory / f"{name}.csv", newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [float(v) for _, v in rows[first : first + length]]


def windows(directory):
    for name, starts in {
        "nasa_jul95_10s": [20000, 95100, 150000],
        "wc98_10s": [3000, 9000, 14500],
        "alibaba2018_cpu_10s": [500, 30000, 61000],
        "azure2019_cpu_5min": [100, 4000, 8000],
        "azure_llm_conv_10s": [0, 200],
        "minikube_frontend_cpu_10s": [100, 900, 1500],
        "nab_ec2_825cc2_5min": [300, 2900],
        "nab_elb_8c0756_5min": [700, 3000],
        "nab_rds_cc0c53_5min": [50, 2500, 3080],
        "nab_tweets_AMZN_5min": [1000, 9000],
    }.items():
        for start in starts:
            yield f"{name}@{start}", trace(directory, name, start, 60)


def constructed():
    rng = np.random.default_rng(1960)
    t = np.arange(60.0)
    noise = rng.normal(size=60)
    walk = np.cumsum(rng.normal(size=60))
    yield "constant", np.full(60, 7.5)
    yield "zero", np.zeros(60)
    yield "line", 3 + 0.5 * t
    yield "falling line", 300 - 2.5 * t
    yield "line and noise", 100 + 2 * t + 5 * noise
    yield "step", np.where(t < 30, 10.0, 50.0)
    yield "step and noise", np.where(t < 40, 10.0, 50.0) + noise
    yield "spike", np.where(t == 31, 500.0, 20.0)
    yield "spike and noise", np.where(t == 45, 80.0, 20.0) + noise
    yield "two spikes", np.where(np.isin(t, [15, 50]), 90.0, 20.0) + noise
    yield "tiny", (50 + 3 * noise + 0.3 * t) * 1e-9
    yield "huge", (50 + 3 * noise + 0.3 * t) * 1e12
    yield "far from zero", 1e6 + walk
    yield "walk", 50 + 3 * walk
    yield "integrated walk", 100 + np.cumsum(np.cumsum(rng.normal(size=60)) * 0.3)
    yield "many zeros", rng.poisson(0.3, 60).astype(float)
    yield "counts", rng.poisson(8, 60).astype(float)
    yield "ramp and plateau", np.minimum(t, 30.0) * 4 + 20 + 2 * noise
    yield "alternating", 20 + 10 * (-1.0) ** t + 0.1 * noise
    yield "exponential growth", 5 * np.exp(0.05 * t)
    yield "saturating", 100 * (1 - 0.9**t) + noise
    yield "short 8", 10 + 2 * np.arange(8) + rng.normal(size=8)
    yield "short 12", 50 + rng.normal(size=12)
    yield "short 20", 50 + np.cumsum(rng.normal(size=20))


def seasonal():
    rng = np.random.default_rng(1957)

    def series(m, n, trend, noise, drift):
        t = np.arange(n)
        shape = rng.normal(size=m)
        season = 15 * (shape - shape.mean())[t % m]
        return 100 + trend * t + season + noise * rng.normal(size=n) + drift * np.cumsum(rng.normal(size=n))

    for m in (4, 12, 24):
        yield f"season {m}", m, "add", series(m, max(5 * m, 48), 0.0, 2, 0.0)
        yield f"season {m}, trend", m, "add", series(m, max(5 * m, 48), 0.4, 2, 0.0)
        yield f"season {m}, drift", m, "add", series(m, max(6 * m, 60), 0.0, 2, 1.5)
        yield f"season {m}, weak", m, "add", series(m, max(5 * m, 48), 0.0, 15, 1.0)
    for m in (4, 12):
        n = max(6 * m, 48)
        t = np.arange(n)
        shape = 1 + 0.4 * np.sin(2 * np.pi * t / m) + 0.1 * np.cos(4 * np.pi * t / m)
        yield f"multiplicative {m}", m, "mul", (100 + 0.5 * t) * shape * (1 + 0.03 * rng.normal(size=n))
        yield f"multiplicative {m}, flat", m, "mul", 40 * shape * (1 + 0.05 * rng.normal(size=n))
        level = 200 * np.exp(np.cumsum(0.03 * rng.normal(size=n)))
        yield f"multiplicative {m}, drift", m, "mul", level * shape * (1 + 0.02 * rng.normal(size=n))


def estimate(values, trend, damped, season=None, m=None, horizon=15):
    model = ExponentialSmoothing(
        np.asarray(values),
        trend=trend,
        damped_trend=damped,
        seasonal=season,
        seasonal_periods=m,
        initialization_method="estimated",
    )
    start = time.perf_counter()
    fit = model.fit()
    elapsed = time.perf_counter() - start
    return {
        "sse": float(fit.sse),
        "alpha": float(fit.params["smoothing_level"]),
        "beta": float(fit.params["smoothing_trend"]) if trend else 0.0,
        "gamma": float(fit.params["smoothing_seasonal"]) if season else 0.0,
        "phi": float(fit.params["damping_trend"]) if damped else 1.0,
        "forecast": rounded(fit.forecast(horizon)),
    }, elapsed


def main(directory):
    cases, elapsed = [], 0.0
    kinds = {"none": (None, False), "additive": ("add", False), "damped": ("add", True)}
    for name, values in [*windows(directory), *constructed()]:
        values = rounded(values)
        case = {"name": name, "values": values, "season": None, "period": 0, "fits": {}}
        for kind, (trend, damped) in kinds.items():
            case["fits"][kind], seconds = estimate(values, trend, damped)
            elapsed += seconds
        cases.append(case)
    day = trace(directory, "nab_elb_8c0756_5min", 0, 2016)
    real = [("elb 2 h bins", 12, "add", np.reshape(day, (-1, 24)).sum(axis=1)[:72])]
    azure = trace(directory, "azure2019_cpu_5min", 0, 12 * 24 * 6)
    hourly = np.reshape(azure, (-1, 12)).mean(axis=1)
    real.append(("azure hourly", 24, "add", hourly))
    real.append(("azure hourly", 24, "mul", hourly))
    for name, m, season, values in [*seasonal(), *real]:
        values = rounded(values)
        case = {"name": name, "values": values, "season": season, "period": m, "fits": {}}
        for kind in ("none", "additive"):
            trend, damped = kinds[kind]
            case["fits"][kind], seconds = estimate(values, trend, damped, season, m, 2 * m)
            elapsed += seconds
        cases.append(case)
    json.dump({"made_with": "statsmodels 0.15.0", "cases": cases}, sys.stdout, separators=(",", ":"))
    print(f"{len(cases)} series, {elapsed:.1f} s of fitting", file=sys.stderr)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
