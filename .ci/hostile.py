"""Run the Python tests where tests like to fail: `make hostile`, or some environments by number.

Each run shuffles the tests with a seed of its own. Needs Linux, util-linux and root (for a network
of its own and for the loss of root's rights); takes a few times as long as ``make python-test``.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NO_NETWORK = ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"]
NOT_ROOT = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]

# What is hostile, the words before the command, workers, busy loops beside it.
ENVIRONMENTS = [
    ("SIGINT ignored, TMPDIR with a space, LANG=C, no network", NO_NETWORK, "logical", 0),
    ("not root, HOME read-only", NOT_ROOT, "logical", 0),
    ("four busy loops", [], "logical", 4),
    ("one core", ["taskset", "-c", "0"], "1", 0),
]


def ignore_interrupts() -> None:
    """As nohup and some runners do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def run(number: int, folder: Path) -> bool:
    """Run all tests in one environment; returns whether they passed."""
    what, before, workers, loops = ENVIRONMENTS[number]
    tmp, home = folder / "a folder with spaces", folder / "home"
    for made in (tmp, home):
        made.mkdir(exist_ok=True)
    home.chmod(0o555)
    changes = {"TMPDIR": str(tmp), "LANG": "C", "LC_ALL": "C"} if number == 0 else {}
    changes |= {"HOME": str(home)} if number == 1 else {}
    pytest = ["-m", "pytest", "-p", "no:cacheprovider", "-n", workers, "--dist", "worksteal"]
    pytest += ["--random-order", f"--random-order-seed={number}"]
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    print(f"{number}: {what}", flush=True)
    started = time.monotonic()
    try:
        done = subprocess.run(
            [*before, sys.executable, *pytest],
            env={**os.environ, **changes},
            preexec_fn=(lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
            if not number
            else None,
            check=False,
        )
    finally:
        for process in busy:
            process.kill()
    print(f"{number}: exit code {done.returncode} after {time.monotonic() - started:.0f} s")
    return done.returncode == 0


if __name__ == "__main__":
    chosen = [int(text) for text in sys.argv[1:]] or range(len(ENVIRONMENTS))
    with tempfile.TemporaryDirectory() as name:
        passed = [run(number, Path(name)) for number in chosen]
    sys.exit(not all(passed))
