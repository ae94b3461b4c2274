"""Callbacks: when they are called, what they may do, and what the network is after them."""

import pickle

import numpy as np
import pytest

import fastbp
from fastbp import DivergenceError, Network, Trainer, schedules
from fastbp.callbacks import Callback, EarlyStopping, ReduceOnPlateau, Target, TimeLimit


@pytest.fixture
def data(generator):
    X = generator.normal(size=(60, 4))
    return X, generator.integers(0, 3, 60)


@pytest.fixture
def trainer():
    return Trainer(Network((4, 8, 3), seed=0), learning_rate=0.1, seed=0)


class Record(Callback):
    def __init__(self, every=1):
        self.every = every
        self.calls = []

    def on_begin(self, trainer):
        self.calls.append("begin")

    def on_chunk(self, trainer, samples, loss):
        self.calls.append((samples, loss))

    def on_epoch(self, trainer):
        self.calls.append(len(trainer.history))

    def on_end(self, trainer):
        self.calls.append("end")


@pytest.fixture
def chunks_of_ten(monkeypatch):
    def paced(n, operations, block=1, pieces=1):
        for start in range(0, n, 10):
            yield start, min(n, start + 10)

    monkeypatch.setattr("fastbp.runs.paced", paced)


def test_the_order_of_calls(trainer, data, chunks_of_ten):
    record, rare = Record(), Record(every=4)
    trainer.fit(*data, epochs=2, callbacks=[record, rare], progress=False)
    assert [c if isinstance(c, (str, int)) else c[0] for c in record.calls] == [
        "begin", 10, 20, 30, 40, 50, 60, 1, 10, 20, 30, 40, 50, 60, 2, "end",
    ]  # fmt: skip
    assert record.calls[6][1] == trainer.history.train_loss[0]
    assert [c for c in rare.calls if isinstance(c, tuple)] == [record.calls[4], record.calls[11]]


def test_a_function_is_called_after_every_epoch(trainer, data):
    seen = []
    trainer.fit(*data, epochs=3, callbacks=lambda t: seen.append(t.history.train_loss[-1]))
    assert seen == trainer.history.train_loss


def test_stop_within_an_epoch_counts_what_was_done(trainer, data, chunks_of_ten):
    class Stop(Callback):
        def on_chunk(self, trainer, samples, loss):
            if samples == 30:
                trainer.stop()

    record = Record()
    trainer.fit(*data, epochs=5, callbacks=[Stop(), record], progress=False)
    assert len(trainer.history) == 1
    assert record.calls[-3][0] == 30
    assert trainer.history.train_loss == [record.calls[-3][1]]
    trainer.fit(*data, epochs=2, progress=False)  # stopped only once
    assert len(trainer.history) == 3


@pytest.mark.parametrize("where", ["on_begin", "on_chunk", "on_epoch"])
def test_an_exception_leaves_the_network_whole(where, trainer, data, chunks_of_ten):
    """As the last chunk made it, and as good for going on as if nothing had happened."""

    class Fail(Callback):
        def fail(self, *arguments):
            raise RuntimeError("no")

    record = Record()
    with pytest.raises(RuntimeError, match="no"):
        trainer.fit(
            *data, callbacks=[record, type("F", (Fail,), {where: Fail.fail})()], progress=False
        )
    assert record.calls[-1] == "end"
    other = Network((4, 8, 3), seed=0)
    done = {"on_begin": 0, "on_chunk": 10, "on_epoch": 60}[where]
    order = np.random.default_rng(0).permutation(60)[:done]
    if done:
        Trainer(other, learning_rate=0.1).partial_fit(data[0][order], data[1][order])
    np.testing.assert_array_equal(trainer.network.params, other.params)


