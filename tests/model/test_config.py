"""Classes of a classifier, by name and number, in its config."""

import json

import pytest

from dnabert2_fast import Dnabert2Config


def test_classes_by_name_and_number():
    for label in (0, 1):
        assert Dnabert2Config().class_number(label) == label
    for label in (-1, 2, "promoter"):
        with pytest.raises(ValueError, match=rf"^label: must be between 0 and 1 \(got {label}\)"):
            Dnabert2Config().class_number(label)
    with pytest.raises(ValueError, match=r"^model: a classifier with one output"):
        Dnabert2Config(num_labels=1).class_number(0)
    named = Dnabert2Config(class_names=("other", "promoter"))
    assert [named.class_number(label) for label in ("promoter", 0, "1")] == [1, 0, 1]
    with pytest.raises(ValueError, match="label") as error:
        named.class_number("promotor")
    assert str(error.value) == (
        "label: must be one of other, promoter, or between 0 and 1 (got promotor). "
        "Did you mean promoter?"
    )
    # A name has priority, as the first class of three may be named 1.
    assert Dnabert2Config(num_labels=3, class_names=("1", "2", "3")).class_number("1") == 0
    many = Dnabert2Config(num_labels=30, class_names=tuple(f"c{i}" for i in range(30)))
    with pytest.raises(ValueError, match=r"c19 and 10 more, or between 0 and 29 \(got x\)"):
        many.class_number("x")


def test_names_of_classes_in_a_config():
    named = Dnabert2Config(class_names=("other", "promoter"))
    written = json.loads(json.dumps(named.to_dict()))
    assert written["id2label"] == {"0": "other", "1": "promoter"}
    assert Dnabert2Config.from_dict(written) == named
    for damaged in ({"0": "a"}, {"0": "a", "2": "b"}, {"0": "a", "1": 7}, "ab"):
        assert Dnabert2Config.from_dict({**written, "id2label": damaged}).class_names == ()
