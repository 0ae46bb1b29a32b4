"""A cluster, or tasks in this process, and what they work on."""

import shutil
import tempfile

import pytest
from helpers.ray_inputs import RULES, four_species, make_reads, one_after_the_other, tok

from dnabert2_fast import build_corpus
from dnabert2_fast.corpus import CorpusConfig
from dnabert2_fast.ray import corpus
from dnabert2_fast.ray import tasks as tasks_of_ray


@pytest.fixture(scope="module")
def cluster():
    """Ray on two processors, and its address; its sockets need a short path."""
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        logging_level="error",
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
        _temp_dir=folder,
    )
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["here", pytest.param("cluster", marks=pytest.mark.full)])
def tasks(request, monkeypatch):
    """Tasks run one after the other in this process, or on the cluster, which takes seconds."""
    if request.param == "cluster":
        request.getfixturevalue("cluster")
    else:
        for module in (corpus, tasks_of_ray):
            monkeypatch.setattr(module, "each", one_after_the_other)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return four_species(tmp_path_factory.mktemp("genomes"), 3_000)


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory):
    return build_corpus(inputs, tmp_path_factory.mktemp("whole") / "c", tok, CorpusConfig(**RULES))


@pytest.fixture(scope="module")
def reads(tmp_path_factory):
    return make_reads(tmp_path_factory.mktemp("reads"), 3)