def test_early_stopping_counts_and_restores(trainer, data):
    """On an evaluation loss that is made to turn round at epoch 4."""
    kept = {}

    def remember(trainer):
        epoch = len(trainer.history)
        trainer.history.eval_loss[-1] = abs(epoch - 4) + 1.0
        kept[epoch] = trainer.network.params.copy()

    early = EarlyStopping(patience=3)
    trainer.fit(*data, epochs=50, eval_set=data, callbacks=[remember, early], progress=False)
    assert len(trainer.history) == 7
    assert (early.best, early.best_epoch) == (1.0, 4)
    np.testing.assert_array_equal(trainer.network.params, kept[4])
    early = EarlyStopping(patience=3, restore_best=False)
    trainer.history.eval_loss.clear()
    trainer.history = type(trainer.history)()
    trainer.fit(*data, epochs=50, eval_set=data, callbacks=[remember, early], progress=False)
    np.testing.assert_array_equal(trainer.network.params, kept[7])


@pytest.mark.parametrize(("min_delta", "epochs"), [(0.0, 30), (0.05, 3)])
def test_early_stopping_wants_more_than_min_delta(min_delta, epochs, trainer, data):
    def improve(trainer):
        trainer.history.eval_loss[-1] = 10 - 0.01 * len(trainer.history)

    early = EarlyStopping(patience=2, min_delta=min_delta)
    trainer.fit(*data, epochs=30, eval_set=data, callbacks=[improve, early], progress=False)
    assert len(trainer.history) == epochs


def test_early_stopping_restores_after_divergence(data):
    X, y = data
    network = Network((4, 1), loss="squared_error", seed=0)
    trainer = Trainer(network, learning_rate=0.01, seed=0)
    early = EarlyStopping("train_loss")
    best = []

    def worse(trainer):
        best.append(network.params.copy())
        trainer.learning_rate = 1e10

    with pytest.warns(
        RuntimeWarning, match=r"diverged in epoch 2.* takes those of its best epoch, 1"
    ):
        trainer.fit(X, y, epochs=9, callbacks=[worse, early], progress=False)
    np.testing.assert_array_equal(network.params, best[0])
    assert len(trainer.history) == early.best_epoch == 1


@pytest.mark.parametrize("restore_best", [False, True])
def test_divergence_is_an_error_where_no_epoch_can_be_restored(restore_best, data):
    trainer = Trainer(Network((4, 1), loss="squared_error", seed=0), learning_rate=1e10)
    early = EarlyStopping("train_loss", restore_best=restore_best)

    def worse(trainer):
        trainer.learning_rate = 1e10

    if not restore_best:
        trainer.learning_rate = 0.01
    with pytest.raises(DivergenceError, match="keeps its last finite parameters"):
        trainer.fit(*data, epochs=9, callbacks=[worse, early], progress=False)
    assert np.isfinite(trainer.network.params).all()
    assert len(trainer.history) == (0 if restore_best else 1)


def scripted(trainer, values, *listeners, monitor="eval_loss"):
    """Fit with epochs whose values are given; how many there were."""
    left = iter(values)

    def script(trainer):
        getattr(trainer.history, monitor)[-1] = next(left)

    X, y = np.eye(4), [0, 1, 2, 0]
    trainer.history = type(trainer.history)()
    trainer.fit(
        X, y, epochs=len(values), eval_set=(X, y), callbacks=[script, *listeners], progress=False
    )
    return len(trainer.history)


@pytest.mark.parametrize("monitor", ["eval_loss", "train_loss", "accuracy"])
@pytest.mark.parametrize("first", [np.nan, np.inf, -np.inf])
def test_early_stopping_never_takes_nan_for_the_best(monitor, first, trainer):
    sign = 1 if monitor == "accuracy" else -1
    early = EarlyStopping(monitor, patience=3)
    values = [first, sign * 1.0, np.nan, sign * 2.0, np.nan, np.nan, np.nan, sign * 3.0]
    epochs = scripted(trainer, values, early, monitor=monitor)
    if first == sign * np.inf:  # which nothing is better than
        assert (epochs, early.best_epoch) == (4, 1)
    else:
        assert (epochs, early.best_epoch, early.best) == (7, 4, sign * 2.0)


def test_early_stopping_on_nan_alone_restores_nothing(trainer):
    early = EarlyStopping(patience=2)
    last = []
    assert (
        scripted(trainer, [np.nan] * 5, early, lambda t: last.append(t.network.params.copy())) == 2
    )
    np.testing.assert_array_equal(trainer.network.params, last[-1])
    assert early.best_epoch == 0


