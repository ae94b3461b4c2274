"""Multi-layer perceptrons on River's contract, one sample at a time (the ``river`` extra).

>>> from river import datasets, evaluate, metrics, preprocessing
>>> from fastbp.river import MLPClassifier
>>> model = preprocessing.StandardScaler() | MLPClassifier(learning_rate=0.05, seed=0)
>>> metric = evaluate.progressive_val_score(datasets.Phishing(), model, metrics.Accuracy())
>>> metric.get() > 0.85
True

Features and classes may come at any time. A feature that has not been seen adds an input, and a
class an output; a generator that its name seeds draws the weights, so that the order of the
features in a sample has no effect. A feature that a sample does not have is 0, which is its mean
after a ``StandardScaler``. A prediction leaves out features that have never been learned. Nothing
is removed: a class that comes no more keeps its output, and a feature its weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp import checks, kernels, optimizers
from fastbp.extras import missing
from fastbp.growing import REFUSALS, Growing, number, recipe_of

try:
    from river import base
    from river.utils import dataframe
except ImportError as error:
    raise missing("fastbp.river needs River 0.26.1 or later", "river") from error

__all__ = ["MLPClassifier", "MLPRegressor"]

# The one output of a regression.
_TARGET = "target"
_NUMBERS = tuple(name for name in kernels.LOSSES if name not in kernels.CLASSIFICATION)


class _MLP(base.Estimator):
    """What both models have in common."""

    hidden_sizes: Any
    activation: Any
    optimizer: Any
    weight_decay: Any
    clip_norm: Any
    dtype: Any
    seed: Any
    _learning_rate: Any
    _network: Growing
    learn_one: Callable[..., None]
    _target: Callable[[Any], Any]  # checks a label or a number, and gives it as Python's own
    _y_name: Any = None  # of the last series, which predictions are named after

    def _begin(self, loss: str) -> None:
        """Check the parameters of the constructor, and begin without features and classes."""
        if type(self.optimizer).__module__.startswith("river."):
            raise ValueError(
                "optimizer must be one of fastbp's, such as 'adam', with learning_rate beside it; "
                f"got River's {type(self.optimizer).__name__}, which works on dicts of weights."
            )
        self._network = Growing(recipe_of(self, loss))

    @property
    def learning_rate(self) -> Any:
        """η of the steps to come, as it was given; it may be set at any time."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self._network.set_learning_rate(value)
        self._learning_rate = value

    @property
    def _mutable_attributes(self) -> set[str]:
        return {"learning_rate"}

    def _get_params(self) -> dict[str, Any]:
        """River's, with a list for an empty tuple, of which River would read the first entry."""
        given = super()._get_params()
        return {
            name: [] if isinstance(value, tuple) and not value else value
            for name, value in given.items()
        }

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        yield {}
        yield {"hidden_sizes": (8, 4), "activation": "tanh", "optimizer": "adam"}

    def __copy__(self) -> Any:
        return copy.deepcopy(self)  # two models must not train one state

    def learn_many(self, X: Any, y: Any, w: Any = 1.0) -> None:
        """`learn_one` for each row of a data frame, in their order.

        Parameters
        ----------
        X : data frame of pandas, polars or pyarrow
            A feature in each column.
        y : series
        w : float or sequence of float, default 1.0
            For all rows, or for each.

        Raises
        ------
        ValueError
            If a row is no sample; then the model is as it was.
        DivergenceError
            As `learn_one`, for the first such row; those before it have been learned.
        """
        frame, series = dataframe.into_frame(X), dataframe.into_series(y)
        values, names = self._values(frame), frame.columns
        targets = [self._target(target) for target in series.to_list()]
        is_one = isinstance(w, (str, bytes)) or not np.iterable(w)
        weights = [w] * len(targets) if is_one else list(w)
        if not len(values) == len(targets) == len(weights):
            raise ValueError(
                "X, y and w must have the same number of rows, got "
                f"{len(values)}, {len(targets)} and {len(weights)}."
            )
        weights = [self._network.factor(weight) for weight in weights]
        self._y_name = series.name
        for row, target, weight in zip(values.tolist(), targets, weights, strict=True):
            self.learn_one(dict(zip(names, row, strict=True)), target, weight)

    def _values(self, frame: Any) -> NDArray[np.float64]:
        """The numbers of a data frame, which are finite in the model's dtype."""
        try:
            values: NDArray[np.float64] = dataframe.to_numpy(frame)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"X must have numbers in every column, encode text or leave it out: {error}"
            ) from None
        dtype = self._network.recipe.dtype
        with np.errstate(over="ignore"):
            bad = np.argwhere(~np.isfinite(values.astype(dtype)))
        if len(bad) > 0:
            row, column = bad[0]
            raise ValueError(
                f"X must hold finite {dtype} numbers, got {values[row, column]} in row {row} of "
                f"the column {frame.columns[column]!r}; fill in what is missing."
            )
        return values

    def _predicted(self, frame: Any) -> NDArray[Any]:
        """Outputs for the rows of a data frame, from the columns that are known features."""
        network, names = self._network, frame.columns
        known = [k for k, name in enumerate(names) if name in network.places]
        values = self._values(frame[:, known]) if known else np.empty((len(frame), 0))
        return network.predicted_rows(values, [names[k] for k in known])


