"""A network whose inputs and outputs have names and become more, without River."""

import copy
import math
import os
import pickle
import re
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import targets_for

import fastbp
from fastbp import growing as growing_module
from fastbp import optimizers, schedules
from fastbp.divergence import DivergenceError
from fastbp.growing import Growing, recipe_of, text_of

EVERY_RULE = [
    *optimizers.OPTIMIZERS,
    optimizers.SGD(momentum=0.9, nesterov=True),
    optimizers.RMSprop(momentum=0.5, centered=True),
    optimizers.Adam(amsgrad=True),
]


def growing(loss="cross_entropy", **changed):
    given = {
        "hidden_sizes": (8,), "activation": "tanh", "optimizer": "sgd",
        "learning_rate": 0.05, "weight_decay": 0.001, "clip_norm": None, "dtype": "float64",
        "seed": 0,
    }  # fmt: skip
    return Growing(recipe_of(SimpleNamespace(**given | changed), loss))


def samples(generator, n, names="abcd"):
    return [dict(zip(names, row, strict=True)) for row in generator.normal(size=(n, len(names)))]


def learn(network, x, y, weight=1.0):
    """A step for a class, or for a number of a network with one output."""
    if network.recipe.loss == "cross_entropy":
        network.learn_new(x, y, None, weight)
    else:
        network.learn_new(x, "target", y, weight)


