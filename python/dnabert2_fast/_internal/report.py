"""Reports: one description of the content, written as Markdown and as a self-contained HTML page.

>>> import tempfile
>>> folder = Path(tempfile.mkdtemp())
>>> table = Table(["system", "score"], [["k-mers", Best("71.20")], ["mini", "64.93"]])
>>> save_report(folder, Report("Trial", [Section("Scores", [table, "Measured with `mini`."])]))
>>> print((folder / "report.md").read_text())
# Trial
<BLANKLINE>
## Scores
<BLANKLINE>
| system | score |
| --- | --- |
| k-mers | **71.20** |
| mini | 64.93 |
<BLANKLINE>
Measured with `mini`.
<BLANKLINE>
>>> "<strong>71.20</strong>" in (folder / "report.html").read_text()
True
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from dnabert2_fast._internal.atomic import atomic_path

__all__ = ["Best", "Plot", "Report", "Section", "Table", "save_report"]

TEMPLATE = Path(__file__).parents[1] / "data" / "report.html.jinja"
NUMBER = re.compile(r"-?\d[\d,]*(\.\d+)?(e[-+]?\d+)?(?=[ %]|$)")


class Best(str):
    """The text of a cell in bold."""

    __slots__ = ()


class Table(NamedTuple):
    """A table; an empty cell or ``-`` is a missing value."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: Sequence[Sequence[str]] = ()  # last rows, which are not sorted

    def numeric(self) -> list[bool]:
        """Whether each column contains numbers only, apart from missing values.

        >>> Table(["set", "score"], [["a", "1,024 ± 3"], ["2", "-"]]).numeric()
        [False, True]
        """
        columns = ([row[c] for row in self.rows] for c in range(len(self.header)))
        return [all(v in ("", "-") or NUMBER.match(v) for v in column) for column in columns]


class Plot(NamedTuple):
    """A PNG file in the folder of the report, and its text for readers without images."""

    file: str
    text: str


Block = str | Table | Plot
"""A paragraph, in which back quotes enclose code; a table; a plot."""


class Section(NamedTuple):
    """A heading and the blocks below it; without a heading, blocks of the whole report."""

    title: str
    blocks: Sequence[Block]


class Report(NamedTuple):
    """The content of a report."""

    title: str
    sections: Sequence[Section]


def save_report(folder: Path, report: Report) -> None:
    """Write ``report.md`` and ``report.html`` to an existing folder.

    The page contains its plots, style and script, and requests nothing from the network.
    """
    for name, text in (("report.md", _markdown(report)), ("report.html", _page(folder, report))):
        with atomic_path(folder / name) as path:
            path.write_text(text, encoding="utf-8")


def _markdown(report: Report) -> str:
    parts = [f"# {report.title}"]
    for section in report.sections:
        parts += [f"## {section.title}"] if section.title else []
        parts += map(_markdown_block, section.blocks)
    return "\n\n".join(parts) + "\n"


def _markdown_block(block: Block) -> str:
    if isinstance(block, Table):
        rows = [block.header, ["---"] * len(block.header), *block.rows, *block.total]
        return "\n".join(f"| {' | '.join(map(_markdown_cell, row))} |" for row in rows)
    return f"![{block.text}]({block.file})" if isinstance(block, Plot) else block


def _markdown_cell(text: str) -> str:
    escaped = text.replace("|", r"\|")
    return f"**{escaped}**" if isinstance(text, Best) else escaped


def _page(folder: Path, report: Report) -> str:
    # Names of classes and files are data, so that every text is escaped.
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(report=report, kind=_kind, image=lambda file: _image(folder / file))


def _kind(value: Any) -> str:
    return type(value).__name__


def _image(path: Path) -> tuple[str, int]:
    """Return the address of an image that contains the image, and its width in pixels."""
    content = path.read_bytes()
    (width,) = struct.unpack_from(">I", content, 16)  # the first field of the PNG header
    return f"data:image/png;base64,{base64.b64encode(content).decode()}", width
