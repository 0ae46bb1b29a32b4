"""The command `embed` with ONNX Runtime, against the same command with torch: start-up and memory.

    python benches/runtimes.py

Each round starts both commands on one short sequence with the packaged model, one thread. The
vectors must be equal to 1e-5. Needs the extra onnx.
"""

import os
import sys
import tempfile
import time
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
from _harness import Bench, Theirs, arguments, package_version, within

SEQUENCE = "ACGTTGCATTAGGACCATGCTAGGCTA" * 4
CASE = "embed, one sequence, mini, 1 thread"


def run(folder, *options):
    """Run a command of the package; returns processor and elapsed seconds, and peak bytes."""
    command = [sys.executable, "-m", "dnabert2_fast", *options]
    began = time.perf_counter()
    child = os.posix_spawn(
        sys.executable, command, {**os.environ, "OMP_NUM_THREADS": "1"},
        file_actions=[(os.POSIX_SPAWN_OPEN, fd, folder / "log", os.O_CREAT | os.O_WRONLY, 0o644)
                      for fd in (1, 2)],
    )  # fmt: skip
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit((folder / "log").read_text())
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - began, usage.ru_maxrss * 1024


def installed_mb(library):
    """Size of a library's own files, without those that it requires."""
    files = distribution(library).files
    return sum(file.locate().stat().st_size for file in files if file.locate().exists()) / 1e6


def main():
    given = arguments(__doc__, genome=False).parse_args()
    bench = Bench("runtimes", given)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "one.fa").write_text(f">one\n{SEQUENCE}\n")
        run(folder, "export-onnx", "mini", "--out", str(folder / "onnx"))
        costs = {"onnx": [], "torch": []}
        models = {"onnx": str(folder / "onnx"), "torch": "mini"}
        for _ in range(given.rounds):
            for runtime, model in models.items():
                out = ("--out", str(folder / f"{runtime}.npy"), "--runtime", runtime)
                costs[runtime].append(
                    run(folder, "embed", str(folder / "one.fa"), "--model", model, *out)
                )
        vectors = [np.load(folder / f"{runtime}.npy") for runtime in costs]
    same = within(1e-5)(*vectors)
    torch = package_version("torch")
    units = (("CPU time", "s", 1.0), ("wall time", "s", 1.0), ("memory", "MB", 1e6))
    for number, (metric, unit, scale) in enumerate(units):
        ours, theirs = ([cost[number] / scale for cost in costs[name]] for name in costs)
        bench.record(CASE, metric, unit, ours, Theirs("torch", torch, theirs, same))
    own, peer = installed_mb("onnxruntime"), installed_mb("torch")
    bench.record("installed library, itself", "size", "MB", [own], Theirs("torch", torch, [peer]))


if __name__ == "__main__":
    main()
