"""Numeric options: what passes, and one form of message for what does not."""

import math

import pytest

from dnabert2_fast._internal.checks import check_at_least, check_between, check_seed


@pytest.mark.parametrize("value", [1, 2.5, math.inf, None])
def test_values_that_are_large_enough(value):
    check_at_least("size", value, 1)


@pytest.mark.parametrize("value", [0.99, -math.inf, math.nan])
def test_values_that_are_too_small(value):
    with pytest.raises(ValueError, match=rf"^size: must be at least 1 \(got {value}\)\.$"):
        check_at_least("size", value, 1)


def test_ranges_have_both_ends():
    for value in (0, 1, None):
        check_between("share", value, 0, 1)
    for value in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=rf"^share: must be between 0 and 1 \(got {value}\)"):
            check_between("share", value, 0, 1)


def test_seeds_have_64_bits():
    check_seed(2**64 - 1)
    with pytest.raises(ValueError, match="seed: must be between 0 and "):
        check_seed(2**64)
