"""What kernels use as an index: nothing can change it, or they look at it themselves."""

import copy

import numpy as np
import pytest
from conftest import assert_padding_is_zero

from fastbp import Network, Trainer, kernels


def bases(array):
    """The array, and every array whose memory it shows."""
    while isinstance(array, np.ndarray):
        yield array
        array = array.base


def constants():
    layout = Network((300, 160, 3), seed=0).layout
    for name in ("sizes", "strides", "blocks", "units", "activations"):
        yield pytest.param(getattr(layout, name), id=name)


@pytest.mark.parametrize("array", list(constants()))
def test_constants_cannot_be_written_to(array):
    """Not even through the array that they are a view of."""
    assert len(array) > 0
    for shown in bases(array):
        with pytest.raises(ValueError, match="read-only"):
            shown[...] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            shown.setflags(write=True)
    with pytest.raises((TypeError, BufferError)):
        memoryview(array).cast("B")[0] = 1


def test_views_of_a_state_do_not_lead_to_its_header():
    """Nor to its layout: what hangs on `params` has nothing but parameters."""
    network = Network((4, 3), seed=0)
    for shown in (network.params, network.weights[0], network.biases[0]):
        for base in bases(shown):
            assert base.nbytes <= network.params.nbytes


def test_a_network_has_no_other_arrays_of_indices():
    for array in Network((4, 3), seed=0).layout:
        assert isinstance(array, int) or not any(a.flags.writeable for a in bases(array))
    copied = copy.deepcopy(Network((4, 3), seed=0)).layout
    for array in copied:
        assert isinstance(array, int) or not any(a.flags.writeable for a in bases(array))


FAR = [3, 4, 10**6, 2**31, 2**62, -1, -2, -(2**40), np.iinfo(np.int64).min]


def labelled(label, **smoothing):
    """Four samples, of which the third has a class that there is not."""
    X = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    labels = np.array([0, 2, label, 1])
    return kernels.Samples(
        kernels.dense_inputs(X), labels, np.empty((0, 3), np.float32), np.empty(0), **smoothing
    )


@pytest.mark.parametrize("smoothing", [{}, {"kept": 0.9, "shared": 0.1 / 3}])
@pytest.mark.parametrize("label", FAR)
def test_a_label_that_is_no_class_gives_a_loss_of_nan(label, smoothing):
    """And nothing is read or written out of bounds: NUMBA_BOUNDSCHECK=1 sees to that."""
    for is_wrong in (True, False):
        samples = labelled(label if is_wrong else 1, **smoothing)
        network = Network((5, 6, 3), seed=0)
        layout, dtype, state = network.layout, network.dtype, network.parameters.state
        losses = [kernels.train_sequential(state, samples, 0, 4, 0.0)]
        none = np.zeros(2, np.int64)
        plan = kernels.Plan(np.full(2, kernels.DEFERRED), none, none, none)
        block = kernels.make_block(layout, plan, 4, dtype)
        losses.append(kernels.train_deferred(state, block, samples, 0, 4, 0.0, kernels.ALONE))
        for size in (1, 4):
            batch = kernels.make_batch(layout, size, dtype)
            no_gradient = network.params[:0]
            losses.append(
                kernels.train_minibatch(
                    state, batch, no_gradient, samples, 0, 4, 0.0, kernels.ALONE
                )
            )
        batch = kernels.make_batch(layout, 4, dtype, purpose="inference")
        no_outputs = np.empty((0, 3), np.float32)
        loss, n_correct, _ = kernels.infer(state, batch, samples, 0, 4, no_outputs, True)
        assert n_correct <= 4
        losses.append(loss)
        assert all(np.isnan(loss) == is_wrong for loss in losses), losses
        if not is_wrong:
            assert_padding_is_zero(network)


@pytest.mark.parametrize("options", [{}, {"batch_size": 4}, {"label_smoothing": 0.1}])
def test_labels_that_change_after_the_check_end_in_an_error(options, monkeypatch):
    """By another thread, say, while the kernel runs; the network stays as it was."""
    network = Network((5, 6, 3), seed=0)
    before = network.params.copy()
    trainer = Trainer(network, seed=0, **options)
    checked = network.training_samples

    def changed(*arguments):
        samples = checked(*arguments)
        labels = samples.labels.copy()
        labels[2] = 10**9
        return samples._replace(labels=kernels.read_only(labels))

    monkeypatch.setattr(network, "training_samples", changed)
    X = np.random.default_rng(0).normal(size=(4, 5))
    with pytest.raises(ArithmeticError, match="not finite"):
        trainer.partial_fit(X, [0, 1, 2, 0])
    np.testing.assert_array_equal(network.params, before)
