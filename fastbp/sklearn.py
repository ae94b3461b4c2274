"""scikit-learn's multi-layer perceptrons, trained by fastbp (the ``sklearn`` extra).

>>> from fastbp.sklearn import MLPClassifier  # instead of: from sklearn.neural_network import ...
>>> from sklearn.datasets import load_iris
>>> X, y = load_iris(return_X_y=True)
>>> mlp = MLPClassifier(solver="lbfgs", max_iter=1000, random_state=0)
>>> mlp.fit(X, y).score(X, y) > 0.95
True

The classes are scikit-learn's own with another engine: parameters, attributes, checks, warnings and
texts are inherited, and so is the order of random draws. The same ``random_state`` therefore gives
the same model, up to rounding. What is overridden is where scikit-learn computes: the network is
made in ``_initialize``, stochastic solvers are a `Trainer`, L-BFGS gets its gradient from an
``Objective``, and predictions are the network's.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import operator
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbp import checks, kernels, optimizers, sparse
from fastbp.callbacks import Callback
from fastbp.divergence import DivergenceError
from fastbp.exchange import skl2onnx
from fastbp.extras import missing
from fastbp.metrics import decided
from fastbp.network import Network
from fastbp.objective import Objective
from fastbp.samples import FloatArray, all_finite, balanced_weights
from fastbp.trainer import Trainer


def _too_new(what: str) -> ImportError:
    return ImportError(
        f"fastbp.sklearn overrides what scikit-learn {sys.modules['sklearn'].__version__} lacks "
        f"({what}): install an earlier version, such as 1.9."
    )


try:
    import joblib
    import sklearn
    import sklearn.neural_network
    from scipy.special import xlogy
    from sklearn.base import is_classifier
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network._multilayer_perceptron import BaseMultilayerPerceptron
    from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer
    from sklearn.utils import assert_all_finite, check_random_state, column_or_1d
    from sklearn.utils._param_validation import Interval, StrOptions
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.multiclass import unique_labels
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ImportError as error:
    if not hasattr(sys.modules.get("sklearn"), "__version__"):
        raise missing("fastbp.sklearn needs scikit-learn 1.7 or later", "sklearn") from error
    raise _too_new(str(error)) from error

# What is overridden below. Under another name, scikit-learn's own engine would work unnoticed.
_HOOKS = (
    "_fit",
    "_fit_lbfgs",
    "_fit_stochastic",
    "_forward_pass_fast",
    "_init_coef",
    "_initialize",
    "_loss_grad_lbfgs",
    "_parameter_constraints",
    "_predict",
    "_score",
    "_unpack",
    "_validate_input",
)


def _require_hooks() -> None:
    for theirs in (sklearn.neural_network.MLPClassifier, sklearn.neural_network.MLPRegressor):
        for hook in _HOOKS:
            if not hasattr(theirs, hook):
                raise _too_new(f"{theirs.__name__} has no {hook}")


_require_hooks()

# scikit-learn's name of a unit's activation, and ours.
_OUR_NAMES = {"logistic": "sigmoid"}
_THEIR_NAMES = {ours: theirs for theirs, ours in _OUR_NAMES.items()}
_THEIR_ACTIVATIONS = ("identity", "logistic", "tanh", "relu")


def _warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn as if from where scikit-learn does, so that filters by module hold."""
    module = sys.modules[BaseMultilayerPerceptron.__module__]
    line = BaseMultilayerPerceptron._fit_stochastic.__code__.co_firstlineno
    registry = vars(module).setdefault("__warningregistry__", {})
    warnings.warn_explicit(message, category, str(module.__file__), line, module.__name__, registry)


def _checked_sparse(X: Any, name: str = "X") -> Any:
    """X, or CSR rows of it that SciPy can index safely."""
    return sparse.check_sparse(X, name) if sparse.is_sparse(X) else X


class _Shuffled:
    """scikit-learn's random orders: an epoch's is the last one's, shuffled again.

    Draws are those of `sklearn.utils.shuffle`, which takes four times as long.
    """

    def __init__(self, random_state: np.random.RandomState) -> None:
        self.random_state = random_state
        self.rows: NDArray[np.int64] | None = None

    def __call__(self, n: int) -> NDArray[np.int64]:
        rows = np.arange(n) if self.rows is None else self.rows
        self.rows = rows[self.random_state.permutation(n)]
        return self.rows


def _poisson_shift(y: NDArray[Any]) -> NDArray[Any]:
    """By how much half the deviance of each row exceeds our loss."""
    shift: NDArray[Any] = (xlogy(y, y) - y).sum(axis=1)
    return shift


def _mean_by_batches(values: NDArray[Any], weights: NDArray[Any], batch_size: int) -> float:
    """Mean of the batches' weighted means, each counting as many times as it has rows."""
    starts = np.arange(0, len(values), batch_size)
    totals = np.add.reduceat(weights, starts)
    sums = np.add.reduceat(weights * values, starts)
    means = np.divide(sums, totals, out=np.zeros_like(sums), where=totals > 0)
    return float(np.average(means, weights=np.diff(starts, append=len(values))))


def _class_weights(given: Any, classes: NDArray[Any], codes: NDArray[Any]) -> NDArray[Any]:
    """Weight of each row by its class; its code is the place of the class in ``classes``."""
    if isinstance(given, str):
        return np.asarray(balanced_weights(codes, len(classes))[codes])
    names = classes.tolist()
    if all(name in given for name in names):  # others may be classes of other rows
        given = {name: given[name] for name in names}
    weights = checks.class_weight(given, names, np.dtype(np.float64))
    each: NDArray[np.float64] = np.array(weights, np.float64)[codes]
    return each


def _not_finite() -> ValueError:
    return ValueError(
        "Solver produced non-finite parameter weights. The input data may"
        " contain large values and need to be preprocessed."
    )


class _OverflowingOutputsError(ValueError):
    """Nothing can be scored, because outputs are not finite."""


class _HeldOut(NamedTuple):
    """Rows that a model is scored on while others train it."""

    X: Any
    y: Any
    """Labels, or numbers."""
    sample_weight: Any
    encoded: Any
    """The same as rows of targets."""


