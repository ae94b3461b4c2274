"""`fastbp.jit`: what networks compute in compiled code of the user's, and what they refuse."""

import os
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numba
import numpy as np
import pytest
from conftest import targets_for
from naive import Naive
from numba.core.errors import TypingError

from fastbp import Network, Trainer, jit, kernels, optimizers

OPTIMIZERS = [
    optimizers.SGD(),
    optimizers.SGD(momentum=0.9, nesterov=True),
    optimizers.RMSprop(centered=True, momentum=0.5),
    optimizers.Adagrad(),
    optimizers.Adadelta(),
    optimizers.Adam(amsgrad=True),
    optimizers.AdamW(),
    optimizers.NAdam(),
]
PAIRS = [(loss, output) for loss, outputs in kernels.LEGAL_OUTPUTS.items() for output in outputs]


@numba.njit
def learn_rows(s, X, Y, weights):
    loss = 0.0
    for t in range(len(X)):
        loss += jit.learn_one(s, X[t], Y[t], weights[t])
    return loss


@numba.njit
def learn_labels(s, X, y):
    loss = 0.0
    for t in range(len(X)):
        loss += jit.learn_one(s, X[t], y[t])
    return loss


@numba.njit
def predict_rows(s, X, out):
    for t in range(len(X)):
        jit.predict_one(s, X[t], out[t])


@numba.njit
def gradients(s, x, cotangent, gradient, gradient_x):
    jit.vjp(s, x, cotangent, gradient, gradient_x)


def rows_for(network, n=20, seed=0):
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n, network.sizes[0])).astype(network.dtype)
    Y = targets_for(network.loss_name, generator, n, network.sizes[-1]).astype(network.dtype)
    return X, Y


def trained(network, optimizer, X, y, weights=None, learning_rate=0.01, weight_decay=0.1):
    """The same steps by a trainer."""
    trainer = Trainer(
        network.copy(), optimizer, learning_rate=learning_rate, weight_decay=weight_decay,
        method="sequential" if optimizer == optimizers.SGD() else "auto",
    )  # fmt: skip
    trainer.partial_fit(X, y, weights)
    return trainer


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_steps_are_those_of_a_trainer(optimizer, dtype):
    network = Network((5, 20, 7, 3), activation=("tanh", "relu"), dtype=dtype, seed=0)
    X, Y = rows_for(network)
    weights = np.tile([0.5, 1.0, 0.5, 2.0], len(X) // 4)  # a trainer divides by 2, then by a half
    s = jit.state(network, optimizer, learning_rate=0.01, weight_decay=0.1)
    loss = learn_rows(s, X, Y, weights)
    trainer = trained(network, optimizer, X, Y, weights)
    assert np.array_equal(jit.params(s), trainer.network.params)
    losses = [jit.learn_one(s.copy(), x, y) for x, y in zip(X, Y, strict=True)]
    assert np.isfinite(losses).all()
    assert loss > 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("loss", "output"), PAIRS)
def test_every_loss_and_activation(loss, output, dtype):
    for activation in (output, "identity") if output in kernels.HIDDEN else kernels.HIDDEN:
        network = Network(
            (3, 17, 4), activation=activation, loss=loss, output=output, dtype=dtype, seed=1
        )
        X, Y = rows_for(network)
        s = jit.state(network, learning_rate=0.01, weight_decay=0.1)
        mean = learn_rows(s, X, Y, np.ones(len(X))) / len(X)
        trainer = trained(network, optimizers.SGD(), X, Y)
        assert np.array_equal(jit.params(s), trainer.network.params)
        assert mean == trainer.stream.loss
        if dtype == "float64":
            oracle = Naive.of(network)
            oracle.train(X, Y, range(len(X)), 0.01, 0.1)
            for mine, theirs in zip(trainer.network.weights, oracle.weights, strict=True):
                np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)
        outputs = np.empty_like(Y)
        predict_rows(s, X, outputs)
        tolerance = {"float32": 2e-6, "float64": 1e-14}[dtype]
        np.testing.assert_allclose(
            outputs, trainer.network.outputs(X), rtol=tolerance, atol=tolerance
        )


