"""Dropout, penalties, clipping, class weights and smoothing: against the oracle, and statistics."""

import numpy as np
import pytest
import scipy.sparse
from conftest import assert_padding_is_zero, assert_same_on_threads
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import Naive, Steps, dropout_masks, one_hot, philox
from test_minibatch import TIGHT, assert_same, problem

import fastbp
from fastbp import Network, Trainer, optimizers

# Published with Random123 1.09 (kat_vectors).
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (
        (0xFFFFFFFF,) * 4,
        (0xFFFFFFFF,) * 2,
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "numbers"), KNOWN)
def test_the_oracle_knows_the_published_numbers(counter, key, numbers):
    assert tuple(philox(counter, key)) == numbers


def masks_of(rate, n, size=33, seed=0):
    """Masks as kernels draw them: of a layer whose outputs are all 1, seen by the layer above."""
    network = Network((1, size, size), activation="sigmoid", loss="squared_error", seed=0)
    network.params[:] = 0
    # δ of output k is a_k = 0 less the target −1, so G of the upper weights is the mask's mean.
    trainer = Trainer(network, batch_size=1, dropout=rate, seed=seed)
    masks = []
    for _ in range(n):
        network.params[:] = 0
        trainer.partial_fit([[0.0]], -np.ones((1, size)))
        masks.append(-network.weights[1][0] / 0.01 / 0.5)
    return np.array(masks)


def test_masks_are_the_oracles():
    network = Network((1, 33, 33))
    key = Trainer(network, seed=5).workings.orders.key
    expected = [m[0] for m in dropout_masks((0.3,), (33,), key, range(20))]
    np.testing.assert_allclose(masks_of(0.3, 20, seed=5), expected, rtol=1e-5)


def test_mask_statistics():
    """Shares, and no correlation between units, neighbours or samples: 4 standard errors."""
    for rate in (0.1, 0.5, 0.9):
        dropped = masks_of(rate, 400) == 0
        error = np.sqrt(rate * (1 - rate) / dropped.size)
        assert abs(dropped.mean() - rate) < 4 * error
        centred = dropped - rate
        for product in (centred[:, :-1] * centred[:, 1:], centred[:-1] * centred[1:]):
            assert abs(product.mean()) < 4 * rate * (1 - rate) / np.sqrt(product.size)


def test_dropout_keeps_the_expectation_and_prediction_drops_nothing():
    """Of a linear layer, the mean over masks is the layer without dropout."""
    X, y = problem((6, 40, 3), 1)
    network = Network((6, 40, 3), activation="identity", loss="squared_error", seed=0)
    before = network.predict(X)
    key = (1, 2)
    masks = np.array([m[0] for m in dropout_masks((0.5,), (40,), key, range(3000))])
    hidden = X[0] @ network.weights[0].T
    means = (hidden * masks).mean(axis=0) @ network.weights[1].T
    errors = np.abs(network.weights[1] * hidden).max(axis=1) * np.sqrt(40 / 3000)
    assert (np.abs(means - before[0]) < 4 * errors).all()
    Trainer(network, learning_rate=1e-30, dropout=0.5).partial_fit(X, one_hot(y, 3))
    np.testing.assert_allclose(network.predict(X), before)


@settings(deadline=None, max_examples=80)
@given(
    sizes=st.sampled_from([(1, 2), (3, 5, 2), (17, 33, 9), (40, 16, 16, 4), (130, 8, 2)]),
    n=st.integers(1, 40),
    batch_size=st.sampled_from([1, 2, 31, 33, 1000]),
    activation=st.sampled_from(["relu", "gelu", "sigmoid"]),
    kind=st.sampled_from(["sgd", "adam"]),
    decoupled=st.booleans(),
    sparse=st.booleans(),
    dropout=st.sampled_from([0.0, 0.4]),
    l1=st.sampled_from([0.0, 0.05]),
    clip_value=st.sampled_from([None, 0.02]),
    clip_norm=st.sampled_from([None, 0.3]),
    max_norm=st.sampled_from([None, 0.7]),
    smoothing=st.sampled_from([0.0, 0.1]),
    class_weighted=st.booleans(),
    seed=st.integers(0, 100),
)
def test_every_combination_equals_the_oracle(
    sizes, n, batch_size, activation, kind, decoupled, sparse, dropout, l1, clip_value, clip_norm,
    max_norm, smoothing, class_weighted, seed,
):  # fmt: skip
    X, y = problem(sizes, n, seed, density=0.7)
    dropout = dropout if len(sizes) > 2 else 0.0
    network = Network(sizes, activation=activation, dtype="float64", seed=seed)
    oracle = Naive.of(network)
    options = {"eps": 1e-3} if kind == "adam" else {}
    optimizer = optimizers.OPTIMIZERS[kind](decoupled_weight_decay=decoupled, **options)
    limits = {"l1": l1, "clip_value": clip_value, "clip_norm": clip_norm, "max_norm": max_norm}
    by_class = np.linspace(0.5, 2, sizes[-1])
    trainer = Trainer(
        network, optimizer, learning_rate=0.05, batch_size=batch_size, weight_decay=0.1,
        dropout=dropout, label_smoothing=smoothing, seed=seed,
        class_weight=by_class if class_weighted else None, **limits,
    )  # fmt: skip
    trainer.partial_fit(scipy.sparse.csr_array(X) if sparse else X, y)
    masks = None
    if dropout:
        hidden = sizes[1:-1]
        masks = dropout_masks(
            (dropout,) * len(hidden), hidden, trainer.workings.orders.key, range(n)
        )
    targets = (1 - smoothing) * one_hot(y, sizes[-1]) + smoothing / sizes[-1]
    oracle.train_batches(
        X, targets, np.arange(n), min(batch_size, n), Steps(kind, 0.05, **options),
        0.0 if decoupled else 0.1, by_class[y] if class_weighted else None, masks=masks,
        decoupled=0.1 if decoupled else 0.0, **limits,
    )  # fmt: skip
    assert_same(network, oracle)


