"""From a data set as its file has it to what a network learns: loss, class numbers, outputs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp import kernels
from fastbp.columns import is_number
from fastbp.datasets import Dataset

# Integers with more distinct values than this are taken for amounts, not for classes.
MOST_CLASSES = 100


class Problem(NamedTuple):
    """What is to be learned."""

    dataset: Dataset
    """Targets are class numbers where there are `classes`."""
    loss: str
    classes: list[Any] | None
    """Label of each class number; None where the targets are numbers already."""
    n_outputs: int


def pose(dataset: Dataset, loss: str | None, source: str) -> Problem:
    """Choose a loss, unless one is given, and number the classes.

    One column of text, or of integers with few distinct values, is taken for classes, and the
    loss is cross_entropy; any other target calls for squared_error.

    Raises
    ------
    ValueError
        If there are no targets, or the loss cannot take them; the message names the source.
    """
    y = dataset.y
    if y is None:
        columns = ", ".join(dataset.features or ())
        hint = f"name one of its columns with --target: {columns}" if columns else "no array y"
        raise ValueError(f"{source}: training needs targets; {hint}.")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
        dataset = dataset._replace(y=y)
    is_text = y.dtype.kind == "U"
    is_one_column = y.ndim == 1
    if loss is None:
        whole = y.dtype.kind in "biu" and len(np.unique(y)) <= MOST_CLASSES
        loss = "cross_entropy" if is_one_column and (is_text or whole) else "squared_error"
    if not (loss in kernels.CLASSIFICATION and is_one_column):
        if is_text:
            cells = [str(cell) for cell in y.flat]
            text = next((cell for cell in cells if not is_number(cell)), cells[0])
            raise ValueError(f"{source}: {loss} needs numbers as targets, found text {text!r}.")
        return Problem(dataset, loss, None, 1 if is_one_column else y.shape[1])
    classes = np.unique(y).tolist()
    if y.dtype.kind == "f" and len(classes) > MOST_CLASSES:
        raise ValueError(
            f"{source}: {loss} needs classes, but the targets are {len(classes)} distinct numbers; "
            "use squared_error."
        )
    if len(classes) < 2:
        raise ValueError(f"{source}: all targets are of the one class {str(classes[0])!r}.")
    if loss == "binary_cross_entropy" and len(classes) != 2:
        raise ValueError(
            f"{source}: binary_cross_entropy needs two classes or columns of labels, found "
            f"{len(classes)} classes."
        )
    if dataset.y_test is not None:
        dataset = dataset._replace(y_test=encode(dataset.y_test, classes, source))
    dataset = dataset._replace(y=encode(y, classes, source))
    n_outputs = 1 if loss == "binary_cross_entropy" else len(classes)
    return Problem(dataset, loss, classes, n_outputs)


def encode(y: NDArray[Any], classes: list[Any], source: str) -> NDArray[np.int64]:
    """Class numbers of labels, (n,) or (n, 1), given the classes.

    Python compares them, for NumPy would take 1 for "1", and round integers to compare them with
    floats.
    """
    if y.size != len(y):
        raise ValueError(f"{source}: one label a row is needed, got targets of shape {y.shape}.")
    numbers = {label: number for number, label in enumerate(classes)}
    try:
        return np.array([numbers[label] for label in y.reshape(-1).tolist()], np.int64)
    except KeyError as error:
        raise ValueError(f"{source}: class {error.args[0]!r} does not occur in training.") from None
