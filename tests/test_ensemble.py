"""Ensembles: every network as a trainer of its own would have trained it, side by side or not."""

import copy
import pickle
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import assert_padding_is_zero, targets_for
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.model_selection import KFold
from test_jit import DISABLED

import fastbp
from fastbp import Ensemble, Network, Trainer, kernels, packs, threads
from fastbp.kernels import LEGAL_OUTPUTS

LANES = {"float32": 16, "float64": 8}
TOLERANCE = {"float32": 2e-5, "float64": 1e-13}
SIZES = (3, 5, 4)
NETWORK = ("activation", "loss", "output", "init", "dtype", "classes", "preparation")


def apart(n, X, y, epochs, *, rows=None, sizes=SIZES, weights=None, seeds=0, **options):
    """The same networks, each fitted by a trainer of its own."""
    trainers = []
    for k in range(n):
        own = {
            name: value[k] if isinstance(value, np.ndarray) else value
            for name, value in options.items()
        }
        of_network = {name: own.pop(name) for name in NETWORK if name in own}
        network = Network(sizes, seed=seeds + k, **of_network)
        trainer = Trainer(network, seed=seeds + k, **own)
        its = np.arange(len(y)) if rows is None else rows[k]
        if len(its) > 0:
            weight = None if weights is None else weights[its]
            trainer.fit(X[its], y[its], epochs=epochs, sample_weight=weight, progress=False)
        trainers.append(trainer)
    return trainers


def assert_same(ensemble, trainers):
    """Networks and losses are the same to rounding."""
    tolerance = TOLERANCE[ensemble[0].dtype.name]
    assert len(ensemble) == len(trainers)
    for k, (network, trainer) in enumerate(zip(ensemble, trainers, strict=True)):
        assert_allclose(
            network.params, trainer.network.params, rtol=tolerance, atol=tolerance, err_msg=k
        )
        assert_padding_is_zero(network)
        losses = ensemble.train_loss[: len(trainer.history), k]
        assert_allclose(losses, trainer.history.train_loss, rtol=10 * tolerance)
        assert np.isnan(ensemble.train_loss[len(trainer.history) :, k]).all()


def is_side_by_side(ensemble):
    return "side by side" in ensemble.summary()


PAIRS = [(loss, output) for loss, outputs in LEGAL_OUTPUTS.items() for output in outputs]


@pytest.mark.parametrize("dtype", LANES)
@pytest.mark.parametrize(("loss", "output"), PAIRS)
def test_losses_and_outputs_are_those_of_trainers(loss, output, dtype, generator):
    n, options = 5, {"loss": loss, "output": output, "dtype": dtype, "learning_rate": 0.02}
    X = generator.normal(size=(7, 3)) / 2
    ensemble = Ensemble(SIZES, n, seeds=0, **options)
    for y in [targets_for(loss, generator, 7, 4), generator.integers(0, 4, 7)]:
        if y.ndim == 2 or loss == "cross_entropy":
            ensemble = Ensemble(SIZES, n, seeds=0, **options)
            ensemble.fit(X, y, epochs=2)
            assert is_side_by_side(ensemble)
            assert_same(ensemble, apart(n, X, y, 2, **options))


@pytest.mark.parametrize("dtype", LANES)
@pytest.mark.parametrize("activation", kernels.HIDDEN)
def test_activations_are_those_of_trainers(activation, dtype, generator):
    options = {"activation": ("tanh", activation), "dtype": dtype, "loss": "squared_error"}
    sizes, X, y = (3, 6, 5, 1), generator.normal(size=(7, 3)), generator.normal(size=7)
    ensemble = Ensemble(sizes, 5, seeds=3, **options)
    ensemble.fit(X, y, epochs=2)
    assert_same(ensemble, apart(5, X, y, 2, sizes=sizes, seeds=3, **options))


