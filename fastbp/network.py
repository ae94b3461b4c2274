"""The network: architecture and parameters, prediction, loss and gradient."""

from __future__ import annotations

import copy
import math
import os
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastbp import html, kernels, keywords, plan, threads, validation
from fastbp.gradient_check import GradientReport, check_gradients
from fastbp.initializers import DEFAULTS, initial_weights
from fastbp.objective import Objective
from fastbp.preparation import Preparation
from fastbp.validation import FloatArray


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


# Stand-ins for what predictions do without.
_NO_LABELS = kernels.read_only(np.empty(0, np.int64))
_NO_WEIGHTS = kernels.read_only(np.empty(0))


def _of_rows(
    samples: kernels.Samples, start: int, stop: int, dtype: np.dtype[Any], given: Any, check: bool
) -> kernels.Samples:
    """Samples start to stop as kernels take them; ``given`` is X as the caller passed it."""
    inputs = samples.inputs
    if inputs.is_sparse:
        inputs = inputs._replace(indptr=inputs.indptr[start : stop + 1])
    else:
        X = validation.rows(inputs.X, start, stop, dtype, given, check)
        inputs = kernels.dense_inputs(X)
    return samples._replace(
        inputs=inputs,
        labels=samples.labels[start:stop],
        targets=validation.plain(samples.targets[start:stop], dtype),
        weights=samples.weights[start:stop],
    )


