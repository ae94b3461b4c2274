"""One sample at a time from Python: the bits of `partial_fit`, running losses, refusals."""

import gc
import pickle
import sys
import threading
import time
import weakref

import numba
import numpy as np
import pytest
from test_embedding import OPTIMIZERS, PAIRS, rows_for

import fastbp
from fastbp import DivergenceError, Network, Preparation, Trainer, kernels, optimizers, schedules

compiled = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT),
    reason="interpreted kernels are slow, and let other threads run meanwhile",
)


def both(network, *arguments, **options):
    return (Trainer(network.copy(), *arguments, seed=0, **options) for _ in range(2))


def compared(one, rows, X, y):
    """Train one row after the other in both ways, and compare all that training has come to."""
    for t in range(len(X)):
        loss = one.learn_one(X[t], y[t])
        rows.partial_fit(X[t : t + 1], y[t : t + 1])
        assert isinstance(loss, float)
    assert np.array_equal(one.network.params, rows.network.params)
    assert np.array_equal(one.optimizer_state.moments, rows.optimizer_state.moments)
    for name in ("samples", "loss", "loss_sum", "recent_loss"):
        assert getattr(one.stream, name) == getattr(rows.stream, name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch_size", [1, 32])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_it_has_the_bits_of_partial_fit(optimizer, batch_size, dtype):
    network = Network((5, 20, 7, 3), activation=("tanh", "relu"), dtype=dtype, seed=0)
    X, Y = rows_for(network)
    compared(*both(network, optimizer, batch_size=batch_size, weight_decay=0.1), X, Y)
    compared(*both(network, optimizer, batch_size=batch_size), X, Y.argmax(axis=1))


@pytest.mark.parametrize(
    "options",
    [
        {"dropout": 0.3}, {"l1": 0.01}, {"clip_norm": 0.1}, {"clip_value": 0.01},
        {"max_norm": 1.0}, {"label_smoothing": 0.1}, {"class_weight": [1.0, 2.0, 3.0]},
        {"method": "deferred"}, {"method": "zero-skipping"}, {"reduction": "batch"},
        {"optimizer": "adam", "reduction": "batch", "batch_size": 8},
    ],
    ids=str,
)  # fmt: skip
def test_every_option_has_the_bits_of_partial_fit(options):
    network = Network((5, 20, 3), seed=0)
    X, Y = rows_for(network)
    compared(*both(network, weight_decay=0.01, **options), X, Y.argmax(axis=1))


@pytest.mark.parametrize(("loss", "output"), PAIRS)
def test_every_loss(loss, output):
    network = Network((3, 17, 4), loss=loss, output=output, seed=1)
    compared(*both(network), *rows_for(network))
    network = Network((3, 17, 2 if loss == "cross_entropy" else 1), loss=loss, output=output)
    X, Y = rows_for(network)
    compared(*both(network), X, Y[:, 0] if network.sizes[-1] == 1 else Y)


def test_large_networks():
    network = Network((300, 300, 3), seed=0)
    X, Y = rows_for(network, 5)
    compared(*both(network), X, Y)
    compared(*both(network, "adam"), X, Y)


def test_what_a_user_may_give():
    network = Network((3, 4, 2), seed=0)
    x = [0.5, -1.0, 2.0]
    expected = network.predict_one(np.array(x, np.float32))
    for given in (
        x, tuple(x), np.array(x), np.array(x, ">f4"), np.array([x, x], np.float32)[1],
        np.asfortranarray(np.array([x, x], np.float32))[0], np.float32(x)[::-1][::-1],
    ):  # fmt: skip
        assert np.array_equal(network.predict_one(given), expected)
    frozen = np.array(x, np.float32)
    frozen.flags.writeable = False
    assert np.array_equal(network.predict_one(frozen), expected)
    assert expected == pytest.approx(network.predict_proba([x])[0], rel=1e-6)
    out = np.empty(2, np.float32)
    assert network.predict_one(x, out) is out
    trainers = [Trainer(network.copy()) for _ in range(5)]
    for trainer, y in zip(trainers, (1, np.int64(1), np.int8(1), True, np.array(1)), strict=True):
        trainer.learn_one(x, y)
    assert len({trainer.network.params.tobytes() for trainer in trainers}) == 1
    regression = Network((3, 4, 1), loss="squared_error", seed=0)
    trainers = [Trainer(regression.copy()) for _ in range(5)]
    for trainer, y in zip(trainers, (2.0, 2, np.float32(2), [2.0], np.array([2.0])), strict=True):
        trainer.learn_one(x, y)
    assert len({trainer.network.params.tobytes() for trainer in trainers}) == 1


def test_labels_and_preparations():
    rows = [["a", 1.0], ["b", -2.0], ["a", 5.0], ["b", None]]
    preparation = Preparation().fit(rows)
    n_inputs = preparation.transform(rows).shape[1]
    network = Network((n_inputs, 4, 2), classes=("no", "yes"), preparation=preparation, seed=0)
    one, many = both(network)
    for row in rows:
        one.learn_one(row, "yes")
        many.partial_fit([row], ["yes"])
    assert np.array_equal(one.network.params, many.network.params)
    assert np.array_equal(one.network.predict_one(rows[0]), one.network.predict_proba([rows[0]])[0])


def test_a_weight_multiplies_the_gradient():
    network = Network((3, 1), loss="squared_error", dtype="float64", seed=0)
    for options in ({}, {"clip_value": 1e9}):
        steps = []
        for weight in (1.0, 2.5, -1.0, 0.0):
            trainer = Trainer(network.copy(), learning_rate=0.1, **options)
            loss = trainer.learn_one([1.0, 2.0, 3.0], 4.0, weight)
            assert loss == pytest.approx(network.loss([[1.0, 2.0, 3.0]], [4.0]))
            steps.append(trainer.network.params - network.params)
        for weight, step in zip((2.5, -1.0, 0.0), steps[1:], strict=True):
            np.testing.assert_allclose(step, weight * steps[0], atol=1e-14)


def test_it_follows_options_other_trainers_and_copies():
    network = Network((4, 8, 3), seed=0)
    X, Y = rows_for(network, 12)
    ours, theirs = (network.copy() for _ in range(2))
    one = [Trainer(ours, learning_rate=0.1), Trainer(ours, "adam", learning_rate=0.01)]
    many = [Trainer(theirs, learning_rate=0.1), Trainer(theirs, "adam", learning_rate=0.01)]
    for t, which in enumerate([0, 0, 1, 1, 0, 1, 0, 0, 1, 0]):
        if t == 3:
            one[0].learning_rate = many[0].learning_rate = 0.05
        if t == 5:
            one[1].weight_decay = many[1].weight_decay = 0.1
        if t == 7:
            one[0].optimizer = many[0].optimizer = optimizers.SGD(momentum=0.9)
        if t == 8:
            one[1], many[1] = (
                pickle.loads(pickle.dumps(one[1])),
                pickle.loads(pickle.dumps(many[1])),
            )
        one[which].learn_one(X[t], Y[t])
        many[which].partial_fit(X[t : t + 1], Y[t : t + 1])
        assert np.array_equal(one[which].network.params, many[which].network.params), t
    other = network.copy()
    one[0].network = other
    one[0].learn_one(X[0], Y[0])
    assert not np.array_equal(other.params, network.params)


def test_rates_by_sample():
    rate = schedules.BySample(schedules.Exponential(0.1, 0.9), every=3)
    network = Network((4, 8, 3), seed=0)
    X, Y = rows_for(network, 10)
    one, many = both(network, learning_rate=rate)
    for t in range(10):
        one.learn_one(X[t], Y[t])
        many.learning_rate = 0.1 * 0.9 ** (t // 3)
        many.partial_fit(X[t : t + 1], Y[t : t + 1])
        assert np.array_equal(one.network.params, many.network.params)
    assert one.current_learning_rate == pytest.approx(0.1 * 0.9**3)
    with pytest.raises(ValueError, match="for learn_one and partial_fit"):
        one.fit(X, Y, epochs=1)
    described = schedules.describe(rate)
    assert schedules.restore(described) == rate
    assert Trainer.from_params(network, one.get_params()).learning_rate == rate
    for wrong in (0.1, schedules.Exponential, rate, None):
        with pytest.raises(ValueError, match="schedule must"):
            schedules.BySample(wrong)
    with pytest.raises(ValueError, match="every must"):
        schedules.BySample(schedules.Exponential(0.1, 0.9), every=0)


def test_rates_by_epoch():
    network = Network((4, 8, 3), seed=0)
    X, Y = rows_for(network)
    one, many = both(network, learning_rate=schedules.Exponential(0.1, 0.5))
    for _ in range(3):
        compared(one, many, X, Y)
        for trainer in (one, many):
            trainer.fit(X, Y, epochs=1, progress=False)


def test_the_running_loss():
    stream = Trainer(Network((1, 1), loss="squared_error", seed=0)).stream
    assert np.isnan([stream.loss, stream.recent_loss]).all()
    assert stream.samples == 0
    losses = np.random.default_rng(0).exponential(size=500)
    mean = 0.0
    for t, loss in enumerate(losses, start=1):
        stream.add(1, float(loss))
        mean += (loss - mean) * max(0.01, 1 / t)
    assert stream.loss == pytest.approx(losses.mean())
    assert stream.recent_loss == pytest.approx(mean)
    before = stream.recent_loss
    stream.add(200, 200 * 3.0)  # as if each had been 3
    assert stream.recent_loss == pytest.approx(3 + (before - 3) * 0.99**200)
    assert stream.samples == 700
    for before, n in ((50, 100), (0, 150), (99, 1), (30, 30), (100, 7)):
        once, each = (Trainer(Network((1, 1), loss="squared_error")).stream for _ in range(2))
        for k in range(before):
            once.add(1, float(k % 7))
            each.add(1, float(k % 7))
        once.add(n, n * 5.0)
        for _ in range(n):
            each.add(1, 5.0)
        assert once.recent_loss == pytest.approx(each.recent_loss, rel=1e-12)


def test_partial_fit_keeps_it_and_returns_the_trainer():
    network = Network((4, 8, 3), seed=0)
    X, Y = rows_for(network)
    trainer = Trainer(network.copy(), method="sequential")
    losses = [trainer.learn_one(x, y) for x, y in zip(X, Y, strict=True)]
    other = Trainer(network.copy(), method="sequential")
    assert other.partial_fit(X, Y) is other
    assert other.stream.samples == len(X)
    assert other.stream.loss == pytest.approx(np.mean(losses), rel=1e-12)
    restored = pickle.loads(pickle.dumps(trainer))
    assert restored.stream.loss == trainer.stream.loss
    assert repr(restored.stream) == repr(trainer.stream)


def test_a_saved_trainer_goes_on_with_its_stream(tmp_path):
    network = Network((4, 8, 3), seed=0)
    X, Y = rows_for(network, 20)
    rate = schedules.BySample(schedules.Exponential(0.1, 0.9))
    trainer = Trainer(network, "adam", learning_rate=rate)
    for t in range(10):
        trainer.learn_one(X[t], Y[t])
    trainer.save(tmp_path / "trainer.safetensors")
    restored = fastbp.load(tmp_path / "trainer.safetensors")
    assert repr(restored.stream) == repr(trainer.stream)
    assert restored.learning_rate == rate
    for t in range(10, 20):
        assert trainer.learn_one(X[t], Y[t]) == restored.learn_one(X[t], Y[t])
    assert np.array_equal(restored.network.params, network.params)
    assert restored.stream.recent_loss == trainer.stream.recent_loss


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        ([1.0, 2.0], 0, "X must have 3 columns"),
        ([[1.0, 2.0, 3.0]], 0, "x must be one row"),
        ("abc", 0, "x must"),
        ([1.0, 2.0, 3.0], 2**70, "y must"),
        ([1.0, np.nan, 3.0], 0, "X must be finite"),
        ([1.0, 1e39, 3.0], 0, "X must be finite"),
        ([1.0, 2.0, 3.0], 2, "y must"),
        ([1.0, 2.0, 3.0], -1, "y must"),
        ([1.0, 2.0, 3.0], 0.5, "y must"),
        ([1.0, 2.0, 3.0], [0.5, 0.2, 0.3], "y must"),
        ([1.0, 2.0, 3.0], [0.5, 0.7], "y must"),
        ([1.0, 2.0, 3.0], None, "y must"),
        ([1.0, 2.0, 3.0], "1", "y must"),
        ([1.0, 2.0, 3.0], ["0.5", "0.5"], "y must"),
        ([1.0, 2.0, 3.0], [0.5 + 0j, 0.5], "y must"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_learned(x, y, words):
    network = Network((3, 4, 2), seed=0)
    trainer = Trainer(network, "adam")
    trainer.learn_one([1.0, 2.0, 3.0], 0)
    before = network.params.copy(), trainer.stream.samples, trainer.optimizer_state.moments.copy()
    with pytest.raises(ValueError, match=words):
        trainer.learn_one(x, y)
    assert np.array_equal(network.params, before[0])
    assert trainer.stream.samples == before[1]
    assert np.array_equal(trainer.optimizer_state.moments, before[2])
    for weight in (np.nan, "1", None):
        with pytest.raises(ValueError, match="weight must"):
            trainer.learn_one([1.0, 2.0, 3.0], 0, weight)


def test_what_predict_one_refuses():
    network = Network((3, 4, 2), seed=0)
    x = np.ones(3, np.float32)
    for wrong in ([1.0, 2.0], [[1.0, 2.0, 3.0]], [1.0, np.inf, 0.0], "abc", 1.0):
        with pytest.raises(ValueError, match=r"[xX] must"):
            network.predict_one(wrong)
    frozen = np.empty(2, np.float32)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="got a read-only array of float32"):
        network.predict_one(x, frozen)
    with pytest.raises(ValueError, match="got a strided array of float32"):
        network.predict_one(x, np.empty(4, np.float32)[::2])
    pickled = pickle.loads(pickle.dumps(np.empty(2, np.float32)))
    assert network.predict_one(x, pickled) is pickled
    for out in (np.empty(2), np.empty(3, np.float32), np.empty((2, 1), np.float32), [0.0, 0.0]):
        with pytest.raises(ValueError, match="out must"):
            network.predict_one(x, out)
    network.params[:] = np.nan
    with pytest.raises(ValueError, match=r"network\.params must be finite"):
        network.predict_one(x)


def test_training_that_diverges():
    network = Network((1, 4, 1), activation="identity", loss="squared_error", seed=0)
    trainer = Trainer(network, learning_rate=100.0)

    def diverge():
        for _ in range(1000):
            trainer.learn_one([10.0], 1.0)

    with pytest.raises(DivergenceError, match="diverged"):
        diverge()
    assert np.isfinite(network.params).all()
    network.params[:] = 0.1
    trainer.learning_rate = 0.001
    trainer.learn_one([10.0], 1.0)  # it can go on


def test_moments_that_would_overflow():
    """A square of the gradient would be infinite in Adam's moments, and every later step 0."""
    network = Network((1, 4, 1), activation="identity", loss="squared_error", seed=0)
    trainer = Trainer(network, "adam")
    trainer.learn_one([1.0], 1.0)
    before = network.params.copy()
    with pytest.raises(DivergenceError):
        trainer.learn_one([1e25], 1.0)
    assert np.array_equal(network.params, before)


def test_steps_of_any_size_have_the_bits_of_partial_fit():
    network = Network((2, 4, 1), loss="squared_error", seed=0)
    one, many = both(network, learning_rate=1e-30)
    X, y = np.array([[1e12, 1e15], [1e-30, 0.0], [1e17, 1e17]], np.float32), np.zeros(3)
    compared(one, many, X, y)


def test_schedules_of_the_users_own_are_asked_each_time():
    network, box = Network((4, 8, 3), seed=0), [0.1]
    X, Y = rows_for(network)
    one, many = both(network, learning_rate=lambda epoch: box[0])
    for t in range(6):
        box[0] = 0.1 / (t + 1)
        one.learn_one(X[t], Y[t])
        many.partial_fit(X[t : t + 1], Y[t : t + 1])
        assert np.array_equal(one.network.params, many.network.params)
    trainer = Trainer(network, learning_rate=schedules.BySample(lambda k: 0.1 if k < 2 else 20.0))
    trainer.weight_decay = 0.1
    trainer.learn_one(X[0], Y[0])
    trainer.learn_one(X[0], Y[0])
    with pytest.raises(ValueError, match=r"learning_rate \* weight_decay must be below 1"):
        trainer.learn_one(X[0], Y[0])


def test_labels_that_another_trainer_has_set():
    network = Network((1, 3, 2), seed=0)
    trainer = Trainer(network)
    trainer.learn_one([1.0], 1)
    Trainer(network).partial_fit([[1.0], [2.0]], ["a", "b"])
    with pytest.raises(ValueError, match="network's classes"):
        trainer.learn_one([1.0], 1)
    trainer.learn_one([1.0], "b")


@pytest.mark.parametrize("rate", [0.01, schedules.BySample(schedules.Exponential(0.1, 0.9))])
def test_nothing_refers_to_a_trainer_in_a_circle(rate):
    gc.collect()
    gc.disable()
    try:
        trainer = Trainer(Network((4, 8, 3), seed=0), learning_rate=rate)
        trainer.learn_one(np.ones(4, np.float32), 1)
        network, alive = weakref.ref(trainer.network), weakref.ref(trainer)
        del trainer
        assert alive() is None
        assert network() is None
    finally:
        gc.enable()


@compiled
def test_what_was_learned_before_a_divergence_counts():
    network = Network((1, 1), loss="squared_error", seed=0)
    X = np.full((3_000_000, 1), 0.1, np.float32)
    X[-1] = 1e30
    trainer = Trainer(network, method="sequential")
    with pytest.raises(DivergenceError):
        trainer.partial_fit(X, X[:, 0])
    assert 0 < trainer.stream.samples < len(X)
    assert np.isfinite(trainer.stream.loss)


@compiled
def test_predictions_do_not_disturb_training():
    network = Network((16, 32, 8, 1), activation="tanh", loss="squared_error", seed=0)
    X, Y = rows_for(network, 30_000)
    alone = Trainer(network.copy(), method="sequential", shuffle=False)
    alone.fit(X, Y, epochs=2, progress=False)
    trainer = Trainer(network, method="sequential", shuffle=False)
    fit = threading.Thread(target=trainer.fit, args=(X, Y), kwargs={"epochs": 2})
    fit.start()
    x, out = X[0].copy(), np.empty(1, np.float32)
    while fit.is_alive():
        network.predict_one(x, out)
    fit.join()
    assert np.array_equal(network.params, alone.network.params)


@compiled
def test_threads_that_learn_from_one_trainer_take_turns():
    network = Network((3, 8, 1), loss="squared_error", seed=0)
    trainer, x = Trainer(network, learning_rate=1e-30), np.ones(3, np.float32)
    expected = {y: trainer.learn_one(x, y) for y in (1.0, 2.0)}
    wrong, before = [], sys.getswitchinterval()

    def learn(y):
        wrong.extend(1 for _ in range(3000) if trainer.learn_one(x, y) != expected[y])

    sys.setswitchinterval(1e-6)
    try:
        crowd = [threading.Thread(target=learn, args=(y,)) for y in (1.0, 2.0)]
        for each in crowd:
            each.start()
        for each in crowd:
            each.join()
    finally:
        sys.setswitchinterval(before)
    assert not wrong
    assert trainer.stream.samples == 6002


def test_another_thread_is_refused():
    network = Network((4, 8, 3), seed=0)
    X, Y = rows_for(network, 1000)
    trainer = Trainer(network)
    started = threading.Event()

    def slowly(trainer):
        started.set()
        time.sleep(0.5)

    fit = threading.Thread(
        target=trainer.fit, args=(X, Y), kwargs={"callbacks": [slowly], "epochs": 1}
    )
    fit.start()
    started.wait()
    with pytest.raises(RuntimeError, match="another thread"):
        trainer.learn_one(X[0], Y[0])
    fit.join()
    trainer.learn_one(X[0], Y[0])


def test_a_refused_sample_leaves_the_rate_of_a_fit_in_another_thread():
    network = Network((4, 8, 3), seed=0)
    X, Y = rows_for(network, 1000)
    trainer = Trainer(network, learning_rate=schedules.BySample(schedules.Exponential(0.1, 0.9)))
    trainer.learn_one(X[0], Y[0])
    started, done = threading.Event(), threading.Event()

    def wait(fitted):
        started.set()
        done.wait(30)

    other = Trainer(network, learning_rate=0.5)
    arguments = {"callbacks": [wait], "epochs": 1, "progress": False}
    fit = threading.Thread(target=other.fit, args=(X, Y), kwargs=arguments)
    fit.start()
    started.wait()
    with pytest.raises(RuntimeError, match="another thread"):
        trainer.learn_one(X[0], Y[0])
    assert network.parameters.fields.rates[0] == 0.5
    done.set()
    fit.join()


def test_a_callback_may_learn_from_a_sample():
    network = Network((4, 8, 3), seed=0)
    X, Y = rows_for(network)
    trainer = Trainer(network)
    trainer.fit(X, Y, epochs=2, callbacks=[lambda each: each.learn_one(X[0], Y[0])], progress=False)
    assert trainer.stream.samples == 2


def test_summaries_say_how_single_samples_are_trained_on():
    network = Network((4, 8, 3), seed=0)
    X, Y = rows_for(network)
    trainer = Trainer(network, "adam")
    trainer.fit(X, Y, epochs=1, progress=False)
    assert "single samples, Adam" in trainer.summary()
    assert trainer.history.method == ["sequential"]
    assert fastbp.kernels.train_single is kernels.train_single
