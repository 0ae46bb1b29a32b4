"""VCF files with scores: the same records with more INFO fields, or a table.

Lines are processed as text, and only INFO is extended. htslib would reformat numbers, and rejects
contigs and fields that the header does not declare; here a record stays as it was written.
"""

from __future__ import annotations

import itertools
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dnabert2_fast._internal.progress import Progress, progress
from dnabert2_fast._internal.resume import ResumeStore, fingerprint
from dnabert2_fast._internal.streams import is_stdout, is_stream, require_file, text_output
from dnabert2_fast.errors import DataError
from dnabert2_fast.genomics.loading import load_model
from dnabert2_fast.genomics.variants.alleles import SCORED, STATUSES, Variant, variants_of
from dnabert2_fast.genomics.variants.background import Background
from dnabert2_fast.genomics.variants.config import ScoringConfig
from dnabert2_fast.genomics.variants.scoring import (
    VariantScore,
    background_of,
    expected_of,
    located,
    score_stream,
)
from dnabert2_fast.io.reference import Reference
from dnabert2_fast.io.table_writer import kind_of_table, require_ending, table_writer
from dnabert2_fast.io.vcf import VcfRecord, read_vcf
from dnabert2_fast.model.auto import Model
from dnabert2_fast.model.heads import Dnabert2ForMaskedLM, Dnabert2ForSequenceClassification
from dnabert2_fast.model.weights import Name
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["score_vcf"]

# Header description of each number; `_field` names its INFO field.
DESCRIPTIONS = {
    "llr": "log-likelihood of the tokens that differ, ALT minus REF, nats",
    "llr_sd": "standard deviation of the log-likelihood ratio over strands and window offsets",
    "context_llr": "LLR minus that of the same tokens in average contexts of a genome, nats",
    "ref_tokens": "tokens of REF that differ, mean over frames",
    "alt_tokens": "tokens of ALT that differ, mean over frames",
    "cosine": "1 - cosine of the windows' mean-pooled vectors",
    "l2": "Euclidean distance of the windows' mean-pooled vectors",
    "other_letters": "letters other than A, C, G, T in the window, mean over frames",
    "log_odds": "log(p / (1 - p)) of the class, ALT minus REF",
    "probability": "probability of the class, ALT minus REF",
}

PROVENANCE = "dnabert2_fast_score_variants"
IDENTIFIER = re.compile("[A-Za-z][A-Za-z0-9_]*")
CONTIG_LINE = re.compile("##contig=<.*?\\bID=(?P<name>[^,>]+).*?\\blength=(?P<length>[0-9]+)")

# Number of records read, scored and written together, and kept when a run is stopped.
CHUNK_RECORDS = 1024

# Rows written together to a table.
GROUP_ROWS = 16_384