def content(network):
    """Everything that steps and predictions depend on."""
    if not network.outputs:
        return dict(network.places), dict(network.outputs), network.samples
    fields = network.parameters.fields
    arrays = fields.params, fields.moments, fields.counts, fields.rates[:1]
    return (
        list(network.places), list(network.outputs), network.samples,
        *(array.tobytes() for array in arrays),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", EVERY_RULE, ids=str)
def test_steps_are_those_of_a_trainer_bit_for_bit(optimizer, dtype, generator):
    network = growing(optimizer=optimizer, dtype=dtype, loss="squared_error")
    X, y = samples(generator, 30), generator.normal(size=30).tolist()
    learn(network, X[0], y[0], 0.0)
    theirs = fastbp.Network(
        network.parameters.sizes, activation="tanh", loss="squared_error", dtype=dtype
    )
    theirs.params[:] = network.parameters.flat
    trainer = fastbp.Trainer(theirs, optimizer, learning_rate=0.05, weight_decay=0.001)
    # What the sample of weight 0 has done: decay, and counts of steps.
    trainer.optimizer_state.moments[...] = network.parameters.fields.moments.reshape(
        trainer.optimizer_state.moments.shape
    )
    trainer.optimizer_state.counts[:] = network.parameters.fields.counts
    for x, target in zip(X[1:], y[1:], strict=True):
        learn(network, x, target, 0.5)
        trainer.learn_one(np.array(list(x.values()), dtype), target, 0.5)
    np.testing.assert_array_equal(network.parameters.flat, theirs.params)
    out = network.predicted(X[0])[0]
    assert out == theirs.predict_one(np.array(list(X[0].values()), dtype))[0]


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_clipped_step_is_a_trainers(loss, optimizer, generator):
    n_outputs = 3 if loss == "cross_entropy" else 1
    network = growing(
        hidden_sizes=(8, 5), optimizer=optimizer, loss=loss, clip_norm=0.7, weight_decay=0.0
    )
    X = samples(generator, 40)
    y = [0, 1, 2] * 14 if n_outputs == 3 else (10 * targets_for(loss, generator, 42, 1)[:, 0])
    for x, target in zip(X[:3], y[:3], strict=False):
        learn(network, x, target)
    theirs = fastbp.Network(network.parameters.sizes, activation="tanh", loss=loss, dtype="float64")
    theirs.params[:] = network.parameters.flat
    trainer = fastbp.Trainer(theirs, optimizer, learning_rate=0.05, clip_norm=0.7)
    moments = trainer.optimizer_state.moments
    moments[...] = network.parameters.fields.moments.reshape(moments.shape)
    trainer.optimizer_state.counts[:] = network.parameters.fields.counts
    factors = np.resize([1.0, -0.5, 3.0], len(X)).tolist()
    unclipped = growing(hidden_sizes=(8, 5), loss=loss, weight_decay=0.0)
    for x, target, factor in zip(X[3:], y[3:], factors, strict=False):
        learn(network, x, target, factor)
        learn(unclipped, x, target, factor)
        trainer.learn_one(list(x.values()), target, factor)
    np.testing.assert_allclose(network.parameters.flat, theirs.params, rtol=1e-9, atol=1e-12)
    assert abs(unclipped.parameters.flat - theirs.params).max() > 1e-3


def test_what_a_norm_below_the_limit_leaves_as_it_is(generator):
    one, other = growing(clip_norm=1e3), growing()
    for x in samples(generator, 20):
        learn(one, x, int(x["a"] > 0), 2.0)
        learn(other, x, int(x["a"] > 0), 2.0)
    assert content(one)[:5] == content(other)[:5]


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("hidden", [(), (8,)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_samples_and_rates_of_any_size_leave_the_parameters_finite(
    dtype, hidden, optimizer, loss, clip_norm
):
    network = growing(
        loss, hidden_sizes=hidden, dtype=dtype, optimizer=optimizer, clip_norm=clip_norm
    )
    learn(network, {"a": 1.0, "b": 1.0}, 0)
    learn(network, {"a": 1.0, "b": -1.0}, 1)
    n_refused, top = 0, 38 if dtype == "float32" else 307
    for exponent in (3, 9, 18, 19, top // 2, top - 1, top):
        rate_too_large = 10.0 ** min(exponent, top - 4)
        for value, rate, names in ((10.0**exponent, 0.05, "ab"), (1.0, rate_too_large, "abc")):
            twin = copy.deepcopy(network)
            twin.set_learning_rate(rate)
            before, x = content(twin), dict.fromkeys(names, value)
            try:
                learn(twin, x, 1)
            except DivergenceError:
                n_refused += 1
                assert content(twin) == before
                twin.set_learning_rate(0.05)
                learn(twin, dict.fromkeys(names, 1.0), 1)
            assert np.isfinite(twin.parameters.flat).all()
            assert np.isfinite(twin.parameters.fields.moments).all()
            if clip_norm is not None and rate == 0.05:
                learn(twin, {"a": 0.5}, 0)
                assert np.isfinite(twin.predicted({"a": 1.0})).all()
    if clip_norm is None and loss == "squared_error":
        assert n_refused > 0


@pytest.mark.parametrize("optimizer", EVERY_RULE, ids=str)
@pytest.mark.parametrize("hidden", [(), (8,), (5, 7)], ids=str)
def test_growth_moves_parameters_and_moments_and_adds_zeros(hidden, optimizer, generator):
    network = growing(optimizer=optimizer, hidden_sizes=hidden)
    for k, x in enumerate(samples(generator, 20, "abc")):
        learn(network, x, k % 2)
    before = copy.deepcopy(network)
    network._admit(["z", "d"], 2)
    assert list(network.places) == ["a", "b", "c", "d", "z"]
    old, new = before.parameters, network.parameters
    vectors = [(old.flat, new.flat)]
    vectors += zip(
        old.fields.moments.reshape(-1, old.size), new.fields.moments.reshape(-1, new.size),
        strict=True,
    )  # fmt: skip
    assert len(vectors) == 1 + network.recipe.optimizer.n_moments
    for number, (theirs, ours) in enumerate(vectors):
        used = np.zeros(new.size, bool)
        a, b, marks = old.views(theirs), new.views(ours), new.views(used)
        for was, now, mark in zip((*a.weights, *a.biases), (*b.weights, *b.biases),
                                  (*marks.weights, *marks.biases), strict=True):  # fmt: skip
            place = tuple(slice(n) for n in was.shape)
            np.testing.assert_array_equal(now[place], was)
            mark[place] = True
        if number == 0:  # what is drawn: the weights of two inputs and of an output
            marks.weights[0][:, 3:5] = True
            marks.weights[-1][2, : 5 if not hidden else None] = True
            assert b.weights[0][:, 3:5].all()
            assert b.weights[-1][2, :5].all()
        assert not ours[~used].any()
    np.testing.assert_array_equal(new.fields.counts, old.fields.counts)
    np.testing.assert_array_equal(new.fields.settings, old.fields.settings)


def test_old_outputs_stay_the_same_when_features_come(generator):
    network = growing()
    X = samples(generator, 50)
    for k, x in enumerate(X):
        learn(network, x, k % 3)
    before = [network.predicted(x).copy() for x in X]
    network._admit([f"new {k}" for k in range(30)], 0)
    for x, outputs in zip(X, before, strict=True):
        np.testing.assert_allclose(network.predicted(x), outputs, rtol=1e-13)


def test_the_order_of_features_changes_no_bit(generator):
    one, other = growing(optimizer="adam"), growing(optimizer="adam")
    for k, x in enumerate(samples(generator, 40, "abcdefgh")):
        keys = list(x)[: 3 + k // 5]
        x = {key: x[key] for key in keys}
        shuffled = {key: x[key] for key in generator.permutation(keys).tolist()}
        learn(one, x, k % 3)
        learn(other, shuffled, k % 3)
        assert content(one) == content(other)
        np.testing.assert_array_equal(one.predicted(shuffled), other.predicted(x))


def test_weights_of_a_feature_follow_from_its_name_and_the_seed():
    def weights(seed, names):
        network = growing(seed=seed)
        network._admit(names, 0)
        return network.parameters.weights[0][:, network.places["b"]].tolist()

    assert weights(0, ["a", "b"]) == weights(0, ["b", "z"]) != weights(1, ["a", "b"])
    assert weights(None, ["a", "b"]) != weights(None, ["a", "b"])
    assert weights(2**200, ["b"]) != weights(2**201, ["b"])


def test_room_doubles(monkeypatch, generator):
    network, built = growing(), []
    build = Growing._build
    monkeypatch.setattr(
        Growing, "_build", lambda self, *sizes: built.append(sizes) or build(self, *sizes)
    )
    for k in range(300):
        learn(network, {f"feature {k}": 1.0}, "ab"[k % 2])
    assert len(network.places) == 300
    assert len(built) <= 11
    assert len(network.x) < 600


def test_every_way_to_fill_gives_the_same_inputs():
    network = growing()
    x = {"a": 1, "b": True, "c": np.float32(0.5)}
    learn(network, x, 0)

    class Dict(dict):
        pass

    wanted = [1.0, 1.0, 0.5]
    for given in (x, dict(reversed(x.items())), Dict(x), x | {"unknown": 3.0}, x):
        network.predicted(given)
        assert network.x[:3].tolist() == wanted
    network.predicted({"b": 2.0})
    assert network.x[:3].tolist() == [0.0, 2.0, 0.0]
    network.predicted(x)
    assert network.x[:3].tolist() == wanted
    network.predicted({"a": 1, "b": 2, "z": 3})  # as many features, but others
    assert network.x[:3].tolist() == [1.0, 2.0, 0.0]


BAD = [
    (
        {"a": math.nan, "b": 1.0},
        0,
        1.0,
        r"x\['a'\] must be a finite float64 number, got nan; leave",
    ),
    ({"a": 1.0, "b": math.inf}, 0, 1.0, r"x\['b'\] must be a finite"),
    ({"a": 1.0, "b": "2"}, 0, 1.0, r"x\['b'\] must be a finite float64 number, got '2'"),
    ({"a": 1.0, "b": None}, 0, 1.0, r"x\['b'\] must be"),
    ({"a": 1.0, "b": 1j}, 0, 1.0, r"x\['b'\] must be"),
    ({"a": 10**400, "b": 1.0}, 0, 1.0, r"x\['a'\] must be"),
    ({"a": 1.0, "new": math.nan}, 0, 1.0, r"x\['new'\] must be"),
    ({"a": math.nan, "b": 1.0}, "new", 1.0, r"x\['a'\] must be"),
    ([1.0, 2.0], 0, 1.0, "x must be a dict from features to numbers, got"),
    (3, 0, 1.0, "x must be a dict"),
    ({"a": 1.0, "b": 1.0}, 0, math.inf, "w must be a finite number, got inf"),
    ({"a": 1.0, "b": 1.0, "c": 1.0}, 5, math.nan, "w must be"),
]


@pytest.mark.parametrize(("x", "y", "weight", "message"), BAD, ids=range(len(BAD)))
@pytest.mark.parametrize("n_before", [0, 3])
def test_a_refused_sample_changes_nothing(x, y, weight, message, n_before):
    network = growing(optimizer="adam")
    for k in range(n_before):
        learn(network, {"a": 1.0, "b": 2.0}, k % 2)
    before = content(network)
    with pytest.raises(ValueError, match=message):
        learn(network, x, y, weight)
    assert content(network) == before


@pytest.mark.parametrize("label", [0, "new"])
@pytest.mark.parametrize("names", ["ab", "abc", "abcdefgh"])
@pytest.mark.parametrize("n_before", [0, 4])
def test_a_sample_whose_loss_overflows_changes_nothing(names, label, n_before, generator):
    network = growing(activation="relu", optimizer="adam")
    for x in samples(generator, n_before, "abz"):
        learn(network, x, 0)
        learn(network, x, 1)
    before, twin = content(network), copy.deepcopy(network)
    with pytest.raises(DivergenceError, match="the loss is not finite; the model refuses the samp"):
        learn(network, dict.fromkeys(names, 1e308), label)
    assert content(network) == before
    x = {"a": 0.5, "b": 1.0, "d": 2.0}
    learn(network, x, 1)
    learn(twin, x, 1)
    np.testing.assert_array_equal(network.predicted(x), twin.predicted(x))


def interrupted(function, error, at):
    """Call a function, and raise an error before line number ``at`` that growing.py runs."""
    lines, before = 0, sys.gettrace()

    def trace(frame, event, argument):
        nonlocal lines
        if frame.f_code.co_filename != growing_module.__file__:
            return None
        lines += event == "line"
        if event == "line" and lines == at:
            raise error
        return trace

    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("label", [0, "new"])
@pytest.mark.parametrize("names", ["ab", "abe", "abefghi"])
@pytest.mark.parametrize("n_before", [0, 3])
@pytest.mark.parametrize(
    ("hidden", "error"), [((3,), KeyboardInterrupt), ((), MemoryError)], ids=["ctrl-c", "memory"]
)
def test_a_growth_that_is_broken_off_changes_nothing(hidden, error, n_before, names, label):
    network = growing(hidden_sizes=hidden, optimizer="adam")
    for x in samples(np.random.default_rng(0), n_before, "abcd"):
        learn(network, x, 0)
    if n_before > 0:
        learn(network, {"e": 1.0}, 0)  # makes room for more
        network.learn_new({"a": 1.0}, 0, None, 1.0)
    x, before = dict.fromkeys(names, 0.5), content(network)
    whole = copy.deepcopy(network)
    learn(whole, x, label)
    for at in range(1, 10_000):
        twin = copy.deepcopy(network)
        try:
            interrupted(lambda twin=twin: learn(twin, x, label), error, at)
        except error:
            pass
        else:
            break
        assert content(twin) == before
        learn(twin, x, label)
        assert content(twin) == content(whole)
    assert at > 20


@pytest.mark.parametrize("what", ["Parameters", "initial_weights"])
@pytest.mark.parametrize("n_before", [0, 3])
def test_growth_without_memory(what, n_before, monkeypatch, generator):
    network = growing()
    for x in samples(generator, n_before):
        learn(network, x, 0)
    before, x = content(network), dict.fromkeys("abcdefg", 0.5)

    def fail(*given):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(growing_module, what, fail)
        with pytest.raises(MemoryError):
            learn(network, x, "new")
    assert content(network) == before
    learn(network, x, "new")
    assert len(network.places) == 7


def test_parameters_that_are_not_finite_are_named():
    network = growing(loss="squared_error")
    learn(network, {"a": 1.0}, 1.0)
    network.parameters.weights[1][...] = np.inf
    with pytest.raises(DivergenceError, match="layer 2 has parameters that are not finite"):
        learn(network, {"a": 1.0}, 1.0)
    with pytest.raises(ValueError, match="outputs must be finite"):
        network.predicted({"a": 1.0})


def test_rates_by_sample_and_rates_that_are_set():
    schedule = schedules.BySample(schedules.InverseScaling(0.3), every=2)
    network, by_hand = growing(learning_rate=schedule), growing()
    for k in range(9):
        x = {"a": k / 10, "b": 1.0}
        by_hand.set_learning_rate(schedule(k))
        learn(network, x, k % 3)
        learn(by_hand, x, k % 3)
        assert content(network)[:5] == content(by_hand)[:5]
    with pytest.raises(ValueError, match="learning_rate must be a finite float64 number above 0"):
        network.set_learning_rate(0)
    network.set_learning_rate(lambda samples: -1.0)
    before = content(network)
    with pytest.raises(ValueError, match=r"learning_rate\(9\) must be"):
        learn(network, {"a": 1.0, "new": 1.0}, 7)
    assert content(network) == before


def test_a_rate_function_is_called_once_for_a_sample():
    seen = []

    def rate(samples):
        seen.append(samples)
        return 0.1

    network = growing(learning_rate=rate)
    for k, names in enumerate(["a", "ab", "ab", "abcdefg"]):
        learn(network, dict.fromkeys(names, 1.0), k % 2)
    assert seen == [0, 1, 2, 3]
    network.fill({"a": 1.0})
    network.step(0, 1.0)
    assert seen == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("n_before", [0, 2])
def test_what_a_rate_function_raises_is_no_divergence(n_before):
    def rate(samples):
        if samples >= n_before:
            raise ValueError("no rate today")
        return 0.1

    network = growing(learning_rate=rate)
    for k in range(n_before):
        learn(network, {"a": 1.0}, k)
    before = content(network)
    with pytest.raises(ValueError, match="no rate today"):
        learn(network, {"a": 1.0, "b": 1.0}, 5)
    assert content(network) == before


ONE_KEY = [
    ("a", np.str_("a")),
    (b"a", np.bytes_(b"a")),
    (1, True, 1.0, 1 + 0j, np.int64(1), np.float32(1), np.bool_(True), Fraction(1), Decimal(1)),
    (0.5, np.float16(0.5), np.longdouble(0.5), Fraction(1, 2), Decimal("0.5")),
    (-2, np.int8(-2), Decimal("-2.0")),
    (2**64, 2.0**64, np.float64(2**64)),
    (1j, np.complex64(1j)),
    (math.inf, np.float32(math.inf), Decimal("inf")),
    (("a", 1), (np.str_("a"), True)),
    ((("a",), 1.0), ((np.str_("a"),), np.int16(1))),
    (frozenset({"a", 1}), frozenset({np.str_("a"), 1.0})),
]


@pytest.mark.parametrize("names", ONE_KEY, ids=str)
def test_names_that_are_one_key_get_the_same_weights(names):
    assert len(set(names)) == 1
    assert len({text_of(name) for name in names}) == 1
    contents = set()
    for name in names:
        network = growing(hidden_sizes=(4,))
        network._admit([name, "z"], name)
        contents.add(network.parameters.flat.tobytes())
    assert len(contents) == 1


def test_other_names_get_other_weights():
    names = [group[0] for group in ONE_KEY]
    names += ["1", "True", -1, "('a',)", ("a",), (("a",),), None, "None", math.nan, 0.1, 1 / 3]
    assert len({text_of(name) for name in names}) == len(names)


def test_names_give_the_same_text_in_every_process():
    names = ["a", ("a", 1), frozenset("abcdefgh"), (frozenset("abc"), 2.5), None]
    code = f"from fastbp.growing import text_of; print(list(map(text_of, {names!r})))"
    for seed in "12":
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.strip() == str(list(map(text_of, names)))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_copies_go_on_alike_and_apart(duplicate, optimizer, generator):
    network = growing(optimizer=optimizer)
    empty = duplicate(network)
    X = samples(generator, 10, "abc")
    for k, x in enumerate(X):
        learn(network, x, k % 2)
    twin, before = duplicate(network), content(network)
    assert content(twin) == before
    for k, x in enumerate(samples(generator, 10, "bcdefg")):
        learn(twin, x, k % 3)
    assert content(network) == before
    for k, x in enumerate(X):
        learn(empty, x, k % 2)
    assert content(empty) == before


def test_a_pickle_of_another_version_is_refused():
    network = growing()
    learn(network, {"a": 1.0}, 0)
    given = network.__getstate__()
    given["arrays"][0][:2] = 0
    with pytest.raises(ValueError, match="a pickled model must be of this version of fastbp"):
        Growing.__new__(Growing).__setstate__(given)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden_sizes": 20}, "hidden_sizes must list the units of each hidden layer, such as "
                               "(20,), got 20."),
        ({"hidden_sizes": (8, 0)}, "hidden_sizes[1] must be an integer of at least 1, got 0."),
        ({"activation": "rely"}, "activation must be one of"),
        ({"activation": ("relu", "relu")}, "activation must be one name or 1 names"),
        ({"optimizer": "adamm"}, "(did you mean 'adam'?)"),
        ({"learning_rate": -1}, "learning_rate must be a finite float64 number above 0, got -1."),
        ({"learning_rate": schedules.Cosine}, "learning_rate must be a finite"),
        ({"learning_rate": lambda: 1.0}, "learning_rate must take 1 positional argument, samples"),
        ({"weight_decay": -1}, "weight_decay must be a finite"),
        ({"clip_norm": 0}, "clip_norm must be a finite float64 number above 0, got 0."),
        ({"dtype": "float16"}, "dtype must be one of float32, float64"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
    ],
    ids=str,
)  # fmt: skip
def test_recipes_are_checked(changed, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        growing(**changed)