def test_class_numbers_are_targets_of_one_class():
    network = Network((4, 16, 3), seed=0, dtype="float64")
    X, _ = rows_for(network)
    y = np.arange(len(X)) % 3
    s, rows = jit.state(network), jit.state(network)
    assert learn_labels(s, X, y) == pytest.approx(
        learn_rows(rows, X, np.eye(3)[y], np.ones(len(X))), rel=1e-12
    )
    np.testing.assert_allclose(jit.params(s), jit.params(rows), atol=1e-13)
    assert np.array_equal(
        jit.params(s), trained(network, optimizers.SGD(), X, y, None, 0.01, 0).network.params
    )


def test_numbers_of_every_type():
    network = Network((4, 16, 2), seed=0)
    x = np.ones(4, np.float32)

    @numba.njit
    def learn(s, x, y, weight):
        return jit.learn_one(s, x, y, weight)

    @numba.njit
    def learn_at_rate(s, x, rate):
        jit.set_learning_rate(s, rate)
        return jit.learn_one(s, x, 1)

    results = set()
    for y in (1, np.int8(1), np.uint64(1), True):
        for weight in (2, 2.0, np.float32(2), np.uint8(2)):
            s = jit.state(network)
            results.add((learn(s, x, y, weight), jit.params(s).tobytes()))
    assert len(results) == 1
    results = set()
    for rate in (1, 1.0, np.float32(1), np.int32(1)):
        s = jit.state(network)
        results.add((learn_at_rate(s, x, rate), jit.params(s).tobytes()))
    assert len(results) == 1


