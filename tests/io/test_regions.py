"""Records, rows and regions as sequences and windows, against a plain loop."""

import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_fasta import bgzip

from dnabert2_fast.errors import DataError, FastaError
from dnabert2_fast.io import Piece, Reference, SequenceFile, read_pieces, reverse_complement
from dnabert2_fast.io.regions import read_bed, read_in_order

GENOME = {"chr1": "ACGTTGCATTAGCATTTACG", "chr2": "GGATTACA"}


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    path = tmp_path_factory.mktemp("genome") / "g.fa"
    path.write_text("".join(f">{name} words\n{text}\n" for name, text in GENOME.items()))
    return path


def plain(spans, window_bp):
    pieces = []
    for name, contig, start, end, strand in spans:
        if window_bp is None or end - start <= window_bp:
            text = GENOME[contig][start:end]
            text = reverse_complement(text) if strand == "-" else text
            pieces.append(Piece(name, contig, start, text, strand))
            continue
        while start < end and strand == "+":
            stop = min(start + window_bp, end)
            text = GENOME[contig][start:stop]
            pieces.append(Piece(f"{contig}:{start}-{stop}", contig, start, text))
            start = stop
        while start < end and strand == "-":
            first = max(end - window_bp, start)
            text = reverse_complement(GENOME[contig][first:end])
            pieces.append(Piece(f"{contig}:{first}-{end}(-)", contig, first, text, "-"))
            end = first
    return pieces


contigs = st.sampled_from(sorted(GENOME))
borders = st.lists(st.integers(0, 8), min_size=2, max_size=2, unique=True).map(sorted)
windows = st.none() | st.integers(1, 9)


strands = st.sampled_from("+-")


@given(st.lists(st.tuples(contigs, borders, strands), max_size=6), windows)
def test_regions_are_those_of_a_plain_loop(genome, regions, window_bp):
    pytest.importorskip("pysam")
    bed = genome.with_name("r.bed")
    bed.write_text("".join(f"{contig}\t{a}\t{b}\t.\t0\t{s}\n" for contig, (a, b), s in regions))
    spans = [
        (f"{contig}:{a}-{b}" + "(-)" * (s == "-"), contig, a, b, s) for contig, (a, b), s in regions
    ]
    source = SequenceFile(genome, regions=bed, window_bp=window_bp)
    assert list(read_pieces(source)) == plain(spans, window_bp)
    ordered = read_in_order(source)
    by_place = sorted(spans, key=lambda span: span[1:4])
    pieces = [
        piece
        for span in by_place
        for piece in sorted(plain([span], window_bp), key=lambda piece: piece.start)
    ]
    assert list(ordered.pieces) == pieces
    assert ordered.contig_lengths == {"chr1": 20, "chr2": 8}
    assert ordered.sequence_count == len(pieces)
    assert ordered.total_bp == sum(len(piece.sequence) for piece in pieces)
    assert ordered.max_bp >= max((len(piece.sequence) for piece in pieces), default=0)
    covered = [(contig, base) for _, contig, a, b, _ in spans for base in range(a, b)]
    if len(set(covered)) < len(covered):
        with pytest.raises(DataError, match="overlap"):
            read_in_order(source, disjoint=True)
    else:
        read_in_order(source, disjoint=True)


@given(windows)
def test_records_are_those_of_a_plain_loop(genome, window_bp):
    spans = [(name, name, 0, len(text), "+") for name, text in GENOME.items()]
    source = SequenceFile(genome, window_bp=window_bp)
    assert (
        list(read_pieces(source)) == list(read_in_order(source).pieces) == plain(spans, window_bp)
    )


def test_lines_are_sequences_named_by_their_number(tmp_path):
    (tmp_path / "x.txt").write_text("ACGT\nTT\n")
    ordered = read_in_order(tmp_path / "x.txt")
    assert ordered.contig_lengths == {"0": 4, "1": 2}
    assert list(ordered.pieces) == [Piece("0", "0", 0, "ACGT"), Piece("1", "1", 0, "TT")]


def test_an_empty_record_is_one_empty_window(tmp_path):
    (tmp_path / "x.fa").write_text(">a\n\n>b\nACG\n")
    ordered = read_in_order(SequenceFile(tmp_path / "x.fa", window_bp=2))
    pieces = list(ordered.pieces)
    assert [piece.name for piece in pieces] == ["a", "b:0-2", "b:2-3"]
    assert ordered.sequence_count == 3


def test_windows_must_have_bases():
    with pytest.raises(ValueError, match="window_bp: must be at least 1"):
        SequenceFile("x.fa", window_bp=0)


def test_names_of_records_must_differ_where_order_counts(tmp_path):
    (tmp_path / "x.fa").write_text(">a\nACG\n>a\nACG\n")
    assert len(list(read_pieces(tmp_path / "x.fa"))) == 2
    with pytest.raises(DataError, match=r"two records have the name a\. Rename"):
        read_in_order(tmp_path / "x.fa")