@pytest.mark.parametrize(("monitor", "sign"), [("train_loss", -1), ("accuracy", 1)])
def test_targets_are_not_reached_by_nan(monitor, sign, trainer):
    values = [np.nan, sign * 0.25, sign * 0.5, sign * 1.0]
    assert scripted(trainer, values, Target(monitor, sign * 0.5), monitor=monitor) == 3


@pytest.mark.parametrize(
    ("values", "lowered_after"),
    [
        ([-5.0] * 6, 3),  # it stands still
        ([-5.0, -4.9996, -4.9992, -4.9988, -4.9984], 3),  # it gets worse
        ([-5.0, -5.0004, -5.0003, -5.0002, -5.0001], 3),  # too little of an improvement
        ([-5.0, -5.001, -5.002, -5.003, -5.004], None),
        ([0.0] * 5, 3),
        ([0.0, -1e-300, -2e-300, -3e-300, -4e-300], None),
        ([5.0, np.nan, np.nan, np.nan], 3),
        ([np.nan, np.nan, np.nan], 2),
        ([np.nan, 5.0, 4.0, 3.0], None),
        ([np.inf, 5.0, 4.0, 3.0], None),
    ],
)  # fmt: skip
def test_plateaus_of_any_sign_and_of_nan(values, lowered_after, trainer):
    plateau = ReduceOnPlateau(patience=1, threshold=1e-4)
    scripted(trainer, values, plateau)
    rates = [*trainer.history.learning_rate, trainer.learning_rate]
    lowered = [epoch for epoch in range(1, len(rates)) if rates[epoch] < rates[epoch - 1]]
    assert lowered[:1] == ([] if lowered_after is None else [lowered_after])


def test_min_delta_with_negative_losses(trainer):
    early = EarlyStopping(patience=2, min_delta=0.5)
    assert scripted(trainer, [-5.0, -5.4, -5.6, -5.7, -6.0, -7.0], early) == 5
    assert early.best == -5.6


def test_accuracy_is_better_when_greater(trainer, data):
    early = EarlyStopping("accuracy", patience=5)
    trainer.fit(*data, epochs=200, eval_set=data, callbacks=early, progress=False)
    assert early.best == max(trainer.history.accuracy)
    assert trainer.network.evaluate(*data).accuracy == early.best


def test_a_target_ends_the_fit(trainer, data):
    trainer.fit(*data, epochs=500, eval_set=data, callbacks=Target("accuracy", 0.6), progress=False)
    assert trainer.history.accuracy[-1] >= 0.6 > max(trainer.history.accuracy[:-1], default=0)
    trainer.fit(*data, epochs=500, callbacks=Target("train_loss", 0.9), progress=False)
    assert trainer.history.train_loss[-1] <= 0.9


