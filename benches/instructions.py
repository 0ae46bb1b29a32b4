"""Instructions per base, counted by valgrind and compared with the newest record.

    python benches/instructions.py            check; exit code 1 if a count is 3 % above
    python benches/instructions.py --update   append the counts as the new baseline

Counts do not depend on what else the machine does. They are differences between two lengths of
text, so that loading and compiling drop out. They do depend on the compiler. Valgrind has no
AVX-512, so these are the counts of the code for AVX2.
"""

import json
import re
import shutil
import subprocess
import sys

from _harness import ROOT, Bench, arguments
from report import newest

TOLERANCE = 0.03
WORK = {
    "pieces of 1 kb": "exact BPE, 1 kb pieces",
    "one run": "exact BPE, one string",
    "longest": "leftmost longest match, 1 kb pieces",
    "general": "exact BPE, general encoder",
    "train": "training a vocabulary",
}
COMPILING = "compiling the published vocabulary"


def binary():
    build = ["cargo", "build", "--release", "--bench", "instructions", "--message-format=json"]
    command = [*build, "-p", "dnabert2-core"]
    lines = subprocess.run(command, check=True, capture_output=True, cwd=ROOT).stdout
    messages = map(json.loads, lines.splitlines())
    return next(
        m["executable"] for m in messages if m.get("target", {}).get("name") == "instructions"
    )


def count(executable, name, bases):
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    run = subprocess.run(
        [*command, executable, name, str(bases)], check=True, capture_output=True, text=True
    )
    return int(re.search(r"Collected : (\d+)", run.stderr)[1])


def main():
    parser = arguments(__doc__, genome=False)
    parser.add_argument("--update", action="store_true")
    given = parser.parse_args()
    if not shutil.which("valgrind"):
        sys.exit("valgrind is needed: install the package of that name")
    executable, bench = binary(), Bench("instructions", given)
    compiling = count(executable, "compile", 0) - count(executable, "nothing", 0)
    found = {COMPILING: (compiling / 1e6, "million instructions")}
    few, many = 1_000_000, 3_000_000
    for name, case in WORK.items():
        counted = count(executable, name, many) - count(executable, name, few)
        found[case] = counted / (many - few), "instructions/base"
    baseline = {row["case"]: row for row in newest(given.results) if row["bench"] == bench.name}
    worse = []
    for case, (value, unit) in found.items():
        if given.update:
            bench.record(case, "count", unit, [value])
            continue
        before = baseline[case]
        rustc = before["versions"]["rustc"]
        print(f"{case}: {value:.2f} {unit}, {before['median']:g} with rustc {rustc}", flush=True)
        if value > before["median"] * (1 + TOLERANCE):
            worse.append(case)
    if worse:
        sys.exit(f"more instructions than the baseline: {', '.join(worse)}")


if __name__ == "__main__":
    main()