@pytest.mark.parametrize("dtype", LANES)
@pytest.mark.parametrize("more", [0, 1, 5])
def test_each_network_has_its_own_seed_rate_decay_and_rows(dtype, more, generator):
    """Some have one row, some none; weights of rows may be 0; packs may have lanes to spare."""
    n, n_rows = 16 + more, 90
    X, y = generator.normal(size=(n_rows, 3)), generator.integers(0, 4, n_rows)
    groups = generator.integers(0, n - 2, n_rows)
    groups[groups == 3] = generator.integers(4, n - 2, np.count_nonzero(groups == 3))
    groups[0] = n - 2
    weights = generator.uniform(0.5, 2, n_rows) * (np.arange(n_rows) % 5 > 0)
    weights[0] = 1
    options = {
        "dtype": dtype,
        "learning_rate": np.linspace(0.01, 0.1, n),
        "weight_decay": np.where(np.arange(n) % 3 > 0, np.linspace(0, 0.5, n), 0),
    }
    ensemble = Ensemble(SIZES, n, seeds=7, **options)
    losses = ensemble.fit(X, y, groups=groups, sample_weight=weights, epochs=3)
    assert losses.shape == (3, n)
    assert_array_equal(losses, ensemble.train_loss)
    assert is_side_by_side(ensemble)
    rows = [np.flatnonzero(groups == k) for k in range(n)]
    trainers = apart(n, X, y, 3, rows=rows, weights=weights, seeds=7, **options)
    assert_same(ensemble, trainers)
    assert np.isnan(losses[:, [3, n - 1]]).all()
    assert_array_equal(ensemble[3].params, Network(SIZES, seed=10, dtype=dtype).params)
    # Further fits go on from there, with the next orders of each.
    ensemble.fit(X, y, epochs=1)
    for trainer in trainers:
        trainer.fit(X, y, epochs=1, progress=False)
    tolerance = 10 * TOLERANCE[dtype]
    for network, trainer in zip(ensemble, trainers, strict=True):
        assert_allclose(network.params, trainer.network.params, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", LANES)
@pytest.mark.parametrize("decay", [0, 0.1])
@pytest.mark.parametrize(
    "sizes", [(5, 3), (33, 1), (1, 4, 7), (16, 6, 9, 2), (17, 2, 3), (8, 5, 1)]
)
def test_layers_of_any_width_and_number(sizes, decay, dtype, generator):
    """Inputs come in whole vectors, even at the end of X, and outputs in fours; some are left."""
    options = {"loss": "squared_error", "activation": "tanh", "dtype": dtype, "weight_decay": decay}
    X, y = generator.normal(size=(9, sizes[0])) / 2, generator.normal(size=(9, sizes[-1]))
    rows = [np.arange(9)[k:] for k in range(6)]
    ensemble = Ensemble(sizes, 6, seeds=0, **options)
    ensemble.fit(X, y, epochs=2, folds=rows)
    assert is_side_by_side(ensemble)
    assert_same(ensemble, apart(6, X, y, 2, rows=rows, sizes=sizes, **options))


@pytest.mark.parametrize("method", ["auto", "sequential"])
def test_partial_fit_makes_one_pass_in_the_order_given(method, generator):
    X, y, groups = generator.normal(size=(90, 3)), generator.integers(0, 4, 90), np.arange(90) % 6
    rate = fastbp.schedules.BySample(fastbp.schedules.InverseScaling(0.1), every=7)
    ensemble = Ensemble(SIZES, 6, seeds=0, learning_rate=rate, method=method)
    assert ensemble.partial_fit(X, y, groups=groups) is ensemble
    assert is_side_by_side(ensemble) == (method == "auto")
    ensemble.partial_fit(X, y)
    assert ensemble.train_loss.shape == (0, 6)
    for k, network in enumerate(ensemble):
        own = Network(SIZES, seed=k)
        trainer = Trainer(own, learning_rate=rate).partial_fit(X[k::6], y[k::6])
        trainer.partial_fit(X, y)
        assert_allclose(network.params, own.params, rtol=1e-4, atol=1e-5)
        assert ensemble.streams[k].samples == trainer.stream.samples == 105
        assert ensemble.streams[k].loss == pytest.approx(trainer.stream.loss, rel=1e-4)
    with pytest.raises(ValueError, match="a schedule of epochs for fit"):
        ensemble.fit(X, y)


@pytest.mark.parametrize("dtype", LANES)
def test_each_call_may_have_other_rows_networks_and_targets(dtype, generator):
    """Nothing is left of an earlier call in what a pack is trained in."""
    calls = [
        (60, 20, "rows"),
        (7, 20, "labels"),
        (7, 9, "rows"),
        (1, 20, "labels"),
        (30, 5, "rows"),
    ]
    ensemble = Ensemble(SIZES, 20, seeds=0, dtype=dtype, learning_rate=0.05)
    trainers = apart(20, X, Y, 0, dtype=dtype, learning_rate=0.05)
    for n_rows, n, kind in calls:
        inputs = generator.normal(size=(n_rows, 3))
        y = targets_for("cross_entropy", generator, n_rows, 4)
        y = y if kind == "rows" else generator.integers(0, 4, n_rows)
        weights = generator.uniform(0.5, 2, n_rows) if n == 20 else None
        ensemble.partial_fit(
            np.tile(inputs, (n, 1)), np.concatenate([y] * n), groups=np.arange(n).repeat(n_rows),
            sample_weight=None if weights is None else np.tile(weights, n),
        )  # fmt: skip
        assert is_side_by_side(ensemble)
        for trainer in trainers[:n]:
            trainer.partial_fit(inputs, y, weights)
        ensemble.fit(inputs, y, epochs=1)
        for trainer in trainers:
            trainer.fit(inputs, y, epochs=1, progress=False)
        tolerance = 10 * TOLERANCE[dtype]
        for network, trainer in zip(ensemble, trainers, strict=True):
            assert_allclose(network.params, trainer.network.params, rtol=tolerance, atol=tolerance)


def test_folds_may_be_numbers_rows_or_splits(generator):
    X, y = generator.normal(size=(40, 3)), generator.integers(0, 4, 40)
    splits = [*KFold(5, shuffle=True, random_state=0).split(X)]
    fold = np.empty(40, int)
    for k, (_, test) in enumerate(splits):
        fold[test] = k
    rows = [train for train, _ in splits]
    as_given = [fold, fold.tolist(), splits, iter(splits), rows, np.array(rows)]
    first = None
    for folds in as_given:
        ensemble = Ensemble(SIZES, 5, seeds=0)
        ensemble.fit(X, y, epochs=2, folds=folds)
        first = first or ensemble
        assert_array_equal(ensemble.train_loss, first.train_loss)
    assert_same(first, apart(5, X, y, 2, rows=rows))
    # Each row by the network that has not seen it.
    out_of_fold = first.predict(X, groups=fold)
    for k, (_, test) in enumerate(splits):
        assert_array_equal(out_of_fold[test], first[k].predict(X[test]))
    drawn = generator.integers(0, 40, (5, 40))  # bootstrap samples
    ensemble = Ensemble(SIZES, 5, seeds=0)
    ensemble.fit(X, y, epochs=2, folds=drawn)
    assert_same(ensemble, apart(5, X, y, 2, rows=drawn))


@pytest.mark.parametrize("dtype", LANES)
def test_idle_lanes_keep_every_bit(dtype, generator):
    """Whatever a network's neighbours do after it has had its samples, even if they diverge."""
    n, X, y = LANES[dtype], generator.normal(size=(64, 3)), generator.integers(0, 4, 64)
    options = {"dtype": dtype, "weight_decay": 0.1, "seeds": 0, "learning_rate": 0.5}
    short = [np.arange(6)] * n
    alike = Ensemble(SIZES, n, **options)
    alike.fit(X, y, folds=short, epochs=2)
    longer = Ensemble(SIZES, n, **options)
    longer.fit(X, y, folds=[*short[:5], *[np.arange(64)] * (n - 5)], epochs=2)
    for k in range(5):
        assert longer[k].params.tobytes() == alike[k].params.tobytes()
    assert longer[5].params.tobytes() != alike[5].params.tobytes()
    wild = {
        "learning_rate": [0.5] * 5 + [float(np.finfo(dtype).max) / 10] * (n - 5),
        "weight_decay": [0.1] * 5 + [0] * (n - 5),
    }
    beside = Ensemble(SIZES, n, **options | wild)
    with pytest.raises(fastbp.DivergenceError):
        beside.fit(X, y, folds=short, epochs=2)
    for k in range(5):
        assert beside[k].params.tobytes() == alike[k].params.tobytes()
    for other in (longer, beside):
        assert_array_equal(other.train_loss[:, :5], alike.train_loss[:, :5])


def test_an_idle_lane_may_overflow():
    """Its parameters are finite still; what it would predict is not."""
    network = Network((2, 3, 1), activation="gelu", loss="squared_error", dtype="float64", seed=0)
    packed = kernels.make_lanes(network.layout, network.dtype)
    fields = kernels.fields(packed, kernels.Lanes)
    fields.params[:] = 1e300
    before = fields.params.copy()
    samples = network.samples(np.full((4, 2), 1e300), np.ones(4))
    samples = samples._replace(order=np.zeros(8 * 4, np.int64))
    fields.rates[:], fields.decays[:], fields.counts[1] = 1e-3, 0.5, 4
    kernels.train_lanes(packed, samples, 0, 4)
    trained = fields.params.reshape(-1, 8)
    assert not np.isfinite(trained[:, 1]).all()
    idle = [k for k in range(8) if k != 1]
    assert trained[:, idle].tobytes() == before.reshape(-1, 8)[:, idle].tobytes()
    assert_array_equal(fields.losses[idle], 0)


@pytest.mark.parametrize("dtype", LANES)
@pytest.mark.parametrize("logit", [60, 95, 100, 200])
def test_a_lane_that_is_nan_changes_no_other_loss(logit, dtype):
    """All pairs of a lane of NaN and one that errs badly, whose loss is taken from its logits."""
    n, network = LANES[dtype], Network((2, 2), dtype=dtype)
    packed = kernels.make_lanes(network.layout, network.dtype)
    fields, places = kernels.fields(packed, kernels.Lanes), packs.places_of(network)
    samples = network.samples([[1, 8]], [1])._replace(order=np.zeros(n, np.int64))
    params = fields.params.reshape(-1, n)
    network.weights[0][...], network.biases[0][...] = [[logit, 0], [0, 0]], 0
    for bad in range(n):
        for erring in {*range(n)} - {bad}:
            params[:], fields.losses[:], fields.counts[:] = 0, 0, 1
            params[:, erring] = network.parameters.flat[places]
            params[:, bad] = np.nan
            kernels.train_lanes(packed, samples, 0, 1)
            others = [k for k in range(n) if k not in (bad, erring)]
            assert np.isnan(fields.losses[bad])
            assert_allclose(fields.losses[erring], logit, rtol=1e-7)
            assert_allclose(fields.losses[others], np.log(2), rtol=1e-6)


def test_only_the_network_that_diverged_is_said_to(generator):
    X, y = generator.normal(1, 0.1, (20, 2)), np.ones(20, int)
    X[:4, 1] = 8
    rates = np.full(16, 1e-6)
    rates[8] = 3e38
    ensemble = Ensemble((2, 2), 16, seeds=0, learning_rate=rates, shuffle=False)
    ensemble[0].weights[0][...], ensemble[0].biases[0][...] = [[200, 0], [0, 0]], 0
    with pytest.raises(fastbp.DivergenceError) as got:
        ensemble.fit(X, y, epochs=1)
    assert [*got.value.errors] == [8]


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adam"},
        {"batch_size": 4},
        {"dropout": 0.3},
        {"l1": 0.01, "clip_norm": 1.0},
        {"method": "sequential"},
        {"block_size": 3, "method": "deferred"},
    ],
    ids=repr,
)
def test_what_lanes_cannot_do_is_done_by_trainers_bit_for_bit(options, generator):
    X, y, groups = generator.normal(size=(90, 3)), generator.integers(0, 4, 90), np.arange(90) % 6
    ensemble = Ensemble(SIZES, 6, seeds=0, **options)
    ensemble.fit(X, y, epochs=2, groups=groups)
    assert "6 on their own" in ensemble.summary()
    trainers = apart(6, X, y, 2, rows=[np.flatnonzero(groups == k) for k in range(6)], **options)
    ensemble.partial_fit(X, y)
    for k, trainer in enumerate(trainers):
        assert_array_equal(ensemble.train_loss[:, k], trainer.history.train_loss)
        trainer.partial_fit(X, y)
        assert_array_equal(ensemble[k].params, trainer.network.params)


