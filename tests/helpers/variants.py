"""A genome, variants on it, and their scores by a plain definition."""

import functools
import json
import math
import random

import numpy as np
import pytest
import torch
from helpers.dna import reverse_complement
from helpers.models import classifier, encoder, masked_lm, tok
from helpers.project import ROOT

from dnabert2_fast import PackedBatch, Ragged
from dnabert2_fast.genomics.variants.alleles import SCORED, Variant, readings
from dnabert2_fast.genomics.variants.config import ScoringConfig
from dnabert2_fast.io.reference import Reference

rng = random.Random(3)
CONTIG = "".join(rng.choices("ACGT", k=700)) + "CA" * 20 + "".join(rng.choices("ACGT", k=700))
GENOME = Reference({"chr1": CONTIG, "chrM": CONTIG[::-1]})
CONFIG = ScoringConfig(window_bp=120, offsets_bp=(-7, 0), batch_tokens=300)
TABLE = json.loads((ROOT / "python/dnabert2_fast/data/background/dnabert2.json").read_text())
mlm, cls, enc = masked_lm(), classifier(num_labels=3), encoder()


# --- the naive twin -------------------------------------------------------------------------------


def smallest_edit(contig, variant):
    """Compare the two whole chromosomes from the right, then from the left."""
    changed = contig[: variant.start] + variant.alt + contig[variant.start + len(variant.ref) :]
    a, b, right, left = contig, changed, 0, 0
    while right < min(len(a), len(b)) and a[-1 - right] == b[-1 - right]:
        right += 1
    while left < min(len(a), len(b)) - right and a[left] == b[left]:
        left += 1
    return left, a[left : len(a) - right], b[left : len(b) - right]


@torch.inference_mode()
def log_likelihood(model, ids, positions):
    """Mask each position by itself, with one forward pass each."""
    total = 0.0
    for position in positions:
        masked = list(ids)
        masked[position] = tok.mask_id
        batch = PackedBatch.from_ragged(Ragged.from_list([masked]))
        total += float(model(batch).logits[position].double().log_softmax(0)[ids[position]])
    return total


@functools.cache
def log_frequency(token):
    """Of a token in the genome of the table in the package, each count raised by one."""
    counts = {token: number + 1 for token, number in enumerate(TABLE["counts"])}
    for special in tok.special_ids:
        del counts[special]
    return math.log(counts[token] / sum(counts.values()))


