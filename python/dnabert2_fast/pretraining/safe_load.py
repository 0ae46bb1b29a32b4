"""Reading of `torch.distributed.checkpoint` files without running code in them.

Torch stores the list of tensors, and every value that is not a tensor, as pickles, and loads them
as such. Here the list may contain only the classes that torch writes, and values are read like
`torch.load` with ``weights_only=True``.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path, PurePath
from typing import Any

import torch
from torch.distributed.checkpoint import metadata as kept
from torch.distributed.checkpoint._traverse import set_element
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.planner import ReadItem

from dnabert2_fast.errors import CheckpointError

__all__ = ["TensorsOnlyPlanner", "TensorsOnlyReader"]

# Classes in lists of tensors, by module.
_CLASSES = {
    kept.__name__: {
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "pathlib": {"PosixPath", "WindowsPath"},
    "pathlib._local": {"PosixPath", "WindowsPath"},
    "collections": {"OrderedDict"},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name in _CLASSES.get(module, ()):
            return super().find_class(module, name)
        if module == "torch":
            found = getattr(torch, name, None)
            if found is torch.Size or isinstance(found, torch.dtype):
                return found
        raise CheckpointError(
            f"{module}.{name} does not belong in a list of tensors, so it is not opened. Use only "
            "checkpoints that pretrain wrote."
        )


class TensorsOnlyReader(FileSystemReader):
    """Reads a checkpoint's list of tensors, and no file outside of its folder."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> kept.Metadata:
        """Return the list; raise `CheckpointError` when it contains anything else."""
        path = Path(self.path) / ".metadata"
        listed = _Unpickler(io.BytesIO(path.read_bytes())).load()
        if not isinstance(listed, kept.Metadata):
            raise CheckpointError(f"{path}: not a list of tensors")
        for stored in (listed.storage_data or {}).values():
            if PurePath(stored.relative_path).name != stored.relative_path:
                raise CheckpointError(
                    f"{path}: names {stored.relative_path}, another folder's file"
                )
        listed.storage_meta = listed.storage_meta or kept.StorageMeta()
        listed.storage_meta.load_id = self.load_id
        return listed


class TensorsOnlyPlanner(DefaultLoadPlanner):
    """Reads values that are not tensors as numbers, texts, and lists and tables of them."""

    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        """Store a value; raise `pickle.UnpicklingError` when it is anything else."""
        name = read_item.dest_index.fqn
        loaded = torch.load(value, weights_only=True)
        if self.flatten_state_dict:
            set_element(self.original_state_dict, self.mappings[name], loaded)
        else:
            self.state_dict[name] = loaded