def _label(y: Any) -> Hashable:
    """A label as Python's own value."""
    label: Any = y.item() if isinstance(y, np.generic) else y
    try:
        hash(label)
        # NaN would be a new class every time; pandas' NA is neither equal nor unequal to itself.
        is_label = label is not None and bool(label == label)
    except TypeError:
        is_label = False
    if not is_label:
        raise ValueError(f"y must be a label, such as a bool, int or str, got {checks.shown(y)}.")
    return label  # type: ignore[no-any-return]


def _normalized(outputs: list[float]) -> list[float]:
    """Probabilities that sum to 1 in double precision, from those of any dtype."""
    total = sum(outputs)
    return [value / total for value in outputs]


class MLPClassifier(_MLP, base.MiniBatchClassifier):
    """Multi-layer perceptron for any number of classes: softmax and cross-entropy.

    Scale the features: ``preprocessing.StandardScaler() | MLPClassifier()``.

    Parameters
    ----------
    hidden_sizes : sequence of int, default (20,)
        Units of each hidden layer; () is softmax regression.
    activation : str or sequence of str, default "relu"
        Of all hidden layers, or of each, as `fastbp.Network`'s.
    optimizer : str or Optimizer, default "sgd"
        A name, or one of `fastbp.optimizers`.
    learning_rate : float or callable, optional
        η, or a function that gives it from the number of samples so far, such as one of
        `fastbp.schedules`; by default the optimizer's. It may be set later, or by ``mutate``.
    weight_decay : float, optional
        λ of the penalty ½ λ ‖W‖²; by default the optimizer's.
    clip_norm : float or None, default 1000.0
        Largest norm of a sample's gradient; a greater one is scaled back to it. It is reached where
        features or targets are far from unit size, and keeps the parameters finite then. A
        sample whose gradient overflows is refused in any case; but with None, a rate that is far
        too large can make the parameters so large that every sample after it is refused, too.
    dtype : {"float64", "float32"}, default "float64"
    seed : int, optional
        Of the initial weights.

    Raises
    ------
    ValueError
        If a parameter is not one of those allowed.

    Examples
    --------
    >>> model = MLPClassifier(hidden_sizes=(8,), learning_rate=0.1, seed=0)
    >>> for _ in range(100):
    ...     model.learn_one({"sunny": 1.0}, "beach")
    ...     model.learn_one({"rainy": 1.0}, "museum")
    >>> model.predict_one({"rainy": 1.0})
    'museum'
    """

    def __init__(
        self,
        hidden_sizes: Sequence[int] = (20,),
        activation: str | Sequence[str] = "relu",
        optimizer: str | optimizers.Optimizer = "sgd",
        learning_rate: float | Callable[[int], float] | None = None,
        weight_decay: float | None = None,
        clip_norm: float | None = 1000.0,
        dtype: str = "float64",
        seed: int | None = None,
    ) -> None:
        self.hidden_sizes, self.activation, self.optimizer = hidden_sizes, activation, optimizer
        self._learning_rate, self.weight_decay = learning_rate, weight_decay
        self.clip_norm, self.dtype, self.seed = clip_norm, dtype, seed
        self._begin("cross_entropy")

    @property
    def _multiclass(self) -> bool:
        return True

    def learn_one(self, x: Mapping[Any, Any], y: Any, w: float = 1.0) -> None:
        """Take a step for one sample.

        Parameters
        ----------
        x : dict
            Features by name, finite numbers.
        y : bool, int, str or another hashable
        w : float, default 1.0
            Factor of the gradient, which may be negative.

        Raises
        ------
        ValueError
            If an argument is not of this kind; then the model is as it was.
        DivergenceError
            If the loss, the gradient or a parameter is not finite; the sample has changed nothing.
        """
        network = self._network
        try:
            label = network.outputs.get(y)
            if label is not None and network.fill(x):
                network.step(label, w)
                return
        except REFUSALS:
            pass  # `learn_new` finds the reason
        network.learn_new(x, self._target(y), None, w)

    def _target(self, y: Any) -> Hashable:
        return _label(y)

    def predict_proba_one(self, x: Mapping[Any, Any], **kwargs: Any) -> dict[Any, float]:
        """Probability of each class so far; none, before the first sample.

        Parameters
        ----------
        x : dict
            Features by name.
        **kwargs
            For River; without effect.

        Returns
        -------
        dict
            Probabilities by label.
        """
        network = self._network
        if not network.outputs:
            return {}
        outputs = network.predicted(x).tolist()
        return dict(zip(network.outputs, _normalized(outputs), strict=True))

    def predict_one(self, x: Mapping[Any, Any], **kwargs: Any) -> Any:
        """The most probable class; None, before the first sample.

        Parameters
        ----------
        x : dict
            Features by name.
        **kwargs
            For River; without effect.

        Returns
        -------
        object
            A label, or None.
        """
        network = self._network
        if not network.outputs:
            return None
        return network.labels[network.predicted(x).argmax()]

    def predict_proba_many(self, X: Any) -> Any:
        """A data frame like X with a column for each class.

        Parameters
        ----------
        X : data frame
            Features by column.

        Returns
        -------
        data frame
            A row for each row.
        """
        frame, network = dataframe.into_frame(X), self._network
        if not network.outputs:
            return frame.select([]).to_native()
        rows = self._predicted(frame).tolist()
        columns = zip(*map(_normalized, rows), strict=True) if rows else [()] * len(network.outputs)
        data = {label: list(column) for label, column in zip(network.outputs, columns, strict=True)}
        return dataframe.to_native_frame(data, like=frame)

    def predict_many(self, X: Any) -> Any:
        """The most probable class of each row, as a series.

        Parameters
        ----------
        X : data frame
            Features by column.

        Returns
        -------
        series
            In the rows' order.
        """
        frame, network = dataframe.into_frame(X), self._network
        labels: list[Any] = [None] * len(frame)
        if network.outputs:
            labels = [network.labels[k] for k in self._predicted(frame).argmax(axis=1)]
        return dataframe.to_native_series(labels, name=self._y_name, like=frame)