class Network:
    """A multi-layer perceptron.

    Parameters
    ----------
    sizes : sequence of int
        Units of each layer, the inputs first and the outputs last. Two entries make a linear
        model, or softmax regression.
    activation : str or sequence of str, default "relu"
        Activation of every hidden layer, or one per hidden layer: identity, relu, leaky_relu,
        elu, tanh, sigmoid, softplus, gelu, gelu_tanh or silu, with torch.nn's formulas.
    loss : str, default "cross_entropy"
        cross_entropy (classes), binary_cross_entropy (independent labels), squared_error
        (½ Σ (a − y)²), huber, absolute_error or poisson. Every loss sums over a sample's outputs
        and averages over samples.
    output : str, optional
        Activation of the output layer. By default the loss's own: softmax, sigmoid, exp, or
        identity.
    init : str or sequence of str, optional
        he_normal, he_uniform, glorot_normal, glorot_uniform, lecun_normal or lecun_uniform, for
        every layer or one per layer; by default chosen by each layer's activation. Biases start
        at zero.
    dtype : {"float32", "float64"}, default "float32"
        Of parameters and of all arithmetic. Loss values are float64 always.
    seed : int, optional
        Of the initial weights: the same on every machine, and for both dtypes.
    classes : sequence, optional
        Labels of the classes, all text or all numbers, in the order of their numbers: then y holds
        labels, and `predict` gives them. `Trainer.fit` sets them, sorted, if y is text.
    preparation : Preparation, optional
        Fitted to raw rows; it must give as many inputs as the network has. Then every X holds raw
        rows. If it was fitted to targets too, every y is in their unit, and so is what `predict`
        gives; losses stay those of the scaled targets. The network keeps a copy.

    Attributes
    ----------
    sizes : tuple of int
    activations : tuple of str
        One per layer, the output's last.
    loss_name : str
    inits : tuple of str
        One per layer.
    dtype : numpy.dtype
    classes : tuple or None
    preparation : Preparation or None

    Raises
    ------
    ValueError
        If an argument is not one of those allowed; the message says which are.

    Notes
    -----
    No attribute can be set, because kernels rely on them. Parameters are changed through the
    views. Each access gives a new view, so setting its shape or a flag does not touch the network.

    Examples
    --------
    >>> network = Network((2, 8, 1), activation="tanh", loss="squared_error", seed=0)
    >>> network.predict([[0.0, 0.0], [1.0, 1.0]]).shape
    (2,)
    """

    @keywords.hinted
    def __init__(
        self,
        sizes: Any,
        *,
        activation: Any = "relu",
        loss: str = "cross_entropy",
        output: str | None = None,
        init: Any = None,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
        classes: Any = None,
        preparation: Preparation | None = None,
    ) -> None:
        self._describe(sizes, activation, loss, output, init, dtype)
        self._describe_data(classes, preparation)
        self._allocate()
        generator = np.random.default_rng(validation.seed(seed))
        for name, W in zip(self.inits, self.weights, strict=True):
            W[...] = initial_weights(name, W.shape, generator)

    def _describe(
        self, sizes: Any, activation: Any, loss: str, output: str | None, init: Any, dtype: Any
    ) -> None:
        """Check and keep what `__init__` is given; there are no parameters yet."""
        self.loss_name = validation.choice("loss", loss, kernels.LOSSES)
        self.sizes = validation.layer_sizes(sizes, self.loss_name)
        hidden = validation.hidden_activations(activation, len(self.sizes) - 2)
        self.activations = (*hidden, validation.output_activation(output, self.loss_name))
        defaults = [DEFAULTS[name] for name in self.activations]
        self.inits = validation.initializers(init, defaults)
        self.dtype = validation.dtype(dtype)

    def _describe_data(self, classes: Any, preparation: Preparation | None) -> None:
        """Check and keep what becomes of X before the inputs, and of outputs for `predict`."""
        self.classes = validation.classes(classes, self.sizes[-1], self.loss_name)
        if preparation is not None:
            if not isinstance(preparation, Preparation):
                raise ValueError(
                    f"preparation must be a fastbp.Preparation, got {type(preparation).__name__}."
                )
            preparation.check_fits(self.sizes[0], self.sizes[-1], self.loss_name)
        # Its own, for the caller may fit theirs to other rows, as for the next network.
        self.preparation = copy.copy(preparation)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__:
            raise AttributeError(f"Network.{name} cannot be set; make a new Network.")
        super().__setattr__(name, value)

    def _allocate(self) -> None:
        self._layout = kernels.make_layout(self.sizes, self.activations, self.loss_name, self.dtype)
        self._buffer = kernels.aligned_zeros(int(self._layout.blocks[-1]), self.dtype)
        self._kept: dict[Any, Any] = {}
        self.trained_by: dict[str, Any] = {}  # who is training it: see `Trainer`

    # Arrays are handed out as new views: callers can set the shape and the dtype of an array, and
    # kernels rely on those of ours.

    @property
    def layout(self) -> kernels.Layout:
        """Where each parameter lies in `params`."""
        sizes, strides, blocks, units, activations, loss = self._layout
        return kernels.Layout(
            sizes.view(), strides.view(), blocks.view(), units.view(), activations.view(), loss
        )

    # Parameters ---------------------------------------------------------------------------------

    @property
    def params(self) -> FloatArray:
        """All parameters as one flat writable vector; `weights` and `biases` are views of it.

        It holds zeros besides, which pad each row to whole SIMD vectors and must stay zero; a
        gradient has zeros in the same places. Assign with ``network.params[:] = ...``.
        """
        return self._buffer.view()

    @property
    def weights(self) -> tuple[FloatArray, ...]:
        """Weights of each layer as writable (n_out, n_in) views of `params`."""
        return kernels.layer_views(self._buffer, self._layout)[0]

    @property
    def biases(self) -> tuple[FloatArray, ...]:
        """Biases of each layer as writable (n_out,) views of `params`."""
        return kernels.layer_views(self._buffer, self._layout)[1]

    @property
    def n_params(self) -> int:
        """Number of weights and biases, the padding of `params` not counted."""
        return sum((n_in + 1) * n_out for n_in, n_out in self._shapes())

    @property
    def is_classifier(self) -> bool:
        """Whether predictions are classes or labels."""
        return self.loss_name in kernels.CLASSIFICATION

    def _shapes(self) -> list[tuple[int, int]]:
        return list(zip(self.sizes[:-1], self.sizes[1:], strict=True))

    def first_nonfinite_layer(self) -> int | None:
        """Number, from 1, of the first layer with a non-finite parameter; None if there is none."""
        blocks = self._layout.blocks
        place = kernels.first_nonfinite(self._buffer, 0, self._buffer.size)
        return None if place < 0 else int(np.searchsorted(blocks, place, side="right"))

    @np.errstate(all="ignore")
    def _penalty(self, weight_decay: float, l1: float) -> float:
        """½ λ ‖W‖² + λ₁ Σ|w| of all weights."""
        penalty = 0.0
        for W in self.weights if weight_decay > 0 or l1 > 0 else ():
            # Squares of weights up to 1 do not overflow.
            largest = float(np.abs(W).max()) or 1.0
            W = W / W.dtype.type(largest)
            root = math.sqrt(0.5 * weight_decay) * largest
            penalty += root * root * float(np.vdot(W, W)) + l1 * largest * float(np.abs(W).sum())
        return penalty

    # Use ----------------------------------------------------------------------------------------

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict.

        Parameters
        ----------
        X : array-like, data frame or scipy.sparse matrix of shape (n_samples, sizes[0])
            Of any real dtype; what is not of the network's is converted block by block.

        Returns
        -------
        array
            int64 class numbers (n_samples,) for cross_entropy; 0 or 1 for each output,
            (n_samples, n_outputs), for binary_cross_entropy; otherwise the outputs. With a
            single output, labels and outputs have shape (n_samples,). With `classes`, labels take
            the place of their numbers; with targets that a `preparation` has scaled, outputs are
            float64 in the targets' unit.

        Raises
        ------
        ValueError
            If X has the wrong width or holds anything but finite real numbers, or if an output is
            not finite.
        """
        predicted = self._predictions(self._outputs(X))
        return predicted if self.classes is None else np.array(self.classes)[predicted]

    def _predictions(self, outputs: FloatArray) -> NDArray[Any]:
        """What `predict` makes of outputs, before classes get their labels."""
        if self.loss_name == "cross_entropy":
            classes: NDArray[np.int64] = np.argmax(outputs, axis=1)
            return classes
        if self.is_classifier:
            outputs = (outputs > 0.5).astype(np.int64)
        elif self.preparation is not None:
            outputs = self.preparation.restore_target(outputs)
        return outputs[:, 0] if self.sizes[-1] == 1 else outputs

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Probability of each class or label, (n_samples, n_outputs), in the network's dtype.

        Raises
        ------
        ValueError
            If the network is a regression, or as `predict`.
        """
        if not self.is_classifier:
            raise ValueError(
                f"predict_proba needs the loss {' or '.join(kernels.CLASSIFICATION)}; this "
                f"network's is {self.loss_name}: call predict."
            )
        return self._outputs(X)

    def _outputs(
        self, X: ArrayLike, n_threads: int | None = None, check: bool = True
    ) -> FloatArray:
        """Outputs; with ``check``, both they and X must be finite."""
        X = self._prepared(X)
        checked = validation.inputs(X, self.sizes[0], self.dtype, whole=False)
        outputs = np.empty((checked.n, self.sizes[-1]), self.dtype)
        samples = kernels.Samples(checked, _NO_LABELS, kernels.read_only(outputs[:0]), _NO_WEIGHTS)
        self._infer(samples, outputs, n_threads, check, X)
        if check:
            self._check_outputs(outputs)
        return outputs

    def _check_outputs(self, outputs: FloatArray) -> None:
        """Refuse outputs of NaN or infinity, from which no prediction can be made."""
        place = kernels.first_nonfinite(outputs.reshape(-1), 0, outputs.size)
        if place < 0:
            return
        check_params(self)
        row, column = divmod(place, self.sizes[-1])
        raise ValueError(
            f"outputs must be finite, got {outputs[row, column]} for row {row} of X, whose numbers "
            f"are too large for this network in {self.dtype}."
        )

    def evaluate(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Evaluation:
        """Mean loss and accuracy.

        Parameters
        ----------
        X : array-like, data frame or scipy.sparse matrix of shape (n_samples, sizes[0])
            As `predict`.
        y : array-like
            Class numbers (n_samples,), or target rows (n_samples, n_outputs); (n_samples,) is
            the same as (n_samples, 1).
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the loss's average. The accuracy counts every row once.

        Raises
        ------
        ValueError
            If an argument does not fit the network, or if an output is not finite.
        """
        prepared = self._prepared(X)
        samples = self._samples_of(prepared, y, sample_weight, whole=False)
        result = self._evaluate(samples, None, prepared)
        if not math.isfinite(result.loss):
            self._check_outputs(self._outputs(X, check=False))
        return result

    def _evaluate(
        self,
        samples: kernels.Samples,
        n_threads: int | None = None,
        given: Any = None,
        outputs: FloatArray | None = None,
    ) -> Evaluation:
        """Mean loss and accuracy, both NaN where an output is not finite.

        ``given`` is X, if its rows are still to be checked. ``outputs`` is filled, if there is one.
        """
        n = samples.inputs.n
        wanted = np.empty((0, self.sizes[-1]), self.dtype) if outputs is None else outputs
        loss_sum, n_correct = self._infer(samples, wanted, n_threads, given is not None, given)
        loss, accuracy = loss_sum / n, n_correct / n if self.is_classifier else None
        if not math.isfinite(loss):  # an output that is not finite has no finite loss
            if outputs is None:
                outputs = np.empty((n, self.sizes[-1]), self.dtype)
                self._infer(samples, outputs, n_threads)
            if not np.isfinite(outputs).all():
                return Evaluation(np.nan, None if accuracy is None else np.nan)
        return Evaluation(loss, accuracy)

    def _infer(
        self,
        samples: kernels.Samples,
        outputs: FloatArray,
        n_threads: int | None = None,
        check: bool = False,
        given: Any = None,
    ) -> tuple[float, int]:
        """Fill ``outputs``, unless it has no rows; sums of losses and of correct predictions.

        Blocks of rows go to threads of Python's, for kernels hold no lock; where blocks begin
        follows from sizes alone, so the sums are the same for any number of threads. Dense rows and
        targets are converted block by block, if need be; ``given`` is X as the caller passed it.
        """
        inputs = samples.inputs
        n, is_sparse = inputs.n, inputs.is_sparse
        is_listed = plan.lists_zeros(self._layout, self.dtype, inputs)
        length = min(n, kernels.LONGEST_STRETCH)
        key = ("infer", length, is_listed, is_sparse)
        spare = self._kept.pop(key, [])
        converts = not (
            validation.is_plain(inputs.X, self.dtype)
            and validation.is_plain(samples.targets, self.dtype)
        )
        # The kernel checks rows that need no conversion itself, while they are in the cache.
        checks = check and not (is_sparse or converts)

        def block(start: int, stop: int) -> tuple[float, int]:
            try:
                batch = spare.pop()
            except IndexError:
                batch = kernels.make_batch(
                    self._layout,
                    length,
                    self.dtype,
                    is_listed=is_listed,
                    is_sparse=is_sparse,
                    trains=False,
                )
            part, out, first, last = samples, outputs, start, stop
            if converts:
                part = _of_rows(samples, start, stop, self.dtype, given, check)
                out, first, last = outputs[start:stop], 0, stop - start
            loss_sum, n_correct, is_finite = kernels.infer(
                self._buffer, self._layout, batch, part, kernels.IN_ORDER, first, last, out,
                checks, 0.0, 0,
            )  # fmt: skip
            spare.append(batch)
            if not is_finite:
                validation.rows(inputs.X, start, stop, self.dtype, given)
                raise ValueError("X must not change while it is used.")
            return loss_sum, n_correct

        sums = threads.spread(block, n, 2 * self._buffer.size, n_threads)
        self._keep(key, spare)
        return sum(loss for loss, _ in sums), sum(n_correct for _, n_correct in sums)

    def _keep(self, key: Any, scratch: Any) -> None:
        """Keep scratch for the next call of its kind; only one, and never one in use."""
        self._kept.clear()
        self._kept[key] = scratch

    def loss(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Mean loss, without weight decay; arguments and errors as `evaluate`."""
        return self.evaluate(X, y, sample_weight).loss

    def value_and_grad(
        self,
        X: ArrayLike,
        y: ArrayLike,
        out: FloatArray | None = None,
        *,
        sample_weight: ArrayLike | None = None,
    ) -> tuple[float, Gradients]:
        """Mean loss and its gradient, without weight decay; not finite where they overflow.

        Parameters
        ----------
        X, y, sample_weight
            As `evaluate`.
        out : array of params' shape and dtype, optional
            Where to write the gradient, as one flat vector laid out as `params`; make it with
            ``numpy.empty_like(network.params)``.

        Returns
        -------
        loss : float
        gradients : Gradients
            ``weights`` and ``biases`` shaped as the network's own; views of ``out``.

        Raises
        ------
        ValueError
            If an argument does not fit the network.
        """
        samples = self._samples(X, y, sample_weight)
        if out is None:
            gradient = kernels.aligned_zeros(self._buffer.size, self.dtype)
        else:
            gradient = validation.gradient_buffer(out, self._buffer, *samples.inputs, *samples[1:4])
        objective = Objective(self, samples)
        loss = objective.differentiate(gradient)
        objective.release()
        return loss, Gradients(*kernels.layer_views(gradient, self._layout))

    def views(self, flat: FloatArray) -> Gradients:
        """Weights and biases of each layer as views of any vector laid out as `params`.

        Parameters
        ----------
        flat : array of params' shape
            A gradient, a step, another set of parameters. The other way round needs no call:
            ``network.params`` is the flat vector of ``network.weights`` and ``network.biases``.

        Raises
        ------
        ValueError
            If it is not an array of that shape.
        """
        if not isinstance(flat, np.ndarray) or flat.shape != self._buffer.shape:
            given = f"shape {flat.shape}" if isinstance(flat, np.ndarray) else type(flat).__name__
            raise ValueError(
                f"flat must be an array of params' shape {self._buffer.shape}, got {given}."
            )
        return Gradients(*kernels.layer_views(flat, self._layout))

    def objective(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        weight_decay: float = 0.0,
    ) -> Objective:
        """Mean loss of these data as a function of the flat parameters, for an optimizer's use.

        >>> from scipy.optimize import minimize
        >>> network = Network((2, 4, 2), activation="tanh", dtype="float64", seed=0)
        >>> f = network.objective([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])
        >>> network.params[:] = minimize(f, network.params, jac=True, method="L-BFGS-B").x

        Parameters
        ----------
        X, y, sample_weight
            As `evaluate`.
        weight_decay : float, default 0.0
            λ of the penalty ½ λ ‖W‖², which is added to the loss: weights only, never biases.

        Returns
        -------
        Objective
            ``f(params)`` sets the network's parameters, and returns the loss and a new gradient
            vector.

        Raises
        ------
        ValueError
            If an argument does not fit the network.
        """
        decay = validation.rate("weight_decay", weight_decay, self.dtype, zero=True)
        return Objective(self, self._samples(X, y, sample_weight), weight_decay=decay)

    def check_gradients(self, X: ArrayLike, y: ArrayLike) -> GradientReport:
        """Compare backpropagation with central differences taken in float64.

        Parameters
        ----------
        X, y
            As `evaluate`. A few rows are enough: the loss is computed some hundred times a layer.

        Returns
        -------
        GradientReport
            Prints as a table; ``.ok`` and ``.max_error`` sum it up.

        Raises
        ------
        ValueError
            If an argument does not fit the network.
        """
        return check_gradients(self, X, y)

    def _samples(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        prefix: str = "",
    ) -> kernels.Samples:
        """Raw rows and targets as kernels take them."""
        return self._samples_of(self._prepared(X, prefix), y, sample_weight, prefix)

    def _prepared(self, X: ArrayLike, prefix: str = "") -> ArrayLike:
        if self.preparation is None:
            return X
        return self.preparation.transform(X, self.dtype, f"{prefix}X")

    def _samples_of(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        prefix: str = "",
        *,
        whole: bool = True,
    ) -> kernels.Samples:
        """Prepared rows, and targets as the caller has them, as kernels take them."""
        if self.classes is not None:
            y = validation.numbered(f"{prefix}y", y, self.classes)
        elif self.preparation is not None and self.preparation.scales_targets:
            y = self.preparation.transform_target(y, f"{prefix}y")
        return validation.samples(
            X, y, self.sizes, self.loss_name, self.dtype, sample_weight, prefix, whole=whole
        )

    def training_samples(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> kernels.Samples:
        """Rows to train on, as kernels take them; text in y becomes `classes`, if there are none.

        Raises
        ------
        ValueError
            If an argument does not fit the network, which is untouched then.
        """
        found = None
        if self.classes is None:
            found = validation.distinct_labels("y", y, self.sizes[-1], self.loss_name)
        numbers = y if found is None else validation.numbered("y", y, found)
        samples = self._samples(X, numbers, sample_weight)
        if found is not None:
            vars(self)["classes"] = found
        return samples

    # Copies and text ----------------------------------------------------------------------------

    def copy(self, dtype: DTypeLike | None = None) -> Network:
        """Independent copy, in another dtype if one is given.

        Raises
        ------
        ValueError
            If the dtype is not one of those allowed, or a parameter overflows in it.
        """
        new = object.__new__(type(self))
        with np.errstate(over="ignore", under="ignore"):
            new.__setstate__(self.__getstate__() | ({} if dtype is None else {"dtype": dtype}))
        for name in ("weights", "biases") if new.dtype != self.dtype else ():
            for l, (old, its) in enumerate(
                zip(getattr(self, name), getattr(new, name), strict=True)
            ):
                if (overflown := np.isfinite(old) & ~np.isfinite(its)).any():
                    raise ValueError(
                        f"{name}[{l}] must be finite in {new.dtype} to be copied, got "
                        f"{old[overflown][0]}."
                    )
        return new

    def __copy__(self) -> Network:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Network:
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "sizes": self.sizes,
            "activations": self.activations,
            "loss_name": self.loss_name,
            "inits": self.inits,
            "dtype": self.dtype.name,
            "classes": self.classes,
            "preparation": self.preparation,
            "weights": self.weights,
            "biases": self.biases,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Views and their alignment would not survive a plain copy of the attributes.
        self.sizes = state["sizes"]
        self.activations = state["activations"]
        self.loss_name = state["loss_name"]
        self.inits = state["inits"]
        self.dtype = validation.dtype(state["dtype"])
        self.classes = state.get("classes")
        self.preparation = copy.copy(state.get("preparation"))
        self._allocate()
        with np.errstate(all="ignore"):
            for ours, theirs in zip(self.weights, state["weights"], strict=True):
                ours[...] = theirs
            for ours, theirs in zip(self.biases, state["biases"], strict=True):
                ours[...] = theirs

    def save(self, path: str | os.PathLike[str], *, extra: dict[str, Any] | None = None) -> None:
        """Write the network to a model file: `fastbp.save` has the arguments and errors."""
        from fastbp.storage import save  # which makes networks, and so is imported by its callers

        save(self, path, extra=extra)

    def summary(self) -> str:
        """Table of the layers: shape, activation, initialisation, number of parameters."""
        rows = self._layer_rows()
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = [
            "  ".join(
                cell.rjust(width) if i == 4 else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        return "\n".join([*lines, self._total()])

    def _layer_rows(self) -> list[tuple[str, ...]]:
        """A head and a row for each layer."""
        rows: list[tuple[str, ...]] = [("layer", "shape", "activation", "init", "parameters")]
        layers = zip(self._shapes(), self.activations, self.inits, strict=True)
        for i, ((n_in, n_out), activation, init) in enumerate(layers, start=1):
            rows.append((str(i), f"{n_in} → {n_out}", activation, init, f"{(n_in + 1) * n_out:,}"))
        return rows

    def _total(self) -> str:
        return f"{self.n_params:,} parameters, {self.dtype}, loss {self.loss_name}"

    def _repr_html_(self) -> str:
        """What notebooks show: a table of the layers."""
        parts = [f"Network: {self._total()}"]
        if self.classes is not None:
            first = ", ".join(validation.shown(label) for label in self.classes[:10])
            parts.append(f"classes {first}{', …' if len(self.classes) > 10 else ''}")
        if self.preparation is not None:
            n_raw = len(self.preparation.columns)
            parts.append(f"inputs prepared from {n_raw:,} column{'s' * (n_raw != 1)}")
        head, *rows = self._layer_rows()
        return html.table(head, rows, "; ".join(parts))

    def __repr__(self) -> str:
        hidden = self.activations[:-1]
        return (
            f"Network({self.sizes}, activation={hidden}, loss={self.loss_name!r}, "
            f"output={self.activations[-1]!r}, dtype={self.dtype.name!r})"
        )


def check_params(network: Network) -> None:
    """Refuse parameters that are not finite."""
    if (layer := network.first_nonfinite_layer()) is not None:
        raise ValueError(f"network.params must be finite, got NaN or infinity in layer {layer}.")
