"""PyTorch: a network as nn.Sequential, and back, bit for bit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastbp import files
from fastbp.exchange.models import bare, network_from_layers, network_of
from fastbp.extras import missing
from fastbp.network import Network
from fastbp.preparation import Preparation

# Modules of torch.nn with the settings that ours have.
_MODULES: dict[str, tuple[str, dict[str, Any]]] = {
    "identity": ("Identity", {}),
    "relu": ("ReLU", {}),
    "leaky_relu": ("LeakyReLU", {"negative_slope": 0.01}),
    "elu": ("ELU", {"alpha": 1.0}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "softplus": ("Softplus", {"beta": 1.0, "threshold": 20.0}),
    "gelu": ("GELU", {"approximate": "none"}),
    "gelu_tanh": ("GELU", {"approximate": "tanh"}),
    "silu": ("SiLU", {}),
    "softmax": ("Softmax", {"dim": 1}),
}
# Losses that torch computes from what comes before softmax, sigmoid or exp.
_OF_LOGITS = ("cross_entropy", "binary_cross_entropy", "poisson")


# Where a module has what is called before and after it, such as an old `weight_norm`.
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")


def to_torch(model: Any) -> Any:
    """A network as a torch.nn.Sequential with copies of its parameters.

    Parameters
    ----------
    model : Network, Trainer, fitted estimator of `fastbp.sklearn`, or path of a model file

    Returns
    -------
    torch.nn.Sequential
        Of Linear layers and activations, in the network's dtype. Where the loss is cross_entropy,
        binary_cross_entropy or poisson, it ends before softmax, sigmoid or exp, which are part of
        torch's losses; `torch_loss` gives the one that goes with it.

    Raises
    ------
    ValueError
        If it is no model, or if its outputs are exp with another loss than poisson, which torch has
        no module for.
    ImportError
        If torch is not installed.

    Warns
    -----
    UserWarning
        If the network has a `Preparation`, which does not come along.
    """
    torch = _library()
    network = bare(model, "to_torch", "the module")
    if network.activations[-1] == "exp" and network.loss_name not in _OF_LOGITS:
        raise ValueError(
            "model must have outputs that torch.nn has a module for, or the loss poisson with exp; "
            f"got exp with the loss {network.loss_name}."
        )
    modules: list[Any] = []
    for W, b, name in zip(network.weights, network.biases, network.activations, strict=True):
        modules += [_linear(torch, W, b), *_activation(torch, name)]
    if network.loss_name in _OF_LOGITS:
        del modules[len(modules) - len(_activation(torch, network.activations[-1])) :]
    return torch.nn.Sequential(*modules)


def torch_loss(model: Any) -> Callable[[Any, Any], Any]:
    """The loss that goes with `to_torch`: the mean over samples that `Trainer` minimises.

    Parameters
    ----------
    model : Network, Trainer, fitted estimator of `fastbp.sklearn`, or path of a model file

    Returns
    -------
    callable
        Of the module's outputs, (N, n_outputs), and the targets, class numbers (N,) or an array of
        the shape of the outputs, or (N,) for one output. Its value is that of
        ``network.evaluate(X, y).loss``.

    Raises
    ------
    ValueError
        If it is no model.
    ImportError
        If torch is not installed.
    """
    functional = _library().nn.functional
    loss = network_of(model, "torch_loss").loss_name
    if loss == "cross_entropy":
        mean: Callable[[Any, Any], Any] = functional.cross_entropy
        return mean
    half = 0.5 if loss == "squared_error" else 1.0
    of_batch = {
        "binary_cross_entropy": functional.binary_cross_entropy_with_logits,
        "squared_error": functional.mse_loss,
        "huber": functional.huber_loss,
        "absolute_error": functional.l1_loss,
        "poisson": functional.poisson_nll_loss,
    }[loss]

    def mean_of_sums(outputs: Any, targets: Any) -> Any:
        given = targets.reshape(outputs.shape).to(outputs.dtype)
        return half * of_batch(outputs, given, reduction="sum") / len(outputs)

    return mean_of_sums


def from_torch(
    module: Any,
    loss: str = "cross_entropy",
    *,
    classes: Any = None,
    preparation: Preparation | None = None,
) -> Network:
    """A network of a torch.nn.Sequential, with copies of its parameters.

    Parameters
    ----------
    module : torch.nn.Sequential or torch.nn.Linear
        Linear layers, each perhaps with an activation after it; Sequentials may be nested. Dropout
        is left out, for it is an option of `Trainer`, and so is a Flatten that comes first.
    loss : str, default "cross_entropy"
        As of `Network`. The last activation may be left out where the loss has one of its own.
    classes : sequence, optional
        As of `Network`.
    preparation : Preparation, optional
        As of `Network`.

    Returns
    -------
    Network
        In the dtype of the module. Its parameters are those of the module, bit for bit; a layer
        without bias gets one of zeros.

    Raises
    ------
    ValueError
        If a layer is of another kind, or has settings that ours does not have, such as another
        slope; if the dtype is neither float32 nor float64; or as `Network`.
    ImportError
        If torch is not installed.
    """
    torch = _library()
    found: list[tuple[Any, Any]] = []
    names: list[str] = []
    for each in _flat(torch, module):
        if any(getattr(each, kind, None) for kind in _HOOKS):
            raise ValueError(f"module must have no hooks, which may change outputs, got {each}.")
        if type(each) is torch.nn.Linear:
            found.append((_array(each.weight), _array(each.bias)))
            names.append("identity")
        elif type(each) is torch.nn.Dropout or (type(each) is torch.nn.Flatten and not found):
            continue
        elif (name := _name(torch, each)) != "identity":
            if not names or names[-1] != "identity":
                raise ValueError(
                    f"module must have a Linear layer before each activation, got {each}."
                )
            names[-1] = name
    return network_from_layers("module", found, names, loss, classes, preparation)


def _library() -> Any:
    try:
        import torch
    except ImportError as error:
        raise missing("to_torch and from_torch need torch", "torch") from error
    return torch


def _array(parameter: Any) -> Any:
    """A parameter as an array; None if there is none."""
    if parameter is None:
        return None
    if (dtype := str(parameter.dtype).removeprefix("torch.")) not in ("float32", "float64"):
        raise ValueError(
            f"module must have parameters of float32 or of float64 throughout, got {dtype}."
        )
    return parameter.detach().cpu().numpy()


def _linear(torch: Any, W: Any, b: Any) -> Any:
    """A Linear layer of these parameters; no random number is drawn."""
    n_out, n_in = W.shape
    dtype = getattr(torch, W.dtype.name)
    linear = torch.nn.utils.skip_init(torch.nn.Linear, n_in, n_out, dtype=dtype)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(np.array(W)))
        linear.bias.copy_(torch.from_numpy(np.array(b)))
    return linear


def _activation(torch: Any, name: str) -> list[Any]:
    """The module of an activation; none of the identity, and none of the exp of a Poisson loss."""
    if name in ("identity", "exp"):
        return []
    kind, settings = _MODULES[name]
    return [getattr(torch.nn, kind)(**settings)]


def _name(torch: Any, module: Any) -> str:
    """Our name of an activation; ValueError if there is none."""
    kinds = {name: getattr(torch.nn, kind) for name, (kind, _) in _MODULES.items()}
    same = [name for name, kind in kinds.items() if type(module) is kind]
    for name in same:
        if all(getattr(module, key) == value for key, value in _MODULES[name][1].items()):
            return name
    if same:
        allowed = " or ".join(
            ", ".join(f"{key}={value!r}" for key, value in _MODULES[name][1].items())
            for name in same
        )
        raise ValueError(
            f"module must have a {type(module).__name__} with {allowed}, got {module}."
        )
    raise ValueError(
        "module must be a Sequential of Linear layers and of activations, "
        f"{', '.join(sorted({kind for kind, _ in _MODULES.values()}))}, got "
        f"{type(module).__name__}."
    )


def _flat(torch: Any, module: Any) -> Iterator[Any]:
    """Modules in their order, those of nested Sequentials too, or these if they have hooks."""
    if type(module) is not torch.nn.Sequential or any(
        getattr(module, kind, None) for kind in _HOOKS
    ):
        yield module
        return
    for each in module:
        yield from _flat(torch, each)


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Write the module of a model to a file for ``torch.load(path, weights_only=False)``."""
    torch = _library()
    module = to_torch(model)
    with files.replaced(path) as file:
        torch.save(module, file)
