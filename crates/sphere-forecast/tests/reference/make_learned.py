"""What do xgboost, LightGBM and PyWavelets make of series that `../learned.rs` makes, too?

    pip install -r requirements-learned.txt
    python make_learned.py > learned.json

Three parts. `grid`: few-valued features, no sampling, so that the trees of both sides must be the same trees; their
predictions are kept. `lags`: a noisy series, 24 lags, the founding settings; errors on rows not trained on are kept, over
five seeds where rows are sampled. `wavelets`: coefficients of short series.
"""

import json
import math
import sys

import lightgbm
import numpy as np
import pywt
import xgboost


def noise(n, state=1):
    """The generator of the Rust side: uniform in [0, 1)."""
    values = []
    for _ in range(n):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        values.append((state >> 33) / 2**31)
    return np.array(values)


def rounded(values):
    return [float(f"{v:.9g}") for v in np.asarray(values, dtype=float).ravel()]


def grid():
    rows, features = 600, 5
    u = noise(rows * (features + 1), 7).reshape(rows, features + 1)
    x = np.floor(u[:, :features] * 16)
    y = np.sin(x[:, 0] / 3) * 4 + (x[:, 1] > 9) * x[:, 2] / 4 + 2 * u[:, features]
    booster = xgboost.train(
        {
            "tree_method": "hist", "max_bin": 256, "max_depth": 4, "eta": 0.3, "lambda": 1.0, "alpha": 0.5,
            "min_child_weight": 5, "gamma": 0.0, "nthread": 1, "objective": "reg:squarederror",
        },
        xgboost.DMatrix(x, y),
        20,
    )
    leafwise = lightgbm.train(
        {
            "objective": "regression", "num_leaves": 12, "min_data_in_leaf": 10, "lambda_l2": 1.0,
            "learning_rate": 0.2, "min_data_in_bin": 1, "min_sum_hessian_in_leaf": 0.0, "max_bin": 255,
            "feature_pre_filter": False, "num_threads": 1, "verbose": -1,
        },
        lightgbm.Dataset(x, y),
        20,
    )
    return {
        "xgboost": rounded(booster.predict(xgboost.DMatrix(x))[:100]),
        "lightgbm": rounded(leafwise.predict(x)[:100]),
    }


def series(n):
    u = noise(2 * n, 3)
    level, values = 0.0, []
    for i in range(n):
        level = 0.97 * level + 6 * (u[2 * i] - 0.5)
        burst = 25.0 if i % 30 < 3 else 0.0
        values.append(100 + 20 * math.sin(i / 40) + level + burst * u[2 * i + 1])
    return np.array(values)


def lags(values, count, ahead):
    rows = len(values) - count - ahead + 1
    x = np.stack([values[i : i + count] for i in range(rows)])
    return x, values[count + ahead - 1 :]


def accuracy():
    x, y = lags(series(3000), 24, 6)
    train, test = slice(0, 2000), slice(2010, None)
    errors = []
    for seed in range(5):
        booster = xgboost.train(
            {
                "tree_method": "hist", "max_depth": 6, "eta": 0.05, "lambda": 1.0, "alpha": 0.01,
                "min_child_weight": 2, "subsample": 0.8, "colsample_bytree": 0.8, "nthread": 1, "seed": seed,
            },
            xgboost.DMatrix(x[train], y[train]),
            100,
        )
        errors.append(float(np.sqrt(np.mean((booster.predict(xgboost.DMatrix(x[test])) - y[test]) ** 2))))
    pinball = {}
    for level in (0.5, 0.95):
        losses = []
        for seed in range(5):
            booster = lightgbm.train(
                {
                    "objective": "quantile", "alpha": level, "num_leaves": 31, "min_data_in_leaf": 20,
                    "learning_rate": 0.08, "bagging_fraction": 0.6, "bagging_freq": 1, "feature_fraction": 0.7,
                    "lambda_l2": 1.0, "num_threads": 1, "verbose": -1, "seed": seed,
                },
                lightgbm.Dataset(x[train], y[train]),
                120,
            )
            error = y[test] - booster.predict(x[test])
            losses.append(float(np.mean(np.maximum(level * error, (level - 1) * error))))
        pinball[str(level)] = float(np.mean(losses))
    return {"xgboost_rmse": float(np.mean(errors)), "lightgbm_pinball": pinball}


def wavelets():
    cases = []
    for n in (32, 33, 50):
        values = series(n)
        for name in ("haar", "db2", "db4"):
            for mode in ("symmetric", "periodization"):
                levels = 4 if name == "haar" else 2
                parts = pywt.wavedec(values, name, mode=mode, level=levels)
                cases.append(
                    {
                        "length": n, "wavelet": name, "mode": mode, "levels": levels,
                        "approximation": rounded(parts[0]),
                        "details": [rounded(p) for p in parts[1:]],
                    }
                )
    return cases


def main():
    made_with = {m.__name__: m.__version__ for m in (xgboost, lightgbm, pywt)}
    result = {"made_with": made_with, "grid": grid(), "lags": accuracy(), "wavelets": wavelets()}
    json.dump(result, sys.stdout, separators=(",", ":"))


if __name__ == "__main__":
    main()
