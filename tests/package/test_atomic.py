"""Output is whole or absent."""

import errno
import json
import os
import re
from contextlib import ExitStack
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import dnabert2_fast
from dnabert2_fast._internal.atomic import (
    atomic_folder,
    atomic_json,
    atomic_path,
    require_writable,
)
from dnabert2_fast._internal.progress import progress

PACKAGE = Path(dnabert2_fast.__file__).parent


def leftovers(folder):
    return sorted(p.name for p in folder.iterdir())


def test_file_is_replaced_only_when_whole(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as path:
        path.write_text("half")
        raise KeyboardInterrupt
    assert (target.read_text(), leftovers(tmp_path)) == ("old", ["a.txt"])
    with atomic_path(target) as path:
        assert path.suffix == ".txt"
        path.write_text("new")
    assert (target.read_text(), leftovers(tmp_path)) == ("new", ["a.txt"])


def test_json(tmp_path):
    """Names that are not UTF-8 are written too; what cannot be written leaves the file."""
    target = tmp_path / "a.json"
    value = {"name": os.fsdecode(b"\xff\xc3\xa9"), "numbers": [1, 2.5, None]}
    atomic_json(target, value)
    text = target.read_bytes()
    assert json.loads(text) == value
    assert text.endswith(b"}\n")
    with pytest.raises(TypeError):
        atomic_json(target, {"name": object()})
    assert (target.read_bytes(), leftovers(tmp_path)) == (text, ["a.json"])
    atomic_json(target, value, indent=None)
    assert len(target.read_text().splitlines()) == 1
    atomic_json(target, {"r2": float("nan"), "all": [float("inf"), (1.5, -float("inf"))]})
    assert json.loads(target.read_text()) == {"r2": None, "all": [None, [1.5, None]]}


def test_folder(tmp_path):
    target = tmp_path / "out"
    for text in ("first", "second"):
        with atomic_folder(target) as path:
            (path / "x").write_text(text)
        assert (target / "x").read_text() == text
    with pytest.raises(RuntimeError), atomic_folder(target) as path:
        raise RuntimeError
    assert leftovers(tmp_path) == ["out"]
    assert (target / "x").read_text() == "second"


@pytest.mark.parametrize(("number", "named"), [(errno.ENOSPC, True), (errno.EIO, False)])
def test_an_error_of_a_full_disk_names_the_file(tmp_path, number, named):
    """What fails beside it may be a file that is read."""
    with pytest.raises(OSError, match="why") as caught, atomic_path(tmp_path / "a"):
        raise OSError(number, "why")
    assert caught.value.filename == (str(tmp_path / "a") if named else None)


@pytest.mark.skipif(os.name == "nt", reason="symlinks and devices of POSIX")
def test_a_symlink_is_followed(tmp_path):
    """Also one to a file or folder that is not there yet."""
    (tmp_path / "store").mkdir()
    (tmp_path / "a.txt").symlink_to("store/real.txt")
    (tmp_path / "b").symlink_to("store/real")
    for text in ("first", "second"):
        with atomic_path(tmp_path / "a.txt") as path:
            path.write_text(text)
        with atomic_folder(tmp_path / "b") as path:
            (path / "x").write_text(text)
        assert (tmp_path / "store" / "real.txt").read_text() == text
        assert (tmp_path / "store" / "real" / "x").read_text() == text
    assert (tmp_path / "a.txt").is_symlink()
    assert (tmp_path / "b").is_symlink()
    assert leftovers(tmp_path / "store") == ["real", "real.txt"]


@pytest.mark.skipif(os.name == "nt", reason="symlinks and devices of POSIX")
def test_a_device_is_written_to_and_stays(tmp_path):
    (tmp_path / "null").symlink_to(os.devnull)
    with atomic_path(tmp_path / "null") as path:
        path.write_text("gone")
    assert Path(os.devnull).is_char_device()
    os.mkfifo(tmp_path / "pipe")
    with atomic_path(tmp_path / "pipe") as path:
        assert path == tmp_path / "pipe"
    assert (tmp_path / "pipe").is_fifo()


def test_what_would_fail_at_the_end_fails_before_the_work(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for open_output, target, message in (
        (atomic_path, "folder", "is a folder, expected a file. Name a file in it"),
        (atomic_folder, "file", "is a file, expected a folder. Choose another name"),
        (atomic_path, "none/x", "there is no folder .*none. Create it first"),
        (require_writable, "folder", "is a folder"),
    ):
        with pytest.raises(OSError, match=message) as caught, ExitStack() as stack:
            stack.enter_context(open_output(tmp_path / target))
            pytest.fail("the work began")
        assert caught.value.filename == str(tmp_path / target)
    with atomic_folder(tmp_path / "new" / "folder"):
        pass
    assert leftovers(tmp_path) == ["file", "folder", "new"]
    assert leftovers(tmp_path / "new") == ["folder"]


@pytest.mark.parametrize(
    "fail",
    [
        lambda path: path.joinpath("x").write_text(""),
        lambda path: pq.ParquetFile(path),
        lambda path: exec(f"raise ValueError({str(path)!r})"),
    ],
)
def test_errors_name_the_output_and_not_the_temporary_file(tmp_path, fail):
    target, named = tmp_path / "out.parquet", pytest.raises((OSError, ValueError), match="out")
    with named as caught, atomic_path(target) as path:
        fail(path)
    assert ".part" not in str(caught.value)


def test_progress_without_terminal(capsys, monkeypatch):
    monkeypatch.delenv("DNABERT2_FAST_PROGRESS")
    with progress(10, "reading", "records") as bar:
        bar.update(10)
        bar.note(loss=0.5, step=3)
    line = capsys.readouterr().err
    assert line.startswith("reading: 10/10 records, loss 0.5, step 3 (")
    monkeypatch.setattr("dnabert2_fast._internal.progress.SECONDS_BETWEEN_LINES", 0.0)
    with progress(None, "reading", "records") as bar:
        bar.update(10)
    line, *more = capsys.readouterr().err.splitlines()
    assert line.startswith("reading: 10 records (")
    assert not more
    monkeypatch.setenv("DNABERT2_FAST_PROGRESS", "0")
    with progress(None, "reading", "records") as bar:
        bar.update()
    assert capsys.readouterr().err == ""
    assert os.environ["DNABERT2_FAST_PROGRESS"] == "0"


def test_json_files_are_written_by_atomic_json_alone():
    sources = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    writers = [
        path.relative_to(PACKAGE).as_posix()
        for path, text in sources.items()
        if re.search(r"json\.dump\(|write_text\(\s*json\.|allow_nan", text)
    ]
    assert writers == ["_internal/atomic.py"]