def test_sparse_rows_large_networks_and_few_networks_are_for_trainers(generator):
    X, y = generator.normal(size=(30, 3)), generator.integers(0, 4, 30)
    X[X < 0] = 0
    ensemble = Ensemble(SIZES, 6, seeds=0)
    ensemble.fit(sparse.csr_array(X), y, epochs=1, folds=np.arange(30) % 6)
    assert "6 on their own: X is sparse" in ensemble.summary()
    rows = [np.flatnonzero(np.arange(30) % 6 != k) for k in range(6)]
    assert_same(ensemble, apart(6, X, y, 1, rows=rows))
    assert_array_equal(ensemble.predict(sparse.csr_array(X)), ensemble.predict(X))
    groups = np.arange(30) % 6
    with_groups = ensemble.predict(sparse.csr_array(X), groups=groups)
    assert_array_equal(with_groups, ensemble.predict(X)[groups, np.arange(30)])
    large = Ensemble((3, 999, 4), 6, seeds=0)
    large.fit(X, y, epochs=1)
    assert "6 on their own: with 7,996 parameters each" in large.summary()
    few = Ensemble(SIZES, 3, seeds=0)
    few.fit(X, y, epochs=1)
    assert "3 on their own: too few" in few.summary()
    assert_array_equal(few[2].params, apart(3, X, y, 1)[2].network.params)


@given(
    st.lists(st.integers(1, 1000), min_size=1, max_size=60),
    st.sampled_from([8, 16]),
    st.integers(3, 16),
)
def test_packs_are_worth_their_lanes(counts, lanes, least):
    members = [packs.Member(k, None, n, None) for k, n in enumerate(counts)]
    together, alone = packs.divided(members, lanes, least)
    everyone = sorted(m.number for part in (*together, alone) for m in part)
    assert everyone == [*range(len(counts))]
    for pack in together:
        assert len(pack) <= lanes
        assert pack[0].n == max(m.n for m in pack)
        assert sum(m.n for m in pack) >= least * pack[0].n
    if len(set(counts)) == 1 and least <= lanes:
        assert len(alone) < least


