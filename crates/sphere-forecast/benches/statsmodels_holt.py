"""How long does statsmodels take for the fit that examples/bench_forecast.rs times?

    python statsmodels_holt.py [SERIES.csv]

Additive trend, no season, parameters and initial state estimated on 60 values, 15 steps forecast. The same
series, and every tenth of the same windows. Prints one JSON object: milliseconds per fit in the fastest of the
rounds. Run it beside the Rust example: only ratios of one machine at one time mean anything.
Needs the packages of ../tests/reference/requirements.txt.
"""

import json
import math
import sys
import time
import warnings

import numpy as np
from statsmodels.tsa.holtwinters import ExponentialSmoothing

warnings.simplefilter("ignore")


def series(n):
    state, values = 1, []
    for i in range(n):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        noise = (state >> 33) / 2**31
        values.append(100 + 0.3 * i + 20 * math.sin(i / 11) + 12 * noise)
    return values


def main():
    if len(sys.argv) > 1:
        with open(sys.argv[1]) as file:
            values = [float(line.rsplit(",", 1)[1]) for line in file.readlines()[1:2001]]
    else:
        values = series(2000)
    windows = [np.array(values[s : s + 60]) for s in range(0, len(values) - 59, 170)]
    rounds = []
    for _ in range(15):
        start = time.perf_counter()
        for window in windows:
            model = ExponentialSmoothing(window, trend="add", initialization_method="estimated")
            model.fit().forecast(15)
        rounds.append((time.perf_counter() - start) / len(windows) * 1000)
    print(json.dumps({"statsmodels_holt_fit_ms": round(min(rounds), 3), "rounds": len(rounds)}))


if __name__ == "__main__":
    main()
