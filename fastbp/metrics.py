"""How good predictions are, by scikit-learn's definitions, and how good a trivial model's are.

>>> from fastbp import metrics
>>> round(metrics.r2([1.0, 2.0, 3.0], [1.1, 1.9, 3.2]), 3)
0.97
>>> metrics.figures([0, 1, 1], [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]], "classification")["accuracy"]
1.0

Where scikit-learn warns or raises, because a figure is not defined for the given rows, it is NaN
here: one odd epoch must not end a fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Task = Literal["classification", "regression"]


# Classes ----------------------------------------------------------------------------------------


def _pair(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Array, Array]:
    """Both as arrays of one shape; a single column is the same as none."""
    true, predicted = np.asarray(y_true), np.asarray(y_pred)
    true, predicted = (a[:, 0] if a.ndim == 2 and a.shape[1] == 1 else a for a in (true, predicted))
    if true.shape != predicted.shape or true.ndim not in (1, 2) or len(true) == 0:
        raise ValueError(
            "y_true and y_pred must have one entry per row, or one row each, got shapes "
            f"{true.shape} and {predicted.shape}."
        )
    return true, predicted


def accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Share of rows that are predicted correctly, with every label of the row.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,) or (n_samples, n_labels)

    Returns
    -------
    float
        1 is best.
    """
    true, predicted = _pair(y_true, y_pred)
    hits = true == predicted
    return float(np.mean(hits if hits.ndim == 1 else hits.all(axis=1)))


def _coded(
    true: Array, predicted: Array, classes: Sequence[Any] | None
) -> tuple[list[Any], Array, Array]:
    """All classes, and the place among them of each entry."""
    found, codes = np.unique(np.concatenate([true, predicted]), return_inverse=True)
    named = list(found.tolist() if classes is None else classes)
    numbers = {label: k for k, label in enumerate(named)}
    try:
        places = np.array([numbers[label] for label in found.tolist()], np.int64)[codes]
    except KeyError as error:
        raise ValueError(f"{error.args[0]!r} is none of the classes {named}.") from None
    return named, places[: len(true)], places[len(true) :]


def confusion_matrix(
    y_true: ArrayLike, y_pred: ArrayLike, classes: Sequence[Any] | None = None
) -> NDArray[np.int64]:
    """Rows of each true class (down) by predicted class (across).

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        Class numbers or labels.
    classes : sequence, optional
        All classes, in the order wanted; by default those that occur, sorted.

    Returns
    -------
    int64 array of shape (n_classes, n_classes)

    Raises
    ------
    ValueError
        If a label is none of the classes.
    """
    named, i, j = _coded(*_pair(y_true, y_pred), classes)
    counts = np.zeros((len(named), len(named)), np.int64)
    np.add.at(counts, (i, j), 1)
    return counts


