"""The trainer: options, a network, and what carries on from fit to fit."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastbp import checks, kernels, keywords, optimizers, streaming
from fastbp.callbacks import Callback
from fastbp.evaluation import Predicting
from fastbp.fitting import Asked, Workings, prepared, weighted
from fastbp.history import History
from fastbp.mapped import exceeds_memory
from fastbp.moments import OptimizerState
from fastbp.network import Network
from fastbp.options import OPTIONS, Configured, Options, shown_options
from fastbp.running import Stream
from fastbp.samples import row_of
from fastbp.single import no_step, step_of
from fastbp.watching import stopped_at


class Trainer(Configured, Predicting):
    """Trains a network in place by stochastic gradient descent, exactly as the textbook writes it.

    For each batch, W ← W − η (∂loss/∂W + λ W) and b ← b − η ∂loss/∂b with the mean gradient of its
    samples, or what another optimizer makes of that gradient.

    Parameters
    ----------
    network : Network
        Trained in place.
    optimizer : str or Optimizer, default "sgd"
        One of `fastbp.optimizers`, or a name for its defaults: sgd, rmsprop, adagrad, adadelta,
        adam, adamw or nadam. Its state carries on from call to call.
    learning_rate : float or callable, optional
        η, or a function that gives an epoch's η from its number, counted from 0, such as one of
        `fastbp.schedules`. By default the optimizer's, which is 0.01 for sgd and 0.001 for adam.
    batch_size : int, default 1
        Samples per step, counted from the start of each pass; the last batch of a pass may be
        smaller. A batch as long as the data is full-batch gradient descent.
    shuffle : bool or callable, default True
        Visit the samples of each epoch of `fit` in a new random order, or in the one that a
        function gives when called with their number: an integer array of that length. The data
        are not copied.
    seed : int, optional
        Seed of the order, of dropout's masks and of ``validation_split``. Two fits with the same
        seed, data, machine and versions give the same bits.
    method : {"auto", "sequential", "zero-skipping", "deferred"} or sequence, default "auto"
        How the steps of plain SGD with batch_size 1 are computed, one method for all layers or one
        per layer; it changes results by rounding only. "auto" decides by each layer's size and
        zeros; `summary` says what was chosen and why. A layer without zeros to skip is sequential;
        the first layer of sparse X is zero-skipping.
    block_size : int, optional
        Samples after which deferred updates are applied, at most 64; it changes no result beyond
        rounding. By default from the sizes of the caches.
    n_threads : int, optional
        Threads to use; it changes no bit of a result. By default as many as make it faster,
        judging by the size of the work and by measured times; at most NUMBA_NUM_THREADS.
    weight_decay : float, optional
        λ of the penalty ½ λ ‖W‖², which is added to the mean loss: weights only, never biases.
        Reported losses are without it. By default 0, and with adamw, where it is decoupled from
        the gradient, 0.01.
    l1 : float, default 0.0
        λ₁ of the penalty λ₁ Σ|w|, likewise. Its gradient at 0 is 0.
    dropout : float or sequence of float, default 0.0
        Share of units that are dropped at random for each training sample, one number for all
        hidden layers or one per hidden layer. The others are divided by 1 − share, so that
        prediction needs no change (Srivastava et al., JMLR 2014). Masks depend only on the seed and
        on the sample's number, counted since the optimizer's state began.
    clip_value : float, optional
        Largest absolute value of an entry of the mean loss's gradient; penalties come after.
    clip_norm : float, optional
        Largest norm of that gradient over all parameters, after ``clip_value``.
    max_norm : float, optional
        Largest norm of the weights that enter a unit; after each step they are scaled back to it.
    class_weight : "balanced", mapping or sequence, optional
        Factor of each class's losses and gradients, besides ``sample_weight``. A mapping has class
        numbers as keys, or labels if y holds labels; classes that it leaves out have weight 1.
        "balanced" is n / (number of classes · samples of the class), counted in each call.
    label_smoothing : float, default 0.0
        ε of smoothed targets (1 − ε) y + ε / K, where K is the number of classes, or 2 for
        binary_cross_entropy (Szegedy et al., CVPR 2016). Training losses are of smoothed targets.
    reduction : {"mean", "batch"}, default "mean"
        What a batch of m samples minimises. "mean": (1/m) Σ wᵢ lossᵢ plus penalties. "batch":
        (Σ wᵢ lossᵢ plus penalties) / Σ wᵢ, as in scikit-learn, so that a batch's samples share one
        penalty, and weights count only relative to the batch. In both cases weights are first
        divided by their mean over all rows. With ``batch_size=1`` both reductions are the same.

    Attributes
    ----------
    network : Network
    history : History
        Every epoch of every `fit` so far.
    stream : Stream
        Number and losses of the samples of `learn_one` and `partial_fit` so far: ``samples``,
        ``loss`` (their mean) and ``recent_loss`` (exponentially weighted).

    Raises
    ------
    ValueError
        If an argument is not one of those allowed; the message says which are.

    Examples
    --------
    >>> network = Network((2, 8, 2), seed=0)
    >>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    >>> history = Trainer(network, learning_rate=0.1, seed=0).fit(X, y, epochs=300)
    >>> network.predict(X)
    array([0, 1, 1, 0])
    """

    # Attributes that are not options. clip: as in `kernels.Samples`, probabilities in losses are
    # held in [clip, 1 − clip]. knows_sizes: whether a fit has checked that inputs and targets are
    # of about unit size. workings: see `fitting.Workings`.
    _others = ("clip", "knows_sizes", "workings")
    # Takes steps for single samples, where it is ready: see `single.step_of`.
    _step = staticmethod(no_step)

    @keywords.hinted
    def __init__(
        self,
        network: Network,
        optimizer: str | optimizers.Optimizer = "sgd",
        *,
        learning_rate: float | Callable[[int], float] | None = None,
        batch_size: int = 1,
        shuffle: bool | Callable[[int], ArrayLike] = True,
        seed: int | None = None,
        method: str | Sequence[str] = "auto",
        block_size: int | None = None,
        n_threads: int | None = None,
        weight_decay: float | None = None,
        l1: float = 0.0,
        dropout: float | Sequence[float] = 0.0,
        clip_value: float | None = None,
        clip_norm: float | None = None,
        max_norm: float | None = None,
        class_weight: str | Mapping[Any, float] | Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> None:
        given = {name: value for name, value in locals().items() if name in OPTIONS}
        self.network, self.history, self.stream = network, History(), Stream()
        made = optimizers.make(optimizer, network.dtype)
        for name in ("learning_rate", "weight_decay"):
            given[name] = getattr(made, name) if given[name] is None else given[name]
        self._options = Options(network)
        for name, value in given.items():
            setattr(self, name, value)
        _ = self.options  # raises ValueError if options do not go together
        self._seed = checks.seed(seed)
        self.workings = Workings.begun(self._seed)
        self.clip, self.knows_sizes = 0.0, False

    @keywords.hinted
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        epochs: int = 10,
        eval_set: Any = None,
        validation_split: float | None = None,
        metrics: Any = (),
        sample_weight: ArrayLike | None = None,
        callbacks: Iterable[Callback | Callable[[Trainer], Any]] = (),
        progress: bool | None = None,
        verbose: int | None = None,
    ) -> History:
        """Train for a number of epochs.

        Parameters
        ----------
        X : array-like, data frame or scipy.sparse matrix of shape (n_samples, n_inputs)
            Not copied if it is a C-contiguous array of the network's dtype. A sparse matrix is
            never made dense; of a CSR matrix of that dtype, only the indices are copied.
        y : array-like
            Class numbers (n_samples,), or target rows (n_samples, n_outputs); (n_samples,) is
            the same as (n_samples, 1).
        epochs : int, default 10
            Passes over the data, after those that the history has. 0 lets callbacks begin and end,
            such as those of a trainer that was saved after its last epoch.
        eval_set : (X, y) or list of such tuples, optional
            Data for `History.eval_loss`, `History.accuracy` and ``metrics``, evaluated after every
            epoch. Callbacks watch the last set of a list; the columns of the others are numbered,
            such as ``history["eval_loss_1"]``.
        validation_split : float, optional
            Share of the rows that is not trained on, but serves as ``eval_set``, with their
            weights. The rows are copied. They are drawn at random, the same share of each class;
            which ones follows from the trainer's seed and the number of rows, so that further fits
            leave out the same. A `Preparation` that was fitted to all rows has seen them.
        metrics : iterable of str or callable, or one of them, optional
            Columns to add to the history: names of `fastbp.metrics` such as ``"r2"`` and
            ``"roc_auc"``, names of scikit-learn's scorers, or functions of (y_true, y_pred).
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the loss's average. A sample's step is multiplied by its weight divided by
            the mean weight.
        callbacks : iterable of Callback or callable, optional
            See `fastbp.callbacks`. A function is called with the trainer after every epoch.
        progress : bool, optional
            Show a progress bar; by default in a notebook, and where stderr is a terminal.
        verbose : int, optional
            With 1 or more, print a line for each epoch, and when a callback has stopped the fit;
            the lines go above the bar. By default nothing is printed.

        Returns
        -------
        History
            The trainer's `history`.

        Raises
        ------
        ValueError
            If an argument does not fit the network; the network is untouched.
        DivergenceError
            If the parameters or the loss stop being finite, unless an `EarlyStopping` can restore
            the parameters of an earlier epoch; then it does so with a RuntimeWarning.
        RuntimeError
            If another thread is training this trainer, or its network, just now.

        Warns
        -----
        ScaleWarning
            Once, if inputs or targets of a regression are far from unit size.

        Notes
        -----
        Ctrl-C raises KeyboardInterrupt within about 0.1 s, with the network whole: every sample
        up to that point has been applied (unless training was diverging just then), or every
        batch, where one takes longer than that.

        A C-contiguous memory map that memory cannot hold, or a container's share of it, is read
        piece by piece, as by `fit_stream`: the disk is read from front to back, rows are shuffled
        within a window of at most 65,536, and checked as they come. Then ``validation_split``,
        a function as ``shuffle``, and "balanced" as ``class_weight`` are refused.
        """
        asked = Asked(
            epochs, eval_set, validation_split, metrics, sample_weight, callbacks, progress, verbose
        )
        is_larger = exceeds_memory(X, self.network.dtype.itemsize)
        fit = streaming.of_map(self, X, y, asked) if is_larger else prepared(self, X, y, asked)
        self.workings.turns.take(self.network.trained_by, fit.run)
        return self.history

    @keywords.hinted
    def fit_stream(
        self,
        source: Any,
        *,
        epochs: int = 1,
        window: int = 65_536,
        shuffle: bool = True,
        eval_set: Any = None,
        steps: int | None = None,
        callbacks: Iterable[Callback | Callable[[Trainer], Any]] = (),
        prefetch: int = 2,
        start: int = 0,
        metrics: Any = (),
        progress: bool | None = None,
        verbose: int | None = None,
    ) -> History:
        """Train on rows that come in pieces, such as those of data larger than memory.

        Batches are cut across the borders of the pieces: in the order given, parameters have the
        bits of a pass over the same rows in memory, however the source cuts them.

        Parameters
        ----------
        source : iterable, or callable
            Gives pieces (X, y) or (X, y, weight) of any number of rows, as `fit` takes them:
            arrays, memory maps, sparse matrices, frames, Arrow's record batches, torch's tensors;
            or single samples, such as those of a data set of torch. It is iterated over once an
            epoch; or it is a function that is called with the epoch's number, counted from 0, and
            gives something iterable. `fastbp.streams` has sources for arrays, frames and Parquet.
        epochs : int, default 1
            Passes over the source, after those that the history has.
        window : int, default 65536
            Rows that are held to draw the next ones from. An eighth is drawn at a time, and the
            next rows take their places.
        shuffle : bool, default True
            Draw rows from the window; the order follows from the trainer's seed, the epoch's number
            and the window, never from the pieces. The trainer's own ``shuffle`` is not used.
        eval_set : (X, y) or list of such tuples, optional
            As `fit`; in memory.
        steps : int, optional
            Batches of an epoch. An iterator, which can be read only once, goes on from epoch to
            epoch, and may be endless; what has been read ahead when the call ends is lost. Any
            other source begins anew.
        callbacks : iterable of Callback or callable, optional
            As `fit`.
        prefetch : int, default 2
            Parts of about 4 MiB that a thread holds ready, while others are trained on. With 0 the
            source is read in between, by the calling thread.
        start : int, default 0
            Samples of the first epoch that have been trained on already: `unfinished`, after an
            epoch that was broken off. They are read, but left out.
        metrics : iterable of str or callable, or one of them, optional
            As `fit`.
        progress : bool, optional
            As `fit`.
        verbose : int, optional
            As `fit`.

        Returns
        -------
        History
            The trainer's `history`.

        Raises
        ------
        ValueError
            If an argument or a piece is not what it should be; the message says which piece.
        DivergenceError
            As `fit`.
        RuntimeError
            As `fit`.
        Exception
            Whatever the source raises, with a note that says for which piece. In the order given,
            what came before is trained on first; shuffled, the rows of the window are not.

        Warns
        -----
        ScaleWarning
            Once, if inputs or targets are far from unit size in the first rows.

        Notes
        -----
        Whatever ends an epoch early, Ctrl-C included, leaves the network whole, and `unfinished`
        says after how many samples; with ``start=trainer.unfinished`` the same call goes on from
        there, with the bits of an epoch that was not broken off, if the source can begin anew. A
        source that is just being read when Ctrl-C comes is waited for, up to 2 seconds. An
        `EarlyStopping` that restores another epoch's parameters leaves nothing to go on with.

        Weights are factors of gradients and of ``train_loss`` as they are given, for their mean
        over all rows is not known; likewise ``class_weight`` must not be "balanced". Names of
        classes need ``Network(classes=...)``, unless the first piece has all of them.

        How steps are computed is decided by the first part of the rows, at least 2048 of them in
        the order given, as by all rows in memory: where their shares of zeros lie on two sides of a
        limit, results differ by rounding, unless ``method`` is given.
        """
        how = streaming.reading(source, window, shuffle, steps, prefetch, start)
        asked = Asked(epochs, eval_set, None, metrics, None, callbacks, progress, verbose)
        fit = streaming.prepared(self, how, asked)
        self.workings.turns.take(self.network.trained_by, fit.run)
        return self.history

    @property
    def unfinished(self) -> int:
        """Samples of an epoch of `fit_stream` that was broken off, in whole batches; else 0."""
        return self.workings.unfinished.samples

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Trainer:
        """Make one pass over the rows in the order given; arguments and errors as `fit`.

        Weights are relative to the mean weight of these rows alone. Nothing is added to `history`;
        ``stream`` keeps a running loss.

        Parameters
        ----------
        X : array-like, data frame or scipy.sparse matrix of shape (n_samples, n_inputs)
            As `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Likewise.
        sample_weight : array-like of shape (n_samples,), optional
            Relative to the mean weight of these rows.

        Returns
        -------
        Trainer
            Itself.
        """
        self._pass(self.network.training_samples(X, y, sample_weight))
        return self

    def learn_one(self, x: Any, y: Any, weight: float = 1.0) -> float:
        """Take a step for one sample: the bits of `partial_fit` with that row, much sooner.

        Parameters
        ----------
        x : array-like of shape (n_inputs,)
            An array of the network's dtype needs no conversion.
        y : int, label, float or array-like of shape (n_outputs,)
            A class number or label; or the target, which may be a number if there is one output.
        weight : float, default 1.0
            Factor of the gradient, which may be negative.

        Returns
        -------
        float
            The sample's loss before the step, without the weight.

        Raises
        ------
        ValueError
            If an argument does not fit the network, which is untouched then.
        DivergenceError
            If the step would make the parameters, the loss or the optimizer's moments infinite or
            NaN; the network keeps the parameters that it had.
        RuntimeError
            If another thread is training this trainer, or its network, just now.

        Notes
        -----
        It takes the time of `partial_fit` with labels (`Network.classes`), with a
        ``preparation``, for networks of more than 256 KiB, and with ``dropout``, ``l1``, clipping,
        ``max_norm``, ``class_weight``, ``label_smoothing`` or a ``method``. Calls from several
        threads take turns.
        """
        try:
            loss = self._step(x, y, weight)
            if loss is None:
                step = step_of(self)
                vars(self)["_step"] = step
                loss = step(x, y, weight)
        except (OverflowError, TypeError, ValueError):
            loss = None  # the pass says what is wrong, or takes the step after all
        return self._learn_by_pass(x, y, weight) if loss is None else loss

    def _learn_by_pass(self, x: Any, y: Any, weight: float) -> float:
        """`learn_one` for all options."""
        factor = checks.finite("weight", weight)
        if self.network.preparation is None:
            row_of(x, self.network.dtype)  # so that an error speaks of a row
        return self._pass(self.network.training_samples([x], [y]), factor)

    def _pass(self, samples: kernels.Samples, factor: float = 1.0) -> float:
        """Train on samples as they come; their mean loss, which has no part in the ``factor``."""
        network = self.network
        options, eta = self.options_now(network)
        samples = weighted(network, samples, options, self.clip)
        loss = None
        if factor != 1:
            loss = network.parameters.evaluate(samples).loss
            weights = samples.weights if len(samples.weights) > 0 else np.ones(samples.inputs.n)
            samples = samples._replace(weights=kernels.read_only(factor * weights))
        turns, runs, stream = self.workings.turns, self.workings.runs, self.stream

        def work() -> float:
            this = runs.begin(network, samples, kernels.IN_ORDER, eta, options)
            done, loss_sum = 0, 0.0
            try:
                for _ in this.chunks(len(self.history) + 1):
                    done, loss_sum = this.done, this.loss_sum
                    this.stops = turns.stopped
            finally:  # what has been learned counts, whatever comes after it
                if done > 0:
                    stream.add(done, loss_sum if loss is None else loss * done)
            runs.end(this)
            return loss_sum / done

        mean = turns.take(network.trained_by, work)
        return mean if loss is None else loss

    def stop(self) -> None:
        """Stop the running fit after this epoch; called in `Callback.on_chunk`, after this chunk.

        A batch that is longer than a chunk is trained to its end first. An epoch that is cut short
        has its row in the history, with the mean loss of the samples that it had.
        """
        self.workings.turns.stopped = True

    def summary(self) -> str:
        """Table of the network's layers and, after a pass, how each was computed and why.

        After a fit that a callback has stopped, also where it ended, and the best epoch.

        Returns
        -------
        str
            To be printed.
        """
        lines = [self.network.summary(), *self.workings.runs.lines]
        if (epoch := self.workings.stopped_at) > 0:
            lines.append(stopped_at(epoch, self.history))
        return "\n".join(lines)

    def __repr__(self) -> str:
        shown = [repr(self.network), *shown_options(self._given(), inspect.signature(Trainer))]
        if self._seed is not None:
            shown.append(f"seed={self._seed}")
        return f"{type(self).__name__}({', '.join(shown)})"

    @property
    def optimizer_state(self) -> OptimizerState:
        """Moments and counts of the optimizer with which the next pass will begin."""
        optimizer = self.options_of(self.network).optimizer
        return self.workings.runs.optimizer_state(self.network, optimizer)

    def save(self, path: str | os.PathLike[str], *, extra: dict[str, Any] | None = None) -> None:
        """Write the trainer to a model file: `fastbp.save` has the arguments and errors.

        Parameters
        ----------
        path : path-like
            Where to write it.
        extra : dict, optional
            What JSON can hold, for `fastbp.read_header` to find.
        """
        from fastbp.storage import save  # here, because storage imports this module

        save(self, path, extra=extra)

    def __getstate__(self) -> dict[str, Any]:
        """Without what was measured on this machine; the optimizer's state as plain arrays."""
        kept = {name: value for name, value in vars(self).items() if name != "_step"}
        return kept | {"_options": None, "workings": self.workings.kept(self.network)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._options = Options(self.network)
        self.workings = Workings.restored(self.network, state.get("workings"))
