"""How long do xgboost, LightGBM and PyTorch take for what examples/bench_learned.rs times?

    python learned.py [trees] [lstm]

Prints one JSON object, milliseconds of the fastest round, one thread. `trees` needs the packages of
../tests/reference/requirements-learned.txt: 100 trees of depth 6 on 24 lags. `lstm` needs PyTorch: forward, backward and
Adam on 32 sequences of 30. The data sets are made within the time, as on the other side. Only ratios of one machine at one
time mean anything.
"""

import json
import math
import sys
import time


def series(n):
    state, values = 1, []
    for i in range(n):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        values.append(100 + 0.3 * i + 20 * math.sin(i / 11) + 12 * (state >> 33) / 2**31)
    return values


def fastest_ms(rounds, call):
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1000)
    return round(min(times), 2)


def trees():
    import lightgbm
    import numpy as np
    import xgboost

    result = {"xgboost": {}, "lightgbm": {}}
    for rows in (1000, 20_000):
        values = np.array(series(rows + 24), dtype=np.float32)
        x = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(values, 24)[:rows])
        y = values[24:]
        rounds = 5 if rows > 10_000 else 15
        for bins, label in ((256, f"{rows}_rows"), (64, f"{rows}_rows_64_bins")):
            params = {
                "tree_method": "hist", "max_bin": bins, "max_depth": 6, "eta": 0.05, "lambda": 1.0, "alpha": 0.01,
                "min_child_weight": 2, "nthread": 1,
            }
            result["xgboost"][label] = fastest_ms(
                rounds, lambda: xgboost.train(params, xgboost.QuantileDMatrix(x, y, max_bin=bins, nthread=1), 100)
            )
            settings = {
                "objective": "regression", "num_leaves": 64, "max_depth": 6, "min_data_in_leaf": 2, "lambda_l2": 1.0,
                "lambda_l1": 0.01, "learning_rate": 0.05, "max_bin": bins - 1, "num_threads": 1, "verbose": -1,
                "force_row_wise": True,
            }
            result["lightgbm"][label] = fastest_ms(
                rounds, lambda: lightgbm.train(settings, lightgbm.Dataset(x, y, params=settings), 100)
            )
    return result


def lstm():
    import torch

    torch.set_num_threads(1)
    layer, head = torch.nn.LSTM(1, 24), torch.nn.Linear(24, 15)
    parameters = [*layer.parameters(), *head.parameters()]
    adam = torch.optim.Adam(parameters, lr=1e-3)
    x = torch.tensor(series(30 * 32)).reshape(30, 32, 1) / 300
    y = x.reshape(-1)[: 32 * 15].reshape(32, 15)

    def batch():
        adam.zero_grad()
        torch.nn.functional.mse_loss(head(layer(x)[0][-1]), y).backward()
        adam.step()

    return {"torch_lstm_batch_ms": fastest_ms(40, batch)}


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["trees", "lstm"]
    print(json.dumps({name: {"trees": trees, "lstm": lstm}[name]() for name in wanted}))
