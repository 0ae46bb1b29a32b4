"""A manifest gives each file's species; an error names the wrong line."""

import pytest

from dnabert2_fast.errors import DataError
from dnabert2_fast.io import SourceFile, read_manifest
from dnabert2_fast.io.manifest import species_by_path


@pytest.mark.parametrize("comma", [",", "\t"])
def test_columns_in_any_order(tmp_path, comma):
    rows = [
        ["note", "species", "path", "weight", "max_bp", "group"],
        ["x", "Homo sapiens", "a.fa.gz", "2.5", "1_000_000", "mammals"],
        ["", "", "sub/b.fa", "", "", ""],
    ]
    path = tmp_path / "m.tsv"
    path.write_text("\ufeff" + "\r\n".join(comma.join(row) for row in rows) + "\r\n", "utf-8")
    assert read_manifest(path) == [
        SourceFile(tmp_path / "a.fa.gz", "Homo sapiens", "mammals", 2.5, 1_000_000),
        SourceFile(tmp_path / "sub/b.fa"),
    ]
    assert species_by_path(path)[str(tmp_path / "a.fa.gz")] == "Homo sapiens"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'path'; there are none"),
        ("file,species\na.fa,x\n", "no column 'path'; there are file, species"),
        ("path\n", "names no file"),
        ("path,species\n,x\n", "line 2: no path"),
        ("path,weight\na.fa,heavy\n", "line 2: could not convert"),
        ("path,weight\na.fa,-1\n", "line 2: weight must not be negative"),
        ("path,weight\na.fa,nan\n", "line 2: weight must not be negative"),
        ("path,species,max_bp\na.fa,x,0\n", "line 2: .*max_bp must be positive"),
        ("path,max_bp\na.fa,5\n", "line 2: max_bp belongs to a species"),
        ("path,species,max_bp\na.fa,x,5\nb.fa,x,6\n", "line 3: weight or max_bp of x"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    path = tmp_path / "m.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_manifest(path)
    assert "m.csv" in str(caught.value)


def test_not_a_table(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes(b"\xff\xfe\x00path")
    with pytest.raises(DataError, match="not a table"):
        read_manifest(path)
