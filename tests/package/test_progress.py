"""Lines of progress: total, rate, and time left by the rate of what this run computed."""

import time

import pytest

from dnabert2_fast._internal.progress import progress


@pytest.fixture(autouse=True)
def shown(monkeypatch):
    monkeypatch.delenv("DNABERT2_FAST_PROGRESS", raising=False)


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_time_left_by_hand(clock, capsys):
    """20 of 100 in 30 s beside 40 of an earlier run: the other 40 take 60 s."""
    with progress(100, "scoring", "variants") as bar:
        bar.reach(40)
        clock[0] += 30
        bar.update(20)
        clock[0] += 60
        bar.update(40)
    assert capsys.readouterr().err.splitlines() == [
        "scoring: 60/100 variants (30 s, 0.67/s, about 60 s left)",
        "scoring: 100/100 variants (90 s, 0.67/s)",
    ]


def test_no_time_left_without_a_total_or_a_rate(clock, capsys):
    with progress(None, "reading", "records") as bar:
        clock[0] += 30
        bar.update(4000)
    with progress(9, "scoring", "variants") as bar:
        bar.reach(4)
    assert capsys.readouterr().err.splitlines() == [
        "reading: 4,000 records (30 s, 133/s)",
        "scoring: 4/9 variants (0 s)",
    ]


def test_a_bar_on_a_terminal_starts_behind_what_is_there(monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress(100, "scoring", "variants") as bar:
        bar.reach(40)
        bar.update(20)
        assert (bar._bar.n, bar._bar.initial) == (60, 40)
