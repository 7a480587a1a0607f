#!/usr/bin/env python3
"""How fast are the fits, the online steps and the simulator on this machine?

    scripts/bench.py

Prints one JSON object on stdout, progress on stderr. The fits are timed beside statsmodels and statsforecast on the
same numbers (in a virtual environment below target/, made on first use); `holt_fit_speedup` and `classical_speedup` are the
ratios. They are null where the packages can not be installed. Figures of different machines or moments are not comparable; ratios are.
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
REQUIREMENTS = FORECAST / "tests" / "reference" / "requirements.txt"


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
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + platform.python_version().encode()).hexdigest()
    venv = TARGET / "bench-venv"
    python, stamp = venv / "bin" / "python", venv / "requirements.sha256"
    if not (stamp.exists() and stamp.read_text() == wanted):
        say(f"installing {', '.join(REQUIREMENTS.read_text().split())} into {venv}")
        run([sys.executable, "-m", "venv", "--clear", venv])
        run([python, "-m", "pip", "install", "--quiet", "--requirement", REQUIREMENTS])
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
    if (ROOT / "crates" / "sphere-sim" / "examples" / "bench_simulate.rs").exists():
        result["simulate"] = example("sphere-sim", "bench_simulate")
    print(json.dumps(result))


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"bench: {error}")
