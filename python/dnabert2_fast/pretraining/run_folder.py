"""The folder of a run: its settings, its lines of metrics, and whether it is finished.

A run folder contains ``run.json`` (every setting that affects the result), ``metrics.jsonl``,
``checkpoints/`` and, once finished, the model itself. No random state is stored: every step is
seeded by the run's seed and its own number.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from dnabert2_fast._internal.atomic import atomic_json, atomic_path, full_disk_of
from dnabert2_fast._internal.settings import require_same
from dnabert2_fast._internal.strict_json import parse_json, read_object
from dnabert2_fast.errors import CheckpointError

__all__ = ["RunFolder"]


class RunFolder:
    """A run folder.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._metrics = folder / "metrics.jsonl"

    def claim(self, settings: dict[str, Any]) -> None:
        """Create the folder, or check that it contains the run with these settings.

        Raises
        ------
        CheckpointError
            When the folder contains something else.
        """
        about = self.folder / "run.json"
        if about.exists():
            try:
                theirs = read_object(about)
            except ValueError as error:
                raise CheckpointError(f"{about}: damaged: {error}. Delete {self.folder}.") from None
            both = (theirs.get("steps"), settings["steps"])  # null in runs of `minutes`
            if self.finished and None not in both and both[0] != both[1]:
                raise CheckpointError(
                    f"{self.folder}: finished after {both[0]} steps (requested {both[1]}). "
                    f"To train it further, choose another --out and set --init-from {self.folder}."
                )
            require_same(self.folder, theirs, settings)
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise CheckpointError(
                f"{self.folder}: contains something other than a run. Choose another folder."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        atomic_json(about, settings)

    @property
    def finished(self) -> bool:
        """Whether the final model is complete: its config, which is written last, exists."""
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
                raise CheckpointError(f"{self._metrics}:{number}: {error}") from None
        return lines

    def log(self, values: dict[str, float]) -> None:
        """Append a line to ``metrics.jsonl``."""
        rounded = {k: float(f"{v:.6g}") if math.isfinite(v) else None for k, v in values.items()}
        rounded |= {k: v for k, v in values.items() if isinstance(v, int)}
        with full_disk_of(self._metrics), self._metrics.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(rounded) + "\n")

    def forget_after(self, step: int) -> None:
        """Remove the lines of later steps, which will run again."""
        kept = [line for line in self.metrics() if line["step"] <= step]
        with atomic_path(self._metrics) as path:
            path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
