"""From data to a trained network and honest figures: the steps of ``fastbp train``, for Python.

>>> import numpy as np
>>> from fastbp import experiment
>>> rng = np.random.default_rng(0)
>>> X = rng.normal([5, 100], [1, 30], size=(300, 2))
>>> data = experiment.from_arrays(X, 70 * X[:, 0] + X[:, 1])  # or read("housing.csv", "price")
>>> outcome = experiment.run(data)
>>> outcome.figures["test"]["r2"] > 0.9, outcome.baseline["r2"] < 0.1
(True, True)
>>> outcome.network.predict(X[:5]).shape  # raw rows
(5,)

`run` is `plan`, `fit` and `outcome`, one after the other. The rows have three parts: a network is
trained on the first, the second chooses the epoch, and the third is kept for the figures. Nothing
is learned from the test part, not even a mean. Nothing is printed.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp import checks, defaults, metrics, schedules, splitting
from fastbp.callbacks import EarlyStopping
from fastbp.data import Data, from_arrays, from_table, read, take
from fastbp.defaults import Defaults
from fastbp.divergence import DivergenceError
from fastbp.history import History
from fastbp.network import Network
from fastbp.preparation import Preparation
from fastbp.problem import Problem, counted, pose
from fastbp.samples import class_numbers
from fastbp.splitting import Parts
from fastbp.trainer import Trainer

__all__ = [
    "CrossValidation",
    "Data",
    "Options",
    "Outcome",
    "Parts",
    "Plan",
    "Problem",
    "best_epoch",
    "cross_validate",
    "described",
    "figures",
    "fit",
    "from_arrays",
    "from_table",
    "outcome",
    "plan",
    "pose",
    "read",
    "run",
    "train_on",
]

PARTS = ("train", "validation", "test")

# Losses whose targets may have any sign and unit, so that they can be standardised.
_SCALED = ("squared_error", "huber", "absolute_error")


@dataclass(frozen=True)
class Options:
    """How to train; None leaves the choice to ``fastbp.defaults.choose``.

    Parameters
    ----------
    layers : sequence of int, optional
        Units of each hidden layer.
    activation : str or sequence of str, optional
        As of `Network`.
    output : str, optional
        Likewise.
    init : str or sequence of str, optional
        Likewise.
    dtype : {"float32", "float64"}, optional
        Likewise.
    training : mapping, optional
        Further arguments of `Trainer`, such as ``{"optimizer": "sgd", "l1": 1e-4}``. Keys of a
        ``class_weight`` are labels.
    schedule : mapping, optional
        Name of a schedule and its settings, such as ``{"name": "cosine", "warmup": 3}``, for the
        learning rate in ``training`` and the number of epochs; ``{}`` for a constant rate.
    epochs : int, optional
        The most.
    patience : int, optional
        Epochs without a better validation loss after which to stop; 0 trains all epochs.
    held_out : float, default 0.2
        Share of the test part, where the data have none of their own.
    validation : float, optional
        Share of the validation part in the other rows; 0 for none.
    refit : bool, optional
        Train again on training and validation rows, as long as was best, before the last figures.
    scale : bool, default True
        Standardise inputs, and the targets of a regression.
    hashed : sequence of str, optional
        Text columns of many values, which are hashed: see `Preparation`.
    seed : int, default 0
        Of the parts, the weights and the order.
    """

    layers: Sequence[int] | None = None
    activation: Any = None
    output: str | None = None
    init: Any = None
    dtype: str = "float32"
    training: Mapping[str, Any] = field(default_factory=dict)
    schedule: Mapping[str, Any] | None = None
    epochs: int | None = None
    patience: int | None = None
    held_out: float = 0.2
    validation: float | None = None
    refit: bool | None = None
    scale: bool = True
    hashed: Sequence[str] = ()
    seed: int = 0


class Plan(NamedTuple):
    """What `plan` has settled, for `fit`."""

    data: Data
    problem: Problem
    options: Options
    """None has been replaced by what was chosen."""
    parts: Parts
    """Rows of the data; no test part where the data have one of their own."""
    trainer: Trainer

    def __repr__(self) -> str:
        return f"Plan({self.data!r}, {described(self)})"

    @property
    def epochs(self) -> int:
        """The most."""
        return self.options.epochs or 0

    @property
    def patience(self) -> int:
        """Epochs without improvement after which to stop; 0 if nothing is to stop it."""
        return (self.options.patience or 0) if len(self.parts.validation) else 0

    def rows(self, part: str) -> tuple[Any, NDArray[Any]]:
        """Inputs and targets of the part "train", "validation" or "test"."""
        if part == "test" and self.data.y_test is not None:
            return self.data.X_test, self.data.y_test
        return self.data.rows(getattr(self.parts, part))


class Outcome(NamedTuple):
    """What came of a training."""

    network: Network
    trainer: Trainer
    history: History
    """Of the training that the validation part chose the epoch of."""
    best_epoch: int
    """Number of epochs, from 1, that the network was trained for."""
    figures: dict[str, dict[str, float]]
    """Figures of the parts "train", "validation" and "test", as `fastbp.metrics.figures`."""
    baseline: dict[str, float]
    """The same of the trivial model on the test part, which knows the training targets alone."""
    parts: Parts
    problem: Problem

    def __repr__(self) -> str:
        title = f"test part, best epoch {self.best_epoch}"
        return metrics.table(title, self.figures["test"], self.baseline)


def run(
    data: Data,
    problem: Problem | None = None,
    options: Options | None = None,
    *,
    callbacks: Iterable[Any] = (),
    progress: bool | None = False,
) -> Outcome:
    """Train a network and assess it.

    Parameters
    ----------
    data : Data
        As `read`, `from_table` and `from_arrays` make them.
    problem : Problem, optional
        What to learn; by default `pose` guesses it.
    options : Options, optional
        By default, what suits the size of the table.
    callbacks : Callback, callable or iterable of them, optional
        As of `Trainer.fit`.
    progress : bool, optional
        Likewise.

    Returns
    -------
    Outcome

    Raises
    ------
    ValueError
        If the data or an option cannot be used; the message names it.
    DivergenceError
        If training diverges.
    """
    planned = plan(data, problem, options)
    return outcome(planned, fit(planned, callbacks=callbacks, progress=progress))


def plan(
    data: Data,
    problem: Problem | None = None,
    options: Options | None = None,
    *,
    parts: Parts | None = None,
) -> Plan:
    """Split the rows, fit the preparation to the training rows, and choose what is not given.

    Parameters
    ----------
    data : Data
        As of `run`.
    problem : Problem, optional
        Likewise.
    options : Options, optional
        Likewise.
    parts : Parts, optional
        The rows of each part; by default as the options and the data's groups or times say.

    Returns
    -------
    Plan
        For `fit`.
    """
    options = options or Options()
    if options.epochs is not None:
        checks.integer("epochs", options.epochs, 1)
    problem = problem or pose(data.y, name=data.name)
    if data.y_test is not None:
        numbered(data.y_test, problem)  # refuses unknown classes before the work
    if parts is None:
        parts = _split(data, problem, options)
    rows = len(parts.train) + len(parts.validation)
    preparation = _prepared(data, problem, options, parts.train)
    chosen = defaults.choose(rows, preparation.n_inputs, problem.n_outputs, problem.kind)
    options = _completed(options, chosen)
    return Plan(data, problem, options, parts, _trainer(problem, options, preparation))


def _split(data: Data, problem: Problem, options: Options) -> Parts:
    held_out = 0.0 if data.has_test else checks.share("held_out", options.held_out, zero=False)
    arguments = _splits(data, problem, options)
    return splitting.split(len(data.y), held_out=held_out, **arguments)


def described(planned: Plan) -> str:
    """The settings of a training in a sentence."""
    trainer = planned.trainer
    rate = trainer.learning_rate
    name = type(trainer.optimizer).__name__.lower()
    changed = repr(trainer.optimizer).partition("(")[2].rstrip(")")
    parts = [
        f"{name} ({changed})" if changed else name,
        f"learning rate {rate:g}" if not callable(rate) else f"learning rate {rate!r}",
        f"batches of {trainer.batch_size}" if trainer.batch_size > 1 else "a step per sample",
        f"{'up to ' * bool(planned.patience)}{counted(planned.epochs, 'epoch')}",
    ]
    if 0 < planned.patience < planned.epochs:
        parts.append(f"stops after {planned.patience} without improvement")
    if trainer.weight_decay:
        parts.append(f"weight decay {trainer.weight_decay:.3g}")
    return ", ".join(parts)


def _splits(data: Data, problem: Problem, options: Options) -> dict[str, Any]:
    """Arguments of `splitting.split` and `splitting.folds`."""
    share = options.validation
    if share is None:  # it does not depend on the inputs, which are not prepared yet
        share = defaults.choose(len(data.y), 1, problem.n_outputs, problem.kind).validation
    return {
        "labels": data.y if problem.task == "classes" else None,
        "groups": data.groups,
        "times": data.times,
        "validation": share,
        "seed": options.seed,
    }


def _prepared(
    data: Data, problem: Problem, options: Options, rows: NDArray[np.int64]
) -> Preparation:
    """A preparation that is fitted to these rows and knows of no other."""
    scales_targets = problem.loss in _SCALED and options.output in (None, "identity")
    preparation = Preparation(scale=options.scale, hashed=tuple(options.hashed))
    preparation.fit(take(data.X, rows), data.y[rows] if scales_targets else None)
    return preparation


def _completed(options: Options, chosen: Defaults) -> Options:
    """Options with what was chosen where nothing was given."""
    given = {name: value for name, value in options.training.items() if value is not None}
    optimizer = given.get("optimizer", chosen.optimizer)
    name = optimizer if isinstance(optimizer, str) else type(optimizer).__name__
    training: dict[str, Any] = {"optimizer": optimizer, "batch_size": chosen.batch_size}
    if name.lower() == chosen.optimizer:  # another one has a rate and a decay of its own
        training |= {"learning_rate": chosen.learning_rate, "weight_decay": chosen.weight_decay}
    layers = chosen.layers if options.layers is None else tuple(options.layers)
    if layers and chosen.dropout:
        training["dropout"] = chosen.dropout
    schedule = options.schedule
    if schedule is None and chosen.schedule and not callable(given.get("learning_rate")):
        schedule = {"name": chosen.schedule}

    def or_chosen(name: str) -> Any:
        value = getattr(options, name)
        return getattr(chosen, name) if value is None else value

    return replace(
        options,
        layers=layers,
        training=training | given,
        schedule=schedule,
        **{
            name: or_chosen(name)
            for name in ("activation", "epochs", "patience", "validation", "refit")
        },
    )


def _trainer(problem: Problem, options: Options, preparation: Preparation) -> Trainer:
    """A new network and its trainer."""
    assert options.layers is not None
    network = Network(
        (preparation.n_inputs, *options.layers, problem.n_outputs),
        activation=options.activation,
        loss=problem.loss,
        output=options.output,
        init=options.init,
        dtype=options.dtype,
        seed=options.seed,
        classes=problem.classes,
        preparation=preparation,
    )
    training = dict(options.training)
    if isinstance(weights := training.get("class_weight"), Mapping):
        # By label, where the command line has its text.
        labels = {str(label): label for label in problem.classes or ()}
        training["class_weight"] = {
            labels.get(str(label), label): weight for label, weight in weights.items()
        }
    trainer = Trainer(network, seed=options.seed, **training)
    if options.schedule:
        trainer.learning_rate = _scheduled(options, trainer.learning_rate)
    return trainer


def _scheduled(options: Options, rate: Any) -> schedules.Schedule:
    """The schedule of a name and settings; its length is that of the training."""
    settings = dict(options.schedule or {})
    kinds = {name.lower(): kind for name, kind in schedules.SCHEDULES.items()}
    name = str(settings.pop("name", "")).lower().replace("_", "").replace("-", "")
    kind = kinds[checks.choice("schedule", name, kinds)]
    epochs = checks.integer("epochs", options.epochs, 1)
    known = kind.__dataclass_fields__.keys() - {"learning_rate"}
    if unknown := settings.keys() - known:
        raise ValueError(
            f"the schedule {name} has no setting {min(unknown)!r}; it has "
            f"{', '.join(sorted(known - {'epochs'}))}."
        )
    if "epochs" in known:
        settings["epochs"] = max(1, epochs - settings.get("warmup", 0))
    if kind is schedules.Step:
        settings.setdefault("step_size", math.ceil(epochs / 3))
    if kind is schedules.Exponential:
        settings.setdefault("gamma", 0.01 ** (1 / epochs))
    return kind(rate, **settings)


class BestEpoch(EarlyStopping):
    """Early stopping from which a trainer that is saved after its fit can go on bit for bit."""

    state = (*EarlyStopping.state, "_last_params")  # type: ignore[assignment]  # one more
    keeps_state = True
    most: float = math.inf
    """Epochs in the history after which a fit that goes on has nothing to do."""

    def on_begin(self, trainer: Trainer) -> None:
        """Forget earlier fits."""
        super().on_begin(trainer)
        self._last_params: Any = None

    def on_resume(self, trainer: Trainer) -> None:
        """Go on from the last epoch, for the network has the parameters of the best."""
        if self._last_params is not None:
            trainer.network.params[:] = self._last_params
            self._last_params = None
        super().on_resume(trainer)
        if len(trainer.history) >= self.most:
            trainer.stop()

    def on_end(self, trainer: Trainer) -> None:
        """Restore the best parameters, and keep the last ones."""
        best, self._last_params = self._best_params, trainer.network.params.copy()
        super().on_end(trainer)
        self._best_params = best


def fit(planned: Plan, *, callbacks: Iterable[Any] = (), progress: bool | None = False) -> Trainer:
    """Train, with the validation part to choose the epoch.

    A trainer that was trained before goes on until it has the planned number of epochs. With
    ``refit``, another network is then trained on training and validation rows.

    Parameters
    ----------
    planned : Plan
        As `plan` returns it.
    callbacks : Callback, callable or iterable of them, optional
        As of `Trainer.fit`.
    progress : bool, optional
        Likewise.

    Returns
    -------
    Trainer
        That of the plan, or of the other network.
    """
    trainer = planned.trainer
    stopping = [BestEpoch("eval_loss", patience=planned.patience)] if planned.patience else []
    for each in stopping:
        each.most = planned.epochs
    validates = len(planned.parts.validation) > 0
    remaining = planned.epochs - len(trainer.history)
    if remaining > 0 or stopping:  # which restores the best epoch, if none is to come
        trainer.fit(
            *planned.rows("train"),
            epochs=max(1, remaining),
            eval_set=planned.rows("validation") if validates else None,
            callbacks=[*stopping, *callbacks],
            metrics=("r2",) if validates and planned.problem.task == "numbers" else (),
            progress=progress,
        )
    if planned.options.refit and len(planned.parts.validation):
        rows = np.union1d(planned.parts.train, planned.parts.validation)
        try:
            return train_on(planned, rows, best_epoch(planned), progress=progress)
        except DivergenceError as error:
            outcome = "that was trained again is given up for the one before"
            warnings.warn(error.text(outcome), RuntimeWarning, stacklevel=2)
    return trainer


def best_epoch(planned: Plan) -> int:
    """How many epochs gave the network that `fit` has left; 0 before the first."""
    history = planned.trainer.history
    losses = [math.inf if loss is None or math.isnan(loss) else loss for loss in history.eval_loss]
    return int(np.argmin(losses)) + 1 if losses and planned.patience else len(losses)


def train_on(
    planned: Plan,
    rows: NDArray[np.int64],
    epochs: int,
    *,
    callbacks: Iterable[Any] = (),
    progress: bool | None = False,
) -> Trainer:
    """Train a network from the start on these rows, with a preparation that is fitted to them.

    With all rows and the best number of epochs, it is the network to use: it has learned from
    every row, and nothing is left to say how good it is.

    The default learning rate falls from twice its number to 0 by half a cosine, for no validation
    part tells a good last epoch from a bad one: the rates add up to the same, and the last steps
    are small. A later fit has the number again. Rates and optimizers that were given stay as they
    are.
    """
    data, problem, options = planned.data, planned.problem, planned.options
    trainer = _trainer(problem, options, _prepared(data, problem, options, rows))
    rate = trainer.learning_rate
    if isinstance(rate, float) and _has_default_rate(planned):
        trainer.learning_rate = schedules.Cosine(2 * rate, epochs=epochs)
    trainer.fit(*data.rows(rows), epochs=epochs, callbacks=callbacks, progress=progress)
    trainer.learning_rate = rate
    return trainer


def _has_default_rate(planned: Plan) -> bool:
    options, problem = planned.options, planned.problem
    chosen = defaults.choose(1, 1, problem.n_outputs, problem.kind)  # the same for all tables
    given = options.training.get("optimizer"), options.training.get("learning_rate")
    return options.schedule is None and given == (chosen.optimizer, chosen.learning_rate)


def outcome(planned: Plan, trainer: Trainer) -> Outcome:
    """Figures of a trained network on each part, and of the trivial model on the test part.

    Parameters
    ----------
    planned : Plan
        As `plan` returns it.
    trainer : Trainer
        As `fit` returns it.

    Returns
    -------
    Outcome
        It prints as a table.
    """
    network, problem = trainer.network, planned.problem
    rows = {part: planned.rows(part) for part in PARTS}
    found = {part: figures(network, problem, *pair) for part, pair in rows.items() if len(pair[1])}
    known, test = rows["train"][1], rows["test"][1]
    if trainer is not planned.trainer:  # which has learned from the validation part, too
        known = np.concatenate([known, rows["validation"][1]])
    return Outcome(
        network,
        trainer,
        planned.trainer.history,
        best_epoch(planned),
        found,
        metrics.baseline(numbered(known, problem), numbered(test, problem), problem.kind),
        planned.parts,
        problem,
    )


def numbered(y: NDArray[Any], problem: Problem) -> NDArray[Any]:
    """Targets as `fastbp.metrics` takes them: class numbers, or the numbers themselves."""
    if problem.classes is None:
        return y
    if y.size != len(y):
        raise ValueError(f"one label a row is needed, got targets of shape {y.shape}.")
    numbers: NDArray[Any] = class_numbers("the target", y, problem.classes)
    return numbers


def figures(network: Network, problem: Problem, X: Any, y: NDArray[Any]) -> dict[str, float]:
    """Figures of a network on some rows, in the target's own unit."""
    classifies = problem.kind == "classification"
    predicted = network.predict_proba(X) if classifies else network.predict(X)
    return metrics.figures(numbered(y, problem), predicted, problem.kind)


