"""The trainer: reproducibility, order, history, chunks, divergence, Ctrl-C."""

import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref

import numpy as np
import pytest
from naive import Naive

import fastbp
from fastbp import DivergenceError, Network, Trainer, kernels, optimizers, pacing, plan, threads


@pytest.fixture
def blobs(generator):
    """Three separable classes."""
    y = generator.integers(0, 3, 120)
    X = generator.normal(size=(120, 4)) + 3 * np.eye(4)[y]
    return X, y


def fitted(X, y, seed=0, **options):
    network = Network((4, 8, 3), seed=1)
    history = Trainer(network, seed=seed, **options).fit(X, y, epochs=3, progress=False)
    return network.params, history


def test_it_learns(blobs):
    network = Network((4, 8, 3), seed=1)
    trainer = Trainer(network, learning_rate=0.05, seed=0)
    history = trainer.fit(*blobs, epochs=10, eval_set=blobs, progress=False)
    assert history is trainer.history
    assert len(history) == 10
    assert history.train_loss[-1] < history.train_loss[0] / 3
    assert history.accuracy[-1] > 0.95
    assert history.eval_loss[-1] == network.loss(*blobs)
    for seconds, speed in zip(history.seconds, history.samples_per_second, strict=True):
        assert seconds > 0
        assert seconds * speed == pytest.approx(120)
    assert "epoch   1" in str(history)
    trainer.fit(*blobs, epochs=2, progress=False)
    assert len(history) == 12
    assert history.accuracy[-1] is None


def test_same_seed_same_bits(blobs):
    first, history = fitted(*blobs)
    again, other = fitted(*blobs)
    np.testing.assert_array_equal(again, first)
    assert history.train_loss == other.train_loss
    assert not np.array_equal(fitted(*blobs, seed=2)[0], first)


def test_epochs_in_one_fit_or_in_several_are_the_same(blobs):
    """The order of an epoch depends on the generator's state alone."""
    together, apart = Network((4, 8, 3), seed=1), Network((4, 8, 3), seed=1)
    Trainer(together, seed=5).fit(*blobs, epochs=3, progress=False)
    trainer = Trainer(apart, seed=5)
    for _ in range(3):
        trainer.fit(*blobs, epochs=1, progress=False)
    np.testing.assert_array_equal(apart.params, together.params)


@pytest.mark.parametrize("options", [{"batch_size": 8}, {"optimizer": "adam", "batch_size": 8}])
def test_a_fit_looks_for_zeros_once(options, generator, monkeypatch):
    real, looks = plan.zero_share, []
    monkeypatch.setattr(plan, "zero_share", lambda *a: looks.append(a) or real(*a))
    X, y = generator.normal(size=(50, 64)), generator.integers(0, 10, 50)
    trainer = Trainer(Network((64, 64, 10), seed=0), seed=0, **options)
    trainer.fit(X, y, epochs=4, progress=False)
    assert len(looks) == 1
    trainer.fit(X * (X > 0), y, epochs=2, progress=False)
    assert len(looks) == 2


def test_chunk_sizes_change_no_bit(blobs, monkeypatch):
    first, history = fitted(*blobs)
    for rows in (1, 7, 50):

        def cut(n, operations, *_, rows=rows):
            yield from ((i, min(n, i + rows)) for i in range(0, n, rows))

        monkeypatch.setattr("fastbp.runs.paced", cut)
        monkeypatch.setattr("fastbp.parameters.paced", cut)
        params, other = fitted(*blobs)
        np.testing.assert_array_equal(params, first)
        assert other.train_loss == history.train_loss


@pytest.mark.parametrize(
    ("entry", "use", "places"),
    [
        ("train_sequential", lambda n, X, y: Trainer(n).partial_fit(X, y), (2, 3)),
        ("train_minibatch", lambda n, X, y: n.value_and_grad(X, y), (4, 5)),
    ],
)
def test_every_long_call_is_cut_into_chunks(entry, use, places, blobs, monkeypatch):
    """Ctrl-C, bars and checks rely on it: the cuts of `paced` are the kernel's rows."""
    cuts = [(0, 50), (50, 53), (53, 120)]
    monkeypatch.setattr("fastbp.runs.paced", lambda n, *_: iter(cuts))
    monkeypatch.setattr("fastbp.parameters.paced", lambda n, *_: iter(cuts))
    monkeypatch.setattr("fastbp.parameters._SHORT", 0)
    real, seen = getattr(kernels, entry), []

    def spy(*arguments):
        seen.append(tuple(arguments[place] for place in places))
        return real(*arguments)

    monkeypatch.setattr(kernels, entry, spy)
    use(Network((4, 8, 3), seed=1), *blobs)
    assert [rows for rows in seen if rows != (0, 0)] == cuts