def score_vcf(  # noqa: PLR0913
    vcf: str | os.PathLike[str],
    reference: Reference | str | os.PathLike[str],
    model: Model | Name,
    tokenizer: Tokenizer | Name | None,
    out: str | os.PathLike[str],
    config: ScoringConfig | None = None,
    *,
    prefix: str = "D2",
    rna: bool = False,
    part: tuple[int, int] | None = None,
) -> dict[str, int]:
    r"""Score every allele of a VCF file; records keep their order and their text.

    Parameters
    ----------
    vcf : path
        VCF, compressed or not, or a pipe (``-`` is standard input); in any order of records.
    reference : Reference or path
        The genome that the file was called against; see `Reference`.
    model, tokenizer, config
        As in `score_variants`.
    out : path
        ``.vcf`` or ``.vcf.gz`` (bgzip), or ``-`` for standard output: the records with INFO
        fields ``D2_...``, one value per alternate allele; a header line names model, reference
        and settings. Or .csv, .tsv (also .gz) or .parquet: one row per allele. Appears when
        everything is done; until then ``OUT.parts`` holds the scores so far, and the same call
        resumes from them.
    prefix : str
        Of the INFO fields. Fields of the same name are replaced, all others stay: give a second
        model another prefix to keep the scores of both in one file.
    rna : bool
        Read U of the genome as T, where `reference` is a path.
    part : tuple of int, optional
        ``(i, n)``: compute only part `i` of `n`, 1 <= i <= n, into ``OUT.parts``. The same call
        without `part` then joins the parts.

    Returns
    -------
    dict of str to int
        Alleles by status, ``"scored"`` first.

    Raises
    ------
    DataError
        When a file is damaged or of another kind.
    CheckpointError
        When tokenizer and model have different vocabularies, or the table ``background``
        belongs to another vocabulary.
    ValueError
        When `out` has another suffix, `prefix` is not a VCF identifier, or the classifier has no
        class `label`.

    Warns
    -----
    UserWarning
        When header and reference differ in the length of a contig, when most REF alleles differ
        from the reference, or when no allele could be scored: often another assembly. When the
        vocabulary has no background: ``context_llr`` is left out.

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
    if not is_stdout(out):
        require_ending(out, others=(".vcf", ".vcf.gz"))
    if not IDENTIFIER.fullmatch(prefix):
        raise ValueError(
            f"prefix: must consist of letters, digits and _, with a letter first (got {prefix!r})."
        )
    model, tokenizer = load_model(model, tokenizer)
    config = (config or ScoringConfig()).for_model(model.config)
    if part is not None:
        require_file(vcf, "every part reads it")
    background = background_of(model, tokenizer, config)
    names = _names(model, background)
    counts: Counter[str] = Counter()
    with read_vcf(vcf) as (header, records):
        genome = reference if isinstance(reference, Reference) else Reference(reference, rna=rna)
        _warn_of_lengths(vcf, header, genome)
        inputs = {"vcf": Path(vcf), "reference": genome.source, "chunk": CHUNK_RECORDS}
        frequencies = background.digest if background is not None else None
        columns = {"frequencies": frequencies, "scores": list(VariantScore._fields)}
        settings = fingerprint(model, tokenizer, config, **inputs, **columns)
        parts = ResumeStore(out, settings)
        expected = expected_of(background, model, tokenizer, genome, config)
        contigs: dict[str, None] = {}  # missing in the reference, in order
        total = _count_alleles(vcf)

        def scored() -> Iterator[tuple[VcfRecord, list[VariantScore]]]:
            seen = 0
            for number in itertools.count():
                if not (some := list(islice(records, CHUNK_RECORDS))):
                    return
                if part is not None and number % part[1] != part[0] - 1:
                    continue
                variants = [variant for record in some for variant in variants_of(record)]
                compute = partial(
                    _numbers, variants, genome, model, tokenizer, config, bar, expected
                )
                numbers = iter(parts.take(number, len(variants), compute).tolist())
                seen += len(variants)
                bar.reach(seen)
                for record in some:
                    statuses = [located(variant, genome, config) for variant in variants_of(record)]
                    own = [VariantScore(*score[:2], *next(numbers)) for score in statuses]
                    counts.update(score.status for score in own)
                    if "unknown_contig" in {score.status for score in own}:
                        contigs.setdefault(record.chrom)
                    yield record, own

        bar_of_all = progress(total if part is None else None, "scoring", "variants")
        if part is not None:
            with bar_of_all as bar:
                for _ in scored():
                    pass
            return dict(counts)
        with parts.until_done(), bar_of_all as bar:
            if not is_stdout(out) and kind_of_table(out) is not None:
                try:
                    _write_table(out, scored(), names)
                except OverflowError:
                    raise DataError(
                        f"{vcf}: a POS does not fit into 64 bits of a table. Write a .vcf instead."
                    ) from None
            else:
                info = _info_lines(names, _class_name(model, config), prefix)
                run = _provenance(model, settings["model"], genome, config, prefix, background)
                _write_vcf(out, scored(), header, [*info, run], names, prefix)
    _warn_of_counts(vcf, counts, list(contigs), genome)
    return {status: counts[status] for status in STATUSES if counts[status]}


def _count_alleles(vcf: str | os.PathLike[str]) -> int | None:
    """Return the number of alleles of a file, None for a pipe, which can be read once only."""
    if is_stream(vcf):
        return None
    with read_vcf(vcf) as (_, records):
        return sum(len(record.alts) for record in records)


def _numbers(
    variants: list[Variant],
    genome: Reference,
    model: Model,
    tokenizer: Tokenizer,
    config: ScoringConfig,
    bar: Progress,
    expected: npt.NDArray[np.float64] | None,
) -> npt.NDArray[np.float64]:
    """Return the fields of scores after status and normal form, one row per variant."""
    scores = score_stream(variants, genome, model, tokenizer, config, bar, expected)
    return np.array([score[2:] for score in scores]).reshape(-1, len(VariantScore._fields) - 2)


def _warn_of_lengths(vcf: str | os.PathLike[str], header: list[str], genome: Reference) -> None:
    """Warn when header and reference differ in the length of a contig: another assembly."""
    named = (CONTIG_LINE.match(line) for line in header)
    declared = {line["name"]: int(line["length"]) for line in named if line}
    both = {name: found for name in declared if (found := genome.resolve(name))}
    other = [name for name, found in both.items() if declared[name] != genome.length(found)]
    if other:
        first = other[0]
        warnings.warn(
            f"{vcf}: the header gives {first} {declared[first]:,} bases, {genome.label} has "
            f"{genome.length(both[first]):,} ({len(other)} of {len(both)} contigs differ). The "
            "file was probably called against another assembly.",
            stacklevel=3,
        )


def _warn_of_counts(
    vcf: str | os.PathLike[str], counts: Counter[str], contigs: list[str], genome: Reference
) -> None:
    """Warn when hardly any allele could be scored, with the likely cause."""
    if contigs:
        warnings.warn(
            f"{vcf}: {_some(contigs)} not in {genome.label}, which has "
            f"{_some(list(genome.lengths))}",
            stacklevel=3,
        )
    mismatches = counts["ref_mismatch"]
    found = mismatches + sum(counts[status] for status in SCORED)
    if mismatches * 2 > found:
        warnings.warn(
            f"{vcf}: REF differs from {genome.label} for {mismatches:,} of {found:,} alleles "
            f"({mismatches / found:.0%}). The file was probably called against another assembly.",
            stacklevel=3,
        )


def _some(names: list[str]) -> str:
    """Return the first names of a list, and the number of the others."""
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3:,} more"


def _write_vcf(
    path: Path,
    scored: Iterator[tuple[VcfRecord, list[VariantScore]]],
    header: list[str],
    provenance: list[str],
    names: list[str],
    prefix: str,
) -> None:
    own = {_field(prefix, name) for name in ("status", *DESCRIPTIONS)}
    replaced = (*(f"##INFO=<ID={field}," for field in own), f"##{PROVENANCE}=<ID={prefix},")
    with text_output(path) as sink:

        def put(line: str) -> None:
            sink.write(f"{line}\n".encode("utf-8", "surrogateescape"))

        for line in header[:-1]:
            if not line.startswith(replaced):
                put(line)
        for line in provenance:
            put(line)
        put(header[-1])
        for record, scores in scored:
            put(_with_info(record, scores, names, prefix, own))


def _field(prefix: str, name: str) -> str:
    """Return the INFO field of a number.

    >>> _field("D2", "llr_sd"), _field("D2", "context_llr")
    ('D2_LLR_SD', 'D2_CLLR')
    """
    return f"{prefix}_{name.upper().replace('CONTEXT_', 'C')}"


def _class_name(model: Model, config: ScoringConfig) -> str:
    """Return the name of the class whose probability is compared; empty without classes."""
    if not isinstance(model, Dnabert2ForSequenceClassification):
        return ""
    return model.config.class_name(model.config.class_number(config.label))


def _info_lines(names: list[str], class_name: str, prefix: str) -> list[str]:
    """Return the header lines that describe the scores."""
    lines = [
        f"##INFO=<ID={_field(prefix, 'status')},Number=A,Type=String,Description="
        f'"Whether dnabert2_fast scored the allele, or why not: {",".join(STATUSES)}">'
    ]
    for name in names:
        what = _quoted(DESCRIPTIONS[name].replace("the class", f"class {class_name}"))
        lines.append(f"##INFO=<ID={_field(prefix, name)},Number=A,Type=Float,Description={what}>")
    return lines


def _provenance(
    model: Model,
    digest: str,
    genome: Reference,
    config: ScoringConfig,
    prefix: str,
    background: Background | None,
) -> str:
    """Return the header line that names the model and the settings."""
    settings = {
        "ID": prefix,
        "Version": version("dnabert2-fast"),
        "Model": _quoted(model.name_or_path),
        "Weights": digest[:12],
        "Reference": _quoted(genome.label),
        "WindowBp": config.window_bp,
        "OffsetsBp": _quoted(" ".join(map(str, config.offsets))),
        "BothStrands": str(config.both_strands).lower(),
    }
    if background is not None:
        settings["Background"] = _quoted(" ".join(background.genomes))
    if class_name := _class_name(model, config):
        settings["Label"] = _quoted(class_name)
    pairs = ",".join(f"{key}={value}" for key, value in settings.items())
    return f"##{PROVENANCE}=<{pairs}>"


def _quoted(text: str) -> str:
    """Return a value of a structured header line (VCF 4.3, 1.4: backslashes and quotes escaped)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _with_info(
    record: VcfRecord, scores: list[VariantScore], names: list[str], prefix: str, own: set[str]
) -> str:
    if not scores:
        return record.line
    cells = record.line.split("\t", 8)
    kept = [
        part
        for part in cells[7].split(";")
        if part not in ("", ".") and part.partition("=")[0] not in own
    ]
    kept.append(f"{_field(prefix, 'status')}={','.join(score.status for score in scores)}")
    for name in names:
        values = [getattr(score, name) for score in scores]
        if not np.isnan(values).all():
            texts = ("." if np.isnan(value) else f"{value:.6g}" for value in values)
            kept.append(f"{_field(prefix, name)}={','.join(texts)}")
    return "\t".join([*cells[:7], ";".join(kept), *cells[8:]])


