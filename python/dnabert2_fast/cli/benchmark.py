"""The command ``gue``."""

from __future__ import annotations

import sys

from dnabert2_fast.benchmark.config import GueConfig

__all__ = ["gue"]


def gue(config: GueConfig) -> None:
    """Run the GUE benchmark beside the paper's figures.

    Default epochs, rates and batches are the paper's for each set.

    Examples
    --------
    dnabert2-fast gue --data GUE --out gue
    dnabert2-fast gue --data GUE --model mini run --tasks CPD mouse/0 --modes frozen --out gue
    """
    from dnabert2_fast.benchmark.gue_run import gue as run

    try:
        result = run(config)
    except KeyboardInterrupt as error:
        error.add_note(f"finished runs are kept in {config.out}")
        raise
    for name, why in result.skipped.items():
        print(f"skipped {name}: {why}", file=sys.stderr)
    for one in result.results:
        print(f"{one.set}\t{one.system}\tseed {one.seed}\t{one.score:.2f}")
    print(f"{result.folder / 'report.html'}: {len(result.results)} results")
