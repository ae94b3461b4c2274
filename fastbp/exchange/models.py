"""What a network, a trainer, an estimator or a model file is reduced to, to be handed on."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp import checks
from fastbp.network import Network
from fastbp.preparation import Preparation
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
    decision: Decision = "labels"
    if not network.is_classifier:
        decision = "numbers"
    elif network.loss_name == "cross_entropy":
        decision = "class"
    elif network.sizes[-1] == 1:
        decision = "truth"
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


# Layers alone -----------------------------------------------------------------------------------


def bare(model: Any, function: str, what: str) -> Network:
    """The network of a model for where there is no preparation; warns if it has one."""
    network = network_of(model, function)
    network.parameters.check_finite()
    if network.preparation is not None:
        outputs = ""
        if network.preparation.scales_targets:
            outputs = ", and its outputs are what network.preparation.restore_target(outputs) takes"
        warnings.warn(
            f"{what} has no preparation: it takes what network.preparation.transform(X) gives"
            f"{outputs}.",
            stacklevel=3,
        )
    return network


def network_from_layers(
    name: str,
    layers: Sequence[tuple[NDArray[Any], NDArray[Any] | None]],
    activations: Sequence[str],
    loss: str,
    classes: Any,
    preparation: Preparation | None,
) -> Network:
    """A network of weights (n_out, n_in) and biases (n_out,), or None, of each layer.

    ``name`` is what errors call the argument that they come from. A last activation that is the
    identity stands for the loss's own.
    """
    if not layers:
        raise ValueError(f"{name} must have a layer with weights, got none.")
    dtypes = {array.dtype.name for pair in layers for array in pair if array is not None}
    if len(dtypes) > 1 or not dtypes <= {"float32", "float64"}:
        raise ValueError(
            f"{name} must have parameters of float32 or of float64 throughout, got "
            f"{' and '.join(sorted(dtypes))}."
        )
    sizes = [layers[0][0].shape[1], *(len(W) for W, _ in layers)]
    if any(W.shape[1] != n for (W, _), n in zip(layers, sizes, strict=False)):
        raise ValueError(
            f"{name} must have layers that take what the one before gives, got shapes "
            f"{[W.shape for W, _ in layers]}."
        )
    network = Network.blank(
        sizes,
        activation=activations[:-1],
        loss=loss,
        output=None if activations[-1] == "identity" else activations[-1],
        init=None,
        dtype=dtypes.pop(),
        classes=classes,
        preparation=preparation,
    )
    for l, (W, b) in enumerate(layers):
        network.weights[l][:] = W
        network.biases[l][:] = 0 if b is None else b
    network.parameters.check_finite()
    return network
