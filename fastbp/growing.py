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
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp import checks, kernels, optimizers, schedules
from fastbp.divergence import StreamDivergenceError
from fastbp.initializers import DEFAULTS, initial_weights
from fastbp.moments import set_rule
from fastbp.parameters import Parameters
from fastbp.samples import FloatArray

# What is raised for a sample that cannot be learned; `Growing.check` then says what is wrong.
REFUSALS = (AttributeError, OverflowError, TypeError, ValueError, struct.error)
# What a generator draws for.
_FEATURE, _LAYER, _OUTPUT = range(3)


class Recipe(NamedTuple):
    """What is known of a network before its inputs and outputs: checked values."""

    hidden: tuple[int, ...]
    """Units of each hidden layer."""
    activation: tuple[str, ...]
    """Of each layer, the output's last."""
    loss: str
    optimizer: optimizers.Optimizer
    learning_rate: float | Callable[[int], float]
    """η, or a function that gives it from the number of samples so far."""
    weight_decay: float
    clip_norm: float
    """Largest norm of a sample's gradient; 0 for no limit."""
    dtype: np.dtype[Any]
    seed: Any
    """An integer of any size."""


def recipe_of(given: Any, loss: str) -> Recipe:
    """Check what a user has chosen.

    Parameters
    ----------
    given : object
        Its attributes are the parameters of `fastbp.river.MLPClassifier`.
    loss : str

    Returns
    -------
    Recipe

    Raises
    ------
    ValueError
        If one of them is not allowed.
    """
    dtype = checks.dtype(given.dtype)
    optimizer = optimizers.make(given.optimizer, dtype)
    sizes = checks.sequence(given.hidden_sizes)
    if sizes is None:
        raise ValueError(
            "hidden_sizes must list the units of each hidden layer, such as (20,), got "
            f"{checks.shown(given.hidden_sizes)}."
        )
    hidden = tuple(checks.integer(f"hidden_sizes[{i}]", n, 1) for i, n in enumerate(sizes))
    names = checks.hidden_activations(given.activation, len(hidden))
    decay = optimizer.weight_decay if given.weight_decay is None else given.weight_decay
    seed = checks.seed(given.seed)
    return Recipe(
        hidden=hidden,
        activation=(*names, checks.output_activation(None, loss)),
        loss=loss,
        optimizer=optimizer,
        learning_rate=checked_rate(given.learning_rate, optimizer, dtype),
        weight_decay=checks.rate("weight_decay", decay, dtype, zero=True),
        clip_norm=checks.limit("clip_norm", given.clip_norm, dtype) or 0.0,
        dtype=dtype,
        seed=np.random.SeedSequence().entropy if seed is None else seed,
    )


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