def test_one_long_network_does_not_hold_up_the_others(generator):
    X, y = generator.normal(size=(300, 3)), generator.integers(0, 4, 300)
    rows = [np.arange(300), *[np.arange(10)] * 20]
    ensemble = Ensemble(SIZES, 21, seeds=0)
    ensemble.fit(X, y, epochs=2, folds=rows)
    assert "20 side by side" in ensemble.summary()
    assert "1 on its own" in ensemble.summary()
    assert_same(ensemble, apart(21, X, y, 2, rows=rows))


def test_threads_and_chunks_change_no_bit(generator, monkeypatch):
    monkeypatch.setattr(threads, "_WORTH_SPREADING", 0)
    monkeypatch.setattr(packs, "_BETWEEN", 0)
    X, y = generator.normal(size=(200, 3)), generator.integers(0, 4, 200)
    groups = generator.integers(0, 40, 200) ** 2 // 40
    results = []
    for n_threads, seconds in ((1, 10), (2, 10), (4, 10), (3, 1e-9)):
        monkeypatch.setattr("fastbp.pacing._TARGET_SECONDS", seconds)
        ensemble = Ensemble(SIZES, 40, seeds=0, n_threads=n_threads)
        ensemble.fit(X, y, epochs=3, groups=groups)
        ensemble.fit(X, y, epochs=1, folds=[np.arange(200 - 5 * k) for k in range(40)])
        params = b"".join(network.params.tobytes() for network in ensemble)
        results.append((params, ensemble.train_loss.tobytes()))
    assert results.count(results[0]) == 4


@pytest.mark.parametrize("options", [{}, {"batch_size": 2}], ids=["lanes", "trainers"])
def test_a_network_that_diverges_is_named_and_spoils_no_other(options, generator):
    X, y = generator.normal(size=(40, 3)), generator.normal(size=(40, 4))
    options = options | {"loss": "squared_error"}
    rates = np.full(20, 0.01)
    rates[[5, 17]] = 1e10, 1e20
    ensemble = Ensemble(SIZES, 20, seeds=0, learning_rate=rates, **options)
    with pytest.raises(fastbp.DivergenceError, match=r"2 of 20 networks diverged: 5, 17\. ") as got:
        ensemble.fit(X, y, epochs=3)
    assert [*got.value.errors] == [5, 17]
    assert got.value.errors[17].learning_rate == 1e20
    assert "Network 5: Training diverged in epoch 1" in str(got.value)
    assert str(pickle.loads(pickle.dumps(got.value))) == str(got.value)
    assert np.isnan(ensemble.train_loss[:, [5, 17]]).all()
    for k, network in enumerate(ensemble):
        assert np.isfinite(network.params).all()
        if k not in (5, 17):
            (alone,) = apart(1, X, y, 3, seeds=k, **options)
            assert_allclose(network.params, alone.network.params, rtol=1e-4, atol=1e-5)
    with pytest.raises(fastbp.DivergenceError, match=r"^Network 5 of 20: Training diverged"):
        ensemble.fit(X, y, epochs=1, groups=np.full(40, 5))


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("kernel", ["train_lanes", "train_sequential"])
def test_ctrl_c_leaves_every_network_whole(kernel, n_threads, generator, monkeypatch):
    """Those that helpers train have come to some sample as well, and the next fit goes on."""
    monkeypatch.setattr(threads, "_WORTH_SPREADING", 0)
    monkeypatch.setattr(packs, "_BETWEEN", 0)
    monkeypatch.setattr("fastbp.pacing._TARGET_SECONDS", 1e-9)
    X, y = generator.normal(size=(500, 3)), generator.integers(0, 4, 500)
    method = "auto" if kernel == "train_lanes" else "sequential"
    ensemble = Ensemble(SIZES, 40, seeds=0, n_threads=n_threads, method=method)
    before = [network.params.copy() for network in ensemble]
    ensemble.partial_fit(X[:4], y[:4])
    real, calls = getattr(kernels, kernel), []

    def interrupted(*arguments):
        result = real(*arguments)
        if threading.current_thread() is threading.main_thread():
            calls.append(arguments)
            if len(calls) == 30:
                raise KeyboardInterrupt
        return result

    monkeypatch.setattr(kernels, kernel, interrupted)
    with pytest.raises(KeyboardInterrupt):
        ensemble.fit(X, y, epochs=1000)
    monkeypatch.undo()
    changed = [not np.array_equal(a, b.params) for a, b in zip(before, ensemble, strict=True)]
    assert all(changed)  # by the first pass
    assert all(np.isfinite(network.params).all() for network in ensemble)
    assert len(ensemble.train_loss) < 1000  # helpers have not gone on to the end
    ensemble.fit(X, y, epochs=1)
    assert not np.isnan(ensemble.train_loss[-1]).all()


def test_predictions_are_those_of_the_networks(generator):
    X, y = generator.normal(size=(50, 3)), generator.integers(0, 4, 50)
    groups = generator.integers(0, 3, 50)
    ensemble = Ensemble(SIZES, 3, seeds=0, learning_rate=0.1)
    ensemble.fit(X, y, epochs=2)
    probabilities = np.array([network.predict_proba(X) for network in ensemble])
    assert_array_equal(ensemble.predict_proba(X), probabilities)
    assert_array_equal(ensemble.predict(X), [network.predict(X) for network in ensemble])
    mean = probabilities.mean(axis=0, dtype=np.float64)
    assert_allclose(ensemble.mean_predict_proba(X), mean, rtol=1e-12)
    assert_array_equal(ensemble.mean_predict(X), mean.argmax(axis=1))
    each = np.arange(50)
    assert_allclose(
        ensemble.predict_proba(X, groups=groups), probabilities[groups, each], rtol=1e-5
    )
    assert_array_equal(ensemble.predict(X, groups=groups), ensemble.predict(X)[groups, each])


def test_labels_may_be_text_and_numbers_of_any_unit(generator):
    X = generator.normal(5, 100, (60, 3))
    names, numbers = generator.choice(["a", "b", "c"], 60), generator.normal(1000, 50, 60)
    preparation = fastbp.Preparation().fit(X)
    ensemble = Ensemble((3, 5, 3), 4, seeds=0, preparation=preparation)
    ensemble.fit(X, names, epochs=1, folds=np.arange(60) % 4)
    assert all(network.classes == ("a", "b", "c") for network in ensemble)
    assert set(ensemble.predict(X).ravel()) <= {"a", "b", "c"}
    assert set(ensemble.mean_predict(X)) <= {"a", "b", "c"}
    assert ensemble.mean_predict(X).shape == (60,)
    preparation = fastbp.Preparation().fit(X, numbers)
    ensemble = Ensemble((3, 5, 1), 4, seeds=0, preparation=preparation, loss="squared_error")
    ensemble.fit(X, numbers, epochs=1)
    predicted = np.array([network.predict(X) for network in ensemble])
    assert_array_equal(ensemble.predict(X), predicted)
    assert_allclose(ensemble.mean_predict(X), predicted.mean(axis=0), rtol=1e-6)
    assert predicted.mean() == pytest.approx(1000, abs=50)