@pytest.mark.parametrize("options", [{"clip_norm": 0.1}, {"l1": 0.01, "max_norm": 0.5}])
@pytest.mark.parametrize("batch_size", [300, 700])
def test_batches_longer_than_the_scratch(options, batch_size):
    sizes = (300, 70, 3)
    X, y = problem(sizes, 700, density=0.1)
    network = Network(sizes, activation="tanh", dtype="float64", seed=1)
    oracle = Naive.of(network)
    Trainer(network, learning_rate=0.5, batch_size=batch_size, **options).partial_fit(X, y)
    oracle.train_batches(X, one_hot(y, 3), np.arange(700), batch_size, Steps("sgd", 0.5), **options)
    assert_same(network, oracle)


def test_padding_stays_zero():
    X, y = problem((6, 5, 3), 40)
    network = Network((6, 5, 3), activation="sigmoid", seed=1)
    options = {"l1": 0.01, "clip_norm": 0.1, "clip_value": 0.1, "max_norm": 1.0, "dropout": 0.5}
    Trainer(network, "adam", batch_size=8, **options).partial_fit(X, y)
    assert_padding_is_zero(network)


def test_balanced_classes(generator):
    X, y = problem((6, 5, 3), 90)
    y = np.where(generator.random(90) < 0.7, 0, y)
    counts = np.bincount(y, minlength=3)
    networks = [Network((6, 5, 3), dtype="float64", seed=0) for _ in range(3)]
    weights = 90 / (3 * counts)
    Trainer(networks[0], class_weight="balanced", seed=1).fit(X, y, epochs=1, progress=False)
    Trainer(networks[1], class_weight=dict(enumerate(weights)), seed=1).fit(
        X, y, epochs=1, progress=False
    )
    Trainer(networks[2], seed=1).fit(X, y, epochs=1, sample_weight=weights[y], progress=False)
    for network in networks[1:]:
        np.testing.assert_allclose(network.params, networks[0].params, **TIGHT)


def test_class_weights_of_two_labels():
    X, y = problem((6, 5, 2), 40)
    networks = [
        Network((6, 5, 1), loss="binary_cross_entropy", dtype="float64", seed=0) for _ in range(2)
    ]
    Trainer(networks[0], class_weight={1: 3.0}).partial_fit(X, y)
    Trainer(networks[1], shuffle=False, learning_rate=0.01 * np.where(y, 3, 1).mean()).fit(
        X, y, epochs=1, sample_weight=np.where(y, 3.0, 1.0), progress=False
    )
    np.testing.assert_allclose(networks[1].params, networks[0].params, **TIGHT)


@pytest.mark.parametrize(("loss", "n_classes"), [("cross_entropy", 3), ("binary_cross_entropy", 2)])
def test_smoothing_is_of_the_targets(loss, n_classes):
    """By every way to compute a step, of class numbers and of rows."""
    X, y = problem((30, 16, 3), 40)
    rows = one_hot(y, 3)
    smooth = 0.7 * rows + 0.3 / n_classes
    for options in ({}, {"method": "deferred"}, {"batch_size": 8}):
        networks = [Network((30, 16, 3), loss=loss, dtype="float64", seed=0) for _ in range(3)]
        Trainer(networks[0], **options).partial_fit(X, smooth)
        Trainer(networks[1], label_smoothing=0.3, **options).partial_fit(X, rows)
        given = y if loss == "cross_entropy" else rows
        Trainer(networks[2], label_smoothing=0.3, **options).partial_fit(X, given)
        for network in networks[1:]:
            np.testing.assert_allclose(network.params, networks[0].params, **TIGHT)