def _ratio(part: Array, whole: Array) -> Array:
    """NaN where the whole is 0."""
    ratio = np.full(part.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio


def balanced_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Mean share of correct predictions over the classes that occur in ``y_true``.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        Class numbers or labels.

    Returns
    -------
    float
        1 is best.
    """
    true, predicted = _pair(y_true, y_pred)
    if true.ndim == 2:
        columns = zip(true.T, predicted.T, strict=True)
        return float(np.mean([balanced_accuracy(*pair) for pair in columns]))
    named, i, j = _coded(true, predicted, None)
    hits, occurring = (np.bincount(a, minlength=len(named)) for a in (i[i == j], i))
    return float(np.nanmean(_ratio(hits, occurring)))


def f1(y_true: ArrayLike, y_pred: ArrayLike, classes: Sequence[Any] | None = None) -> float:
    """F₁ of the second of two classes; with more, the mean over those that occur.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,) or (n_samples, n_labels)
        Class numbers or labels. With several labels a row, the mean over the labels.
    classes : sequence, optional
        All classes; by default those that occur, or 0 and 1 if no other does.

    Returns
    -------
    float
        NaN if the second of two classes neither occurs nor is predicted.
    """
    true, predicted = _pair(y_true, y_pred)
    if true.ndim == 2:
        columns = zip(true.T, predicted.T, strict=True)
        return float(np.mean([f1(*pair, classes=(0, 1)) for pair in columns]))
    if classes is None:
        found = np.unique(np.concatenate([true, predicted])).tolist()
        classes = [0, 1] if set(found) <= {0, 1} else found
    named, i, j = _coded(true, predicted, classes)
    hits, occurring, told = (np.bincount(a, minlength=len(named)) for a in (i[i == j], i, j))
    each = _ratio(2 * hits, occurring + told)
    return float(each[1] if len(named) == 2 else np.nanmean(each))


# Probabilities of classes -----------------------------------------------------------------------


def _columns(y_true: ArrayLike, probabilities: ArrayLike) -> tuple[Array, Array]:
    """Whether each row is of each class, and the probabilities, both (n_samples, n_classes).

    One column of probabilities is that of class 1.
    """
    true, p = np.asarray(y_true), np.asarray(probabilities)
    p = p[:, np.newaxis] if p.ndim == 1 else p
    p = p if p.dtype.kind == "f" else p.astype(np.float64)
    true = true[:, 0] if true.ndim == 2 and true.shape[1] == 1 else true
    if len(true) != len(p) or len(p) == 0 or (true.ndim == 2 and true.shape != p.shape):
        raise ValueError(
            "y_true and the probabilities must have as many rows, got shapes "
            f"{true.shape} and {p.shape}."
        )
    if true.ndim == 2:
        return true, p
    if p.shape[1] == 1:
        return true[:, np.newaxis], p
    if not np.isin(true, np.arange(p.shape[1])).all():
        raise ValueError(
            f"y_true must hold class numbers from 0 to {p.shape[1] - 1}, one for each column of "
            "the probabilities."
        )
    return true[:, np.newaxis] == np.arange(p.shape[1]), p


def _is_one_of(y_true: ArrayLike, p: Array) -> bool:
    """Whether a row is of one of the classes, each with its column; else of each label or not."""
    return p.shape[1] > 1 and (np.ndim(y_true) == 1 or np.shape(y_true)[1] == 1)


def decided(probabilities: Array, is_one_of: bool) -> NDArray[np.int64]:
    """Class numbers that probabilities speak for: the likeliest column, or 0 or 1 for each."""
    if is_one_of:
        classes: NDArray[np.int64] = probabilities.argmax(axis=1)
        return classes
    return (probabilities > 0.5).astype(np.int64)


@np.errstate(all="ignore")
def log_loss(y_true: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean of −log of the probability of what was true; of several labels a row, their mean.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_labels)
        Class numbers, the columns of the probabilities.
    probabilities : array-like of shape (n_samples, n_classes)
        One column is the probability of class 1. They are clipped at the precision of their dtype.

    Returns
    -------
    float
        0 is best.
    """
    is_class, p = _columns(y_true, probabilities)
    eps = np.finfo(p.dtype).eps
    clipped = np.clip(p, eps, 1 - eps).astype(np.float64)
    if _is_one_of(y_true, p):
        clipped /= clipped.sum(axis=1, keepdims=True)
        return float(-np.mean(np.log(clipped[is_class])))
    target = is_class.astype(np.float64)
    return float(-np.mean(target * np.log(clipped) + (1 - target) * np.log1p(-clipped)))