class _Epochs(Callback):
    """What scikit-learn does after an epoch: records, early stopping, the learning rate."""

    def __init__(
        self,
        mlp: _Engine,
        n: int,
        held_out: _HeldOut | None,
        incremental: bool,
        shift: Callable[[], float] | None,
    ) -> None:
        self.mlp, self.n, self.held_out, self.incremental = mlp, n, held_out, incremental
        self.shift = shift
        self.keeps_best = mlp.early_stopping or (mlp.restore_best_weights and not incremental)
        self.best = -np.inf  # score of this fit; scikit-learn's own goes on with warm_start

    @property
    def has_best(self) -> bool:
        """Whether there is an epoch whose parameters can be given back."""
        best = self.mlp.best_validation_score_ if self.mlp.early_stopping else self.best
        return self.keeps_best and best > -np.inf

    def on_epoch(self, trainer: Trainer) -> None:
        """Note it, and stop if it is time."""
        mlp = self.mlp
        if self.shift is not None:
            mlp._scale = mlp._scale[0], self.shift()
        self._record(
            mlp._on_their_scale(trainer.history.train_loss[-1]) + trainer.workings.runs.penalty
        )
        if mlp.verbose:
            print(f"Iteration {mlp.n_iter_}, loss = {mlp.loss_:.8f}")
        if self._score_is_nan():
            self.diverge()
            trainer.stop()
            return
        mlp._next_rate()
        stops = False
        if mlp._no_improvement_count > mlp.n_iter_no_change:
            what = "Validation score" if mlp.early_stopping else "Training loss"
            message = (
                f"{what} did not improve more than tol={mlp.tol:f} for "
                f"{mlp.n_iter_no_change} consecutive epochs."
            )
            stops = mlp._optimizer.trigger_stopping(message, mlp.verbose)
            if not stops:
                mlp._no_improvement_count = 0
        mlp._set_rate()
        if stops:
            mlp.stopped_ = self.incremental and mlp.early_stopping
            trainer.stop()
        elif not self.incremental and mlp.n_iter_ == mlp.max_iter:
            _warn(
                f"Stochastic Optimizer: Maximum iterations ({mlp.max_iter}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
            )

    def _record(self, loss: float) -> None:
        """Count an epoch, with its loss in the dtype that scikit-learn has it in."""
        mlp = self.mlp
        mlp.n_iter_ += 1
        mlp.t_ += self.n
        mlp.loss_ = mlp._loss_type(loss)
        mlp.loss_curve_.append(mlp.loss_)

    def _score_is_nan(self) -> bool:
        """Score the epoch, count it if it is no improvement, and keep the best parameters.

        True if the score, by which the best epoch is found, is NaN.
        """
        mlp, held_out = self.mlp, self.held_out
        if mlp.early_stopping:
            assert held_out is not None
            mlp._update_no_improvement_count(True, held_out.X, held_out.y, held_out.sample_weight)
            return bool(np.isnan(mlp.validation_scores_[-1]))
        mlp._update_no_improvement_count(False, None, None, None)
        score = -mlp.loss_
        if held_out is not None:
            score = mlp._score(held_out.X, held_out.y, held_out.sample_weight)
            mlp.validation_scores_.append(score)
            if score > mlp.best_validation_score_:
                mlp.best_validation_score_ = score
        if self.keeps_best and score > self.best:
            self.best = score
            mlp._best_coefs = [W.copy() for W in mlp.coefs_]
            mlp._best_intercepts = [b.copy() for b in mlp.intercepts_]
        return self.keeps_best and bool(np.isnan(score))

    def on_divergence(self, trainer: Trainer, error: DivergenceError) -> str:
        """Note the epoch, because `on_epoch` was not called."""
        self._record(np.nan)
        if self.held_out is not None:
            self.mlp.validation_scores_.append(np.nan)
        return ""  # the error is raised, unless another callback knows what to do

    def diverge(self, error: DivergenceError | None = None) -> None:
        """End with the best epoch after one whose parameters, loss or score are not finite.

        Raises
        ------
        ValueError
            In scikit-learn's words, if there is no such epoch.
        """
        mlp = self.mlp
        if not self.has_best:
            raise _not_finite() from error
        mlp.stopped_ = self.incremental
        _warn(
            f"Training diverged in epoch {mlp.n_iter_}: the weights of the best epoch are restored."
            f" Lower learning_rate_init ({mlp.learning_rate_init:g}) or scale the inputs to about "
            "unit size.",
            ConvergenceWarning,
        )


_SMALLEST = {
    np.dtype(name): float(np.finfo(name).smallest_subnormal) for name in ("float32", "float64")
}
# Attributes that scikit-learn's estimators do not have, or have of another kind.
_OURS = {
    "trainer_", "stopped_", "_optimizer", "_views", "_scale", "_loss_type", "_passes_alone",
    "_generator",
}  # fmt: skip
# Types that hold several numbers or names. Sets and mappings have no order, bytes hold no names.
_SEVERAL = [list, tuple, range, np.ndarray]