def test_chunks_cover_the_rows_and_settle_at_the_target(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(pacing.time, "perf_counter", lambda: now[0])
    seconds_per_row, longest, covered = 2e-5, 0.0, 0
    for start, stop in pacing.paced(100_000, 10_000):
        assert start == covered
        covered = stop
        now[0] += (stop - start) * seconds_per_row
        longest = max(longest, (stop - start) * seconds_per_row)
    assert covered == 100_000
    assert 0.04 < longest <= 0.11


def test_shuffle_takes_every_sample_once_an_epoch_and_leaves_the_data_alone(blobs):
    X, y = blobs
    X = X.astype(np.float32)
    before = X.copy()
    orders = []
    real = kernels.train_sequential

    def spy(state, samples, start, stop, loss_sum):
        assert samples.inputs.X.base is not None
        assert np.shares_memory(samples.inputs.X, X)
        if stop > start:
            order = samples.order
            orders.append(order.copy() if len(order) > 0 else np.arange(samples.inputs.n))
        return real(state, samples, start, stop, loss_sum)

    kernels.train_sequential = spy
    try:
        fitted(X, y)
        fitted(X, y, shuffle=False)
    finally:
        kernels.train_sequential = real
    for order in orders:
        assert sorted(order) == list(range(120))
    assert not np.array_equal(orders[0], orders[1])
    np.testing.assert_array_equal(orders[-1], np.arange(120))
    np.testing.assert_array_equal(X, before)


def test_partial_fit_is_one_pass_in_the_order_given(blobs):
    X, y = blobs
    whole, parts = Network((4, 8, 3), seed=1), Network((4, 8, 3), seed=1)
    Trainer(whole, shuffle=False).fit(X, y, epochs=1, progress=False)
    trainer = Trainer(parts)
    for i in range(0, 120, 50):
        assert trainer.partial_fit(X[i : i + 50], y[i : i + 50]) is trainer
    np.testing.assert_array_equal(parts.params, whole.params)
    assert len(trainer.history) == 0


def test_partial_fit_takes_sample_weights(blobs):
    X, y = blobs
    weights = np.linspace(0.1, 3, 120)
    whole, part = Network((4, 8, 3), seed=1), Network((4, 8, 3), seed=1)
    fitted = Trainer(whole, shuffle=False)
    fitted.fit(X, y, epochs=1, sample_weight=weights, progress=False)
    Trainer(part).partial_fit(X, y, weights)
    np.testing.assert_array_equal(part.params, whole.params)


def test_an_optimizer_shows_what_differs_from_its_defaults():
    for optimizer, shown in (
        (optimizers.SGD(), "SGD()"),
        (optimizers.AdamW(), "AdamW()"),
        (optimizers.SGD(momentum=0.9, nesterov=True), "SGD(momentum=0.9, nesterov=True)"),
        (optimizers.Adam(eps=0.5, decoupled_weight_decay=True),
         "Adam(decoupled_weight_decay=True, eps=0.5)"),
    ):  # fmt: skip
        assert repr(optimizer) == shown
        assert eval(shown, vars(optimizers)) == optimizer


def test_weight_decay_spares_the_biases():
    network = Network((2, 2), loss="squared_error", dtype="float64", seed=0)
    network.biases[0][...] = 1.0
    X = np.zeros((1, 2))
    before = network.weights[0].copy()
    # The target is the output: the loss has no gradient, so only the decay acts.
    Trainer(network, learning_rate=0.5, weight_decay=0.1).partial_fit(X, [[1.0, 1.0]])
    np.testing.assert_allclose(network.weights[0], before * 0.95, rtol=1e-15)
    np.testing.assert_array_equal(network.biases[0], [1.0, 1.0])


def test_sample_weight_zero_leaves_a_sample_out(blobs):
    X, y = blobs
    keep = np.arange(120) % 2 == 0
    a, b = Network((4, 8, 3), seed=1), Network((4, 8, 3), seed=1)
    # Weights 0 and 2 have the mean 1.
    Trainer(a, shuffle=False, learning_rate=0.01).fit(
        X, y, epochs=1, sample_weight=2.0 * keep, progress=False
    )
    Trainer(b, shuffle=False, learning_rate=0.02).fit(X[keep], y[keep], epochs=1, progress=False)
    np.testing.assert_allclose(a.params, b.params, rtol=1e-5, atol=1e-7)
    assert a.loss(X, y, sample_weight=keep) == pytest.approx(a.loss(X[keep], y[keep]), rel=1e-12)


def test_extreme_sample_weights(blobs):
    network = Network((4, 3), seed=0)
    X, y = blobs[0][:4], blobs[1][:4]
    assert network.loss(X, y, sample_weight=[1e308] * 4) == pytest.approx(network.loss(X, y))
    only = network.loss(X, y, sample_weight=[5e-324, 0, 0, 0])
    assert only == pytest.approx(network.loss(X[:1], y[:1]))


def test_labels_changed_during_a_fit_do_not_reach_the_kernel(blobs):
    X, y = blobs[0], blobs[1].copy()

    def spoil(trainer):
        y[:] = 10**9  # an index far outside of any buffer

    Trainer(Network((4, 3), seed=0)).fit(X, y, epochs=3, callbacks=[spoil], progress=False)


def test_a_network_set_during_a_fit_is_for_the_next_one(blobs):
    first, other = Network((4, 8, 3), seed=0), Network((1, 2), seed=0)
    trainer = Trainer(first, seed=0)

    def swap(trainer):
        trainer.network = other

    trainer.fit(*blobs, epochs=2, callbacks=[swap], progress=False)
    np.testing.assert_array_equal(other.params, Network((1, 2), seed=0).params)


def test_parameters_spoilt_by_a_callback_are_no_divergence(blobs):
    network = Network((4, 3), seed=0)

    def spoil(trainer):
        network.biases[0][1] = np.nan

    with pytest.raises(ValueError, match=r"network\.params must be finite, got NaN or infinity"):
        Trainer(network).fit(*blobs, callbacks=[spoil], progress=False)


def test_an_overflowing_loss_is_divergence_too(generator):
    X, y = generator.normal(size=(20, 2)) * 1e20, np.ones(20)
    network = Network((2, 1), loss="absolute_error", seed=0)
    trainer = Trainer(network, learning_rate=1e15)
    with (
        pytest.raises(DivergenceError, match="the loss is not finite") as info,
        pytest.warns(fastbp.ScaleWarning),
    ):
        trainer.fit(X, y, progress=False)
    assert info.value.layer is None


def test_callbacks_run_after_each_epoch(blobs):
    seen = []
    network = Network((4, 3), seed=0)
    Trainer(network, seed=0).fit(
        *blobs, epochs=3, callbacks=[lambda t: seen.append(len(t.history))], progress=False
    )
    assert seen == [1, 2, 3]


def test_an_exception_in_a_callback_leaves_the_network_usable(blobs):
    network = Network((4, 3), seed=0)

    def fail(trainer):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        Trainer(network, seed=0).fit(*blobs, callbacks=[fail], progress=False)
    assert np.isfinite(network.loss(*blobs))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_divergence_names_epoch_and_layer_and_keeps_finite_weights(dtype, generator):
    X, y = generator.normal(size=(500, 3)), generator.normal(size=500)
    network = Network((3, 8, 8, 1), loss="squared_error", dtype=dtype, seed=0)
    trainer = Trainer(network, learning_rate=1e-3, seed=0)
    trainer.fit(X, y, epochs=2, progress=False)
    trainer.learning_rate = 50.0
    with pytest.raises(
        DivergenceError, match=r"diverged in epoch 3: layer \d .*learning_rate"
    ) as info:
        trainer.fit(X, y, epochs=5, progress=False)
    assert info.value.epoch == 3
    assert info.value.layer in (1, 2, 3)
    assert np.isfinite(network.params).all()
    assert np.isfinite(network.loss(X, y))
    assert len(trainer.history) == 2
    assert str(pickle.loads(pickle.dumps(info.value))) == str(info.value)


def test_a_warning_of_divergence_names_the_line_of_the_fit(blobs):
    def explode(trainer):
        trainer.learning_rate = 1e30

    trainer = Trainer(Network((4, 8, 3), loss="squared_error", seed=0), seed=0)
    callbacks = [fastbp.callbacks.EarlyStopping("train_loss"), explode]
    y = np.eye(3)[blobs[1]]
    with pytest.warns(RuntimeWarning, match="takes those of its best epoch, 1") as seen:
        trainer.fit(blobs[0], y, callbacks=callbacks, progress=False)
    places = [each.filename for each in seen if "diverged" in str(each.message)]
    assert places == [__file__]


def test_divergence_keeps_the_state_of_the_last_chunk(blobs, monkeypatch):
    """Not that of the epoch's start: what was learned up to the chunk stays."""
    network = Network((4, 3), seed=0)
    cuts = [(0, 9), (9, 50), (50, 120)]
    monkeypatch.setattr("fastbp.runs.paced", lambda n, *_: iter(cuts))

    def train(state, samples, start, stop, loss_sum):
        network.biases[0][...] = np.nan if start == 50 else stop
        return 0.0

    monkeypatch.setattr(kernels, "train_sequential", train)
    with pytest.raises(DivergenceError):
        Trainer(network).fit(*blobs, progress=False)
    assert network.biases[0].tolist() == [50, 50, 50]


@pytest.mark.parametrize(
    ("batch_size", "optimizer", "ends"),
    [(1, "sgd", [1]), (1, "adam", [1]), (100, "sgd", [500, 1000]), (999, "adam", [512, 1024])],
)
def test_chunks_of_batches_are_not_too_short_for_the_copies(
    batch_size, optimizer, ends, monkeypatch
):
    """However slow a network is; single samples take longer than copies of its parameters."""
    seen, real = [], pacing.paced

    def paced(n, operations, block=1, pieces=1):
        for start, stop in real(n, 10**12, block, pieces):
            seen.append(stop)
            yield start, stop

    monkeypatch.setattr("fastbp.runs.paced", paced)
    X, y = np.ones((1100, 2)), np.zeros(1100, int)
    # A weighted penalty keeps Adam's single samples from a kernel of their own.
    options = {"method": "sequential"} if optimizer == "sgd" and batch_size == 1 else {"l1": 0.1}
    trainer = Trainer(Network((2, 3), seed=0), optimizer, batch_size=batch_size, **options)
    trainer.partial_fit(X, y)
    assert ("mini-batches" in trainer.summary()) == (optimizer == "adam" or batch_size > 1)
    assert seen[: len(ends)] == ends


def test_ctrl_c_during_a_diverging_chunk_leaves_finite_weights(blobs, monkeypatch):
    network = Network((4, 3), seed=0)
    before = network.params.copy()

    def train(state, samples, start, stop, loss_sum):
        if stop > start:
            network.biases[0][...] = np.nan
            raise KeyboardInterrupt
        return 0.0

    monkeypatch.setattr(kernels, "train_sequential", train)
    with pytest.raises(KeyboardInterrupt):
        Trainer(network).fit(*blobs, progress=False)
    np.testing.assert_array_equal(network.params, before)


def test_divergence_names_the_first_layer(blobs, monkeypatch):
    network = Network((4, 8, 3), seed=0)
    before = network.params.copy()

    def poison(state, samples, start, stop, loss_sum):
        if stop > start:
            network.biases[1][2] = np.inf
        return 0.0

    monkeypatch.setattr(kernels, "train_sequential", poison)
    with pytest.raises(DivergenceError) as info:
        Trainer(network).fit(*blobs, progress=False)
    assert (info.value.epoch, info.value.layer) == (1, 2)
    np.testing.assert_array_equal(network.params, before)


def test_threads_share_copies_and_checks_of_parameters(blobs, monkeypatch):
    monkeypatch.setattr("fastbp.runs._SWEPT", 1)  # of so many
    monkeypatch.setattr("fastbp.threads._WORTH_SPREADING", 1)
    shared, real = [], threads.spread

    def spread(work, n, operations, n_threads):
        shared.append(n_threads)
        return real(work, n, operations, n_threads)

    monkeypatch.setattr("fastbp.threads.spread", spread)
    network = Network((4, 8, 3), seed=0)
    trainer = Trainer(network, batch_size=8, n_threads=2)
    trainer.fit(*blobs, progress=False)
    before, train = network.params.copy(), kernels.train_minibatch

    def poison(*arguments):
        loss_sum, (start, stop) = train(*arguments), arguments[4:6]
        if stop > start:
            network.biases[1][2] = np.inf
        return loss_sum

    monkeypatch.setattr(kernels, "train_minibatch", poison)
    with pytest.raises(DivergenceError) as info:
        trainer.fit(*blobs, progress=False)
    assert info.value.layer == 2
    np.testing.assert_array_equal(network.params, before)
    assert set(shared) == {2}


def test_parameters_that_were_not_finite_cost_no_moments(blobs):
    network = Network((4, 8, 3), seed=0)
    trainer = Trainer(network, "adam", batch_size=8, seed=0)
    trainer.fit(*blobs, progress=False)
    before, bias = trainer.optimizer_state.moments.copy(), network.biases[0][0]
    network.biases[0][0] = np.nan
    with pytest.raises(ValueError, match="must be finite"):
        trainer.partial_fit(*blobs)
    network.biases[0][0] = bias
    np.testing.assert_array_equal(trainer.optimizer_state.moments, before)


def test_a_trainer_survives_pickling(blobs):
    trainer = Trainer(Network((4, 8, 3), seed=1), seed=5)
    trainer.fit(*blobs, epochs=1, progress=False)
    other = pickle.loads(pickle.dumps(trainer))
    for t in (trainer, other):
        t.fit(*blobs, epochs=1, progress=False)
    np.testing.assert_array_equal(other.network.params, trainer.network.params)


def test_a_trainer_that_an_older_version_pickled_is_refused_in_a_sentence():
    trainer = Trainer(Network((4, 3)))
    old = trainer.__getstate__()
    del old["workings"]
    with pytest.raises(ValueError, match=r"older version: have that version save it"):
        trainer.__setstate__(old)


def test_progress_bar_goes_to_stderr(blobs, capsys):
    Trainer(Network((4, 3)), seed=0).fit(*blobs, epochs=2, progress=True)
    assert "samples/s" in capsys.readouterr().err
    Trainer(Network((4, 3)), seed=0).fit(*blobs, epochs=2)  # stderr is no terminal here
    assert capsys.readouterr().err == ""


def test_warmup_compiles_everything_that_a_fit_needs(blobs):
    assert fastbp.warmup() >= 0
    entries = (
        kernels.train_sequential,
        kernels.train_deferred,
        kernels.train_minibatch,
        kernels.infer,
    )
    counts = [len(getattr(entry, "signatures", ())) for entry in entries]
    for dtype in ("float32", "float64"):
        network = Network((4, 8, 3), dtype=dtype, seed=1)
        X = np.asfortranarray(blobs[0])
        rows = np.eye(3)[blobs[1]]
        Trainer(network).fit(X, blobs[1], epochs=1, eval_set=(X, rows), progress=False)
        Trainer(network).fit(X, rows, epochs=1, sample_weight=np.ones(120), progress=False)
        Trainer(network, method="deferred").fit(X, rows, epochs=1, progress=False)
        network.value_and_grad(X, rows)
        network.predict(X)
    assert [len(getattr(entry, "signatures", ())) for entry in entries] == counts


def test_two_threads_predict_at_once(blobs):
    network = Network((4, 64, 3), seed=1)
    X = np.tile(blobs[0], (50, 1))
    expected = network.predict_proba(X)
    results = [None] * 4

    def work(i):
        results[i] = network.predict_proba(X)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        np.testing.assert_array_equal(result, expected)


def test_a_step_is_the_oracles_in_a_read_only_memory_map(tmp_path, generator):
    path = tmp_path / "X.npy"
    np.save(path, generator.normal(size=(20, 4)))
    X = np.load(path, mmap_mode="r")
    Y = np.eye(3)[generator.integers(0, 3, 20)]
    network = Network((4, 5, 3), activation="tanh", dtype="float64", seed=0)
    oracle = Naive.of(network)
    Trainer(network, learning_rate=0.1).partial_fit(X, Y)
    oracle.train(X, Y, range(20), 0.1)
    np.testing.assert_allclose(network.weights[0], oracle.weights[0], rtol=1e-12)


def test_one_fit_at_a_time(blobs):
    """Of a trainer, and of a network; others predict meanwhile, and the next fit may come."""
    network = Network((4, 8, 3), seed=1)
    trainer, other = Trainer(network, seed=0), Trainer(network, seed=0)
    elsewhere = Trainer(Network((4, 8, 3), seed=1))
    refused, outputs = [], []

    def meanwhile():
        for use in (
            lambda: trainer.fit(*blobs, epochs=1, progress=False),
            lambda: trainer.partial_fit(*blobs),
            lambda: other.fit(*blobs, epochs=1, progress=False),
            lambda: other.partial_fit(*blobs),
        ):
            with pytest.raises(RuntimeError, match="another thread is training this") as error:
                use()
            refused.append(error)
        outputs.append(network.predict(blobs[0]))
        elsewhere.fit(*blobs, epochs=1, progress=False)

    def run(trainer):
        thread = threading.Thread(target=meanwhile)
        thread.start()
        thread.join()
        trainer.partial_fit(*blobs)  # within the fit
        if len(trainer.history) == 2:
            trainer.stop()
            other.partial_fit(*blobs)

    trainer.fit(*blobs, epochs=3, callbacks=run, progress=False)
    assert (len(refused), len(outputs), len(trainer.history)) == (8, 2, 2)
    assert len(elsewhere.history) == 2
    for each in (trainer, other):
        each.fit(*blobs, epochs=1, progress=False)


def test_four_threads_at_once_train_one_after_the_other_or_not_at_all(blobs):
    trainer = Trainer(Network((4, 8, 3), seed=1), seed=0)
    results = []
    together = threading.Barrier(4)

    def work():
        together.wait()
        try:
            trainer.fit(*blobs, epochs=20, progress=False)
            results.append(20)
        except RuntimeError:
            results.append(0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(trainer.history) == sum(results) > 0
    again = Trainer(Network((4, 8, 3), seed=1), seed=0)
    again.fit(*blobs, epochs=sum(results), progress=False)
    np.testing.assert_array_equal(trainer.network.params, again.network.params)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_forked_while_a_thread_trains_may_train(blobs):
    trainer = Trainer(Network((4, 8, 3), seed=1), seed=0)
    begun, enough = threading.Event(), threading.Event()

    def hold(trainer):
        begun.set()
        enough.wait(60)

    thread = threading.Thread(
        target=trainer.fit, args=blobs, kwargs={"epochs": 1, "callbacks": hold, "progress": False}
    )
    thread.start()
    begun.wait(60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads
        child = os.fork()
    if child == 0:
        status = 1
        try:
            trainer.fit(*blobs, epochs=1, progress=False)
            status = 0
        finally:
            os._exit(status)
    enough.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_ctrl_c_anywhere_leaves_a_trainer_that_can_be_used(blobs):
    """At every line of what says that a thread is training, and ends saying so."""
    trainer = Trainer(Network((4, 3), seed=1), seed=0)
    files = {sys.modules[f"fastbp.{name}"].__file__ for name in ("trainer", "turns")}
    place = count = 0

    def trace(frame, event, argument):
        nonlocal count
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            count += 1
            if count == place:
                raise KeyboardInterrupt
        return trace

    kept = sys.gettrace()
    while count >= place:
        place, count = place + 1, 0
        sys.settrace(trace)
        try:
            trainer.partial_fit(*blobs)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(kept)
        failed = []

        def use(failed=failed):
            try:
                trainer.partial_fit(*blobs)
            except RuntimeError as error:
                failed.append(error)

        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        assert not failed, place
    assert place > 15


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("learnign_rate", 0.1, r"no attribute 'learnign_rate' \(did you mean 'learning_rate'\?\)"),
        ("lr", 0.1, "no attribute 'lr'.*learning_rate, batch_size"),
        ("dropuot", 0.1, "did you mean 'dropout'"),
        ("seed", 1, "no attribute 'seed'"),
    ],
)
def test_a_misspelt_option_is_refused(name, value, message):
    trainer = Trainer(Network((4, 3)))
    with pytest.raises(AttributeError, match=message):
        setattr(trainer, name, value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("history", [], r"history must be a fastbp\.History, got list"),
        ("history", None, r"history must be a fastbp\.History, got NoneType"),
        ("network", None, r"network must be a fastbp\.Network, got NoneType"),
        ("learning_rate", lambda: 0.1, "learning_rate must take 1 positional argument, epoch"),
        ("shuffle", lambda n, k: n, "shuffle must take 1 positional argument, n_samples"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_set(name, value, message):
    trainer = Trainer(Network((4, 3)))
    with pytest.raises(ValueError, match=message):
        setattr(trainer, name, value)


def test_a_subclass_has_attributes_of_its_own(blobs):
    class Mine(Trainer):
        def __init__(self, network):
            super().__init__(network)
            self.note = "mine"

    assert Mine(Network((4, 3))).partial_fit(*blobs).note == "mine"


INTERRUPTED = """
import sys, time
import numpy as np
import fastbp
X = np.random.default_rng(0).random((20_000, 300), dtype=np.float32)
y = np.arange(20_000) % 10
network = fastbp.Network((300, 300, 10), seed=0)
trainer = fastbp.Trainer(network, seed=0)
fastbp.warmup(["float32"])
print("fitting", flush=True)
try:
    trainer.fit(X, y, epochs=10_000, progress=False)
except KeyboardInterrupt:
    print(time.time(), flush=True)
assert np.isfinite(network.loss(X, y))
trainer.partial_fit(X[:10], y[:10])
print("usable", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to a child on Windows")
@pytest.mark.skipif(
    os.environ.get("NUMBA_DISABLE_JIT", "0") != "0",
    reason="interpreted kernels take seconds a chunk",
)
def test_ctrl_c_leaves_a_whole_network():
    child = subprocess.Popen([sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "fitting\n"
        time.sleep(0.7)
        child.send_signal(signal.SIGINT)
        assert float(child.stdout.readline()) > 0  # how soon it came: bench/startup.py
        assert child.stdout.readline() == "usable\n"
        assert child.wait(timeout=60) == 0
    finally:
        child.kill()
        child.stdout.close()
        child.wait()


@pytest.mark.parametrize(
    ("options", "made"),
    [({"method": "deferred"}, "make_block"), ({"batch_size": 32}, "make_batch")],
)
def test_scratch_is_kept_from_call_to_call_but_never_the_data(options, made, monkeypatch):
    real, count = getattr(kernels, made), []
    monkeypatch.setattr(kernels, made, lambda *a, **k: count.append(1) or real(*a, **k))
    trainer = Trainer(Network((4, 8, 3), seed=1), seed=0, **options)
    X, y = np.ones((32, 4), np.float32), np.arange(32) % 3
    for use in (trainer.partial_fit, lambda X, y: trainer.fit(X, y, epochs=2, progress=False)):
        data = X.copy()
        alive = weakref.ref(data)
        use(data, y)
        del data
        gc.collect()
        assert alive() is None
    assert count == [1]
    trainer.l1 = 0.5 if options == {"batch_size": 32} else 0.0
    trainer.weight_decay = 0.5
    trainer.partial_fit(X, y)
    assert count == [1, 1]


def test_a_pass_that_ends_within_a_batch_leaves_no_sums_behind(blobs, monkeypatch):
    """Its gradient of half a batch must not enter the next one's."""
    X, y = np.tile(blobs[0], (5, 1)), np.tile(blobs[1], 5)
    params = []
    for is_interrupted in (False, True):
        trainer = Trainer(Network((4, 8, 3), seed=1), batch_size=600, seed=0)
        if is_interrupted:
            cuts = iter([(0, 256), (256, 512)])
            with monkeypatch.context() as patch:
                patch.setattr("fastbp.runs.paced", lambda *_, cuts=cuts: cuts)
                real, calls = kernels.train_minibatch, []

                def train(*arguments, real=real, calls=calls):
                    calls.append(arguments)
                    if len(calls) == 3:  # the first has no rows
                        raise KeyboardInterrupt
                    return real(*arguments)

                patch.setattr(kernels, "train_minibatch", train)
                with pytest.raises(KeyboardInterrupt):
                    trainer.partial_fit(X, y)
        trainer.partial_fit(X, y)
        params.append(trainer.network.params.copy())
    np.testing.assert_array_equal(*params)


def test_kernels_are_loaded_before_the_bar_is_made(blobs, monkeypatch):
    seen = []
    train, infer, bar = kernels.train_sequential, kernels.infer, fastbp.progress.progress_bar

    def watched_train(*arguments):
        seen.append("train" if arguments[3] > arguments[2] else "load train")
        return train(*arguments)

    def watched_infer(*arguments):
        seen.append("infer" if arguments[4] > arguments[3] else "load infer")
        return infer(*arguments)

    def watched_bar(*arguments):
        seen.append("bar")
        return bar(*arguments)

    monkeypatch.setattr(kernels, "train_sequential", watched_train)
    monkeypatch.setattr(kernels, "infer", watched_infer)
    monkeypatch.setattr("fastbp.fitting.progress_bar", watched_bar)
    trainer = Trainer(Network((4, 3), seed=0))
    trainer.fit(*blobs, epochs=2, eval_set=blobs, progress=False)
    assert list(dict.fromkeys(seen)) == ["load train", "load infer", "bar", "train", "infer"]
    seen.clear()
    trainer.fit(*blobs, epochs=0, progress=True)
    assert seen == []


def with_two_threads(monkeypatch):
    """Teams of two, of whom nobody comes: the kernels are stand-ins."""
    monkeypatch.setattr("fastbp.threads.available", lambda: 2)
    monkeypatch.setattr("fastbp.threads._kept", {})
    monkeypatch.setitem(threads._rested, "at", 0.0)
    monkeypatch.setattr(kernels, "make_team", lambda size: np.zeros(64, np.int64))
    monkeypatch.setattr(kernels, "serve", lambda *_: None)


@pytest.mark.parametrize(
    ("entry", "options"), [("train_minibatch", {"batch_size": 256}), ("train_deferred", {})]
)
@pytest.mark.parametrize(("n_threads", "gain"), [(None, 2), (None, 0.5), (2, 0.5), (1, 2)])
def test_threads_are_used_where_they_gain_or_were_asked_for(
    entry, options, n_threads, gain, monkeypatch
):
    with_two_threads(monkeypatch)
    seen, now = [], [0.0]

    def train(*arguments):
        start, stop, loss_sum, team = arguments[-4:]
        seen.append(len(team) > 0)
        now[0] += (stop - start) * 1e-3 / (gain if seen[-1] else 1)
        return loss_sum

    monkeypatch.setattr(kernels, entry, train)
    monkeypatch.setattr(pacing.time, "perf_counter", lambda: now[0])
    X, y = np.ones((1000, 500), np.float32), np.arange(1000) % 3
    trainer = Trainer(Network((500, 500, 3), seed=0), n_threads=n_threads, **options)
    trainer.fit(X, y, epochs=10, progress=False)
    is_used = n_threads == 2 or (n_threads is None and gain > 1)
    assert any(seen) == (n_threads != 1)
    assert (np.mean(seen) > 0.5) == is_used
    assert ("; 2 threads" in trainer.summary()) == is_used


def test_a_gradient_is_taken_on_threads_where_they_gain(monkeypatch):
    with_two_threads(monkeypatch)
    for gain in (2, 0.5):
        seen, now = [], [0.0]

        def train(*arguments, seen=seen, now=now, gain=gain):
            seen.append(len(arguments[-1]) > 0)
            now[0] += (arguments[-3] - arguments[-4]) * 1e-3 / (gain if seen[-1] else 1)
            return arguments[-2]

        monkeypatch.setattr(kernels, "train_minibatch", train)
        monkeypatch.setattr(pacing.time, "perf_counter", lambda now=now: now[0])
        X, y = np.ones((1000, 500), np.float32), np.arange(1000) % 3
        network = Network((500, 500, 3), seed=0)
        for _ in range(10):
            network.value_and_grad(X, y)
        assert (np.mean(seen) > 0.5) == (gain > 1)


def test_two_trainers_of_a_network_have_moments_of_their_own(blobs):
    """They take turns in the network's state; each goes on where it was."""
    shared = Network((4, 8, 3), seed=1)
    alone = [Network((4, 8, 3), seed=1) for _ in range(2)]
    pairs = [
        [Trainer(network, optimizer, batch_size=30) for network in (shared, own)]
        for own, optimizer in zip(alone, ("adam", "rmsprop"), strict=True)
    ]
    params = shared.params.copy()
    for _ in range(3):
        for ours, theirs in pairs:
            ours.partial_fit(*blobs)
            theirs.network.params[:] = params
            theirs.partial_fit(*blobs)
            params = theirs.network.params.copy()
            np.testing.assert_array_equal(shared.params, params)


def test_moments_are_views_of_the_networks_state(blobs):
    network = Network((4, 8, 3), seed=1)
    trainer = Trainer(network, "adam", batch_size=30).partial_fit(*blobs)
    for array in (trainer.optimizer_state.moments, trainer.optimizer_state.counts, network.params):
        assert np.may_share_memory(array, network.parameters.state)
    assert trainer.optimizer_state.moments.any(axis=1).all()


def test_trainers_that_take_turns_with_a_network_keep_their_own_moments(blobs):
    """As if each had the network to itself, but for the parameters, which they share."""
    X, y = blobs
    kinds = [optimizers.Adam(), optimizers.SGD(momentum=0.9), optimizers.NAdam()]
    network = Network((4, 8, 3), seed=1)
    trainers = [Trainer(network, kind, batch_size=8, seed=0) for kind in kinds]
    alone = [Trainer(network.copy(), kind, batch_size=8, seed=0) for kind in kinds]
    for turn in range(6):
        trainer, other = trainers[turn % 3], alone[turn % 3]
        other.network.params[:] = network.params
        trainer.partial_fit(X, y)
        other.partial_fit(X, y)
        np.testing.assert_array_equal(network.params, other.network.params)
    for trainer, other in zip(trainers, alone, strict=True):
        ours, theirs = trainer.optimizer_state, other.optimizer_state
        np.testing.assert_array_equal(ours.moments, theirs.moments)
        np.testing.assert_array_equal(ours.counts, theirs.counts)


def test_ctrl_c_while_moments_move_in_loses_none(blobs):
    network = Network((4, 8, 3), seed=1)
    trainers = [Trainer(network, "adam", batch_size=8, seed=seed) for seed in (0, 1)]
    for trainer in trainers:
        trainer.partial_fit(*blobs)
    expected = [t.optimizer_state.moments.copy() for t in trainers]
    file = sys.modules["fastbp.moments"].__file__
    place = count = 0

    def trace(frame, event, _):
        nonlocal count
        if frame.f_code.co_filename != file:
            return None
        if event == "line":
            count += 1
            if count == place:
                raise KeyboardInterrupt
        return trace

    kept = sys.gettrace()
    while count >= place:
        place, count = place + 1, 0
        trainers[1].optimizer_state.move_in()
        state = trainers[0].optimizer_state
        sys.settrace(trace)
        try:
            state.move_in()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(kept)
        for trainer, moments in zip(trainers, expected, strict=True):
            np.testing.assert_array_equal(trainer.optimizer_state.moments, moments)
    assert place > 15


def test_a_network_is_freed_with_its_trainer(blobs):
    """At once, for it may be large: nothing refers to it in a circle."""
    gc.disable()
    try:
        network = Network((4, 3), seed=0)
        trainer = Trainer(network, "adam").partial_fit(*blobs)
        trainer.fit(*blobs, epochs=1, progress=False)
        alive = weakref.ref(network)
        del trainer
        Trainer(network, "adam").partial_fit(*blobs)
        del network
        assert alive() is None
    finally:
        gc.enable()
