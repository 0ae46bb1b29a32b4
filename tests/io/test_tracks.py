"""Tracks hold what was added to them, in the formats of genome browsers."""

import math

import numpy as np
import pytest
from helpers.tracks import read_bedgraph

from dnabert2_fast.io.tracks import track

pyBigWig = pytest.importorskip("pyBigWig")


def test_tracks_hold_what_was_added(tmp_path):
    lengths = {"b": 50, "a": 20}
    wanted = {name: np.full(length, np.nan) for name, length in lengths.items()}
    draw = np.random.default_rng(1)
    pieces = [("b", 3, 7), ("b", 10, 30), ("b", 49, 1), ("a", 0, 20)]
    added = []
    for name, start, count in pieces:
        values = draw.choice([0.0, 1.5, -2.0, np.nan], count)
        wanted[name][start : start + count] = values
        added.append((name, start, values))
    for file in ("x.bedgraph", "x.bw"):
        with track(tmp_path / file, lengths) as opened:
            for piece in added:
                opened.add(*piece)
            opened.add("a", 20, np.empty(0))
    got = read_bedgraph(tmp_path / "x.bedgraph", lengths)
    assert "nan" not in (tmp_path / "x.bedgraph").read_text()
    with pyBigWig.open(str(tmp_path / "x.bw")) as opened:
        assert opened.chroms() == lengths
        for name, values in wanted.items():
            np.testing.assert_array_equal(got[name], values)
            np.testing.assert_array_equal(opened.values(name, 0, lengths[name]), values)
            assert not any(math.isnan(value) for *_, value in opened.intervals(name))


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([("c", 0, 1)], "outside"),
        ([("a", 19, 2)], "outside"),
        ([("a", -1, 2)], "outside"),
        ([("a", 3, 4), ("a", 6, 2)], "overlaps"),
        ([("a", 3, 4), ("b", 6, 2)], "overlaps or precedes"),
    ],
)
def test_tracks_refuse_what_does_not_fit(tmp_path, pieces, message):
    with (
        pytest.raises(ValueError, match=message),
        track(tmp_path / "x.bw", {"b": 50, "a": 20}) as opened,
    ):
        for name, start, count in pieces:
            opened.add(name, start, np.ones(count))
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"must end in \.bedgraph"), track(tmp_path / "x.wig", {}):
        pass
