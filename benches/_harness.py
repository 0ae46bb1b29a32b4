"""One way to time and one way to record, for all benches.

A bench is a script of some twenty lines:

    \"\"\"Reversing a string.\"\"\"
    from _harness import Bench, Peer, arguments, identical, read_bases

    def main():
        given = arguments(__doc__).parse_args()
        bench, text = Bench("reverse", given), read_bases(given.genome)
        peer = Peer("reversed", lambda: "".join(reversed(text)), identical)
        bench.compare("one string", lambda: text[::-1], peer, amount=(len(text) / 1e6, "Mbases"))

    if __name__ == "__main__":
        main()

`Bench.compare` compares the outputs before it times anything and stops the bench if they differ.
`Bench.record` appends one line to ``benches/results/<machine>/<bench>.jsonl``; a line is never
changed. ``report.py`` renders the newest line of each case. Linux only.
"""

import argparse
import json
import multiprocessing
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import numpy as np

from dnabert2_fast import _native, read_fasta

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"

# Processor features that change which code runs, widest last.
FEATURES = ("neon", "sve", "avx2", "avx512f", "avx512_bf16", "amx_bf16")


class Differ(SystemExit):
    """The outputs to be compared are not the same, so nothing is timed."""


def identical(ours, theirs):
    """Require equal values."""
    if isinstance(ours, np.ndarray):
        same = ours.dtype == theirs.dtype and np.array_equal(ours, theirs)
    else:
        same = ours == theirs
    if not same:
        raise Differ("the outputs differ")
    return "identical"


def within(limit):
    """Require that no value differs by more than `limit`."""

    def same(ours, theirs):
        error = float(np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)).max())
        if not error <= limit:  # NaN differs as well
            raise Differ(f"the largest difference is {error:.1e} (allowed: {limit:.1e})")
        return f"largest difference {error:.1e}"

    return same


def aligned(limit):
    """Require a cosine of at least `limit` between every two rows."""

    def same(ours, theirs):
        a, b = (np.asarray(x, np.float64) for x in (ours, theirs))
        norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
        cosine = float(((a * b).sum(-1) / norms).min())
        if not cosine >= limit:
            raise Differ(f"the smallest cosine is {cosine:.5f} (at least: {limit})")
        return f"smallest cosine {cosine:.5f}"

    return same


class Peer(NamedTuple):
    """What ours is compared with.

    `same` takes our output and that of `call`; it returns in words how equal they are, or raises
    `Differ`. `package` is the one whose version is recorded, if it is not `name`. `amount` is what
    a call processes, if that is not what ours processes.
    """

    name: str
    call: Callable
    same: Callable
    package: str = ""
    amount: float | None = None


class Theirs(NamedTuple):
    """What a peer measured, for a record."""

    peer: str | None
    version: str | None
    values: list | tuple
    same_output: str | None = None


class Bench:
    """Measures, and appends what it measured to the results of this machine."""

    def __init__(self, name, given):
        self.name, self.rounds = name, given.rounds
        self.machine, self.commit = machine(), commit()
        self.path = given.results / self.machine["name"] / f"{name}.jsonl"
        self._began = _clocks()

    def compare(self, case, ours, peer, *, draw=lambda: (), amount=None, clock="CPU", goal=None):
        """Compare the outputs of two calls, then time them alternately and record the times.

        Parameters
        ----------
        case : str
            Names what is measured, settings included.
        ours : callable
        peer : Peer
        draw : callable
            Returns the arguments of both calls, new ones for each round.
        amount : tuple of float and str, optional
            What a call processes, such as ``(2.0, "Mbases")``: the record has rates instead of
            seconds.
        clock : str
            "CPU" for processor time of all threads, "wall" for elapsed time.
        goal : float, optional
            The smallest ratio that is good enough.
        """
        given = draw()
        agreement = peer.same(ours(*given), peer.call(*given))
        self._began = _clocks()
        own, theirs, unit = [], [], "s"
        for number in range(self.rounds):
            given = draw()
            # The second one finds warm caches, so the order alternates.
            sides = [(ours, own), (peer.call, theirs)]
            for call, seconds in sides if number % 2 else reversed(sides):
                seconds.append(getattr(timed(call, *given), clock.lower()))
        if amount is not None:
            size, unit = amount[0], f"{amount[1]}/s"
            own = [size / seconds for seconds in own]
            theirs = [(peer.amount or size) / seconds for seconds in theirs]
        version = package_version(peer.name if peer.package == "" else peer.package)
        against = Theirs(peer.name, version, theirs, agreement)
        self.record(case, f"{clock} time", unit, own, against, higher=amount is not None, goal=goal)

    def record(self, case, metric, unit, values, against=None, *, higher=False, goal=None):
        """Append one record.

        `values` are the repetitions, `against` holds those of a peer in the same rounds, or one
        for all. `higher` states that more is better. The ratio is above 1 where ours is better.
        """
        values, against = list(values), against or Theirs(None, None, (), None)
        theirs = against.values * (len(values) if len(against.values) == 1 else 1)
        pairs = list(zip(values, theirs, strict=True)) if theirs else []
        ratios = [a / b if higher else b / a for a, b in pairs]
        began, self._began = self._began, _clocks()
        row = {
            "bench": self.name,
            "case": case,
            "metric": metric,
            "unit": unit,
            **spread("", values),
            "n": len(values),
            "peer": against.peer,
            "peer_version": against.version,
            **spread("ratio", ratios),
            "goal": goal,
            "same_output": against.same_output,
            "commit": self.commit,
            "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "machine": self.machine,
            "versions": versions(),
            "load": others(began, self._began),
            "source": "measured",
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as handle:
            handle.write(json.dumps(row) + "\n")
        shown = [f"{self.name}: {case}", f"{metric} {row['median']:.4g} {unit}"]
        shown += [f"{row['ratio']:.3g} times {against.peer}"] if ratios else []
        print(*shown, *filter(None, [against.same_output]), sep="; ", flush=True)


def spread(name, values):
    """Median and quartiles, to four digits; null without values, quartiles also of one."""
    rounded = [float(f"{value:.4g}") for value in values]
    middle = float(f"{median(rounded):.4g}") if rounded else None
    ends = None
    if len(rounded) > 1:
        first, _, third = quantiles(rounded, n=4, method="inclusive")
        ends = [float(f"{first:.4g}"), float(f"{third:.4g}")]
    if name:
        return {name: middle, f"{name}_quartiles": ends}
    return {"median": middle, "quartiles": ends}


class Cost(NamedTuple):
    """Seconds of processor time and of wall clock, growth of the peak in bytes, and the value."""

    cpu: float
    wall: float
    peak: int
    value: Any


def timed(call, *given):
    """Call, and return what it cost."""
    peak, cpu, wall = _peak(), time.process_time(), time.perf_counter()
    value = call(*given)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Cost(cpu, wall, _peak() - peak, value)


def alone(prepare, *given, threads=1):
    """Return the `Cost` of the call that ``prepare(*given)`` returns, in a process of its own.

    What `prepare` does is not measured. It is a function of a module, because the process imports
    it; the value of the call has to be picklable.
    """
    names = ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(threads)))
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit this process's peak
    try:
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            return pool.submit(_prepare_and_time, prepare, given).result()
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _prepare_and_time(prepare, given):
    call = prepare(*given)
    Path("/proc/self/clear_refs").write_text("5")  # the peak of what `prepare` did
    return timed(call)


