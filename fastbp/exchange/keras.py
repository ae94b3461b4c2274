"""Keras 3: a network as keras.Sequential, and back (the ``keras`` extra)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastbp.exchange.models import bare, network_from_layers
from fastbp.extras import missing
from fastbp.network import Network
from fastbp.preparation import Preparation

# Names that Keras has for functions of ours with the same settings. Its leaky_relu has another
# slope, and its gelu is exact.
_FUNCTIONS = {
    "identity": "linear",
    "relu": "relu",
    "elu": "elu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "softplus": "softplus",
    "gelu": "gelu",
    "silu": "silu",
    "exp": "exponential",
    "softmax": "softmax",
}
# Layers with the settings that ours have.
_LAYERS: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("ReLU", {"max_value": None, "negative_slope": 0.0, "threshold": 0.0}),
    "leaky_relu": ("LeakyReLU", {"negative_slope": 0.01}),
    "elu": ("ELU", {"alpha": 1.0}),
    "softmax": ("Softmax", {"axis": -1}),
}
_LOSSES = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy", "exp": "poisson"}


def gelu_tanh(z: Any) -> Any:
    """½ z (1 + tanh(√(2/π) (z + 0.044715 z³))), for which Keras has no name.

    A file with it is loaded by ``keras.models.load_model(path, custom_objects={"gelu_tanh":
    fastbp.exchange.keras.gelu_tanh})``.
    """
    return _library().activations.gelu(z, approximate=True)


def to_keras(model: Any) -> Any:
    """A network as a keras.Sequential with copies of its parameters.

    Parameters
    ----------
    model : Network, Trainer, fitted estimator of `fastbp.sklearn`, or path of a model file

    Returns
    -------
    keras.Sequential
        Of Dense layers in the network's dtype, and of LeakyReLU. Its outputs are probabilities, of
        a regression numbers.

    Raises
    ------
    ValueError
        If it is no model.
    ImportError
        If the ``keras`` extra is not installed, or the library that Keras computes with.

    Warns
    -----
    UserWarning
        If the network has a `Preparation`, which does not come along.
    """
    keras = _library()
    network = bare(model, "to_keras", "the model")
    dtype = network.dtype.name
    layers = []
    for W, b, name in zip(network.weights, network.biases, network.activations, strict=True):
        function = gelu_tanh if name == "gelu_tanh" else _FUNCTIONS.get(name)
        dense = keras.layers.Dense(len(W), activation=function, dtype=dtype)
        dense.build((None, W.shape[1]))
        dense.set_weights([np.array(W.T), np.array(b)])
        if keras.ops.convert_to_numpy(dense.kernel.value).dtype != network.dtype:
            raise ValueError(
                f"model must be of float32 where Keras keeps no {dtype}, as with JAX unless "
                "JAX_ENABLE_X64=1; copy it by network.copy(dtype='float32')."
            )
        layers.append(dense)
        if name == "leaky_relu":
            layers.append(keras.layers.LeakyReLU(**_LAYERS[name][1], dtype=dtype))
    return keras.Sequential([keras.Input((network.sizes[0],), dtype=dtype), *layers])


def from_keras(
    model: Any,
    loss: str | None = None,
    *,
    classes: Any = None,
    preparation: Preparation | None = None,
) -> Network:
    """A network of a keras.Sequential, with copies of its parameters.

    Parameters
    ----------
    model : keras.Sequential
        Built, of Dense layers, each perhaps with an activation of its own or a layer of one after
        it. Dropout is left out, for it is an option of `Trainer`, and so is a Flatten that comes
        first.
    loss : str, optional
        As of `Network`. By default cross_entropy after softmax, binary_cross_entropy after
        sigmoid, poisson after exponential, otherwise squared_error.
    classes : sequence, optional
        As of `Network`.
    preparation : Preparation, optional
        As of `Network`.

    Returns
    -------
    Network
        In the dtype of the model. Its parameters are those of the model, bit for bit; a layer
        without bias gets one of zeros.

    Raises
    ------
    ValueError
        If a layer is of another kind, or has settings that ours does not have, such as another
        slope; if the dtype is neither float32 nor float64; or as `Network`.
    ImportError
        If the ``keras`` extra is not installed, or the library that Keras computes with.
    """
    keras = _library()
    if not isinstance(model, keras.Sequential):
        raise ValueError(f"model must be a keras.Sequential, got {type(model).__name__}.")
    if not model.built:
        raise ValueError("model must have been built: give it a keras.Input first.")
    found: list[tuple[Any, Any]] = []
    names: list[str] = []
    for each in model.layers:
        if type(each) is keras.layers.Dense:
            # Not get_weights, at which NumPy 2 warns.
            if each.lora_enabled:
                raise ValueError(f"model must have no LoRA in its layers, got it in {each.name}.")
            W, *b = (keras.ops.convert_to_numpy(variable.value) for variable in each.weights)
            if each.compute_dtype != W.dtype.name:
                raise ValueError(f"model must compute in {W.dtype}, got {each.compute_dtype}.")
            found.append((W.T, b[0] if b else None))
            names.append("identity")
        elif type(each) is keras.layers.Dropout or (
            type(each) is keras.layers.Flatten and not found
        ):
            continue
        for name in _activations(keras, each):
            if not names or names[-1] != "identity":
                raise ValueError(f"model must have a Dense layer before {each.name}.")
            names[-1] = name
    if loss is None:
        loss = _LOSSES.get(names[-1] if names else "", "squared_error")
    return network_from_layers("model", found, names, loss, classes, preparation)


def _library() -> Any:
    try:
        import keras
    except ImportError as error:
        what = (
            "to_keras and from_keras need Keras 3 and the library that KERAS_BACKEND names, such "
            "as jax, which the extra brings,"
        )
        raise missing(what, "keras") from error
    return keras


def _activations(keras: Any, layer: Any) -> Iterator[str]:
    """Our name of a layer's activation, if it has another one than the identity."""
    if type(layer) in (keras.layers.Dense, keras.layers.Activation):
        names = {keras.activations.get(theirs): ours for ours, theirs in _FUNCTIONS.items()}
        name = (names | {gelu_tanh: "gelu_tanh"}).get(layer.activation)
        if name is None:
            function = getattr(layer.activation, "__name__", layer.activation)
            raise ValueError(
                f"model must have activations of fastbp's in the layer {layer.name}, "
                f"{', '.join(_FUNCTIONS.values())}, got {function}."
            )
    else:
        name = _of_layer(keras, layer)
    if name != "identity":
        yield name


def _of_layer(keras: Any, layer: Any) -> str:
    for name, (kind, settings) in _LAYERS.items():
        if type(layer) is getattr(keras.layers, kind):
            given = {key: getattr(layer, key) for key in settings}
            if given != settings:
                raise ValueError(f"model must have {kind} layers with {settings}, got {given}.")
            return name
    raise ValueError(
        "model must have Dense layers and activations alone, got a layer of the type "
        f"{type(layer).__name__}."
    )
