"""The command ``install-skill``: instructions for an AI agent that uses this package."""

from __future__ import annotations

from pathlib import Path

from dnabert2_fast._internal.atomic import atomic_path
from dnabert2_fast.cli._args import Folder

__all__ = ["SKILL", "install_skill"]

SKILL = Path(__file__).parents[1] / "data" / "skill" / "SKILL.md"


def install_skill(folder: Folder, /) -> None:
    """Write SKILL.md, which routes an AI agent to the command for a task.

    An earlier version is replaced.

    Parameters
    ----------
    folder
        Folder in which the agent finds skills; the file is FOLDER/dnabert2-fast/SKILL.md.

    Examples
    --------
    dnabert2-fast install-skill ~/.claude/skills
    dnabert2-fast install-skill .agents/skills
    """
    target = folder / "dnabert2-fast" / SKILL.name
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as path:
        path.write_bytes(SKILL.read_bytes())
    print(f"{target}: skill for AI agents")
