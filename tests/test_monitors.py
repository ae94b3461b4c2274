"""What callbacks watch; and that each shows itself as the call that made it."""

import inspect

import numpy as np
import pytest

from fastbp import Network, Trainer, callbacks, optimizers, schedules
from fastbp.callbacks import Callback, EarlyStopping, ReduceOnPlateau, Target

X = np.random.default_rng(0).normal(size=(30, 2))
NUMBERS, CLASSES = X[:, 0] - X[:, 1], (X[:, 0] > 0).astype(int)


def fit(y, callback, **arguments):
    loss = "squared_error" if y is NUMBERS else "cross_entropy"
    trainer = Trainer(
        Network((2, 4, 1 if y is NUMBERS else 2), loss=loss, seed=0), learning_rate=0.01, seed=0
    )
    trainer.fit(X, y, callbacks=callback, progress=False, **arguments)
    return trainer.history


def largest(y_true, y_pred):
    return float(abs(y_true - y_pred).max())


@pytest.mark.parametrize(
    ("monitor", "y", "metrics", "greater"),
    [
        ("r2", NUMBERS, "r2", True),
        ("R2", NUMBERS, "r2", True),
        ("r2", NUMBERS, "R2", True),
        ("mae", NUMBERS, "mean_absolute_error", False),
        ("neg_mean_absolute_error", NUMBERS, "neg_mean_absolute_error", True),
        ("log_loss", CLASSES, "log_loss", False),
        ("roc_auc", CLASSES, ("f1", "auc"), True),
        ("acc", CLASSES, (), True),
        ("Eval-Loss", CLASSES, (), False),
    ],
)
def test_metrics_are_watched_in_their_direction(monitor, y, metrics, greater):
    early = EarlyStopping(monitor, patience=100)
    history = fit(y, early, epochs=8, eval_set=(X, y), metrics=metrics)
    column = history[early.monitor]
    assert early.best == (max if greater else min)(column)
    assert history.best_epoch == early.best_epoch == column.index(early.best) + 1


@pytest.mark.parametrize("mode", ["min", "max"])
def test_functions_are_watched_with_a_mode(mode):
    early = EarlyStopping("largest", mode=mode, patience=100)
    history = fit(NUMBERS, early, epochs=4, eval_set=(X, NUMBERS), metrics=largest)
    assert early.best == (min if mode == "min" else max)(history["largest"])


def test_other_sets_and_other_columns_are_watched():
    early = EarlyStopping("r2_1", patience=100)
    slow = Target("seconds", 1e9, mode="max")
    sets = [(X, NUMBERS), (X[:9], NUMBERS[:9])]
    history = fit(NUMBERS, [early, slow], epochs=3, eval_set=sets, metrics="r2")
    assert early.best == max(history["r2_1"])
    assert len(history) == 3


def test_plateaus_of_a_metric():
    plateau = ReduceOnPlateau("r2", patience=0, threshold=0.99, factor=0.5)
    history = fit(NUMBERS, plateau, epochs=5, validation_split=0.5, metrics="r2")
    assert history.learning_rate[-1] < history.learning_rate[0]


@pytest.mark.parametrize(
    ("callback", "arguments", "message"),
    [
        (EarlyStopping("r2"), {}, "monitor='r2' needs an eval_set in fit, or a validation_split"),
        (
            EarlyStopping("r2"),
            {"validation_split": 0.2},
            "monitor='r2' is no column .* they are train_loss, eval_loss, learning_rate",
        ),
        (
            EarlyStopping("larges", mode="min"),
            {"validation_split": 0.2, "metrics": largest},
            r"monitor='larges' is no column .*\(did you mean 'largest'\?\)",
        ),
        (
            Target("method", 1.0, mode="min"),
            {"validation_split": 0.2},
            "monitor='method' is no column of numbers",
        ),
        (Target("eval_loss_1", 1.0), {"validation_split": 0.2}, "did you mean 'eval_loss'"),
        (EarlyStopping("accuracy"), {"validation_split": 0.2}, "needs a classifier"),
    ],
)
def test_what_the_fit_does_not_have_is_refused_before_its_first_epoch(callback, arguments, message):
    begun = []
    with pytest.raises(ValueError, match=message):
        fit(NUMBERS, [begun.append, callback], epochs=1, **arguments)
    assert begun == []


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: EarlyStopping("largest"), r"mode must be \"min\" or \"max\" for monitor='larg"),
        (lambda: Target("train_los", 1.0), r"\(did you mean 'train_loss'\?\)"),
        (lambda: EarlyStopping("seconds"), "mode must be"),
        (lambda: EarlyStopping(3), "monitor must be the name of a column of the history"),
        (lambda: EarlyStopping(""), "monitor must be the name of a column of the history"),
        (lambda: EarlyStopping("r2", mode="up"), "mode must be one of min, max"),
    ],
)
def test_monitors_without_a_direction_are_refused(use, message):
    with pytest.raises(ValueError, match=message):
        use()


SHOWN = [
    callbacks.EarlyStopping(),
    callbacks.EarlyStopping("r2", patience=3, min_delta=1e-3, restore_best=False),
    callbacks.EarlyStopping("my own", mode="max"),
    callbacks.TimeLimit(5),
    callbacks.Target("accuracy", np.float32(0.5)),
    callbacks.ReduceOnPlateau("mae", factor=0.3, patience=0, cooldown=2, minimum=1e-5),
    callbacks.Checkpoint("a 'path' of {epoch:03d}", every=3, keep=2, monitor="f1"),
    callbacks.Checkpoint("run"),
    callbacks.CSVLogger("log.csv"),
    callbacks.TensorBoard("runs"),
    schedules.Step(0.1, np.int64(2), 0.5),
    schedules.Exponential(0.1, 0.9),
    schedules.InverseScaling(0.1),
    schedules.Cosine(0.1, 5, 0.01, warmup=2, restarts=True, multiplier=2),
    schedules.OneCycle(0.1, 20, rise=0.5),
    optimizers.SGD(momentum=0.9, nesterov=True),
    optimizers.RMSprop(centered=True, decoupled_weight_decay=True),
    optimizers.Adagrad(lr_decay=0.1),
    optimizers.Adadelta(rho=0.5),
    optimizers.Adam(np.float32(0.5), amsgrad=True),
    optimizers.AdamW(decoupled_weight_decay=False),
    optimizers.NAdam(momentum_decay=0.1),
]


@pytest.mark.parametrize("thing", SHOWN, ids=lambda thing: type(thing).__name__)
def test_each_shows_itself_as_a_call_that_makes_an_equal_one(thing):
    names = vars(callbacks) | vars(schedules) | vars(optimizers)
    made = eval(repr(thing), {"__builtins__": {}}, names)
    assert type(made) is type(thing)
    if isinstance(thing, Callback):
        assert vars(made) == vars(thing)
        assert set(thing.settings) == set(inspect.signature(type(thing)).parameters)
    else:
        assert made == thing
    assert repr(made) == repr(thing)


def test_none_is_left_out():
    kinds = {
        value
        for module in (callbacks, schedules, optimizers)
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, (Callback, schedules.Schedule, optimizers.Optimizer))
    }
    bases = {Callback, schedules.Schedule, optimizers.Optimizer}
    assert {type(thing) for thing in SHOWN} == kinds - bases


def test_files_know_callbacks_by_their_public_names():
    """Those that were saved by earlier versions, too."""
    state = callbacks.state_of(Target("train_loss", 1))
    assert state.callback == "fastbp.callbacks.Target(monitor='train_loss', value=1.0)"
