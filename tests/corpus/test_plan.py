"""A plan: settings filled in, files grouped into units, shares, and the folder that holds it."""

import json
import os
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from dnabert2_fast import Tokenizer
from dnabert2_fast.corpus import CorpusConfig, CorpusPlan, plan
from dnabert2_fast.corpus.format import encoded_with
from dnabert2_fast.errors import CorpusError
from dnabert2_fast.io import SourceFile

fcntl = pytest.importorskip("fcntl")
tok = Tokenizer.from_pretrained("dnabert2")


def fasta(path, bases=10):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f">x\n{'A' * bases}\n")  # bases + 4 bytes
    return path


@pytest.fixture
def files(tmp_path):
    return [fasta(tmp_path / "in" / f"{name}.fa") for name in "abcde"]


def planned(inputs, out, **settings):
    return CorpusPlan(inputs, out, tok, CorpusConfig(**settings))


@contextmanager
def held(folder):
    """Lock a folder as another process does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("wb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


@pytest.mark.parametrize(
    ("given", "stride_bp", "min_bp"),
    [
        ({}, 1000, 100),
        ({"window_bp": 709}, 709, 70),
        ({"window_bp": 9}, 9, 1),
        ({"window_bp": 1, "min_bp": 1}, 1, 1),
        ({"window_bp": 700, "min_window_bp": 250}, 700, 25),
        ({"window_bp": 700, "stride_bp": 50, "min_bp": 700}, 50, 700),
        ({"window_bp": None}, 1, 1),
        ({"window_bp": None, "stride_bp": 3, "min_bp": 5}, 3, 5),
    ],
)
def test_settings_that_are_left_out_are_filled_in(given, stride_bp, min_bp):
    config = CorpusConfig(**given)
    filled = {"stride_bp": stride_bp, "min_bp": min_bp}
    assert config.resolved() == {**asdict(config), **given, **filled}


@pytest.mark.parametrize(
    "name", ["window_bp", "min_window_bp", "stride_bp", "min_bp", "shard_tokens"]
)
def test_counts_are_at_least_one(name):
    assert getattr(CorpusConfig(**{name: 1}), name) == 1
    with pytest.raises(ValueError, match=rf"^{name}: must be at least 1 \(got 0\)"):
        CorpusConfig(**{name: 0})


def test_edges_of_the_settings():
    for value in (0, 1):
        assert CorpusConfig(valid_fraction=value).valid_fraction == value
    for value in (-0.1, 1.1):
        with pytest.raises(ValueError, match=r"^valid_fraction: must be between 0 and 1 "):
            CorpusConfig(valid_fraction=value)
    with pytest.raises(ValueError, match=r"^seed: "):
        CorpusConfig(seed=-1)
    CorpusConfig(window_bp=20, min_bp=20)
    CorpusConfig(window_bp=None, min_bp=20)
    with pytest.raises(ValueError, match=r"^min_bp: must be at most window_bp, 20 \(got 21\)"):
        CorpusConfig(window_bp=20, min_bp=21)
    CorpusConfig(window_bp=20, min_window_bp=20)
    for window in (19, None):
        with pytest.raises(
            ValueError, match=f"^min_window_bp: must be at most window_bp, {window} "
        ):
            CorpusConfig(window_bp=window, min_window_bp=20)
    with pytest.raises(ValueError, match=r"^stride_bp: must be omitted with min_window_bp"):
        CorpusConfig(window_bp=20, min_window_bp=20, stride_bp=20)


def test_a_plan_needs_files(tmp_path):
    with pytest.raises(ValueError, match=r"^files: give at least one"):
        planned([], tmp_path / "c")
    with pytest.raises(FileNotFoundError):
        planned([tmp_path / "absent.fa"], tmp_path / "c")


def test_units_are_neighbours_of_one_species_up_to_a_size(files, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "UNIT_BYTES", 28)  # two of the files
    whose = ["x", "x", "x", "y", "x"]
    inputs = [SourceFile(file, one) for file, one in zip(files, whose, strict=True)]
    made = planned(inputs, str(tmp_path / "c"))
    assert made.units == [[0, 1], [2], [3], [4]]
    assert [made.part(one, 3) for one in (1, 2, 3)] == [[0, 3], [1], [2]]
    for wrong in (0, 4):
        with pytest.raises(ValueError, match=r"^part: must be between 1 and 3 "):
            made.part(wrong, 3)
    assert made.out == tmp_path / "c"
    assert made.folder == tmp_path / ".c.building"
    assert made.unit_folder(7) == tmp_path / ".c.building" / "unit-00007"
    monkeypatch.setattr(plan, "UNIT_BYTES", 29)
    assert planned(files, tmp_path / "c").units == [[0, 1, 2], [3, 4]]
    heavier = [SourceFile(files[0]), SourceFile(files[1], weight=2.0), SourceFile(files[2])]
    assert planned(heavier, tmp_path / "c").units == [[0], [1], [2]]


def test_stamps_may_be_given(tmp_path):
    """As for files that only another machine can reach."""
    config = CorpusConfig()
    made = CorpusPlan(["s3://x/a.fa"], tmp_path / "c", tok, config, stamps=[[70, 5]])
    assert made.settings["inputs"][0]["bytes"] == 70
    assert json.loads(json.dumps(made.contents([1.0])))["stamps"] == [[70, 5]]


def test_what_a_plan_stores(tmp_path):
    one, other = fasta(tmp_path / "p" / "g.fa"), fasta(tmp_path / "q" / "r" / "g.fa", 30)
    inputs = [SourceFile(one, "yeast", "fungi", 2.0, 5), other]
    made = planned(inputs, tmp_path / "c", window_bp=50)
    whose = {"species": "yeast", "group": "fungi", "weight": 2.0, "max_bp": 5}
    nobody = {"species": "", "group": "", "weight": 1.0, "max_bp": None}
    assert made.settings == {
        **encoded_with(tok),
        **CorpusConfig(window_bp=50).resolved(),
        "inputs": [
            {"path": "p/g.fa", "bytes": 14, **whose},
            {"path": "q/r/g.fa", "bytes": 34, **nobody},
        ],
    }
    assert made.tokenizer is tok
    assert made.prepare() == [0.5, 1.0]
    stored = json.loads((tmp_path / ".c.building" / "plan.json").read_text())
    times = [path.stat().st_mtime_ns for path in (one, other)]
    assert stored == {
        "settings": json.loads(json.dumps(made.settings)),
        "stamps": [[14, times[0]], [34, times[1]]],
        "shares": [0.5, 1.0],
    }


@pytest.mark.parametrize("names", [("a/x.fa", "a/y.fa"), ("a/x.fa", "b/y.fa")])
def test_files_go_by_their_own_names_while_these_differ(tmp_path, names):
    made = planned([fasta(tmp_path / name) for name in names], tmp_path / "c")
    assert made.names == ["x.fa", "y.fa"]


def test_names_from_the_common_folder_of_relative_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/x.fa", "x.fa"):
        fasta(Path(name))
    assert planned(["a/x.fa", "x.fa"], "c").names == ["a/x.fa", "x.fa"]


def test_shares_leave_each_species_its_bases(files, tmp_path):
    inputs = [
        SourceFile(files[0], "x", max_bp=30),
        SourceFile(files[1], "y"),
        SourceFile(files[2], "x", max_bp=30),
        SourceFile(files[3], "z", max_bp=50),
        SourceFile(files[4], "none", max_bp=7),
    ]
    bases = dict(zip(files, (40, 10**9, 20, 50, 0), strict=True))
    asked = []

    def bases_of(path):
        asked.append(path)
        return bases[path]

    made = planned(inputs, tmp_path / "c")
    assert made.shares(bases_of) == [0.5, 1.0, 0.5, 1.0, 1.0]
    assert asked == [files[0], files[2], files[3], files[4]]
    bases[files[3]], bases[files[4]] = 200, 1
    assert made.shares(bases_of) == [0.5, 1.0, 0.5, 0.25, 1.0]


def test_bases_are_counted_as_the_tokenizer_reads_letters(tmp_path):
    path = tmp_path / "g.fa"
    path.write_text(">x\nACGTNacgNN\n")
    read = []
    assert planned([path], tmp_path / "c").count_bases(path, read.append) == 7
    assert sum(read) == 10
    exact = CorpusPlan(
        [path], tmp_path / "c", Tokenizer.from_pretrained("dnabert2", case="compat"), CorpusConfig()
    )
    assert exact.count_bases(path, read.append) == 4


def test_a_plan_is_prepared_once(files, tmp_path, monkeypatch):
    inputs = [SourceFile(files[0], "x", max_bp=5), files[1]]
    waits = []
    lock = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", lambda at, how: (waits.append(how), lock(at, how)))
    out = tmp_path / "deep" / "c"
    assert planned(inputs, out).prepare() == [0.5, 1.0]
    assert waits == [fcntl.LOCK_EX]
    counted = []
    monkeypatch.setattr(CorpusPlan, "count_bases", lambda *given: counted.append(given))
    assert planned(inputs, out).prepare() == [0.5, 1.0]
    assert counted == []
    with pytest.raises(CorpusError, match=r"c\.building: was made with other settings: window_bp"):
        planned(inputs, out, window_bp=50).prepare()
    stored = out.with_name(".c.building") / "plan.json"
    kept = json.loads(stored.read_text())
    for damaged, message in (
        ("no JSON", r"plan\.json: not valid JSON.*\. Delete .*c\.building"),
        (json.dumps({**kept, "stamps": None}), r"plan\.json: damaged: .*\. Delete .*c\.building"),
        (json.dumps({**kept, "stamps": []}), r"plan\.json: .*\. Delete .*c\.building"),
        ("[]", r"plan\.json: damaged: .*\. Delete .*c\.building"),
    ):
        stored.write_text(damaged)
        with pytest.raises(CorpusError, match=message):
            planned(inputs, out).prepare()
    stored.write_text(json.dumps(kept))
    assert planned(inputs, out).prepare() == [0.5, 1.0]
    os.utime(files[1], ns=(0, 0))
    with pytest.raises(CorpusError, match=r"b\.fa: has changed .*\. Delete .*c\.building "):
        planned(inputs, out).prepare()


def test_files_of_a_unit_must_stay_as_they_were(files, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "UNIT_BYTES", 1)
    made = planned(files, tmp_path / "c")
    fasta(files[2], 11)
    made.check_unchanged(1)
    with pytest.raises(CorpusError, match=r"c\.fa: has changed since .*\. Delete .*c\.building "):
        made.check_unchanged(2)


def test_a_plan_is_seen_to_be_built(files, tmp_path):
    made = planned(files, tmp_path / "c")
    assert not made.is_being_built()
    made.prepare()
    assert not made.is_being_built()
    for folder in (made.folder, made.unit_folder(3)):
        with held(folder):
            assert made.is_being_built()
            with (
                pytest.raises(CorpusError, match=f"^{folder}: another process is building it"),
                plan.locked(folder),
            ):
                pytest.fail("two hold one folder")
        assert not made.is_being_built()


def test_a_moved_plan_reads_copies(files, tmp_path):
    made = planned([SourceFile(file, "x") for file in files], tmp_path / "c")
    copy = fasta(tmp_path / "copy.fa", 10)
    os.utime(copy, ns=(7, 7))
    before = json.dumps(made.settings)
    moved = made.moved(tmp_path / "elsewhere", {3: copy})
    assert moved.out == tmp_path / "elsewhere"
    assert [item.path for item in moved.inputs] == [*files[:3], copy, files[4]]
    assert moved.inputs[3].species == "x"
    assert moved.contents([])["stamps"][3] == [14, 7]
    assert moved.settings == made.settings  # names are those of the plan
    assert (made.out, made.inputs[3].path) == (tmp_path / "c", files[3])
    assert made.contents([])["stamps"][3] != [14, 7]
    assert json.dumps(made.settings) == before
    moved.check_unchanged(0)
