"""Networks inside the user's own compiled code, one sample in a call.

A state is one flat array that holds a network and its optimizer. These functions work on it within
functions that ``numba.njit`` compiles, and from Python as well::

    import fastbp, numba, numpy as np
    from fastbp import jit

    network = fastbp.Network((4, 16, 2), seed=0)
    s = jit.state(network, learning_rate=0.01)

    @numba.njit
    def learn(s, X, y):
        loss = 0.0
        for t in range(len(X)):
            loss += jit.learn_one(s, X[t], y[t])
        return loss / len(X)

A state holds the scratch of its sample, too: threads must not use the same one at the same time,
but each may have its own, or its own row of `states`. A copy of the array is a copy of network and
optimizer; `numpy.save` keeps it, for this version of fastbp.

A compiled function calls fastbp's machine code through a table. So it compiles in a fraction of a
second, may be cached, and calls the code of whatever version of fastbp is installed when it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastbp import checks, kernels, optimizers
from fastbp.kernels import apply, learn_one, predict_one, set_learning_rate, vjp
from fastbp.moments import set_rule
from fastbp.network import Network
from fastbp.options import check_decay
from fastbp.samples import FloatArray

__all__ = [
    "apply",
    "learn_one",
    "load",
    "params",
    "predict_one",
    "set_learning_rate",
    "state",
    "states",
    "vjp",
]


def state(
    network: Network,
    optimizer: str | optimizers.Optimizer = "sgd",
    *,
    learning_rate: float | None = None,
    weight_decay: float | None = None,
) -> FloatArray:
    """A copy of a network with an optimizer, as one flat array for the functions of this module.

    Parameters
    ----------
    network : Network
        It is not changed; ``network.params[:] = jit.params(s)`` copies what has been learned back.
    optimizer : str or Optimizer, default "sgd"
        As `fastbp.Trainer`'s.
    learning_rate : float, optional
        η; by default the optimizer's.
    weight_decay : float, optional
        λ of the penalty ½ λ ‖W‖²; by default the optimizer's.

    Returns
    -------
    array of shape (n,)
        Of the network's dtype.

    Raises
    ------
    ValueError
        If an argument is not one of those allowed.

    Notes
    -----
    The first state of a dtype compiles fastbp's functions, or loads them: see `load`.
    """
    if not isinstance(network, Network):
        raise ValueError(f"network must be a fastbp.Network, got {type(network).__name__}.")
    made = optimizers.make(optimizer, network.dtype)
    eta = made.learning_rate if learning_rate is None else learning_rate
    decay = made.weight_decay if weight_decay is None else weight_decay
    eta = checks.rate("learning_rate", eta, network.dtype, zero=True)
    decay = checks.rate("weight_decay", decay, network.dtype, zero=True)
    check_decay(made, eta, decay, network.dtype)
    network.parameters.check_finite()
    load(network.dtype)
    packed: FloatArray = kernels.make_state(
        network.parameters.layout, network.dtype, made.n_moments
    )
    fields = kernels.fields(packed, kernels.State)
    fields.params[:] = network.params
    fields.rates[:2] = eta, decay
    set_rule(fields, made)
    return packed


def states(
    networks: Iterable[Network],
    optimizer: str | optimizers.Optimizer = "sgd",
    *,
    learning_rate: float | Sequence[float] | None = None,
    weight_decay: float | Sequence[float] | None = None,
) -> FloatArray:
    """States of networks of one architecture as the rows of a matrix.

    Parameters
    ----------
    networks : iterable of Network
        At least one.
    optimizer : str or Optimizer, default "sgd"
    learning_rate, weight_decay : float or sequence of float, optional
        One for all networks, or one for each.

    Returns
    -------
    array of shape (n_networks, n)
        ``S[k]`` is the state of network k: different rows may be used by different threads.

    Raises
    ------
    ValueError
        If the networks differ in anything but their parameters, or as `state`.
    """
    given = list(networks)
    if not given:
        raise ValueError("networks must hold at least one network, got none.")
    rates = _for_each("learning_rate", learning_rate, len(given))
    decays = _for_each("weight_decay", weight_decay, len(given))
    for k, network in enumerate(given):
        if not _are_alike(given[0], network):
            raise ValueError(
                "networks must have one architecture, dtype, loss and activations, but network "
                f"{k} differs from the first: {network!r}, {given[0]!r}."
            )
    rows = [
        state(network, optimizer, learning_rate=eta, weight_decay=decay)
        for network, eta, decay in zip(given, rates, decays, strict=True)
    ]
    stack: FloatArray = kernels.aligned_zeros(len(rows) * rows[0].size, rows[0].dtype)
    stack = stack.reshape(len(rows), -1)
    np.stack(rows, out=stack)
    return stack


def _for_each(name: str, value: Any, n: int) -> list[Any]:
    if value is None or np.ndim(value) == 0:
        return [value] * n
    values = list(value)
    if len(values) != n:
        raise ValueError(
            f"{name} must be one number, or one for each of {n} networks, got {len(values)}."
        )
    return values


def _are_alike(a: Any, b: Any) -> bool:
    names = ("sizes", "activations", "loss_name", "dtype")
    return all(getattr(a, name, None) == getattr(b, name, None) for name in names)


def load(dtype: Any = "float32") -> None:
    """Have the machine code for states of a dtype ready, which `state` does as well.

    Call it in a process that gets its states from elsewhere, such as a file.

    Parameters
    ----------
    dtype : {"float32", "float64"}

    Raises
    ------
    ValueError
        If it is another one.
    """
    kernels.load_functions(checks.dtype(dtype))


def params(s: FloatArray) -> FloatArray:
    """Parameters of a state, laid out as `Network.params`: a view of it. For Python only.

    Parameters
    ----------
    s : array
        As `state` returns it.

    Returns
    -------
    array
        It shares the state's memory.

    Raises
    ------
    ValueError
        If it is no state that this version of fastbp has made.
    """
    if not isinstance(s, np.ndarray) or s.ndim != 1 or not s.flags.c_contiguous:
        given = f"shape {s.shape}" if isinstance(s, np.ndarray) else type(s).__name__
        raise ValueError(f"s must be a flat contiguous array that jit.state has made, got {given}.")
    found: FloatArray = kernels.fields(s, kernels.State).params
    return found
