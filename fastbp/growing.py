"""A network that learns one sample at a time from features by name, and grows with them.

A feature that has not been seen becomes a further input, and a class a further output. Generators
that their names seed draw the weights, and the features that come with a sample are sorted by name
first: the order in which the sample has them changes no bit. A feature that a sample does not have
is 0.
"""

from __future__ import annotations

import math
import operator
import struct
import zlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp import checks, kernels, optimizers, schedules
from fastbp.divergence import StreamDivergenceError
from fastbp.initializers import DEFAULTS, initial_weights
from fastbp.moments import set_rule
from fastbp.parameters import Parameters
from fastbp.samples import FloatArray

# What is raised where a sample is none; `Growing.refuse` then says what is wrong with it.
REFUSALS = (AttributeError, OverflowError, TypeError, ValueError, struct.error)
# What a generator draws for.
_FEATURE, _LAYER, _OUTPUT = range(3)


@dataclass(frozen=True)
class Recipe:
    """What is known of a network before its inputs and outputs: plain values, checked.

    Parameters
    ----------
    hidden : sequence of int
        Units of each hidden layer.
    activation : str or sequence of str
        Of all hidden layers, or of each.
    loss : str
    optimizer : str or Optimizer
    learning_rate : float, callable or None
        A function gives η from the number of samples so far; None stands for the optimizer's.
    weight_decay : float or None
    clip_norm : float or None
        Largest norm of a sample's gradient.
    dtype : {"float32", "float64"}
    seed : int or None

    Raises
    ------
    ValueError
        If one of them is not allowed.
    """

    hidden: Any
    activation: Any
    loss: str
    optimizer: Any
    learning_rate: Any
    weight_decay: Any
    clip_norm: Any
    dtype: Any
    seed: Any

    def __post_init__(self) -> None:
        dtype = checks.dtype(self.dtype)
        made = optimizers.make(self.optimizer, dtype)
        hidden = checks.sequence(self.hidden)
        if hidden is None:
            raise ValueError(
                "hidden_sizes must list the units of each hidden layer, such as (20,), got "
                f"{checks.shown(self.hidden)}."
            )
        units = tuple(checks.integer(f"hidden_sizes[{i}]", n, 1) for i, n in enumerate(hidden))
        names = checks.hidden_activations(self.activation, len(units))
        decay = made.weight_decay if self.weight_decay is None else self.weight_decay
        seed = checks.seed(self.seed)
        checked = {
            "hidden": units,
            "activation": (*names, checks.output_activation(None, self.loss)),
            "optimizer": made,
            "learning_rate": checked_rate(self.learning_rate, made, dtype),
            "weight_decay": checks.rate("weight_decay", decay, dtype, zero=True),
            "clip_norm": checks.limit("clip_norm", self.clip_norm, dtype) or 0.0,
            "dtype": dtype,
            "seed": np.random.SeedSequence().entropy if seed is None else seed,
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)


def checked_rate(
    given: Any, optimizer: optimizers.Optimizer, dtype: np.dtype[Any]
) -> float | Callable[[int], float]:
    """A learning rate, or a function that gives one from the number of samples so far."""
    if callable(given) and not isinstance(given, type):
        checks.takes("learning_rate", given, ("samples",))
        return given  # type: ignore[no-any-return]
    return checks.rate("learning_rate", optimizer.learning_rate if given is None else given, dtype)


def number(name: str, value: Any, dtype: np.dtype[Any], hint: str = "") -> float:
    """``value`` as a float that is finite in ``dtype``; texts are not read."""
    try:
        found = math.nan if isinstance(value, (str, bytes, bytearray)) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    with np.errstate(over="ignore"):
        is_finite = math.isfinite(dtype.type(found))
    if not is_finite:
        raise ValueError(
            f"{name} must be a finite {dtype} number, got {checks.shown(value)}{hint}."
        )
    return found


_HINT = "; leave out a feature that is missing, and turn text into numbers"


