"""What is learned from a column of targets: classes or numbers, which loss, how many outputs."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp import checks, kernels
from fastbp.columns import is_number

TASKS = ("classes", "numbers")

# Integers with more distinct values than this are never taken for classes by themselves.
MOST_CLASSES = 100
# Integers with more distinct values must look like class numbers in other ways, too.
_FEW = 10
# A part each for training, validation and test.
_PARTS = 3
_SHOWN = 5


class Problem(NamedTuple):
    """What is to be learned; see `pose`."""

    task: str
    """"classes", "numbers", or "labels": columns of 0 and 1, independent of each other."""
    loss: str
    classes: tuple[Any, ...] | None
    """Label of each class number; None for numbers and for columns of labels."""
    n_outputs: int
    guess: str
    """In a sentence, what the targets were taken for and how to have them taken otherwise."""
    notes: tuple[str, ...] = ()
    """What else a person should know of the targets, a sentence each."""

    @property
    def kind(self) -> Literal["classification", "regression"]:
        """What `fastbp.metrics` and ``fastbp.defaults`` call it."""
        return "regression" if self.task == "numbers" else "classification"


def pose(
    y: NDArray[Any], *, task: str | None = None, loss: str | None = None, name: str = "the targets"
) -> Problem:
    """Choose what to learn, unless it is given.

    Text and truth values are classes, and so are several columns of 0 and 1, each by itself.
    Numbers with a fractional part are numbers. Integers are classes if they are few and lie close
    together, such as 0 and 1, or 1 to 10; up to 100 of them if they also start at 0 or 1, leave no
    gap and are about equally frequent, as the labels of letters are. All others are numbers: ages
    from 18 to 69, prices, counts.

    Parameters
    ----------
    y : array of shape (n,) or (n, n_outputs)
        Without missing values.
    task : {"classes", "numbers"}, optional
        What to take them for; by default as above.
    loss : str, optional
        Of the network. By default cross_entropy for classes and squared_error for numbers.
    name : str, default "the targets"
        How messages call them, such as the name of their column.

    Returns
    -------
    Problem

    Raises
    ------
    ValueError
        If there is nothing to learn, as with one class alone; or the task or loss cannot take the
        targets.
    """
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if task is not None:
        task = checks.choice("task", task, TASKS)
    if loss is not None:
        loss = checks.choice("loss", loss, kernels.LOSSES)
        wanted = "classes" if loss in kernels.CLASSIFICATION else "numbers"
        if task not in (None, wanted):
            raise ValueError(f"the loss {loss} is for {wanted}, and the task is {task}.")
        task = wanted
    if len(y) == 0:
        raise ValueError(f"there are no rows with a value of {name}; nothing can be learned.")
    if y.ndim == 2:
        return _of_columns(y, task, loss, name)
    guessed = "classes" if _are_classes(y) else "numbers"
    pose_task = _classes if (task or guessed) == "classes" else _numbers
    return pose_task(y, loss, name, is_guess=task is None)


def _are_classes(y: NDArray[Any]) -> bool:
    """Whether a person would take these targets for classes."""
    if y.dtype.kind not in "iuf":
        return True
    values, counts = np.unique(y, return_counts=True)
    n_values = len(values)
    if n_values > MOST_CLASSES or not (values == np.floor(values)).all():
        return False
    if n_values <= 2:
        return True
    spread = float(values[-1]) - float(values[0]) + 1
    if n_values <= _FEW:
        return spread <= 2 * n_values and len(y) >= 3 * n_values
    is_gapless = spread == n_values and values[0] in (0, 1)
    return is_gapless and bool(counts.min() * n_values * 5 >= len(y))


def _classes(y: NDArray[Any], loss: str | None, name: str, is_guess: bool) -> Problem:
    loss = loss or "cross_entropy"
    values, counts = np.unique(y, return_counts=True)
    if y.dtype.kind == "f" and len(values) > MOST_CLASSES:
        raise ValueError(
            f"{loss} needs classes, but {name} has {len(values):,} distinct numbers; use "
            "squared_error, the loss for numbers."
        )
    if is_guess and y.dtype.kind == "U" and len(values) > max(_FEW, len(y) / 2):
        raise ValueError(
            f"{name} has {len(values):,} different texts in {len(y):,} rows, such as "
            f"{_text(values[0])!r}, and a class needs several rows: if they are numbers, write "
            "them as 1234.5, without signs and thousands marks; --task classes takes them for "
            "classes."
        )
    if len(values) < 2:
        raise ValueError(
            f"all {len(y):,} rows have {name} {_text(values[0])!r}; at least two classes are "
            "needed to learn from."
        )
    if loss == "binary_cross_entropy" and len(values) != 2:
        raise ValueError(
            f"binary_cross_entropy needs two classes or columns of labels, and {name} has "
            f"{len(values):,} classes."
        )
    largest = np.argsort(-counts, kind="stable")[:_SHOWN]
    listed = ", ".join(f"{_text(values[i])} ({counted(int(counts[i]), 'row')})" for i in largest)
    more = f", {len(values) - _SHOWN:,} more" if len(values) > _SHOWN else ""
    hint = "; to learn numbers, use --task numbers" if is_guess and y.dtype.kind in "iuf" else ""
    return Problem(
        "classes",
        loss,
        tuple(values.tolist()),
        1 if loss == "binary_cross_entropy" else len(values),
        f"{name} is learned as {len(values):,} classes: {listed}{more}{hint}.",
        _rare(values, counts),
    )


def _rare(values: NDArray[Any], counts: NDArray[Any]) -> tuple[str, ...]:
    """A sentence about the classes that are too rare for three parts, if there are any."""
    rare = np.flatnonzero(counts < _PARTS)
    if len(rare) == 0:
        return ()
    listed = ", ".join(
        f"{_text(values[i])!r} ({counted(int(counts[i]), 'row')})" for i in rare[:_SHOWN]
    )
    more = f" and {len(rare) - _SHOWN:,} more" if len(rare) > _SHOWN else ""
    be, have = ("class is", "has") if len(rare) == 1 else ("classes are", "have")
    return (
        f"{len(rare):,} {be} too rare for a training, a validation and a test part, which need "
        f"{_PARTS} rows: {listed}{more}; figures say little about what {have} so few.",
    )


def _numbers(y: NDArray[Any], loss: str | None, name: str, is_guess: bool) -> Problem:
    loss = loss or "squared_error"
    if y.dtype.kind not in "biuf":
        cells = [str(cell) for cell in y]
        text = next((cell for cell in cells if not is_number(cell)), cells[0])
        raise ValueError(f"{loss} needs numbers as targets, and {name} has the text {text!r}.")
    _check_legal(y, loss, name)
    low, high = float(y.min()), float(y.max())
    if low == high:
        raise ValueError(
            f"all {len(y):,} rows have {name} {low:g}; targets that are all the same leave nothing "
            "to learn."
        )
    n_values = len(np.unique(y))
    hint = ""
    if is_guess and n_values <= MOST_CLASSES:
        hint = f"; to learn its {n_values} values as classes, use --task classes"
    mean = float(np.mean(y, dtype=np.float64))
    span = f"numbers from {low:,.6g} to {high:,.6g}, {mean:,.6g} on average"
    return Problem("numbers", loss, None, 1, f"{name} is learned as {span}{hint}.")


def _check_legal(y: NDArray[Any], loss: str, name: str) -> None:
    """Refuse numbers that a loss cannot take, while rows have their places in the data."""
    if loss == "poisson" and y.min() < 0:
        row = int(np.argmax(y.reshape(len(y), -1).min(axis=1) < 0))
        raise ValueError(
            f"poisson needs targets of at least 0, and {name} has {y[row]} in row {row}, counted "
            "from 0."
        )


def _of_columns(y: NDArray[Any], task: str | None, loss: str | None, name: str) -> Problem:
    """Several targets a row: labels, if all are 0 and 1, or numbers."""
    if y.dtype.kind not in "biuf":
        raise ValueError(f"several targets a row must be numbers, and {name} has dtype {y.dtype}.")
    is_guess = task is None
    if task is None and y.dtype.kind in "biu" and set(np.unique(y).tolist()) <= {0, 1}:
        task = "classes"
    task = "labels" if task == "classes" else "numbers"
    loss = loss or ("binary_cross_entropy" if task == "labels" else "squared_error")
    _check_legal(y, loss, name)
    if task == "labels" and not ((y >= 0) & (y <= 1)).all():
        raise ValueError(f"columns of labels must hold 0 and 1, and {name} has {y.max():g}.")
    what = "labels, independent of each other" if task == "labels" else "numbers"
    hint = "; to learn numbers, use --task numbers" if is_guess and task == "labels" else ""
    guess = f"{name} is learned as {y.shape[1]:,} columns of {what}{hint}."
    return Problem(task, loss, None, y.shape[1], guess)


def counted(n: int, what: str) -> str:
    """1 row, 2 rows."""
    return f"{n:,} {what}{'s' * (n != 1)}"


def _text(label: Any) -> str:
    text = str(label)
    return text if len(text) <= 40 else f"{text[:37]}..."
