"""Filled masks and scores of sequences and positions equal those of one masked token at a time."""

import gzip
import math
import random
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from helpers.dna import reverse_complement
from helpers.models import masked_lm, tok

import dnabert2_fast
from dnabert2_fast import PackedBatch, Ragged, Tokenizer, cli, fill_mask, pseudo_likelihood
from dnabert2_fast.errors import CheckpointError, DataError, FastaError
from dnabert2_fast.genomics import likelihood_hub, likelihood_track
from dnabert2_fast.genomics.likelihood.config import TrackConfig
from dnabert2_fast.genomics.likelihood.table import likelihood_table
from dnabert2_fast.genomics.variants.alleles import readings
from dnabert2_fast.io import SequenceFile

DATA = Path(dnabert2_fast.__file__).parent / "data" / "demo"

pyBigWig = pytest.importorskip("pyBigWig")

model = masked_lm().eval()
rng = random.Random(4)
TEXTS = ["".join(rng.choices("ACGT", k=n)) for n in (90, 7, 200)]
TEXTS += ["ACGTNNAC" * 5, "acgtTTGACA", "N", ""]


@torch.inference_mode()
def probabilities(ids, positions):
    """Return the model's probabilities at masked positions, shape (positions, vocabulary)."""
    hidden = [tok.mask_id if i in positions else token for i, token in enumerate(ids)]
    logits = model(PackedBatch.from_ragged(Ragged.from_list([hidden]))).logits[positions]
    return logits.double().softmax(1).numpy()


def real_positions(ids):
    return [i for i, token in enumerate(ids) if token not in tok.special_ids]


def test_fill_mask():
    text = "ACGTTGCA[MASK]TTAGGAC[MASK][MASK]"
    ids = tok.encode(text).tolist()
    positions = [i for i, token in enumerate(ids) if token == tok.mask_id]
    found = fill_mask(text, model, tok, top_k=4)
    assert len(found) == len(positions) == 3
    for filled, row in zip(found, probabilities(ids, positions), strict=True):
        assert [each.token_id for each in filled] == np.argsort(-row)[:4].tolist()
        np.testing.assert_allclose([each.probability for each in filled], -np.sort(-row)[:4], 1e-4)
        assert [each.token for each in filled] == tok.tokens([each.token_id for each in filled])
    everything = fill_mask(text, model, tok, top_k=tok.vocab_size)[0]
    assert sum(each.probability for each in everything) == pytest.approx(1, abs=1e-4)


def test_fill_mask_refuses():
    with pytest.raises(ValueError, match=r"has no \[MASK\]"):
        fill_mask("ACGT", model, tok)
    with pytest.raises(ValueError, match="top_k: must be between 1 and 4096"):
        fill_mask("A[MASK]", model, tok, top_k=0)
    other = Tokenizer.train(["ACACGTGT"], 11)
    with pytest.raises(CheckpointError, match="the tokenizer 11"):
        fill_mask("A[MASK]", model, other)


@pytest.mark.parametrize("mask_stride", [None, 2, 5])
def test_sequences_one_token_after_the_other(mask_stride):
    found = pseudo_likelihood(TEXTS, model, tok, mask_stride=mask_stride, batch_tokens=200)
    for text, got in zip(TEXTS, found, strict=True):
        ids = tok.encode(text).tolist()
        positions = real_positions(ids)
        step = mask_stride or max(len(positions), 1)
        wanted = 0.0 if positions else math.nan
        for first in range(min(step, len(positions))):
            group = positions[first::step]
            rows = probabilities(ids, group)
            wanted += sum(
                math.log(row[ids[position]]) for row, position in zip(rows, group, strict=True)
            )
        assert got.log_likelihood == pytest.approx(wanted, abs=1e-4, nan_ok=True)
        assert got.tokens == len(positions)
        assert got.bases == sum(text.upper().count(base) for base in "ACGT")
        if positions:
            assert got.perplexity == pytest.approx(math.exp(-wanted / len(positions)), rel=1e-4)
            assert got.bits_per_base == pytest.approx(-wanted / math.log(2) / got.bases, abs=1e-4)
        else:
            assert math.isnan(got.perplexity)


