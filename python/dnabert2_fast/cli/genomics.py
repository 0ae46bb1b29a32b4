"""Commands that apply a model to genomes: variants, attribution, masked tokens, likelihood."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import tyro

from dnabert2_fast._internal.progress import announce
from dnabert2_fast._internal.streams import is_stdout
from dnabert2_fast.cli._args import Dtype, report, require_output
from dnabert2_fast.errors import DataError
from dnabert2_fast.genomics.attribution.config import AttributionConfig, AttributionOutput
from dnabert2_fast.genomics.likelihood.config import TrackConfig, TrackKind
from dnabert2_fast.genomics.variants.config import ScoringConfig
from dnabert2_fast.io.regions import SequenceFile
from dnabert2_fast.io.table_writer import require_ending
from dnabert2_fast.io.tracks import TRACK_SUFFIXES, is_track

__all__ = ["attribute", "fill_mask", "likelihood", "score_variants"]

Scoring = Annotated[ScoringConfig, tyro.conf.arg(name="")]
Attributing = Annotated[AttributionConfig, tyro.conf.arg(name="")]
Output = Annotated[AttributionOutput, tyro.conf.arg(name="")]


def score_variants(
    file: Path,
    /,
    *,
    reference: Path,
    model: str = "mini",
    out: Path,
    config: Scoring = ScoringConfig(),  # noqa: B008 (it is frozen)
    prefix: str = "D2",
    rna: bool = False,
    tokenizer: str | None = None,
    attention: str = "auto",
    dtype: Dtype = "auto",
    device: str = "auto",
    ray: str | None = None,
) -> None:
    """Score every allele of a VCF file by a model's change from the reference.

    A masked language model gives log-likelihood ratios, a fine-tuned classifier differences of a
    class's probability, and both give distances of vectors (docs/guides/variants.md).

    Parameters
    ----------
    file
        VCF file, plain, gzip or bgzip, in any order.
    reference
        The genome as FASTA, plain or bgzip; an index is created if missing.
    model
        A checkpoint folder or a hub id; its weights decide whether it is a classifier. Default:
        the small model in the package.
    out
        .vcf or .vcf.gz (the same records with INFO fields D2_...), or a table .csv, .tsv (also
        .gz) or .parquet.
    prefix
        Prefix of the INFO fields; another prefix keeps the scores of a second model too.
    tokenizer
        As in tokenize. Default: the model's own.
    attention
        Attention backend; see `dnabert2-fast doctor`.
    dtype
        auto: bfloat16 on CUDA cards of compute capability 8.0 and above, float16 on older ones,
        float32 elsewhere. Scores are differences: float32 is more exact.
    device
        auto (CUDA if available, else cpu), cpu, cuda, cuda:1 or mps.
    ray
        Address of a Ray cluster: auto, local (this machine) or ray://HOST:PORT.
    rna
        Read U as T.

    Examples
    --------
    dnabert2-fast score-variants calls.vcf.gz --reference hg38.fa --out scored.vcf.gz
    dnabert2-fast score-variants x.vcf --reference hg38.fa --model run --label promoter --out y.vcf
    """
    from dnabert2_fast.genomics.loading import load_model
    from dnabert2_fast.genomics.variants.alleles import SCORED, STATUSES
    from dnabert2_fast.genomics.variants.vcf_file import score_vcf

    if not is_stdout(out):
        require_ending(out, others=(".vcf", ".vcf.gz"))
    require_output(out)
    if ray is not None:
        from dnabert2_fast import ray as over_ray
        from dnabert2_fast.ray import tasks

        with tasks.connected(ray):
            reserved = over_ray.RayTasks.of_cluster(device)
            counts = over_ray.score_vcf(
                file,
                reference,
                model,
                tokenizer,
                out,
                config,
                prefix=prefix,
                rna=rna,
                tasks=reserved,
                attention=attention,
                dtype=dtype,
            )
    else:
        net, tok = load_model(model, tokenizer, device=device, dtype=dtype, attention=attention)
        announce(net.what_runs)
        counts = score_vcf(file, reference, net, tok, out, config, prefix=prefix, rna=rna)
    scored = sum(counts.get(status, 0) for status in SCORED)
    report(out, f"{sum(counts.values()):,} alleles, {scored:,} scored")
    for status, number in counts.items():
        if status == "scored_near_n":
            print(f"warning: {number:,} alleles {status} ({STATUSES[status]})", file=sys.stderr)
        elif status not in SCORED:
            reason = f"{status} ({STATUSES[status]})"
            print(f"warning: {number:,} alleles not scored: {reason}", file=sys.stderr)
    if counts and not scored:
        raise DataError(
            f"{file}: none of its {sum(counts.values()):,} alleles could be scored. See the "
            "warnings above for the reasons."
        )


def attribute(
    file: Path,
    /,
    *,
    model: str = "mini",
    output: Output,
    config: Attributing = AttributionConfig(),  # noqa: B008 (it is frozen)
    window_bp: int | None = None,
    column: str = "sequence",
    regions: Path | None = None,
    rna: bool = False,
    tokenizer: str | None = None,
    attention: str = "auto",
    dtype: Dtype = "auto",
    device: str = "auto",
) -> None:
    """Score the contribution of each base to a model's answer, for each sequence of a file.

    docs/guides/attribution.md defines methods, targets and signs.

    Parameters
    ----------
    file
        FASTA or FASTQ, plain or gz, bgz, zst; a .csv or .tsv with a column of sequences; a .txt
        with one per line; with --regions a genome as FASTA, plain or bgzip.
    model
        A checkpoint folder or a hub id; its weights decide whether it is a classifier. Default:
        the small model in the package.
    window_bp
        Cut longer sequences into windows of this length, each attributed separately. Default: the
        length that a classifier was fine-tuned on; other models read whole sequences.
    column
        Column of sequences in a table; rows are named by their number.
    regions
        BED file: attribute these regions of the genome instead of whole records. Regions on the
        strand - are reverse complemented; positions stay those of the genome.
    rna
        Read U as T.
    tokenizer
        As in tokenize. Default: the model's own.
    attention
        Attention backend; see `dnabert2-fast doctor`.
    dtype
        auto: bfloat16 on CUDA cards of compute capability 8.0 and above, float16 on older ones,
        float32 elsewhere. Effects are differences: float32 is more exact
        (docs/guides/attribution.md).
    device
        auto (CUDA if available, else cpu), cpu, cuda, cuda:1 or mps.

    Examples
    --------
    dnabert2-fast attribute promoters.fa --out scores.bedgraph --plots logos
    dnabert2-fast attribute hg38.fa --regions peaks.bed --model run --label promoter --out scores.bw
    dnabert2-fast attribute promoters.fa --model run --motifs motifs.meme
    """
    from dnabert2_fast.genomics.attribution.file import attribute_file
    from dnabert2_fast.genomics.loading import load_model

    require_output(output.out)
    require_output(output.tokens)
    require_output(output.plots, folder=True)
    require_output(output.motifs)
    require_output(output.modisco, folder=True)
    require_output(output.hits)
    net, tok = load_model(model, tokenizer, device=device, dtype=dtype, attention=attention)
    announce(net.what_runs)
    source = SequenceFile(file, column, regions, window_bp, rna)
    number = attribute_file(source, net, tok, output, config)
    names = ("out", "tokens", "plots", "motifs", "modisco", "hits")
    written = (getattr(output, name) for name in names)
    print(f"{', '.join(str(path) for path in written if path)}: {number:,} sequences")


def fill_mask(
    sequences: tuple[str, ...] = (),
    /,
    *,
    model: str = "mini",
    top_k: int = 5,
    rna: bool = False,
    tokenizer: str | None = None,
    attention: str = "auto",
    dtype: Dtype = "auto",
    device: str = "auto",
) -> None:
    """Print the most probable tokens at every [MASK] of sequences, as a tab-separated table.

    Columns: number of the sequence and of the mask in it, both from 0; token, its id, probability.

    Parameters
    ----------
    sequences
        Bases with [MASK] in one or more positions, for example "ACGTTGCA[MASK]TTAGGAC".
    model
        A checkpoint folder or a hub id of a masked language model; mini is the small model in the
        package.
    top_k
        Number of tokens per mask.
    tokenizer
        As in tokenize. Default: the model's own.
    attention
        Attention backend; see `dnabert2-fast doctor`.
    dtype
        auto: bfloat16 on CUDA cards of compute capability 8.0 and above, float16 on older ones,
        float32 elsewhere. bfloat16 is also faster on CPUs that support it.
    device
        auto (CUDA if available, else cpu), cpu, cuda, cuda:1 or mps.
    rna
        Read U as T.

    Examples
    --------
    dnabert2-fast fill-mask "ACGTTGCA[MASK]TTAGGAC"
    dnabert2-fast fill-mask "ACG[MASK]TTA" "GGT[MASK]CCA" --top-k 3
    """
    from dnabert2_fast.genomics.likelihood.scores import fill_mask as fill
    from dnabert2_fast.genomics.loading import load_masked_lm

    if not sequences:
        raise ValueError('sequences: give at least one, for example "ACGTTGCA[MASK]TTAGGAC".')
    net, tok = load_masked_lm(model, tokenizer, device=device, dtype=dtype, attention=attention)
    announce(net.what_runs)
    if rna:
        sequences = tuple(_rna_as_dna(sequence) for sequence in sequences)
    filled = fill(sequences, net, tok, top_k=top_k)
    print("sequence", "mask", "token", "token_id", "probability", sep="\t")
    for number, masks in enumerate(filled):
        for mask, found in enumerate(masks):
            for token, token_id, probability in found:
                print(number, mask, token, token_id, f"{probability:.4g}", sep="\t")


def _rna_as_dna(sequence: str) -> str:
    """Read U as T, but in the names of special tokens."""
    pieces = re.split(r"(\[[A-Z]+\])", sequence)
    return "".join(
        piece if piece.startswith("[") else piece.translate(str.maketrans("Uu", "Tt"))
        for piece in pieces
    )


def likelihood(
    file: Path,
    /,
    *,
    model: str = "mini",
    out: Path | None = None,
    hub: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None,
    track: TrackKind = "entropy",
    window_bp: int | None = None,
    column: str = "sequence",
    regions: Path | None = None,
    rna: bool = False,
    mask_stride: int | None = None,
    both_strands: bool = True,
    batch_tokens: int = 16384,
    tokenizer: str | None = None,
    attention: str = "auto",
    dtype: Dtype = "auto",
    device: str = "auto",
) -> None:
    """Compute how likely a masked language model finds sequences, or each of their bases.

    A table has one row per record, a track one number per base; the suffix of --out decides.

    Parameters
    ----------
    file
        FASTA or FASTQ, plain or gz, bgz, zst; a .csv or .tsv with a column of sequences; a .txt
        with one per line; with --regions a genome as FASTA, plain or bgzip.
    model
        A checkpoint folder or a hub id of a masked language model. Default: the small model in
        the package.
    out
        Table .csv, .tsv (also .gz) or .parquet: pseudo-log-likelihood, perplexity, bits per
        base. Track:
        .bedgraph, .bw or .bigwig.
    hub
        Folder to create instead of --out: bigWig files of the probabilities of A, C, G and T, and
        hub.txt, with which the UCSC browser draws them as a logo.
    track
        entropy: of the base when its token is masked, in bits; log_likelihood: in nats per base.
    window_bp
        Table: cut records into windows of this length, one row each. Default: whole records.
        Track: bases that the model reads at a time. Default: 512.
    column
        Column of sequences in a table; rows are named by their number.
    regions
        BED file, plain or gz: use these regions of the genome instead of whole records. Regions on
        the strand - are reverse complemented; tracks stay in forward coordinates.
    mask_stride
        Mask every N-th token in one pass: N passes per sequence instead of one per token, but less
        context for each prediction. Default: one token at a time.
    both_strands
        Track: average over both strands.
    batch_tokens
        Maximum tokens per batch; more is faster and needs more memory.
    tokenizer
        As in tokenize. Default: the model's own.
    attention
        Attention backend; see `dnabert2-fast doctor`.
    dtype
        auto: bfloat16 on CUDA cards of compute capability 8.0 and above, float16 on older ones,
        float32 elsewhere. bfloat16 is also faster on CPUs that support it.
    device
        auto (CUDA if available, else cpu), cpu, cuda, cuda:1 or mps.
    rna
        Read U as T.

    Examples
    --------
    dnabert2-fast likelihood reads.fa.gz --out likelihoods.tsv
    dnabert2-fast likelihood genome.fa --regions genes.bed --mask-stride 8 --out entropy.bw
    dnabert2-fast likelihood genome.fa --hub hub
    """
    from dnabert2_fast.genomics.likelihood.table import likelihood_table
    from dnabert2_fast.genomics.likelihood.track import likelihood_hub, likelihood_track
    from dnabert2_fast.genomics.loading import load_masked_lm

    if (out is None) == (hub is None):
        raise ValueError("out: give either --out for a table or track, or --hub.")
    if out is not None and not (is_stdout(out) or is_track(out)):
        require_ending(out, others=TRACK_SUFFIXES, what="for a track")
    require_output(out)
    require_output(hub, folder=True)
    net, tok = load_masked_lm(model, tokenizer, device=device, dtype=dtype, attention=attention)
    announce(net.what_runs)
    if out is None or is_track(out):
        config = TrackConfig(
            track, 512 if window_bp is None else window_bp, mask_stride, both_strands, batch_tokens
        )
        source, target = SequenceFile(file, column, regions, rna=rna), hub or out
        assert target is not None
        write = likelihood_track if hub is None else likelihood_hub
        bases = write(source, net, tok, target, config)
        print(f"{target}: {bases:,} bases")
        return
    source = SequenceFile(file, column, regions, window_bp, rna)
    rows = likelihood_table(
        source, net, tok, out, mask_stride=mask_stride, batch_tokens=batch_tokens
    )
    report(out, f"{rows:,} sequences")
