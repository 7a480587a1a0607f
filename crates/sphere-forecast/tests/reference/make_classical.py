"""Writes classical/*.json: what the reference implementations make of the series of fixtures.json.

    python make_classical.py [arima] [ets] [theta] [prophet] [mstl]

Series are named, not repeated: fixtures.json and, for the longer ones, classical/series.json hold their values. All of it
is seeded, and a part can be made anew alone. Seconds are those of this run and only for orientation.
"""

import json
import logging
import math
import pathlib
import sys
import time
import warnings

import numpy as np

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE / "classical"
PLAIN = [
    "nasa_jul95_10s@20000", "wc98_10s@9000", "alibaba2018_cpu_10s@30000", "azure2019_cpu_5min@4000",
    "minikube_frontend_cpu_10s@900", "nab_elb_8c0756_5min@3000", "nab_tweets_AMZN_5min@9000", "line and noise",
    "tiny", "huge", "far from zero", "walk", "integrated walk", "counts", "ramp and plateau", "short 20",
]
SEASONAL = [
    "season 4", "season 4, trend", "season 4, drift", "season 4, weak", "season 12", "season 12, trend",
    "season 12, drift", "multiplicative 4", "multiplicative 12", "multiplicative 12, drift", "elb 2 h bins",
]


def series():
    """Name → (values, period) of everything stored."""
    found = {}
    for case in json.loads((HERE / "fixtures.json").read_text())["cases"]:
        # "azure hourly" is there twice, with the same values.
        found.setdefault(case["name"], (np.array(case["values"]), case["period"]))
    for case in longer():
        found[case["name"]] = (np.array(case["values"]), case["period"])
    return found


def longer():
    """Series of 360 values and more, made here."""
    rng = np.random.default_rng(2008)

    def rounded(values):
        return [float(f"{v:.9g}") for v in values]

    t = np.arange(360.0)
    noise = np.zeros(360)
    for i, shock in enumerate(rng.normal(size=360)):
        noise[i] = (0.6 * noise[i - 1] if i else 0.0) + 3 * shock
    wave = 15 * np.sin(2 * np.pi * t / 24) + 6 * np.cos(4 * np.pi * t / 24)
    yield {"name": "long 24", "period": 24, "values": rounded(120 + 0.1 * t + wave + noise)}
    yield {"name": "long 24, multiplicative", "period": 24, "values": rounded((120 + 0.1 * t) * (1 + wave / 60) + noise)}
    yield {"name": "long walk", "period": 0, "values": rounded(200 + np.cumsum(rng.normal(size=360)) + rng.normal(size=360))}
    t = np.arange(504.0)
    shape = 20 * np.sin(2 * np.pi * t / 12) + 30 * np.cos(2 * np.pi * t / 84)
    yield {"name": "two seasons", "period": 12, "values": rounded(200 + 0.05 * t + shape + 4 * rng.normal(size=504))}


def rounded(values):
    return [float(f"{float(v):.10g}") for v in values]


