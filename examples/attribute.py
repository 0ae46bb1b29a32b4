"""Draw which bases of a human promoter the vector of a model depends on, offline.

With the folder of a fine-tuned classifier instead of "mini", the plots explain its answer.
"""

import csv
import gzip
from pathlib import Path

import dnabert2_fast
from dnabert2_fast import attribute
from dnabert2_fast.genomics import AttributionConfig, plot_attribution

DATA = Path(dnabert2_fast.__file__).parent / "data" / "demo"


def main():
    with gzip.open(DATA / "prom_core_tata" / "test.csv.gz", "rt") as handle:
        promoter = next(row["sequence"] for row in csv.DictReader(handle) if row["label"] == "1")
    for method in ("mutagenesis", "gradients"):
        found = attribute(promoter, "mini", config=AttributionConfig(method, "similarity"))
        plot_attribution(found, f"{method}.png", title="promoter")
        best = int(found.scores.argmax())
        print(f"{method}: base {best} ({promoter[best]}) matters most")


if __name__ == "__main__":
    main()