@pytest.mark.parametrize("cut", [1, 2])
def test_a_resumed_run_draws_the_same_masks(cut, tmp_path):
    X, y = problem((6, 20, 3), 50)

    def trainer():
        return Trainer(
            Network((6, 20, 3), seed=0), "adam", batch_size=8, dropout=0.5, clip_norm=1.0, seed=2,
            learning_rate=fastbp.schedules.Cosine(0.01, 3), class_weight={0: 2.0},
        )  # fmt: skip

    whole, first = trainer(), trainer()
    whole.fit(X, y, epochs=3, progress=False)
    first.fit(X, y, epochs=cut, progress=False)
    fastbp.save(first, tmp_path / "model.safetensors")
    resumed = fastbp.load(tmp_path / "model.safetensors")
    assert resumed.learning_rate == first.learning_rate
    resumed.fit(X, y, epochs=3 - cut, progress=False)
    np.testing.assert_array_equal(resumed.network.params, whole.network.params)
    assert resumed.history.train_loss == whole.history.train_loss


THREADS = """
import sys
import numpy as np, scipy.sparse
from fastbp import Network, Trainer

generator = np.random.default_rng(0)
X = generator.normal(size=(500, 300)) * (generator.random((500, 300)) < 0.3)
y = generator.integers(0, 5, 500)
for dtype in ("float32", "float64"):
    for data in (X, X + 0.1, scipy.sparse.csr_array(X)):
        for optimizer in ("sgd", "adam"):
            for batch_size in (33, 500):
                network = Network((300, 70, 33, 5), activation="relu", dtype=dtype, seed=0)
                trainer = Trainer(
                    network, optimizer, batch_size=batch_size, n_threads=int(sys.argv[1]),
                    dropout=(0.5, 0.2), clip_norm=0.5, clip_value=0.1, l1=1e-3, max_norm=1.0,
                    label_smoothing=0.1, seed=0,
                )
                trainer.partial_fit(data, y)
                sys.stdout.buffer.write(network.params.tobytes())
"""


def test_threads_change_no_bit():
    assert_same_on_threads(THREADS)


CLASSIFIER = (4, 5, 5, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": 1.0}, "dropout must be a number from 0 to below 1, got 1.0"),
        ({"dropout": (0.1,)}, "dropout must be one number or 2 numbers, one per hidden layer"),
        ({"dropout": (0.1, -1)}, r"dropout\[1\] must be a number from 0 to below 1"),
        ({"dropout": "0.5"}, "dropout must be one number or 2 numbers"),
        ({"l1": -0.1}, "l1 must be a finite float32 number of at least 0"),
        ({"clip_norm": 0}, "clip_norm must be a finite float32 number above 0"),
        ({"clip_value": "1"}, "clip_value must be a finite"),
        ({"max_norm": float("nan")}, "max_norm must be a finite"),
        ({"label_smoothing": 1}, "label_smoothing must be a number from 0 to below 1"),
        ({"class_weight": {3: 1.0}}, "class_weight must name classes from 0 to 2, got 3"),
        ({"class_weight": [1, 2]}, 'class_weight must be "balanced", 3 weights, or a mapping'),
        ({"class_weight": "even"}, 'class_weight must be "balanced"'),
        ({"class_weight": {0: -1}}, r"class_weight\[0\] must be a finite"),
        ({"method": "deferred", "l1": 0.1}, "method and block_size are for plain sgd"),
        ({"block_size": 8, "dropout": 0.1}, "method and block_size are for plain sgd"),
        ({"learning_rate": lambda epoch: "1"}, r"learning_rate\(0\) must be a finite"),
        ({"learning_rate": fastbp.schedules.Step}, "learning_rate must be a finite"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Trainer(Network(CLASSIFIER), **options)


def test_dropout_needs_hidden_layers():
    with pytest.raises(ValueError, match="dropout must be 0 without hidden layers"):
        Trainer(Network((4, 3)), dropout=0.5)


def test_what_does_not_suit_the_loss_or_the_data_is_refused(generator):
    X = generator.normal(size=(9, 4))
    for option in ({"label_smoothing": 0.1}, {"class_weight": "balanced"}):
        with pytest.raises(ValueError, match="for the loss squared_error"):
            Trainer(Network((4, 3), loss="squared_error"), **option)
    with pytest.raises(ValueError, match="class_weight needs class numbers as y"):
        Trainer(Network((4, 3)), class_weight="balanced").partial_fit(X, np.full((9, 3), 1 / 3))
    with pytest.raises(ValueError, match="must leave some sample a weight above 0"):
        Trainer(Network((4, 3)), class_weight={0: 0.0}).partial_fit(X, np.zeros(9, int))


def test_dropout_is_of_the_network_that_is_trained():
    """Another one that a callback sets is for the next fit."""
    X, y = problem((6, 5, 5, 3), 40)
    networks = [Network((6, 5, 5, 3), dtype="float64", seed=0) for _ in range(2)]
    swaps = ((), [lambda t: setattr(t, "network", Network((6, 3)))])
    for network, callbacks in zip(networks, swaps, strict=True):
        trainer = Trainer(network, "adam", batch_size=8, dropout=0.5, seed=0)
        trainer.fit(X, y, epochs=3, callbacks=callbacks, progress=False)
    np.testing.assert_array_equal(networks[0].params, networks[1].params)
