"""The last line of a command that Ctrl-C stopped: what is kept, and the command that resumes."""

from pathlib import Path

import pytest

from dnabert2_fast.cli import main


@pytest.fixture
def genome(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path("a genome.fa")
    path.write_text("".join(f">r{i}\n{'ACGTTGCA' * 20}\n" for i in range(23)))
    return path


def stopped(capsys, *line):
    """Run a command that is stopped; return its last line."""
    assert main([str(word) for word in line]) == 130
    return capsys.readouterr().err.splitlines()[-1]


def interrupt(at):
    """Return a function that raises KeyboardInterrupt at its call number `at`, and its original."""
    calls = []

    def wrap(original):
        def wrapped(*args, **kwargs):
            calls.append(1)
            if len(calls) == at:
                raise KeyboardInterrupt
            return original(*args, **kwargs)

        return wrapped

    return wrap


def test_embed(genome, capsys, monkeypatch):
    from dnabert2_fast.genomics.embedding import file

    monkeypatch.setattr(file, "CHUNK_SEQUENCES", 5)
    monkeypatch.setattr(file, "embed_chunk", interrupt(3)(file.embed_chunk))
    assert stopped(capsys, "embed", genome, "--out", "v.npy") == (
        "interrupted: 2 chunks of the results are kept in v.npy.parts; "
        "resume with: dnabert2-fast embed 'a genome.fa' --out v.npy"
    )


def test_embed_before_its_first_chunk(genome, capsys, monkeypatch):
    from dnabert2_fast.genomics.embedding import file

    monkeypatch.setattr(file, "embed_chunk", interrupt(1)(file.embed_chunk))
    assert stopped(capsys, "embed", genome, "--out", "v.npy") == "interrupted"


def test_train_tokenizer(genome, capsys, monkeypatch):
    from dnabert2_fast.tokenizer import _train

    monkeypatch.setattr(_train, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    monkeypatch.setattr(_train._Merges, "append", interrupt(4)(_train._Merges.append))
    line = ("train-tokenizer", genome, "--out", "t.json", "--vocab-size", 32)
    assert stopped(capsys, *line) == (
        "interrupted: 3 merges are kept in .t.json.training; resume with: dnabert2-fast "
        "train-tokenizer 'a genome.fa' --out t.json --vocab-size 32"
    )


# What the run leaves before it is stopped, and what the line reports.
RUNS = {
    "pretrain": (
        "dnabert2_fast.pretraining.train.pretrain",
        "out/checkpoints/step-0000024",
        ("corpus", "--out", "out", "--steps", "40"),
        "step 24 of 40 is kept in out",
    ),
    "finetune": (
        "dnabert2_fast.finetuning.runs.finetune",
        "out.unfinished",
        ("mini", "--data", "data", "--out", "out"),
        "finished epochs are kept in out.unfinished",
    ),
    "gue": (
        "dnabert2_fast.benchmark.gue_run.gue",
        "out",
        ("--data", "data", "--out", "out"),
        "finished runs are kept in out",
    ),
}


@pytest.mark.parametrize("command", RUNS)
def test_runs(tmp_path, capsys, monkeypatch, command):
    name, left, line, expected = RUNS[command]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(name, interrupt(1)(None))
    Path(left).mkdir(parents=True)
    assert stopped(capsys, command, *line) == (
        f"interrupted: {expected}; resume with: dnabert2-fast {command} {' '.join(line)}"
    )
    Path(left).rmdir()
    if command != "gue":  # its folder is that of its results
        monkeypatch.setattr(name, interrupt(1)(None))
        assert stopped(capsys, command, *line) == "interrupted"


def test_build_corpus(genome, capsys, monkeypatch):
    from dnabert2_fast.corpus import build

    def built(plan, **_):
        (plan.folder / "unit-0").mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "build_planned", built)
    assert stopped(capsys, "build-corpus", genome, "--out", "c") == (
        "interrupted: finished shards are kept in .c.building; resume with: dnabert2-fast "
        "build-corpus 'a genome.fa' --out c"
    )


def test_the_demo_keeps_nothing(tmp_path, capsys, monkeypatch):
    def run(*_, **__):
        error = KeyboardInterrupt()
        error.add_note("2 chunks are kept")
        raise error

    monkeypatch.setattr("dnabert2_fast.cli.demo.run", run)
    assert stopped(capsys, "demo", "--out", tmp_path / "d") == "interrupted"