def _area(is_class: Array, p: Array) -> float:
    """Area under the ROC curve of one class: how often a row of it is above one that is not."""
    n_in = int(np.count_nonzero(is_class))
    n_out = len(is_class) - n_in
    if n_in == 0 or n_out == 0 or np.isnan(p).any():
        return np.nan
    _, place, counts = np.unique(p, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # equal values have the mean of their ranks
    rank_sum = float(ranks[place][is_class.astype(bool)].sum())
    return (rank_sum - n_in * (n_in + 1) / 2) / (n_in * n_out)


def roc_auc(y_true: ArrayLike, probabilities: ArrayLike) -> float:
    """Area under the ROC curve; with more than two classes, the mean of each against the rest.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_labels)
        Class numbers, the columns of the probabilities.
    probabilities : array-like of shape (n_samples, n_classes)
        One column is the probability of class 1.

    Returns
    -------
    float
        NaN if a class has no rows, or all of them.
    """
    is_class, p = _columns(y_true, probabilities)
    if _is_one_of(y_true, p) and p.shape[1] == 2:
        return _area(is_class[:, 1], p[:, 1])
    return float(np.mean([_area(is_class[:, k], p[:, k]) for k in range(p.shape[1])]))


# Numbers ----------------------------------------------------------------------------------------


@np.errstate(all="ignore")
def _errors(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Array, Array]:
    """True values and errors in float64, (n_samples, n_outputs)."""
    true, predicted = (a.astype(np.float64) for a in _pair(y_true, y_pred))
    true, errors = (a.reshape(len(a), -1) for a in (true, predicted - true))
    return true, errors


@np.errstate(all="ignore")
def r2(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """R²: share of the variance that is explained, the mean over several outputs.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,) or (n_samples, n_outputs)

    Returns
    -------
    float
        NaN if an output is constant.
    """
    true, errors = _errors(y_true, y_pred)
    spread = ((true - true.mean(axis=0)) ** 2).sum(axis=0)
    return float(np.mean(1 - _ratio((errors**2).sum(axis=0), spread)))


@np.errstate(all="ignore")
def mae(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Mean absolute error, the mean over several outputs.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,) or (n_samples, n_outputs)

    Returns
    -------
    float
        0 is best.
    """
    return float(np.mean(np.abs(_errors(y_true, y_pred)[1])))


@np.errstate(all="ignore")
def mse(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Mean squared error, the mean over several outputs.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,) or (n_samples, n_outputs)

    Returns
    -------
    float
        0 is best.
    """
    return float(np.mean(_errors(y_true, y_pred)[1] ** 2))


@np.errstate(all="ignore")
def rmse(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Root of the mean squared error, the mean of the roots of several outputs.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,) or (n_samples, n_outputs)

    Returns
    -------
    float
        0 is best.
    """
    return float(np.mean(np.sqrt(np.mean(_errors(y_true, y_pred)[1] ** 2, axis=0))))


@np.errstate(all="ignore")
def median_absolute_error(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Median of the absolute errors, the mean over several outputs.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,) or (n_samples, n_outputs)

    Returns
    -------
    float
        0 is best.
    """
    return float(np.mean(np.median(np.abs(_errors(y_true, y_pred)[1]), axis=0)))


# All of them by name ----------------------------------------------------------------------------


class Metric(NamedTuple):
    """A figure and what it needs."""

    function: Callable[..., float]
    needs: Literal["prediction", "probability"]
    greater_is_better: bool
    task: Task


METRICS = {
    "accuracy": Metric(accuracy, "prediction", True, "classification"),
    "balanced_accuracy": Metric(balanced_accuracy, "prediction", True, "classification"),
    "f1": Metric(f1, "prediction", True, "classification"),
    "log_loss": Metric(log_loss, "probability", False, "classification"),
    "roc_auc": Metric(roc_auc, "probability", True, "classification"),
    "r2": Metric(r2, "prediction", True, "regression"),
    "mae": Metric(mae, "prediction", False, "regression"),
    "rmse": Metric(rmse, "prediction", False, "regression"),
    "mse": Metric(mse, "prediction", False, "regression"),
    "median_absolute_error": Metric(median_absolute_error, "prediction", False, "regression"),
}

# Other names of the same figures.
_ALIASES = {
    "acc": "accuracy",
    "accuracy_score": "accuracy",
    "balanced_accuracy_score": "balanced_accuracy",
    "f1_score": "f1",
    "logloss": "log_loss",
    "cross_entropy": "log_loss",
    "auc": "roc_auc",
    "roc_auc_score": "roc_auc",
    "roc_auc_ovr": "roc_auc",
    "r2_score": "r2",
    "l1": "mae",
    "mean_absolute_error": "mae",
    "root_mean_squared_error": "rmse",
    "l2": "mse",
    "mean_squared_error": "mse",
    "median_ae": "median_absolute_error",
}


def canonical(name: str) -> str | None:
    """The one of ``METRICS`` that a name means, in whatever case; None if it means none of them."""
    key = name.lower().replace("-", "_").replace(" ", "_").replace("²", "2")
    key = _ALIASES.get(key, key)
    return key if key in METRICS else None


def greater_is_better(column: str) -> bool | None:
    """Whether more of a column of the history is better; None where that cannot be known.

    More is better by any of scikit-learn's scorers.
    """
    name = column.rstrip("0123456789").removesuffix("_") if column[-1:].isdigit() else column
    for each in (column, name):  # of a further eval_set, the name has its number behind it
        if each in ("train_loss", "eval_loss"):
            return False
        if (known := canonical(each)) is not None:
            return METRICS[known].greater_is_better
        if each in scorer_names():
            return True
    return None


def scorer_names() -> list[str]:
    """Names of scikit-learn's scorers; none where it is not installed."""
    try:
        from fastbp import scorers
    except ImportError:
        return []
    return scorers.names()


# What people are shown of a model.
STANDARD: dict[Task, tuple[str, ...]] = {
    "classification": ("accuracy", "balanced_accuracy", "log_loss", "roc_auc"),
    "regression": ("r2", "mae", "rmse"),
}
LABELS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F₁",
    "log_loss": "log loss",
    "roc_auc": "AUC",
    "r2": "R²",
    "mae": "MAE",
    "rmse": "RMSE",
    "mse": "MSE",
    "median_absolute_error": "median absolute error",
}
# Those that are shown in percent, and those of size 1 at most when a model is any good.
SHARES = ("accuracy", "balanced_accuracy")
_OF_UNIT_SIZE = ("r2", "roc_auc", "f1")


def shown(name: str, value: float) -> str:
    """A figure as people write it; "–" where it is not defined."""
    if math.isnan(value):
        return "–"
    if name in SHARES:
        return f"{value:.2%}"
    if name in _OF_UNIT_SIZE and abs(value) < 10:
        return f"{value:.4f}"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:,.4g}"


