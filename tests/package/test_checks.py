"""Numeric options: what passes, and one form of message for what does not."""

import math

import pytest

from dnabert2_fast._internal.checks import (
    check_at_least,
    check_between,
    check_not_negative,
    check_positive,
    check_seed,
)


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


def test_an_end_can_be_left_out():
    check_between("rate", 0.5, 0, 1, but_not=0)
    check_between("rate", 1, 0, 1, but_not=0)
    with pytest.raises(ValueError, match=r"between 0 and 1, but not 0 \(got 0\)"):
        check_between("rate", 0, 0, 1, but_not=0)


def test_rates_are_finite():
    for value in (None, 0, 1e9):
        check_not_negative("decay", value)
    check_positive("rate", 1e-9)
    for value in (-1, math.inf, math.nan):
        with pytest.raises(ValueError, match=rf"decay: must be a finite number >= 0 .*{value}"):
            check_not_negative("decay", value)
    for value in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match=rf"rate: must be a finite number > 0 .*{value}"):
            check_positive("rate", value)


def test_seeds_have_64_bits():
    check_seed(2**64 - 1)
    with pytest.raises(ValueError, match="seed: must be between 0 and "):
        check_seed(2**64)