def test_a_time_limit_ends_the_fit_within_an_epoch(trainer, data, chunks_of_ten, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    class Tick(Callback):
        def on_chunk(self, trainer, samples, loss):
            now[0] += 1.0

    record = Record()
    trainer.fit(*data, callbacks=[Tick(), TimeLimit(8), record], progress=False)
    assert len(trainer.history) == 2
    assert record.calls[-3][0] == 20


def test_the_history_has_the_learning_rates(trainer, data):
    trainer.learning_rate = schedules.Step(0.1, 2, 0.5)
    trainer.fit(*data, epochs=4, progress=False)
    trainer.learning_rate = 0.3
    trainer.fit(*data, epochs=1, progress=False)
    np.testing.assert_allclose(trainer.history.learning_rate, [0.1, 0.1, 0.05, 0.05, 0.3])


def test_any_function_of_the_epoch_is_a_schedule(data):
    one, other = (Network((4, 8, 3), seed=0) for _ in range(2))
    rates = [0.1, 0.0, 0.05]
    Trainer(one, learning_rate=lambda epoch: rates[epoch], seed=0).fit(
        *data, epochs=3, progress=False
    )
    trainer = Trainer(other, seed=0)
    for rate in rates:
        trainer.learning_rate = (lambda r: lambda epoch: r)(rate)
        trainer.fit(*data, epochs=1, progress=False)
    np.testing.assert_array_equal(one.params, other.params)


def test_a_schedule_is_asked_once_an_epoch(data):
    """A function may give another rate each time: what is recorded is what was trained with."""
    one, other = (Network((4, 8, 3), seed=0) for _ in range(2))
    asked = []
    trainer = Trainer(one, learning_rate=lambda e: asked.append(e) or 0.1 / len(asked), seed=0)
    asked.clear()
    trainer.fit(*data, epochs=3, progress=False)
    assert asked[-3:] == [0, 1, 2]
    rates = trainer.history.learning_rate
    Trainer(other, learning_rate=lambda epoch: rates[epoch], seed=0).fit(
        *data, epochs=3, progress=False
    )
    np.testing.assert_array_equal(one.params, other.params)


def test_plateaus_lower_the_rate(trainer, data):
    def flat(trainer):
        trainer.history.eval_loss[-1] = 1.0

    plateau = ReduceOnPlateau(patience=1, factor=0.5)
    trainer.fit(*data, epochs=6, eval_set=data, callbacks=[flat, plateau], progress=False)
    assert trainer.history.learning_rate == [0.1, 0.1, 0.1, 0.05, 0.05, 0.025]


def test_every_end_is_reached_but_only_of_what_began(trainer, data):
    class Fail(Callback):
        def __init__(self, where):
            self.where = where

        def on_begin(self, trainer):
            self.fail("begin")

        def on_end(self, trainer):
            self.fail("end")

        def fail(self, where):
            if where == self.where:
                raise RuntimeError(where)

    for where, expected in (("end", ["begin", "end"]), ("begin", [])):
        record = Record()
        with pytest.raises(RuntimeError, match=where):
            trainer.fit(*data, epochs=1, callbacks=[Fail(where), record], progress=False)
        assert [call for call in record.calls if isinstance(call, str)] == expected


def test_stop_loses_nothing_of_a_long_batch(monkeypatch, generator):
    """It is worked off in stretches, and its step comes with the last."""

    class Stop(Callback):
        def on_chunk(self, trainer, samples, loss):
            trainer.stop()

    def paced(n, operations, block=1, pieces=1):
        for start in range(0, n, 256):
            yield start, min(n, start + 256)

    monkeypatch.setattr("fastbp.runs.paced", paced)
    X, y = generator.normal(size=(600, 4)), generator.integers(0, 3, 600)
    networks = [Network((4, 3), seed=0) for _ in range(2)]
    for network, listeners in zip(networks, ([], [Stop()]), strict=True):
        Trainer(network, batch_size=600, seed=0).fit(
            X, y, epochs=1, callbacks=listeners, progress=False
        )
    np.testing.assert_array_equal(networks[0].params, networks[1].params)


@pytest.mark.parametrize("nested", ["partial_fit", "fit"])
def test_a_stop_holds_though_the_callback_trains_on(nested, trainer, data):
    def stop_and_train(trainer):
        trainer.stop()
        if len(trainer.history) == 1:
            getattr(trainer, nested)(*data, **({"epochs": 1} if nested == "fit" else {}))

    trainer.fit(*data, epochs=5, callbacks=stop_and_train, progress=False)
    assert len(trainer.history) == (2 if nested == "fit" else 1)


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (lambda: None, "a function in callbacks must take 1 positional argument, trainer"),
        (lambda trainer, epoch: None, "a function in callbacks must take 1 positional argument"),
        (
            type("Mine", (Callback,), {"on_epoch": lambda self: None})(),
            r"Mine\.on_epoch must take 1 positional argument, trainer; got one .* \(\)",
        ),
        (
            type("Mine", (Callback,), {"on_chunk": lambda self, trainer: None})(),
            r"Mine\.on_chunk must take 3 positional arguments, trainer, samples, loss",
        ),
        (type("Mine", (Callback,), {"on_end": lambda self, a, b: None})(), r"Mine\.on_end must"),
        (type("Mine", (Callback,), {"on_epoch": None})(), r"Mine\.on_epoch must be a function"),
        (type("Mine", (Callback,), {"on_chunk": 3})(), r"Mine\.on_chunk must be a function, got 3"),
        (type("Mine", (Callback,), {"every": 0})(), r"Mine\.every must be an integer"),
        (
            type("Mine", (Callback,), {"on_begin": lambda self, t: setattr(self, "every", 0)})(),
            r"Mine\.every must be an integer of at least 1, got 0",
        ),
    ],
)  # fmt: skip
def test_a_callback_that_cannot_be_called_is_refused_before_a_step(
    callback, message, trainer, data
):
    before = trainer.network.params.copy()
    with pytest.raises(ValueError, match=message):
        trainer.fit(*data, callbacks=[callback], progress=False)
    np.testing.assert_array_equal(trainer.network.params, before)
    assert len(trainer.history) == 0