def text_of(name: Any) -> str:
    """A text of a name, in every process the same for all names that are one key of a dict.

    Of an object that is no text, number, tuple or frozenset it is the repr.
    """
    value = name.item() if isinstance(name, np.generic) else name
    if isinstance(value, str):
        return str.__repr__(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(text_of, value))},)"
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(map(text_of, value)))}}}"
    if isinstance(value, complex) and value.imag == 0:
        value = value.real
    try:
        return str(Fraction(*value.as_integer_ratio()))
    except OverflowError:  # infinite
        return repr(float(value))
    except (AttributeError, ValueError):  # no real number, or NaN
        return repr(value)


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

    x: FloatArray
    y: FloatArray
    out: FloatArray
    places: dict[Hashable, int]
    outputs: dict[Hashable, int]
    labels: list[Hashable]
    parameters: Parameters
    state: FloatArray
    _rates: FloatArray
    _put: memoryview
    _target: memoryview
    # What writes a whole sample at once, of so many features: `fill` makes it.
    _n_straight: int
    _values: Callable[[Any], Any]
    _pack: Callable[..., None]

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.learning_rate = recipe, recipe.learning_rate
        self.samples = 0
        self._install({}, {}, self._build(1, 0))

    def _build(self, n_inputs: int, n_outputs: int) -> dict[str, Any]:
        """Attributes that depend on the numbers of inputs and outputs; parameters are 0."""
        recipe, dtype = self.recipe, self.recipe.dtype
        x, y, out = (np.zeros(n, dtype) for n in (n_inputs, n_outputs, n_outputs))
        made = {"x": x, "y": y, "out": out, "_put": x.data, "_target": y.data}
        if n_outputs == 0:
            return made
        sizes = (n_inputs, *recipe.hidden, n_outputs)
        parameters = Parameters(sizes, recipe.activation, recipe.loss, dtype)
        # Of as many moments as the optimizer has.
        parameters.state = kernels.make_state(parameters.layout, dtype, recipe.optimizer.n_moments)
        state, rates = parameters.loaded_state, parameters.fields.rates
        set_rule(parameters.fields, recipe.optimizer)
        eta = 0.0 if callable(self.learning_rate) else self.learning_rate
        rates[:] = eta, recipe.weight_decay, recipe.clip_norm
        return made | {"parameters": parameters, "state": state, "_rates": rates}

    def _install(
        self, places: dict[Hashable, int], outputs: dict[Hashable, int], made: dict[str, Any]
    ) -> None:
        """Replace all attributes of a size in one step, between which there is no Ctrl-C."""
        vars(self).update(
            made, places=places, outputs=outputs, labels=list(outputs), _n_straight=-1
        )

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
        if type(weight) is not float:
            weight = self.factor(weight)
        if callable(self.learning_rate):
            self._rates[0] = self._rate()
        kernels.learn_one(self.state, self.x, target, weight)
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
            self.check(x, self.places)
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

    def check(self, x: Any, names: Mapping[Hashable, Any] | None = None) -> None:
        """Refuse what is no sample; of the features, all or those with these names are checked."""
        if not isinstance(x, Mapping):
            raise ValueError(f"x must be a dict from features to numbers, got {checks.shown(x)}.")
        for name, value in x.items():
            if names is None or name in names:
                number(f"x[{name!r}]", value, self.recipe.dtype, _HINT)

    def factor(self, w: Any) -> float:
        """``w``, the factor of a sample's gradient, as a float."""
        checks.finite("w", w)  # True is none
        return number("w", w, self.recipe.dtype)

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
            If the sample is none.
        StreamDivergenceError
            If the loss, the parameters or the step are not finite.

        Notes
        -----
        After any error nothing has changed, also after Ctrl-C or where memory runs out.
        """
        self.check(x)
        weight = self.factor(weight)
        eta = self._rate() if callable(self.learning_rate) else self.learning_rate
        before = vars(self) | {"_n_straight": -1}  # so that the next sample writes all of x
        state = self.state.copy() if self.outputs else None
        try:
            self._admit([name for name in x if name not in self.places], label)
            self.fill(x)
            if y is not None:
                self.aim(y)
            self._learn(self.outputs[label] if y is None else self.y, weight, eta)
            self.samples += 1
        except BaseException:
            self.__dict__ = before
            if state is not None:
                self.state[:] = state
            raise

    def _learn(self, target: Any, weight: float, eta: float) -> None:
        """Take a step for the sample in `x`, all of which has been checked."""
        self._rates[0] = eta
        try:
            kernels.learn_one(self.state, self.x, target, weight)
        except ValueError:  # a sum overflowed, or the parameters have
            layer = self.parameters.first_nonfinite_layer()
            raise StreamDivergenceError(1, layer, eta) from None

    def _admit(self, new: Iterable[Hashable], label: Hashable) -> None:
        """Make room for features, and for an output, and draw their weights.

        Nothing is written to but ``state``: `learn_new` can go back.
        """
        names = sorted(new, key=text_of)
        places = self.places | {name: n for n, name in enumerate(names, len(self.places))}
        outputs = self.outputs | {label: self.outputs.get(label, len(self.outputs))}
        n, is_new, made = len(places), len(outputs) > len(self.outputs), dict[str, Any]()
        if n > len(self.x) or is_new:
            n_inputs = len(self.x) if n <= len(self.x) else max(n, 2 * len(self.places))
            made = self._resized(n_inputs, len(outputs))
        parameters: Parameters = made["parameters"] if made else self.parameters
        first, last = parameters.weights[0], parameters.weights[-1]
        inits = [DEFAULTS[name] for name in self.recipe.activation]
        for name in names:
            first[:, places[name]] = initial_weights(
                inits[0], (len(first), 1), self._generator(_FEATURE, name), (len(first), n)
            )[:, 0]
        if is_new:
            n_in = last.shape[1] if self.recipe.hidden else n
            last[outputs[label], :n_in] = initial_weights(
                inits[-1], (1, n_in), self._generator(_OUTPUT, label), (len(last), max(n_in, 1))
            )
        self._install(places, outputs, made)

    def _resized(self, n_inputs: int, n_outputs: int) -> dict[str, Any]:
        """Attributes of a larger network, with parameters, moments and counts in their places."""
        made = self._build(n_inputs, n_outputs)
        parameters: Parameters = made["parameters"]
        if not self.outputs:
            for l in range(1, len(self.recipe.hidden)):
                W = parameters.weights[l]
                W[...] = initial_weights(
                    DEFAULTS[self.recipe.activation[l]], W.shape, self._generator(_LAYER, l)
                )
            return made
        before = self.parameters
        for new, old in zip(self._vectors(parameters), self._vectors(before), strict=True):
            theirs, ours = before.views(old), parameters.views(new)
            for a, b in zip(
                (*ours.weights, *ours.biases), (*theirs.weights, *theirs.biases), strict=True
            ):
                a[tuple(map(slice, b.shape))] = b
        parameters.fields.counts[:] = before.fields.counts
        return made

    def _vectors(self, parameters: Parameters) -> list[FloatArray]:
        """The parameters and each moment, all laid out alike."""
        moments = parameters.fields.moments
        return [parameters.flat, *moments.reshape(-1, parameters.flat.size)]

    def _generator(self, kind: int, name: Hashable) -> np.random.Generator:
        """What draws for a feature, a layer or an output, whenever that is."""
        return np.random.default_rng([self.recipe.seed, kind, zlib.crc32(text_of(name).encode())])

    # Copies -------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        kept = ("recipe", "learning_rate", "places", "outputs", "samples")
        arrays = None
        if self.outputs:
            arrays = self.parameters.kept().copy(), self.parameters.fields.moments.copy()
        return {name: getattr(self, name) for name in kept} | {
            "n_inputs": len(self.x),
            "arrays": arrays,
        }

    def __setstate__(self, given: dict[str, Any]) -> None:
        self.recipe, self.learning_rate = given["recipe"], given["learning_rate"]
        self.samples, outputs = given["samples"], given["outputs"]
        self._install(given["places"], outputs, self._build(given["n_inputs"], len(outputs)))
        if given["arrays"] is None:
            return
        kept, moments = given["arrays"]
        try:
            self.parameters.restore(kept)
        except ValueError:  # which speaks of model files
            raise ValueError("a pickled model must be of this version of fastbp.") from None
        self.parameters.fields.moments[...] = moments
