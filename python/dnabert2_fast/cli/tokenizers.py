"""Commands about tokenizers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from dnabert2_fast._internal.atomic import atomic_folder, require_writable, resolved
from dnabert2_fast._internal.extras import require_plots
from dnabert2_fast._internal.streams import require_file
from dnabert2_fast.cli._args import Folder, load_tokenizer


def tokenize(
    file: Path,
    /,
    out: Path | None = None,
    tokenizer: str = "dnabert2",
    case: Literal["upper", "compat"] = "upper",
    unknown: Literal["unk", "split", "error"] = "unk",
    matching: Literal["bpe", "longest", "longest-first"] | None = None,
    max_length: int | None = None,
    rna: bool = False,
    threads: int = 0,
) -> None:
    """Convert sequences to token ids.

    Parameters
    ----------
    file
        FASTA or FASTQ, compressed or not; - is standard input.
    out
        .parquet (columns name, input_ids) or .tsv (name, tab, ids). Default: standard output.
    tokenizer
        "dnabert2", a folder, a tokenizer.json, a vocab.txt of k-mers, or a hub id.
    case
        upper: lower-case bases count as bases; compat: they are unknown, as in Hugging Face.
    unknown
        unk: each character outside the vocabulary is one [UNK]; split: it has no token; error:
        stop.
    matching
        bpe: byte-pair encoding; longest: the longest token at each position; longest-first: the
        longest token anywhere first. Default: the one in the tokenizer's file.
    max_length
        Maximum tokens per sequence, special ones included.
    threads
        Number of threads; 0 uses every core.
    rna
        Read U as T.

    Examples
    --------
    dnabert2-fast tokenize reads.fa.gz --out ids.parquet
    zcat reads.fastq.gz | dnabert2-fast tokenize - > ids.tsv
    dnabert2-fast tokenize reads.fa --tokenizer mini --max-length 128 --out ids.tsv
    """
    from dnabert2_fast.tokenizer import Tokenizer
    from dnabert2_fast.tokenizer.file import tokenize_file

    tok = Tokenizer.from_pretrained(tokenizer, case=case, unknown=unknown, matching=matching)
    done = tokenize_file(file, tok, out, max_length=max_length, rna=rna, threads=threads)
    print(f"{done.records:,} records; {done.replaced}", file=sys.stderr)


def train_tokenizer(
    files: tuple[Path, ...] = (),
    /,
    *,
    out: Path,
    manifest: Path | None = None,
    vocab_size: int = 4096,
    window_bp: int | None = None,
    min_frequency: int = 1,
    max_token_bp: int | None = None,
    case: Literal["upper", "compat"] = "upper",
    both_strands: bool = False,
    sample: float = 1.0,
    seed: int = 0,
    column: str = "sequence",
    rna: bool = False,
    memory_limit_gb: float | None = None,
    threads: int = 0,
) -> None:
    """Train a byte-pair vocabulary on genomes. The same command resumes a stopped training.

    Parameters
    ----------
    files
        FASTA or FASTQ (plain or gz, bgz, zst), .txt with one sequence per line, .csv or .tsv.
    out
        tokenizer.json to write.
    manifest
        CSV or TSV with columns path and species: more files, with their species for the report.
    vocab_size
        Number of tokens, including the five special tokens and four bases.
    window_bp
        Cut sequences into windows of this length; merges never cross a border.
    min_frequency
        Minimum number of occurrences of a pair to be merged.
    max_token_bp
        Maximum length of a token.
    case
        upper: lower-case bases count as bases; compat: they end a run.
    both_strands
        Also train on the reverse complement.
    sample
        Fraction of the windows to train on.
    seed
        Seed of the sample.
    column
        Column of .csv and .tsv files.
    rna
        Read U as T.
    memory_limit_gb
        Train within this memory, with a file in TMPDIR; same merges, but much slower.
    threads
        Number of threads; 0 uses every core. The merges do not depend on it.

    Examples
    --------
    dnabert2-fast train-tokenizer genome.fa.gz --out tokenizer.json
    dnabert2-fast train-tokenizer human.fa mouse.fa --vocab-size 8192 --sample 0.1 --out tok.json
    dnabert2-fast train-tokenizer --manifest genomes.tsv --both-strands --out tokenizer.json
    """
    from dnabert2_fast.io.manifest import species_by_path
    from dnabert2_fast.tokenizer import Tokenizer, TrainingConfig

    require_writable(out)
    real = resolved(out)
    checkpoint = real.with_name(f".{real.name}.training")
    species = species_by_path(manifest) if manifest else {}
    tok = Tokenizer.train(
        [*files, *species],
        vocab_size,
        TrainingConfig(
            window_bp=window_bp,
            min_frequency=min_frequency,
            max_token_bp=max_token_bp,
            case=case,
            both_strands=both_strands,
            sample=sample,
            seed=seed,
            column=column,
            rna=rna,
        ),
        species=species,
        memory_limit=None if memory_limit_gb is None else int(memory_limit_gb * 1e9),
        checkpoint=checkpoint,
        threads=threads,
    )
    tok.save(out)
    checkpoint.unlink(missing_ok=True)
    print(tok.trained_on)
    print(f"{out}: {tok.vocab_size} tokens, longest {max(tok.vocabulary[9:], key=len, default='')}")


def vocab_sizes(
    files: tuple[Path, ...],
    /,
    out: Folder,
    on: tuple[Path, ...] = (),
    largest: int = 1 << 15,
    window_bp: int | None = 1000,
    sample: float = 1.0,
    rna: bool = False,
    threads: int = 0,
) -> None:
    """Compare vocabulary sizes from 2^8: shorter sequences against rarer tokens.

    Parameters
    ----------
    files
        Genomes to train on once, at the largest size; smaller vocabularies are its first merges.
    out
        Folder to create: sizes.csv, sizes.png, tokenizer.json of the largest size.
    on
        Genomes to measure on. Default: those trained on.
    largest
        Largest size.
    window_bp
        Cut sequences into windows of this length.
    sample
        Fraction of the windows to train on.
    threads
        Number of threads; 0 uses every core.
    rna
        Read U as T.

    Examples
    --------
    dnabert2-fast vocab-sizes genome.fa.gz --out sizes
    dnabert2-fast vocab-sizes human.fa --on mouse.fa --largest 8192 --sample 0.1 --out sizes
    """
    import csv

    from dnabert2_fast.tokenizer import Tokenizer, TrainingConfig
    from dnabert2_fast.tokenizer import assessment as assess

    require_plots()
    require_writable(out, folder=True)
    for file in on or files:
        require_file(file, "it is read once for every size")
    config = TrainingConfig(window_bp=window_bp, sample=sample, rna=rna)
    tok = Tokenizer.train(list(files), largest, config, threads=threads)
    sizes = [2**n for n in range(8, largest.bit_length())]
    rows = assess.vocab_sizes(tok, list(on or files), sizes, rna=rna)
    with atomic_folder(out) as folder:
        tok.save(folder / "tokenizer.json")
        with (folder / "sizes.csv").open("w", newline="") as handle:
            writer = csv.DictWriter(handle, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        assess.plot_vocab_sizes(rows, folder / "sizes.png")
    for row in rows:
        print("  ".join(f"{name} {value:.6g}" for name, value in row.items()))


def info(
    path: Path,
    /,
    verify: bool = False,
    on: tuple[Path, ...] = (),
    manifest: Path | None = None,
    against: str | None = None,
    plot: Path | None = None,
    rna: bool = False,
) -> None:
    """Describe a tokenizer, corpus, model or sequence file; how a tokenizer suits genomes.

    Parameters
    ----------
    path
        A tokenizer.json, a folder of a corpus, model or run, a FASTA or FASTQ file; or mini or
        dnabert2, which the package contains.
    verify
        Recompute every checksum of a corpus.
    on
        Genomes to tokenize: bases per token, entropy, use of the vocabulary.
    manifest
        CSV or TSV with columns path and species: more genomes, combined by species.
    against
        Another tokenizer: tokens in common, and the same figures for it.
    plot
        Plot of token lengths and of counts by rank to write.
    rna
        Read U as T.

    Examples
    --------
    dnabert2-fast info genome.fa.gz
    dnabert2-fast info corpus --verify
    dnabert2-fast info tokenizer.json --on genome.fa.gz --against dnabert2 --plot tokens.png
    """
    from dnabert2_fast.cli.info import describe

    if plot and not (on or manifest):
        raise ValueError("--plot: shows a tokenizer on genomes. Name some with --on.")
    if plot:
        require_plots()
        require_writable(plot)
    print(describe(path, verify=verify))
    if not (on or manifest or against):
        return
    from dnabert2_fast.io.manifest import species_by_path
    from dnabert2_fast.tokenizer.assessment import assess, overlap, plot_assessments, table

    species = species_by_path(manifest) if manifest else {}
    files: list[str | Path] = [*on, *species]
    for file in files if against else []:
        require_file(file, "it is read once for each tokenizer")
    tok = load_tokenizer(str(path))
    genomes = assess(tok, files, species, rna=rna)
    if genomes:
        print(table(genomes))
    if against:
        other = load_tokenizer(against)
        print(f"{against}: {overlap(tok, other):.1%} of all tokens in common")
        if files:
            print(table(assess(other, files, species, rna=rna)))
    if plot:
        plot_assessments(genomes, plot)
