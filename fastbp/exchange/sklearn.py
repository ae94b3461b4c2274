"""scikit-learn: a network as one of its estimators, and back (the ``sklearn`` extra)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp import checks
from fastbp.exchange.models import bare, network_from_layers
from fastbp.extras import missing
from fastbp.network import Network

_THEIR_NAMES = {"identity": "identity", "sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}
# Losses with the outputs that scikit-learn has them with.
_OUTPUTS = {
    "cross_entropy": "softmax",
    "binary_cross_entropy": "sigmoid",
    "squared_error": "identity",
    "poisson": "exp",
}


def to_sklearn(model: Any) -> Any:
    """A network as a fitted estimator of scikit-learn, with copies of its parameters.

    Parameters
    ----------
    model : Network, Trainer, fitted estimator of `fastbp.sklearn`, or path of a model file

    Returns
    -------
    sklearn.neural_network.MLPClassifier or MLPRegressor
        It predicts what the network does, to rounding, and `partial_fit` goes on. Classes are in
        the order of their labels; of two with a softmax, there is one output, whose parameters are
        the differences of those of both.

    Raises
    ------
    ValueError
        If it is no model, or has an activation, a loss, an output or labels that scikit-learn does
        not have.
    ImportError
        If the ``sklearn`` extra is not installed.

    Warns
    -----
    UserWarning
        If the network has a `Preparation`, which does not come along.
    """
    neural_network = _library().neural_network
    network = bare(model, "to_sklearn", "the estimator")
    hidden = _hidden(network)
    loss, output = network.loss_name, network.activations[-1]
    if _OUTPUTS.get(loss) != output:
        raise ValueError(
            "loss and output must be a pair that scikit-learn has, "
            f"{', '.join(' with '.join(pair) for pair in _OUTPUTS.items())}, got {loss} with "
            f"{output}."
        )
    options = {"hidden_layer_sizes": network.sizes[1:-1], "activation": hidden}
    pairs = zip(network.weights, network.biases, strict=True)
    layers = [(np.array(W), np.array(b)) for W, b in pairs]
    if network.is_classifier:
        estimator = neural_network.MLPClassifier(**options)
        layers[-1] = _classified(estimator, network, *layers[-1])
    else:
        estimator = neural_network.MLPRegressor(loss, **options)
    estimator.n_features_in_ = network.sizes[0]
    estimator._random_state = np.random.RandomState(0)
    sizes = [*network.sizes[:-1], len(layers[-1][0])]
    estimator._initialize(np.empty((1, sizes[-1])), sizes, network.dtype)
    estimator.coefs_ = [np.ascontiguousarray(W.T) for W, _ in layers]
    estimator.intercepts_ = [b for _, b in layers]
    return estimator


def from_sklearn(estimator: Any) -> Network:
    """A network of one of scikit-learn's fitted estimators, with copies of its parameters.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor of sklearn.neural_network or of `fastbp.sklearn`

    Returns
    -------
    Network
        It predicts what the estimator does, to rounding. Labels that are truth values become 0 and
        1. With several labels a row, and with losses of separate classes, it knows no labels.

    Raises
    ------
    ValueError
        If it is no such estimator, or not fitted.
    ImportError
        If the ``sklearn`` extra is not installed.
    """
    own = _ours(estimator)
    network, classes = own.network_, None
    is_one_of = getattr(own, "target_type_", None) in ("binary", "multiclass")
    if is_one_of and network.activations[-1] == _OUTPUTS.get(network.loss_name):
        is_truth = own.classes_.dtype == bool
        has_place = network.loss_name == "cross_entropy" or network.sizes[-1] == 1
        classes = own.classes_ if has_place and not is_truth else None
    layers = list(zip(network.weights, network.biases, strict=True))
    names, loss = network.activations, network.loss_name
    return network_from_layers("estimator", layers, names, loss, classes, None)


def _library() -> Any:
    try:
        import sklearn.neural_network
    except ImportError as error:
        raise missing("to_sklearn and from_sklearn need scikit-learn", "sklearn") from error
    return sklearn


def _ours(estimator: Any) -> Any:
    """The estimator as one of `fastbp.sklearn`, which it may be already."""
    theirs = _library().neural_network
    from fastbp import sklearn as ours

    for kind, its in (
        (ours.MLPClassifier, theirs.MLPClassifier),
        (ours.MLPRegressor, theirs.MLPRegressor),
    ):
        if isinstance(estimator, its):
            return estimator if isinstance(estimator, kind) else kind.from_sklearn(estimator)
    raise ValueError(
        "estimator must be an MLPClassifier or MLPRegressor of scikit-learn's, got "
        f"{type(estimator).__name__}."
    )


def _hidden(network: Network) -> str:
    """scikit-learn's one name of the hidden layers' activations."""
    names = set(network.activations[:-1]) or {"relu"}
    if len(names) > 1 or not names <= set(_THEIR_NAMES):
        raise ValueError(
            "activation must be one of scikit-learn's for all hidden layers, "
            f"{', '.join(_THEIR_NAMES)}, got {', '.join(network.activations[:-1])}."
        )
    return _THEIR_NAMES[names.pop()]


def _classified(
    estimator: Any, network: Network, W: NDArray[Any], b: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Give the estimator its classes; returns the last layer for them in their order."""
    from sklearn.preprocessing import LabelBinarizer

    n = network.sizes[-1]
    several = network.loss_name == "binary_cross_entropy" and n > 1
    labels = np.arange(max(2, n)) if network.classes is None else np.array(network.classes)
    if labels.dtype.kind not in "iuU" and not (labels == np.floor(labels)).all():
        raise ValueError(
            f"classes must be text or whole numbers for scikit-learn, got {checks.shown(labels)}."
        )
    binarizer = LabelBinarizer().fit(np.eye(n, dtype=int) if several else labels)
    estimator._label_binarizer, estimator.classes_ = binarizer, binarizer.classes_
    if several:
        return W, b
    order = np.argsort(labels)
    if n == 1:
        return (W, b) if order[0] == 0 else (-W, -b)
    W, b = W[order], b[order]
    return (W[1:] - W[:1], b[1:] - b[:1]) if n == 2 else (W, b)