def arguments(doc, genome=True):
    """Return the parser of a bench, with what all of them take."""
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=doc, formatter_class=kind)
    if genome:
        parser.add_argument("genome", type=Path, help="FASTA file")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions of each case")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the records")
    return parser


def read_bases(path, at_least=1):
    """Return the A, C, G and T of a FASTA file as one upper-case string."""
    text = "".join(record.sequence for record in read_fasta(path)).upper()
    bases = text.translate(str.maketrans("", "", "NRYKMSWBDHVU"))
    if len(bases) < at_least:
        raise SystemExit(
            f"{path}: the genome is too small (got {len(bases):,} bases, expected at least "
            f"{at_least:,}). Choose a larger one."
        )
    return bases


def machine():
    """Describe this machine without naming its host."""
    info = Path("/proc/cpuinfo").read_text()
    flags = set((re.search(r"^(?:flags|Features)\s*:(.*)", info, re.M) or [""] * 2)[1].split())
    flags |= {"neon"} if "asimd" in flags else set()
    model = (re.search(r"^model name\s*: (.*)", info, re.M) or ["", platform.machine()])[1]
    features, cores = [name for name in FEATURES if name in flags], len(os.sched_getaffinity(0))
    words = re.sub(r"\((R|TM)\)|\bCPU\b|\bProcessor\b|@.*|\d+-Core", "", model)
    words = f"{words} {features[-1] if features else ''} {cores} cores"
    torch = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name() if torch and torch.cuda.is_available() else None
    words = f"{gpu} {words}" if gpu else words
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "name": re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-"),
        "cpu": model,
        "features": features,
        "cores": cores,
        "memory_gb": round(memory / 1e9),
        "gpu": gpu,
    }


def versions():
    """Return the versions of what takes part: the package, how it was built, libraries in use."""
    libraries = ("numpy", "pyarrow", "torch", "transformers", "triton")
    return {
        "python": platform.python_version(),
        "dnabert2-fast": package_version("dnabert2-fast"),
        "build": _native.BUILD_PROFILE,
        "rustc": rustc_version(),
        **{name: package_version(name) for name in libraries if name in sys.modules},
    }


def rustc_version():
    """Return the version of the Rust compiler; None without one."""
    if not shutil.which("rustc"):
        return None
    done = subprocess.run(["rustc", "--version"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.split()[1]


def package_version(name):
    """Return the version of a package; None if it is not one."""
    try:
        return version(name) if name else None
    except PackageNotFoundError:
        return None


def commit():
    """Return the commit that is measured, with a plus sign if the code differs from it."""

    def git(*words):
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
        return done.stdout.strip()

    head = git("rev-parse", "--short=12", "HEAD")
    changed = git("status", "--porcelain", "--", "python", "rust", "benches", ":!benches/results")
    return f"{head}+" if changed else head or None


def others(before, after):
    """Return the number of cores that other processes kept busy between two readings."""
    wall, busy, own = (b - a for a, b in zip(before, after, strict=True))
    return round(max(0.0, busy - own) / max(wall, 1e-9), 2)


def _clocks():
    """Return wall clock, busy seconds of all processors, and those of this process."""
    fields = [int(x) for x in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    spent = os.times()
    return time.perf_counter(), busy, sum(spent[:4])


def _peak():
    """Return the peak of this process in bytes; `getrusage` starts with that of the parent."""
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
