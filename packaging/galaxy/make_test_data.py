"""Write test-data/: random sequences and a tiny random classifier; the same files every time."""

import gzip
import io
import tarfile
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch

from dnabert2_fast import Dnabert2Config, Dnabert2ForSequenceClassification, Tokenizer
from dnabert2_fast.finetuning.task import Task
from dnabert2_fast.tokenizer import TrainingConfig

FOLDER = Path(__file__).parent / "test-data"
rng = np.random.default_rng(0)


def bases(count: int, motif: str = "") -> str:
    """Return random bases with a motif in the middle."""
    text = "".join(rng.choice([*"ACGT"], count))
    return text[: count // 2] + motif + text[count // 2 + len(motif) :]


def write_model(path: Path, genome: Path) -> None:
    """Write a fine-tuned folder with random weights as an archive without times and owners."""
    torch.manual_seed(0)
    tokenizer = Tokenizer.train([genome], 64, TrainingConfig(window_bp=500))
    shape = Dnabert2Config(
        vocab_size=tokenizer.vocab_size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=2,
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        Dnabert2ForSequenceClassification(shape).save_pretrained(run)
        tokenizer.save(run / "tokenizer.json")
        Task("multiclass", ("other", "promoter"), window_bp=100).save(run)
        with (
            path.open("wb") as raw,
            gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w") as archive,
        ):
            for file in sorted(run.iterdir()):
                member = tarfile.TarInfo(f"./{file.name}")
                member.size = file.stat().st_size
                archive.addfile(member, io.BytesIO(file.read_bytes()))


def main() -> None:
    """Write every file."""
    FOLDER.mkdir(exist_ok=True)
    reference = bases(2000)
    (FOLDER / "reference.fasta").write_text(f">chr1\n{reference}\n")
    names = {"tata": bases(100, "TATAAAAG"), "long": bases(300), "short": bases(20)}
    fasta = "".join(f">{name}\n{text}\n" for name, text in names.items())
    (FOLDER / "sequences.fasta").write_text(fasta)
    rows = [f"{bases(80, 'TATAAAAG')},promoter\n{bases(80)},other\n" for _ in range(40)]
    (FOLDER / "labelled.csv").write_text("sequence,label\n" + "".join(rows))
    header = "##fileformat=VCFv4.2\n##contig=<ID=chr1,length=2000>\n"
    header += "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    variants = []
    for position in (300, 1000, 1700):
        base = reference[position - 1]
        other = "ACGT"["ACGT".index(base) - 1]
        variants.append(f"chr1\t{position}\t.\t{base}\t{other}\t.\t.\t.\n")
    (FOLDER / "variants.vcf").write_text(header + "".join(variants))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_model(FOLDER / "model.tar.gz", FOLDER / "reference.fasta")


if __name__ == "__main__":
    main()
