"""Evaluation: rows that are held out or given, and how good a network's predictions are on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import checks, kernels, keywords, scoring, splitting
from fastbp.metrics import STANDARD
from fastbp.network import Network
from fastbp.rows import taken
from fastbp.samples import FloatArray
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
    """Hold out a share of the samples as an evaluation set, the same share of each class."""
    share = checks.share("validation_split", share, zero=False)
    true = scoring.truth(network, samples, y)
    n = samples.inputs.n
    labels = true if network.is_classifier and true.ndim == 1 else None
    try:
        parts = splitting.split(n, labels=labels, held_out=share, validation=0, seed=seed)
    except ValueError as error:
        raise ValueError(f"validation_split={share} cannot be taken: {error}") from None
    name = "validation_split"
    held_out = EvalSet(rows_of(samples, parts.test, name), true[parts.test])
    return rows_of(samples, parts.train, name), held_out


def rows_of(samples: kernels.Samples, rows: splitting.Rows, of: str) -> kernels.Samples:
    """Some of the samples, their weights scaled to a mean of 1 again; ``of`` says whose."""
    part = taken(samples, rows)
    weights = part.weights
    if len(weights) > 0:
        if not weights.any():
            raise ValueError(f"sample_weight must be above 0 in some rows of {of}.")
        weights = weights / weights.max()  # their mean cannot underflow
        weights /= weights.mean()
    return part._replace(weights=kernels.read_only(weights))


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


class Predicting:
    """A base of `Trainer`: it makes and evaluates predictions of its network."""

    network: Network

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict; see `Network.predict`.

        Parameters
        ----------
        X : array-like, data frame or scipy.sparse matrix of shape (n_samples, n_inputs)
            As of `Network.predict`.

        Returns
        -------
        array
            Class numbers, labels or numbers.
        """
        return self.network.predict(X)

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Probability of each class or label; see `Network.predict_proba`.

        Parameters
        ----------
        X : array-like, data frame or scipy.sparse matrix of shape (n_samples, n_inputs)
            As of `Network.predict`.

        Returns
        -------
        array of shape (n_samples, n_outputs)
            Of the network's dtype.
        """
        return self.network.predict_proba(X)

    @keywords.hinted
    def evaluate(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        metrics: Any = None,
        sample_weight: ArrayLike | None = None,
    ) -> dict[str, float]:
        """Loss and figures of how good the predictions are.

        Parameters
        ----------
        X : array-like, data frame or scipy.sparse matrix of shape (n_samples, n_inputs)
            As `Network.evaluate`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Likewise.
        metrics : iterable of str or callable, or one of them, optional
            As `fit`. By default balanced_accuracy, log_loss and roc_auc of a classification; r2,
            mae and rmse of a regression.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the loss alone.

        Returns
        -------
        dict
            ``"loss"``, of a classification ``"accuracy"``, and each metric by its name. NaN for
            what is not defined, such as the AUC of rows of one class.

        Raises
        ------
        ValueError
            If an argument does not fit the network, or if an output is not finite.
        """
        network = self.network
        if metrics is None:
            metrics = STANDARD["classification" if network.is_classifier else "regression"]
        scores = scoring.scores(metrics, network)
        prepared = network.prepared(X)
        samples = network.samples_of(prepared, y, sample_weight, whole=False)
        rows = EvalSet(samples, scoring.truth(network, samples, y))
        return evaluated(network, rows, scores, given=prepared)

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """Accuracy of a classification, R² of a regression, as scikit-learn's estimators.

        Parameters
        ----------
        X : array-like, data frame or scipy.sparse matrix of shape (n_samples, n_inputs)
            As `evaluate`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Likewise.

        Returns
        -------
        float
            1 is best.

        Raises
        ------
        ValueError
            As `evaluate`.
        """
        name = "accuracy" if self.network.is_classifier else "r2"
        return self.evaluate(X, y, metrics=name)[name]
