"""Training: its input, its report, resuming after a stop, and too little memory."""

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from dnabert2_fast import Tokenizer, _native, read_fasta
from dnabert2_fast._internal.progress import Progress
from dnabert2_fast.cli import main
from dnabert2_fast.errors import DataError, TokenizerError
from dnabert2_fast.io.manifest import species_by_path
from dnabert2_fast.tokenizer import PACKAGED, Source, TrainingConfig
from dnabert2_fast.tokenizer import _train as training

GENOME = PACKAGED["dnabert2"].parent / "demo" / "hpylori_G27.fa.gz"


@pytest.fixture(scope="module")
def text():
    return next(iter(read_fasta(GENOME))).sequence[:200_000]


def merges(tok, path):
    tok.save(path)
    return json.loads(path.read_text())["model"]["merges"]


def test_every_form_of_input(tmp_path, text):
    pieces = [text[i : i + 500] for i in range(0, 50_000, 500)]
    (tmp_path / "x.fa").write_text("".join(f">{i}\n{p}\n" for i, p in enumerate(pieces)))
    (tmp_path / "x.fq").write_text("".join(f"@r\n{p}\n+\n{'I' * len(p)}\n" for p in pieces))
    (tmp_path / "x.txt").write_text("\n".join(pieces) + "\n")
    (tmp_path / "x.csv.gz").write_bytes(
        gzip.compress(("label,seq\n" + "".join(f"1,{p}\n" for p in pieces)).encode())
    )
    (tmp_path / "x.tsv").write_text("seq\tlabel\n" + "".join(f"{p}\t0\n" for p in pieces))
    want = merges(Tokenizer.train(pieces, 200), tmp_path / "t.json")
    for name in ("x.fa", "x.fq", "x.txt", "x.csv.gz", "x.tsv"):
        tok = Tokenizer.train([tmp_path / name], 200, TrainingConfig(column="seq"))
        assert merges(tok, tmp_path / "t.json") == want, name
        assert tok.trained_on.sources == [Source(name, "", 100, 50_000, 0, {})]
    with pytest.raises(DataError, match=r"no column 'sequence' \(got seq, label"):
        Tokenizer.train([tmp_path / "x.tsv"], 200)


def test_report_by_file_and_species(tmp_path, capsys):
    (tmp_path / "a.fa").write_text(">x\nACGTNNNacgtacgt\n>y\nRACGT\n")
    (tmp_path / "b.fa").write_text(">z\nGATTACA\n")
    (tmp_path / "m.csv").write_text("path,species,group\na.fa,mouse,1\nb.fa,yeast,2\n")
    species = species_by_path(tmp_path / "m.csv")
    tok = Tokenizer.train([*species, "ACGT"], 12, species=species)
    assert tok.trained_on.sources == [
        Source("a.fa", "mouse", 2, 16, 0, {"N": 3, "R": 1}),
        Source("b.fa", "yeast", 1, 7, 0, {}),
        Source("(sequences)", "", 1, 4, 0, {}),
    ]
    assert tok.trained_on.by_species() == {"mouse": 16, "yeast": 7, "": 4}
    main(
        [
            "train-tokenizer",
            "--manifest",
            str(tmp_path / "m.csv"),
            "--out",
            str(tmp_path / "t.json"),
            "--vocab-size",
            "12",
        ]
    )
    printed = capsys.readouterr().out
    assert "a.fa   mouse    2          16          0         'N' 3, 'R' 1" in printed


def test_options_of_the_vocabulary(text, tmp_path):
    specials = ["<unk>", "<s>", "</s>", "<pad>", "<mask>", "<sep2>"]
    tok = Tokenizer.train([text], 300, TrainingConfig(special_tokens=specials, max_token_bp=4))
    assert tok.vocabulary[:10] == [*specials, *"ACGT"]
    assert max(map(len, tok.vocabulary[6:])) == 4
    tok.save(tmp_path / "t.json")
    assert Tokenizer.from_file(tmp_path / "t.json").encode("N").tolist() == [1, 0, 2]
    for wrong in (["[UNK]"], ["A", *specials[1:]], ["<s>", *specials[1:]]):
        with pytest.raises(ValueError, match="special_tokens"):
            Tokenizer.train([text], 300, TrainingConfig(special_tokens=wrong))


def test_both_strands_and_sample(text):
    other = text[::-1].translate(str.maketrans("ACGT", "TGCA"))
    config = TrainingConfig(window_bp=1000, both_strands=True)
    both, turned = Tokenizer.train([text], 200, config), Tokenizer.train([other], 200, config)
    assert both.trained_on.sources[0].used_bp == len(text)
    assert len(set(both.vocabulary) ^ set(turned.vocabulary)) <= 2  # windows end elsewhere
    quarter = TrainingConfig(window_bp=1000, sample=0.25, seed=3)
    some = Tokenizer.train([text], 200, quarter).trained_on.sources[0]
    assert some.used_bp + some.left_out_bp == len(text)
    assert 0.1 < some.used_bp / len(text) < 0.4
    with pytest.raises(ValueError, match="sample"):
        Tokenizer.train([text], 200, TrainingConfig(sample=0))