def test_callbacks_of_any_callable_kind(trainer, data):
    seen = []
    trainer.fit(*data, epochs=1, callbacks=[seen.append, lambda *a: None, lambda t, x=1: None])
    assert seen == [trainer]


def test_a_callback_that_spoils_the_parameters_is_named(trainer, data, chunks_of_ten):
    class Spoil(Callback):
        def on_chunk(self, trainer, samples, loss):
            trainer.network.params[0] = np.nan

    with pytest.raises(ValueError, match=r"network\.params must be finite"):
        trainer.fit(*data, callbacks=Spoil(), progress=False)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: EarlyStopping("loss"), r"mode must be .* monitor='loss'"),
        (lambda: EarlyStopping(patience=0), "patience must be an integer of at least 1"),
        (lambda: EarlyStopping(min_delta=-1), "min_delta must be a finite"),
        (lambda: TimeLimit(0), "seconds must be a finite"),
        (lambda: Target("accuracy", "1"), "value must be a finite"),
        (lambda: ReduceOnPlateau(factor=1.0), "factor must be a number above 0 to below 1"),
        (lambda: schedules.Step(0.1, 0), "step_size must be an integer of at least 1"),
        (lambda: schedules.Exponential(0.1, 0), "gamma must be a finite"),
        (lambda: schedules.Cosine(-0.1, 5), "learning_rate must be a finite"),
        (lambda: schedules.Cosine(0.1, 5, multiplier=2), "multiplier must be 1 without restarts"),
        (lambda: schedules.OneCycle(0.1, 5, rise=2), "rise must be a number from 0 to 1"),
    ],
)
def test_bad_settings_are_named(use, message):
    with pytest.raises(ValueError, match=message):
        use()


def test_bad_uses_are_named(trainer, data):
    before = trainer.network.params.copy()
    with pytest.raises(ValueError, match="monitor='eval_loss' needs an eval_set in fit"):
        trainer.fit(*data, callbacks=EarlyStopping(), progress=False)
    np.testing.assert_array_equal(trainer.network.params, before)
    with pytest.raises(ValueError, match="callbacks must be instances"):
        trainer.fit(*data, callbacks=EarlyStopping, progress=False)
    trainer.learning_rate = schedules.Exponential(0.1, 0.9)
    with pytest.raises(ValueError, match="learning_rate must be a number for ReduceOnPlateau"):
        trainer.fit(*data, eval_set=data, callbacks=ReduceOnPlateau(), progress=False)


def test_a_function_as_a_schedule_is_not_saved(trainer, tmp_path):
    trainer.learning_rate = schedules.Cosine(0.1, np.int64(20))
    fastbp.save(trainer, tmp_path / "model.safetensors")
    loaded = fastbp.load(tmp_path / "model.safetensors")
    assert loaded.learning_rate == trainer.learning_rate
    trainer.learning_rate = lambda epoch: 0.1
    with pytest.raises(ValueError, match=r"one of fastbp\.schedules to be saved"):
        fastbp.save(trainer, tmp_path / "model.safetensors")


