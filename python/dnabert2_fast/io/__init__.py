"""Files of sequences, regions, variants and tracks, read one record at a time.

Sequences (FASTA, FASTQ, tables), lists of files with their species, genomes by position, BED
regions, VCF records, and tracks of one value per base.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnabert2_fast.io.fasta import FastaRecord, read_chunks, read_fasta
    from dnabert2_fast.io.manifest import SourceFile, read_manifest, species_by_path
    from dnabert2_fast.io.reference import Reference
    from dnabert2_fast.io.regions import Piece, SequenceFile, Span, read_bed, read_pieces
    from dnabert2_fast.io.strand import reverse_complement
    from dnabert2_fast.io.tables import read_column
    from dnabert2_fast.io.tracks import track
    from dnabert2_fast.io.vcf import VcfRecord, read_vcf

__all__ = [
    "FastaRecord",
    "Piece",
    "Reference",
    "SequenceFile",
    "SourceFile",
    "Span",
    "VcfRecord",
    "read_bed",
    "read_chunks",
    "read_column",
    "read_fasta",
    "read_manifest",
    "read_pieces",
    "read_vcf",
    "reverse_complement",
    "species_by_path",
    "track",
]

_HOME = {
    "FastaRecord": "fasta",
    "Piece": "regions",
    "Reference": "reference",
    "SequenceFile": "regions",
    "SourceFile": "manifest",
    "Span": "regions",
    "VcfRecord": "vcf",
    "read_bed": "regions",
    "read_chunks": "fasta",
    "read_column": "tables",
    "read_fasta": "fasta",
    "read_manifest": "manifest",
    "read_pieces": "regions",
    "read_vcf": "vcf",
    "reverse_complement": "strand",
    "species_by_path": "manifest",
    "track": "tracks",
}

if not TYPE_CHECKING:  # or a misspelt name would be of type Any
    from dnabert2_fast._internal.lazy import attach

    __getattr__, __dir__ = attach(__name__, _HOME)