class _Engine(BaseMultilayerPerceptron):
    """What both estimators override of scikit-learn's, and their parameters besides."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseMultilayerPerceptron._parameter_constraints,
        "hidden_layer_sizes": [*_SEVERAL, Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({*_THEIR_ACTIVATIONS, *kernels.HIDDEN}), *_SEVERAL],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"}), callable],
        "optimizer": [StrOptions(set(optimizers.OPTIMIZERS)), optimizers.Optimizer, None],
        "dropout": [Interval(Real, 0, 1, closed="left"), *_SEVERAL],
        "restore_best_weights": ["boolean"],
        "n_jobs": [Integral, None],
        "dtype": "no_validation",  # those below are checked where they are used
        "callbacks": "no_validation",
    }

    trainer_: Trainer
    stopped_: bool
    loss_: float
    best_loss_: float | None
    validation_scores_: Any
    best_validation_score_: Any
    _passes_alone = False  # whether the last call was of partial_fit

    def _take(self, given: dict[str, Any]) -> None:
        """Keep the parameters of the constructor, as scikit-learn's do."""
        for name in self._get_param_names():
            setattr(self, name, given[name])

    # The network is the one place of the parameters: coefs_ and intercepts_ are views of it.

    def _link(self) -> None:
        network = self.trainer_.network
        self.coefs_ = [W.T for W in network.weights]
        self.intercepts_ = list(network.biases)
        self._views = (*self.coefs_, *self.intercepts_)

    def _set_parameters(
        self, coefs: Sequence[FloatArray], intercepts: Sequence[FloatArray]
    ) -> None:
        for view, value in zip(self._views, (*coefs, *intercepts), strict=True):
            view[...] = value

    def _hidden(self, n_hidden: int) -> tuple[str, ...]:
        """Our names of the hidden layers' activations, by the parameter."""
        given = self.activation
        if isinstance(given, np.ndarray):
            given = given.tolist()  # of no dimensions a text
        if isinstance(given, str):
            given = [given] * n_hidden
        names = [_OUR_NAMES.get(name, name) if isinstance(name, str) else name for name in given]
        return checks.hidden_activations(names, n_hidden)

    def _loss_name(self) -> str:
        """Our name of the loss, by the parameter."""
        if self.loss == "log_loss":
            return "cross_entropy" if self.out_activation_ == "softmax" else "binary_cross_entropy"
        return str(self.loss)

    def _make_network(self, hidden: Sequence[str], loss: str) -> Network:
        """Make a network of coefs_ and intercepts_, and its trainer."""
        coefs, intercepts = self.coefs_, self.intercepts_
        network = Network(
            [len(coefs[0]), *(len(b) for b in intercepts)],
            activation=hidden,
            loss=loss,
            output=_OUR_NAMES.get(self.out_activation_, self.out_activation_),
            dtype=np.result_type(coefs[0], np.float32),
            seed=0,
        )
        self.trainer_ = Trainer(network)
        self.__dict__.pop("_optimizer", None)  # its state is of another network
        self._link()
        self._set_parameters(coefs, intercepts)
        return network

    def _network(self) -> Network:
        """The network as it was fitted, with what has been assigned to coefs_ and intercepts_."""
        given = (*self.coefs_, *self.intercepts_)
        views = getattr(self, "_views", ())
        if len(given) == len(views):
            network = self.trainer_.network
            if all(map(operator.is_, given, views)):
                return network
            if [np.shape(a) for a in given] != [np.shape(b) for b in views]:
                return self._make_network(network.activations[:-1], network.loss_name)
            self._set_parameters(self.coefs_, self.intercepts_)
            self._link()
            return network
        return self._make_network(self._hidden(len(self.intercepts_) - 1), self._loss_name())

    def _check_unchanged(self, y: NDArray[Any]) -> None:
        """Refuse parameters and targets that a fitted network cannot go on with."""
        for name, old, new in self._kept(self._network(), y):
            if new != old:
                raise ValueError(
                    f"{name} must be {old} again where warm_start or partial_fit goes on with a "
                    f"fitted model, got {new}."
                )

    def _kept(self, network: Network, y: NDArray[Any]) -> Iterator[tuple[str, Any, Any]]:
        """What must stay as it was fitted: its name, the network's value, and the one asked for."""
        sizes = tuple(np.ravel(self.hidden_layer_sizes).tolist())
        yield "hidden_layer_sizes", network.sizes[1:-1], sizes
        yield "activation", network.activations[:-1], self._hidden(len(sizes))
        yield "loss", network.loss_name, self._loss_name()
        yield "y.shape[1]", network.sizes[-1], 1 if y.ndim == 1 else y.shape[1]
        if self.dtype is not None:
            yield "dtype", network.dtype, checks.dtype(self.dtype)

    def __getstate__(self) -> dict[str, Any]:
        if hasattr(self, "coefs_"):
            self._network()
        state = dict(super().__getstate__())
        state.pop("_generator", None)  # seeded at each fit: not to be shared with a copy
        if "trainer_" in state:
            for views in ("coefs_", "intercepts_", "_views"):
                del state[views]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if hasattr(self, "trainer_"):
            self._link()

    # Fitting ------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, eval_set: Any = None) -> _Engine:
        """Fit the model.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional
        eval_set : (X, y), optional
            Rows to score every epoch on, in ``validation_scores_``; with ``early_stopping`` they
            take the place of a share of the training rows.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As scikit-learn's, and if ``eval_set`` does not fit.
        """
        with self._scored_on(eval_set):
            super().fit(X, y, sample_weight)
        return self

    @contextlib.contextmanager
    def _scored_on(self, eval_set: Any) -> Iterator[None]:
        """Lay ``eval_set`` ready for the fit: scikit-learn's methods have no argument for it."""
        self._eval_set = eval_set
        try:
            with np.errstate(all="ignore"):  # as the kernels do
                yield
        finally:
            del self._eval_set

    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        goes_on = incremental and not (reset or self.warm_start)
        checked = self._checked_targets(X, y) if goes_on else None
        if checked is None:
            X, checked = super()._validate_input(_checked_sparse(X), y, incremental, reset)
        if not reset:
            self._check_unchanged(checked)
        if self.dtype is not None:
            X = X.astype(checks.dtype(self.dtype), copy=False)
        return X, checked

    def _checked_targets(self, X: Any, y: Any) -> NDArray[Any] | None:
        """What scikit-learn's checks, which take far longer than a step, would make of y.

        None where they would not pass X as it is, or may have something to say.
        """
        if not (
            self._passes_as_it_is(X)
            and type(y) is np.ndarray
            and y.shape == (len(X),)
            and np.isfinite(X).all()
        ):
            return None
        if not is_classifier(self):
            return y if y.dtype.kind in "iuf" and np.isfinite(y).all() else None
        classes, kind = self.classes_, y.dtype.kind
        if (
            kind not in "iuU"
            or kind != classes.dtype.kind
            or len(classes) < 2
            or self._label_binarizer.y_type_ not in ("binary", "multiclass")
        ):
            return None
        rows: NDArray[np.bool_] = y[:, np.newaxis] == classes
        if not rows.any(axis=1).all():
            return None
        return rows if len(classes) > 2 else rows[:, 1:]

    def _fit(self, X: Any, y: Any, sample_weight: Any = None, incremental: bool = False) -> _Engine:
        """As scikit-learn's, without the scratch that its engine needs."""
        if incremental and self.early_stopping and getattr(self, "stopped_", False):
            return self
        sizes = self._sizes()
        is_first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, y = self._validate_input(X, y, incremental, reset=is_first)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        if y.ndim == 1:
            y = y.reshape(-1, 1)
        self.n_outputs_ = y.shape[1]
        units = [X.shape[1], *sizes, self.n_outputs_]
        self._random_state = self._seeded()
        if is_first:
            self._initialize(y, units, X.dtype)
        if self.solver == "lbfgs":
            self._fit_lbfgs(X, y, sample_weight, *[None] * 4, units)
        else:
            self._fit_stochastic(X, y, sample_weight, incremental)
        if self._network().first_nonfinite_layer() is not None:
            raise _not_finite()
        return self

    def _sizes(self) -> list[int]:
        """Units of the hidden layers, by the parameter."""
        given = self.hidden_layer_sizes
        is_one = not isinstance(given, Iterable) or getattr(given, "ndim", 1) == 0
        sizes = [given] if is_one else list(given)
        for size in sizes:
            if not isinstance(size, Integral) or isinstance(size, bool):
                raise ValueError(
                    f"hidden_layer_sizes must hold integers, got {checks.shown(size)}."
                )
        if any(size <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return sizes

    def _seeded(self) -> np.random.RandomState:
        """The random numbers of a fit; making a generator anew takes longer than a step."""
        seed: Any = self.random_state
        if not isinstance(seed, Integral):
            state: np.random.RandomState = check_random_state(seed)
            return state
        if "_generator" not in vars(self):
            self._generator = np.random.RandomState()
        self._generator.seed(operator.index(seed))
        return self._generator

    def _initialize(self, y: Any, layer_units: list[int], dtype: np.dtype[Any]) -> None:
        hidden = self._hidden(len(layer_units) - 2)
        super()._initialize(y, layer_units, dtype)
        if is_classifier(self) and self.loss != "log_loss":
            self.out_activation_ = "logistic"
        self._make_network(hidden, self._loss_name())

    def _init_coef(self, fan_in: int, fan_out: int, dtype: np.dtype[Any]) -> Any:
        """Hide an array of activations, which scikit-learn would compare with a name."""
        name = self.activation if isinstance(self.activation, str) else ""
        named = SimpleNamespace(activation=name, _random_state=self._random_state)
        return BaseMultilayerPerceptron._init_coef(named, fan_in, fan_out, dtype)

    def _targets(self, y: NDArray[Any]) -> NDArray[Any]:
        """Rows of scikit-learn's targets as the network takes them."""
        return np.asarray(np.argmax(y, axis=1) if self.out_activation_ == "softmax" else y)

    def _training_weights(self, y: NDArray[Any], sample_weight: Any) -> Any:
        """Sample weights times class weights."""
        if sample_weight is not None and np.min(sample_weight) < 0:
            raise ValueError(
                f"sample_weight must be at least 0 everywhere, got {np.min(sample_weight)}."
            )
        given = getattr(self, "class_weight", None)
        if given is None:
            return sample_weight
        if self._label_binarizer.y_type_.startswith("multilabel"):
            columns, classes, what = list(y.T), np.arange(2), f"a list of {y.shape[1]} mappings"
            each = [given] * len(columns) if isinstance(given, str) else given
        else:
            columns, classes, what = [y[:, 0]], self.classes_, "a mapping"
            if y.shape[1] > 1:
                columns = [np.argmax(y, axis=1)]
            each = [given]
        if (
            not isinstance(each, list)
            or len(each) != len(columns)
            or not all(isinstance(one, Mapping) or one == "balanced" for one in each)
        ):
            raise ValueError(
                f'class_weight must be {what} from classes to weights, "balanced" or None; '
                f"got {checks.shown(given)}."
            )
        weights = 1.0 if sample_weight is None else sample_weight
        for one, codes in zip(each, columns, strict=True):
            weights = weights * _class_weights(one, classes, codes.astype(np.int64))
        return weights

    def _decay(self, weights: Any, dtype: np.dtype[Any]) -> float:
        """Alpha over the mean weight, because the trainer divides weights by their mean."""
        mean = 1.0
        if weights is not None:
            largest = float(np.max(weights))
            mean = largest * float(np.mean(weights / largest))
        decay = float(dtype.type(float(self.alpha) / mean)) if mean > 0 else np.inf
        if not np.isfinite(decay):
            raise ValueError(
                f"alpha divided by the mean weight must be a finite {dtype} number, got "
                f"{self.alpha!r} / {mean!r}."
            )
        return decay

    def _weighs_nothing(self, weights: Any, incremental: bool) -> bool:
        """Whether there is nothing to learn from: no weight, no step."""
        if weights is None or np.any(weights):
            return False
        self.stopped_ = False
        if not incremental:
            self.loss_, self.n_iter_ = 0.0, 0
            _warn("All rows to train on weigh 0: no step is taken.")
        return True

    def _hold_out(
        self, X: Any, y: NDArray[Any], sample_weight: Any
    ) -> tuple[Any, NDArray[Any], Any, _HeldOut | None]:
        """Rows to train on with their targets and weights, and those to score on, if any."""
        if self._eval_set is not None:
            return X, y, sample_weight, self._given_rows(self._eval_set)
        if not self.early_stopping:
            return X, y, sample_weight, None
        # As scikit-learn, which stratifies by a column: of two classes.
        stratify = y if is_classifier(self) and self.n_outputs_ == 1 else None
        parts = (X, y) if sample_weight is None else (X, y, sample_weight)
        split = train_test_split(
            *parts,
            random_state=self._random_state,
            test_size=self.validation_fraction,
            stratify=stratify,
        )
        if split[1].shape[0] < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' "
                "or the size of your dataset."
            )
        encoded = split[3]
        labels = (
            self._label_binarizer.inverse_transform(encoded) if is_classifier(self) else encoded
        )
        weights = (None, None) if sample_weight is None else split[4:]
        if not np.any(weights[1]):  # a score needs some weight: without any, all rows count alike
            weights = weights[0], None
        return split[0], split[2], weights[0], _HeldOut(split[1], labels, weights[1], encoded)

    def _given_rows(self, eval_set: Any) -> _HeldOut:
        X, y = checks.pair("eval_set", eval_set)
        X, y = validate_data(
            self,
            _checked_sparse(X, "eval_set X"),
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            y_numeric=not is_classifier(self),
            dtype=(np.float64, np.float32),
            reset=False,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y)
        if len(y) < 2:
            raise ValueError(f"eval_set must have at least 2 rows to be scored, got {len(y)}.")
        n_outputs = 1 if y.ndim == 1 else y.shape[1]
        if not is_classifier(self):
            if n_outputs != self.n_outputs_:
                raise ValueError(
                    f"eval_set y must have {self.n_outputs_} outputs as y has, got {n_outputs}."
                )
            return _HeldOut(X, y, None, y.reshape(len(y), -1))
        if (y.ndim == 2) != self._label_binarizer.y_type_.startswith("multilabel"):
            raise ValueError(
                f"eval_set y must be of the kind of y, {self._label_binarizer.y_type_}, got shape "
                f"{y.shape}."
            )
        if len(unknown := np.setdiff1d(unique_labels(y), self.classes_)):
            raise ValueError(
                f"eval_set has classes not in `self.classes_`: {unknown}. `self.classes_` has "
                f"{self.classes_}."
            )
        return _HeldOut(X, y, None, self._label_binarizer.transform(y).astype(bool))

    def _n_threads(self) -> int | None:
        if self.n_jobs is not None:
            return int(joblib.effective_n_jobs(self.n_jobs))
        # A thread of the caller's, such as joblib's, is one of several that are busy.
        return None if threading.current_thread() is threading.main_thread() else 1

    def _batch_size(self, n: int) -> int:
        if isinstance(self.batch_size, str):
            return min(200, n)
        if self.batch_size > n:
            _warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped"
            )
        return int(min(self.batch_size, n))

    def _begin(self, network: Network, draws: bool = False) -> None:
        """A new trainer, and scikit-learn's optimizer without parameters: it keeps the rate.

        ``draws`` says that the trainer draws orders itself.
        """
        optimizer: Any = self.optimizer
        if self.solver == "sgd" or optimizer is not None:
            self._optimizer = SGDOptimizer(
                [],
                self.learning_rate_init,
                self.learning_rate,
                self.momentum,
                self.nesterovs_momentum,
                self.power_t,
            )
        else:
            self._optimizer = AdamOptimizer([], self.learning_rate_init)
        if optimizer is None and self.solver == "adam":
            optimizer = optimizers.Adam(
                float(self.beta_1), float(self.beta_2), float(self.epsilon), uncorrected_eps=True
            )
        elif optimizer is None:
            nesterov = bool(self.nesterovs_momentum and self.momentum)
            optimizer = optimizers.SGD(float(self.momentum), nesterov=nesterov, velocity=True)
        draws = draws or bool(np.any(np.asarray(self.dropout) != 0))
        self.trainer_ = Trainer(
            network,
            optimizer,
            reduction="batch",
            seed=int(self._random_state.randint(2**31)) if draws else 0,
        )
        self.trainer_.knows_sizes = True  # scikit-learn does not warn of them
        self._set_rate()

    def _set_rate(self) -> None:
        """Give the trainer its rate of the next epoch, or the schedule."""
        trainer = self.trainer_
        if callable(self.learning_rate):
            trainer.learning_rate = self.learning_rate
            return
        kind = trainer.network.dtype
        # A rate that underflows becomes the smallest number above 0.
        rate = max(float(self._optimizer.learning_rate), _SMALLEST[kind])
        if trainer.learning_rate != rate:
            trainer.learning_rate = checks.rate("learning_rate_init", rate, kind)

    def _next_rate(self) -> None:
        """Have scikit-learn's optimizer find the rate of the next epoch."""
        try:
            self._optimizer.iteration_ends(self.t_)
        except OverflowError:  # of what the first rate is divided by
            self._optimizer.learning_rate = 0.0

    def _begin_records(self, held_out: _HeldOut | None, incremental: bool) -> None:
        """Begin records that scikit-learn lacks: of eval_set, and of early stopping in passes."""
        self.n_iter_ = 0
        self.stopped_ = False
        if incremental and self.early_stopping and not self._passes_alone:
            self._no_improvement_count = 0  # what a fit has counted is over
        self._passes_alone = incremental
        if held_out is not None and self.validation_scores_ is None:
            self.validation_scores_, self.best_validation_score_ = [], -np.inf
        if not self.early_stopping and self.best_loss_ is None:
            self.best_loss_ = np.inf

    def _fit_stochastic(
        self, X: Any, y: NDArray[Any], sample_weight: Any, incremental: bool
    ) -> None:
        network = self._network()
        if not incremental or not hasattr(self, "_optimizer"):
            self._begin(network)
        sample_weight = self._training_weights(y, sample_weight)
        if self._weighs_nothing(sample_weight, incremental):
            return
        X, y, sample_weight, held_out = self._hold_out(X, y, sample_weight)
        self._begin_records(held_out, incremental)
        if self._weighs_nothing(sample_weight, incremental):
            return
        trainer, n = self.trainer_, len(y)
        self._set_options(n, y, sample_weight)
        orders = _Shuffled(self._random_state)
        # A row alone has one order: for that no function is checked.
        trainer.shuffle = orders if self.shuffle and n > 1 else bool(self.shuffle)
        shift = self._shift_by_batches(y, sample_weight, orders)
        train = functools.partial(trainer.fit, X, self._targets(y), sample_weight=sample_weight)
        try:
            self._run(train, _Epochs(self, n, held_out, incremental, shift))
        finally:
            # The state of ``orders`` is not the trainer's, which can be saved without it.
            trainer.shuffle = bool(self.shuffle)

    def _set_options(self, n: int, y: NDArray[Any], sample_weight: Any) -> None:
        """Give the trainer what the parameters say, for a fit to n rows."""
        trainer = self.trainer_
        trainer.batch_size = self._batch_size(n)
        trainer.weight_decay = self._decay(sample_weight, trainer.network.dtype)
        trainer.dropout = self.dropout
        trainer.n_threads = self._n_threads()
        trainer.clip = self._note_scale(y, sample_weight)
        self._set_rate()

    def _fit_pieces(
        self, source: Any, n: int, y: NDArray[Any], mean_weight: float = 1.0, **options: Any
    ) -> None:
        """Train on a stream of n rows, whose y is like the one given.

        For subclasses. Weights have been divided by ``mean_weight``; ``options`` are those of
        `Trainer.fit_stream`.
        """
        self._begin(self._network(), draws=True)
        held_out = None if self._eval_set is None else self._given_rows(self._eval_set)
        self._begin_records(held_out, incremental=False)
        self._set_options(n, y, None)
        trainer = self.trainer_
        trainer.weight_decay = self._decay(np.array([mean_weight]), trainer.network.dtype)
        train = functools.partial(self.trainer_.fit_stream, source, shuffle=self.shuffle, **options)
        self._run(train, _Epochs(self, n, held_out, False, None))

    def _run(self, train: Callable[..., Any], epochs: _Epochs) -> None:
        """Train, with what scikit-learn does after an epoch, and what it says in the end."""
        incremental, held_out = epochs.incremental, epochs.held_out
        own = self.callbacks
        own = () if own is None else tuple(own) if isinstance(own, Iterable) else (own,)
        try:
            train(
                epochs=1 if incremental else self.max_iter,
                eval_set=(held_out.X, self._targets(held_out.encoded))
                if own and held_out
                else None,
                callbacks=[epochs, *own],
                progress=False,
            )
        except KeyboardInterrupt:
            _warn("Training interrupted by user.")
        except DivergenceError as error:
            epochs.diverge(error)
        if epochs.has_best and (self.stopped_ or not incremental):
            self._set_parameters(self._best_coefs, self._best_intercepts)

    def _fit_lbfgs(self, X: Any, y: NDArray[Any], sample_weight: Any, *scratch: Any) -> None:
        unused = {
            "optimizer": self.optimizer is not None,
            "callbacks": self.callbacks is not None,
            "eval_set": self._eval_set is not None,
            "dropout": np.any(np.asarray(self.dropout) != 0),
        }
        if any(unused.values()):
            names = " and ".join(name for name, is_given in unused.items() if is_given)
            raise ValueError(
                f"{names} must not be given for the solver 'lbfgs'; use the solver sgd or adam."
            )
        network = self._network()
        sample_weight = self._training_weights(y, sample_weight)
        if self._weighs_nothing(sample_weight, incremental=False):
            return
        decay = self._decay(sample_weight, network.dtype) / len(y)
        clip = self._note_scale(y, sample_weight)
        samples = network.samples(X, self._targets(y), sample_weight)._replace(clip=clip)
        self._objective = Objective(network, samples, weight_decay=decay)
        try:
            super()._fit_lbfgs(X, y, sample_weight, *scratch)
        finally:
            del self._objective
        penalty = network.parameters.penalty(decay, 0.0)
        self.loss_ = self._on_their_scale(self.loss_ - penalty - self._scale[1]) + penalty

    def _loss_grad_lbfgs(
        self, packed: NDArray[np.float64], *arguments: Any
    ) -> tuple[float, NDArray[np.float64]]:
        self._unpack(packed)
        network = self.trainer_.network
        loss, gradient = self._objective.value_and_grad()
        weights, biases = network.views(gradient)
        return loss + self._scale[1], np.concatenate([*(W.T.ravel() for W in weights), *biases])

    def _unpack(self, packed: NDArray[np.float64]) -> None:
        coefs = [packed[start:stop].reshape(shape) for start, stop, shape in self._coef_indptr]
        self._set_parameters(coefs, [packed[start:stop] for start, stop in self._intercept_indptr])

    def _note_scale(self, y: NDArray[Any], sample_weight: Any) -> float:
        """Note scikit-learn's loss as a multiple of ours plus a number, and its dtype.

        Returns where scikit-learn clips probabilities.
        """
        factor, shift = 1.0, 0.0
        if self.loss == "squared_error" and not is_classifier(self):
            factor = 1 / self.n_outputs_  # the mean over outputs
        elif self.loss == "poisson":  # the deviance
            weights = None if sample_weight is None else sample_weight / np.max(sample_weight)
            shift = float(np.average(_poisson_shift(y), weights=weights))
        self._scale = factor, shift
        kind = self.trainer_.network.dtype
        # A class is a truth value there, and the logarithm of its probability a float64.
        given = [np.float64 if is_classifier(self) else y]
        given += [] if sample_weight is None else [sample_weight]
        self._loss_type = np.result_type(kind, *given).type
        return float(np.finfo(kind).eps) if self.loss == "log_loss" else 0.0

    def _shift_by_batches(
        self, y: NDArray[Any], sample_weight: Any, orders: _Shuffled
    ) -> Callable[[], float] | None:
        """A function that gives an epoch's shift of the loss, where it depends on the order."""
        batch_size = self.trainer_.batch_size
        if self.loss != "poisson" or sample_weight is None or batch_size == 1:
            return None
        each, weights = _poisson_shift(y), sample_weight / np.max(sample_weight)

        def shift() -> float:
            rows = slice(None) if orders.rows is None else orders.rows
            return _mean_by_batches(each[rows], weights[rows], batch_size)

        return shift

    def _on_their_scale(self, loss: float) -> float:
        factor, shift = self._scale
        return factor * loss + shift

    # Prediction ---------------------------------------------------------------------------------

    def _forward_pass_fast(self, X: Any, check_input: bool = True) -> FloatArray:
        with np.errstate(all="ignore"):  # as the kernels do
            if check_input and not self._passes_as_it_is(X):
                X = validate_data(
                    self,
                    _checked_sparse(X),
                    accept_sparse=["csr", "csc"],
                    reset=False,
                    ensure_all_finite=False,
                )
            check = check_input and not sklearn.get_config()["assume_finite"]
            try:
                outputs = self._network().outputs(X, self._n_threads(), check)
            except ValueError:
                if check:  # if X is not finite, say so in scikit-learn's words
                    assert_all_finite(X, estimator_name=type(self).__name__, input_name="X")
                raise
            if not (check_input or all_finite(outputs)):
                raise _OverflowingOutputsError
        return outputs

    def _score(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        try:
            if sample_weight is None and is_classifier(self) and y.ndim == 1:
                # The accuracy, which scikit-learn's checks make longer than some epochs.
                return float((self._predict(X, check_input=False) == y).mean())
            return super()._score(X, y, sample_weight)
        except _OverflowingOutputsError:
            return np.nan

    def _passes_as_it_is(self, X: Any) -> bool:
        """Whether `validate_data`, which takes longer than a few predictions, would return X."""
        return (
            type(X) is np.ndarray
            and X.dtype in (np.float64, np.float32)
            and X.ndim == 2
            and X.shape[1] == self.n_features_in_
            and len(X) > 0
            and not hasattr(self, "feature_names_in_")
        )

    # Exchange -----------------------------------------------------------------------------------

    @property
    def network_(self) -> Network:
        """The fitted network, with what has been assigned to ``coefs_`` and ``intercepts_``.

        Its outputs are probabilities, or numbers; it does not know the labels of classes.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If it is not fitted.
        """
        check_is_fitted(self)
        return self._network()

    @classmethod
    def from_sklearn(cls, estimator: Any) -> Any:
        """Take over a fitted estimator of scikit-learn's.

        Parameters
        ----------
        estimator : sklearn.neural_network.MLPClassifier or MLPRegressor
            Fitted; it is copied. Of its optimizer, only the learning rate is taken over: the
            moments of a `partial_fit` that goes on begin anew.

        Returns
        -------
        MLPClassifier or MLPRegressor
            With the same parameters, weights and records; predictions agree to rounding.

        Raises
        ------
        ValueError
            If it is not the estimator that this class stands for.
        sklearn.exceptions.NotFittedError
            If it is not fitted.
        """
        if not isinstance(estimator, cls._theirs):
            raise ValueError(
                f"estimator must be a sklearn.neural_network.{cls._theirs.__name__}, got "
                f"{type(estimator).__name__}."
            )
        check_is_fitted(estimator)
        parameters = estimator.get_params(deep=False)
        ours = cls(**parameters)
        _copy_state(estimator, ours, {*parameters, *_OURS})
        loss = {"identity": "squared_error", "exp": "poisson"}.get(ours.out_activation_)
        hidden = ours._hidden(len(ours.intercepts_) - 1)
        ours._make_network(hidden, loss or ours._loss_name())
        if rate := getattr(getattr(estimator, "_optimizer", None), "learning_rate", None):
            ours._begin(ours.trainer_.network)
            if estimator.solver == "sgd":
                ours._optimizer.learning_rate = ours.trainer_.learning_rate = rate
        return ours

    def to_sklearn(self) -> Any:
        """Give an estimator of scikit-learn's with these weights.

        Returns
        -------
        sklearn.neural_network.MLPClassifier or MLPRegressor
            Fitted, and independent of this one; predictions agree to rounding. Parameters that
            scikit-learn does not have are left out: they matter to training alone.

        Raises
        ------
        ValueError
            If it has an activation or a loss that scikit-learn does not have.
        sklearn.exceptions.NotFittedError
            If it is not fitted.
        """
        check_is_fitted(self)
        network = self._network()
        names = {_THEIR_NAMES.get(name, name) for name in network.activations[:-1]} or {"relu"}
        if len(names) > 1 or not names <= set(_THEIR_ACTIVATIONS):
            raise ValueError(
                "activation must be one of scikit-learn's for all hidden layers, "
                f"{', '.join(_THEIR_ACTIVATIONS)}; got {', '.join(network.activations[:-1])}."
            )
        losses = {"softmax": "cross_entropy", "identity": "squared_error", "exp": "poisson"}
        if is_classifier(self) and self._label_binarizer.y_type_ != "multiclass":
            losses["logistic"] = "binary_cross_entropy"
        if losses.get(self.out_activation_) != network.loss_name:
            raise ValueError(f"loss must be one of scikit-learn's, got {network.loss_name!r}.")
        parameters = {name: getattr(self, name) for name in self._theirs._get_param_names()}
        parameters["activation"] = names.pop()
        if callable(self.learning_rate):
            parameters["learning_rate"] = "constant"
        theirs = self._theirs(**parameters)
        _copy_state(self, theirs, {*self.get_params(deep=False), *_OURS})
        theirs.coefs_ = [np.ascontiguousarray(W) for W in self.coefs_]
        theirs.intercepts_ = [b.copy() for b in self.intercepts_]
        return theirs


def _copy_state(source: Any, target: Any, without: set[str]) -> None:
    """Give the target deep copies of the source's attributes, but for those names."""
    state = {name: value for name, value in vars(source).items() if name not in without}
    vars(target).update(copy.deepcopy(state))


class MLPClassifier(_Engine, sklearn.neural_network.MLPClassifier):
    """scikit-learn's MLPClassifier, fast.

    Parameters, defaults and attributes are those of `sklearn.neural_network.MLPClassifier`, and:

    Parameters
    ----------
    activation : str or sequence of str, default "relu"
        identity, logistic, tanh or relu, or another one of `fastbp.Network`; for all hidden layers,
        or one per hidden layer.
    learning_rate : {"constant", "invscaling", "adaptive"} or callable, default "constant"
        Or what gives the rate of each epoch when called with its number from 0, such as one of
        `fastbp.schedules`, for any stochastic solver.
    optimizer : str or fastbp.optimizers.Optimizer, optional
        Takes the place of the solver's; ``learning_rate_init`` is its learning rate, and
        ``learning_rate`` its schedule.
    dropout : float or sequence of float, default 0.0
        Share of the units of each hidden layer that are left out at random; see `fastbp.Trainer`.
    restore_best_weights : bool, default False
        End a `fit` with the weights of its best epoch: by the score on ``eval_set`` if there is
        one, else by the training loss. With ``early_stopping`` that is always so.
    dtype : {"float32", "float64"}, optional
        Of weights and arithmetic; by default that of X, and float64 for other numbers.
    n_jobs : int, optional
        Threads of fits and predictions; they change no bit of a result. -1 means all processors.
        By default as many as pay, but 1 in a thread that is not the program's main thread.
    callbacks : sequence of fastbp.callbacks.Callback or callable, optional
        They see the `Trainer` after every epoch.
    class_weight : dict, list of dict or "balanced", optional
        As in scikit-learn's other classifiers: it multiplies ``sample_weight``. "balanced" counts
        the classes of each call.
    loss : str, default "log_loss"
        Or binary_cross_entropy, squared_error, huber or absolute_error, of outputs that are
        logistic, one for each class.

    Attributes
    ----------
    trainer_ : fastbp.Trainer
        What trained, with ``trainer_.network`` and ``trainer_.history``. ``coefs_`` and
        ``intercepts_`` are views of that network's parameters.
    stopped_ : bool
        Whether `partial_fit` has stopped early.

    Notes
    -----
    docs/sklearn.md lists all differences.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> X, y = load_digits(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
    >>> mlp = MLPClassifier(random_state=0, max_iter=50, tol=0.01).fit(X_train, y_train)
    >>> mlp.score(X_test, y_test) > 0.95
    True
    """

    _theirs = sklearn.neural_network.MLPClassifier
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_Engine._parameter_constraints,
        "loss": [
            StrOptions(
                {"log_loss", "binary_cross_entropy", "squared_error", "huber", "absolute_error"}
            )
        ],
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: str = "log_loss",
        optimizer: str | optimizers.Optimizer | None = None,
        dropout: float | Sequence[float] = 0.0,
        restore_best_weights: bool = False,
        dtype: DTypeLike | None = None,
        n_jobs: int | None = None,
        callbacks: Any = None,
        class_weight: Any = None,
    ) -> None:
        self._take(locals())

    @available_if(lambda self: self._check_solver())
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        classes: Any = None,
        *,
        eval_set: Any = None,
    ) -> MLPClassifier:
        """Make one pass over the rows; the optimizer's state carries on.

        With ``early_stopping``, which scikit-learn refuses here, every pass is scored, on
        ``eval_set`` or on a share of the rows that is held out. When the score has not improved
        for ``n_iter_no_change`` passes, ``stopped_`` becomes True and the best weights are
        restored, and further passes leave them alone, until the next `fit`.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional
        classes : array-like, optional
            All classes, which the first call must name.
        eval_set : (X, y), optional
            As in `fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As scikit-learn's, if ``eval_set`` does not fit, and if there is none and so few rows
            that fewer than two would be held out for early stopping.
        """
        with self._scored_on(eval_set):
            super().partial_fit(X, y, sample_weight, classes)
        return self

    @property
    def target_type_(self) -> str:
        """What y was in `fit`: binary, multiclass or multilabel-indicator."""
        check_is_fitted(self)
        return str(self._label_binarizer.y_type_)

    def _predict(self, X: Any, check_input: bool = True) -> NDArray[Any]:
        """As scikit-learn's, whose binarizer takes longer to name a class than the network."""
        classes, kind = self._label_binarizer.classes_, self._label_binarizer.y_type_
        if kind not in ("binary", "multiclass") or len(classes) < 2:
            return np.asarray(super()._predict(X, check_input))
        numbers = decided(self._forward_pass_fast(X, check_input), kind == "multiclass")
        return np.asarray(classes[numbers.reshape(-1)])

    def predict_proba(self, X: Any) -> FloatArray:
        """Probability of each class, or of each label.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        array of shape (n_samples, n_classes) or (n_samples, n_outputs)
            With a loss of separate classes, rows are divided by their sum where a row has one
            class.
        """
        proba: FloatArray = super().predict_proba(X)
        if self._label_binarizer.y_type_ == "multiclass" and self.out_activation_ != "softmax":
            proba /= np.maximum(proba.sum(axis=1, keepdims=True), np.finfo(proba.dtype).tiny)
        return proba


