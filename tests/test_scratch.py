"""Scratch of kernels: what is made for something else is refused, or holds all that is written."""

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from fastbp import Network, kernels

SIZES = (40, 24, 3)
N = 30
MARGIN = 4096  # numbers


def problem(kind: str = "dense", sizes: tuple[int, ...] = SIZES):
    """A network, and samples of one kind for it."""
    generator = np.random.default_rng(0)
    X = np.maximum(generator.normal(size=(N, sizes[0])), 0)
    network = Network(sizes, seed=0)
    given: Any = csr_array(X) if kind == "sparse" else X
    return network, network.samples(given, generator.integers(0, sizes[-1], N))


def guarded(packed):
    """A copy with a margin behind it, and a function that says whether that was written to."""
    whole = kernels.aligned_zeros(len(packed) + MARGIN, packed.dtype)
    whole[: len(packed)] = packed
    return whole[: len(packed)], lambda: whole[len(packed) :].any()


def batch_of(network, **options):
    return kernels.make_batch(network.layout, N, network.dtype, **options)


def train(network, batch, samples, team=kernels.ALONE, gradient=None):
    state = network.parameters.state
    gradient = state[:0] if gradient is None else gradient
    return kernels.train_minibatch(state, batch, gradient, samples, 0, N, 0.0, team)


@pytest.mark.parametrize("sizes", [SIZES, (300, 70, 5), (3, 2)])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("options", [
    {}, {"is_plain": True}, {"regularization": kernels.Regularization(clip_norm=1.0)},
    {"regularization": kernels.Regularization(l1=0.1)}, {"inputs": "listed"}, {"inputs": "sparse"},
])  # fmt: skip
def test_more_threads_than_a_batch_is_made_for_change_nothing(options, threads, sizes):
    results = []
    for size in (1, threads, 2, 4, 7):
        network, samples = problem(options.get("inputs", "dense"), sizes)
        network.parameters.fields.rates[0] = 0.1
        batch, is_spoilt = guarded(batch_of(network, threads=threads, **options))
        loss = train(network, batch, samples, kernels.make_team(size))
        assert not is_spoilt()
        results.append((loss, network.params.tobytes()))
    assert len(set(results)) == 1


@pytest.mark.parametrize(("size", "is_cut"), [(32, [1, 1, 1, 0]), (256, [0, 0, 0, 0])])
def test_layers_of_any_size_are_cut_so_that_each_core_reads_its_own_weights(size, is_cut):
    network = Network((300, 300, 1100, 1100, 5), seed=0)
    batch = kernels.make_batch(network.layout, size, np.dtype("f4"))
    assert kernels.fields(batch, kernels.Batch).quarters.is_cut.tolist() == is_cut


@pytest.mark.parametrize("length", [1, 8, 16, 64, 65, 200])
def test_a_block_is_never_longer_than_marks_are(length):
    network, samples = problem()
    network.parameters.fields.rates[0] = 0.01
    expected = Network(SIZES, seed=0)
    expected.parameters.fields.rates[0] = 0.01
    kernels.train_sequential(expected.parameters.state, samples, 0, N, 0.0)
    plan = kernels.Plan([kernels.DEFERRED] * 2, [1, 1], [1, 1], [1, 1])
    block = kernels.make_block(network.layout, plan, length, network.dtype)
    packed, is_spoilt = guarded(block)
    assert kernels.fields(packed, kernels.Block).length == min(length, kernels.LONGEST_BLOCK)
    kernels.train_deferred(
        network.parameters.state, packed, samples, 0, N, 0.0, kernels.make_team(3)
    )
    assert not is_spoilt()
    np.testing.assert_allclose(network.params, expected.params, rtol=1e-3, atol=1e-5)


OTHERS = [(40, 24, 4), (40, 25, 3), (41, 24, 3), (500, 24, 3), (40, 3), (40, 24, 24, 3)]


@pytest.mark.parametrize("sizes", OTHERS)
def test_scratch_for_another_layout_is_refused(sizes):
    network, samples = problem()
    before = network.params.copy()
    other, state = Network(sizes, seed=0), network.parameters.state
    with pytest.raises(ValueError, match="a Batch must be made for the layout"):
        train(network, batch_of(other), samples)
    out = np.empty((N, 3), np.float32)
    batch = batch_of(other, purpose="inference")
    with pytest.raises(ValueError, match="a Batch must be made for the layout"):
        kernels.infer(state, batch, samples, 0, N, out, True)
    none = [0] * (len(sizes) - 1)
    plan = kernels.Plan([kernels.DEFERRED] * (len(sizes) - 1), none, none, none)
    block = kernels.make_block(other.layout, plan, 8, other.dtype)
    with pytest.raises(ValueError, match="a Block must be made for the layout"):
        kernels.train_deferred(state, block, samples, 0, N, 0.0, kernels.ALONE)
    np.testing.assert_array_equal(network.params, before)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("n_in", [1, 39, 41, 48, 5000])