def test_an_even_model_has_the_perplexity_of_its_vocabulary():
    even = masked_lm()
    with torch.no_grad():
        even.bert.embeddings.word_embeddings.weight.zero_()
        even.cls.predictions.decoder.bias.zero_()
    (found,) = pseudo_likelihood(TEXTS[:1], even, tok)
    assert found.perplexity == pytest.approx(4096, rel=1e-4)


# --- tracks ---------------------------------------------------------------------------------------


WORDS = [word if set(word) <= set("ACGT") else "" for word in tok.vocabulary]


@cache
def tokens_with(base, position):
    """Return the ids of the tokens that have `base` at `position`."""
    return [i for i, word in enumerate(WORDS) if word[position : position + 1] == base]


def entropy_of(row, position):
    """Return the entropy in bits of the base at `position`, over all tokens long enough."""
    masses = [float(row[tokens_with(base, position)].sum()) for base in "ACGT"]
    total = sum(masses)
    return -sum(m / total * math.log2(m / total) for m in masses if m)


def window_values(text, kind):
    """Numbers of all bases of a window, one masked token after the other."""
    ids, values = tok.encode(text).tolist(), np.full(len(text), np.nan)
    spans = tok.encode_detailed(text).offsets.tolist()
    for position in real_positions(ids):
        (row,) = probabilities(ids, [position])
        start, end = spans[position]
        for base in range(start, end):
            if kind == "entropy":
                values[base] = entropy_of(row, base - start)
            else:
                values[base] = math.log(row[ids[position]]) / (end - start)
    return values


