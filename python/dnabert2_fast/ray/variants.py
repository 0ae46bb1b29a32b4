"""Score a VCF file over Ray, one task per part; the output equals that of `score_vcf`."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from dnabert2_fast._internal.extras import needs
from dnabert2_fast.ray.tasks import Part, RayTasks, in_parts, model_on_workers, on_workers

if TYPE_CHECKING:
    from dnabert2_fast.genomics.variants.config import ScoringConfig
    from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["score_vcf"]


def score_vcf(  # noqa: PLR0913
    vcf: str | os.PathLike[str],
    reference: str | os.PathLike[str],
    model: str | os.PathLike[str],
    tokenizer: Tokenizer | str | None,
    out: str | os.PathLike[str],
    config: ScoringConfig | None = None,
    *,
    prefix: str = "D2",
    rna: bool = False,
    tasks: RayTasks | None = None,
    attention: str = "auto",
    dtype: str = "auto",
) -> dict[str, int]:
    """Score every allele of a VCF file with the tasks of a Ray cluster.

    Call ``ray.init`` first to choose the cluster. All machines must see model, inputs and output.
    The output equals that of `dnabert2_fast.genomics.score_vcf`. A repeated call resumes a stopped
    one.

    Parameters
    ----------
    vcf, reference, out, config, prefix, rna
        As in `dnabert2_fast.genomics.score_vcf`, but paths only.
    model : str or path
        ``"mini"``, a hub id, or a folder: each task reads it.
    tokenizer : Tokenizer or str, optional
        The model's own if None.
    tasks : RayTasks, optional
        As in `embed_file`.
    attention, dtype
        As in `Dnabert2Model.from_pretrained`.

    Returns
    -------
    dict of str to int
        Alleles by status.

    Raises
    ------
    CheckpointError, DataError, ValueError
        As `dnabert2_fast.genomics.score_vcf`; other errors of tasks as Ray reports them.
    """
    with needs("dnabert2_fast.ray.score_vcf"):
        from dnabert2_fast.genomics.variants.config import ScoringConfig
    tasks, config = tasks or RayTasks.of_cluster(), config or ScoringConfig()
    name = model_on_workers(model)
    vcf, reference = on_workers(vcf), on_workers(reference)
    out = on_workers(out)
    if config.background is not None:
        config = replace(config, background=str(on_workers(config.background)))
    device = tasks.device

    def work(part: Part | None) -> dict[str, int]:
        from dnabert2_fast.genomics.loading import load_model
        from dnabert2_fast.genomics.variants.vcf_file import score_vcf as score_here

        net, tok = load_model(name, tokenizer, device=device, dtype=dtype, attention=attention)
        net.name_or_path = os.fspath(model)  # as given, for the header
        return score_here(vcf, reference, net, tok, out, config, prefix=prefix, rna=rna, part=part)

    return in_parts(work, out, "scoring", tasks)
