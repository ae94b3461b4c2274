"""Bad input: one clear sentence, and the weights untouched. Odd but good input: the same bits."""

import itertools
import re
import sys
import warnings
from functools import partial

import numpy as np
import pytest

from fastbp import Network, Trainer, optimizers, warmup
from fastbp.samples import checked_inputs, checked_order, checked_samples

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
Y = np.array([0, 1, 0, 1, 1, 0])


def with_value(array, place, value):
    changed = np.array(array, dtype=np.float64)
    changed[place] = value
    return changed


BAD_X = {
    "nan": (with_value(X, (2, 1), np.nan), "X must be finite, got nan in row 2, column 1."),
    "inf": (with_value(X, (5, 0), -np.inf), "X must be finite, got -inf in row 5, column 0."),
    "overflow": (with_value(X, (1, 2), 1e300), "X must be finite in float32, got 1e+300 in row 1"),
    "width": (X[:, :2], "X must have 3 columns, one per input of the network; got shape (6, 2)"),
    "empty": (X[:0], "X must have at least one row"),
    "1-d": (X[0], "X must be two-dimensional, (n_samples, 3); got shape (3,); for one sample"),
    "3-d": (X[np.newaxis], "X must be two-dimensional"),
    "complex": (X.astype(complex), "X must hold real numbers, got dtype complex128."),
    "object": (X.astype(object), "X must hold real numbers, got dtype object; if they are"),
    "text": (X.astype(str), "X must hold real numbers, got dtype <U"),
    "dates": (X.astype("M8[D]"), "X must hold real numbers, got dtype datetime64[D]."),
    "ragged": ([[1, 2, 3], [1, 2]], "X must be a rectangular array, got rows of unequal length."),
    "masked": (np.ma.masked_less(X, 0), "X must have no masked entries"),
    "none": (None, "X must hold real numbers, got dtype object."),
}
BAD_Y = {
    "short": (Y[:5], "y must have one entry per row of X, 6; got shape (5,)."),
    "scalar": (1, "y must have one entry per row of X, 6; got shape ()."),
    "too large": (
        Y + 1,
        "y must hold class numbers from 0 to 1, one per output of the network; got 2 in row 1: "
        "subtract 1, or use fastbp.sklearn.",
    ),
    "negative": (Y - 1, "got -1 in row 0: number the classes with classes, y = numpy.unique("),
    "fraction": (Y + 0.5, "y must hold whole class numbers from 0 to 1, got 0.5 in row 0."),
    "nan": (with_value(Y, 3, np.nan), "whole class numbers from 0 to 1, got nan in row 3."),
    "huge": (np.full(6, 1e30), "got 1e+30 in row 0: number the"),
    "text": (np.tile(Y.astype(str)[:, np.newaxis], 2), "y must hold real numbers, got dtype <U"),
    "complex": (Y.astype(complex), "y must hold real numbers"),
    "width": (
        np.ones((6, 3)) / 3,
        "y must have 2 columns, one per output of the network; got shape (6, 3).",
    ),
    "sum": (
        np.ones((6, 2)),
        "y must be class numbers, or rows of probabilities that sum to 1, for",
    ),
    "small sum": (np.full((6, 2), 0.3), "rows of probabilities that sum to 1, for"),
    "sign": (np.tile([-0.5, 1.5], (6, 1)), "rows of probabilities that sum to 1, for"),
}


@pytest.mark.parametrize("case", BAD_X)
def test_bad_inputs(case):
    bad, message = BAD_X[case]
    network = Network((3, 4, 2), seed=0)
    before = network.params.copy()
    calls = (
        lambda: network.predict(bad),
        lambda: network.loss(bad, Y),
        lambda: network.value_and_grad(bad, Y),
        lambda: Trainer(network).fit(bad, Y, progress=False),
        lambda: Trainer(network).partial_fit(bad, Y),
    )
    for call in calls:
        with pytest.raises(ValueError, match=re.escape(message)):
            call()
    with pytest.raises(ValueError, match=re.escape("eval_set " + message)):
        Trainer(network).fit(X, Y, eval_set=(bad, Y), progress=False)
    np.testing.assert_array_equal(network.params, before)


