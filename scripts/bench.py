#!/usr/bin/env python3
"""How fast are the fits, the training of the learned models, the online steps and the simulator on this machine?

    scripts/bench.py

Prints one JSON object on stdout, progress on stderr. The fits are timed beside statsmodels and statsforecast on the
same numbers (in a virtual environment below target/, made on first use); `holt_fit_speedup` and `classical_speedup` are the
ratios. They are null where the packages can not be installed. Likewise boosted trees beside xgboost and LightGBM, and the
LSTM beside PyTorch where a Python on this machine has it (Debian: python3-torch). Figures of different machines or moments
are not comparable; ratios are.
"""

import hashlib
import json
import os
import pathlib
import platform
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
FORECAST = ROOT / "crates" / "sphere-forecast"
REQUIREMENTS = [
    FORECAST / "tests" / "reference" / name for name in ("requirements.txt", "requirements-learned.txt")
]


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def run(command):
    """Runs `command` in the root, stderr passed through; what it printed."""
    done = subprocess.run([str(c) for c in command], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def example(package, name):
    """The JSON that an example prints, built with optimisation."""
    say(f"{name}: building")
    run(["cargo", "build", "--release", "--locked", "--quiet", "--package", package, "--example", name])
    say(f"{name}: measuring")
    return json.loads(run([TARGET / "release" / "examples" / name]))


def environment():
    """Python of a virtual environment with the pinned requirements; made anew when they change."""
    contents = b"".join(path.read_bytes() for path in REQUIREMENTS)
    wanted = hashlib.sha256(contents + platform.python_version().encode()).hexdigest()
    venv = TARGET / "bench-venv"
    python, stamp = venv / "bin" / "python", venv / "requirements.sha256"
    if not (stamp.exists() and stamp.read_text() == wanted):
        say(f"installing {', '.join(sorted(set(contents.decode().split())))} into {venv}")
        run([sys.executable, "-m", "venv", "--clear", venv])
        files = [argument for path in REQUIREMENTS for argument in ("--requirement", path)]
        run([python, "-m", "pip", "install", "--quiet", *files])
        stamp.write_text(wanted)
    return python


def reference(script):
    """What a script of the references measures; None where they can not be installed."""
    try:
        python = environment()
    except subprocess.CalledProcessError as error:
        say(f"{script} is not measured: {error}")
        return None
    say(f"{script}: measuring")
    return json.loads(run([python, FORECAST / "benches" / script]))


def with_torch():
    """The first Python that has PyTorch: it is too large to be installed for a benchmark."""
    for python in dict.fromkeys([sys.executable, "/usr/bin/python3"]):
        if not os.path.exists(python):
            continue
        found = subprocess.run([python, "-c", "import torch"], stderr=subprocess.DEVNULL, check=False)
        if found.returncode == 0:
            return python
    return None


def learned():
    """Our training times, those of the references, and the ratios (above 1: we are faster)."""
    result = {"ours": example("sphere-forecast", "bench_learned"), "references": {}, "speedup": {}}
    ours, references, speedup = result["ours"], result["references"], result["speedup"]
    script = FORECAST / "benches" / "learned.py"
    try:
        python = environment()
        say("xgboost and LightGBM: measuring")
        references.update(json.loads(run([python, script, "trees"]))["trees"])
        for name in ("xgboost", "lightgbm"):
            speedup[name] = {rows: round(theirs / ours["train_ms"][rows], 2) for rows, theirs in references[name].items()}
    except subprocess.CalledProcessError as error:
        say(f"xgboost and LightGBM are not measured: {error}")
    torch = with_torch()
    if torch is None:
        say("PyTorch is not measured: no Python here has it (Debian: python3-torch)")
    else:
        say("PyTorch: measuring")
        references.update(json.loads(run([torch, script, "lstm"]))["lstm"])
        speedup["torch_lstm"] = round(references["torch_lstm_batch_ms"] / ours["lstm_batch_ms"], 2)
    return result


def main():
    result = {"forecast": example("sphere-forecast", "bench_forecast")}
    result["statsmodels"] = reference("statsmodels_holt.py")
    ours_us = result["forecast"]["holt_fit_us"]
    theirs = result["statsmodels"]
    result["holt_fit_speedup"] = round(theirs["statsmodels_holt_fit_ms"] * 1000 / ours_us, 1) if theirs else None
    result["classical_us"] = example("sphere-forecast", "bench_classical")
    result["classical_reference_us"] = reference("classical.py")
    result["classical_speedup"] = result["classical_reference_us"] and {
        name: round(theirs_us / result["classical_us"][name], 1)
        for name, theirs_us in result["classical_reference_us"].items()
    }
    result["learned"] = learned()
    if (ROOT / "crates" / "sphere-sim" / "examples" / "bench_simulate.rs").exists():
        result["simulate"] = example("sphere-sim", "bench_simulate")
    print(json.dumps(result))


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"bench: {error}")