class CrossValidation(NamedTuple):
    """What came of training in every fold."""

    outcomes: list[Outcome]

    def __repr__(self) -> str:
        title = f"test parts of {len(self.outcomes)} folds, mean ± sd"
        return metrics.table(title, self.mean(), self.baseline(), self.sd())

    def mean(self) -> dict[str, float]:
        """Mean of each figure of the test parts."""
        return self._over(np.mean)

    def sd(self) -> dict[str, float]:
        """Standard deviation of each figure of the test parts, with n − 1."""
        return self._over(lambda values: np.std(values, ddof=1))

    def baseline(self) -> dict[str, float]:
        """Mean of each figure of the trivial model."""
        all_ = [each.baseline for each in self.outcomes]
        return {name: float(np.mean([each[name] for each in all_])) for name in all_[0]}

    def best_epoch(self) -> int:
        """Median of the best numbers of epochs."""
        return max(1, round(float(np.median([each.best_epoch for each in self.outcomes]))))

    def _over(self, function: Any) -> dict[str, float]:
        tests = [each.figures["test"] for each in self.outcomes]
        return {name: float(function([each[name] for each in tests])) for name in tests[0]}


def cross_validate(
    data: Data,
    problem: Problem | None = None,
    options: Options | None = None,
    *,
    k: int = 5,
    each: Callable[[Outcome], Any] | None = None,
    progress: bool | None = False,
) -> CrossValidation:
    """Train and assess a network in each of k folds, whose test parts have every row once.

    Every fold has a preparation and a validation part of its own. A test part that the data come
    with is left alone.

    Parameters
    ----------
    data : Data
        As of `run`.
    problem : Problem, optional
        Likewise.
    options : Options, optional
        Likewise.
    k : int, default 5
        Number of folds.
    each : callable, optional
        Called with the outcome of each fold.
    progress : bool, optional
        As of `run`.

    Returns
    -------
    CrossValidation
        The outcomes of all folds.
    """
    options = options or Options()
    problem = problem or pose(data.y, name=data.name)
    data = data._replace(X_test=None, y_test=None)
    found = splitting.folds(len(data.y), k, **_splits(data, problem, options))
    outcomes = []
    for parts in found:
        planned = plan(data, problem, options, parts=parts)
        outcomes.append(outcome(planned, fit(planned, progress=progress)))
        if each is not None:
            each(outcomes[-1])
    return CrossValidation(outcomes)
