"""Fixtures that several test files use, and hypothesis profiles."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("fast", max_examples=60, deadline=None)
settings.register_profile(
    "slow", max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck)
)
settings.load_profile(os.environ.get("DNABERT2_FAST_TESTS", "fast"))
os.environ["DNABERT2_FAST_PROGRESS"] = "0"


@pytest.fixture(scope="session")
def data() -> Path:
    """The small files that travel with the project."""
    return Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The large real data beside the project; tests on it skip where it is absent."""
    folder = Path(__file__).parents[2] / "shared"
    if not (folder / "data" / "genomes").is_dir():
        pytest.skip("the large real data (../shared) is not beside the project")
    return folder
