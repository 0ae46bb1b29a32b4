"""Everything that a GPU is needed for, by one command within a time budget.

    PYTHONPATH=python python3 benches/gpu.py [--budget-s 560] [--out DIR] [--smoke]

Needs Python, torch, triton, numpy and the extension (python/dnabert2_fast/_native.abi3.so), and no
network. Each part is a process with its own time limit. It appends its rows to DIR/rows.jsonl as
they are measured and writes its messages to DIR/PART.log. A part that fails or is stopped gets a
row with the reason, and the table at the end has all rows.

All rates are bfloat16, 12 heads of 64. Calls are queued between two CUDA events, so that launches
do not count. FLOPs of attention count every pair of tokens (4 * length^2 * head_dim per head, 2.5
times that backward), so that leaving pairs out shows as a rate beyond the card's. ``--smoke`` runs
every part once at a tiny size, also on a CPU under Triton's interpreter (TRITON_INTERPRET=1); its
times mean nothing and are not recorded.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("DNABERT2_FAST_PROGRESS", "0")

import torch
from _gpu_parts import PARTS, Sizes, compile_variant, emit, read_rows

SETTINGS = ("tokens", "backend", "kernel", "mode", "tiles", "dropout", "chosen", "device")
UNITS = {
    "product_tflops": ("matrix product", "TFLOP/s"),
    "copy_gb_s": ("copy", "GB/s"),
    "forward_tflops": ("forward", "TFLOP/s"),
    "backward_tflops": ("backward", "TFLOP/s"),
    "gb_s": ("memory", "GB/s"),
    "left_out": ("scores left out", "of 1"),
    "times_plain_torch": ("rate", "times plain torch"),
    "sequences_s": ("rate", "sequences/s"),
    "times_padded": ("rate", "times padded"),
    "times_loop": ("rate", "times one mutant per pass"),
    "tokens_s": ("rate", "tokens/s"),
    "share_of_product_peak": ("share of the matrix product's rate", "of 1"),
    "dispatch_ms": ("time of the host per step", "ms"),
    "peak_gb": ("memory", "GB"),
    "seconds": ("time", "s"),
}


def table(rows):
    lines = ["| part | setting | result |", "|---|---|---|"]
    for row in rows:
        words = {k: v for k, v in row.items() if k != "part"}
        setting = [str(v) for k, v in words.items() if k in SETTINGS]
        result = [f"{k} {v}" for k, v in words.items() if k not in SETTINGS]
        lines.append(f"| {row['part']} | {', '.join(setting)} | {', '.join(result)} |")
    return "\n".join(lines)


def record(rows, asked):
    """Add the numbers to the records of this machine."""
    from _harness import Bench

    bench = Bench("gpu", asked)
    for row in rows:
        settings = [str(row[name]) for name in SETTINGS if name in row]
        for name, (metric, unit) in UNITS.items():
            if name in row:
                bench.record(", ".join([row["part"], *settings]), metric, unit, [row[name]])


def run_part(name, limit, asked):
    """Run a part in its own process; return why it failed, None if it did not."""
    command = [sys.executable, __file__, "--part", name, "--out", str(asked.out)]
    with (asked.out / f"{name}.log").open("w") as log:
        try:
            subprocess.run(
                [*command, *["--smoke"] * asked.smoke], stdout=log, stderr=log, check=True,
                timeout=limit,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"stopped after {limit:.0f} s"
        except subprocess.CalledProcessError:
            said = (asked.out / f"{name}.log").read_text(errors="replace").strip()
            return said.splitlines()[-1][:200] if said else "no message"
    return None


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budget-s", type=float, default=560.0)
    parser.add_argument("--out", type=Path, default=Path("target/gpu"))
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--rounds", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, help="folder of records, to add the numbers to")
    parser.add_argument("--part", choices=PARTS, help="run one part in this process")
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if not (asked.smoke or torch.cuda.is_available()):
        print("error: torch finds no CUDA device; nothing to measure", file=sys.stderr)
        return 2
    rows = asked.out / "rows.jsonl"
    if asked.variant:
        compile_variant(Sizes(asked.smoke, rows), asked.variant)
        return 0
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.part:
        PARTS[asked.part][0](Sizes(asked.smoke, rows))
        return 0
    rows.unlink(missing_ok=True)
    ends, sizes = time.monotonic() + asked.budget_s, Sizes(asked.smoke, rows)
    for name, (_, limit) in PARTS.items():
        left = ends - time.monotonic()
        limit = left if asked.smoke else min(limit, left)
        why = "no time was left" if left < 5 else run_part(name, limit, asked)
        if why is not None:
            emit(sizes, name, failed=why)
        else:
            print(f"{name}: done, {ends - time.monotonic():.0f} s left", flush=True)
    found = read_rows(rows)
    (asked.out / "table.md").write_text(table(found) + "\n")
    print("\n" + table(found))
    if asked.results and not asked.smoke:
        record(found, asked)
    failed = [row for row in found if "failed" in row]
    for row in failed:
        print(f"failed: {row['part']}: {row['failed']}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