def test_rows_of_another_width_are_refused(n_in, kind):
    """Their places in CSR rows are rows of weights, which are written to."""
    network, (_, samples) = problem()[0], problem(kind, (n_in, 24, 3))
    state, layout, dtype = network.parameters.state, network.layout, network.dtype
    packed, is_spoilt = guarded(state)
    method = kernels.SKIPPING if kind == "sparse" else kernels.SEQUENTIAL
    plan = kernels.Plan([method, kernels.SEQUENTIAL], [kind == "sparse", 0], [0, 0], [0, 0])
    block = kernels.make_block(layout, plan, 8, dtype)
    batch, out = batch_of(network, inputs=kind), np.empty((N, 3), dtype)
    for call in (
        lambda: kernels.train_sequential(packed, samples, 0, N, 0.0),
        lambda: kernels.train_deferred(packed, block, samples, 0, N, 0.0, kernels.ALONE),
        lambda: kernels.train_minibatch(
            packed, batch, state[:0], samples, 0, N, 0.0, kernels.ALONE
        ),
        lambda: kernels.infer(packed, batch, samples, 0, N, out, False),
    ):
        with pytest.raises(ValueError, match="as many inputs as the network"):
            call()
    assert not is_spoilt()


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_more_samples_than_there_are_are_refused(kind):
    network, samples = problem(kind)
    state, layout, dtype = network.parameters.state, network.layout, network.dtype
    method = kernels.SKIPPING if kind == "sparse" else kernels.SEQUENTIAL
    plan = kernels.Plan([method, kernels.SEQUENTIAL], [kind == "sparse", 0], [0, 0], [0, 0])
    block = kernels.make_block(layout, plan, 8, dtype)
    batch, out = batch_of(network, inputs=kind), np.empty((N + 1, 3), dtype)
    for call in (
        lambda: kernels.train_sequential(state, samples, 0, N + 1, 0.0),
        lambda: kernels.train_deferred(state, block, samples, 0, N + 1, 0.0, kernels.ALONE),
        lambda: kernels.train_minibatch(
            state, batch, state[:0], samples, 0, N + 1, 0.0, kernels.ALONE
        ),
        lambda: kernels.infer(state, batch, samples, 0, N + 1, out, False),
    ):
        with pytest.raises(ValueError, match="at most the number of samples"):
            call()


@pytest.mark.parametrize("made", ["dense", "listed", "sparse"])
@pytest.mark.parametrize("given", ["dense", "sparse"])
def test_scratch_for_other_inputs_is_refused(made, given):
    fits = (made == "sparse") == (given == "sparse")
    network, samples = problem(given)
    nothing = np.empty((0, 3), np.float32)
    for purpose in ("training", "inference"):
        batch = batch_of(network, inputs=made, purpose=purpose)
        calls = [lambda b=batch: kernels.infer(
            network.parameters.state, b, samples, 0, N, nothing, False
        )]  # fmt: skip
        calls += [lambda b=batch: train(network, b, samples)] * (purpose == "training")
        for call in calls:
            if fits:
                call()
            else:
                with pytest.raises(ValueError, match="CSR rows if it is used for them"):
                    call()


@pytest.mark.parametrize("method", [kernels.SEQUENTIAL, kernels.DEFERRED])
def test_a_block_for_dense_rows_is_refused_for_csr(method):
    network, samples = problem("sparse")
    plan = kernels.Plan([method] * 2, [0, 0], [0, 0], [0, 0])
    block = kernels.make_block(network.layout, plan, 8, network.dtype)
    with pytest.raises(ValueError, match="zero-skipping first layer"):
        kernels.train_deferred(network.parameters.state, block, samples, 0, N, 0.0, kernels.ALONE)


def test_what_a_batch_has_no_room_for_is_refused():
    network, samples = problem()
    n = len(network.parameters.flat)
    gradient = np.zeros(n, np.float32)
    with pytest.raises(ValueError, match="made for inference has no way back"):
        train(network, batch_of(network, purpose="inference"), samples)
    with pytest.raises(ValueError, match="takes no step: give it a gradient"):
        train(network, batch_of(network, purpose="gradient"), samples)
    for options, length in (({}, n), ({"is_plain": True}, n), ({"purpose": "gradient"}, n - 1)):
        with pytest.raises(ValueError, match="a gradient must have all parameters"):
            train(network, batch_of(network, **options), samples, kernels.ALONE, gradient[:length])
    train(network, batch_of(network, purpose="gradient"), samples, kernels.make_team(3), gradient)
    assert gradient.any()


def test_a_state_without_room_for_moments_is_refused():
    network, samples = problem()
    state = kernels.make_state(network.layout, network.dtype, 1)
    rule = kernels.fields(state, kernels.State).rule
    rule[:] = kernels.ADAM, 0, 2
    batch = batch_of(network)
    with pytest.raises(ValueError, match="no room for the moments"):
        kernels.train_minibatch(state, batch, state[:0], samples, 0, N, 0.0, kernels.ALONE)
    rule[:] = kernels.SGD, 0, 1
    kernels.train_minibatch(state, batch, state[:0], samples, 0, N, 0.0, kernels.ALONE)


@pytest.mark.parametrize("shape", [(N - 1, 3), (N, 2), (N, 4), (1, 3)])
def test_outputs_that_have_no_room_are_refused(shape):
    network, samples = problem()
    batch = batch_of(network, purpose="inference")
    with pytest.raises(ValueError, match="a row for every sample"):
        kernels.infer(
            network.parameters.state, batch, samples, 0, N, np.empty(shape, np.float32), True
        )
