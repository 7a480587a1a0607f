"""How long do statsmodels and statsforecast take for what examples/bench_classical.rs times?

    python classical.py

The same series, the same names. Prints one JSON object: microseconds of a fit and its 15-step forecast in the fastest of the
rounds, on one core. Run it beside the Rust example: only ratios of one machine at one time mean anything.
Needs the packages of ../tests/reference/requirements.txt.
"""

import json
import math
import os
import sys
import time
import warnings

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[threads] = "1"

import numpy as np
from statsforecast.models import AutoARIMA, AutoETS, AutoTheta
from statsmodels.tsa.seasonal import MSTL
from statsmodels.tsa.statespace.sarimax import SARIMAX

warnings.simplefilter("ignore")


def series(n, period):
    state, values = 1, []
    for i in range(n):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        noise = (state >> 33) / 2**31
        values.append(100 + 0.1 * i + 20 * math.sin(2 * math.pi * i / period) + 12 * noise)
    return np.array(values)


def fastest_us(call, seconds=3.0, rounds=3):
    """The first call, which may compile or load, is not counted; then at least `rounds`, or as many as fit."""
    call()
    began, best, done = time.perf_counter(), math.inf, 0
    while done < rounds or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        call()
        best, done = min(best, time.perf_counter() - start), done + 1
        if time.perf_counter() - began > 10 * seconds:
            break
    return round(best * 1e6, 1)


def main():
    short, long, twelve = series(60, 24), series(360, 24), series(60, 12)

    def sarimax(values, order, seasonal=(0, 0, 0, 0)):
        # As the founding system had it; enforced stationarity takes longer still.
        model = SARIMAX(
            values, order=order, seasonal_order=seasonal, enforce_stationarity=False, enforce_invertibility=False
        )
        model.fit(disp=0).forecast(15)

    calls = {
        "arima_111_60": lambda: sarimax(short, (1, 1, 1)),
        "arima_111_360": lambda: sarimax(long, (1, 1, 1)),
        "sarima_101_011_60_12": lambda: sarimax(twelve, (1, 0, 1), (0, 1, 1, 12)),
        "auto_arima_60": lambda: AutoARIMA().fit(short).predict(15),
        "auto_arima_360": lambda: AutoARIMA().fit(long).predict(15),
        "auto_ets_60": lambda: AutoETS().fit(short).predict(15),
        "auto_ets_60_12": lambda: AutoETS(season_length=12).fit(twelve).predict(15),
        "auto_ets_360": lambda: AutoETS().fit(long).predict(15),
        "auto_ets_360_24": lambda: AutoETS(season_length=24).fit(long).predict(15),
        "auto_theta_60": lambda: AutoTheta().fit(short).predict(15),
        "auto_theta_360": lambda: AutoTheta().fit(long).predict(15),
        "mstl_360_24": lambda: MSTL(long, periods=24).fit(),
    }
    try:
        import logging

        import pandas as pd
        from prophet import Prophet

        logging.getLogger("cmdstanpy").disabled = True

        def prophet(values):
            times = pd.Timestamp("2026-01-01") + pd.Timedelta(seconds=10) * np.arange(len(values))
            seasons = {f"{s}_seasonality": False for s in ("daily", "weekly", "yearly")}
            Prophet(**seasons).fit(pd.DataFrame({"ds": times, "y": values}))

        calls["prophet_60"] = lambda: prophet(short)
        calls["prophet_360"] = lambda: prophet(long)
    except ImportError:
        pass
    wanted = sys.argv[1:] or calls
    print(json.dumps({name: fastest_us(calls[name]) for name in wanted}))


if __name__ == "__main__":
    main()