class MLPRegressor(_MLP, base.MiniBatchRegressor):
    """Multi-layer perceptron for a number.

    Scale the features, and a target that is far from unit size:
    ``preprocessing.StandardScaler() | preprocessing.TargetStandardScaler(MLPRegressor())``.

    Parameters
    ----------
    hidden_sizes : sequence of int, default (20,)
        Units of each hidden layer; () is linear regression.
    activation : str or sequence of str, default "relu"
        Of all hidden layers, or of each, as `fastbp.Network`'s.
    loss : {"squared_error", "huber", "absolute_error", "poisson"}, default "squared_error"
    optimizer : str or Optimizer, default "sgd"
        A name, or one of `fastbp.optimizers`.
    learning_rate : float or callable, optional
        η, or a function that gives it from the number of samples so far, such as one of
        `fastbp.schedules`; by default the optimizer's. It may be set later, or by ``mutate``.
    weight_decay : float, optional
        λ of the penalty ½ λ ‖W‖²; by default the optimizer's.
    clip_norm : float or None, default 1000.0
        Largest norm of a sample's gradient; a greater one is scaled back to it. It is reached where
        features or targets are far from unit size, and keeps the parameters finite then. A
        sample whose gradient overflows is refused in any case; but with None, a rate that is far
        too large can make the parameters so large that every sample after it is refused, too.
    dtype : {"float64", "float32"}, default "float64"
    seed : int, optional
        Of the initial weights.

    Raises
    ------
    ValueError
        If a parameter is not one of those allowed.

    Examples
    --------
    >>> model = MLPRegressor(hidden_sizes=(8,), learning_rate=0.05, seed=0)
    >>> for t in range(2000):
    ...     a, b = t % 7 / 7, t % 11 / 11
    ...     model.learn_one({"a": a, "b": b}, 2 * a - b)
    >>> round(model.predict_one({"a": 0.5, "b": 0.5}), 1)
    0.5
    """

    def __init__(
        self,
        hidden_sizes: Sequence[int] = (20,),
        activation: str | Sequence[str] = "relu",
        loss: str = "squared_error",
        optimizer: str | optimizers.Optimizer = "sgd",
        learning_rate: float | Callable[[int], float] | None = None,
        weight_decay: float | None = None,
        clip_norm: float | None = 1000.0,
        dtype: str = "float64",
        seed: int | None = None,
    ) -> None:
        self.hidden_sizes, self.activation, self.loss = hidden_sizes, activation, loss
        self.optimizer, self._learning_rate = optimizer, learning_rate
        self.weight_decay, self.clip_norm = weight_decay, clip_norm
        self.dtype, self.seed = dtype, seed
        self._begin(checks.choice("loss", loss, _NUMBERS))

    def learn_one(self, x: Mapping[Any, Any], y: float, w: float = 1.0) -> None:
        """Take a step for one sample.

        Parameters
        ----------
        x : dict
            Features by name, finite numbers.
        y : float
            A finite number.
        w : float, default 1.0
            Factor of the gradient, which may be negative.

        Raises
        ------
        ValueError
            If an argument is not of this kind; then the model is as it was.
        DivergenceError
            If the loss, the gradient or a parameter is not finite; the sample has changed nothing.
        """
        network = self._network
        try:
            if network.outputs and network.fill(x):
                network.aim(y)
                network.step(network.y, w)
                return
        except REFUSALS:
            pass  # `learn_new` finds the reason
        network.learn_new(x, _TARGET, self._target(y), w)

    def _target(self, y: Any) -> float:
        found = number("y", y, self._network.recipe.dtype)
        if found < 0 and self.loss == "poisson":
            raise ValueError(f"y must be at least 0 for the loss poisson, got {checks.shown(y)}.")
        return found

    def predict_one(self, x: Mapping[Any, Any]) -> float:
        """The predicted number; 0, before the first sample.

        Parameters
        ----------
        x : dict
            Features by name.

        Returns
        -------
        float
            In the unit of y.
        """
        network = self._network
        return network.predicted(x).item() if network.outputs else 0.0

    def predict_many(self, X: Any) -> Any:
        """The predicted number of each row, as a series.

        Parameters
        ----------
        X : data frame
            Features by column.

        Returns
        -------
        series
            In the rows' order.
        """
        frame = dataframe.into_frame(X)
        outputs = np.zeros(len(frame))
        if self._network.outputs:
            outputs = self._predicted(frame)[:, 0].astype(np.float64)
        return dataframe.to_native_series(outputs, name=self._y_name, like=frame)
