"""The parameters of a network, and what kernels compute from them: outputs, losses, gradients."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastbp import kernels, plan, threads
from fastbp.pacing import Crew, paced
from fastbp.samples import (
    NO_LABELS,
    NO_WEIGHTS,
    FloatArray,
    all_finite,
    check_rows,
    few_samples,
    is_buffer,
    is_plain,
    no_targets,
    plain,
)


class Gradients(NamedTuple):
    """Gradient of the mean loss, as views of one flat vector laid out as `Network.params`."""

    weights: tuple[FloatArray, ...]
    """One (n_out, n_in) array per layer."""
    biases: tuple[FloatArray, ...]
    """One (n_out,) array per layer."""


class Evaluation(NamedTuple):
    """Result of `Network.evaluate`."""

    loss: float
    """Mean loss, weighted where weights were given."""
    accuracy: float | None
    """Share of rows predicted correctly (every label of the row); None for a regression."""


def _of_rows(
    samples: kernels.Samples, start: int, stop: int, dtype: np.dtype[Any]
) -> kernels.Samples:
    """Samples start to stop as kernels take them."""
    inputs = samples.inputs
    if inputs.is_sparse:
        inputs = inputs._replace(indptr=inputs.indptr[start : stop + 1])
    else:
        inputs = kernels.dense_inputs(plain(inputs.X[start:stop], dtype))
    return samples._replace(
        inputs=inputs,
        labels=samples.labels[start:stop],
        targets=plain(samples.targets[start:stop], dtype),
        weights=samples.weights[start:stop],
    )


# A call of at most so many multiply-adds, some 10 µs, is neither cut nor shared by threads.
_SHORT = 110_000
# Of at most so many, it is not shared either.
_UNSHARED = 25_000_000
# Rows whose outputs such a call keeps at a time.
_FEW = 32


class Parameters:
    """Weights and biases in one flat buffer, with the architecture that gives them a meaning.

    `Network` checks what it is given and hands out views; here nothing is checked again.

    Parameters
    ----------
    sizes : tuple of int
    activations : tuple of str
        One per layer, the output's last.
    loss_name : str
    dtype : numpy.dtype

    Attributes
    ----------
    layout : kernels.Layout
        Where each parameter lies in ``flat``.
    flat : array of shape (layout.blocks[-1],)
        All parameters, at first zeros; memory is allocated when it is first used. This is the
        buffer itself, whose shape and flags kernels rely on: users get views of it.
    size, n_params : int
        Numbers in ``flat``, and how many of them are weights and biases: the others are padding.
    is_classifier : bool
        Whether outputs are probabilities of classes or labels.
    may_list : bool
        Whether zeros in X are worth finding, if there are many.
    is_small : bool
        Whether a single row is predicted and learned by the functions for single samples.

    Raises
    ------
    ValueError
        If the parameters would need more bytes than an int64 can count.
    """

    def __init__(
        self,
        sizes: tuple[int, ...],
        activations: tuple[str, ...],
        loss_name: str,
        dtype: np.dtype[Any],
    ) -> None:
        self.sizes, self.activations, self.loss_name = sizes, activations, loss_name
        self.dtype = dtype
        self.layout = kernels.make_layout(sizes, activations, loss_name, dtype)
        self.n_params = sum((a + 1) * b for a, b in itertools.pairwise(sizes))
        self.size = int(self.layout.blocks[-1])
        self.is_classifier = loss_name in kernels.CLASSIFICATION
        # Where a layer's rows lie in a flat vector, and in them its weights and biases.
        self._places = [
            (slice(start, stop), (n_in + 1, -1), np.s_[:n_in, :n_out], np.s_[n_in, :n_out])
            for (start, stop), (n_in, n_out) in zip(
                itertools.pairwise(self.layout.blocks.tolist()),
                itertools.pairwise(sizes),
                strict=True,
            )
        ]
        # Weak reference to the optimizer whose moments are in ``state``: see `moments`.
        self.learner: Any = None
        # Whose rates and optimizer are in ``state``, for steps that begin at once: see `single`.
        self.ready_for: Any = None
        self._no_targets = no_targets(sizes[-1], dtype)
        self.may_list = plan.zeros_matter(self.layout, dtype)
        self.is_small = plan.steps_alone(self.layout, dtype)
        # How many dense rows `_differentiate_few` takes: whole groups of vectors.
        grouped, most = kernels.grouped_rows(self.layout, dtype), _SHORT // self.size + 1
        self._grouped = range(grouped.start, min(grouped.stop, most))
        self._kept: dict[str, tuple[Any, Any]] = {}  # scratch of the last call, by its use

    @functools.cached_property
    def state(self) -> FloatArray:
        """The one array that holds parameters, optimizer and the scratch of a sample."""
        return kernels.make_state(self.layout, self.dtype)

    @functools.cached_property
    def loaded_state(self) -> FloatArray:
        """``state``, once the functions for single samples can be called with it."""
        kernels.load_functions(self.dtype)
        return self.state

    @functools.cached_property
    def fields(self) -> kernels.State:
        """What ``state`` holds, as views of it."""
        fields: kernels.State = kernels.fields(self.state, kernels.State)
        return fields

    @functools.cached_property
    def flat(self) -> FloatArray:
        """All parameters, a view of ``state``."""
        flat: FloatArray = self.fields.params
        return flat

    def kept(self) -> FloatArray:
        """``state`` up to the optimizer's moments, which trainers keep; a view."""
        return self.state[: self.state.size - self.fields.moments.size]

    def restore(self, kept: FloatArray) -> None:
        """Copy what `kept` has returned into ``state``.

        Raises
        ------
        ValueError
            If it is from another version of fastbp.
        """
        mine = self.kept()
        header = slice(0, kernels.HEADER_BYTES // mine.itemsize)
        if kept.shape != mine.shape or kept[header].tobytes() != mine[header].tobytes():
            raise ValueError(
                "a pickled network must be of this version of fastbp; model files, which "
                "network.save writes, are for every later one too."
            )
        mine[:] = kept

    def views(self, flat: FloatArray) -> Gradients:
        """Weights and biases of each layer as views of any vector laid out as ``self.flat``."""
        weights, biases = [], []
        for block, shape, its_weights, its_biases in self._places:
            rows = flat[block].reshape(shape)
            weights.append(rows[its_weights].T)
            biases.append(rows[its_biases])
        return Gradients(tuple(weights), tuple(biases))

    @property
    def weights(self) -> tuple[FloatArray, ...]:
        """Writable (n_out, n_in) views, new ones each time."""
        return self.views(self.flat).weights

    @property
    def biases(self) -> tuple[FloatArray, ...]:
        """Writable (n_out,) views, new ones each time."""
        return self.views(self.flat).biases

    def first_nonfinite_layer(self) -> int | None:
        """Number, from 1, of the first layer with a non-finite parameter; None if there is none."""
        place = kernels.first_nonfinite(self.flat, 0, self.flat.size)
        if place < 0:
            return None
        return int(np.searchsorted(self.layout.blocks, place, side="right"))

    def check_finite(self) -> None:
        """Refuse parameters that are not finite."""
        if (layer := self.first_nonfinite_layer()) is not None:
            raise ValueError(
                f"network.params must be finite, got NaN or infinity in layer {layer}."
            )

    def penalty(self, weight_decay: float, l1: float) -> float:
        """½ λ ‖W‖² + λ₁ Σ|w| of all weights."""
        if weight_decay == l1 == 0:
            return 0.0  # and nothing is compiled
        return float(kernels.penalty_of(self.state, weight_decay, l1))

    # Forward ------------------------------------------------------------------------------------

    def outputs(
        self, inputs: kernels.Inputs, n_threads: int | None, check: bool, given: Any
    ) -> FloatArray:
        """Outputs; with ``check``, both they and X must be finite.

        Dense inputs may be left as they are before conversion to the network's dtype; ``given`` is
        X as the caller passed it.
        """
        n = len(inputs.X) or inputs.n  # sparse rows have no X
        outputs = np.empty((n, self.sizes[-1]), self.dtype)
        is_few = 0 < len(inputs.X) * self.size <= _SHORT and is_plain(inputs.X, self.dtype)
        if (is_few or self._is_one_group(inputs)) and self._infer_few(inputs.X, outputs, check):
            return outputs
        samples = kernels.Samples(inputs, NO_LABELS, self._no_targets, NO_WEIGHTS)
        self.infer(samples, outputs, n_threads, check, given)
        return outputs

    def _is_one_group(self, inputs: kernels.Inputs) -> bool:
        """Whether rows are one group in any case: plain, too little to share, zeros not skipped."""
        n = len(inputs.X)
        if not (0 < n <= _FEW and n * self.size <= _UNSHARED and is_plain(inputs.X, self.dtype)):
            return False
        return not (self.may_list and plan.lists_zeros(self.layout, self.dtype, inputs))

    def _infer_few(self, X: FloatArray, outputs: FloatArray, check: bool) -> bool:
        """Fill ``outputs`` by a call that costs little; whether X and they are finite."""
        batch = self._taken("few", ())
        if batch is None:
            batch = self._batch(_FEW, False, False, "inference")
        is_finite: bool = kernels.infer_rows(self.state, batch, X, outputs, check)
        self._kept["few"] = (), batch
        return is_finite

    def _refuse_outputs(self, samples: kernels.Samples, n_threads: int | None) -> NoReturn:
        """Say which outputs are NaN or infinity, from which no prediction can be made."""
        self.check_finite()
        outputs = np.empty((samples.inputs.n, self.sizes[-1]), self.dtype)
        self.infer(samples, outputs, n_threads)
        place = kernels.first_nonfinite(outputs.reshape(-1), 0, outputs.size)
        if place < 0:
            raise ValueError("X must not change while it is used.")
        row, column = divmod(place, self.sizes[-1])
        raise ValueError(
            f"outputs must be finite, got {outputs[row, column]} for row {row} of X, whose numbers "
            f"are too large for this network in {self.dtype}."
        )

    def evaluate(
        self,
        samples: kernels.Samples,
        n_threads: int | None = None,
        given: Any = None,
        outputs: FloatArray | None = None,
    ) -> Evaluation:
        """Mean loss and accuracy, both NaN where an output is not finite.

        ``given`` is X, if its rows are still to be checked; then outputs must be finite too.
        ``outputs`` is filled, if there is one.
        """
        n = samples.inputs.n
        wanted = np.empty((0, self.sizes[-1]), self.dtype) if outputs is None else outputs
        loss_sum, n_correct = self.infer(samples, wanted, n_threads, given is not None, given)
        loss, accuracy = loss_sum / n, n_correct / n if self.is_classifier else None
        if not math.isfinite(loss):  # an output that is not finite has no finite loss
            if outputs is None:
                outputs = np.empty((n, self.sizes[-1]), self.dtype)
                self.infer(samples, outputs, n_threads, given is not None, given)
            if not all_finite(outputs):
                return Evaluation(np.nan, None if accuracy is None else np.nan)
        return Evaluation(loss, accuracy)

    def infer(
        self,
        samples: kernels.Samples,
        outputs: FloatArray,
        n_threads: int | None = None,
        check: bool = False,
        given: Any = None,
    ) -> tuple[float, int]:
        """Fill ``outputs``, unless it has no rows; sums of losses and of correct predictions.

        Python threads take blocks of rows, because kernels release the GIL; the blocks follow from
        sizes alone, so the sums are the same for any number of threads. Dense rows and
        targets are converted block by block, if need be. With ``check``, dense rows and ``outputs``
        must be finite; ``given`` is X as the caller passed it.
        """
        inputs, targets = samples.inputs, samples.targets
        n, is_sparse = len(outputs) or inputs.n, inputs.is_sparse
        is_short = n * self.size <= _SHORT
        is_listed = (
            self.may_list and not is_short and plan.lists_zeros(self.layout, self.dtype, inputs)
        )
        kind = min(n, kernels.LONGEST_STRETCH), is_listed, is_sparse
        spare = self._taken("infer", kind) or []
        converts = not is_plain(inputs.X, self.dtype)
        if len(targets) > 0:
            converts |= not is_plain(targets, self.dtype)
        spoilt = []  # blocks with outputs that are not finite

        def block(start: int, stop: int) -> tuple[float, int]:
            try:
                batch = spare.pop()
            except IndexError:
                batch = self._batch(*kind, "inference")
            part, out, first, last = samples, outputs, start, stop
            if converts:
                part = _of_rows(samples, start, stop, self.dtype)
                out, first, last = outputs[start:stop], 0, stop - start
            loss_sum, n_correct, is_finite = kernels.infer(
                self.state, batch, part, first, last, out, check
            )
            spare.append(batch)
            if not is_finite:
                check_rows(inputs.X, start, stop, self.dtype, given)
                spoilt.append(start)
            return loss_sum, n_correct

        if is_short:
            loss_sum, n_correct = block(0, n)
        else:
            loss_sum, n_correct = 0.0, 0
            for loss, correct in threads.spread(block, n, 2 * self.size, n_threads):
                loss_sum += loss
                n_correct += correct
        self._kept["infer"] = kind, spare
        if spoilt:
            self._refuse_outputs(samples, n_threads)
        return loss_sum, n_correct

    def load(self, samples: kernels.Samples) -> None:
        """Compile or load the kernel that evaluates, by a call without rows."""
        batch = self._batch(1, False, samples.inputs.is_sparse, "inference")
        nothing = np.empty((0, self.sizes[-1]), self.dtype)
        kernels.infer(self.state, batch, samples, 0, 0, nothing, False)

    # Back ---------------------------------------------------------------------------------------

    def differentiate(self, samples: kernels.Samples, gradient: FloatArray) -> float:
        """Mean loss of all samples; its gradient replaces what is in ``gradient``."""
        inputs = samples.inputs
        n = inputs.n
        if len(inputs.X) in self._grouped and samples.are_plain:
            loss = self._differentiate_few(inputs.X, samples.labels, samples.targets, gradient)
            if not math.isnan(loss):
                return loss
        is_short = n * self.size <= _SHORT
        is_listed = self.may_list and plan.lists_zeros(self.layout, self.dtype, inputs)
        kind = n, is_listed, inputs.is_sparse, 1 if is_short else threads.available()
        scratch = self._taken("gradient", kind)
        if scratch is None:
            length = min(n, kernels.LONGEST_STRETCH)
            most = 1 if is_short else plan.batch_threads(self.layout, length, None)
            scratch = self._batch(*kind[:3], "gradient"), Crew(most, False)
        batch, crew = scratch
        gradient.fill(0)
        if is_short:
            loss_sum = kernels.train_minibatch(
                self.state, batch, gradient, samples, 0, n, 0.0, kernels.ALONE
            )
        else:
            loss_sum = self._shared_gradient(batch, crew, gradient, samples)
        self._kept["gradient"] = kind, scratch
        return float(loss_sum / n)

    def quick_gradient(
        self, X: NDArray[Any], y: NDArray[Any], out: Any
    ) -> tuple[float, Gradients] | None:
        """Mean loss and gradient by a call that costs little; None if more is to be checked.

        ``out`` is filled, if it is an array that fits and there is nothing to be checked.
        """
        if X.ndim != 2 or len(X) not in self._grouped:
            return None
        given = few_samples(X, y, self.sizes[-1], self.loss_name, self.dtype)
        gradient = np.empty(self.size, self.dtype) if out is None else out
        if given is None or not is_buffer(gradient, self.dtype):
            return None
        loss = self._differentiate_few(*given, gradient)
        return None if math.isnan(loss) else (loss, self.views(gradient))

    def _differentiate_few(
        self,
        X: FloatArray,
        labels: NDArray[np.int64],
        targets: FloatArray,
        gradient: FloatArray,
    ) -> float:
        """`differentiate` of a few dense rows; NaN if something is wrong with any of these."""
        n = len(X)
        batch = self._taken("few gradient", n)
        if batch is None:
            batch = self._batch(n, False, False, "gradient")
        loss: float = kernels.differentiate_few(self.state, batch, X, labels, targets, gradient)
        self._kept["few gradient"] = n, batch
        return loss

    def _shared_gradient(
        self, batch: FloatArray, crew: Crew, gradient: FloatArray, samples: kernels.Samples
    ) -> float:
        """Sum of losses, from calls short enough for Ctrl-C, on several threads where that pays."""
        n = samples.inputs.n
        length = min(n, kernels.LONGEST_STRETCH)
        loss_sum = 0.0

        def work(start: int, stop: int, team: NDArray[np.int64]) -> None:
            nonlocal loss_sum
            loss_sum = kernels.train_minibatch(
                self.state, batch, gradient, samples, start, stop, loss_sum, team
            )

        for start, stop in paced(n, 6 * self.n_params, length):
            crew.share(work, start, stop, length)
        return loss_sum

    # Scratch ------------------------------------------------------------------------------------

    def _batch(self, n: int, is_listed: bool, is_sparse: bool, purpose: str) -> FloatArray:
        """Scratch for so many rows."""
        inputs = kernels.kind_of(is_listed, is_sparse)
        return kernels.make_batch(self.layout, n, self.dtype, inputs=inputs, purpose=purpose)

    def _taken(self, use: str, kind: Any) -> Any:
        """Take the last scratch for this use, if it is of this kind; others cannot take it then."""
        last, scratch = self._kept.pop(use, (None, None))
        return scratch if last == kind else None
