"""What compiled code of the user's calls, one sample at a time: `fastbp.jit` offers it.

Each is a few instructions around a C function of `table`, and raises what its status means.
"""

from numba import types
from numba.core.errors import TypingError
from numba.extending import overload

from . import statuses
from ._jit import jit
from .table import (
    call_apply,
    call_learn_one,
    call_predict_one,
    call_set_learning_rate,
    call_vjp,
)


@jit(inline=False)
def require(status):
    """Raise a ValueError that says what a status means."""
    if status == statuses.WRONG_STATE:
        raise ValueError(statuses.WRONG_STATE_MEANS)
    if status == statuses.WRONG_X:
        raise ValueError(statuses.WRONG_X_MEANS)
    if status == statuses.WRONG_Y:
        raise ValueError(statuses.WRONG_Y_MEANS)
    if status == statuses.WRONG_NUMBER:
        raise ValueError(statuses.WRONG_NUMBER_MEANS)
    if status == statuses.WRONG_OUT:
        raise ValueError(statuses.WRONG_OUT_MEANS)
    if status == statuses.NOT_FINITE:
        raise ValueError(statuses.NOT_FINITE_MEANS)
    if status == statuses.UNLOADED:
        raise ValueError(statuses.UNLOADED_MEANS)
    if status != statuses.DONE:
        raise ValueError(statuses.OUTDATED_MEANS)


def label_of(y):
    """Class number that y is, or −1 if y holds targets."""
    return -1 if hasattr(y, "__len__") else int(y)


def targets_of(y):
    """Targets that y holds, or None if it is a class number."""
    return y if hasattr(y, "__len__") else None


@overload(label_of, inline="always")
def _label_of(y):
    if isinstance(y, (types.Integer, types.Boolean)):
        return lambda y: int(y)
    if isinstance(y, types.Array):
        return lambda y: -1
    raise TypingError(f"y must be a class number, an integer, or an array of targets, got {y}.")


@overload(targets_of, inline="always")
def _targets_of(y):
    return (lambda y: y) if isinstance(y, types.Array) else (lambda y: None)


@jit(entry=True, holds_gil=True)
def predict_one(s, x, out):
    """Write the network's outputs for ``x`` to ``out``: probabilities, for a classifier.

    Parameters
    ----------
    s : array of shape (n,)
        A state.
    x : array of shape (n_inputs,)
    out : array of shape (n_outputs,)
        All of them C-contiguous, of the state's dtype.

    Raises
    ------
    ValueError
        If an argument does not fit the state, or if an output would not be finite.
    TypingError
        From numba, if an array has the wrong dtype or is not flat and contiguous.
    """
    require(call_predict_one(s, (x, out))[0])


@jit(entry=True, holds_gil=True)
def learn_one(s, x, y, weight=1.0):
    """Take the optimizer's step for one sample, and return the loss before it.

    Parameters
    ----------
    s : array of shape (n,)
        A state; modified in place.
    x : array of shape (n_inputs,)
        C-contiguous, of the state's dtype.
    y : int or array of shape (n_outputs,)
        A class number, if the loss is cross_entropy; or targets, of the state's dtype.
    weight : float, default 1.0
        Factor of the gradient, which may be negative, as an advantage is. The returned loss is
        without it.

    Returns
    -------
    float
        In double precision.

    Raises
    ------
    ValueError
        If an argument does not fit the state, or if the loss is not finite: then the state is as
        it was.
    TypingError
        From numba, if an array has the wrong dtype or is not flat and contiguous.
    """
    status, loss = call_learn_one(s, (x, label_of(y), targets_of(y), weight))
    require(status)
    return loss


@jit(entry=True, holds_gil=True)
def vjp(s, x, cotangent, gradient=None, gradient_x=None):
    """Derivatives of ``cotangent · outputs(x)``: a vector-Jacobian product.

    Parameters
    ----------
    s : array of shape (n,)
        A state, whose network and optimizer stay as they are.
    x : array of shape (n_inputs,)
    cotangent : array of shape (n_outputs,)
        Derivatives of some scalar with respect to the outputs.
    gradient : array, optional
        Laid out as the parameters. The derivatives with respect to them are added to it, so that
        those of several samples sum up; it must be zero before the first one.
    gradient_x : array of shape (n_inputs,), optional
        The derivatives with respect to ``x`` are written to it.

    Raises
    ------
    ValueError
        If an argument does not fit the state, or if an output is not finite.
    TypingError
        From numba, if an array has the wrong dtype or is not flat and contiguous.
    """
    require(call_vjp(s, (x, cotangent, gradient, gradient_x))[0])


@jit(entry=True, holds_gil=True)
def apply(s, gradient):
    """Take the optimizer's step with a gradient that is laid out as the parameters.

    Parameters
    ----------
    s : array of shape (n,)
        A state; modified in place.
    gradient : array
        As from `vjp`. Weight decay is added by the step.

    Raises
    ------
    ValueError
        If an argument does not fit the state.
    TypingError
        From numba, if an array has the wrong dtype or is not flat and contiguous.
    """
    require(call_apply(s, (gradient,))[0])


@jit(entry=True, holds_gil=True)
def set_learning_rate(s, learning_rate):
    """Set η of the steps to come.

    Parameters
    ----------
    s : array of shape (n,)
        A state; modified in place.
    learning_rate : float
        At least 0, with which steps change nothing but what weight decay and momentum do.

    Raises
    ------
    ValueError
        If it is negative or not finite in the state's dtype, or if ``s`` is no state.
    """
    require(call_set_learning_rate(s, (learning_rate,))[0])
