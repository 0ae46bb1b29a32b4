"""Scores into VCF files: records in, the same records with INFO fields out, or a Parquet table.

Lines are taken as text and only INFO is added to. htslib would write numbers anew, and refuses
contigs and fields that the header does not declare; here a record stays as it was written.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dnabert2_fast._internal.atomic import atomic_path
from dnabert2_fast._internal.extras import needs
from dnabert2_fast._internal.progress import Progress, progress
from dnabert2_fast._internal.resume import ResumeStore, fingerprint
from dnabert2_fast.errors import DataError
from dnabert2_fast.genomics.variants.alleles import STATUSES, Variant, variants_of
from dnabert2_fast.genomics.variants.config import ScoringConfig
from dnabert2_fast.genomics.variants.scoring import VariantScore, located, score_stream
from dnabert2_fast.io.reference import Reference
from dnabert2_fast.io.vcf import VcfRecord, read_vcf
from dnabert2_fast.model.auto import Model
from dnabert2_fast.model.heads import Dnabert2ForMaskedLM, Dnabert2ForSequenceClassification
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["score_vcf"]

# INFO field of each number, with what the header says of it.
FIELDS = {
    "llr": ("D2_LLR", "log-likelihood of the tokens that differ, ALT minus REF, nats"),
    "llr_sd": ("D2_LLR_SD", "standard deviation of D2_LLR over strands and window offsets"),
    "ref_tokens": ("D2_REF_TOKENS", "tokens of REF that differ, mean over frames"),
    "alt_tokens": ("D2_ALT_TOKENS", "tokens of ALT that differ, mean over frames"),
    "cosine": ("D2_COSINE", "1 - cosine of the windows' mean-pooled vectors"),
    "l2": ("D2_L2", "Euclidean distance of the windows' mean-pooled vectors"),
    "log_odds": ("D2_LOG_ODDS", "log(p / (1 - p)) of the class, ALT minus REF"),
    "probability": ("D2_PROBABILITY", "probability of the class, ALT minus REF"),
}
STATUS = "D2_STATUS"
OWN = "D2_"

# Records read, scored and written together, and kept when a run is stopped.
CHUNK_RECORDS = 1024

# Rows of one group of a Parquet file.
GROUP_ROWS = 16_384


def score_vcf(
    vcf: str | os.PathLike[str],
    reference: Reference | str | os.PathLike[str],
    model: Model,
    tokenizer: Tokenizer,
    out: str | os.PathLike[str],
    config: ScoringConfig | None = None,
) -> dict[str, int]:
    r"""Score every allele of a VCF file; records keep their order and their text.

    Parameters
    ----------
    vcf : path
        ``.vcf``, plain, gzip or bgzip; in any order of records.
    reference : Reference or path
        The genome that the file was called against; see `Reference`.
    model, tokenizer, config
        As in `score_variants`.
    out : path
        ``.vcf`` or ``.vcf.gz`` (bgzip): the records with INFO fields ``D2_...``, one value an
        alternate allele; fields of that name that were there are replaced. Or ``.parquet``: one
        row an allele. Appears when everything is done; until then, ``OUT.parts`` has the scores
        that are, and the same call goes on from them.

    Returns
    -------
    dict of str to int
        Alleles by status, ``"scored"`` first.

    Raises
    ------
    DataError
        When a file is damaged or of another kind.
    CheckpointError
        When tokenizer and model have vocabularies of different sizes.
    ValueError
        When `out` has another suffix, or the classifier no class `label`.

    Examples
    --------
    >>> import tempfile
    >>> from dnabert2_fast import Dnabert2ForMaskedLM
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "calls.vcf").write_text(
    ...     "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    ...     "chr1\t121\trs1\tT\tG\t.\tPASS\t.\nchr1\t121\trs2\tA\tG\t.\tPASS\t.\n"
    ... )
    >>> genome = Reference({"chr1": "ACGTTGCATTAGCATTTACGGATTAACGT" * 9})  # or "hg38.fa"
    >>> model, tok = Dnabert2ForMaskedLM.from_pretrained("mini"), Tokenizer.from_pretrained("mini")
    >>> score_vcf(folder / "calls.vcf", genome, model, tok, folder / "scored.vcf",
    ...           ScoringConfig(window_bp=64))
    {'scored': 1, 'ref_mismatch': 1}
    >>> (folder / "scored.vcf").read_text().splitlines()[-1].split("\t")[7]
    'D2_STATUS=ref_mismatch'
    """
    out = Path(out)
    if not out.name.endswith((".vcf", ".vcf.gz", ".parquet")):
        raise ValueError(f"out: {out.name} must end in .vcf, .vcf.gz or .parquet")
    config = config or ScoringConfig()
    counts: Counter[str] = Counter()
    with read_vcf(vcf) as (header, records):
        genome = reference if isinstance(reference, Reference) else Reference(reference)

        inputs = {"vcf": Path(vcf), "reference": genome.source, "chunk": CHUNK_RECORDS}
        parts = ResumeStore(out, fingerprint(model, tokenizer, config, **inputs))

        def scored() -> Iterator[tuple[VcfRecord, list[VariantScore]]]:
            for number in itertools.count():
                if not (some := list(islice(records, CHUNK_RECORDS))):
                    return
                variants = [variant for record in some for variant in variants_of(record)]
                compute = partial(_numbers, variants, genome, model, tokenizer, config, bar)
                numbers = iter(parts.take(number, len(variants), compute).tolist())
                for record in some:
                    statuses = [located(variant, genome, config) for variant in variants_of(record)]
                    own = [VariantScore(*score[:2], *next(numbers)) for score in statuses]
                    counts.update(score.status for score in own)
                    yield record, own

        bar_of_all = progress(None, "scoring", "variants")
        with parts.until_done(), bar_of_all as bar, atomic_path(out) as temporary:
            if out.suffix == ".parquet":
                try:
                    _write_parquet(temporary, scored(), model)
                except OverflowError:
                    raise DataError(
                        f"{vcf}: a POS does not fit into 64 bits of a table; write a .vcf"
                    ) from None
            else:
                _write_vcf(temporary, scored(), header, model, config)
    return {status: counts[status] for status in STATUSES if counts[status]}


def _numbers(
    variants: list[Variant],
    genome: Reference,
    model: Model,
    tokenizer: Tokenizer,
    config: ScoringConfig,
    bar: Progress,
) -> npt.NDArray[np.float64]:
    """Return what scores have behind status and normal form, a row a variant."""
    scores = score_stream(variants, genome, model, tokenizer, config, bar)
    return np.array([score[2:] for score in scores]).reshape(-1, len(VariantScore._fields) - 2)


def _write_vcf(
    path: Path,
    scored: Iterator[tuple[VcfRecord, list[VariantScore]]],
    header: list[str],
    model: Model,
    config: ScoringConfig,
) -> None:
    with needs("a VCF file"):
        import pysam

    names = _names(model)
    packed = path.name.endswith(".gz")
    sink: Any = pysam.BGZFile(os.fspath(path), "wb") if packed else path.open("wb")
    with closing(sink):

        def put(line: str) -> None:
            sink.write(f"{line}\n".encode("utf-8", "surrogateescape"))

        for line in header[:-1]:
            if not line.startswith((f"##INFO=<ID={OWN}", "##dnabert2_fast_")):
                put(line)
        for line in _header_lines(names, config):
            put(line)
        put(header[-1])
        for record, scores in scored:
            put(_with_info(record, scores, names))


def _header_lines(names: list[str], config: ScoringConfig) -> Iterator[str]:
    listed = ",".join(STATUSES)
    yield (
        f'##INFO=<ID={STATUS},Number=A,Type=String,Description="Whether dnabert2_fast scored the '
        f'allele, or why not: {listed}">'
    )
    for name in names:
        field, what = FIELDS[name]
        if name == "log_odds" or name == "probability":
            what = what.replace("the class", f"class {config.label}")
        yield f'##INFO=<ID={field},Number=A,Type=Float,Description="{what}">'
    offsets = "|".join(map(str, config.offsets))
    yield (
        f"##dnabert2_fast_score_variants=version {version('dnabert2-fast')}, window_bp "
        f"{config.window_bp}, offsets_bp {offsets}, both_strands {config.both_strands}"
    )


def _with_info(record: VcfRecord, scores: list[VariantScore], names: list[str]) -> str:
    if not scores:
        return record.line
    cells = record.line.split("\t", 8)
    kept = [part for part in cells[7].split(";") if part != "." and not part.startswith(OWN)]
    kept.append(f"{STATUS}={','.join(score.status for score in scores)}")
    for name in names:
        values = [getattr(score, name) for score in scores]
        if not np.isnan(values).all():
            texts = ("." if np.isnan(value) else f"{value:.6g}" for value in values)
            kept.append(f"{FIELDS[name][0]}={','.join(texts)}")
    return "\t".join([*cells[:7], ";".join(kept), *cells[8:]])


def _write_parquet(
    path: Path, scored: Iterator[tuple[VcfRecord, list[VariantScore]]], model: Model
) -> None:
    names = _names(model)
    text, whole, number = pa.string(), pa.int64(), pa.float64()
    columns = {"chrom": text, "pos": whole, "id": text, "ref": text, "alt": text, "status": text}
    columns |= {"normal_start": whole, "normal_ref": text, "normal_alt": text}
    columns |= dict.fromkeys(names, number)
    schema = pa.schema(list(columns.items()))
    rows: list[dict[str, Any]] = []
    with pq.ParquetWriter(path, schema) as writer:
        for record, scores in scored:
            for alt, score in zip(record.alts, scores, strict=True):
                row = {"chrom": record.chrom, "pos": record.pos, "id": record.id}
                row |= {"ref": record.ref, "alt": alt, "status": score.status}
                if score.normal is not None:
                    row["normal_start"] = score.normal.start
                    row |= {"normal_ref": score.normal.ref, "normal_alt": score.normal.alt}
                row |= {n: v for n in names if not np.isnan(v := getattr(score, n))}
                rows.append(row)
            if len(rows) >= GROUP_ROWS:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows.clear()
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema))


def _names(model: Model) -> list[str]:
    """Return the numbers that a model gives, in the order of `FIELDS`."""
    absent: set[str] = set()
    if not isinstance(model, Dnabert2ForMaskedLM):
        absent |= {"llr", "llr_sd", "ref_tokens", "alt_tokens"}
    if not isinstance(model, Dnabert2ForSequenceClassification):
        absent |= {"log_odds", "probability"}
    return [name for name in FIELDS if name not in absent]