class Growing:
    """A network in training whose inputs and outputs have names, and become more.

    Parameters
    ----------
    recipe : Recipe

    Attributes
    ----------
    places : dict of name to int
        The input of each feature so far.
    outputs : dict of label to int
        The output of each class so far, or of the one target. Without any there is no network yet.
    labels : list
        Keys of ``outputs``, in order.
    samples : int
        Steps so far.
    x, y, out : array
        Inputs, targets and outputs of a sample. There may be more inputs than features: they are 0,
        and so are their weights.
    """

    # What writes a whole sample at once, of so many features: `fill` makes it.
    _n_straight: int
    _values: Callable[[Any], Any]
    _pack: Callable[..., None]

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.learning_rate = recipe, recipe.learning_rate
        self.places: dict[Hashable, int] = {}
        self.outputs: dict[Hashable, int] = {}
        self.samples = 0
        self._build(1, 0)

    def _build(self, n_inputs: int, n_outputs: int) -> None:
        """Make all that depends on the numbers of inputs and outputs; parameters are 0."""
        recipe, dtype = self.recipe, self.recipe.dtype
        self.x, self.y = np.zeros(n_inputs, dtype), np.zeros(n_outputs, dtype)
        self.out = np.zeros(n_outputs, dtype)
        self._put, self._target = self.x.data, self.y.data
        self.labels, self._n_straight = list(self.outputs), -1
        if n_outputs == 0:
            return
        sizes = (n_inputs, *recipe.hidden, n_outputs)
        self.parameters = made = Parameters(sizes, recipe.activation, recipe.loss, dtype)
        # Of as many moments as the optimizer has.
        made.state = kernels.make_state(made.layout, dtype, recipe.optimizer.n_moments)
        self.state, self._rates = made.loaded_state, made.fields.rates
        set_rule(made.fields, recipe.optimizer)
        eta = 0.0 if callable(self.learning_rate) else self.learning_rate
        self._rates[:] = eta, recipe.weight_decay, recipe.clip_norm

    def set_learning_rate(self, given: Any) -> None:
        """Set η, or the function that gives it, for the steps to come."""
        recipe = self.recipe
        self.learning_rate = checked_rate(given, recipe.optimizer, recipe.dtype)
        if self.outputs and not callable(self.learning_rate):
            self._rates[0] = self.learning_rate

    # One sample ---------------------------------------------------------------------------------

    def fill(self, x: Mapping[Any, Any]) -> bool:
        """Write a sample's features to `x`; whether all of them are known. Others are left out."""
        if len(x) == self._n_straight and type(x) is dict:
            try:
                self._pack(self.x, 0, *self._values(x))
                return True
            except KeyError:
                pass
        self.x.fill(0)
        n, put, place_of = 0, self._put, self.places.get
        for name, value in x.items():
            place = place_of(name)
            if place is not None:
                put[place] = value
                n += 1
        if n == len(self.places) > 1 and self._n_straight < 0:  # the next ones may be like this
            self._values = operator.itemgetter(*self.places)
            self._pack = struct.Struct(f"{n}{self.x.dtype.char}").pack_into
            self._n_straight = n
        return n == len(x)

    def step(self, target: Any, weight: Any) -> None:
        """Take a step for the sample in `x`, for a class number or `y`."""
        if callable(self.learning_rate):
            self._rates[0] = self._rate()
        kernels.learn_one(self.state, self.x, target, float(weight))
        self.samples += 1

    def _rate(self) -> float:
        return schedules.rate_at(self.learning_rate, self.samples, self.recipe.dtype)

    def aim(self, y: Any) -> None:
        """Write a number to the target of `y`."""
        self._target[0] = y

    def predicted(self, x: Mapping[Any, Any]) -> FloatArray:
        """Outputs for a sample, which the next call overwrites.

        Raises
        ------
        ValueError
            If a feature, or an output, is no finite number.
        """
        try:
            self.fill(x)
            kernels.predict_one(self.state, self.x, self.out)
        except REFUSALS as error:
            self.check(x)
            raise self._overflow() from error
        return self.out

    def predicted_rows(self, X: NDArray[Any], names: Sequence[Hashable]) -> FloatArray:
        """Outputs for the rows of a matrix, whose columns have names."""
        inputs = np.zeros((len(X), len(self.x)), self.x.dtype)
        outputs = np.zeros((len(X), len(self.outputs)), self.x.dtype)
        with np.errstate(over="ignore"):
            for name, column in zip(names, X.T, strict=True):
                if (place := self.places.get(name)) is not None:
                    inputs[:, place] = column
        try:
            for row, out in zip(inputs, outputs, strict=True):
                kernels.predict_one(self.state, row, out)
        except ValueError:
            raise self._overflow() from None
        return outputs

    def _overflow(self) -> ValueError:
        return ValueError(
            "outputs must be finite, but a feature is too large for this model, or its training "
            "has diverged: scale the features to about unit size."
        )

    def check(self, x: Any) -> None:
        """Refuse what is no sample."""
        if not isinstance(x, Mapping):
            raise ValueError(f"x must be a dict from features to numbers, got {checks.shown(x)}.")
        for name, value in x.items():
            number(f"x[{name!r}]", value, self.recipe.dtype, _HINT)

    # Growth -------------------------------------------------------------------------------------

    def learn_new(self, x: Any, label: Hashable, y: Any, weight: Any) -> None:
        """Take a step for any sample: its features or its label may be new.

        Parameters
        ----------
        x : mapping
        label : hashable
            Name of the output that the sample is of.
        y : float or None
            Target, which has been checked; or None if the label is a class.
        weight : float

        Raises
        ------
        ValueError
            If the sample is none; then nothing has changed.
        StreamDivergenceError
            If the loss or the parameters are not finite; then nothing has changed.
        """
        self.check(x)
        weight = checks.finite("w", weight)
        eta = self._rate() if callable(self.learning_rate) else self.learning_rate
        features, outputs = len(self.places), len(self.outputs)
        self._admit([name for name in x if name not in self.places], label)
        try:
            self.fill(x)
            if y is not None:
                self.aim(y)
            self.step(self.outputs[label] if y is None else self.y, weight)
        except ValueError:  # a sum overflowed, or the parameters have
            error = StreamDivergenceError(1, self.parameters.first_nonfinite_layer(), eta)
            self._forget(features, outputs)
            raise error from None

    def _admit(self, new: Iterable[Hashable], label: Hashable) -> None:
        """Make room for features, and for an output, and draw their weights."""
        names = sorted(new, key=repr)
        n, is_new = len(self.places) + len(names), label not in self.outputs
        if n > len(self.x) or is_new:
            n_inputs = len(self.x) if n <= len(self.x) else max(n, 2 * len(self.places))
            self._resize(n_inputs, len(self.outputs) + is_new)
        first, last = self.parameters.weights[0], self.parameters.weights[-1]
        inits = [DEFAULTS[name] for name in self.recipe.activation]
        for name in names:
            self.places[name] = place = len(self.places)
            shape = len(first), 1
            first[:, place] = initial_weights(
                inits[0], shape, self._generator(_FEATURE, name), (len(first), n)
            )[:, 0]
        if is_new:
            self.outputs[label] = place = len(self.outputs)
            n_in = last.shape[1] if self.recipe.hidden else n
            last[place, :n_in] = initial_weights(
                inits[-1], (1, n_in), self._generator(_OUTPUT, label), (len(last), n_in)
            )
        self.labels, self._n_straight = list(self.outputs), -1

    def _resize(self, n_inputs: int, n_outputs: int) -> None:
        """Copy parameters, moments and counts to their places in a larger or smaller network."""
        if not self.outputs:
            self._build(n_inputs, n_outputs)
            for l in range(1, len(self.recipe.hidden)):
                W = self.parameters.weights[l]
                W[...] = initial_weights(
                    DEFAULTS[self.recipe.activation[l]], W.shape, self._generator(_LAYER, l)
                )
            return
        before = self.parameters
        self._build(n_inputs, n_outputs)
        for new, old in zip(self._vectors(self.parameters), self._vectors(before), strict=True):
            theirs, ours = before.views(old), self.parameters.views(new)
            for a, b in zip(
                (*ours.weights, *ours.biases), (*theirs.weights, *theirs.biases), strict=True
            ):
                shared = tuple(slice(min(n)) for n in zip(a.shape, b.shape, strict=True))
                a[shared] = b[shared]
        self.parameters.fields.counts[:] = before.fields.counts

    def _vectors(self, parameters: Parameters) -> list[FloatArray]:
        """The parameters and each moment, all laid out alike."""
        moments = parameters.fields.moments
        return [parameters.flat, *moments.reshape(-1, parameters.flat.size)]

    def _forget(self, n_features: int, n_outputs: int) -> None:
        """Take back what `_admit` has done since there were so many."""
        while len(self.places) > n_features:
            _, place = self.places.popitem()
            self.parameters.weights[0][:, place] = 0
        while len(self.outputs) > n_outputs:
            self.outputs.popitem()
        self.x.fill(0)
        if n_outputs == 0:
            self._build(1, 0)
        elif n_outputs < len(self.out):
            self._resize(len(self.x), n_outputs)
        self.labels, self._n_straight = list(self.outputs), -1

    def _generator(self, *purpose: Any) -> np.random.Generator:
        """What draws for a feature, a layer or an output, whenever that is."""
        kind, name = purpose
        return np.random.default_rng([self.recipe.seed, kind, zlib.crc32(repr(name).encode())])

    # Copies -------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        kept = ("recipe", "learning_rate", "places", "outputs", "samples")
        state = self.state.copy() if self.outputs else None
        return {name: getattr(self, name) for name in kept} | {
            "n_inputs": len(self.x),
            "state": state,
        }

    def __setstate__(self, given: dict[str, Any]) -> None:
        state, n_inputs = given.pop("state"), given.pop("n_inputs")
        vars(self).update(given)
        self._build(n_inputs, len(self.outputs))
        if state is None:
            return
        header = slice(0, kernels.HEADER_BYTES // state.itemsize)
        if (
            state.shape != self.state.shape
            or state[header].tobytes() != self.state[header].tobytes()
        ):
            raise ValueError("a pickled model must be of this version of fastbp.")
        self.state[:] = state