@pytest.mark.parametrize("batch_size", [1, 32, 300])
def test_a_pass_after_a_stopped_fit_is_whole(batch_size):
    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(60_000, 20)), generator.integers(0, 3, 60_000)
    stopped = Trainer(Network((20, 64, 3), seed=0), batch_size=batch_size)
    stopped.fit(X[:600], y[:600], epochs=2, callbacks=[lambda t: t.stop()], progress=False)
    other = Trainer(stopped.network.copy(), batch_size=batch_size)
    for trainer in (stopped, other):
        trainer.partial_fit(X, y)
    np.testing.assert_array_equal(stopped.network.params, other.network.params)


@pytest.mark.parametrize("batch_size", [257, 300, 1000])
def test_a_stop_ends_with_the_batch(batch_size):
    """Also where chunks end within batches, which are longer than the scratch."""

    class Stop(Callback):
        seen = 0

        def on_chunk(self, trainer, samples, loss):
            self.seen = samples
            trainer.stop()

    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(60_000, 20)), generator.integers(0, 3, 60_000)
    stop = Stop()
    trainer = Trainer(Network((20, 64, 3), seed=0), batch_size=batch_size, shuffle=False)
    trainer.fit(X, y, epochs=2, callbacks=[stop], progress=False)
    assert len(trainer.history) == 1
    assert stop.seen < 30_000
    assert stop.seen % batch_size == 0
    whole = Trainer(Network((20, 64, 3), seed=0), batch_size=batch_size)
    whole.partial_fit(X[: stop.seen], y[: stop.seen])
    np.testing.assert_array_equal(trainer.network.params, whole.network.params)


def through_pickle(trainer, path):
    path.write_bytes(pickle.dumps(trainer))
    return lambda: pickle.loads(path.read_bytes())


def through_file(trainer, path):
    fastbp.save(trainer, path)
    return lambda: fastbp.load(path)


def stops_at_ten():
    """Made to be best in epoch 5, with the rate lowered after epochs 7 and 9."""
    early = EarlyStopping(patience=5)
    return early, ReduceOnPlateau(patience=1, factor=0.5)


def turns_round(trainer):
    trainer.history.eval_loss[-1] = abs(len(trainer.history) - 5) + 1.0


@pytest.mark.parametrize("keep_and_load", [through_pickle, through_file])
@pytest.mark.parametrize("epoch", [1, 3, 5, 7, 9, 10])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_callbacks_go_on_where_a_trainer_was_saved(
    epoch, place, keep_and_load, trainer, data, tmp_path
):
    """Wherever in the row of callbacks it was saved: as if nothing had happened."""
    saved = []

    def keep(trainer):
        if len(trainer.history) == epoch:
            saved.append(keep_and_load(trainer, tmp_path / "saved"))

    early, plateau = stops_at_ten()
    listeners = [early, plateau]
    listeners.insert(place, keep)
    trainer.fit(*data, epochs=20, eval_set=data, callbacks=[turns_round, *listeners])
    assert (len(trainer.history), early.best_epoch) == (10, 5)
    other = saved[0]()
    early, plateau = stops_at_ten()
    other.fit(*data, epochs=20, eval_set=data, callbacks=[turns_round, early, plateau])
    assert (len(other.history), early.best, early.best_epoch) == (10, 1.0, 5)
    assert other.history.train_loss == trainer.history.train_loss
    assert other.learning_rate == trainer.learning_rate
    np.testing.assert_array_equal(other.network.params, trainer.network.params)


@pytest.mark.parametrize("place", [0, 1])
def test_a_target_that_was_reached_ends_the_resumed_fit_too(place, trainer, data, tmp_path):
    target = 2.0  # what `turns_round` makes of epochs 4 and 6
    listeners = [Target("eval_loss", target)]
    listeners.insert(place, lambda trainer: fastbp.save(trainer, tmp_path / "saved"))
    trainer.fit(*data, epochs=9, eval_set=data, callbacks=[turns_round, *listeners])
    other = fastbp.load(tmp_path / "saved")
    other.fit(*data, epochs=9, eval_set=data, callbacks=[turns_round, Target("eval_loss", target)])
    assert len(other.history) == len(trainer.history) == 4
    np.testing.assert_array_equal(other.network.params, trainer.network.params)