def test_every_piece_of_a_long_array_is_scanned(monkeypatch):
    monkeypatch.setattr("fastbp.samples._SCAN", 4)
    for row in range(6):
        bad = with_value(X, (row, 1), np.nan)
        for call in (Network((3, 2)).predict, lambda X: Network((3, 2)).value_and_grad(X, Y)):
            with pytest.raises(ValueError, match=f"got nan in row {row}, column 1"):
                call(bad)


@pytest.mark.parametrize("dtype", [*"bBhHiIlLqQ", "float16", "float32", "float64", "longdouble"])
def test_class_numbers_of_every_dtype(dtype):
    network = Network((3, 4, 2), seed=0)
    given = Y.astype(dtype)
    kept = network.samples(X, given).labels
    np.testing.assert_array_equal(kept, Y)
    assert kept.dtype == np.int64
    given[:] = 9  # while kernels use them as indices
    np.testing.assert_array_equal(kept, Y)
    limits = np.finfo(dtype) if given.dtype.kind == "f" else np.iinfo(dtype)
    for wrong in (2, limits.max, limits.min if limits.min < 0 else 3):
        given = Y.astype(dtype)
        given[4] = wrong
        with pytest.raises(ValueError, match=r"class numbers from 0 to 1.* in row 4"):
            network.samples(X, given)


