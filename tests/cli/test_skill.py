"""The skill in the package: it is installed as it is, and its commands run."""

import re
import shlex
import shutil

import pytest
from helpers.commands import parse_only
from helpers.project import ROOT

from dnabert2_fast import cli, read_fasta
from dnabert2_fast.cli.demo import GENOME
from dnabert2_fast.cli.skill import SKILL

LINES = re.findall(r"`dnabert2-fast ([a-z].*?)`", SKILL.read_text())
COMMANDS = [line for line in LINES if " " in line]
DATA = ROOT / "packaging" / "galaxy" / "test-data"


def test_it_is_installed(tmp_path, capsys):
    written = tmp_path / "skills" / "dnabert2-fast" / "SKILL.md"
    for _ in range(2):
        assert cli.main(["install-skill", str(tmp_path / "skills")]) == 0
        assert str(written) in capsys.readouterr().out
        assert written.read_bytes() == SKILL.read_bytes()
    assert written.read_text().startswith("---\nname: dnabert2-fast\ndescription: ")


@pytest.mark.parametrize("line", LINES)
def test_its_commands_have_these_arguments(line, monkeypatch):
    parse_only(line, monkeypatch)


@pytest.mark.full
def test_its_commands_run_in_their_order(tmp_path, monkeypatch, capsys):
    """As an agent would type them, on small files; only the pre-training is shorter."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(DATA / "sequences.fasta", "reads.fa")
    letters = next(iter(read_fasta(GENOME))).sequence
    (tmp_path / "genome.fa").write_text(f">chr1\n{letters}\n")
    (tmp_path / "peaks.bed").write_text("chr1\t100\t300\nchr1\t1000\t1150\n")
    alternative = "ACGT"["ACGT".index(letters[999]) - 1]
    (tmp_path / "variants.vcf").write_text(
        "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        f"chr1\t1000\t.\t{letters[999]}\t{alternative}\t.\t.\t.\n"
    )
    header, *rows = (DATA / "labelled.csv").read_text().splitlines()
    (tmp_path / "tables").mkdir()
    for name, some in (("train", rows[:40]), ("dev", rows[40:60]), ("test", rows[60:])):
        (tmp_path / "tables" / f"{name}.csv").write_text("\n".join([header, *some]) + "\n")
    shutil.copy("tables/test.csv", "test.csv")
    for line in COMMANDS:
        code = cli.main(shlex.split(line.replace("--steps 1000", "--steps 2 --warmup-steps 1")))
        assert code == 0, (line, capsys.readouterr().err)
        for made in re.findall(r"--out (\S+)", line):
            assert (tmp_path / made).exists(), line


def test_it_routes_to_every_task():
    others = {"vocab-sizes", "fill-mask", "gue", "publish", "export-onnx", "install-skill", "demo"}
    assert {line.split()[0] for line in LINES} == set(cli.COMMANDS) - others