def naive_track(text, kind, window_bp, both_strands):
    text, values = text.upper(), []
    for start in range(0, len(text), window_bp // 2):
        end = min(start + window_bp // 2, len(text))
        before = max(start - window_bp // 4, 0)
        window = text[before : end + window_bp // 4]
        found = []
        for known in readings(window, before):  # N is each base in turn
            found.append(window_values(known, kind))
            if both_strands:
                found.append(window_values(reverse_complement(known), kind)[::-1])
        mean = np.mean(found, 0)
        mean[[letter not in "ACGT" for letter in window]] = np.nan
        values.append(mean[start - before : end - before])
    return np.concatenate([np.empty(0), *values])


def read_bedgraph(path, lengths):
    values = {name: np.full(length, np.nan) for name, length in lengths.items()}
    for line in path.read_text().splitlines():
        name, start, end, value = line.split("\t")
        values[name][int(start) : int(end)] = float(value)
    return values


RECORDS = {"long": TEXTS[0] + "NN" + TEXTS[1].lower(), "empty": "", "N": "NNN", "short": "ACG"}


@pytest.fixture
def fasta(tmp_path):
    path = tmp_path / "x.fa"
    path.write_text("".join(f">{name} words\n{text}\n" for name, text in RECORDS.items()))
    return path


@pytest.mark.parametrize(
    ("kind", "window_bp", "both_strands"),
    [("entropy", 24, True), ("log_likelihood", 24, False), ("entropy", 64, False)],
)
def test_track_is_one_base_after_the_other(
    fasta, tmp_path, monkeypatch, kind, window_bp, both_strands
):
    monkeypatch.setattr("dnabert2_fast.genomics.likelihood.track.CHUNK_WINDOWS", 3)
    lengths = {name: len(text) for name, text in RECORDS.items()}
    config = TrackConfig(kind, window_bp, both_strands=both_strands, batch_tokens=100)
    bases = [
        likelihood_track(fasta, model, tok, tmp_path / file, config)
        for file in ("x.bedgraph", "x.bw")
    ]
    assert bases == [100, 100]
    got = read_bedgraph(tmp_path / "x.bedgraph", lengths)
    with pyBigWig.open(str(tmp_path / "x.bw")) as opened:
        for name, text in RECORDS.items():
            wanted = naive_track(text, kind, window_bp, both_strands)
            np.testing.assert_allclose(got[name], wanted, rtol=1e-4, atol=1e-5)
            assert not np.isinf(wanted).any()
            if text and "A" in text:
                stored = opened.values(name, 0, len(text))
                np.testing.assert_allclose(stored, wanted, rtol=1e-4, atol=1e-5)
    if kind == "entropy":
        assert 0 < np.nanmin(got["long"]) < np.nanmax(got["long"]) <= 2


def test_a_track_of_one_window_adds_up_to_the_sequence(tmp_path):
    (tmp_path / "x.fa").write_text(f">x\n{TEXTS[0]}\n")
    config = TrackConfig("log_likelihood", window_bp=1000, both_strands=False)
    likelihood_track(tmp_path / "x.fa", model, tok, tmp_path / "x.bedgraph", config)
    got = read_bedgraph(tmp_path / "x.bedgraph", {"x": len(TEXTS[0])})
    (whole,) = pseudo_likelihood([TEXTS[0]], model, tok)
    assert got["x"].sum() == pytest.approx(whole.log_likelihood, abs=1e-3)


@pytest.mark.parametrize("both_strands", [True, False])
def test_a_hub_holds_the_probabilities_of_bases(fasta, tmp_path, both_strands):
    """The four add up to 1; on the other strand a base is its complement."""
    hub = tmp_path / "new" / "hub"
    config = TrackConfig(window_bp=24, both_strands=both_strands)
    assert likelihood_hub(fasta, model, tok, hub, config) == 100
    assert sorted(path.name for path in hub.iterdir()) == [*(f"{b}.bw" for b in "ACGT"), "hub.txt"]

    def base_values(text):
        ids, values = tok.encode(text).tolist(), np.full((len(text), 4), np.nan)
        spans = tok.encode_detailed(text).offsets.tolist()
        for position in real_positions(ids):
            (row,) = probabilities(ids, [position])
            start, end = spans[position]
            for at in range(end - start):
                masses = np.array([row[tokens_with(base, at)].sum() for base in "ACGT"])
                values[start + at] = masses / masses.sum()
        return values

    text, wanted = RECORDS["long"].upper(), []
    for start in range(0, len(text), 12):
        end, before = min(start + 12, len(text)), max(start - 6, 0)
        window = text[before : end + 6]
        found = []
        for known in readings(window, before):
            found.append(base_values(known))
            if both_strands:
                found.append(base_values(reverse_complement(known))[::-1, ::-1])
        mean = np.mean(found, 0)
        mean[[letter not in "ACGT" for letter in window]] = np.nan
        wanted.append(mean[start - before : end - before])
    wanted = np.concatenate(wanted)
    for number, base in enumerate("ACGT"):
        with pyBigWig.open(str(hub / f"{base}.bw")) as opened:
            got = opened.values("long", 0, len(text))
            np.testing.assert_allclose(got, wanted[:, number], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.nansum(wanted, 1)[:90], 1, atol=1e-6)


def test_the_hub_file_follows_ucsc(fasta, tmp_path):
    """Stanzas are separated by blank lines; the container draws its four subtracks as a logo."""
    likelihood_hub(fasta.rename(tmp_path / "hg38.fa"), model, tok, tmp_path / "hub")
    blocks = (tmp_path / "hub" / "hub.txt").read_text().strip().split("\n\n")
    stanzas = [dict(line.strip().split(" ", 1) for line in block.split("\n")) for block in blocks]
    hub, genome, container, *subtracks = stanzas
    assert {"hub", "shortLabel", "longLabel", "useOneFile", "email"} == set(hub)
    assert genome == {"genome": "hg38"}
    assert (container["container"], container["logo"]) == ("multiWig", "on")
    assert [track["bigDataUrl"] for track in subtracks] == ["A.bw", "C.bw", "G.bw", "T.bw"]
    for track in subtracks:
        assert track["parent"] == container["track"]
        assert track["type"] == "bigWig 0 1"
        assert (tmp_path / "hub" / track["bigDataUrl"]).exists()
    assert all(len(track["shortLabel"]) <= 17 for track in (hub, container, *subtracks))
    with pytest.raises(DataError, match="exists already"):
        likelihood_hub(tmp_path / "hg38.fa", model, tok, tmp_path / "hub")


def test_the_other_strand_has_the_mirrored_track(tmp_path):
    text = TEXTS[0][:64]
    other = reverse_complement(text)
    (tmp_path / "x.fa").write_text(f">a\n{text}\n>b\n{other}\n")
    likelihood_track(
        tmp_path / "x.fa", model, tok, tmp_path / "x.bedgraph", TrackConfig(window_bp=128)
    )
    got = read_bedgraph(tmp_path / "x.bedgraph", {"a": 64, "b": 64})
    np.testing.assert_allclose(got["a"], got["b"][::-1], atol=1e-5)


def test_bad_arguments_leave_nothing(fasta, tmp_path):
    before = sorted(tmp_path.iterdir())
    out = tmp_path / "x.bw"
    with pytest.raises(ValueError, match="window_bp: must be at least 4"):
        TrackConfig(window_bp=3)
    with pytest.raises(ValueError, match="mask_stride: must be at least 2"):
        TrackConfig(mask_stride=1)
    with pytest.raises(ValueError, match="mask_stride: must be at least 2"):
        pseudo_likelihood(["A"], model, tok, mask_stride=1)
    with pytest.raises(ValueError, match=r'kind: must be one of .*got "surprise"'):
        TrackConfig(kind="surprise")
    with pytest.raises(ValueError, match="must not have window_bp"):
        likelihood_track(SequenceFile(fasta, window_bp=9), model, tok, out)
    with pytest.raises(ValueError, match=r"must end in \.csv, \.tsv or"):
        likelihood_table(fasta, model, tok, tmp_path / "x.txt")
    with pytest.raises(CheckpointError, match="the tokenizer 11"):
        pseudo_likelihood(["A"], model, Tokenizer.train(["ACACGTGT"], 11))
    fasta.write_text(">a\nACGT\n>a\nACGT\n")
    with pytest.raises(DataError, match="two records have the name a"):
        likelihood_track(fasta, model, tok, out)
    fasta.write_text("no sequence\n")
    with pytest.raises(FastaError):
        likelihood_table(fasta, model, tok, tmp_path / "x.tsv")
    assert sorted(tmp_path.iterdir()) == before


# --- files and command line -----------------------------------------------------------------------


def test_command_line(fasta, tmp_path, capsys):
    model.save_pretrained(tmp_path / "m")
    tok.save(tmp_path / "m" / "tokenizer.json")
    common = ["likelihood", str(fasta), "--model", str(tmp_path / "m"), "--out"]
    for file in ("y.tsv", "y.parquet"):
        assert cli.main([*common, str(tmp_path / file), "--window-bp", "40"]) == 0
        assert "6 sequences" in capsys.readouterr().out
    rows = pq.read_table(tmp_path / "y.parquet").to_pylist()
    names = ["long:0-40", "long:40-80", "long:80-99", "empty", "N", "short"]
    assert [row["name"] for row in rows] == names
    wanted = pseudo_likelihood([RECORDS["long"][40:80]], model, tok)[0]
    assert rows[1]["log_likelihood"] == pytest.approx(wanted.log_likelihood, abs=1e-4)
    lines = [line.split("\t") for line in (tmp_path / "y.tsv").read_text().splitlines()]
    assert lines[0] == list(rows[0])
    for line, row in zip(lines[1:], rows, strict=True):
        assert line[0] == row["name"]
        assert (line[-1], row.pop("strand")) == ("+", "+")
        numbers = [float(value) for value in line[1:-1]]
        np.testing.assert_allclose(numbers, [float(v) for v in list(row.values())[1:]], rtol=1e-6)
    assert (
        cli.main([*common, str(tmp_path / "y.bw"), "--mask-stride", "4", "--no-both-strands"]) == 0
    )
    assert "y.bw: 100 bases" in capsys.readouterr().out
    assert cli.main([*common, str(tmp_path / "y.txt")]) == 2
    assert "must end in .csv, .tsv or .parquet, or in .bedgraph" in capsys.readouterr().err


def test_tables_and_regions(tmp_path, capsys):
    """What `embed` reads, from Python and from the command line."""
    model.save_pretrained(tmp_path / "m")
    tok.save(tmp_path / "m" / "tokenizer.json")
    one, two = TEXTS[0], TEXTS[2]
    (tmp_path / "x.tsv").write_text(f"dna\tlabel\n{one}\t1\n{two}\t0\n")
    (tmp_path / "g.fa").write_text(f">chr1\n{one}\n>chr2\n{two}\n")
    (tmp_path / "r.bed").write_text("chr2\t10\t40\tpeak\n1\t3\t25\nchr1\t0\t3\n")
    common = ["likelihood", "--model", str(tmp_path / "m"), "--out", str(tmp_path / "y.parquet")]
    table = [*common, str(tmp_path / "x.tsv"), "--column", "dna"]
    regions = [*common, str(tmp_path / "g.fa"), "--regions", str(tmp_path / "r.bed")]
    for arguments, named in (
        (table, {"0": one, "1": two}),
        (regions, {"peak": two[10:40], "chr1:3-25": one[3:25], "chr1:0-3": one[:3]}),
        ([*regions, "--window-bp", "20"], {
            "chr2:10-30": two[10:30], "chr2:30-40": two[30:40],
            "chr1:3-23": one[3:23], "chr1:23-25": one[23:25], "chr1:0-3": one[:3],
        }),
    ):  # fmt: skip
        assert cli.main(arguments) == 0
        assert f"{len(named)} sequences" in capsys.readouterr().out
        rows = pq.read_table(tmp_path / "y.parquet").to_pylist()
        assert [row["name"] for row in rows] == list(named)
        for row, wanted in zip(
            rows, pseudo_likelihood(list(named.values()), model, tok), strict=True
        ):
            assert row["log_likelihood"] == pytest.approx(wanted.log_likelihood, abs=1e-4)
    track = [*regions, "--out", str(tmp_path / "y.bedgraph"), "--window-bp", "24"]
    assert cli.main(track) == 0
    got = read_bedgraph(tmp_path / "y.bedgraph", {"chr1": len(one), "chr2": len(two)})
    for name, text, start, end in (
        ("chr1", one, 0, 3),
        ("chr1", one, 3, 25),
        ("chr2", two, 10, 40),
    ):
        wanted = naive_track(text[start:end], "entropy", 24, True)
        np.testing.assert_allclose(got[name][start:end], wanted, rtol=1e-4, atol=1e-5)
        got[name][start:end] = np.nan
    assert np.isnan(np.concatenate(list(got.values()))).all()
    (tmp_path / "r.bed").write_text("chr1\t3\t25\nchr1\t0\t4\n")
    capsys.readouterr()
    assert cli.main(track) == 2
    assert "chr1:0-4 and 3-25 overlap" in capsys.readouterr().err


@pytest.mark.parametrize("both_strands", [False, True])
def test_regions_of_the_other_strand(tmp_path, both_strands):
    """A track stays in forward coordinates; a table has the values of the strand that was read."""
    text = TEXTS[0][:60]
    (tmp_path / "g.fa").write_text(f">chr1\n{text}\n")
    (tmp_path / "r.bed").write_text("chr1\t3\t43\tpeak\t0\t-\n")
    source = SequenceFile(tmp_path / "g.fa", regions=tmp_path / "r.bed")
    config = TrackConfig(window_bp=24, both_strands=both_strands)
    likelihood_track(source, model, tok, tmp_path / "y.bedgraph", config)
    got = read_bedgraph(tmp_path / "y.bedgraph", {"chr1": 60})["chr1"]
    values = []
    for start in range(0, 40, 12):
        end, before = min(start + 12, 40), max(start - 6, 0)
        window = text[3 + before : min(3 + end + 6, 43)]
        found = window_values(reverse_complement(window), "entropy")[::-1]
        if both_strands:
            found = (found + window_values(window, "entropy")) / 2
        values.append(found[start - before : end - before])
    np.testing.assert_allclose(got[3:43], np.concatenate(values), rtol=1e-4, atol=1e-5)
    assert np.isnan(got[:3]).all()
    assert np.isnan(got[43:]).all()
    likelihood_table(source, model, tok, tmp_path / "y.parquet")
    (row,) = pq.read_table(tmp_path / "y.parquet").to_pylist()
    (wanted,) = pseudo_likelihood([reverse_complement(text[3:43])], model, tok)
    assert (row["name"], row["strand"]) == ("peak", "-")
    assert row["log_likelihood"] == pytest.approx(wanted.log_likelihood, abs=1e-4)


def test_command_line_fills_masks(tmp_path, capsys):
    model.save_pretrained(tmp_path / "m")
    tok.save(tmp_path / "m" / "tokenizer.json")
    texts = ["ACG[MASK]TTAG[MASK]CA", "[MASK]GATTACA"]
    assert cli.main(["fill-mask", *texts, "--model", str(tmp_path / "m"), "--top-k", "3"]) == 0
    head, *lines = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert head == ["sequence", "mask", "token", "token_id", "probability"]
    wanted = [
        (str(number), str(mask), token, str(token_id), probability)
        for number, text in enumerate(texts)
        for mask, found in enumerate(fill_mask(text, model, tok, top_k=3))
        for token, token_id, probability in found
    ]
    assert [tuple(line[:4]) for line in lines] == [row[:4] for row in wanted]
    np.testing.assert_allclose([float(line[4]) for line in lines], [row[4] for row in wanted], 1e-3)


def test_a_real_piece_of_genome(tmp_path):
    with gzip.open(DATA / "hpylori_G27.fa.gz", "rt") as handle:
        lines = [next(handle) for _ in range(6)]
    (tmp_path / "x.fa").write_text("".join(lines))
    length = sum(len(line.strip()) for line in lines[1:])
    out = tmp_path / "x.bw"
    config = TrackConfig(window_bp=128, mask_stride=8)
    assert likelihood_track(tmp_path / "x.fa", model, tok, out, config) == length
    with pyBigWig.open(str(out)) as opened:
        (name,) = opened.chroms()
        values = np.array(opened.values(name, 0, length))
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert (values <= 2 + 1e-6).all()


def test_a_record_without_bases_has_no_likelihood():
    unknown, known = pseudo_likelihood(["NNNN", "ACGT"], masked_lm(), tok)
    assert math.isnan(unknown.log_likelihood)
    assert unknown.bases == 0
    assert known.log_likelihood < 0


def test_tracks_in_any_letter_case(fasta, tmp_path):
    for name in ("x.bedGraph", "x.bigWig", "x.BW"):
        assert likelihood_track(fasta, masked_lm(), tok, tmp_path / name) > 0
    assert (tmp_path / "x.bedGraph").read_text().count("\n") > 1
    with pyBigWig.open(str(tmp_path / "x.bigWig")) as opened:
        assert opened.isBigWig()
    with pytest.raises(ValueError, match=r"must end in .* or in .*bedgraph.* for a track"):
        likelihood_table(fasta, masked_lm(), tok, tmp_path / "x.bg")
