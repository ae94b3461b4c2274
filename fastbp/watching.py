"""What is measured after each epoch of a fit, and what is shown of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastbp import checks, kernels, scoring, splitting
from fastbp.history import History
from fastbp.network import Network
from fastbp.scoring import Array, Judged, Score


class EvalSet(NamedTuple):
    """Rows that are evaluated."""

    samples: kernels.Samples
    true: Array
    """As `scoring.truth` has it."""


def eval_sets(network: Network, given: Any) -> list[EvalSet]:
    """The sets of a fit: one pair (X, y), or a list of such tuples."""
    if given is None:
        return []
    several = isinstance(given, list) and all(isinstance(each, tuple) for each in given)
    if several and not given:
        raise ValueError("eval_set must be a pair (X, y) or a list of such pairs, got [].")
    sets = []
    for i, each in enumerate(given if several else [given]):
        name = f"eval_set[{i}]" if several and len(given) > 1 else "eval_set"
        X, y = checks.pair(name, each)
        samples = network.samples(X, y, prefix=f"{name} ")
        sets.append(EvalSet(samples, scoring.truth(network, samples, y)))
    return sets


def split_off(
    network: Network, samples: kernels.Samples, y: ArrayLike, share: Any, seed: int
) -> tuple[kernels.Samples, EvalSet]:
    """Samples to train on, and a set of so large a share; each class is divided alike."""
    share = checks.share("validation_split", share, zero=False)
    true = scoring.truth(network, samples, y)
    n = samples.inputs.n
    labels = true if network.is_classifier and true.ndim == 1 else None
    try:
        parts = splitting.split(n, labels=labels, held_out=share, validation=0, seed=seed)
    except ValueError as error:
        raise ValueError(f"validation_split={share} cannot be taken: {error}") from None
    held_out = _rows_of(samples, parts.test)
    return _rows_of(samples, parts.train), EvalSet(held_out, true[parts.test])


def _rows_of(samples: kernels.Samples, rows: splitting.Rows) -> kernels.Samples:
    """Some of the samples, their weights scaled to a mean of 1 again."""
    weights = samples.weights[rows] if len(samples.weights) > 0 else samples.weights
    if len(weights) > 0:
        if not weights.any():
            raise ValueError("sample_weight must be above 0 in some rows of validation_split.")
        weights = weights / weights.mean()
    return kernels.Samples(
        _inputs_of(samples.inputs, rows),
        kernels.read_only(samples.labels[rows] if len(samples.labels) > 0 else samples.labels),
        kernels.read_only(samples.targets[rows] if len(samples.targets) > 0 else samples.targets),
        kernels.read_only(weights),
    )


def _inputs_of(inputs: kernels.Inputs, rows: splitting.Rows) -> kernels.Inputs:
    if not inputs.is_sparse:
        return kernels.dense_inputs(kernels.read_only(inputs.X[rows]))
    lengths = np.diff(inputs.indptr)[rows]
    indptr = np.zeros(len(rows) + 1, inputs.indptr.dtype)
    np.cumsum(lengths, out=indptr[1:])
    places = np.arange(indptr[-1]) + np.repeat(inputs.indptr[rows] - indptr[:-1], lengths)
    return inputs._replace(
        data=kernels.read_only(inputs.data[places]),
        indices=kernels.read_only(inputs.indices[places]),
        indptr=kernels.read_only(indptr),
    )


def evaluated(
    network: Network,
    rows: EvalSet,
    scores: Sequence[Score],
    n_threads: int | None = None,
    given: Any = None,
) -> dict[str, float]:
    """Loss, accuracy of a classification, and scores; ``given`` is X, if it is still to be checked.

    One pass gives outputs and losses.
    """
    outputs = None
    if scores:
        outputs = np.empty((rows.samples.inputs.n, network.sizes[-1]), network.dtype)
    loss, accuracy = network.parameters.evaluate(rows.samples, n_threads, given, outputs)
    figures = {"loss": loss}
    if accuracy is not None:
        figures["accuracy"] = accuracy
    if outputs is not None:
        judged = Judged(network, rows.true, outputs)
        figures |= {each.name: each.of(judged) for each in scores}
    return figures


def _column(name: str, i: int) -> str:
    """Column of a figure of the last set, for i = 0, or of the i-th one."""
    return ("eval_loss" if name == "loss" else name) + (f"_{i}" if i > 0 else "")


class Watch:
    """What a fit measures after each epoch, and says of it on its bar and in lines of text."""

    def __init__(
        self, sets: Sequence[EvalSet], scores: Sequence[Score], last: int, verbose: bool
    ) -> None:
        if scores and not sets:
            raise ValueError(
                "metrics need rows to be computed on: give fit an eval_set, or a validation_split."
            )
        self.sets, self.scores, self.last, self.verbose = sets, scores, last, verbose
        self.bar: Any = None

    def begin(self, history: History) -> None:
        """Before an epoch: ``last`` is the number of the fit's last one."""
        if not self.bar.disable:
            self.bar.set_description_str(f"epoch {len(history) + 1}/{self.last}", refresh=False)

    def measured(self, network: Network, n_threads: int | None) -> dict[str, float]:
        """Columns of the epoch: those of the last set, then numbered ones of the others."""
        columns: dict[str, float] = {}
        for i, rows in enumerate([*self.sets[-1:], *self.sets[:-1]]):
            figures = evaluated(network, rows, self.scores, n_threads)
            columns |= {_column(name, i): value for name, value in figures.items()}
        return columns

    def columns(self, network: Network) -> tuple[str, ...]:
        """Columns of the history that the fit fills with numbers."""
        figures = ["loss", *["accuracy"] * network.is_classifier, *(s.name for s in self.scores)]
        evaluated = (_column(name, i) for i in range(len(self.sets)) for name in figures)
        return "train_loss", *evaluated, "learning_rate", "samples_per_second", "seconds"

    def end(self, history: History) -> None:
        """After an epoch, which is in the history."""
        if not self.bar.disable:
            self.bar.set_postfix_str(", ".join(history.figures(-1)), refresh=False)
        if self.verbose:
            print(history.row(-1))

    def stopped(self, history: History) -> str:
        """What is said of a fit that a callback has stopped."""
        text = f"stopped at epoch {len(history)}"
        if history.best_epoch:
            text += f", best {history.best_epoch}"
        if self.verbose:
            print(text)
        return text


def verbosity(verbose: Any) -> bool:
    """Whether to print a line for each epoch: None, True, False, or 0, 1, 2."""
    if verbose is None or isinstance(verbose, (bool, np.bool_)):
        return bool(verbose)
    return checks.integer("verbose", verbose, 0, 2) > 0
