"""Plant faults in the Python package one at a time; the tests must notice: `make mutants`.

Mutmut runs on a copy in ``target/mutants``, because it finds packages below ``src`` alone. It runs
the tests named in ``pyproject.toml`` once, notes which of them call which function, then runs those
for every fault. That takes seconds a fault and hours for all, so a share of them can be drawn:
``python .ci/mutants.py 0.1``.
"""

import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from mutmut.stats import status_by_exit_code

ROOT = Path(__file__).parents[1]
WORK = ROOT / "target" / "mutants"
CAUGHT = {"killed", "timeout", "segfault"}


def mutmut(*arguments: str) -> None:
    """Run a command of mutmut in the copy; what it finds is read from its files afterwards."""
    subprocess.run(
        [str(Path(sys.executable).with_name("mutmut")), *arguments], cwd=WORK, check=False
    )


def outcomes() -> dict[str, int | None]:
    """Return the exit code of the tests for each fault, None for one that was not tried."""
    found = {}
    for path in sorted((WORK / "mutants" / "src").rglob("*.meta")):
        found.update(json.loads(path.read_text())["exit_code_by_key"])
    return found


def main(share: float) -> None:
    """Copy, plant, test, and print survivors and figures."""
    shutil.rmtree(WORK, ignore_errors=True)
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "python" / "dnabert2_fast", WORK / "src" / "dnabert2_fast", ignore=skip)
    for folder in ("tests", "docs", "examples"):
        shutil.copytree(ROOT / folder, WORK / folder, ignore=skip)
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / file, WORK / file)
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    mutmut("run", "nothing*", **silent)  # plants them all, then finds none of that name
    names = sorted(outcomes())
    random.Random(0).shuffle(names)
    chosen = sorted(names[: max(1, round(share * len(names)))])
    mutmut("run", *chosen)
    found = {name: status_by_exit_code[code] for name, code in outcomes().items()}
    tried = {name: found[name] for name in chosen}
    for name, status in sorted(tried.items()):
        if status not in CAUGHT:
            print(f"{name}: {status}", flush=True)
            mutmut("show", name)
    print(f"{len(names):,} faults, {len(tried):,} tried: {dict(Counter(tried.values()))}")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
