"""Instructions a base, counted by valgrind and held against the committed baseline.

    python benches/instructions.py            check; exit code 1 when one is 3 % above
    python benches/instructions.py --update   write benches/baseline.json anew

Counts do not depend on what else the machine does. They are differences between two lengths of
text, so that loading and compiling drop out. They do depend on the compiler, which the baseline
names.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

BASELINE = Path(__file__).parent / "baseline.json"
TOLERANCE = 0.03
WORK = ["pieces of 1 kb", "one run", "longest", "general", "train"]


def binary():
    build = ["cargo", "build", "--release", "--bench", "instructions", "--message-format=json"]
    lines = subprocess.run([*build, "-p", "dnabert2-core"], check=True, capture_output=True).stdout
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


def main(update):
    if not shutil.which("valgrind"):
        sys.exit("valgrind is needed: install the package of that name")
    executable = binary()
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.strip()
    found = {"compile": count(executable, "compile", 0) - count(executable, "nothing", 0)}
    for name in WORK:
        few, many = 1_000_000, 3_000_000
        difference = count(executable, name, many) - count(executable, name, few)
        found[name] = round(difference / (many - few), 2)
    if update:
        BASELINE.write_text(json.dumps({"rustc": rustc, "instructions": found}, indent=1) + "\n")
    baseline = json.loads(BASELINE.read_text())
    if baseline["rustc"] != rustc:
        print(f"the baseline was counted with {baseline['rustc']}, this is {rustc}")
    worse = []
    for name, value in found.items():
        before = baseline["instructions"][name]
        row = {"bench": "instructions", "work": name, "count": value, "baseline": before}
        print(json.dumps(row), flush=True)
        if value > before * (1 + TOLERANCE):
            worse.append(name)
    if worse:
        sys.exit(f"more instructions than the baseline: {', '.join(worse)}")


if __name__ == "__main__":
    main("--update" in sys.argv[1:])
