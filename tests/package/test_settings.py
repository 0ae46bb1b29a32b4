"""The one check of stored settings."""

from pathlib import Path

import pytest

from dnabert2_fast._internal.settings import differences, require_same
from dnabert2_fast.errors import CheckpointError, CorpusError


def test_every_differing_setting_is_named_with_both_values():
    stored = {"seed": 0, "steps": 12, "recipe": "paper", "trained": 5}
    asked = {"seed": 1, "steps": 12, "recipe": "fast", "dropout": None}
    with pytest.raises(CheckpointError) as caught:
        require_same(Path("run"), stored, asked)
    assert str(caught.value) == (
        "run: was made with other settings: seed 0 (requested 1), recipe 'paper' (requested "
        "'fast'), dropout not stored (requested None). Give the same settings, choose another "
        "output, or delete this one."
    )
    with pytest.raises(CorpusError, match="seed 0"):
        require_same(Path("corpus"), stored, asked, CorpusError)


def test_values_are_compared_as_json_has_them():
    require_same(Path("run"), {"k": [1, [2, 3]], "rate": 1.0}, {"k": (1, (2, 3)), "rate": 1})
    assert differences({"k": [1, 2]}, {"k": (1, 2, 3)}) == ["k[2] none (requested 3)"]
    assert differences({"k": [1, 2]}, {"k": (1,)}) == ["k[1] 2 (requested none)"]
    assert differences({"k": None}, {"k": []}) == ["k None (requested [])"]


def test_nested_values_are_named_by_their_path():
    stored = {"inputs": [{"path": "a.fa", "bytes": 10, "old": 1}, {"path": "b.fa"}]}
    asked = {"inputs": [{"path": "a.fa", "bytes": 12, "weight": 1}, {"path": "c.fa"}]}
    assert differences(stored, asked) == [
        "inputs[0].bytes 10 (requested 12)",
        "inputs[0].weight none (requested 1)",
        "inputs[0].old 1 (requested none)",
    ]


def test_long_values_are_shortened():
    (phrase,) = differences({"data": "a" * 500}, {"data": "b" * 500})
    assert len(phrase) < 200
    assert phrase.startswith("data 'aaa")
