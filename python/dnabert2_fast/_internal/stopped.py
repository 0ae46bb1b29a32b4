"""The state of a run that was stopped, and the way to finish it, for messages."""

from __future__ import annotations

from pathlib import Path

from dnabert2_fast._internal.strict_json import read_object

__all__ = ["newest_step", "stopped_run"]


def stopped_run(folder: Path) -> str | None:
    """Return how far an unfinished run in `folder` is, and how to finish it; None for others.

    Parameters
    ----------
    folder : Path
        The output of `pretrain` or `finetune`; that of `finetune` appears only at its end.

    Examples
    --------
    >>> import tempfile
    >>> run = Path(tempfile.mkdtemp())
    >>> _ = (run / "run.json").write_text('{"corpus": "corpus", "steps": 40}')
    >>> stopped_run(run)  # doctest: +ELLIPSIS
    'pre-training stopped before the first checkpoint (40 steps). Run its command again ...
    """
    if Path(f"{folder}.unfinished", "run.json").exists():
        return "fine-tuning stopped before its end. Run its command again to finish it"
    try:
        settings = read_object(folder / "run.json")
    except (OSError, ValueError):
        return None
    if "corpus" not in settings or "steps" not in settings or (folder / "config.json").exists():
        return None
    finish = f"Run its command again to finish it (pretrain {settings['corpus']} --out {folder})"
    step, steps = newest_step(folder), settings["steps"]
    length = f"{settings['minutes']:g} minutes" if steps is None else f"{steps:,} steps"
    if step is None:
        return f"pre-training stopped before the first checkpoint ({length}). {finish}"
    whole = f"in a run of {length}" if steps is None else f"of {steps:,}"
    return (
        f"pre-training stopped at step {step:,} {whole}. {finish}, or use the "
        f"model so far: {_newest(folder)}"
    )


def newest_step(folder: Path) -> int | None:
    """Return the step of the newest checkpoint of a pre-training run; None without one."""
    newest = _newest(folder)
    return None if newest is None else int(newest.name.removeprefix("step-"))


def _newest(folder: Path) -> Path | None:
    return max((folder / "checkpoints").glob("step-*"), default=None)
