"""Fine-tuning on labelled tables: a run, or several that differ in their seed, and their folder.

A run is in ``OUT.unfinished`` until it is done, and resumes there when it is started again. A
finished run is not repeated. Under `torchrun` only the process of rank 0 writes.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from transformers import TrainerCallback, set_seed

from dnabert2_fast._internal.atomic import atomic_json, require_writable, resolved
from dnabert2_fast._internal.checks import (
    check_at_least,
    check_between,
    check_choice,
    check_not_negative,
    check_positive,
    check_utf8,
)
from dnabert2_fast._internal.progress import announce
from dnabert2_fast._internal.settings import require_same
from dnabert2_fast._internal.strict_json import read_object
from dnabert2_fast._internal.vocabulary import hash_vocabulary
from dnabert2_fast.attention import select
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.finetuning.config import MAX_SEED, FinetuneConfig, Kind, Mode, Pooling
from dnabert2_fast.finetuning.file import write_labelled
from dnabert2_fast.finetuning.genome_tables import make_tables
from dnabert2_fast.finetuning.inputs import read_bp, rows_with_bases
from dnabert2_fast.finetuning.labels import (
    Labelled,
    checksum,
    read_splits,
    require_variation,
    rows_of_tables,
    warn_of_shared,
)
from dnabert2_fast.finetuning.losses import (
    Classifier,
    add_lora,
    class_weights,
    freeze_encoder,
    load_classifier,
)
from dnabert2_fast.finetuning.metrics import BEST_BY, collapsed, kmer_baseline, scores
from dnabert2_fast.finetuning.predictor import Predictor
from dnabert2_fast.finetuning.rows import Row, is_path, name_of
from dnabert2_fast.finetuning.splits import counts_of, shares_of, split_table, write_split
from dnabert2_fast.finetuning.target_scaling import in_own_units, standardised
from dnabert2_fast.finetuning.task import Task
from dnabert2_fast.finetuning.trainer import aligned, answers_for, count_parameters, train
from dnabert2_fast.io.arguments import printable
from dnabert2_fast.model.distributed import DistributedContext, init_distributed
from dnabert2_fast.model.precision import DTYPES, mixed_precision, name_device, resolve_dtype
from dnabert2_fast.model.pretrained import pick_device
from dnabert2_fast.optim import finetuning_rate
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["FinetuneResult", "finetune"]

HF_PROBLEMS: dict[Kind, str] = {
    "multiclass": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}


class FinetuneResult(NamedTuple):
    """The result of a fine-tuning.

    Attributes
    ----------
    folder : Path
        Read by `predict`, `evaluate` and ``from_pretrained``. With several seeds it contains a
        folder ``seed-N`` of each run.
    metrics : dict of dict
        Scores under ``"dev"``, ``"test"`` and ``"test_baseline"`` (a linear model on 5-mers; not
        for tokens and bases). With several seeds, means.
    deviations : dict of dict
        Standard deviations over seeds (of a sample, n - 1), like `metrics`; empty for one seed.
    trained, parameters : int
        Numbers of parameters trained, and of all parameters, adapters included.
    """

    folder: Path
    metrics: dict[str, dict[str, float]]
    deviations: dict[str, dict[str, float]]
    trained: int
    parameters: int


def finetune(config: FinetuneConfig, callbacks: Sequence[TrainerCallback] = ()) -> FinetuneResult:
    r"""Train a model on a labelled table.

    Under `torchrun` the processes share each batch by tokens; without dropout the result is that of
    one process up to rounding.

    Parameters
    ----------
    config : FinetuneConfig
    callbacks : sequence of transformers.TrainerCallback
        Called by every run, for example after steps (``on_step_end``) and after each evaluation on
        dev (``on_evaluate``).

    Returns
    -------
    FinetuneResult

    Raises
    ------
    DataError
        When a table is missing or damaged.
    CheckpointError
        When the model cannot be loaded, or `out` or an unfinished run contains something other than
        a run with these settings and tables.
    ValueError
        When a setting is out of range.
    DivergedError
        When the model returns NaN or infinity.

    Warns
    -----
    UserWarning
        When a run gives the same answer for all of dev.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> rows = ["sequence,label", *["ACGTTGCA,gene", "TTTTAATT,other", "ACGGTGCA,gene"] * 3]
    >>> for split in ("train", "dev", "test"):
    ...     _ = (folder / f"{split}.csv").write_text("\n".join(rows))
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # a table this small
    ...     result = finetune(FinetuneConfig(
    ...         "mini", data=str(folder), out=str(folder / "classifier"), mode="frozen", epochs=1
    ...     ))
    >>> sorted(result.metrics), 0 <= result.metrics["test"]["accuracy"] <= 1
    (['dev', 'test', 'test_baseline'], True)
    >>> (result.folder / "model.safetensors").exists()
    True
    """
    _check(config)
    config = replace(config, out=str(resolved(config.out)))
    check_utf8("out", config.out)
    with init_distributed(config.device) as context, warnings.catch_warnings():
        if not context.is_rank_zero:
            warnings.simplefilter("ignore")
        return _finetune(config, context, callbacks)


def _finetune(
    config: FinetuneConfig, context: DistributedContext, callbacks: Sequence[TrainerCallback]
) -> FinetuneResult:
    out = Path(config.out)
    if not out.is_dir():  # a finished run is only read
        context.on_rank_zero(lambda: require_writable(out, folder=True))
    kind = config.task
    if config.regions is not None:
        context.on_rank_zero(lambda: make_tables(config))
        kind = "regression" if config.signal is not None else kind
    rows = split = None
    if isinstance(config.data, Mapping):
        rows = rows_of_tables(config.data, rna=config.rna)
    elif not is_path(config.data) or Path(config.data).is_file():
        rows = split = split_table(config)
    config = replace(config, data=name_of(config.data))
    if split is not None:
        counts = "; ".join(f"{name} {counts_of(split[name])}" for name in split)
        groups = "" if config.group_column is None else f", no {config.group_column} in two"
        announce(f"{config.data}: {counts}; split by seed {config.seed}{groups}")
    task, tables = read_splits(config.data, kind, rna=config.rna, rows=rows)
    if task.by_position and config.pooling is not None:
        raise ValueError(f"pooling: must be omitted for {task.kind}, which have one answer each.")
    task = replace(task, max_length=config.max_length)
    data = checksum(task, tables)
    done = context.on_rank_zero(lambda: _done_before(config, data))
    if done is not None:
        return done
    class_weights(config.class_weights, task, tables["train"])  # raises before any output
    require_variation(task, tables["train"])
    warn_of_shared(tables)
    job = _Job(task, tables, data, callbacks, split, context)
    if config.seeds == 1:
        return _run(config, job)
    unfinished = context.on_rank_zero(lambda: _unfinished(config, job))
    job = job._replace(rows=None)  # they are in the folder of all runs
    results = []
    for seed in range(config.seed, config.seed + config.seeds):
        one = replace(config, seed=seed, seeds=1, out=str(unfinished / f"seed-{seed}"))
        results.append(context.on_rank_zero(partial(_finished, Path(one.out))) or _run(one, job))
    result = _together(out, results)
    context.on_rank_zero(lambda: _publish_all(task, unfinished, results, result))
    return result


def _publish_all(
    task: Task, unfinished: Path, results: Sequence[FinetuneResult], result: FinetuneResult
) -> None:
    """Write the scores of several runs, and publish their folder."""
    out = result.folder
    for run in results:  # they move with the folder when it is published
        settings = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))
        atomic_json(run.folder / "run.json", {**settings, "out": str(out / run.folder.name)})
    best = int(np.argmax([run.metrics["dev"].get(BEST_BY[task.kind], 0.0) for run in results]))
    content = {
        "mean": result.metrics,
        "deviation": result.deviations,
        "best_on_dev": results[best].folder.name,
    }
    atomic_json(unfinished / "metrics.json", content)
    _publish(unfinished, out)


def _check(config: FinetuneConfig) -> None:
    check_choice("mode", config.mode, get_args(Mode))
    check_choice("task", config.task, (*get_args(Kind), "auto"))
    check_choice("pooling", config.pooling, (None, *get_args(Pooling)))
    if config.regions is None:
        for name in ("reference", "signal", "window_bp"):
            if getattr(config, name) is not None:
                raise ValueError(f"{name}: requires --regions. Give a BED file, or leave it out.")
    if config.regions is not None and not is_path(config.data):
        raise ValueError("data: must be a folder to create with regions (got a table).")
    is_folder = is_path(config.data) and Path(config.data).is_dir()
    if config.regions is not None or is_folder or isinstance(config.data, Mapping):
        default = FinetuneConfig("", "", "")
        for name in ("sequence_column", "label_column", "group_column", "split"):
            if getattr(config, name) != getattr(default, name):
                raise ValueError(f"{name}: requires one table. Give a file as --data.")
    if config.regions is None:
        shares_of(config.split)
    elif config.task not in ("auto", "multiclass", "regression"):
        raise ValueError(
            f"task: must be multiclass or regression with --regions (got {config.task})."
        )
    check_at_least("window_bp", config.window_bp, 1)
    for name in ("epochs", "batch_size", "lora_rank", "seeds", "batch_tokens"):
        check_at_least(name, getattr(config, name), 1)
    check_at_least("patience", config.patience, 1)
    for name in ("weight_decay", "lora_alpha", "warmup_steps"):
        check_not_negative(name, getattr(config, name))
    check_positive("learning_rate", config.learning_rate)
    check_between("lora_dropout", config.lora_dropout, 0, 1, but_not=1)
    check_between("seed", config.seed, 0, MAX_SEED - config.seeds + 1)
    device = pick_device(config.device)
    if device.index:
        raise ValueError(
            f"device: must be cuda without a number (got {config.device}). Set "
            "CUDA_VISIBLE_DEVICES to select another card."
        )
    check_choice("dtype", config.dtype, ("auto", "float32", "bfloat16", "float16"))
    if config.dtype == "float16" and device.type != "cuda":
        raise ValueError(f"dtype: float16 needs a CUDA device (got {device}). Use auto or float32.")


def _settings(config: FinetuneConfig, data: str) -> dict[str, Any]:
    """Return the contents of ``run.json``: the configuration, and a checksum of the tables."""
    return {**asdict(config), "data_sha256": data}


def _require_same(folder: Path, settings: dict[str, Any]) -> None:
    """Raise unless a folder contains the requested run; its path does not matter."""
    try:
        stored = read_object(folder / "run.json")
    except ValueError as error:
        raise CheckpointError(f"{folder / 'run.json'}: {error}. Delete {folder}.") from None
    require_same(folder, stored, {k: v for k, v in settings.items() if k != "out"})


def _unfinished(config: FinetuneConfig, job: _Job) -> Path:
    """Return the folder of an unfinished run, with its settings in ``run.json``."""
    folder = Path(f"{config.out}.unfinished")
    settings = _settings(config, job.checksum)
    if (folder / "run.json").exists():
        _require_same(folder, settings)
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    if job.rows is not None:
        write_split(folder / "tables", config, job.rows)
    atomic_json(folder / "run.json", settings)
    return folder


def _done_before(config: FinetuneConfig, data: str) -> FinetuneResult | None:
    """Return the result in `out`; None if it does not exist, or is empty."""
    out = Path(config.out)
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    result = _finished(out)
    if result is None:
        raise CheckpointError(f"{out}: exists already. Choose another folder or delete it.")
    _require_same(out, _settings(config, data))
    return result


def _publish(unfinished: Path, out: Path) -> None:
    if out.exists():
        out.rmdir()  # it is empty
    unfinished.rename(out)


def _finished(folder: Path) -> FinetuneResult | None:
    """Return the result of a finished run."""
    if not (folder / "metrics.json").exists() or not (folder / "run.json").exists():
        return None
    try:
        metrics = read_object(folder / "metrics.json")
        one, deviations = folder, {}
        if "best_on_dev" in metrics:  # with several seeds
            one, deviations = folder / metrics["best_on_dev"], metrics["deviation"]
            metrics = metrics["mean"]
        counts = read_object(one / "run.json")
        return FinetuneResult(
            folder, metrics, deviations, int(counts["trained"]), int(counts["parameters"])
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{folder}: damaged: {error!r}. Delete it.") from None


def _together(out: Path, results: Sequence[FinetuneResult]) -> FinetuneResult:
    means: dict[str, dict[str, float]] = {}
    deviations: dict[str, dict[str, float]] = {}
    for split, names in results[0].metrics.items():
        values = {name: [run.metrics[split][name] for run in results] for name in names}
        means[split] = {name: float(np.mean(v)) for name, v in values.items()}
        deviations[split] = {name: float(np.std(v, ddof=1)) for name, v in values.items()}
    return FinetuneResult(out, means, deviations, results[0].trained, results[0].parameters)


class _Job(NamedTuple):
    """What the runs with all seeds have in common."""

    task: Task
    tables: dict[str, Labelled]
    checksum: str
    callbacks: Sequence[TrainerCallback]
    rows: dict[str, list[Row]] | None  # of a table that was split, to be written
    context: DistributedContext


def _run(config: FinetuneConfig, job: _Job) -> FinetuneResult:
    """Train with one seed."""
    task, tables, data, callbacks, _, context = job
    tokenizer = Tokenizer.from_pretrained(config.model)
    tables = {split: rows_with_bases(tokenizer, table) for split, table in tables.items()}
    task = replace(task, window_bp=read_bp(tokenizer, tables["train"].sequences, config.max_length))
    set_seed(config.seed)
    device = context.device
    dtype = resolve_dtype(config.dtype, device)
    model = load_classifier(
        task, config.model, pooling=config.pooling, attention=config.attention, dtype="float32"
    )
    backend = select(config.attention, device, DTYPES[dtype])
    what = f"fine-tuning {printable(config.model)} on {name_device(device)}"
    announce(f"{what}: {dtype}, attention {backend}")
    model.config.require_vocabulary(tokenizer.vocabulary, config.model)
    adapted = None
    if config.mode == "lora":
        adapted = add_lora(
            model,
            rank=config.lora_rank,
            alpha=config.lora_alpha,
            dropout=config.lora_dropout,
            layers=config.lora_targets,
        )
    elif config.mode == "frozen":
        freeze_encoder(model)
    trained, parameters = count_parameters(model)
    weights = class_weights(config.class_weights, task, tables["train"])
    rate = config.learning_rate
    if rate is None:
        rate = finetuning_rate(config.mode, model.config.hidden_size)
    predictor = Predictor(model, tokenizer, task, config.batch_tokens)
    folder = context.on_rank_zero(lambda: _unfinished(config, job))
    # Before training, so that an error in it does not lose a trained model.
    baseline = context.on_rank_zero(lambda: _baseline(task, tables))
    scaled, centre, scale = standardised(task, tables)
    rated = replace(config, learning_rate=rate)
    train(rated, predictor, scaled, weights, folder / "epochs", context, callbacks)
    in_own_units(model, centre, scale)
    if adapted is not None:
        # The vocabulary is the base model's: peft need not compare them.
        context.on_rank_zero(
            lambda: adapted.save_pretrained(folder / "adapter", save_embedding_layers=False)
        )
        adapted.merge_and_unload()
    with mixed_precision(device, dtype):
        answers = {s: answers_for(predictor, tables[s], context) for s in ("dev", "test")}
    outputs = {split: aligned(task, tables[split], answers[split]) for split in answers}
    metrics = {split: scores(*outputs[split], task.kind) for split in outputs}
    trouble = collapsed(*outputs["dev"], task)
    if trouble is not None:
        warnings.warn(
            f"seed {config.seed}: the run collapsed ({trouble} on dev). Try a lower rate, a "
            "longer warm-up, class_weights, another seed, or hidden_dropout_prob 0 in the model's "
            "config.json.",
            stacklevel=4,
        )
    if baseline is not None:
        metrics["test_baseline"] = baseline

    def publish() -> None:
        write_labelled(
            folder / "test_predictions.csv",
            task,
            tables["test"],
            outputs["test"][0],
            answers["test"],
        )
        shutil.rmtree(folder / "epochs")
        model.save_pretrained(folder)
        for target in (folder, *([] if adapted is None else [folder / "adapter"])):
            _describe(model, tokenizer, task, target)
        counts = {"trained": trained, "parameters": parameters}
        atomic_json(folder / "run.json", {**_settings(config, data), **counts})
        atomic_json(folder / "metrics.json", metrics)  # written last: it marks a finished run
        _publish(folder, Path(config.out))

    context.on_rank_zero(publish)
    return FinetuneResult(Path(config.out), metrics, {}, trained, parameters)


def _baseline(task: Task, tables: dict[str, Labelled]) -> dict[str, float] | None:
    if task.by_position:
        return None
    outputs = kmer_baseline(task, tables["train"], tables["test"])
    return scores(tables["test"].labels, outputs, task.kind)


def _describe(model: Classifier, tokenizer: Tokenizer, task: Task, folder: Path) -> None:
    """Write everything but the weights; an adapter has its own copy, for its base model's."""
    tokenizer.save_pretrained(folder, pairs=task.pairs, max_length=task.max_length)
    task.save(folder)
    # For transformers and for genomics, which do not read task.json.
    config = replace(
        model.config,
        window_bp=task.window_bp or None,
        pairs=task.pairs,
        vocabulary_sha256=hash_vocabulary(tokenizer.vocabulary),
        class_names=task.names,
    ).to_dict()
    if task.kind in HF_PROBLEMS:
        config["problem_type"] = HF_PROBLEMS[task.kind]
    atomic_json(folder / "config.json", config)