@pytest.mark.parametrize("activation", kernels.HIDDEN)
@pytest.mark.parametrize("output", ["softmax", "sigmoid", "tanh", "exp", "identity"])
def test_vjp_by_differences(activation, output):
    losses = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy", "exp": "poisson"}
    loss = losses.get(output, "squared_error")
    network = Network(
        (3, 5, 4), activation=activation, loss=loss, output=output, dtype="float64", seed=2
    )
    s = jit.state(network)
    generator = np.random.default_rng(0)
    x, cotangent = generator.normal(size=3), generator.normal(size=4)
    gradient, gradient_x = np.zeros_like(network.params), np.full(3, np.nan)
    gradients(s, x, cotangent, gradient, gradient_x)
    before = gradient.copy()
    gradients(s, x, cotangent, gradient, None)  # adds
    np.testing.assert_allclose(gradient, 2 * before, rtol=1e-14)
    only_x = np.zeros(3)
    gradients(s, x, cotangent, None, only_x)
    assert np.array_equal(only_x, gradient_x)

    def value(params, row):
        moved = network.copy()
        moved.params[:] = params
        return float(moved.outputs(row[np.newaxis])[0] @ cotangent)

    h = 1e-6
    used = np.flatnonzero(before)
    for i in used[:: max(1, len(used) // 10)]:
        step = np.zeros_like(network.params)
        step[i] = h
        numeric = (value(network.params + step, x) - value(network.params - step, x)) / (2 * h)
        assert before[i] == pytest.approx(numeric, rel=1e-5, abs=1e-8)
    for i in range(3):
        step = h * np.eye(3)[i]
        numeric = (value(network.params, x + step) - value(network.params, x - step)) / (2 * h)
        assert gradient_x[i] == pytest.approx(numeric, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_apply_takes_the_step_of_a_gradient(optimizer):
    """The gradient of cross-entropy with respect to the outputs gives learn_one's step."""
    network = Network((4, 9, 3), dtype="float64", seed=0)
    X, Y = rows_for(network)
    s = jit.state(network, optimizer, learning_rate=0.01, weight_decay=0.1)
    expected = s.copy()
    out = np.empty(3)
    for x, y in zip(X, Y, strict=True):
        jit.predict_one(s, x, out)
        gradient = np.zeros_like(network.params)
        jit.vjp(s, x, -y / out, gradient)
        jit.apply(s, gradient)
        jit.learn_one(expected, x, y)
    np.testing.assert_allclose(jit.params(s), jit.params(expected), rtol=1e-9, atol=1e-12)


def test_the_rate_can_be_set_within_compiled_code():
    network = Network((4, 9, 3), seed=0)
    X, Y = rows_for(network, 10)

    @numba.njit
    def decaying(s, X, Y):
        for t in range(len(X)):
            jit.set_learning_rate(s, 0.1 / (t + 1))
            jit.learn_one(s, X[t], Y[t])

    s, trainer = jit.state(network), Trainer(network.copy(), method="sequential")
    decaying(s, X, Y)
    for t in range(10):
        trainer.learning_rate = 0.1 / (t + 1)
        trainer.partial_fit(X[t : t + 1], Y[t : t + 1])
    assert np.array_equal(jit.params(s), trainer.network.params)


def test_states_on_threads_have_the_bits_of_single_ones():
    networks = [Network((6, 16, 4), seed=k) for k in range(8)]
    X, Y = rows_for(networks[0], 200)
    rates = np.linspace(0.01, 0.05, 8)
    weights = np.ones(len(X))

    @numba.njit(parallel=True)
    def learn_all(S, X, Y, weights):
        for k in numba.prange(len(S)):
            learn_rows(S[k], X, Y, weights)

    @numba.njit(nogil=True)
    def learn_alone(s, X, Y, weights):
        return learn_rows(s, X, Y, weights)

    S = jit.states(networks, learning_rate=rates)
    learn_all(S, X, Y, weights)
    T = jit.states(networks, learning_rate=rates)
    threads = [threading.Thread(target=learn_alone, args=(T[k], X, Y, weights)) for k in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for k, network in enumerate(networks):
        expected = trained(network, optimizers.SGD(), X, Y, None, rates[k], 0.0).network.params
        assert np.array_equal(jit.params(S[k]), expected)
        assert np.array_equal(jit.params(T[k]), expected)


def test_a_saved_state_goes_on_elsewhere(tmp_path):
    network = Network((5, 12, 3), seed=0)
    X, Y = rows_for(network)
    s = jit.state(network, "adam")
    np.save(tmp_path / "state.npy", s)
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "Y.npy", Y)
    code = """
        import sys, numpy as np
        from fastbp import jit
        folder = sys.argv[1]
        s, X, Y = (np.load(f"{folder}/{name}.npy") for name in ("state", "X", "Y"))
        try:
            jit.learn_one(s.copy(), X[0], Y[0])
        except ValueError as error:
            print(error)
        jit.load("float32")
        for x, y in zip(X, Y):
            jit.learn_one(s, x, y)
        np.save(f"{folder}/state.npy", s)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
        check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    if not numba.config.DISABLE_JIT:
        assert "fastbp.jit.load" in done.stdout
    learn_rows(s, X, Y, np.ones(len(X)))
    assert np.array_equal(np.load(tmp_path / "state.npy"), s)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_goes_on():
    code = """
        import os, numpy as np, fastbp
        from fastbp import jit
        network = fastbp.Network((4, 8, 3), seed=0)
        s, x = jit.state(network), np.ones(4, np.float32)
        jit.learn_one(s, x, 1)
        child = os.fork()
        if child:
            assert os.waitpid(child, 0)[1] == 0
        print(jit.learn_one(s, x, 1), flush=True)
        if not child:
            os._exit(0)
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    first, second = done.stdout.split()
    assert first == second


compiled = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")

UPGRADE = """
    import numba, numpy as np, fastbp
    from fastbp import jit
    from fastbp.kernels import table

    # Only this one is to be compiled.
    table._ARGUMENTS = {"predict_one": table._ARGUMENTS["predict_one"]}

    @numba.njit(cache=True)
    def outputs(s, x, out):
        jit.predict_one(s, x, out)

    network = fastbp.Network((3, 4, 2), activation="tanh", output="identity",
                             loss="squared_error", seed=0)
    out = np.zeros(2, np.float32)
    outputs(jit.state(network), np.ones(3, np.float32), out)
    print(*out.tolist(), sum(outputs.stats.cache_hits.values()))
"""


@compiled
def test_a_cached_function_of_the_users_runs_upgraded_kernels(tmp_path):
    package = tmp_path / "fastbp"
    source = Path(jit.__file__).parent
    shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(
        Path(kernels.__file__).parent, package / "kernels",
        ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True,
    )  # fmt: skip
    program = tmp_path / "user.py"
    program.write_text(textwrap.dedent(UPGRADE))
    environment = os.environ | {
        "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")
    }  # fmt: skip

    def run():
        done = subprocess.run(
            [sys.executable, str(program)], env=environment, check=True, capture_output=True,
            text=True, timeout=300,
        )  # fmt: skip
        *values, hits = done.stdout.split()
        return [float(value) for value in values], int(hits)

    before, _ = run()
    again, hits = run()
    assert again == before
    assert hits == 1
    changed = package / "kernels" / "single.py"
    text = changed.read_text()
    line = "    copy(a, out, len(out))\n"
    assert text.count(line) == 1
    changed.write_text(text.replace(line, line + "    out[0] += out.dtype.type(1)\n"))
    after, hits = run()
    assert hits == 1
    assert after == [pytest.approx(before[0] + 1), before[1]]


def refused(call, *words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are checked below
        call()
    for word in words:
        assert word in str(caught.value)


def test_what_does_not_fit_is_refused_and_the_state_untouched():
    network = Network((4, 6, 3), seed=0)
    s = jit.state(network, "adam")
    before = s.copy()
    x, out, y = np.ones(4, np.float32), np.empty(3, np.float32), np.array([1, 0, 0], np.float32)
    nan = np.array([1, np.nan, 1, 1], np.float32)
    short = np.ones(3, np.float32)
    gradient = np.zeros_like(network.params)
    cases = [
        (lambda: jit.predict_one(s, short, out), "x must"),
        (lambda: jit.predict_one(s, x, out[:2]), "out must"),
        (lambda: jit.predict_one(s[1:], x, out), "state must"),
        (lambda: jit.predict_one(x, x, out), "state must"),
        (lambda: jit.predict_one(s[:0], x, out), "state must"),
        (lambda: jit.predict_one(s, nan, out), "finite"),
        (lambda: jit.learn_one(s, short, 0), "x must"),
        (lambda: jit.learn_one(s, x, 3), "y must"),
        (lambda: jit.learn_one(s, x, -1), "y must"),
        (lambda: jit.learn_one(s, x, y[:2]), "y must"),
        (lambda: jit.learn_one(s, x, 2 * y), "y must"),
        (lambda: jit.learn_one(s, x, np.float32(np.nan) * y), "y must"),
        (lambda: jit.learn_one(s, x, 0, np.inf), "weight must"),
        (lambda: jit.learn_one(s, x, 0, np.nan), "weight must"),
        (lambda: jit.learn_one(s, nan, 0), "finite"),
        (lambda: jit.vjp(s, x, y[:2], gradient), "cotangent"),
        (lambda: jit.vjp(s, x, y, gradient[:-1]), "gradient"),
        (lambda: jit.vjp(s, x, y, gradient, short), "gradient_x"),
        (lambda: jit.apply(s, gradient[:-1]), "gradient"),
        (lambda: jit.set_learning_rate(s, -1e-3), "rate"),
        (lambda: jit.set_learning_rate(s, np.nan), "rate"),
        (lambda: jit.apply(s, np.nan * gradient), "finite"),
        (lambda: jit.vjp(s, x, np.float32(np.nan) * y, gradient), "finite"),
        (lambda: jit.set_learning_rate(s, np.inf), "rate"),
        (lambda: jit.set_learning_rate(s, 1e300), "rate"),
    ]
    for call, *words in cases:
        refused(call, *words)
    # The scratch of a sample may have changed; what lasts has not.
    mine, theirs = (kernels.fields(each, kernels.State) for each in (s, before))
    for name in ("rates", "rule", "settings", "counts", "params", "moments"):
        assert np.array_equal(getattr(mine, name), getattr(theirs, name))


def test_targets_that_a_loss_cannot_take():
    for loss, bad in (("binary_cross_entropy", 1.5), ("poisson", -1.0), ("squared_error", np.inf)):
        network = Network((2, 3, 1), loss=loss, seed=0)
        s, x = jit.state(network), np.ones(2, np.float32)
        refused(
            lambda s=s, x=x, bad=bad: jit.learn_one(s, x, np.array([bad], np.float32)), "y must"
        )
        refused(lambda s=s, x=x: jit.learn_one(s, x, 0), "y must")


def test_a_state_that_has_diverged_is_refused():
    network = Network((2, 3, 1), loss="squared_error", seed=0)
    s = jit.state(network)
    jit.params(s)[:] = np.inf
    refused(lambda: jit.learn_one(s, np.ones(2, np.float32), np.ones(1, np.float32)), "diverged")


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_step_that_would_overflow_is_refused(optimizer):
    network = Network((2, 3, 1), activation="identity", loss="squared_error", seed=0)
    s = jit.state(network, optimizer)
    one = np.ones(1, np.float32)
    for x, weight in (([1e25, 1.0], 1.0), ([1.0, 1.0], 1e37)):
        before = s.copy()
        refused(
            lambda x=x, w=weight: jit.learn_one(s, np.array(x, np.float32), 1e4 * one, w),
            "diverged",
        )
        assert np.array_equal(jit.params(s), jit.params(before))
    jit.learn_one(s, np.ones(2, np.float32), one)
    assert np.isfinite(jit.params(s)).all()


def test_a_state_of_another_layout_is_refused():
    s = jit.state(Network((2, 3, 2), seed=0))
    s.view(np.int64)[0] += 1  # the mark holds the version
    refused(lambda: jit.learn_one(s, np.ones(2, np.float32), 0), "state must", "version")
    refused(lambda: jit.params(s), "version")


@compiled
def test_a_state_must_be_an_argument():
    """Numba freezes what is global, in memory that cannot be written to."""
    s, x = jit.state(Network((4, 6, 3), seed=0)), np.ones(4, np.float32)

    @numba.njit
    def learn(x):
        return jit.learn_one(s, x, 1)

    with pytest.raises(TypingError, match="state must be a flat C-contiguous writable array"):
        learn(x)


def test_a_rate_of_zero_stands_still():
    network = Network((4, 6, 3), seed=0)
    s = jit.state(network, learning_rate=0)
    jit.learn_one(s, np.ones(4, np.float32), 1)
    assert np.array_equal(jit.params(s), network.params)
    jit.set_learning_rate(s, 0.1)
    jit.learn_one(s, np.ones(4, np.float32), 1)
    assert not np.array_equal(jit.params(s), network.params)


@compiled
def test_wrong_types_are_refused_by_the_compiler():
    network = Network((4, 6, 3), seed=0)
    s, x, out = jit.state(network), np.ones(4, np.float32), np.empty(3, np.float32)
    for call in (
        lambda: jit.predict_one(s, x.astype(float), out),
        lambda: jit.predict_one(s, np.ones(8, np.float32)[::2], out),
        lambda: jit.predict_one(s, x, np.empty(3)),
        lambda: jit.predict_one(s, x.reshape(2, 2), out),
        lambda: jit.predict_one(np.zeros(9, np.int64), x, out),
        lambda: jit.learn_one(s, x, 1.0),
        lambda: jit.learn_one(s, x, np.eye(3)[0]),
        lambda: jit.learn_one(s, x, 1, 1j),
        lambda: jit.learn_one(1.0, x, 1),
        lambda: jit.predict_one(None, x, out),
        lambda: jit.predict_one(s, 5, out),
        lambda: jit.learn_one(s, x, 1, x),
        lambda: jit.set_learning_rate(s, x),
        lambda: jit.predict_one(kernels.read_only(s), x, out),
        lambda: jit.learn_one(kernels.read_only(s), x, 1),
        lambda: jit.predict_one(s, x, kernels.read_only(out)),
        lambda: jit.vjp(s, x, out, kernels.read_only(s)),
        lambda: jit.vjp(s, x, out, None, kernels.read_only(x)),
    ):
        with pytest.raises(TypingError, match=r"must be a .* for fastbp\.jit|y must be a class"):
            call()
    frozen = kernels.read_only(x)
    jit.predict_one(s, frozen, out)
    jit.learn_one(s, frozen, kernels.read_only(np.array([1, 0, 0], np.float32)))


def test_what_state_and_states_refuse():
    network = Network((2, 3, 2), seed=0)
    refused(lambda: jit.state("network"), "network must")
    refused(lambda: jit.state(network, "adamm"), "optimizer")
    refused(lambda: jit.state(network, learning_rate=-1), "learning_rate must")
    refused(lambda: jit.state(network, weight_decay=np.nan), "weight_decay must")
    refused(lambda: jit.state(network, learning_rate=20, weight_decay=0.1), "must be below 1")
    refused(lambda: jit.params(jit.state(network)[::2]), "contiguous")
    refused(lambda: jit.states([]), "networks must")
    refused(lambda: jit.states([network, Network((2, 4, 2))]), "architecture")
    refused(lambda: jit.states([network] * 3, learning_rate=[0.1, 0.2]), "learning_rate must")
    refused(lambda: jit.load("float16"), "dtype must")
    refused(lambda: jit.params(np.zeros(3)), "packed")
    refused(lambda: jit.params([1.0]), "jit.state")
    network.params[0] = np.nan
    refused(lambda: jit.state(network), "finite")
