"""What a run needs besides training: a stop between steps, its folder, its lines of metrics.

A run folder holds ``run.json`` (every setting that shapes the result), ``metrics.jsonl``,
``checkpoints/`` and, once finished, the model itself. Nothing random is stored: every step seeds
itself from the run's seed and its own number.
"""

from __future__ import annotations

import json
import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dnabert2_fast._internal.atomic import atomic_path, full_disk_of
from dnabert2_fast._internal.strict_json import parse_json, read_object
from dnabert2_fast.errors import CheckpointError

__all__ = ["Run", "StopRequest", "stop_between_steps"]


class StopRequest:
    """Becomes true when the user or the scheduler asks the run to stop."""

    def __init__(self) -> None:
        self._asked = False

    def __bool__(self) -> bool:
        return self._asked

    def ask(self, number: int, frame: object) -> None:
        """Ask to stop after this step; asked twice by Ctrl-C, stop at once."""
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked = True


@contextmanager
def stop_between_steps() -> Iterator[StopRequest]:
    """Turn Ctrl-C and SIGTERM into a request that is heard between two steps."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # only the main thread may handle signals
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, request.ask)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Run:
    """A run folder.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._metrics = folder / "metrics.jsonl"

    def claim(self, settings: dict[str, Any]) -> None:
        """Make the folder, or see that it holds the run with these settings.

        Raises
        ------
        CheckpointError
            When the folder holds something else.
        """
        about = self.folder / "run.json"
        if about.exists():
            try:
                theirs = read_object(about)
            except ValueError as error:
                raise CheckpointError(f"{about}: damaged: {error}; delete {self.folder}") from None
            for name, value in settings.items():
                if theirs.get(name) != value:
                    raise CheckpointError(
                        f"{self.folder}: holds a run with {name} {theirs.get(name)!r}, asked for "
                        f"{value!r}; choose another folder or delete this one"
                    )
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise CheckpointError(
                f"{self.folder}: holds something else than a run; choose another one"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(about) as path:
            path.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")

    @property
    def finished(self) -> bool:
        """Whether the final model is there: its config, which is written last."""
        return (self.folder / "config.json").exists()

    def metrics(self) -> list[dict[str, Any]]:
        """Return all lines of ``metrics.jsonl``."""
        if not self._metrics.exists():
            return []
        lines = []
        for number, line in enumerate(self._metrics.read_text("utf-8").splitlines(), 1):
            try:
                lines.append(parse_json(line))
            except ValueError as error:
                raise CheckpointError(f"{self._metrics}: line {number}: {error}") from None
        return lines

    def log(self, values: dict[str, float]) -> None:
        """Append a line to ``metrics.jsonl``."""
        rounded = {k: float(f"{v:.6g}") if math.isfinite(v) else None for k, v in values.items()}
        rounded |= {k: v for k, v in values.items() if isinstance(v, int)}
        with full_disk_of(self._metrics), self._metrics.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(rounded) + "\n")

    def forget_after(self, step: int) -> None:
        """Drop the lines of later steps, which will run again."""
        kept = [line for line in self.metrics() if line["step"] <= step]
        with atomic_path(self._metrics) as path:
            path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
