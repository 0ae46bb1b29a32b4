"""A manifest gives each file's species; an error names the wrong line."""

import warnings

import pytest

from dnabert2_fast.errors import DataError, InputWarning
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
        ("", r"m.csv:1: has no column 'path' \(got none\)"),
        ("file,species\na.fa,x\n", r"has no column 'path' \(got file, species\)"),
        ("path\n", "no rows. Add one row per file"),
        ("path,species\n,x\n", "m.csv:2: has an empty path"),
        (
            "path,weight\na.fa,heavy\n",
            r"m.csv:2: weight must be a number, .* \(got 'heavy' and ''\)",
        ),
        ("path,weight\na.fa,-1\n", r"m.csv:2: weight must be a finite number >= 0.*\(got -1"),
        ("path,weight\na.fa,nan\n", r"m.csv:2: weight must be a finite .*\(got nan"),
        ("path,species,max_bp\na.fa,x,0\n", r"m.csv:2: .*max_bp at least 1 \(got 1 and 0\)"),
        ("path,max_bp\na.fa,5\n", r"m.csv:2: has a max_bp without a species \(got 5\)"),
        (
            "path,species,max_bp\na.fa,x,5\nb.fa,x,6\n",
            r"m.csv:3: .* of x differ .*got 1 and 6, expected 1 and 5",
        ),
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
    with pytest.raises(DataError, match="is not a table"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("path,wieght", r"m\.csv:1: ignored the column 'wieght'\. Rename it to weight, "),
        ("path,Species", r"'Species'\. Rename it to species,"),
        ("path,max bp", r"'max bp'\. Rename it to max_bp,"),
    ],
)
def test_misspelt_columns_are_named(tmp_path, header, said):
    (tmp_path / "m.csv").write_text(f"{header}\na.fa,2\n")
    with pytest.warns(InputWarning, match=said):
        assert read_manifest(tmp_path / "m.csv") == [SourceFile(tmp_path / "a.fa")]


def test_other_columns_are_ignored(tmp_path):
    (tmp_path / "m.csv").write_text("path,note,species,subspecies\na.fa,2,x,y\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_manifest(tmp_path / "m.csv") == [SourceFile(tmp_path / "a.fa", "x")]
