"""Render the newest record of each case into docs/benchmarks.md and README.md.

    python benches/report.py

Each table is between ``<!-- results: NAME -->`` and ``<!-- /results -->``. NAME is a bench, or one
of "headline" (README), "missed" (ratios below their goal) and "machines".
"""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
PAGES = (ROOT / "README.md", ROOT / "docs" / "benchmarks.md")

# Bench, case, metric and peer of the rows in README, with the words used there.
HEADLINE = {
    ("encode", "1 kb pieces", "CPU time", "tokenizers 0"): "Tokenizing 1 kb pieces, 1 thread",
    ("train", "30 Mb in 1 kb pieces, 1 thread", "CPU time", "tokenizers 0"):
        "Training a vocabulary on 30 Mb, 1 thread",
    ("embed", "32 reads, bfloat16, 1 thread", "CPU time", "padded float32 loop"):
        "Embedding reads of 100 to 2,500 bp in bfloat16, 1 thread",
    ("attribute", "300 bp, bfloat16, random weights", "CPU time", "one mutant per pass, float32"):
        "In-silico mutagenesis of 300 bp in bfloat16, 1 thread",
}  # fmt: skip


def key(row):
    """What makes two records the same case; generations of a peer are cases of their own."""
    generation = (row["peer_version"] or "").split(".")[0] if row["peer"] == "tokenizers" else ""
    return (
        row["bench"],
        row["case"],
        row["metric"],
        " ".join(filter(None, [row["peer"], generation])),
    )


def newest(results=RESULTS):
    """Return the newest record of each case, cases in the order of their first record.

    Figures of an earlier page are left out once their bench has been run: its cases have changed.
    """
    found = {}
    for path in sorted(results.glob("*/*.jsonl")):
        for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            if key(row) not in found or row["date"] >= found[key(row)]["date"]:
                found[key(row)] = row
    run_since = {row["bench"] for row in found.values() if row["source"] == "measured"}
    rows = found.values()
    return [row for row in rows if row["source"] == "measured" or row["bench"] not in run_since]


def number(value):
    """Return three digits, all of a larger integer."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def with_quartiles(row, name):
    """Return a median, and its quartiles if there were several rounds."""
    ends = row["quartiles" if name == "median" else f"{name}_quartiles"]
    return number(row[name]) + (f" ({' to '.join(map(number, ends))})" if ends else "")


def peer(row):
    """Return the peer and its version."""
    return " ".join(filter(None, [row["peer"], row["peer_version"]]))


def run(row):
    """Return when, where and beside how much other work a record was made."""
    load = "-" if row["load"] is None else f"{row['load']:.1f}"
    source = "" if row["source"] == "measured" else " (from an earlier page)"
    return [row["date"][:10] + source, row["machine"]["name"], load]


def table(head, rows):
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def bench(rows):
    """Return the table of one bench."""
    head = ["case", "metric", "ratio", "peer", "ours", "outputs", "date", "machine", "load"]
    cells = []
    for row in rows:
        own, ratio = "", ""
        if row["ratio"] is not None:
            ratio = with_quartiles(row, "ratio")
        if row["median"] is not None:
            shown = number(row["median"]) if ratio else with_quartiles(row, "median")
            own = f"{shown} {row['unit']}"
        outputs = row["same_output"] or ""
        cells.append([row["case"], row["metric"], ratio, peer(row), own, outputs, *run(row)])
    return table(head, cells)


def headline(rows):
    """Return the table of README."""
    found = {key(row): row for row in rows}
    head = ["measured", "times as fast", "as", "outputs", "date", "machine"]
    cells = []
    for wanted, words in HEADLINE.items():
        row = found[wanted]
        cells.append(
            [words, number(row["ratio"]), peer(row), row["same_output"] or "", *run(row)[:2]]
        )
    return table(head, cells)


def missed(rows):
    """Return the table of the ratios below their goal."""
    short = [row for row in rows if row["goal"] is not None and row["ratio"] < row["goal"]]
    head = ["bench", "case", "metric", "peer", "goal", "ratio"]
    cells = [
        [row["bench"], row["case"], row["metric"], peer(row), number(row["goal"]),
         with_quartiles(row, "ratio")]
        for row in short
    ]  # fmt: skip
    return table(head, cells) if cells else "None."


def machines(rows):
    """Return the table of the machines of all records shown."""
    found = {row["machine"]["name"]: row["machine"] for row in rows}
    head = ["machine", "processor", "features", "cores", "memory, GB"]
    cells = [
        [name, one["cpu"] or "not recorded", ", ".join(one["features"]), str(one["cores"]),
         str(one["memory_gb"] or "not recorded")]
        for name, one in sorted(found.items())
    ]  # fmt: skip
    return table(head, cells)


def render(text, rows):
    """Return the text with its tables rendered again."""

    def fill(match):
        name = match[2]
        special = {"headline": headline, "missed": missed, "machines": machines}
        own = [row for row in rows if row["bench"] == name]
        if name not in special and not own:
            raise SystemExit(f"results: {name}: there is no record of this bench")
        made = special[name](rows) if name in special else bench(own)
        return f"{match[1]}\n\n{made}\n\n{match[3]}"

    block = r"(<!-- results: (.+?) -->).*?(<!-- /results -->)"
    return re.sub(block, fill, text, flags=re.DOTALL)


def main():
    rows = newest()
    for page in PAGES:
        page.write_text(render(page.read_text(encoding="utf-8"), rows), encoding="utf-8")


if __name__ == "__main__":
    main()