@pytest.mark.parametrize(
    "options",
    [
        {"label_smoothing": 0.1},
        {"class_weight": "balanced"},
        {"class_weight": {1: 3.0}},
        {"shuffle": False},
        {"shuffle": lambda n: np.arange(n)[::-1].copy()},
        {"learning_rate": fastbp.schedules.Exponential(0.1, 0.5)},
        {"learning_rate": lambda epoch: 0.1 / (1 + epoch)},
        {"learning_rate": lambda epoch: 0.1 * (epoch > 0), "weight_decay": 0.1},
        {"reduction": "batch", "weight_decay": 0.1},
    ],
    ids=repr,
)
def test_options_of_trainers_hold_for_every_network(options, generator):
    X, y = generator.normal(size=(40, 3)), generator.integers(0, 4, 40)
    rows = [np.arange(k, 40) for k in range(6)]
    for folds in (None, rows):
        ensemble = Ensemble(SIZES, 6, seeds=0, **options)
        ensemble.fit(X, y, epochs=3, folds=folds)
        # Classes are counted among each network's own rows.
        assert is_side_by_side(ensemble) == (folds is None or "class_weight" not in options)
        assert_same(ensemble, apart(6, X, y, 3, rows=folds, **options))


def test_it_is_a_sequence_of_networks_and_can_be_pickled(generator):
    X, y = generator.normal(size=(40, 3)), generator.integers(0, 4, 40)
    ensemble = Ensemble(SIZES, 6, seeds=[3, 1, 4, 1, 5, 9])
    assert len(ensemble) == 6
    assert [*ensemble] == [ensemble[k] for k in range(6)]
    assert ensemble[-1] is ensemble[5]
    with pytest.raises(IndexError):
        ensemble[6]
    assert_array_equal(ensemble[1].params, ensemble[3].params)
    assert_array_equal(ensemble[4].params, Network(SIZES, seed=5).params)
    ensemble.fit(X, y, epochs=2)
    copies = pickle.loads(pickle.dumps(ensemble)), copy.deepcopy(ensemble)
    ensemble.fit(X, y, epochs=2)
    for again in copies:
        again.fit(X, y, epochs=2)
        assert_array_equal(again.train_loss, ensemble.train_loss)
        for one, other in zip(again, ensemble, strict=True):
            assert one.params.tobytes() == other.params.tobytes()
    assert repr(ensemble).startswith("Ensemble of 6: Network((3, 5, 4)")
    # Networks may be changed between fits.
    ensemble[2].params[:] = 0
    ensemble.fit(X, y, epochs=1)
    assert not ensemble[2].weights[0].any()
    assert ensemble[2].biases[-1].any()
    random = Ensemble(SIZES, 2)
    assert not np.array_equal(random[0].params, random[1].params)


X, Y = np.zeros((6, 3)), np.zeros(6, int)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n": 0}, ValueError, r"n must be an integer of at least 1, got 0\."),
        ({"lr": 1}, TypeError, "no argument 'lr' \\(did you mean 'learning_rate'"),
        ({"seed": 1}, TypeError, "no argument 'seed' \\(did you mean 'seeds'"),
        ({"seeds": [1, 2]}, ValueError, "seeds must be one value or 4 values, one per network"),
        ({"seeds": -1}, ValueError, "seeds must be an integer of at least 0"),
        ({"learning_rate": [0.1] * 3}, ValueError, "learning_rate must be one value or 4 values"),
        ({"learning_rate": [1, 1, -1, 1]}, ValueError, "network 2: learning_rate must be"),
        ({"weight_decay": [0, 1000, 0, 0]}, ValueError, "network 1: .* must be below 1"),
        ({"n_threads": 0}, ValueError, "n_threads must be an integer of at least 1"),
    ],
)
def test_wrong_arguments_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        Ensemble(SIZES, **{"n": 4} | options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": Y, "folds": Y}, "groups and folds must not both be given"),
        ({"groups": Y - 1}, "with numbers of networks from 0 to 3, got .* from -1 to -1"),
        ({"groups": Y + 4}, "numbers of networks from 0 to 3, got numbers of networks from 4 to 4"),
        ({"groups": Y[:5]}, r"groups must be an integer array of shape \(6,\)"),
        ({"groups": ["a"] * 6}, "groups must hold real numbers.*numpy.unique"),
        ({"groups": Y / 2}, "got float64 of shape .6,.; to number other keys.*numpy.unique"),
        ({"folds": Y}, "folds must leave rows for network 0, but all rows are of fold 0"),
        ({"folds": (Y + 2).tolist()}, "folds must leave rows for network 2, .* are of fold 2"),
        ({"folds": [Y, Y, Y, []]}, r"folds\[3\] must be an integer array of shape \(at least 1,\)"),
        ({"folds": [Y == 0] * 4}, r"folds\[0\] must .* got bool .*numpy.flatnonzero\(mask\)"),
        ({"folds": [(Y > 0).tolist()] * 4}, r"folds\[0\] must .* numpy.flatnonzero\(mask\)"),
        ({"folds": []}, "folds must give rows for each of 4 networks, got 0"),
        ({"folds": Y + 4}, "folds must be an integer array"),
        ({"folds": [Y] * 3}, "folds must give rows for each of 4 networks, got 3"),
        ({"folds": [Y, Y, Y, Y + 6]}, r"folds\[3\] must be .* rows from 0 to 5, got rows from 6"),
        ({"sample_weight": [1, 0, 0, 0, 0, 0], "groups": [1, 0, 2, 2, 3, 3]}, "rows of network 0"),
        ({"folds": 3}, "folds must be a number for each row, or rows or a split .* got 3"),
        ({"epochs": -1}, "epochs must be an integer of at least 0"),
        ({"progress": 1}, "progress must be True or False"),
    ],
)
@pytest.mark.parametrize("batch_size", [1, 2])
def test_wrong_data_are_refused_and_networks_untouched(options, message, batch_size):
    ensemble = Ensemble(SIZES, 4, seeds=0, batch_size=batch_size)
    with pytest.raises(ValueError, match=message):
        ensemble.fit(X, Y, **options)
    assert len(ensemble.train_loss) == 0
    for k, network in enumerate(ensemble):
        assert_array_equal(network.params, Network(SIZES, seed=k).params)