@pytest.mark.parametrize("limit", [1_000, 150_000])
def test_too_little_memory_makes_the_same_merges(text, limit, tmp_path):
    sequences = [text[:120_000], "A" * 900 + "CA" * 700]
    want = merges(
        Tokenizer.train(sequences, 120, TrainingConfig(window_bp=5000)), tmp_path / "t.json"
    )
    tok = Tokenizer.train(sequences, 120, TrainingConfig(window_bp=5000), memory_limit=limit)
    assert merges(tok, tmp_path / "t.json") == want


def test_a_stopped_training_goes_on(text, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    out, note = tmp_path / "t.json", tmp_path / "note"
    want = merges(Tokenizer.train([text], 400), out)
    update, made = Progress.update, []

    def stop_after(count):
        """Interrupt when this many merges more are made; the bar counts them one by one."""

        def counting(self, by=1):
            update(self, by)
            if by == 1:
                made.append(1)
                if len(made) == stop:
                    raise KeyboardInterrupt

        stop = len(made) + count
        monkeypatch.setattr(Progress, "update", counting)
        with pytest.raises(KeyboardInterrupt):
            Tokenizer.train([text], 400, checkpoint=note)
        monkeypatch.setattr(Progress, "update", update)

    for count, total in ((3, 3), (147, 150), (150, 300)):  # while slots have one byte, and two
        stop_after(count)  # of those before, none is made again
        assert len(json.loads(note.read_text())["merges"]) == total
    assert merges(Tokenizer.train([text], 400, checkpoint=note), out) == want
    assert len(json.loads(note.read_text())["merges"]) == 391
    note.unlink()

    stop_after(20)
    with pytest.raises(TokenizerError, match="was made with other settings: text_sha256"):
        Tokenizer.train([text[1:]], 400, checkpoint=note)
    with pytest.raises(TokenizerError, match=r"max_token_bp None \(requested 8\)"):
        Tokenizer.train([text], 400, TrainingConfig(max_token_bp=8), checkpoint=note)
    with pytest.raises(TokenizerError, match=r"min_frequency 1 \(requested 9\)"):
        Tokenizer.train([text], 400, TrainingConfig(min_frequency=9), checkpoint=note)
    contents = json.loads(note.read_text())
    for merges_there in ([[0, 4]], [[0, -1]], [[0, 1.5]], ["01"], [[0, 1, 2]], [[0, 2**40]], 7):
        note.write_text(json.dumps({**contents, "merges": merges_there}))
        with pytest.raises(TokenizerError, match="not a checkpoint of training"):
            Tokenizer.train([text], 400, checkpoint=note)
    note.write_text("{")
    with pytest.raises(TokenizerError, match="not a checkpoint of training"):
        Tokenizer.train([text], 400, checkpoint=note)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"case": "lower"}, 'case: must be one of "upper", "compat"'),
        ({"vocab_size": 8}, "vocab_size: must be between 9 and 65536"),
        ({"vocab_size": -1}, "vocab_size: must be between"),
        ({"min_frequency": -1}, "min_frequency: must be at least 0"),
        ({"max_token_bp": -1}, "max_token_bp: must be at least 0"),
        ({"memory_limit": -1}, "memory_limit: must be at least 0"),
        ({"seed": -1}, "seed: must be between"),
        ({"threads": -1}, "threads: must be at least 0"),
        ({"special_tokens": ["[U]", "CLS", "[S]", "[P]", "[M]"]}, "'CLS' begins with a base"),
    ],
)
def test_arguments_are_looked_at_before_anything_is_read(arguments, message):
    with pytest.raises(ValueError, match=message):
        outside = ("vocab_size", "memory_limit", "threads")
        given = {name: arguments.pop(name) for name in outside if name in arguments}
        Tokenizer.train([Path("never opened.fa")], config=TrainingConfig(**arguments), **given)


def test_no_token_is_longer_than_a_file_may_hold():
    tok = Tokenizer.train(["A" * 200_000], 30)
    assert 1 << 15 <= max(map(len, tok.vocabulary)) < 1 << 16
    assert tok.decode(tok.encode("A" * 70_000)) == "A" * 70_000


def test_lists_of_sequences_and_files_in_any_order(tmp_path, monkeypatch):
    monkeypatch.setattr("dnabert2_fast.tokenizer._train.BATCH_SEQUENCES", 3)
    (tmp_path / "x.fa").write_text(">a\nTTGACCA\n")
    path = str(tmp_path / "x.fa")
    given = ["ACGT", "", "AACC", "acgtn", path, "GATTACA", path, "ACGTACGT"]
    tok = Tokenizer.train(given, 16)
    assert tok.text == Tokenizer.train(tuple(given), 16).text
    assert [(s.name, s.sequences, s.used_bp) for s in tok.trained_on.sources] == [
        ("(sequences)", 6, 27),
        ("x.fa", 2, 14),
    ]


@pytest.mark.parametrize("lengths", [[4] * 3000, [4095, 4096, 1, 9000, 4095]])
def test_the_fingerprint_is_the_hash_of_all_windows(lengths):
    windows = ["ACGT" * (n // 4) + "ACG"[: n % 4] for n in lengths]
    trainer = _native.BpeTrainer(
        window_bp=None, fold_case=True, both_strands=False, sample=1.0, seed=0, threads=1,
        spill_to=None,
    )  # fmt: skip
    trainer.add(windows)
    plain = hashlib.sha256("".join(f"{window}/" for window in windows).encode())
    assert trainer.fingerprint() == plain.hexdigest()