def test_what_is_wrong_with_a_region_is_named(tmp_path):
    bed = tmp_path / "x.bed"
    genome = Reference({"chr1": "ACGTACGT"})
    wrong = {
        "chr2\t0\t4": "x.bed:2: chr2:0-4: the reference has no contig chr2 (it has chr1",
        "chr1\t4\t4": "x.bed:2: chr1:4-4: must have at least 1 base (got 0)",
        "chr1\t5\t3": "x.bed:2: chr1:5-3: must have at least 1 base (got -2)",
        "chr1\t0\t9": "x.bed:2: chr1:0-9: ends behind chr1 (got 9, expected at most 8)",
        "chr1\t0\t4\ta\t0\t17": "chr1:0-4: the sixth column is the strand and must be +, - or . "
        "(got '17'). Correct it, or keep three columns: cut -f1-3",
        "chr1\t0": "x.bed:2: is not BED (got 'chr1",
        "tracks": "x.bed:2: is not BED",
    }
    for line, message in wrong.items():
        bed.write_text(f"chr1\t0\t4\n{line}\n")
        with pytest.raises(DataError, match=re.escape(message)):
            read_bed(bed, genome)


def test_strands_by_hand(tmp_path):
    pytest.importorskip("pysam")
    (tmp_path / "g.fa").write_text(">c\nAACGTTTNRG\n")
    (tmp_path / "r.bed").write_text(
        "c\t1\t6\tminus\t0\t-\nc\t1\t6\tplus\t0\t+\nc\t6\t10\t.\t0\t-\nc\t0\t2\tnone\t0\t.\n"
    )
    source = SequenceFile(tmp_path / "g.fa", regions=tmp_path / "r.bed")
    assert list(read_pieces(source)) == [
        Piece("minus", "c", 1, "AACGT", "-"),  # of ACGTT
        Piece("plus", "c", 1, "ACGTT", "+"),
        Piece("c:6-10(-)", "c", 6, "CYNA", "-"),  # of TNRG
        Piece("none", "c", 0, "AA", "+"),
    ]
    cut = SequenceFile(tmp_path / "g.fa", regions=tmp_path / "r.bed", window_bp=2)
    minus = [
        Piece("c:4-6(-)", "c", 4, "AA", "-"),
        Piece("c:2-4(-)", "c", 2, "CG", "-"),
        Piece("c:1-2(-)", "c", 1, "T", "-"),
    ]
    assert list(read_pieces(cut))[:3] == minus
    assert [piece for piece in read_in_order(cut).pieces if piece.strand == "-"][:3] == minus[::-1]


def test_lines_for_a_browser_and_contigs_called_like_them(tmp_path):
    (tmp_path / "x.bed").write_text(
        "track name=peaks\nbrowser position chr1:1-9\n# words\n#track\t0\t4\n\n"
        "track1\t0\t4\tpeak\nbrowser\t1\t3\t.\ntrack\t2\t4\n"
    )
    genome = Reference({"track1": "ACGT", "browser": "ACGT", "track": "ACGT"})
    names = [span.name for span in read_bed(tmp_path / "x.bed", genome)]
    assert names == ["peak", "browser:1-3", "track:2-4"]


def test_two_records_of_one_name_are_no_reference(tmp_path):
    pytest.importorskip("pysam")
    (tmp_path / "x.fa").write_text(">a one\nACGT\n>b\nAC\n>a two\nGGGG\n")
    with pytest.raises(DataError, match=r"two records have the name a\."):
        Reference(tmp_path / "x.fa")
    assert [path.name for path in tmp_path.iterdir()] == ["x.fa"]


@pytest.mark.parametrize(
    ("content", "message", "remedy"),
    [
        (b"\xef\xbb\xbf>1\nACGT\n", "begins with a byte-order mark", "tail -c +4"),
        (b">1\rACGT\rAC\r>2\rAC\r", "has lines that end with CR alone", "tr '\\r' '\\n'"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_text_that_htslib_does_not_read_is_named_with_its_remedy(
    tmp_path, content, message, remedy, packed
):
    """Where a shell has the commands, they make a file that is read."""
    pytest.importorskip("pysam")
    path = tmp_path / "x.fa"
    path.write_bytes(bgzip(content) if packed else content)
    command = f"bgzip -dc x.fa | {remedy} | bgzip" if packed else f"{remedy} < x.fa"
    said = f"{path}: {message}, so no position can be looked up in it. Write a new file: {command}"
    with pytest.raises(DataError, match=f"^{re.escape(said)} > NEW$"):
        Reference(path)
    if not packed and shutil.which("tr"):
        subprocess.run(f"{command} > NEW", shell=True, cwd=tmp_path, check=True)
        assert Reference(tmp_path / "NEW").fetch("1", 0, 3) == "ACG"


def test_files_of_other_kinds_are_no_reference(tmp_path):
    pytest.importorskip("pysam")
    for content, message in ((b"", "the file is empty"), (b"ACGT\n", 'begins with "AC"')):
        (tmp_path / "x.fa").write_bytes(content)
        with pytest.raises(FastaError, match=message):
            Reference(tmp_path / "x.fa")