def test_a_network_that_is_not_finite_is_refused():
    ensemble = Ensemble(SIZES, 4, seeds=0)
    ensemble[2].params[0] = np.nan
    with pytest.raises(ValueError, match=r"network 2 must have finite params\."):
        ensemble.fit(X, Y)
    regression = Ensemble(SIZES, 4, loss="squared_error")
    for method in ("predict_proba", "mean_predict_proba"):
        with pytest.raises(ValueError, match=f"{method} needs the loss .*: call {method[:-6]}"):
            getattr(regression, method)(X)


def test_a_network_is_trained_by_one_thread_at_a_time():
    ensemble, seen = Ensemble(SIZES, 4, seeds=0, shuffle=lambda n: order(n)), []

    def order(n):
        other = threads.ThreadPoolExecutor(1)
        seen.append(other.submit(Trainer(ensemble[2]).partial_fit, X, Y).exception())
        other.shutdown()
        return np.arange(n)

    ensemble.fit(X, Y, epochs=1)
    assert len(seen) == 4
    assert all("another thread is training" in str(error) for error in seen)
    Trainer(ensemble[2]).partial_fit(X, Y)


@pytest.mark.skipif(DISABLED, reason="kernels are NumPy's arithmetic then")
def test_floating_point_errors_of_the_caller_do_not_matter(generator):
    X, y = generator.normal(size=(40, 3)), generator.integers(0, 4, 40)
    with np.errstate(all="raise"):
        for rate, decay in ((1e-40, 0.1), (1e30, 0)):
            ensemble = Ensemble(SIZES, 4, seeds=0, learning_rate=rate, weight_decay=decay)
            try:
                ensemble.fit(X, y, epochs=1)
                ensemble.mean_predict(X)
            except fastbp.DivergenceError:
                assert rate > 1


def test_data_far_from_unit_size_are_warned_of_once(generator):
    X, y = generator.normal(0, 1e4, (50, 3)), generator.integers(0, 4, 50)
    ensemble = Ensemble(SIZES, 4, seeds=0, learning_rate=1e-9)
    with pytest.warns(fastbp.ScaleWarning, match="column") as caught:
        ensemble.fit(X, y, epochs=1)
    assert [each.filename for each in caught] == [__file__]
    ensemble.fit(X, y, epochs=1)


def test_the_page_says_how_large_networks_may_be():
    """The number of parameters up to which full packs are worth it, rounded."""
    page = Path(__file__).parents[1] / "docs" / "ensembles.md"
    lines = page.read_text(encoding="utf-8")
    for dtype, most in (("float32", 2600), ("float64", 1000)):
        assert f"{most:,} parameters in {dtype}" in lines
        for n_params, is_worth_it in ((most, True), (most + 2, False)):
            network = Network((n_params // 2 - 1, 2), dtype=dtype)
            assert network.n_params == n_params
            assert (packs.least_members(network) <= LANES[dtype]) == is_worth_it


def test_the_kernel_refuses_samples_of_other_networks_and_too_few():
    network = Network(SIZES, seed=0)
    packed = kernels.make_lanes(network.layout, network.dtype)
    kernels.fields(packed, kernels.Lanes).counts[:] = 3
    samples = network.samples(X, Y)._replace(order=np.zeros(16 * 2, np.int64))
    with pytest.raises(ValueError, match="as many rows for each lane"):
        kernels.train_lanes(packed, samples, 0, 2)
    other = Network((4, 4), seed=0).samples(np.zeros((6, 4)), Y)
    with pytest.raises(ValueError, match="as many inputs"):
        kernels.train_lanes(packed, other, 0, 2)
    with pytest.raises(ValueError, match="packed"):
        kernels.train_lanes(packed[:-1], samples, 0, 2)


def states_of(ensemble):
    """What a refused call must not change."""
    return [(network.params.tobytes(), network.classes) for network in ensemble]


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("options", "y", "message"),
    [
        ({"class_weight": {2: 0.0}}, np.arange(60) % 6 // 3 * 2, "class_weight must leave"),
        ({"class_weight": [1, 1, 0, 1]}, np.arange(60) % 6 // 3 * 2, "class_weight must leave"),
        ({"class_weight": {"c": 0.0}}, np.array([*"abdccc"] * 10), "class_weight must leave"),
        (
            {"class_weight": "balanced", "loss": "binary_cross_entropy", "sizes": (3, 1)},
            np.where(np.arange(60) % 6 == 3, 0.5, 1.0),
            "class_weight needs class numbers",
        ),
    ],
    ids=["mapping", "sequence", "labels", "shares"],
)
def test_weights_of_classes_are_checked_before_any_network_is_trained(options, y, message, method):
    options = {"sizes": SIZES} | options
    ensemble = Ensemble(n=6, seeds=0, **options)
    before = states_of(ensemble)
    with pytest.raises(ValueError, match=f"^network 3: {message}"):
        getattr(ensemble, method)(np.ones((60, 3)), y, groups=np.arange(60) % 6)
    assert states_of(ensemble) == before
    assert len(ensemble.train_loss) == 0
    assert {stream.samples for stream in ensemble.streams} == {0}


def test_rates_of_a_pass_are_checked_before_any_network_is_trained():
    """Those that are known: the last network's would turn its weights' signs."""
    rates = [fastbp.schedules.BySample(fastbp.schedules.Exponential(k, 1.0)) for k in (1, 1, 1, 3)]
    ensemble = Ensemble(SIZES, 4, seeds=0, weight_decay=0.5, learning_rate=rates[0])
    ensemble.learning_rate = rates
    before = states_of(ensemble)
    with pytest.raises(ValueError, match=r"^network 3: learning_rate .* must be below 1"):
        ensemble.partial_fit(X, Y)
    assert states_of(ensemble) == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"groups": [9] * 6},
        {"folds": [0] * 6},
        {"folds": 3},
        {"sample_weight": [0] * 3 + [1] * 3, "groups": [0, 0, 1, 1, 2, 3]},
        {"epochs": -1},
        {"class_weight": {"d": 0.0}, "groups": [0, 0, 1, 2, 2, 3]},
    ],
    ids=repr,
)
def test_labels_of_a_refused_fit_are_forgotten(wrong):
    """Other labels are fine in the next fit, and weights of classes are those of the new ones."""
    class_weight = wrong.get("class_weight")
    ensemble = Ensemble(SIZES, 4, seeds=0, class_weight=class_weight)
    with pytest.raises(ValueError, match=r"groups|folds|sample_weight|epochs|class_weight"):
        ensemble.fit(X, [*"aabcdd"], **{k: v for k, v in wrong.items() if k != "class_weight"})
    assert {network.classes for network in ensemble} == {None}
    labels = [*"dcbbaa"] if class_weight else [*"uvwxyz"[:4], "u", "v"]
    ensemble.fit(X, labels, epochs=1)
    assert {network.classes for network in ensemble} == {tuple(sorted({*labels}))}
    if class_weight:
        other = Ensemble(SIZES, 4, seeds=0, class_weight=class_weight)
        other.fit(X, labels, epochs=1)
        assert states_of(ensemble) == states_of(other)


