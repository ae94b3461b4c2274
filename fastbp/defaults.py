"""What training a table begins with where nothing is said: sizes and settings by the data's size.

They were chosen by measurement on tables of many kinds, docs/defaults.md says on which and how:
numbers and categories in, standardised; a class or one number out.
"""

from __future__ import annotations

import math
from typing import NamedTuple

# Share of the rows that choose the epoch.
_VALIDATION = 0.15


class Defaults(NamedTuple):
    """Settings of a network, of its trainer and of the fit."""

    layers: tuple[int, ...]
    """Units of each hidden layer."""
    activation: str
    optimizer: str
    learning_rate: float
    """The highest, where there is a schedule."""
    schedule: str | None
    """Name of one of `fastbp.schedules`, over all ``epochs``; None for a constant rate."""
    batch_size: int
    epochs: int
    """The most; early stopping ends most fits before."""
    patience: int
    """Epochs without a better validation loss after which to stop."""
    weight_decay: float
    dropout: float
    validation: float
    """Share of the rows, the test part's left out, that choose the epoch."""
    refit: bool
    """Whether to train again on training and validation rows, for the best number of epochs."""


def choose(n_rows: int, n_inputs: int, n_outputs: int, task: str) -> Defaults:
    """Settings for a table.

    Parameters
    ----------
    n_rows : int
        Rows to learn from: training and validation parts together.
    n_inputs : int
        Inputs of the network, after preparation.
    n_outputs : int
        Outputs of the network.
    task : {"classification", "regression"}

    Returns
    -------
    Defaults

    Raises
    ------
    ValueError
        If the task is none of these.
    """
    if task not in ("classification", "regression"):
        raise ValueError(f"task must be 'classification' or 'regression', got {task!r}.")
    batch_size = 32
    while batch_size < 256 and batch_size * 1000 < n_rows:
        batch_size *= 2
    # Of small tables, many epochs are few steps.
    steps = math.ceil(max(1.0, n_rows * (1 - _VALIDATION)) / batch_size)
    width = 64 if n_inputs <= 100 else 128
    return Defaults(
        layers=(128,) if n_rows < 3000 else (width, width),
        activation="relu",
        optimizer="adamw",
        learning_rate=0.001,
        schedule=None,
        batch_size=batch_size,
        epochs=max(200, math.ceil(6000 / steps)),
        patience=max(20, math.ceil(600 / steps)),
        weight_decay=math.sqrt(300 / max(n_rows, 300)),
        dropout=0.0,
        validation=_VALIDATION,
        refit=True,
    )
