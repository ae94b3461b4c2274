"""What a network, a trainer, an estimator or a model file is reduced to, to be handed on."""

from __future__ import annotations

import os
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp import checks
from fastbp.network import Network
from fastbp.storage import load
from fastbp.trainer import Trainer

Decision = Literal["numbers", "class", "truth", "labels"]
Columns = Literal["each", "both", "shares"]


class Model(NamedTuple):
    """A network, and what is made of its outputs."""

    network: Network
    decision: Decision
    """Nothing; the likeliest class; whether the one output is above ½; or whether each is."""
    labels: NDArray[Any] | None
    """Label of each class; None if that is its number."""
    columns: Columns = "each"
    """Probabilities as they are; of both classes, where one output tells them apart; or divided by
    their sum."""


def reduced(model: Any) -> Model:
    """What there is to hand on of a model.

    Parameters
    ----------
    model : Network, Trainer, estimator of `fastbp.sklearn`, or path of a model file

    Raises
    ------
    ValueError
        If it is none of these, if a parameter is not finite, or as `fastbp.load`.
    OSError
        If the file cannot be read.
    """
    found = _of_estimator(model) if hasattr(model, "network_") else _of_network(network_of(model))
    found.network.parameters.check_finite()
    return found


def network_of(model: Any, function: str = "to_onnx") -> Network:
    """The network of a trainer, a model file, or itself; errors name the ``function``."""
    if isinstance(model, (str, os.PathLike)):
        model = load(model)
    network = model.network if isinstance(model, Trainer) else getattr(model, "network_", model)
    if not isinstance(network, Network):
        raise ValueError(
            f"{function} takes a fastbp.Network or Trainer, a fitted estimator of fastbp.sklearn, "
            f"or the path of a model file, got {type(model).__name__}."
        )
    return network


def _of_network(network: Network) -> Model:
    decision: Decision = "numbers"
    if network.is_classifier:
        is_one = network.sizes[-1] == 1
        decision = "class" if network.loss_name == "cross_entropy" else "labels"
        decision = "truth" if is_one else decision
    return Model(network, decision, _labels(network.classes))


def _of_estimator(estimator: Any) -> Model:
    network = estimator.network_
    kind = getattr(estimator, "target_type_", None)
    if kind is None:
        return Model(network, "numbers", None)
    if kind == "multilabel-indicator":
        return Model(network, "labels", None)
    labels = _labels(estimator.classes_)
    if labels is None or len(labels) < 2:
        raise ValueError(
            f"the estimator must have two classes or more, got {checks.shown(labels)}."
        )
    if kind == "binary":
        return Model(network, "truth", labels, "both")
    columns: Columns = "each" if network.activations[-1] == "softmax" else "shares"
    return Model(network, "class", labels, columns)


def _labels(classes: Any) -> NDArray[Any] | None:
    """Labels as an array; ValueError if there is no type for them."""
    if classes is None:
        return None
    labels = np.array(classes)
    if labels.dtype.kind == "O" and all(isinstance(each, str) for each in labels.tolist()):
        labels = labels.astype(str)
    if labels.dtype.kind not in "biufU":
        raise ValueError(
            "classes must be all text or all numbers of at most 64 bits, got "
            f"{checks.shown(list(classes))}."
        )
    return labels
