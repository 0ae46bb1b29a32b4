"""Progress of long work: a bar on a terminal, otherwise a plain line at intervals.

``DNABERT2_FAST_PROGRESS=0`` turns it off. All output goes to standard error.
"""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Any

from tqdm import tqdm

__all__ = ["Progress", "announce", "progress"]

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """One running job; made by `progress`.

    Use it as a context manager: leaving the block closes the bar or prints the last line.
    """

    def __init__(self, total: int | None, description: str, unit: str) -> None:
        self._total, self._description, self._unit = total, description, unit
        self._done = self._skipped = 0
        self._notes = ""
        self._last_line: tuple[int, str] | None = None
        self._started = self._printed = time.monotonic()
        silent = os.environ.get("DNABERT2_FAST_PROGRESS") == "0"
        self._lines = not silent and not sys.stderr.isatty()
        self._bar: Any = None
        if not silent and not self._lines:
            self._bar = tqdm(
                total=total, desc=description, unit=f" {unit}", unit_scale=True, dynamic_ncols=True
            )

    def __enter__(self) -> Progress:
        return self

    def update(self, n: int = 1) -> None:
        """Count `n` more units as done."""
        self._done += n
        if self._bar is not None:
            self._bar.update(n)
        elif self._lines and time.monotonic() - self._printed > SECONDS_BETWEEN_LINES:
            self._print()

    def reach(self, done: int) -> None:
        """Count units up to `done` that an earlier run computed; the time left ignores them."""
        n = done - self._done
        self._done, self._skipped = done, self._skipped + n
        if self._bar is not None:
            for counter in ("n", "initial", "last_print_n"):
                setattr(self._bar, counter, getattr(self._bar, counter) + n)

    def note(self, **values: object) -> None:
        """Show values such as ``loss=5.31`` after the bar."""
        self._notes = ", ".join(
            f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items()
        )
        if self._bar is not None:
            self._bar.set_postfix_str(self._notes, refresh=False)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._lines and error is None and self._last_line != (self._done, self._notes):
            self._print()

    def _print(self) -> None:
        self._printed, self._last_line = time.monotonic(), (self._done, self._notes)
        of = f"/{self._total:,}" if self._total is not None else ""
        notes = f", {self._notes}" if self._notes else ""
        line = f"{self._description}: {self._done:,}{of} {self._unit}{notes}"
        seconds, computed = self._printed - self._started, self._done - self._skipped
        rate = computed / seconds if seconds else 0.0
        speed = left = ""
        if rate:
            speed = f", {rate:,.0f}/s" if rate >= 100 else f", {rate:.2g}/s"
        if rate and self._total is not None and self._done < self._total:
            left = f", about {(self._total - self._done) / rate:.0f} s left"
        print(f"{line} ({seconds:.0f} s{speed}{left})", file=sys.stderr)


def announce(line: str) -> None:
    """Print what begins, such as the model and where it runs, unless progress is turned off."""
    if os.environ.get("DNABERT2_FAST_PROGRESS") != "0":
        print(line, file=sys.stderr, flush=True)


def progress(total: int | None, description: str, unit: str) -> Progress:
    """Start showing a job of `total` units (None when unknown).

    >>> with progress(3, "reading", "records") as bar:
    ...     bar.update(3)
    """
    return Progress(total, description, unit)