def _write_table(
    path: Path, scored: Iterator[tuple[VcfRecord, list[VariantScore]]], names: list[str]
) -> None:
    text, whole, number = pa.string(), pa.int64(), pa.float64()
    columns = {"chrom": text, "pos": whole, "id": text, "ref": text, "alt": text, "status": text}
    columns |= {"normal_start": whole, "normal_ref": text, "normal_alt": text}
    columns |= dict.fromkeys(names, number)
    schema = pa.schema(list(columns.items()))
    rows: list[dict[str, Any]] = []
    with table_writer(path, schema) as write:
        for record, scores in scored:
            for alt, score in zip(record.alts, scores, strict=True):
                row: dict[str, Any] = {"chrom": _unicode(record.chrom), "pos": record.pos}
                row |= {"id": _unicode(record.id), "ref": _unicode(record.ref)}
                row |= {"alt": _unicode(alt), "status": score.status}
                if score.normal is not None:
                    row["normal_start"] = score.normal.start
                    row |= {"normal_ref": score.normal.ref, "normal_alt": score.normal.alt}
                row |= {n: v for n in names if not np.isnan(v := getattr(score, n))}
                rows.append(row)
            if len(rows) >= GROUP_ROWS:
                write(pa.Table.from_pylist(rows, schema))
                rows.clear()
        if rows:
            write(pa.Table.from_pylist(rows, schema))


def _unicode(text: str) -> str:
    r"""Return text of a VCF file with bytes that are not UTF-8 replaced, as Parquet requires.

    >>> _unicode(b"rs\xe9".decode("utf-8", "surrogateescape"))
    'rs\ufffd'
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _names(model: Model, background: Background | None) -> list[str]:
    """Return the numbers that a model provides, in the order of `DESCRIPTIONS`."""
    absent: set[str] = set()
    if background is None:
        absent.add("context_llr")
    if not isinstance(model, Dnabert2ForMaskedLM):
        absent |= {"llr", "llr_sd", "ref_tokens", "alt_tokens"}
    if not isinstance(model, Dnabert2ForSequenceClassification):
        absent |= {"log_odds", "probability"}
    return [name for name in DESCRIPTIONS if name not in absent]
