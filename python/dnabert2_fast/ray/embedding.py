"""Embed a file over Ray, one task per part; the output equals that of `embed_file`.

A task does the work of ``--part I/N``; the last one joins the parts. Torch is imported only for
embedding, so that corpora can be built without it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pyarrow import fs

from dnabert2_fast._internal.extras import needs
from dnabert2_fast.io.regions import SequenceFile
from dnabert2_fast.ray.storage import (
    Storage,
    copy_file,
    naming_originals,
    stamp_of,
    storage_of,
    uri_of,
)
from dnabert2_fast.ray.tasks import Part, RayTasks, in_parts, model_on_workers
from dnabert2_fast.tokenizer import Tokenizer

if TYPE_CHECKING:
    from dnabert2_fast.genomics.embedding.config import EmbeddingConfig
    from dnabert2_fast.model.pretrained import Pretrained

__all__ = ["embed_file"]

LOCAL = fs.LocalFileSystem()


def embed_file(
    source: SequenceFile | str | os.PathLike[str],
    model: str,
    tokenizer: Tokenizer | None,
    out: str | os.PathLike[str],
    config: EmbeddingConfig | None = None,
    *,
    tasks: RayTasks | None = None,
    attention: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = "auto",
) -> int:
    """Embed every record of a file with the tasks of a Ray cluster.

    Call ``ray.init`` first to choose the cluster. The output equals that of
    `dnabert2_fast.embed_file`, bit by bit on equal devices. A repeated call resumes a stopped one.

    Parameters
    ----------
    source : path, URI or SequenceFile
        As in `dnabert2_fast.embed_file`. All machines must see local files.
    model : str
        ``"mini"``, a hub id, or a folder that all machines see: each task reads it.
    tokenizer : Tokenizer, optional
        The model's own if None.
    out : path or URI
        As in `dnabert2_fast.embed_file`.
    config : EmbeddingConfig, optional
    tasks : RayTasks, optional
        Number of tasks, and the resources of each. Default: two per GPU of the cluster or, without
        GPUs, per processor.
    attention, dtype
        As in `Dnabert2Model.from_pretrained`.

    Returns
    -------
    int
        The number of vectors.

    Raises
    ------
    ValueError
        When `out` has another suffix, or a setting is out of range.
    FileNotFoundError
        When the file does not exist.
    ModuleNotFoundError
        When Ray or torch is missing; names the extra to install.
    FastaError, DataError, CheckpointError, DivergedError
        As `dnabert2_fast.embed_file`; other errors of tasks as Ray reports them.

    Examples
    --------
    One task a GPU, of this machine or of a cluster::

        ray.init()  # or ray.init(address="auto")
        genome = SequenceFile("s3://genomes/human.fa.gz", window_bp=1000)
        embed_file(genome, "zhihan1996/DNABERT-2-117M", None, "s3://vectors/human.parquet",
                   tasks=RayTasks(64, num_gpus=1))
    """
    with needs("dnabert2_fast.ray.embed_file"):
        from dnabert2_fast.genomics.embedding.config import EmbeddingConfig
        from dnabert2_fast.genomics.embedding.file import require_format
    require_format(Path(out))
    source, tasks = SequenceFile.of(source), tasks or RayTasks.of_cluster()
    files = {"path": os.fspath(source.path)}
    if source.regions is not None:
        files["regions"] = os.fspath(source.regions)
    locations = {name: storage_of(file) for name, file in files.items()}
    is_local = not any(map(uri_of, (out, *files.values())))
    work = _Work(
        locations,
        {name: [location[1], *stamp_of(*location)] for name, location in locations.items()},
        Path(out).absolute() if is_local else storage_of(out),
        model_on_workers(model),
        tokenizer,
        config or EmbeddingConfig(),
        source,
        attention,
        dtype,
        tasks.device,
    )
    rows = in_parts(work.run, work.out if isinstance(work.out, Path) else None, "embedding", tasks)
    if not isinstance(work.out, Path):
        work.out[0].delete_dir(f"{work.out[1]}.parts")
    return rows


@dataclass(frozen=True)
class _Work:
    """Arguments of a task; the part None joins all parts."""

    locations: dict[str, Storage]
    stamps: dict[str, list[object]]
    out: Path | Storage
    model: str
    tokenizer: Tokenizer | None
    config: EmbeddingConfig
    source: SequenceFile
    attention: str
    dtype: str
    device: str

    def run(self, part: Part | None) -> int:
        """Compute a part unless it is stored."""
        from dnabert2_fast.genomics.loading import load_encoder

        net, tokenizer = load_encoder(
            self.model,
            self.tokenizer,
            device=self.device,
            dtype=self.dtype,
            attention=self.attention,
        )
        if isinstance(self.out, Path):
            paths = {name: Path(path) for name, (_, path) in self.locations.items()}
            return self._embed(net, tokenizer, paths, self.out, part)
        with tempfile.TemporaryDirectory() as scratch:
            return self._embed_copies(net, tokenizer, self.out, Path(scratch), part)

    def _embed(
        self,
        net: Pretrained,
        tokenizer: Tokenizer,
        files: dict[str, Path],
        out: Path,
        part: Part | None,
    ) -> int:
        from dnabert2_fast.genomics.embedding.file import embed_file as embed_here

        path, regions = files["path"], files.get("regions")
        source = replace(self.source, path=path, regions=regions)
        return embed_here(source, net, tokenizer, out, self.config, part=part)

    def _embed_copies(
        self,
        net: Pretrained,
        tokenizer: Tokenizer,
        out: Storage,
        scratch: Path,
        part: Part | None,
    ) -> int:
        """Embed on this machine's disk; finished chunks are stored beside `out` by their inputs.

        Paths and times of copies differ from those of the files, hence two settings.
        """
        from dnabert2_fast._internal.resume import ResumeStore
        from dnabert2_fast.genomics.embedding.file import inputs_of

        def settings(files: dict[str, object]) -> dict[str, object]:
            return inputs_of(self.source, files, net, tokenizer, self.config)

        files = {}
        for name, location in self.locations.items():
            files[name] = scratch / name / Path(location[1]).name
            files[name].parent.mkdir()
            copy_file(location, (LOCAL, str(files[name])))
        here = scratch / Path(out[1]).name
        parts = ResumeStore(here, settings({"regions": None, **files}))
        of_all = hashlib.sha256(json.dumps(settings({**self.stamps})).encode()).hexdigest()
        storage, shelf = out[0], f"{out[1]}.parts/{of_all[:16]}"
        storage.create_dir(shelf, recursive=True)
        there = {info.base_name for info in storage.get_file_info(fs.FileSelector(shelf))}
        for name in there:
            if part is None or int(Path(name).stem) % part[1] == part[0] - 1:
                copy_file((storage, f"{shelf}/{name}"), (LOCAL, str(parts.folder / name)))
        made = here.with_name(f"{here.name}.names.txt"), here
        with naming_originals({path: self.locations[name] for name, path in files.items()}):
            rows = self._embed(net, tokenizer, files, here, part)
        if part is not None:
            for file in sorted(parts.folder.glob("[0-9]*.npy")):
                if file.name not in there:
                    copy_file((LOCAL, str(file)), (storage, f"{shelf}/{file.name}"))
        else:
            for file in filter(Path.exists, made):  # a .parquet contains the names
                target = f"{out[1]}{file.name.removeprefix(here.name)}"
                copy_file((LOCAL, str(file)), (storage, target))
        return rows
