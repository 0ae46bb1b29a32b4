"""The tokenizer without Python, by elapsed time: rates of each kind of vocabulary and matching.

    python benches/core.py GENOME.fa.gz

Records what ``cargo bench --bench encode`` prints (rust/dnabert2-core/benches/encode.rs).
"""

import json
import subprocess

from _harness import ROOT, Bench, arguments


def main():
    given = arguments(__doc__).parse_args()
    bench = Bench("core", given)
    command = ["cargo", "bench", "--quiet", "-p", "dnabert2-core", "--bench", "encode", "--"]
    lines = subprocess.check_output([*command, given.genome.resolve()], cwd=ROOT, text=True)
    for line in lines.splitlines():
        row = json.loads(line)
        bench.record(row["case"], row["metric"], row["unit"], row["values"])


if __name__ == "__main__":
    main()
