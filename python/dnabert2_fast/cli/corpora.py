"""The command ``build-corpus``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro

from dnabert2_fast.cli._args import Folder, load_tokenizer, part_of, require_output
from dnabert2_fast.corpus.plan import CorpusConfig
from dnabert2_fast.corpus.read import Corpus

__all__ = ["build_corpus"]

Config = Annotated[CorpusConfig, tyro.conf.arg(name="")]


def build_corpus(
    files: tuple[Path, ...] = (),
    /,
    *,
    out: Folder,
    manifest: Path | None = None,
    tokenizer: str = "dnabert2",
    config: Config = CorpusConfig(),  # noqa: B008 (it is frozen)
    part: str | None = None,
    merge: bool = False,
    ray: str | None = None,
    threads: int = 0,
) -> None:
    """Cut genomes into windows and write their token ids as memory-mapped shards.

    The same command resumes a stopped build, with identical output.

    Parameters
    ----------
    files
        FASTA or FASTQ, compressed or not.
    out
        Corpus folder to create.
    manifest
        TSV or CSV with a column path and, optionally, species, group, weight, max_bp: more files.
    tokenizer
        "dnabert2", a folder, a tokenizer.json, or a hub id.
    part
        I/N: build only part I of N, for example as one task of an array job.
    merge
        Join the parts after all of them are built.
    ray
        Address of a Ray cluster: auto, local (this machine) or ray://HOST:PORT. FILE and --out may
        then be URIs, such as s3://BUCKET/x.fa.
    threads
        Number of threads; 0 uses every core, with --ray one per task. The output does not depend
        on it.

    Examples
    --------
    dnabert2-fast build-corpus genome.fa.gz --out corpus
    dnabert2-fast build-corpus --manifest genomes.tsv --window-bp 2000 --deduplicate --out corpus
    dnabert2-fast build-corpus --manifest genomes.tsv --out corpus --part 1/10
    """
    from dnabert2_fast.corpus.build import build_planned, build_units, merge_units
    from dnabert2_fast.corpus.plan import CorpusPlan
    from dnabert2_fast.io.manifest import SourceFile, read_manifest

    if merge and part is not None:
        raise ValueError("--merge: cannot be used with --part. Run it after all parts are built.")
    if ray is not None and (merge or part is not None):
        raise ValueError("--ray: cannot be used with --part or --merge. It builds every part.")
    inputs: list[Path | SourceFile] = [*files, *(read_manifest(manifest) if manifest else [])]
    if ray is not None:
        from dnabert2_fast.ray import build_corpus as build_over_ray
        from dnabert2_fast.ray import tasks

        tok = load_tokenizer(tokenizer)
        with tasks.connected(ray):
            _print(out, build_over_ray(inputs, out, tok, config, threads=threads))
        return
    if not out.is_dir():  # an existing corpus is only read
        require_output(out, folder=True)
    plan = CorpusPlan(inputs, out, load_tokenizer(tokenizer), config)
    try:
        if part is not None:
            units = plan.part(*part_of(part))
            build_units(plan, units, threads=threads)
            print(f"{out}: part {part} is complete, {len(units)} of {len(plan.units)} units")
            return
        corpus = merge_units(plan) if merge else build_planned(plan, threads=threads)
    except KeyboardInterrupt as error:
        if plan.folder.exists():
            error.add_note(f"finished shards are kept in {plan.folder}")
        raise
    _print(out, corpus)


def _print(out: Path, corpus: Corpus) -> None:
    """Print what a corpus contains and, on standard error, what it lacks of its files."""
    from dnabert2_fast.corpus.build import not_in_corpus

    for file in corpus.read:
        if left_out := not_in_corpus(file, corpus.settings):
            print(f"{file['path']}: not in the corpus: {left_out}", file=sys.stderr)
    held_out = len(corpus.in_split("valid"))
    print(
        f"{out}: {len(corpus):,} training windows, {corpus.tokens:,} tokens; "
        f"{held_out:,} windows held out"
    )
    for species, tokens in corpus.by_species.items():
        if species:
            print(f"  {species}: {tokens:,} tokens")
