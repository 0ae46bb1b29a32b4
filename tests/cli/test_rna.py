"""`--rna` and `--strict`, in every command that reads sequences."""

import random
import shutil
import warnings

import pytest

from dnabert2_fast import Dnabert2ForSequenceClassification, Tokenizer, cli
from dnabert2_fast.finetuning import Task

DNA = "ACGTTGCATTAGCATTTACG"
RECORDS = "".join(f">{n}\n{DNA[n:]}\n" for n in range(9))
VCF = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"

FASTA = {
    "tokenize": "{fa} --out out.tsv",
    "train-tokenizer": "{fa} --out out.json --vocab-size 12",
    "vocab-sizes": "{fa} big.fa --out out --largest 256",
    "info": "m/tokenizer.json --on {fa}",
    "build-corpus": "{fa} --out out --window-bp 10 --valid-fraction 0",
    "embed": "{fa} --out out.npy",
    "predict": "m {fa} --out out.csv",
    "likelihood": "{fa} --model mini --out out.tsv --mask-stride 4",
    "attribute": "{fa} --model mini --method occlusion --out out.bedgraph",
    "score-variants": "x.vcf --reference {fa} --model mini --out out.vcf",
}
TABLES = {
    "evaluate": "m {folder}/test.csv --out out",
    "finetune": "m --data {folder} --out out --epochs 1 --device cpu",
}
# Without a file of sequences: a corpus, what is written in the line, nothing.
OTHERS = {
    "pretrain",
    "fill-mask",
    "gue",
    "publish",
    "export-onnx",
    "install-skill",
    "doctor",
    "demo",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Dnabert2ForSequenceClassification.from_pretrained("mini").save_pretrained("m")
    Tokenizer.from_pretrained("mini").save("m/tokenizer.json")
    Task("multiclass", ("a", "b"), window_bp=300).save(tmp_path / "m")
    (tmp_path / "x.vcf").write_text(f"{VCF}0\t3\t.\tG\tA\t.\t.\t.\n")
    (tmp_path / "big.fa").write_text(">0\n" + "".join(random.Random(0).choices("ACGT", k=4000)))
    table = "sequence,label\n" + f"{DNA},a\n{DNA[::-1]},b\n" * 3
    for kind, letter in (("dna", "T"), ("rna", "U")):
        (tmp_path / f"{kind}.fa").write_text(RECORDS.replace("T", letter))
        (tmp_path / kind).mkdir()
        for split in ("train", "dev", "test"):
            (tmp_path / kind / f"{split}.csv").write_text(table.replace("T", letter))
    return tmp_path


def run(line, capsys):
    code = cli.main(line.split())
    return code, capsys.readouterr().err


def outputs(folder):
    """The bytes of what a command wrote, which is removed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.relative_to(folder).parts[0].startswith("out"):
            found[path.name] = path.read_bytes().replace(b"rna.fa", b"dna.fa")
            path.unlink()
    shutil.rmtree(folder / "out", ignore_errors=True)
    return found


def test_the_commands_are_these():
    assert {*FASTA, *TABLES, *OTHERS} == set(cli.COMMANDS)


@pytest.mark.parametrize("command", FASTA)
def test_rna_gives_what_dna_gives(folder, capsys, command):
    line = f"{command} {FASTA[command]}"
    said = "rna.fa: has U and no T, as RNA has it, and U has no token"
    code, error = run(line.format(fa="rna.fa") + " --strict", capsys)
    assert code == 2
    assert error.splitlines()[-1].startswith(f"error: {said}")
    assert not outputs(folder)
    code, error = run(line.format(fa="rna.fa") + " --rna --strict", capsys)
    assert (code, said in error) == (0, False)
    written = outputs(folder)
    assert run(line.format(fa="dna.fa") + " --strict", capsys)[0] == 0
    if command not in ("build-corpus", "score-variants"):  # they name settings
        assert written == outputs(folder)


@pytest.mark.parametrize("command", TABLES)
def test_tables_of_rna(folder, capsys, command):
    (folder / "m" / "task.json").rename(folder / "task.json")
    if command == "evaluate":
        (folder / "task.json").rename(folder / "m" / "task.json")
    line = f"{command} {TABLES[command]}"
    found = []
    code, error = run(f"{line.format(folder='rna')} --strict", capsys)
    assert (code, ".csv: has U and no T, as RNA has it" in error) == (2, True)
    for options in ("rna --rna --strict", "dna --strict", "rna"):
        name, _, option = options.partition(" ")
        assert run(f"{line.format(folder=name)} {option}", capsys)[0] == 0
        found.append(outputs(folder))
    name = {"evaluate": "predictions.csv", "finetune": "test_predictions.csv"}[command]
    assert found[0][name] == found[1][name] != found[2][name]