def arima(all_series):
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    def case(name, order, seasonal=(0, 0, 0, 0), exog=None):
        values, _ = all_series[name]
        n, columns, ahead = len(values), [], []
        for kind in exog or []:
            t = np.arange(n + 15.0)
            column = {
                "one": np.ones(n + 15), "drift": t,
            }.get(kind)
            if column is None:
                wave, period = kind.split("/")
                angle = 2 * np.pi * t / float(period)
                column = np.sin(angle) if wave == "sin" else np.cos(angle)
            columns.append(column[:n])
            ahead.append(column[n:])
        unit = float(np.std(values)) or 1.0
        model = SARIMAX(
            values / unit, exog=np.array(columns).T if columns else None, order=order, seasonal_order=seasonal,
            simple_differencing=False,
        )
        start = time.perf_counter()
        fit = model.fit(disp=0, maxiter=300)
        elapsed = time.perf_counter() - start
        names = list(model.param_names)
        lost = order[1] + seasonal[1] * seasonal[3]
        # Where an own start is better, statsmodels stopped in a local maximum; keep the better one.
        return {
            "series": name, "order": order, "seasonal": seasonal, "exog": exog or [],
            # In units of the series: the density changes with the unit, once per value that counts.
            "log_likelihood": float(fit.llf) - (n - lost) * math.log(unit),
            "names": names,
            "parameters": rounded(fit.params),
            "forecast": rounded(unit * fit.forecast(15, exog=np.array(ahead).T if columns else None)),
            "seconds": round(elapsed, 3),
        }

    cases = []
    for name in PLAIN:
        for order, exog in [
            ((1, 1, 1), None), ((0, 1, 1), None), ((1, 0, 0), ["one"]), ((1, 0, 1), ["one"]), ((2, 1, 2), None),
            ((1, 1, 0), ["drift"]),
        ]:
            cases.append(case(name, order, exog=exog))
    for name in ["season 4", "season 4, trend", "season 4, weak", "season 12, drift", "multiplicative 12"]:
        m = all_series[name][1]
        for order, seasonal in [((0, 1, 1), (0, 1, 1, m)), ((1, 0, 0), (1, 0, 0, m))]:
            cases.append(case(name, order, seasonal, exog=None if seasonal[1] else ["one"]))
    fourier = ["one"] + [f"{w}/{p}" for p in (24, 12) for w in ("sin", "cos")]
    cases.append(case("long 24", (1, 0, 1), exog=fourier))
    cases.append(case("long 24", (0, 1, 1), exog=fourier[1:]))
    cases.append(case("long 24", (1, 0, 0), (0, 1, 1, 24)))
    cases.append(case("long walk", (1, 1, 1)))

    from statsforecast.models import AutoARIMA

    chosen = []
    for name in [*PLAIN, *SEASONAL, "long 24", "long walk"]:
        values, period = all_series[name]
        season = period if period and period <= 12 else 1
        start = time.perf_counter()
        model = AutoARIMA(season_length=season).fit(values).model_
        p, q, sp, sq, m, d, sd = model["arma"]
        columns = [c for c in model["coef"] if not c.startswith(("ar", "ma", "sar", "sma"))]
        chosen.append({
            "series": name, "period": season if season > 1 else 0, "order": [p, d, q], "seasonal": [sp, sd, sq, m],
            "exog": columns, "aicc": float(model["aicc"]), "seconds": round(time.perf_counter() - start, 3),
        })
    return {"cases": cases, "automatic": chosen}


def ets(all_series):
    from statsforecast.models import AutoETS
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    variants = []
    for name in [*PLAIN, *SEASONAL]:
        values, period = all_series[name]
        unit = float(np.std(values)) or 1.0
        positive = bool((values > 0).all())
        for error in ("add", "mul"):
            for trend in ("none", "add", "damped"):
                for season in ("none", "add", "mul"):
                    if (error == "mul" or season == "mul") and not positive:
                        continue
                    if season != "none" and not period or (error, season) == ("add", "mul"):
                        continue
                    if season == "none" and period and name != "season 4, weak":
                        continue
                    model = ETSModel(
                        values / unit, error=error, trend=None if trend == "none" else "add",
                        damped_trend=trend == "damped", seasonal=None if season == "none" else season,
                        seasonal_periods=period or None, initialization_method="estimated",
                    )
                    start = time.perf_counter()
                    fit = model.fit(disp=0, maxiter=1000)
                    variants.append({
                        "series": name, "error": error, "trend": trend, "season": season,
                        "log_likelihood": float(fit.llf) - len(values) * math.log(unit),
                        "alpha": float(fit.smoothing_level),
                        "forecast": rounded(unit * fit.forecast(15)),
                        "seconds": round(time.perf_counter() - start, 3),
                    })
    chosen = []
    for name in [*PLAIN, *SEASONAL, "long 24", "long 24, multiplicative", "long walk"]:
        values, period = all_series[name]
        AutoETS(season_length=period or 1).fit(values)
        start = time.perf_counter()
        model = AutoETS(season_length=period or 1).fit(values)
        elapsed = time.perf_counter() - start
        chosen.append({
            "series": name, "period": period, "model": model.model_["method"], "aicc": float(model.model_["aicc"]),
            "forecast": rounded(model.predict(15)["mean"]), "seconds": round(elapsed, 5),
        })
    return {"variants": variants, "automatic": chosen}