def test_labels_of_a_fit_that_another_thread_prevents_are_forgotten():
    ensemble, caught = Ensemble(SIZES, 4, seeds=0, shuffle=lambda n: order(n)), []

    def order(n):
        for network in ensemble:
            vars(network)["classes"] = None
        with threads.ThreadPoolExecutor(1) as other:
            caught.append(other.submit(ensemble.fit, X, [*"aabcdd"]).exception())
        assert ensemble[0].classes is None
        return np.arange(n)

    ensemble.fit(X, Y, epochs=1)
    assert all("another thread" in str(error) for error in caught)
    assert len(ensemble.train_loss) == 1


@pytest.mark.parametrize("method", ["auto", "sequential"])
@pytest.mark.parametrize("kind", ["shuffle", "learning_rate", "BySample"])
def test_functions_of_the_user_are_called_in_one_order(kind, method, generator, monkeypatch):
    """On whatever number of threads, as what they give may depend on how often they were called."""
    monkeypatch.setattr(threads, "_WORTH_SPREADING", 0)
    monkeypatch.setattr(packs, "_BETWEEN", 0)
    X, y = generator.normal(size=(6, 3)), generator.integers(0, 4, 6)
    results, callers = [], set()
    for n_threads in (1, 2, 3):
        draws = np.random.default_rng(0)

        def drawn(n, draws=draws):
            callers.add(threading.get_ident())
            time.sleep(1e-3)  # other threads would get their turn
            return draws.permutation(n) if kind == "shuffle" else draws.uniform(0.01, 0.1)

        function = fastbp.schedules.BySample(drawn) if kind == "BySample" else drawn
        option = {kind if kind == "shuffle" else "learning_rate": function}
        ensemble = Ensemble(SIZES, 40, seeds=0, n_threads=n_threads, method=method, **option)
        ensemble.partial_fit(X, y)
        if kind != "BySample":
            ensemble.fit(X, y, epochs=2)
        results.append(states_of(ensemble))
    assert results[0] == results[1] == results[2]
    assert callers == {threading.get_ident()}


@pytest.mark.parametrize(
    ("options", "calls"),
    [
        ({}, False),
        ({"shuffle": False}, False),
        ({"learning_rate": fastbp.schedules.Cosine(0.1, 10)}, False),
        ({"learning_rate": fastbp.schedules.BySample(fastbp.schedules.Cosine(0.1, 10))}, False),
        ({"learning_rate": lambda epoch: 0.1}, True),
        ({"learning_rate": fastbp.schedules.BySample(lambda n: 0.1)}, True),
        ({"shuffle": np.arange}, True),
    ],
    ids=repr,
)
def test_schedules_are_no_functions_of_the_user(options, calls):
    assert packs.calls_a_function(Trainer(Network(SIZES, seed=0), **options)) == calls


def test_each_fit_has_its_own_losses(generator):
    X, y = generator.normal(size=(60, 3)), generator.integers(0, 4, 60)
    ensemble = Ensemble(SIZES, 3, seeds=0)
    first = ensemble.fit(X, y, epochs=2, groups=np.arange(60) % 2)
    assert first.shape == (2, 3)
    assert_array_equal(np.isnan(first), [[False, False, True]] * 2)
    second = ensemble.fit(X, y, epochs=1)
    assert second.shape == (1, 3)
    assert np.isfinite(second).all()
    assert ensemble.fit(X, y, epochs=0).shape == (0, 3)
    third = ensemble.fit(X, y, epochs=3, groups=np.full(60, 2))
    assert_array_equal(np.isnan(third), [[True, True, False]] * 3)
    assert_array_equal(ensemble.train_loss, np.concatenate([first, second, third]))
    again = pickle.loads(pickle.dumps(ensemble))
    assert_array_equal(again.train_loss, ensemble.train_loss)


@pytest.mark.parametrize("options", [{}, {"batch_size": 2}], ids=["lanes", "trainers"])
def test_losses_of_fits_after_a_divergence_are_in_their_own_rows(options, generator):
    X, y = generator.normal(size=(40, 3)), generator.normal(size=(40, 4))
    rates = np.full(6, 0.01)
    rates[2] = 1e20
    ensemble = Ensemble(SIZES, 6, seeds=0, learning_rate=rates, loss="squared_error", **options)
    with pytest.raises(fastbp.DivergenceError):
        ensemble.fit(X, y, epochs=2)
    ensemble.learning_rate = 0.01
    last = ensemble.fit(X, y, epochs=1)
    assert np.isfinite(last).all()
    losses = ensemble.train_loss
    assert losses.shape == (3, 6)
    assert_array_equal(losses[2], last[0])
    assert_array_equal(np.isnan(losses[:, 2]), [True, True, False])


