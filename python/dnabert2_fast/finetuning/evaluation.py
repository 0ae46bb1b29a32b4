"""A fine-tuned model on a labelled table: scores, predictions and plots in a folder."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from dnabert2_fast._internal.atomic import atomic_folder, atomic_json, require_writable
from dnabert2_fast._internal.extras import require_plots
from dnabert2_fast._internal.progress import announce
from dnabert2_fast._internal.report import save_report
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.finetuning.file import write_labelled
from dnabert2_fast.finetuning.inputs import rows_with_bases
from dnabert2_fast.finetuning.labels import read_labelled
from dnabert2_fast.finetuning.metrics import scores
from dnabert2_fast.finetuning.plot import plot_answers
from dnabert2_fast.finetuning.predictor import Predictor
from dnabert2_fast.finetuning.report import report_on
from dnabert2_fast.finetuning.rows import ColumnNames
from dnabert2_fast.finetuning.trainer import aligned

__all__ = ["evaluate"]


def evaluate(  # noqa: PLR0913 (those of predict, and the table's)
    folder: str | os.PathLike[str],
    table: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    batch_tokens: int = 16_384,
    attention: str = "auto",
    dtype: str = "auto",
    device: str = "auto",
    rna: bool = False,
    columns: ColumnNames = ColumnNames(),  # noqa: B008 (it is immutable)
) -> dict[str, float]:
    r"""Compare a fine-tuned model's answers with the labels of a table.

    Parameters
    ----------
    folder : path
        A folder that `finetune` wrote.
    table : path
        .csv, .tsv (also .gz) or .parquet, with labels as in training.
    out : path
        Folder to create: ``metrics.json``, ``predictions.csv``, ``report.html`` and ``report.md``
        with all scores, and ``confusion.png`` and ``curves.png`` (ROC and precision-recall) or, for
        regression, ``scatter.png``. With more than 40 classes ``confusions.csv`` lists the most
        frequent confusions instead of a plot.
    batch_tokens, attention, dtype, device
        As in `predict_file`.
    rna : bool
        Read U as T.
    columns : ColumnNames
        Names of the columns with sequences and labels. Default: sequence and label.

    Returns
    -------
    dict of str to float
        See `dnabert2_fast.finetuning.metrics.scores`.

    Raises
    ------
    CheckpointError, DataError
        When model or table cannot be read, or `out` exists.
    ModuleNotFoundError
        Without the extra ``plots``.

    Warns
    -----
    UserWarning
        When a plot fails; metrics and predictions are complete then.

    Examples
    --------
    >>> import tempfile, warnings
    >>> from dnabert2_fast import Dnabert2ForSequenceClassification, Tokenizer
    >>> from dnabert2_fast.finetuning.task import Task
    >>> folder = Path(tempfile.mkdtemp())
    >>> with warnings.catch_warnings():  # an untrained one, where finetune's would be
    ...     warnings.simplefilter("ignore")
    ...     Dnabert2ForSequenceClassification.from_pretrained("mini").save_pretrained(folder / "m")
    >>> Tokenizer.from_pretrained("mini").save(folder / "m" / "tokenizer.json")
    >>> Task("multiclass", ("other", "promoter"), window_bp=300).save(folder / "m")
    >>> rows = ["sequence,label", "ACGTTGCATTAGCA,promoter", "GGGCCC,other"]
    >>> _ = (folder / "test.csv").write_text("\n".join(rows))
    >>> scores = evaluate(folder / "m", folder / "test.csv", folder / "scores")
    >>> sorted(scores)
    ['accuracy', 'auprc', 'auroc', 'f1', 'mcc', 'precision', 'recall']
    >>> (folder / "scores" / "report.html").exists()
    True
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CheckpointError(f"{out}: exists already. Choose another folder or delete it.")
    require_writable(out, folder=True)
    require_plots()
    predictor = Predictor.load(
        folder, attention=attention, dtype=dtype, device=device, batch_tokens=batch_tokens
    )
    announce(predictor.model.what_runs)
    task = predictor.task
    read = read_labelled(table, task, rna=rna, columns=columns)
    labelled = rows_with_bases(predictor.tokenizer, read)
    answers = predictor(labelled.sequences, labelled.pairs)
    labels, outputs = aligned(task, labelled, answers)
    values = scores(labels, outputs, task.kind)
    with atomic_folder(out) as temporary:
        write_labelled(temporary / "predictions.csv", task, labelled, labels, answers)
        atomic_json(temporary / "metrics.json", values)
    try:
        plot_answers(out, task, labels, outputs)
    except Exception as error:
        warnings.warn(
            f"{out}: a plot failed ({type(error).__name__}: {error}). Metrics and predictions are "
            "complete.",
            stacklevel=2,
        )
    save_report(out, report_on(out, folder, table, task, labels, outputs))
    return values
