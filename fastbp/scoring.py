"""Which metrics are meant by what a user gives, and their values for a network's outputs."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import checks, frames, kernels
from fastbp.history import check_name
from fastbp.metrics import METRICS, Metric, canonical, f1, scorer_names
from fastbp.network import Network
from fastbp.samples import FloatArray, all_finite

Array = NDArray[Any]


def truth(network: Network, samples: kernels.Samples, y: ArrayLike) -> Array:
    """What is true of samples, as metrics take it; y are their targets, which have been checked.

    Class numbers, labels 0 and 1, or numbers in their own unit, in the shape of predictions.
    """
    true: Array
    if not network.is_classifier:  # a copy, because the caller may change theirs
        true = np.array(frames.to_array("y", y) if frames.is_frame(y) else y, np.float64)
    elif len(samples.labels) > 0:
        true = samples.labels
    elif network.loss_name == "cross_entropy":
        true = np.argmax(samples.targets, axis=1)
    else:
        true = (samples.targets > 0.5).astype(np.int64)
    return kernels.read_only(true.reshape(-1) if network.sizes[-1] == 1 else true)


class Judged:
    """Outputs of a network beside what is true."""

    def __init__(self, network: Network, true: Array, outputs: FloatArray) -> None:
        self.network, self.true, self.outputs = network, true, outputs

    @functools.cached_property
    def is_finite(self) -> bool:
        """Whether all outputs are, so that something is predicted."""
        return all_finite(self.outputs)

    @functools.cached_property
    def predicted(self) -> Array:
        """In the form of ``true``."""
        return self.network.predictions(self.outputs)

    def own(self, metric: Metric) -> float:
        """One of `METRICS`."""
        n_classes = self.outputs.shape[1]
        if metric.function is f1 and self.network.loss_name == "cross_entropy":
            return f1(self.true, self.predicted, classes=range(n_classes))
        return metric.function(
            self.true, self.outputs if metric.needs == "probability" else self.predicted
        )

    def users(self, function: Callable[[Array, Array], Any]) -> Any:
        """A user's function, which is given what `Network.predict` gives."""
        if self.network.classes is None:
            return function(self.true, self.predicted)
        labels = np.array(self.network.classes)
        return function(labels[self.true], labels[self.predicted])

    def scikit_learns(self, name: str) -> float:
        """One of scikit-learn's scorers."""
        from fastbp import scorers

        if not self.network.is_classifier:
            return scorers.score(name, self.true, self.predicted)
        p = self.outputs
        if p.shape[1] == 1:
            p = np.column_stack([1 - p, p])
        return scorers.score(name, self.true, self.predicted, p, range(p.shape[1]))


class Score(NamedTuple):
    """A metric under the name of its column."""

    name: str
    compute: Callable[[Judged], Any]

    def of(self, judged: Judged) -> float:
        """Its value, which must be a number; NaN for outputs that are not finite."""
        if not judged.is_finite:
            return math.nan
        given = self.compute(judged)
        try:
            return float(given)
        except (TypeError, ValueError):
            raise ValueError(
                f"the metric {self.name} must return a number, got {checks.shown(given)}."
            ) from None


def scores(metrics: Any, network: Network) -> tuple[Score, ...]:
    """One score for each metric, given by name or as a function of (y_true, y_pred).

    Raises
    ------
    ValueError
        If one is not known, or not for what the network predicts.
    """
    several = isinstance(metrics, Iterable) and not isinstance(metrics, str)
    found: dict[str, tuple[Any, Score]] = {}
    for given in metrics if several else (metrics,):
        if given == "accuracy" and network.is_classifier:
            continue  # every evaluation of a classification has it
        score = _named(given, network) if isinstance(given, str) else _called(given)
        check_name(score.name)
        if found.setdefault(score.name, (given, score))[0] != given:
            raise ValueError(f"metrics must have different names, got two called {score.name}.")
    return tuple(score for _, score in found.values())


def _named(name: str, network: Network) -> Score:
    key = canonical(name)
    if key is None:
        others = scorer_names()
        if name not in others:
            hint = checks.nearest(name, (*METRICS, *others))
            where = "" if others else ", where that is installed"
            raise ValueError(
                f"metrics must be functions of (y_true, y_pred), one of {', '.join(METRICS)}, or "
                f"the name of a scorer of scikit-learn's{where}; got "
                f"{checks.shown(name)}{hint}."
            )
        return Score(name, functools.partial(Judged.scikit_learns, name=name))
    task = "classification" if network.is_classifier else "regression"
    if METRICS[key].task != task:
        fitting = ", ".join(each for each, metric in METRICS.items() if metric.task == task)
        raise ValueError(
            f"the metric {name} is for a {METRICS[key].task}, and the loss {network.loss_name} is "
            f"for a {task}: choose from {fitting}."
        )
    return Score(name, functools.partial(Judged.own, metric=METRICS[key]))


def _called(function: Any) -> Score:
    for name, metric in METRICS.items():
        if function is metric.function:
            return Score(name, functools.partial(Judged.own, metric=metric))
    checks.takes("a function in metrics", function, ("y_true", "y_pred"))
    named = function.func if isinstance(function, functools.partial) else function
    name = getattr(named, "__name__", type(named).__name__)
    return Score(name, functools.partial(Judged.users, function=function))
