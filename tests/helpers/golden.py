"""The reference's numbers, as the tests of model and adapter read them."""

from pathlib import Path

import numpy as np
import torch
from helpers.project import DATA

from dnabert2_fast.model import PackedBatch

FOLDER = DATA / "golden"
MODELS = ("tiny3h", "tiny12h")
CASES = ("padded", "single", "long", "leftpad", "token_types")


class Case:
    """One input with everything that the reference gives for it."""

    def __init__(self, model: str, case: str) -> None:
        self.numbers = np.load(FOLDER / f"{model}.npz")
        self.case = case
        self.mask = self["attention_mask"].astype(bool)

    def __getitem__(self, field: str) -> np.ndarray:
        return self.numbers[f"{self.case}.{field}"]

    def __contains__(self, field: str) -> bool:
        return f"{self.case}.{field}" in self.numbers.files

    def tensor(self, field: str) -> torch.Tensor:
        return torch.from_numpy(self[field]).long()

    def batch(self, ids: str = "input_ids") -> PackedBatch:
        types = self.tensor("token_type_ids") if "token_type_ids" in self else None
        return PackedBatch.from_padded(self.tensor(ids), torch.from_numpy(self.mask), types)

    def rows(self, field: str) -> np.ndarray:
        """Rows at real tokens, in packed order."""
        return self[field][self.mask]


def folder_of(model: str, target: Path) -> Path:
    """A checkpoint folder with a golden model."""
    target.mkdir(exist_ok=True)
    (target / "config.json").write_bytes((FOLDER / f"{model}.config.json").read_bytes())
    (target / "model.safetensors").write_bytes((FOLDER / f"{model}.safetensors").read_bytes())
    return target