def theta(all_series):
    from statsforecast.models import AutoTheta

    cases = []
    for name in [*PLAIN, *SEASONAL, "long 24", "long walk"]:
        values, period = all_series[name]
        for kind in ("OTM", "DOTM", "STM", "DSTM"):
            start = time.perf_counter()
            model = AutoTheta(season_length=period or 1, model=kind).fit(values)
            elapsed = time.perf_counter() - start
            state = model.model_
            cases.append({
                "series": name, "period": period, "kind": kind, "mse": float(state["mse"]),
                "alpha": float(state["par"]["alpha"]), "theta": float(state["par"]["theta"]),
                "level": float(state["par"]["initial_smoothed"]), "deseasonalised": bool(state.get("decompose", False)),
                "forecast": rounded(model.predict(15)["mean"]), "seconds": round(elapsed, 5),
            })
    return {"cases": cases}


def prophet(all_series):
    import pandas as pd
    from prophet import Prophet

    cases = []
    for name, seasons, mode in [
        *[(name, [], "additive") for name in PLAIN if not name.startswith(("short", "tiny", "huge"))],
        ("long 24", [(24, 2)], "additive"), ("long 24, multiplicative", [(24, 2)], "multiplicative"),
        ("two seasons", [(12, 2), (84, 2)], "additive"), ("long walk", [], "additive"),
    ]:
        values, _ = all_series[name]
        step = pd.Timedelta(seconds=10)
        times = pd.Timestamp("2026-01-01") + step * np.arange(len(values))
        model = Prophet(
            daily_seasonality=False, weekly_seasonality=False, yearly_seasonality=False, seasonality_mode=mode,
            interval_width=0.8, uncertainty_samples=0,
        )
        for period, order in seasons:
            model.add_seasonality(f"s{period}", period=period * step / pd.Timedelta(days=1), fourier_order=order)
        start = time.perf_counter()
        model.fit(pd.DataFrame({"ds": times, "y": values}))
        elapsed = time.perf_counter() - start
        future = pd.DataFrame({"ds": times[-1] + step * np.arange(1, 16)})
        fitted = model.predict(pd.DataFrame({"ds": times}))["yhat"]
        params = {k: np.ravel(model.params[k]) for k in ("k", "m", "delta", "sigma_obs", "beta")}
        cases.append({
            "series": name, "seasons": seasons, "mode": mode, "scale": float(model.y_scale),
            "k": float(params["k"][0]), "m": float(params["m"][0]), "sigma": float(params["sigma_obs"][0]),
            "delta": rounded(params["delta"]),
            "beta": rounded(params["beta"]) if seasons else [],
            "rmse": float(np.sqrt(np.mean((fitted - values) ** 2))),
            "forecast": rounded(model.predict(future)["yhat"]), "seconds": round(elapsed, 3),
        })
    return {"cases": cases}


def mstl(all_series):
    from statsmodels.tsa.seasonal import MSTL

    cases = []
    for name, periods in [
        ("season 12", (12,)), ("elb 2 h bins", (12,)), ("azure hourly", (24,)), ("two seasons", (12, 84)),
        ("two seasons", (84,)), ("long 24, multiplicative", (24,)),
    ]:
        values, _ = all_series[name]
        start = time.perf_counter()
        found = MSTL(values, periods=periods).fit()
        elapsed = time.perf_counter() - start
        seasons = np.atleast_2d(np.asarray(found.seasonal).T)
        every = max(1, len(values) // 40)
        cases.append({
            "series": name, "periods": periods, "every": every,
            "seasons": [rounded(s[::every]) for s in seasons], "trend": rounded(found.trend[::every]),
            "seconds": round(elapsed, 4),
        })
    return {"cases": cases}


def main(wanted):
    OUT.mkdir(exist_ok=True)
    parts = {f.__name__: f for f in (arima, ets, theta, prophet, mstl)}
    (OUT / "series.json").write_text(json.dumps({"cases": list(longer())}, separators=(",", ":")))
    all_series = series()
    for name in wanted or parts:
        start = time.perf_counter()
        found = parts[name](all_series)
        text = json.dumps(found, separators=(",", ":")).replace('},{"series"', '},\n{"series"')
        (OUT / f"{name}.json").write_text(text + "\n")
        print(f"{name}: {time.perf_counter() - start:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
