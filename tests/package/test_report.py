"""One description gives Markdown and a self-contained page, whatever the names contain."""

import re
from html.parser import HTMLParser

from matplotlib import image

from dnabert2_fast._internal.report import Best, Plot, Report, Section, Table, save_report

HOSTILE = "<script>alert(1)</script> & a|b"
TABLE = Table(
    ["class", "rows", "score"],
    [[HOSTILE, "1,024", Best("0.5 ± 0.1")], ["9-mers", "7", "-"]],
    [["mean", "", "0.5"]],
)
REPORT = Report(
    "Trial",
    [
        Section("", [f"The model `m` on {HOSTILE}."]),
        Section("Scores", [TABLE, Plot("p.png", "a plot")]),
    ],
)


class Page(HTMLParser):
    """Collects tags and attributes, and the text of cells."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.cells, self.inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self.inside = True
            self.cells.append("")

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.cells[-1] += data


def test_a_report(tmp_path):
    image.imsave(tmp_path / "p.png", [[0, 1, 2]])
    save_report(tmp_path, REPORT)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    rows = [TABLE.header, *TABLE.rows, *TABLE.total]
    assert page.cells == [cell for row in rows for cell in row]
    assert [tag for tag, _ in page.tags].count("script") == 1  # ours
    assert TABLE.numeric() == [False, True, True]
    (plot,) = (attributes for tag, attributes in page.tags if tag == "img")
    assert plot["src"].startswith("data:image/png;base64,")
    assert plot["alt"] == "a plot"
    assert not re.search(r"(src|href)=\"(?!data:)|url\(|@import|https?:", text)
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert markdown.splitlines()[4:] == [
        "## Scores",
        "",
        "| class | rows | score |",
        "| --- | --- | --- |",
        r"| <script>alert(1)</script> & a\|b | 1,024 | **0.5 ± 0.1** |",
        "| 9-mers | 7 | - |",
        "| mean |  | 0.5 |",
        "",
        "![a plot](p.png)",
    ]


def test_an_empty_table_is_a_heading(tmp_path):
    save_report(tmp_path, Report("Trial", [Section("", [Table(["set"], [])])]))
    assert Page((tmp_path / "report.html").read_text()).cells == ["set"]