def table(
    title: str,
    figures: Mapping[str, float],
    baseline: Mapping[str, float] | None = None,
    spread: Mapping[str, float] | None = None,
) -> str:
    """Figures of a model, a line each, beside those of the trivial one where they are known.

    Parameters
    ----------
    title : str
        What rows they are of.
    figures, baseline : mapping
        As `figures` and `baseline` give them.
    spread : mapping, optional
        Standard deviations of the model's.
    """
    rows = [(title, "model", "trivial model" if baseline else "")]
    for name, value in figures.items():
        text = shown(name, value)
        if spread is not None:
            text += f" ± {shown(name, spread[name])}"
        trivial = shown(name, baseline[name]) if baseline else ""
        rows.append((LABELS.get(name, name), text, trivial))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join(
        f"{name:<{widths[0]}}   {own:>{widths[1]}}   {trivial:>{widths[2]}}".rstrip()
        for name, own, trivial in rows
    )


def figures(y: ArrayLike, predicted: ArrayLike, task: Task) -> dict[str, float]:
    """The figures that people use for a task.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Class numbers, or true values.
    predicted : array-like
        Probabilities for a classification, (n_samples, n_classes) or, of class 1 alone,
        (n_samples,); predicted values for a regression.
    task : {"classification", "regression"}

    Returns
    -------
    dict
        accuracy, balanced_accuracy, log_loss and roc_auc; or r2, mae and rmse. NaN for what is not
        defined, such as the AUC of rows of one class.
    """
    if task == "regression":
        return {name: METRICS[name].function(y, predicted) for name in STANDARD[task]}
    p = np.asarray(predicted)
    p = p[:, np.newaxis] if p.ndim == 1 else p
    given = {"prediction": decided(p, _is_one_of(y, p)), "probability": p}
    chosen = {name: METRICS[name] for name in STANDARD[task]}
    return {name: each.function(y, given[each.needs]) for name, each in chosen.items()}


def baseline(y_train: ArrayLike, y_test: ArrayLike, task: Task) -> dict[str, float]:
    """The same figures for a model that knows no inputs.

    For a classification it gives every class its share of the training rows, so the most frequent
    one is predicted; for a regression it predicts the mean.

    Parameters
    ----------
    y_train, y_test : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Class numbers, or true values.
    task : {"classification", "regression"}

    Returns
    -------
    dict
        As `figures`.
    """
    train, test = np.asarray(y_train), np.asarray(y_test)
    n_classes = 0
    if _are_classes(train, task):
        n_classes = int(max(train.max(), test.max())) + 1
    return trivial_figures(trivial(train, task, n_classes), test, task)


def _are_classes(y: Array, task: Task) -> bool:
    """Whether targets are the number of one class each."""
    return task == "classification" and (y.ndim == 1 or y.shape[1] == 1)


def trivial(y: ArrayLike, task: Task, n_classes: int = 2) -> Array:
    """What a model that knows no inputs learns: rows of each class, or the mean of each column."""
    true = np.asarray(y)
    if _are_classes(true, task):
        return np.bincount(true.reshape(-1).astype(np.int64), minlength=max(2, n_classes))
    return np.asarray(true.mean(axis=0, dtype=np.float64))


def trivial_figures(learned: ArrayLike, y: ArrayLike, task: Task) -> dict[str, float]:
    """`figures` of such a model, by what `trivial` gave of the rows that it was trained on."""
    row, true = np.asarray(learned, np.float64), np.asarray(y)
    if _are_classes(true, task):
        row = row / row.sum()
    return figures(true, np.broadcast_to(row, (len(true), *row.shape)), task)