@pytest.mark.parametrize("small", [1e-300, 1e-310, 1e-320, 5e-324])
@pytest.mark.parametrize("rest", [0, 1], ids=["some are 0", "all alike"])
def test_weights_of_a_group_may_be_tiny(small, rest, generator):
    X, y = generator.normal(size=(64, 3)), generator.integers(0, 4, 64)
    groups = np.arange(64) % 8
    weights = np.where(groups == 5, small, 1.0)
    if not rest:
        weights[(groups == 5) & (np.arange(64) > 32)] = 0
        weights[groups == 1] = 0.25  # the mean of all is not 1
    ensemble = Ensemble(SIZES, 8, seeds=0)
    losses = ensemble.fit(X, y, epochs=2, groups=groups, sample_weight=weights)
    assert np.isfinite(losses).all()
    is_lone = small < 1e-308
    assert ("1 on its own: sample_weight is too small" in ensemble.summary()) == is_lone
    rows = [np.flatnonzero(groups == k) for k in range(8)]
    equal = np.where(weights == small, 1.0, weights)  # only their ratios within a group count
    assert_same(ensemble, apart(8, X, y, 2, rows=rows, weights=equal))


def test_options_that_can_be_set_are_and_others_are_refused(generator):
    X, y = generator.normal(size=(40, 3)), generator.integers(0, 4, 40)
    ensemble = Ensemble(SIZES, 6, seeds=0)
    assert ensemble.n_threads is None
    assert ensemble.learning_rate == (0.01,) * 6
    ensemble.learning_rate = rates = np.linspace(0.01, 0.1, 6)
    ensemble.weight_decay = decays = np.linspace(0, 0.5, 6)
    ensemble.n_threads = 1
    assert_array_equal(ensemble.learning_rate, rates)
    assert_array_equal(ensemble.weight_decay, decays)
    ensemble.fit(X, y, epochs=2)
    assert is_side_by_side(ensemble)
    assert_same(ensemble, apart(6, X, y, 2, learning_rate=rates, weight_decay=decays))
    with pytest.raises(ValueError, match="network 2: learning_rate must be"):
        ensemble.learning_rate = [1, 1, -1, 1, 1, 1]
    with pytest.raises(ValueError, match="network 4: weight_decay must be"):
        ensemble.weight_decay = [0, 0, 0, 0, -1, 0]
    assert_array_equal(ensemble.learning_rate, rates)
    assert_array_equal(ensemble.weight_decay, decays)
    with pytest.raises(ValueError, match="learning_rate must be one value or 6 values"):
        ensemble.learning_rate = [1, 2]
    with pytest.raises(ValueError, match="n_threads must be an integer of at least 1"):
        ensemble.n_threads = 0
    assert ensemble.n_threads == 1
    ensemble.learning_rate = fastbp.schedules.Exponential(0.1, 0.5)
    assert ensemble.learning_rate[5] == fastbp.schedules.Exponential(0.1, 0.5)


@pytest.mark.parametrize("name", ["lr", "n_jobs", "batch_size", "train_loss", "streams", "sizes"])
def test_attributes_that_would_have_no_effect_cannot_be_set(name):
    hint = {"lr": "learning_rate", "n_jobs": "n_threads"}.get(name)
    meant = rf" \(did you mean '{hint}'\?\)" if hint else ""
    message = f"^{name} of an Ensemble cannot be set{meant}; learning_rate, weight_decay and n_th"
    with pytest.raises(AttributeError, match=message):
        setattr(Ensemble(SIZES, 2), name, 2)


def test_slices_are_tuples_of_networks():
    ensemble = Ensemble(SIZES, 5)
    networks = tuple(ensemble)
    for part in (slice(0, 2), slice(None), slice(None, None, -2), slice(3, 99), slice(2, 2)):
        assert ensemble[part] == networks[part]
    assert ensemble[np.int64(3)] is networks[3]
    with pytest.raises(TypeError):
        ensemble["a"]


def test_masks_are_rows_by_flatnonzero(generator):
    X, y, fold = generator.normal(size=(40, 3)), generator.integers(0, 4, 40), np.arange(40) % 5
    by_rows, by_number = Ensemble(SIZES, 5, seeds=0), Ensemble(SIZES, 5, seeds=0)
    by_rows.fit(X, y, folds=[np.flatnonzero(fold != k) for k in range(5)])
    by_number.fit(X, y, folds=fold)
    assert states_of(by_rows) == states_of(by_number)
    for masks in ([fold != k for k in range(5)], np.array([fold != k for k in range(5)])):
        with pytest.raises(ValueError, match=r"folds\[0\] .* numpy.flatnonzero\(mask\) gives"):
            by_rows.fit(X, y, folds=masks)


def test_the_summary_of_one_network_is_of_one():
    ensemble = Ensemble(SIZES, 1, seeds=0)
    ensemble.fit(X, Y, epochs=1)
    lines = ensemble.summary().splitlines()
    assert lines[0] == "1 network:"
    assert lines[-1] == "1 on its own: there are no others"


@pytest.mark.parametrize("lengths", [[40] * 6, [40, 10, 10, 10, 10, 10, 10, 10, 10]])
@pytest.mark.parametrize("all_diverge", [False, True])
def test_a_pack_goes_no_further_than_its_networks(lengths, all_diverge, generator, monkeypatch):
    """Those that have diverged leave nothing to do, even at the end of an epoch."""
    monkeypatch.setattr("fastbp.pacing._TARGET_SECONDS", 1e-9)
    monkeypatch.setattr("fastbp.ensemble.least_members", lambda network: 1)
    X, y = generator.normal(size=(40, 3)), generator.normal(size=(40, 4))
    n, chunks, real = len(lengths), [], kernels.train_lanes
    rates = np.full(n, 1e20 if all_diverge else 0.01)
    rates[np.array(lengths) == 40] = 1e20

    def noted(packed, samples, start, stop):
        if stop > start:
            chunks.append((start, stop))
        return real(packed, samples, start, stop)

    monkeypatch.setattr(kernels, "train_lanes", noted)
    ensemble = Ensemble(SIZES, n, seeds=0, loss="squared_error", learning_rate=rates)
    with pytest.raises(fastbp.DivergenceError) as got:
        ensemble.fit(X, y, epochs=30, folds=[np.arange(each) for each in lengths])
    assert [*got.value.errors] == [*np.flatnonzero(rates == 1e20)]
    left = [each for each, rate in zip(lengths, rates, strict=True) if rate < 1]
    assert max(stop for _, stop in chunks) <= max([10, *left])
    assert len(chunks) <= 15 + 30 * max(left, default=0)