class MLPRegressor(_Engine, sklearn.neural_network.MLPRegressor):
    """scikit-learn's MLPRegressor, fast.

    Parameters, defaults and attributes are those of `sklearn.neural_network.MLPRegressor`, and:

    Parameters
    ----------
    loss : str, default "squared_error"
        squared_error or poisson, or huber or absolute_error of `fastbp.Network`.
    activation : str or sequence of str, default "relu"
        identity, logistic, tanh or relu, or another one of `fastbp.Network`; for all hidden layers,
        or one per hidden layer.
    learning_rate : {"constant", "invscaling", "adaptive"} or callable, default "constant"
        Or what gives the rate of each epoch when called with its number from 0, such as one of
        `fastbp.schedules`, for any stochastic solver.
    optimizer : str or fastbp.optimizers.Optimizer, optional
        Takes the place of the solver's; ``learning_rate_init`` is its learning rate, and
        ``learning_rate`` its schedule.
    dropout : float or sequence of float, default 0.0
        Share of the units of each hidden layer that are left out at random; see `fastbp.Trainer`.
    restore_best_weights : bool, default False
        End a `fit` with the weights of its best epoch: by the score on ``eval_set`` if there is
        one, else by the training loss. With ``early_stopping`` that is always so.
    dtype : {"float32", "float64"}, optional
        Of weights and arithmetic; by default that of X, and float64 for other numbers.
    n_jobs : int, optional
        Threads of fits and predictions; they change no bit of a result. -1 means all processors.
        By default as many as pay, but 1 in a thread that is not the program's main thread.
    callbacks : sequence of fastbp.callbacks.Callback or callable, optional
        They see the `Trainer` after every epoch.

    Attributes
    ----------
    trainer_ : fastbp.Trainer
        What trained, with ``trainer_.network`` and ``trainer_.history``. ``coefs_`` and
        ``intercepts_`` are views of that network's parameters.
    stopped_ : bool
        Whether `partial_fit` has stopped early.

    Notes
    -----
    docs/sklearn.md lists all differences.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> X, y = make_regression(n_samples=200, n_features=5, random_state=0)
    >>> mlp = MLPRegressor(solver="lbfgs", hidden_layer_sizes=20, random_state=0, max_iter=500)
    >>> mlp.fit(X, y / 100).score(X, y / 100) > 0.99
    True
    """

    _theirs = sklearn.neural_network.MLPRegressor
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_Engine._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson", "huber", "absolute_error"})],
    }

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        optimizer: str | optimizers.Optimizer | None = None,
        dropout: float | Sequence[float] = 0.0,
        restore_best_weights: bool = False,
        dtype: DTypeLike | None = None,
        n_jobs: int | None = None,
        callbacks: Any = None,
    ) -> None:
        self._take(locals())

    @available_if(lambda self: self._check_solver())
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, eval_set: Any = None
    ) -> MLPRegressor:
        """Make one pass over the rows; the optimizer's state carries on.

        With ``early_stopping``, which scikit-learn refuses here, every pass is scored, on
        ``eval_set`` or on a share of the rows that is held out. When the score has not improved
        for ``n_iter_no_change`` passes, ``stopped_`` becomes True and the best weights are
        restored, and further passes leave them alone, until the next `fit`.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional
        eval_set : (X, y), optional
            As in `fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As scikit-learn's, if ``eval_set`` does not fit, and if there is none and so few rows
            that fewer than two would be held out for early stopping.
        """
        with self._scored_on(eval_set):
            super().partial_fit(X, y, sample_weight)
        return self


def register_onnx() -> None:
    """Have `skl2onnx.to_onnx` convert these estimators, in pipelines and ensembles too.

    It is called once, before the first conversion. Networks compute in their own dtype, inputs and
    outputs are of the dtype that skl2onnx is given.

    Raises
    ------
    ImportError
        If the ``onnx`` extra is not installed.
    """
    skl2onnx.register(MLPClassifier, MLPRegressor)