@pytest.mark.parametrize("case", BAD_Y)
def test_bad_targets(case):
    bad, message = BAD_Y[case]
    network = Network((3, 4, 2), seed=0)
    before = network.params.copy()
    for call in (network.loss, network.value_and_grad, Trainer(network).fit):
        with pytest.raises(ValueError, match=re.escape(message)):
            call(X, bad)
    np.testing.assert_array_equal(network.params, before)


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        ("binary_cross_entropy", Y + 0.5, "y must be between 0 and 1 for the loss binary_cross"),
        ("binary_cross_entropy", -Y, "y must be between 0 and 1"),
        ("poisson", Y - 1.0, "y must be at least 0 for the loss poisson; got [-1.] in row 0."),
        ("squared_error", with_value(Y, 2, np.inf), "y must be finite, got inf in row 2"),
        ("squared_error", np.ones((6, 2)), "y must have 1 columns"),
    ],
)
def test_targets_that_do_not_suit_the_loss(loss, y, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Trainer(Network((3, 1), loss=loss)).fit(X, y)


def test_sparse_targets_are_refused_with_a_hint():
    from scipy.sparse import csr_matrix

    with pytest.raises(ValueError, match=re.escape("pass y.toarray()")):
        Network((3, 2)).loss(X, csr_matrix(np.eye(len(X), 2)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": (3,)}, "sizes must list the units of at least two layers"),
        ({"sizes": 3}, "sizes must list the units"),
        ({"sizes": "34"}, "sizes must list the units"),
        ({"sizes": (3, 0, 2)}, "sizes[1] must be an integer of at least 1, got 0."),
        ({"sizes": (3, -4, 2)}, "sizes[1] must be an integer of at least 1, got -4."),
        ({"sizes": (3, 2.5, 2)}, "sizes[1] must be an integer of at least 1, got 2.5."),
        ({"sizes": (3, True, 2)}, "sizes[1] must be an integer of at least 1, got True."),
        ({"sizes": (2**31 - 1, 2**31 - 1)}, "sizes must describe at most 2**63 - 1 bytes"),
        ({"sizes": (2**31, 2)}, "sizes must be at most 2147483647 each, got (2147483648, 2)."),
        ({"activation": "reul"}, "activation must be one of identity, relu,"),
        ({"activation": "softmax"}, "activation must be one of identity, relu,"),
        (
            {"activation": ("relu", "tanh")},
            "activation must be one name or 1 names, one per hidden",
        ),
        ({"activation": 3}, "activation must be one name or 1 names, one per hidden layer; got 3"),
        ({"loss": "hinge"}, "loss must be one of squared_error, cross_entropy,"),
        (
            {"output": "sigmoid"},
            "output must be one of softmax for the loss cross_entropy; got 'sigmoid'.",
        ),
        (
            {"output": "identity", "loss": "poisson"},
            "output must be one of exp for the loss poisson",
        ),
        ({"output": "softmax", "loss": "huber"}, "output must be one of identity, relu,"),
        ({"init": "zeros"}, "init must be one of he_normal,"),
        ({"dtype": "float16"}, "dtype must be one of float32, float64; got 'float16'."),
        ({"dtype": "nonsense"}, "dtype must be one of float32, float64; got 'nonsense'."),
        ({"dtype": None}, "dtype must be one of float32, float64; got None."),
        ({"seed": -1}, "seed must be an integer of at least 0, got -1."),
        ({"seed": 1.5}, "seed must be an integer of at least 0, got 1.5."),
    ],
)
def test_bad_network_arguments(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Network(**({"sizes": (3, 4, 2)} | arguments))


@pytest.mark.parametrize("rate", [10**400, 0, -0.1, np.nan, np.inf, "0.1", True, None.__class__])
def test_bad_learning_rates(rate):
    with pytest.raises(
        ValueError, match="learning_rate must be a finite float32 number above 0, got"
    ):
        Trainer(Network((3, 2)), learning_rate=rate)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optimizer": "adm"}, "optimizer must be one of sgd, rmsprop, adagrad, adadelta, adam,"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0."),
        ({"batch_size": 2.5}, "batch_size must be an integer of at least 1, got 2.5."),
        (
            {"method": "fast"},
            "method must be one of auto, sequential, zero-skipping, deferred; got",
        ),
        (
            {"weight_decay": -1},
            "weight_decay must be a finite float32 number of at least 0, got -1.",
        ),
        (
            {"weight_decay": np.nan},
            "weight_decay must be a finite float32 number of at least 0, got nan.",
        ),
        ({"weight_decay": 1e3}, "learning_rate * weight_decay must be below 1"),
        (
            {"learning_rate": 1e-60},
            "learning_rate must be a finite float32 number above 0, got 1e-60",
        ),
        (
            {"learning_rate": 1e60},
            "learning_rate must be a finite float32 number above 0, got 1e+60",
        ),
        ({"seed": "x"}, "seed must be an integer of at least 0, got 'x'."),
    ],
)
def test_bad_trainer_arguments(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Trainer(Network((3, 2)), **arguments)


def test_bad_fit_arguments():
    trainer = Trainer(Network((3, 2), seed=0))
    for epochs in (-1, 1.5, "3"):
        with pytest.raises(ValueError, match="epochs must be an integer of at least 0"):
            trainer.fit(X, Y, epochs=epochs)
    for callbacks in (3, [3]):
        with pytest.raises(ValueError, match="callbacks must be instances of"):
            trainer.fit(X, Y, callbacks=callbacks)
    with pytest.raises(ValueError, match="eval_set must be a pair"):
        trainer.fit(X, Y, eval_set=X)
    for weights, message in (
        (np.ones(5), "sample_weight must have one entry per row of X, shape (6,)"),
        (np.zeros(6), "sample_weight must be at least 0 everywhere and above 0 somewhere."),
        ([-1, 2, 2, 2, 2, 2], "sample_weight must be at least 0 everywhere"),
        (np.full(6, np.nan), "sample_weight must be finite, got nan in row 0."),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            trainer.fit(X, Y, sample_weight=weights)
    with pytest.raises(ValueError, match=re.escape("network must be a fastbp.Network, got int.")):
        Trainer(3)


def test_bad_gradient_buffers():
    with pytest.raises(ValueError, match=r"got MaskedArray\.$"):
        Network((3, 2)).value_and_grad(X, Y, np.ma.zeros(64, np.float32))
    network = Network((3, 2), seed=0)
    good = np.empty_like(network.params)
    read_only = good.copy()
    read_only.flags.writeable = False
    strided = np.empty(2 * good.size, good.dtype)[::2]
    for bad in (
        np.ma.array(good),
        good[:-1],
        good.astype(np.float64),
        read_only,
        strided,
        list(good),
        network.params,
    ):
        with pytest.raises(ValueError, match="out must"):
            network.value_and_grad(X, Y, out=bad)


def test_unusable_parameters():
    network = Network((3, 4, 2), seed=0)
    network.biases[1][0] = np.nan
    with pytest.raises(
        ValueError,
        match=re.escape("network.params must be finite, got NaN or infinity in layer 2."),
    ):
        Trainer(network).fit(X, Y)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def misaligned(array):
    raw = np.zeros(array.nbytes + 1, np.uint8)[1:]
    out = raw.view(array.dtype).reshape(array.shape)
    out[...] = array
    return out


HALVES = np.round(X * 8) / 8  # exact in every float dtype
ODD = {
    "float16": HALVES.astype(np.float16),
    "float64": HALVES.astype(np.float64),
    "longdouble": HALVES.astype(np.longdouble),
    "big-endian": HALVES.astype(">f4"),
    "Fortran": np.asfortranarray(HALVES),
    "strided": np.repeat(np.repeat(HALVES, 2, axis=0), 3, axis=1)[::2, ::3],
    "reversed": HALVES[::-1, ::-1].copy()[::-1, ::-1],
    "read-only": read_only(HALVES),
    "misaligned": misaligned(HALVES),
    "list": HALVES.tolist(),
    "subclass": HALVES.view(np.matrix) if hasattr(np, "matrix") else HALVES,
}


def results(X, y, dtype):
    network = Network((3, 5, 2), dtype=dtype, seed=0)
    Trainer(network, seed=0).fit(X, y, epochs=2, progress=False)
    return network.params, network.predict_proba(X), network.loss(X, y)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", ODD)
def test_odd_inputs_give_the_bits_of_a_plain_copy(case, dtype):
    expected = results(HALVES.astype(dtype), Y, dtype)
    for actual, plain in zip(results(ODD[case], Y, dtype), expected, strict=True):
        np.testing.assert_array_equal(actual, plain)


@pytest.mark.parametrize("kind", ["i1", "u1", "i8", "u8", ">i4", "?", "f2"])
def test_integer_inputs_and_labels_of_any_kind(kind):
    whole = (HALVES > 0).astype(kind)
    expected = results(whole.astype(np.float32), Y, "float32")
    for actual, plain in zip(results(whole, Y.astype(kind), "float32"), expected, strict=True):
        np.testing.assert_array_equal(actual, plain)


def test_rates_set_later_are_checked_too():
    trainer = Trainer(Network((3, 2)))
    for name, value in (
        ("learning_rate", np.nan),
        ("batch_size", 0),
        ("method", "fast"),
        ("optimizer", "adm"),
    ):
        good = getattr(trainer, name)
        with pytest.raises(ValueError, match=f"{name} must be"):
            setattr(trainer, name, value)
        assert getattr(trainer, name) == good


class Frame:
    """What pandas, polars and torch offer to NumPy."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype)


def test_anything_that_converts_to_an_array():
    actual, expected = results(Frame(X), Frame(Y), "float32"), results(X, Y, "float32")
    for mine, plain in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(mine, plain)


# Hints ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ({"loss": "mse"}, "squared_error"),
        ({"loss": "MSE"}, "squared_error"),
        ({"loss": "mae"}, "absolute_error"),
        ({"loss": "bce"}, "binary_cross_entropy"),
        ({"loss": "softmax"}, "cross_entropy"),
        ({"loss": "crossentropy"}, "cross_entropy"),
        ({"loss": "Squared Error"}, "squared_error"),
        ({"activation": "ReLU"}, "relu"),
        ({"activation": "LeakyReLU"}, "leaky_relu"),
        ({"activation": ["logistic"]}, "sigmoid"),
        ({"output": "Softmax"}, "softmax"),
        ({"init": "xavier_uniform"}, "glorot_uniform"),
        ({"init": "kaiming-normal"}, "he_normal"),
        ({"init": ["he_normal", "lecun"]}, "lecun_normal"),
    ],
)
def test_names_of_other_libraries(arguments, meant):
    network = Network((3, 4, 1 if "loss" in arguments and "ross" not in meant else 2), **arguments)
    assert meant in (network.loss_name, *network.activations, *network.inits)
    assert network.copy().loss_name == network.loss_name


def test_names_of_optimizers_in_any_case():
    for given, meant in (("Adam", "adam"), ("RMSProp", "rmsprop"), ("SGD", "sgd")):
        trainer = Trainer(Network((3, 4, 2)), given)
        assert trainer.optimizer == Trainer(Network((3, 4, 2)), meant).optimizer


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ({"activation": "reul"}, "relu"),
        ({"loss": "squerd_error"}, "squared_error"),
        ({"init": "he_norm"}, "he_normal"),
    ],
)
def test_misspelt_names_of_a_network(arguments, meant):
    (value,) = arguments.values()
    with pytest.raises(ValueError, match=re.escape(f"got {value!r} (did you mean {meant!r}?).")):
        Network((3, 4, 2), **arguments)


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ({"optimizer": "adma"}, "adam"),
        ({"method": ["auto", "zero_skiping"]}, "zero-skipping"),
        ({"reduction": "means"}, "mean"),
    ],
)
def test_misspelt_names_of_a_trainer(arguments, meant):
    with pytest.raises(ValueError, match=re.escape(f" (did you mean {meant!r}?).")):
        Trainer(Network((3, 4, 2)), **arguments)


@pytest.mark.parametrize("value", ["", "zzzzz", "3", 3, None.__class__, b"relu", ["relu"]])
def test_names_like_none_of_those_allowed_have_no_hint(value):
    with pytest.raises(ValueError, match=r"loss must be one of .*; got [^?]*\.$"):
        Network((3, 4, 2), loss=value)


def test_labels_that_do_not_suit_the_network_say_what_to_do():
    three = Network((3, 4, 3), loss="squared_error")
    with pytest.raises(ValueError, match=r"\(6,\); for class numbers use the loss cross_entropy"):
        three.loss(X, Y)
    with pytest.raises(ValueError, match=r"pass numpy\.eye\(3\)\[y\]"):
        Network((3, 4, 3), loss="binary_cross_entropy").loss(X, Y)
    assert three.loss(X, np.eye(3)[Y]) > 0
    classes = Network((3, 4, 3))
    with pytest.raises(ValueError, match=r"got 3 in row 2: subtract 1, or use fastbp\.sklearn\.$"):
        classes.loss(X, [1, 2, 3, 1, 2, 3])
    for y in ([5, 7, 9] * 2, [-1, 0, 1] * 2, [0, 1, 2, 3, 0, 1]):
        with pytest.raises(ValueError, match=r": number the classes with classes, y = numpy\.uniq"):
            classes.loss(X, y)
    for y in (list("abcabc"), np.array(list("abcabc"), object)):
        for network in (Network((3, 4, 3)), Network((3, 1), loss="binary_cross_entropy")):
            with pytest.raises(ValueError, match=r"y must hold real numbers, .* by Trainer\.fit"):
                network.loss(X, y)
        with pytest.raises(ValueError, match=r"y must have 2 classes, .* got 3: \['a', 'b', 'c'\]"):
            Trainer(network).fit(X, y)
        assert network.classes is None
        with pytest.raises(ValueError, match=r"y must hold real numbers, got dtype [^:]*$"):
            three.loss(X, y)
    for y in ([None] * 6, None, "abcabc", {0, 1}, np.eye(6, 3).astype(object), [1j] * 6):
        with pytest.raises(
            ValueError,
            match=r"y must hold real numbers, got dtype <?\w+"
            r"(; if they are numbers, pass numpy\.asarray\(y, float\))?\.$",
        ):
            classes.loss(X, y)
    names, numbers = np.unique(list("abcabc"), return_inverse=True)
    assert names[classes.predict(X)].shape == numbers.shape


def test_cross_entropy_needs_an_output_per_class():
    for sizes in ((3, 1), [3, 4, 1]):
        with pytest.raises(
            ValueError, match=r"at least 2, for the loss cross_entropy.* use binary"
        ):
            Network(sizes)
    trainer = Trainer(Network((3, 1), loss="binary_cross_entropy"), class_weight=[1, 2])
    trainer.fit(X, Y, progress=False)


# Sequences --------------------------------------------------------------------------------------

NO_SEQUENCES = {
    "set": lambda *entries: set(entries),
    "frozenset": lambda *entries: frozenset(entries),
    "dict": lambda *entries: dict.fromkeys(entries),
    "keys": lambda *entries: dict.fromkeys(entries).keys(),
    "bytes": lambda *entries: bytes(range(1, len(entries) + 1)),
    "bytearray": lambda *entries: bytearray(range(1, len(entries) + 1)),
    "memoryview": lambda *entries: memoryview(bytes(range(1, len(entries) + 1))),
    "text": lambda *entries: "3" * len(entries),
    "generator": lambda *entries: (entry for entry in entries),
    "iterator": lambda *entries: iter(entries),
    "matrix": lambda *entries: np.array([entries]),
    "nothing": lambda *entries: type(None),
    "object": lambda *entries: object(),
}


@pytest.mark.parametrize("kind", NO_SEQUENCES)
@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("sizes", (3, 4, 5, 2)),
        ("activation", ("relu", "tanh")),
        ("init", ("he_normal", "lecun_normal", "glorot_uniform")),
        ("method", ("auto", "sequential", "deferred")),
        ("dropout", (0.25, 0.5)),
        ("class_weight", (1.0, 2.0)),
    ],
)
def test_what_is_no_sequence_is_refused_by_name(kind, name, entries):
    def use(value):
        if name in ("sizes", "activation", "init"):
            Network(**{"sizes": (3, 4, 5, 2), name: value})
        else:
            Trainer(Network((3, 4, 5, 2)), **{name: value})

    bad = NO_SEQUENCES[kind](*entries)
    with pytest.raises(ValueError, match=rf"^{name} must [^\n]*\.$"):
        use(bad)
    for good in (entries, list(entries), np.array(entries)):
        use(good)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Network((3, 4, 2), init=3),
            "init must be one name or 2 names, one per layer; got",
        ),
        (lambda: Network((3, 4, 2), init=[3, 4]), "init[0] must be one of he_normal,"),
        (lambda: Network({3, 4, 2}), "sizes must list the units of at least two layers"),
        (lambda: Network({3: 1, 2: 1}), "sizes must list the units of at least two layers"),
        (lambda: Network(b"abc"), "sizes must list the units of at least two layers"),
        (
            lambda: Trainer(Network((3, 4, 2)), dropout={0.1}),
            "dropout must be one number or 1 numb",
        ),
        (
            lambda: Trainer(Network((3, 2)), dropout=[0.1]),
            "dropout must be one number or 0 numbers",
        ),
        (lambda: Trainer(Network((3, 2)), class_weight=b"ab"), "class_weight must be "),
        (
            lambda: Trainer(Network((3, 2)), class_weight={0: np.nan}),
            "class_weight[0] must be a finite float32 number of at least 0, got nan.",
        ),
        (
            lambda: Trainer(Network((3, 2)), class_weight={1: 5e-324}),
            "class_weight[1] must be a finite float32 number of at least 0, got 5e-324.",
        ),
        (
            lambda: Trainer(Network((3, 2)), class_weight=[1, 1e39]),
            "class_weight[1] must be a finite float32 number of at least 0, got 1e+39.",
        ),
        (lambda: warmup(3), "dtype must be one of float32, float64; got 3."),
        (lambda: warmup([]), "dtypes must name at least one of float32, float64; got []."),
        (lambda: warmup(["float32", 3]), "dtype must be one of float32, float64; got 3."),
        (lambda: warmup({"float32"}), "dtype must be one of float32, float64; got {'float32'}."),
        (lambda: warmup({"a": 1}), "dtype must be one of float32, float64; got {'a': 1}."),
        (lambda: Network((3, 2), dtype={"a": 1}), "dtype must be one of float32, float64; got"),
        (lambda: Network((3, 2), dtype="f4,f4"), "dtype must be one of float32, float64; got"),
    ],
)
def test_what_was_raw_or_accepted_silently(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


@pytest.mark.parametrize(
    "value",
    [10**5000, -(10**5000), list(range(10**5)), "x" * 10**6, np.eye(30)],
    ids=["large", "low", "list", "text", "matrix"],
)
def test_whatever_is_given_the_message_is_one_short_line(value):
    for name in ("sizes", "activation", "init", "loss", "output", "dtype", "seed"):
        if not (name == "seed" and isinstance(value, int) and value > 0):
            with pytest.raises(ValueError, match=rf"^{name}\S* must [^\n]{{1,600}}\.$"):
                Network(**{"sizes": (3, 4, 2), name: value})
    with pytest.raises(ValueError, match=r"^sizes\[1\] must be an integer [^\n]{1,600}\.$"):
        Network((3, value, 2))
    for name in ("optimizer", "batch_size", "weight_decay", "dropout", "class_weight", "method"):
        with pytest.raises(ValueError, match=rf"^{name} must [^\n]{{1,600}}\.$"):
            Trainer(Network((3, 4, 2)), **{name: value})


@pytest.mark.parametrize(
    ("n_inputs", "length", "code"),
    [
        (1, 20, "for samples of one number pass X.reshape(-1, 1)."),
        (1, 1, "for samples of one number pass X.reshape(-1, 1)."),
        (3, 3, "for one sample pass X.reshape(1, -1)."),
        (3, 20, "got shape (20,)."),
    ],
)
def test_a_row_of_numbers_as_X_gets_a_hint_that_works(n_inputs, length, code):
    network, row = Network((n_inputs, 2), seed=0), np.ones(length)
    with pytest.raises(ValueError, match=rf"^X must be .*{re.escape(code)}$"):
        network.predict(row)
    with pytest.raises(ValueError, match=rf"^eval_set X must be .*{re.escape(code)}$"):
        Trainer(network).fit(np.ones((6, n_inputs)), Y, eval_set=(row, Y), progress=False)


def test_an_optimizer_may_be_an_instance():
    for given in (optimizers.Adam, 3):
        with pytest.raises(ValueError, match="or an instance of a class of fastbp"):
            Trainer(Network((3, 2)), given)


@pytest.mark.parametrize("progress", [1, 0, "yes", "", [], {}, 2.5, object()])
def test_progress_is_a_flag(progress):
    network = Network((3, 2), seed=0)
    before = network.params.copy()
    with pytest.raises(ValueError, match="progress must be True or False, got"):
        Trainer(network).fit(X, Y, progress=progress)
    np.testing.assert_array_equal(network.params, before)


def test_sample_weights_that_underflow_still_count():
    """Weights are relative: the smallest that there are train like 1."""
    params = []
    for weights in (np.ones(6), np.full(6, 5e-324), np.full(6, 1e308)):
        network = Network((3, 4, 2), seed=0)
        Trainer(network, seed=0).fit(X, Y, sample_weight=weights, progress=False)
        params.append(network.params)
    np.testing.assert_array_equal(params[1], params[0])
    np.testing.assert_array_equal(params[2], params[0])


# Checked, then used -----------------------------------------------------------------------------


def at_line(k, change, call):
    """Result of a call in whose k-th line of ours something is changed; and whether it had one."""
    lines = itertools.count()

    def trace(frame, event, argument):
        if not frame.f_globals.get("__name__", "").startswith("fastbp."):
            return None
        if event == "line" and next(lines) == k:
            change()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        result = call()
    except ValueError:
        result = None
    finally:
        sys.settrace(before)
    return result, next(lines) > k


def whatever_changes_meanwhile(make, call):
    """All results of ``call(array)``, where the array becomes nonsense before some line."""
    results, k, goes_on = [], 0, True
    while goes_on:
        array = make()
        result, goes_on = at_line(k, partial(array.fill, 2**30), partial(call, array))
        results += [result] if result is not None else []
        k += 1
    assert k > 3
    assert results
    return results


@pytest.mark.parametrize("dtype", ["int64", "int32", "float64"])
def test_labels_are_copied_before_they_are_checked(dtype):
    for samples in whatever_changes_meanwhile(
        lambda: Y.astype(dtype),
        lambda y: checked_samples(X, y, (3, 2), "cross_entropy", np.dtype("float32")),
    ):
        assert samples.labels.tolist() == Y.tolist()


def test_orders_are_copied_before_they_are_checked():
    for rows in whatever_changes_meanwhile(
        lambda: np.arange(6), lambda rows: checked_order("shuffle(6)", rows, 6)
    ):
        assert rows.tolist() == list(range(6))


@pytest.mark.parametrize("part", ["indices", "indptr"])
@pytest.mark.parametrize("form", ["csr", "csc", "bsr"])
def test_sparse_indices_are_copied_before_they_are_checked(form, part):
    from scipy.sparse import csr_array

    def call(array):
        given = csr_array(X * (X > 0)).asformat(form)
        array[:] = getattr(given, part)[: len(array)]
        setattr(given, part, array)
        return checked_inputs(given, 3, np.dtype("float32"))

    whole = getattr(csr_array(X * (X > 0)).asformat(form), part)
    expected = call(np.empty_like(whole))
    for inputs in whatever_changes_meanwhile(lambda: np.empty_like(whole), call):
        np.testing.assert_array_equal(inputs.indices, expected.indices)
        np.testing.assert_array_equal(inputs.indptr, expected.indptr)


def test_a_shape_that_changes_after_the_check():
    """In place, as NumPy allows: the shape that was checked is the one that is used."""
    k, goes_on = 0, True
    while goes_on:
        given, targets = X.copy(), np.zeros((6, 2), np.float32)

        def change(given=given, targets=targets):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                given.shape, targets.shape = (2, 9), (1, 12)

        samples, goes_on = at_line(
            k,
            change,
            lambda given=given, targets=targets: checked_samples(
                given, targets, (3, 2), "squared_error", np.dtype("float32")
            ),
        )
        if samples is not None:
            assert samples.inputs.X.shape == (6, 3)
            assert samples.targets.shape == (6, 2)
        k += 1
    assert k > 3
