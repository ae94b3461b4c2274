"""The network: architecture and parameters, prediction, loss and gradient."""

from __future__ import annotations

import copy
import itertools
import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastbp import checks, html, kernels, keywords
from fastbp.gradient_check import GradientReport, compare
from fastbp.initializers import DEFAULTS, initial_weights
from fastbp.metrics import decided
from fastbp.objective import Objective
from fastbp.parameters import Evaluation, Gradients, Parameters
from fastbp.preparation import Preparation, Prepared
from fastbp.samples import (
    FloatArray,
    checked_buffer,
    checked_inputs,
    checked_samples,
    class_numbers,
    distinct_labels,
    row_for,
    row_of,
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
        self._describe(sizes, activation, loss, output, init, dtype, classes, preparation)
        generator = np.random.default_rng(checks.seed(seed))
        for name, W in zip(self.inits, self.weights, strict=True):
            W[...] = initial_weights(name, W.shape, generator)

    @classmethod
    def blank(
        cls,
        sizes: Any,
        *,
        activation: Any,
        loss: str,
        output: str | None,
        init: Any,
        dtype: DTypeLike,
        classes: Any = None,
        preparation: Preparation | None = None,
    ) -> Network:
        """A network whose parameters are zeros, for those of a file to take their place.

        Parameters and errors as `Network`. Memory is asked for when parameters are first used.
        """
        new = object.__new__(cls)
        new._describe(sizes, activation, loss, output, init, dtype, classes, preparation)
        return new

    def _describe(
        self,
        sizes: Any,
        activation: Any,
        loss: str,
        output: str | None,
        init: Any,
        dtype: Any,
        classes: Any,
        preparation: Preparation | None,
    ) -> None:
        """Check and keep what `__init__` is given."""
        self.loss_name = checks.choice("loss", loss, kernels.LOSSES)
        self.sizes = checks.layer_sizes(sizes, self.loss_name)
        hidden = checks.hidden_activations(activation, len(self.sizes) - 2)
        self.activations = (*hidden, checks.output_activation(output, self.loss_name))
        defaults = [DEFAULTS[name] for name in self.activations]
        self.inits = checks.initializers(init, defaults)
        self.dtype = checks.dtype(dtype)
        self.classes = checks.classes(classes, self.sizes[-1], self.loss_name)
        if preparation is not None:
            if not isinstance(preparation, Preparation):
                raise ValueError(
                    f"preparation must be a fastbp.Preparation, got {type(preparation).__name__}."
                )
            preparation.check_fits(self.sizes[0], self.sizes[-1], self.loss_name)
        # Its own, for the caller may fit theirs to other rows, as for the next network.
        self.preparation = copy.copy(preparation)
        self._begin()

    def _begin(self) -> None:
        """Zeros for parameters, once the architecture is known."""
        self.parameters = Parameters(self.sizes, self.activations, self.loss_name, self.dtype)
        self.trained_by: dict[str, Any] = {}  # who is training it: see `Trainer`

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__:
            raise AttributeError(f"Network.{name} cannot be set; make a new Network.")
        super().__setattr__(name, value)

    # Arrays are handed out as new views: callers can set the shape and the dtype of an array, and
    # kernels rely on those of ours.

    @property
    def layout(self) -> kernels.Layout:
        """Where each parameter lies in `params`."""
        sizes, strides, blocks, units, activations, loss = self.parameters.layout
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
        return self.parameters.flat.view()

    @property
    def weights(self) -> tuple[FloatArray, ...]:
        """Weights of each layer as writable (n_out, n_in) views of `params`."""
        return self.parameters.weights

    @property
    def biases(self) -> tuple[FloatArray, ...]:
        """Biases of each layer as writable (n_out,) views of `params`."""
        return self.parameters.biases

    @property
    def n_params(self) -> int:
        """Number of weights and biases, the padding of `params` not counted."""
        return self.parameters.n_params

    @property
    def is_classifier(self) -> bool:
        """Whether predictions are classes or labels."""
        return self.parameters.is_classifier

    def first_nonfinite_layer(self) -> int | None:
        """Number, from 1, of the first layer with a non-finite parameter; None if there is none."""
        return self.parameters.first_nonfinite_layer()

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
            the place of their numbers; with targets that a ``preparation`` has scaled, outputs are
            float64 in the targets' unit.

        Raises
        ------
        ValueError
            If X has the wrong width or holds anything but finite real numbers, or if an output is
            not finite.
        """
        predicted = self.predictions(self.outputs(X))
        return predicted if self.classes is None else np.array(self.classes)[predicted]

    def predict_one(self, x: Any, out: FloatArray | None = None) -> FloatArray:
        """Outputs for one row, much sooner than by `predict`.

        Parameters
        ----------
        x : array-like of shape (n_inputs,)
            An array of the network's dtype needs no conversion.
        out : array of shape (n_outputs,), optional
            Where to write them: C-contiguous, of the network's dtype.

        Returns
        -------
        array of shape (n_outputs,)
            Probabilities of the classes or labels, for a classifier. With a ``preparation``, ``x``
            is a raw row, and outputs are in the unit of its targets.

        Raises
        ------
        ValueError
            If ``x`` or ``out`` does not fit the network, or if an output is not finite.

        Notes
        -----
        A network of more than 256 KiB, or with a ``preparation``, takes the time of `predict`.
        """
        result = row_for(out, self.sizes[-1], self.dtype)
        if self.preparation is not None or not self.parameters.is_small:
            outputs = self.outputs([x])
            if self.preparation is not None and not self.is_classifier:
                outputs = self.preparation.restore_target(outputs)
            result[:] = outputs[0]
            return result if out is None else out
        row = row_of(x, self.dtype)
        try:
            kernels.predict_one(self.parameters.loaded_state, row, result)
        except ValueError:
            self.outputs(row[np.newaxis])  # which says what is wrong
            raise
        return result if out is None else out

    def predictions(self, outputs: FloatArray) -> NDArray[Any]:
        """What `predict` makes of `outputs`, before classes get their labels."""
        made: NDArray[Any] = outputs
        if self.parameters.is_classifier:
            made = decided(outputs, self.loss_name == "cross_entropy")
        elif self.preparation is not None:
            made = self.preparation.restore_target(outputs)
        return made[:, 0] if self.sizes[-1] == 1 else made

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Probability of each class or label, (n_samples, n_outputs), in the network's dtype.

        On x86, probabilities below the smallest normal number of the dtype are 0.

        Parameters
        ----------
        X : array-like, data frame or scipy.sparse matrix of shape (n_samples, n_inputs)
            As `predict`.

        Returns
        -------
        array of shape (n_samples, n_outputs)
            Of the network's dtype.

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
        return self.outputs(X)

    def outputs(self, X: ArrayLike, n_threads: int | None = None, check: bool = True) -> FloatArray:
        """Outputs of raw rows, (n_samples, n_outputs), in the network's dtype.

        Parameters
        ----------
        X : array-like, data frame or scipy.sparse matrix of shape (n_samples, sizes[0])
            As `predict`.
        n_threads : int, optional
            By default as many as pay.
        check : bool, default True
            Whether X and the outputs must be finite.

        Raises
        ------
        ValueError
            If X has the wrong width or is not finite, or an output is not.
        """
        if self.preparation is not None:
            X = self.prepared(X)
        inputs = checked_inputs(X, self.sizes[0], self.dtype, whole=False)
        return self.parameters.outputs(inputs, n_threads, check, X)

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

        Returns
        -------
        Evaluation
            ``loss`` and ``accuracy``, which is None for a regression.

        Raises
        ------
        ValueError
            If an argument does not fit the network, or if an output is not finite.
        """
        prepared = self.prepared(X)
        samples = self.samples_of(prepared, y, sample_weight, whole=False)
        return self.parameters.evaluate(samples, None, prepared)

    def loss(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Mean loss, without weight decay; arguments and errors as `evaluate`.

        Parameters
        ----------
        X : array-like, data frame or scipy.sparse matrix of shape (n_samples, n_inputs)
            As `evaluate`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Likewise.
        sample_weight : array-like of shape (n_samples,), optional
            Likewise.

        Returns
        -------
        float
            The mean.
        """
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
        X : array-like, data frame or scipy.sparse matrix of shape (n_samples, n_inputs)
            As `evaluate`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Likewise.
        out : array of params' shape and dtype, optional
            Where to write the gradient, as one flat vector laid out as `params`; make it with
            ``numpy.empty_like(network.params)``.
        sample_weight : array-like of shape (n_samples,), optional
            As `evaluate`.

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
        own = self.parameters
        is_bare = self.preparation is None and self.classes is None and sample_weight is None
        if is_bare and type(X) is type(y) is np.ndarray:
            quick = own.quick_gradient(X, y, out)
            if quick is not None:
                return quick
        samples = self.samples(X, y, sample_weight)
        if out is None:
            gradient = np.empty(own.size, self.dtype)
        else:
            gradient = checked_buffer(out, own.flat, samples)
        loss = own.differentiate(samples, gradient)
        return loss, own.views(gradient)

    def views(self, flat: FloatArray) -> Gradients:
        """Weights and biases of each layer as views of any vector laid out as `params`.

        Parameters
        ----------
        flat : array of params' shape
            A gradient, a step, another set of parameters. The other way round needs no call:
            ``network.params`` is the flat vector of ``network.weights`` and ``network.biases``.

        Returns
        -------
        Gradients
            ``weights`` and ``biases``, a tuple each.

        Raises
        ------
        ValueError
            If it is not an array of that shape.
        """
        shape = self.parameters.flat.shape
        if not isinstance(flat, np.ndarray) or flat.shape != shape:
            given = f"shape {flat.shape}" if isinstance(flat, np.ndarray) else type(flat).__name__
            raise ValueError(f"flat must be an array of params' shape {shape}, got {given}.")
        return self.parameters.views(flat)

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
        X : array-like, data frame or scipy.sparse matrix of shape (n_samples, n_inputs)
            As `evaluate`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Likewise.
        sample_weight : array-like of shape (n_samples,), optional
            Likewise.
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
        decay = checks.rate("weight_decay", weight_decay, self.dtype, zero=True)
        return Objective(self, self.samples(X, y, sample_weight), weight_decay=decay)

    def check_gradients(self, X: ArrayLike, y: ArrayLike) -> GradientReport:
        """Compare backpropagation with central differences taken in float64.

        Parameters
        ----------
        X : array-like, data frame or scipy.sparse matrix of shape (n_samples, n_inputs)
            As `evaluate`. A few rows are enough: the loss is computed some hundred times a layer.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Likewise.

        Returns
        -------
        GradientReport
            Prints as a table; ``.ok`` and ``.max_error`` sum it up.

        Raises
        ------
        ValueError
            If an argument does not fit the network.
        """
        _, gradients = self.value_and_grad(X, y)
        exact = self.copy(dtype="float64")
        return compare(gradients, exact.parameters, exact.samples(X, y))

    # Raw rows to samples ------------------------------------------------------------------------

    def samples(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        prefix: str = "",
    ) -> kernels.Samples:
        """Raw rows and targets as kernels take them; arguments and errors as `evaluate`.

        ``prefix`` goes before the X and y of messages.
        """
        return self.samples_of(self.prepared(X, prefix), y, sample_weight, prefix)

    def prepared(self, X: ArrayLike, prefix: str = "") -> ArrayLike:
        """Raw rows as ``preparation`` makes inputs of them; without one, as they are.

        ``prefix`` goes before the X of messages.
        """
        if isinstance(X, Prepared):
            return X.view(np.ndarray)
        if self.preparation is None:
            return X
        return self.preparation.transform(X, self.dtype, f"{prefix}X")

    def samples_of(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        prefix: str = "",
        *,
        whole: bool = True,
    ) -> kernels.Samples:
        """Rows that `prepared` has made, and targets, as kernels take them.

        With ``whole=False`` dense rows and targets are converted block by block when they are used;
        rows are checked only then. See `samples` for the rest.
        """
        if self.classes is not None:
            y = class_numbers(f"{prefix}y", y, self.classes)
        elif self.preparation is not None and self.preparation.scales_targets:
            y = self.preparation.transform_target(y, f"{prefix}y")
        return checked_samples(
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
            found = distinct_labels("y", y, self.sizes[-1], self.loss_name)
        numbers = y if found is None else class_numbers("y", y, found)
        samples = self.samples(X, numbers, sample_weight)
        if found is not None:
            self._name_classes(found)
        return samples

    def name_classes(self, y: ArrayLike) -> None:
        """Make text in y `classes`, if there are none: for rows that come in parts.

        Raises
        ------
        ValueError
            If there are not as many as there should be.
        """
        if self.classes is None:
            found = distinct_labels("y", y, self.sizes[-1], self.loss_name)
            if found is not None:
                self._name_classes(found)

    def _name_classes(self, classes: tuple[Any, ...]) -> None:
        vars(self)["classes"] = classes
        self.parameters.ready_for = None  # what is ready for class numbers would take them still

    # Copies and text ----------------------------------------------------------------------------

    def copy(self, dtype: DTypeLike | None = None) -> Network:
        """Independent copy, in another dtype if one is given.

        Parameters
        ----------
        dtype : {"float32", "float64"}, optional
            By default the network's own.

        Returns
        -------
        Network
            It shares no memory with this one.

        Raises
        ------
        ValueError
            If the dtype is not one of those allowed, or a parameter overflows in it.
        """
        new = object.__new__(type(self))
        state = self.__getstate__()
        if dtype is None or checks.dtype(dtype) == self.dtype:
            new.__setstate__(state)
            return new
        del state["state"]
        new.__setstate__(state | {"dtype": dtype, "weights": self.weights, "biases": self.biases})
        for name in ("weights", "biases"):
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
            "state": self.parameters.kept(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Views and their alignment would not survive a plain copy of the attributes.
        self.sizes = state["sizes"]
        self.activations = state["activations"]
        self.loss_name = state["loss_name"]
        self.inits = state["inits"]
        self.dtype = checks.dtype(state["dtype"])
        self.classes = state.get("classes")
        self.preparation = copy.copy(state.get("preparation"))
        self._begin()
        if "state" in state:
            self.parameters.restore(state["state"])
            return
        # Of another dtype, or pickled before there was one state.
        with np.errstate(all="ignore"):
            for ours, theirs in zip(self.weights, state["weights"], strict=True):
                ours[...] = theirs
            for ours, theirs in zip(self.biases, state["biases"], strict=True):
                ours[...] = theirs

    def save(self, path: str | os.PathLike[str], *, extra: dict[str, Any] | None = None) -> None:
        """Write the network to a model file: `fastbp.save` has the arguments and errors.

        Parameters
        ----------
        path : path-like
            Where to write it.
        extra : dict, optional
            What JSON can hold, for `fastbp.read_header` to find.
        """
        from fastbp.storage import save  # which makes networks, and so is imported by its callers

        save(self, path, extra=extra)

    def summary(self) -> str:
        """Table of the layers: shape, activation, initialisation, number of parameters.

        Returns
        -------
        str
            To be printed.
        """
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
        shapes = itertools.pairwise(self.sizes)
        layers = zip(shapes, self.activations, self.inits, strict=True)
        for i, ((n_in, n_out), activation, init) in enumerate(layers, start=1):
            rows.append((str(i), f"{n_in} → {n_out}", activation, init, f"{(n_in + 1) * n_out:,}"))
        return rows

    def _total(self) -> str:
        return f"{self.n_params:,} parameters, {self.dtype}, loss {self.loss_name}"

    def _repr_html_(self) -> str:
        """What notebooks show: a table of the layers."""
        parts = [f"Network: {self._total()}"]
        if self.classes is not None:
            first = ", ".join(checks.shown(label) for label in self.classes[:10])
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
