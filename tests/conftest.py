"""Fixtures that several test files use, and the state in which every test begins."""

import gc
import os
import random
import re
import signal
from pathlib import Path

import pytest
from helpers.hub_server import hub_server
from helpers.project import DATA, ROOT
from hypothesis import HealthCheck, settings

settings.register_profile("fast", max_examples=60, deadline=None)
settings.register_profile(
    "slow", max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck)
)
settings.load_profile(os.environ.get("DNABERT2_FAST_TESTS", "fast"))
os.environ["DNABERT2_FAST_PROGRESS"] = "0"
# Matrices are tiny, and as many workers run as there are cores. Read when torch is imported.
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_configure():
    """Ctrl-C is heard even where the parent ignores it, as under nohup; children inherit this."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_make_parametrize_id(val, argname):
    """Bytes do not name a test: packed ones hold the time, and workers must agree on names."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(autouse=True, scope="module")
def imports_are_not_garbage():
    """Trainer collects garbage after each run, which is slow over all of torch's objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def data() -> Path:
    """The small files that travel with the project."""
    return DATA


@pytest.fixture(scope="session")
def shared() -> Path:
    """The large real data beside the project; tests on it skip where it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "data" / "genomes").is_dir():
        pytest.skip("the large real data (../shared) is not beside the project")
    return folder


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A server as the Hugging Face hub, without repositories, and an empty cache."""
    constants = pytest.importorskip("huggingface_hub.constants")
    with hub_server() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        # Versions below 1 have a copy of it.
        copied = "huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE"
        monkeypatch.setattr(copied, template, raising=False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the server has only LFS
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr("time.sleep", lambda _: None)  # between attempts
        yield server


class Records(dict):
    """Sequence by name, short in hypothesis' reports."""

    def __repr__(self):
        return f"Records({', '.join(self)})"


@pytest.fixture(scope="session")
def genome(tmp_path_factory):
    """A FASTA file and its records: some with other letters and soft masking, one too short."""
    rng = random.Random(5)
    records = Records()
    for name, length in (("a", 20_000), ("b", 9_000), ("short", 30), ("twice", 2_000)):
        letters = rng.choices("ACGTacgt", k=length)
        for at in range(3_000, length, 5_000):
            letters[at : at + 7] = "NNNRNNN"
        records[name] = "".join(letters)
    records["again"] = records["twice"].upper()
    path = tmp_path_factory.mktemp("genome") / "g.fa"
    lines = {name: re.findall(".{1,61}", text) for name, text in records.items()}
    path.write_text("".join(f">{n} text\n" + "\n".join(s) + "\n" for n, s in lines.items()))
    return path, records