@functools.cache
@torch.inference_mode()
def gain_per_base(window_bp, contigs=(CONTIG, CONTIG[::-1])):
    """Average of what `mlm` adds to the log-frequency of a base in 256 windows of some contigs."""
    gain = bases = 0.0
    mlm.eval()
    used = 0
    for number in range(256):
        middle = int((number + 0.5) / 256 * len("".join(contigs)))
        for contig in contigs:
            if middle < len(contig):
                break
            middle -= len(contig)
        first = min(max(middle - window_bp // 2, 0), len(contig) - window_bp)
        if set(contig[first : first + window_bp]) - set("ACGT"):
            continue
        ids = tok.encode(contig[first : first + window_bp]).tolist()
        positions = list(range(1, len(ids) - 1))[used % 8 :: 8]
        used += 1
        masked = [tok.mask_id if i in positions else token for i, token in enumerate(ids)]
        logits = mlm(PackedBatch.from_ragged(Ragged.from_list([masked]))).logits.double()
        for i in positions:
            gain += float(logits[i].log_softmax(0)[ids[i]]) - log_frequency(ids[i])
            bases += len(tok.vocabulary[ids[i]])
    return gain / bases


def expected_log(token, config, contigs):
    """Return the log-probability of a token in an average context."""
    gain = gain_per_base(config.window_bp, contigs)
    return log_frequency(token) + gain * len(tok.vocabulary[token])


def tokens_apart(a, b):
    """Return the positions left after equal tokens at both ends are removed one by one."""
    left, right_a, right_b = 0, len(a), len(b)
    while left < min(right_a, right_b) and a[left] == b[left]:
        left += 1
    while min(right_a, right_b) > left and a[right_a - 1] == b[right_b - 1]:
        right_a, right_b = right_a - 1, right_b - 1
    if left in (right_a, right_b):
        left, right_a, right_b = left - 1, right_a + 1, right_b + 1
    return [
        [i for i in range(left, right) if ids[i] not in tok.special_ids]
        for ids, right in ((a, right_a), (b, right_b))
    ]


@torch.inference_mode()
def vector(model, ids):
    batch = PackedBatch.from_ragged(Ragged.from_list([ids]))
    states = model.bert.encode(batch).double()
    return states[[i for i, token in enumerate(ids) if token not in tok.special_ids]].mean(0)


def twin(model, variant, contig, config, contigs=(CONTIG, CONTIG[::-1])):
    """One variant by definition: no trimming, no cache, no batch. Numbers by name."""
    start, ref, alt = smallest_edit(contig, variant)
    half, frames = config.window_bp // 2, []
    for offset in config.offsets:
        left = contig[max(start - half + offset, 0) : start]
        right = contig[start + len(ref) : start + len(ref) + half + offset]
        first = max(start - half + offset, 0)
        flanks = readings(left, first), readings(right, start + len(ref))
        others = sum(letter not in "ACGT" for letter in left + right)
        for reading in range(4 if others else 1):
            left, right = (read[reading] if len(read) > 1 else read[0] for read in flanks)
            texts = [left + ref + right, left + alt + right]
            frames.append([texts, others])
            if config.both_strands:
                frames.append([[reverse_complement(text) for text in texts], others])
    found = []
    model.eval()
    for texts, others in frames:
        a, b = (tok.encode(text).tolist() for text in texts)
        u, v = vector(model, a), vector(model, b)
        numbers = {"cosine": 1 - float(u @ v / u.norm() / v.norm()), "l2": float((u - v).norm())}
        numbers["other_letters"] = others
        if model is mlm:
            apart = tokens_apart(a, b)
            numbers["llr"] = log_likelihood(model, b, apart[1]) - log_likelihood(model, a, apart[0])
            numbers["context_llr"] = numbers["llr"] - sum(
                expected_log(b[i], config, contigs) for i in apart[1]
            )
            numbers["context_llr"] += sum(expected_log(a[i], config, contigs) for i in apart[0])
            numbers["ref_tokens"], numbers["alt_tokens"] = map(len, apart)
        if model is cls:
            with torch.inference_mode():
                p = [
                    float(
                        model(PackedBatch.from_ragged(Ragged.from_list([ids])))
                        .logits[0]
                        .double()
                        .softmax(0)[config.label]
                    )
                    for ids in (a, b)
                ]
            numbers["probability"] = p[1] - p[0]
            odds = [math.log(x / (1 - x)) for x in p]
            numbers["log_odds"] = odds[1] - odds[0]
        found.append(numbers)
    means = {name: np.mean([frame[name] for frame in found]) for name in found[0]}
    if model is mlm:
        means["llr_sd"] = np.std([frame["llr"] for frame in found])
    return means


def check(score, wanted):
    assert score.status in SCORED
    for name, value in wanted.items():
        assert getattr(score, name) == pytest.approx(value, abs=2e-5), name
    given_numbers = {n for n, v in score._asdict().items() if isinstance(v, float) and v == v}
    assert given_numbers == set(wanted)


def variant_at(start, length, alt, contig=CONTIG):
    return Variant("chr1", start, contig[start : start + length], alt)


VARIANTS = [
    variant_at(300, 1, {"A": "C"}.get(CONTIG[300], "A")),
    variant_at(400, 1, CONTIG[400] + "GATTACA"),  # insertion
    variant_at(500, 9, CONTIG[500]),  # deletion
    variant_at(710, 3, CONTIG[710]),  # within the repeat
    variant_at(600, 3, "TTAGGG"),  # several bases for several
    variant_at(0, 1, {"A": "C"}.get(CONTIG[0], "A")),  # first base
    variant_at(len(CONTIG) - 1, 1, {"A": "C"}.get(CONTIG[-1], "A")),  # last base
    variant_at(0, 4, CONTIG[3]),  # the beginning is deleted
    variant_at(len(CONTIG) - 3, 3, CONTIG[-3]),  # the end is deleted
    variant_at(20, 1, CONTIG[20] + "A" * 100),
]