def test_only_a_callback_of_the_same_settings_goes_on(trainer, data):
    saved = []
    trainer.fit(
        *data, epochs=3, eval_set=data, progress=False,
        callbacks=[EarlyStopping(patience=5), lambda t: saved.append(pickle.dumps(t))],
    )  # fmt: skip
    for patience, best_epoch in ((5, 1), (6, 4)):
        other = pickle.loads(saved[-1])
        other.history.eval_loss[:] = [0.0, 0.0, 0.0]
        other.workings.listening.states()[0].values.update(best=0.0, best_epoch=1)
        early = EarlyStopping(patience=patience)
        other.fit(*data, epochs=1, eval_set=data, callbacks=early, progress=False)
        assert early.best_epoch == best_epoch
        assert other.workings.listening.states() == []
    trainer.fit(*data, epochs=1, eval_set=data, callbacks=early, progress=False)
    assert early.best_epoch == 4  # a fit that has ended is over


def test_a_callback_of_ones_own_goes_on(trainer, data):
    saved = []
    trainer.fit(*data, epochs=3, callbacks=[Count(), lambda t: saved.append(pickle.dumps(t))])
    count = Count()
    pickle.loads(saved[1]).fit(*data, epochs=2, callbacks=count)
    assert count.epochs == 4


def test_a_plateau_goes_on_after_a_fit_that_was_saved(trainer, data, tmp_path):
    """As the same callback does in one program."""

    def flat(trainer):
        trainer.history.eval_loss[-1] = 1.0

    plateau = ReduceOnPlateau(patience=1, factor=0.5)
    trainer.fit(*data, epochs=2, eval_set=data, callbacks=[flat, plateau])
    fastbp.save(trainer, tmp_path / "saved")
    other = fastbp.load(tmp_path / "saved")
    for each, callback in (
        (trainer, plateau),
        (other, ReduceOnPlateau(patience=1, factor=0.5)),
    ):
        each.fit(*data, epochs=4, eval_set=data, callbacks=[flat, callback])
    assert other.history.learning_rate == trainer.history.learning_rate
    assert trainer.history.learning_rate == [0.1, 0.1, 0.1, 0.05, 0.05, 0.025]


def test_what_cannot_be_kept_of_a_callback_is_named(trainer, data, tmp_path):
    for value, message in (
        (np.zeros(3), r"epochs of the callback .*Count\(\) must be a vector laid out as network"),
        (object(), "trainer must hold what JSON can hold"),
    ):

        def save(trainer):
            fastbp.save(trainer, tmp_path / "saved")

        count = Count()
        count.on_epoch = lambda trainer, count=count, value=value: setattr(count, "epochs", value)
        with pytest.raises(ValueError, match=message):
            trainer.fit(*data, epochs=1, callbacks=[count, save])
        assert not (tmp_path / "saved").exists()


def test_callbacks_show_their_settings():
    early = EarlyStopping("train_loss", patience=3)
    assert repr(early) == (
        "EarlyStopping(monitor='train_loss', patience=3, min_delta=0.0, restore_best=True)"
    )
    assert repr(TimeLimit(5)) == "TimeLimit(seconds=5.0)"
    assert repr(Count()) == "Count()"


class Count(Callback):
    state = ("epochs",)

    def __init__(self):
        self.epochs = 0

    def on_epoch(self, trainer):
        self.epochs += 1


def test_of_several_early_stops_the_first_one_decides(generator):
    X, y = generator.normal(size=(60, 4)), generator.integers(0, 3, 60)
    network = Network((4, 3), seed=0)
    stops = [EarlyStopping("eval_loss", patience=50), EarlyStopping("train_loss", patience=50)]
    seen = []
    trainer = Trainer(network, learning_rate=0.5, seed=0)
    trainer.fit(
        X, y, epochs=12, eval_set=(X[:9], y[:9]),
        callbacks=[*stops, lambda t: seen.append(t.network.params.copy())],
    )  # fmt: skip
    assert trainer.history.best_epoch == stops[0].best_epoch
    np.testing.assert_array_equal(network.params, seen[stops[0].best_epoch - 1])
