"""The command ``publish``: a model card, and a run's files on the Hugging Face hub."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dnabert2_fast._internal.atomic import atomic_path
from dnabert2_fast._internal.hub import HubError, upload_folder
from dnabert2_fast._internal.names import is_hub_id
from dnabert2_fast._internal.stopped import stopped_run
from dnabert2_fast._internal.strict_json import read_object
from dnabert2_fast.errors import CheckpointError

if TYPE_CHECKING:
    from dnabert2_fast.finetuning.task import Task

__all__ = ["model_card", "publish"]

DECODER = "cls.predictions.decoder.weight"
# Neither predictions, which contain sequences of the user, nor checkpoints, nor local paths.
FILES = (
    "README.md",
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "task.json",
    "metrics.json",
    "metrics.jsonl",
    "loss.png",
)
# Settings of a run that the card lists, in this order.
SETTINGS = (
    "recipe",
    "size",
    "mode",
    "steps",
    "minutes",
    "epochs",
    "batch_size",
    "batch_tokens",
    "optimizer",
    "learning_rate",
    "warmup_steps",
    "weight_decay",
    "mask_rate",
    "dropout",
    "both_strands",
    "class_weights",
    "seed",
)
CURVE_ROWS = 10
PIPELINES = {
    "multiclass": "text-classification",
    "multilabel": "text-classification",
    "regression": "text-classification",
    "tokens": "token-classification",
    "bases": "token-classification",
}


def publish(
    run: Path,
    /,
    *,
    repo: str,
    license: str = "unknown",
    about_data: str | None = None,
    private: bool = False,
    dry_run: bool = False,
) -> None:
    """Write a model card for a run, and upload both to the Hugging Face hub.

    The card is README.md in the run's folder. An existing one is uploaded as it is: give --dry-run,
    edit the card, then repeat the command without it. Predictions, checkpoints and local paths are
    not uploaded.

    Parameters
    ----------
    run
        Folder written by pretrain or finetune.
    repo
        Repository on the hub, owner/name; created if it does not exist.
    license
        Licence of the weights, as the hub names it, such as apache-2.0 or cc-by-4.0.
    about_data
        Description of the training data for the card: what they are, their source and licence.
    private
        Create the repository for its owner only.
    dry_run
        Only write the card.

    Examples
    --------
    dnabert2-fast publish run --repo me/promoters --dry-run
    dnabert2-fast publish run --repo me/promoters --license apache-2.0 --private
    """
    card = run / "README.md"
    if not is_hub_id(repo) or "@" in repo:
        raise ValueError(f"--repo: must be owner/name (got {repo}).")
    text = model_card(run, repo, license, about_data)
    if card.exists():
        print(f"{card}: exists and is used as it is")
    else:
        with atomic_path(card) as path:
            path.write_text(text, encoding="utf-8")
        print(f"{card}: model card")
    if dry_run:
        return
    try:
        address = upload_folder(run, repo, FILES, private=private)
    except HubError as error:
        raise CheckpointError(f"{repo}: was not uploaded ({error}).") from None
    print(address)


class _Run(NamedTuple):
    """What the files of a run hold."""

    settings: dict[str, Any]
    config: dict[str, Any]
    parameters: int
    task: Task | None
    metrics: dict[str, Any]
    curve: list[dict[str, Any]]


def _read(run: Path) -> _Run:
    if (unfinished := stopped_run(run)) is not None:
        raise CheckpointError(f"{run}: {unfinished}.")
    several = read_object(run / "metrics.json") if (run / "metrics.json").exists() else {}
    if "best_on_dev" in several:
        raise CheckpointError(
            f"{run}: has several runs. Give one, such as {run / several['best_on_dev']}, the best "
            "on dev."
        )
    for name in ("run.json", "config.json", "model.safetensors", "tokenizer.json"):
        if not (run / name).exists():
            raise CheckpointError(
                f"{run}: has no {name}. Give a folder that pretrain or finetune wrote."
            )
    from safetensors import safe_open

    from dnabert2_fast.finetuning.task import Task

    with safe_open(run / "model.safetensors", "np") as weights:
        names = set(weights.keys()) - {DECODER}  # it is stored under two names
        shapes = [weights.get_slice(name).get_shape() for name in names]
    settings = read_object(run / "run.json")
    return _Run(
        settings,
        read_object(run / "config.json"),
        settings.get("parameters") or sum(math.prod(shape) for shape in shapes),
        Task.load(run) if (run / "task.json").exists() else None,
        several,
        _lines(run / "metrics.jsonl"),
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise CheckpointError(f"{path}: damaged: {error}. Copy the folder again.") from None


def model_card(
    run: Path, repo: str, license: str = "unknown", about_data: str | None = None
) -> str:
    """Return the model card of a finished run, with the metadata that the hub reads.

    Parameters
    ----------
    run : Path
        Folder of `pretrain` or `finetune`.
    repo : str
        The future name, ``owner/name``.
    license : str
        As the hub names it.
    about_data : str, optional
        Description of the training data.

    Raises
    ------
    CheckpointError
        When the folder is not a finished run.
    """
    found = _read(run)
    parts = [
        _metadata(found, repo, license),
        f"# {repo.partition('/')[2]}\n",
        _summary(found),
        "## Use\n\n" + _use(found, repo),
        "## Data\n\n" + _data(found, about_data),
        "## Training\n\n" + _settings(found),
        _results(found),
        _curve(found, run) if found.curve else "",
        "## Limits\n\n" + _limits(found),
        "## Licence\n\n" + _licence(license),
    ]
    return "\n".join(part for part in parts if part)


def _metadata(found: _Run, repo: str, license: str) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    base = found.settings.get("model") or found.settings.get("init_from")
    results = [
        EvalResult(
            task_type=PIPELINES[found.task.kind],
            dataset_type=_name(found.settings["data"]),
            dataset_name=f"{_name(found.settings['data'])} (test)",
            metric_type=name,
            metric_value=value,
        )
        for name, value in found.metrics.get("test", {}).items()
        if found.task is not None
    ]
    card = ModelCardData(
        license=license,
        library_name="dnabert2-fast",
        tags=["biology", "genomics", "dna", "dnabert2"],
        pipeline_tag="fill-mask" if found.task is None else PIPELINES[found.task.kind],
        base_model=base if base and is_hub_id(base) else None,
        **({"model_name": repo.partition("/")[2], "eval_results": results} if results else {}),
    )
    return f"---\n{card.to_yaml()}\n---\n"


def _name(path: str) -> str:
    return Path(path).name


def _summary(found: _Run) -> str:
    config = found.config
    encoder = (
        f"a DNABERT-2 encoder with {found.parameters:,} parameters "
        f"({config['num_hidden_layers']} layers, width {config['hidden_size']}, vocabulary "
        f"{config['vocab_size']:,})"
    )
    if found.task is None:
        return f"{encoder[0].upper()}{encoder[1:]}, pre-trained by masked language modelling.\n"
    base = found.settings["model"]
    base = base if is_hub_id(base) else _name(base)
    kinds = {
        "multiclass": "classes of a sequence",
        "multilabel": "labels of a sequence",
        "regression": "numbers for a sequence",
        "tokens": "classes of each token",
        "bases": "classes of each base",
    }
    names = ", ".join(f"`{name}`" for name in found.task.names)
    return (
        f"Predicts {kinds[found.task.kind]}: {names}. It is {encoder}, fine-tuned from `{base}`.\n"
    )


def _use(found: _Run, repo: str) -> str:
    if found.task is None:
        command = f"dnabert2-fast embed sequences.fa --model {repo} --out vectors.npy"
        code = f'from dnabert2_fast import embed\n\nvectors = embed(["ACGTACGT"], "{repo}")'
    else:
        pairs = found.task.pairs
        command = f"dnabert2-fast predict {repo} sequences.{'csv' if pairs else 'fa'} --out out.csv"
        call = '["ACGT"], ["TTGA"]' if pairs else '["ACGTACGT"]'
        code = (
            "from dnabert2_fast import Predictor\n\n"
            f'predictor = Predictor.load("{repo}")\n'
            f"answers = predictor({call})"
        )
    return f'```sh\npip install "dnabert2-fast[model]"\n{command}\n```\n\n```python\n{code}\n```\n'


def _data(found: _Run, about: str | None) -> str:
    settings = found.settings
    lines = [about or "Not described by the authors."]
    if "data_sha256" in settings:
        lines.append(
            f"\nTables: `{_name(settings['data'])}`, SHA-256 of their content "
            f"`{settings['data_sha256']}`."
        )
        if found.task is not None and found.task.window_bp:
            lines.append(f"The longest training sequence has {found.task.window_bp:,} bases.")
    elif "corpus" in settings:
        read = found.curve[-1]["tokens"] if found.curve else None
        tokens = f", {read:,} tokens read" if read else ""
        lines.append(f"\nCorpus: `{_name(settings['corpus'])}`{tokens}.")
    return "\n".join(lines) + "\n"


def _settings(found: _Run) -> str:
    rows = [
        (name, found.settings[name])
        for name in SETTINGS
        if found.settings.get(name) not in (None, "none") and found.settings[name] is not False
    ]
    if "trained" in found.settings:
        rows.append(("trained parameters", f"{found.settings['trained']:,}"))
    return _table(("setting", "value"), rows)


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def _results(found: _Run) -> str:
    if not found.metrics:
        return ""
    columns = [
        (title, found.metrics[name])
        for name, title in (
            ("dev", "dev"),
            ("test", "test"),
            ("test_baseline", "test, linear model on 5-mers"),
        )
        if name in found.metrics
    ]
    rows = [
        (metric, *(f"{values[metric]:.3f}" for _, values in columns)) for metric in columns[0][1]
    ]
    return "## Results\n\n" + _table(("metric", *(title for title, _ in columns)), rows)


def _curve(found: _Run, run: Path) -> str:
    lines = [line for line in found.curve if "eval_loss" in line]
    step = max(1, -(-len(lines) // CURVE_ROWS))
    shown = lines[::step] + ([lines[-1]] if (len(lines) - 1) % step else [])
    rows = [
        (
            f"{line['step']:,}",
            f"{line['tokens']:,}",
            f"{line['eval_loss']:.3f}",
            f"{line['eval_accuracy']:.1%}",
        )
        for line in shown
    ]
    baseline = found.curve[0]
    head = ("step", "tokens", "held-out loss (nats)", "predicted correctly")
    plot = "\n![Loss and accuracy](loss.png)\n" if (run / "loss.png").exists() else ""
    return (
        "## Results\n\nMasked tokens of held-out windows. Guessing by token frequency has a loss "
        f"of {baseline['baseline_loss']:.3f} and is correct for "
        f"{baseline['baseline_accuracy']:.1%}.\n\n{_table(head, rows)}{plot}"
    )


def _limits(found: _Run) -> str:
    lines = []
    test, baseline = (found.metrics.get(name, {}) for name in ("test", "test_baseline"))
    main = next((name for name in ("mcc", "spearman", "auroc") if name in test), None)
    if main in baseline and test[main] <= baseline[main]:
        lines.append(
            f"* A linear model on 5-mers is as good or better on test ({main} "
            f"{baseline[main]:.3f}, this model {test[main]:.3f})."
        )
    if found.task is None:
        lines.append("* Compare it with k-mers on your own labels before you rely on its vectors.")
    else:
        lines.append("* Scores hold for data like the test table. Check them on your own labels.")
    lines.append("* Not validated for clinical use.")
    return "\n".join(lines) + "\n"


def _licence(license: str) -> str:
    if license == "unknown":
        return "The authors have not chosen a licence. Contact them before you use the model.\n"
    return f"{license}.\n"
