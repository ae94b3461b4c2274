"""The trainer: passes over the data in chunks, and what happens between them."""

from __future__ import annotations

import contextlib
import inspect
import math
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import (
    checks,
    kernels,
    keywords,
    optimizers,
    passes,
    schedules,
    scoring,
    watching,
)
from fastbp.callbacks import (
    Callback,
    CallbackState,
    EarlyStopping,
    listeners_of,
    resume,
    state_of,
)
from fastbp.divergence import DivergenceError
from fastbp.history import History
from fastbp.metrics import STANDARD
from fastbp.network import Network
from fastbp.options import (
    OPTIONS,
    checked_options,
    described_options,
    restored_options,
    shown_options,
)
from fastbp.pacing import Crew, paced
from fastbp.preparation import ScaleWarning, scale_hint
from fastbp.progress import progress_bar
from fastbp.samples import FloatArray, checked_order, with_class_weight

Result = TypeVar("Result")


class Trainer:
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
        η, or what gives the η of each epoch when called with its number from 0, such as one of
        `fastbp.schedules`. By default the optimizer's, which is 0.01 for sgd and 0.001 for adam.
    batch_size : int, default 1
        Samples per step, counted from the start of each pass; the last batch of a pass may be
        smaller. A batch as long as the data is full-batch gradient descent.
    shuffle : bool or callable, default True
        Visit the samples of each epoch of `fit` in a new random order, or in the one that a
        function gives when called with their number: an integer array of that length. The data
        are not copied.
    seed : int, optional
        Of the order. Two fits with the same seed, data, machine and versions give the same bits.
    method : {"auto", "sequential", "zero-skipping", "deferred"} or sequence, default "auto"
        How the steps of plain SGD are computed for one sample each, of every layer or one per
        layer; it changes no result beyond rounding. "auto" decides by each layer's size and
        zeros; `summary` says what and why. A layer that has no zeros to skip is sequential; the
        first layer of sparse X is zero-skipping.
    block_size : int, optional
        Samples after which deferred updates are applied, at most 64; it changes no result beyond
        rounding. By default from the sizes of the caches.
    n_threads : int, optional
        Threads to use; it changes no bit of a result. By default as many as pay, by the size of
        the work and the measured cost of handing it out; never more than NUMBA_NUM_THREADS.
    weight_decay : float, optional
        λ of the penalty ½ λ ‖W‖², which is added to the mean loss: weights only, never biases.
        Reported losses are without it. By default 0, and with adamw, where it is decoupled from
        the gradient, 0.01.
    l1 : float, default 0.0
        λ₁ of the penalty λ₁ Σ|w|, likewise. Its gradient at 0 is 0.
    dropout : float or sequence of float, default 0.0
        Share of the units of each hidden layer, or of one after the other, that are left out of a
        sample's training at random; the others are scaled up by as much, so that prediction needs
        no change (Srivastava et al., JMLR 2014). Masks follow from the seed and the number of the
        sample alone, counted since the optimizer's state began.
    clip_value : float, optional
        Largest absolute value of an entry of the mean loss's gradient; penalties come after.
    clip_norm : float, optional
        Largest norm of that gradient over all parameters, after ``clip_value``.
    max_norm : float, optional
        Largest norm of the weights that enter a unit; after each step they are scaled back to it.
    class_weight : "balanced", mapping or sequence, optional
        By what the steps of each class's samples are multiplied, on top of ``sample_weight``; 1
        for classes that a mapping from class numbers, or from labels if y has these, leaves out.
        "balanced" is n / (number of classes · samples of the class), counted in each call.
    label_smoothing : float, default 0.0
        ε of the targets (1 − ε) y + ε / K that are trained on, K being the number of classes, or
        2 for binary_cross_entropy (Szegedy et al., CVPR 2016). Training losses are with it.
    reduction : {"mean", "batch"}, default "mean"
        What is minimised, of a batch of m samples: with "mean", (1/m) Σ wᵢ lossᵢ plus penalties.
        With "batch", Σ wᵢ lossᵢ plus penalties, all divided by Σ wᵢ, so λ is shared by its samples,
        and weights count within the batch alone, as in scikit-learn. Either way weights have
        first been divided by their mean over all rows, and with ``batch_size=1`` they are the same.

    Attributes
    ----------
    network : Network
    history : History
        Every epoch of every `fit` so far.

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
        self.network = network
        self.optimizer = optimizers.make(optimizer, network.dtype)
        self.learning_rate: float | Callable[[int], float] = (
            self.optimizer.learning_rate if learning_rate is None else learning_rate
        )
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.method = method
        self.block_size = block_size
        self.n_threads = n_threads
        self.weight_decay: float = (
            self.optimizer.weight_decay if weight_decay is None else weight_decay
        )
        self.l1 = l1
        self.dropout = dropout
        self.clip_value = clip_value
        self.clip_norm = clip_norm
        self.max_norm = max_norm
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.reduction = reduction
        self.history = History()
        self._checked_options()
        self._seed = checks.seed(seed)
        self._outcome = ""  # what is said of the last fit, if a callback has stopped it
        self._chosen: tuple[str, tuple[str, ...]] = ("", ())
        self._crew: tuple[Any, Crew] | None = None
        self._rule: tuple[optimizers.Optimizer, Network, kernels.Rule] | None = None
        self._last: tuple[tuple[Any, ...], tuple[Any, ...], passes.Pass] | None = None
        self._stopped = False
        self._knows_sizes = False  # whether a fit has looked at the sizes of the inputs
        self._runs = 0  # fits and passes that are going on, one within the other
        # Process, thread and call that are at work.
        self._trained_by: dict[str, tuple[int, int, object]] = {}
        self._listeners: tuple[Callback, ...] = ()
        self._callback_states: list[CallbackState] = []  # as loaded, for the next fit
        # What penalties added to the mean loss in the last pass, if reduction is "batch".
        self._penalty = 0.0
        # What probabilities in losses are clipped at; see `kernels.Samples`.
        self._clip = 0.0
        sequence = np.random.SeedSequence(self._seed)
        self._generator = np.random.default_rng(sequence)
        self._key: tuple[int, ...] = tuple(sequence.spawn(1)[0].generate_state(2).tolist())

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            pass
        elif name in _KINDS:
            if not isinstance(value, kind := _KINDS[name]):
                raise ValueError(
                    f"{name} must be a fastbp.{kind.__name__}, got {type(value).__name__}."
                )
        elif name in _CALLED and callable(value) and not isinstance(value, type):
            checks.takes(name, value, _CALLED[name])
        elif type(self) is Trainer and name not in OPTIONS:
            raise AttributeError(
                f"Trainer has no attribute {name!r}{keywords.meant(name, OPTIONS)}; it has "
                f"{', '.join(OPTIONS)}."
            )
        super().__setattr__(name, value)

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
        """
        samples = self._training_samples(X, y, sample_weight)
        self._warn_of_sizes(samples)
        epochs = checks.integer("epochs", epochs, 0)
        # What can be known about the epochs to come is checked before the first one.
        eta = schedules.highest_rate(
            self.learning_rate, len(self.history), max(1, epochs), self.network.dtype
        )
        if eta is not None:
            self._checked_options(self.network, eta)
        if progress is not None:
            checks.flag("progress", progress)
        sets = watching.eval_sets(self.network, eval_set)
        if validation_split is not None:
            if sets:
                raise ValueError("validation_split must be None if there is an eval_set.")
            # Not the generator's seed, whose orders must not depend on it.
            seed = self._key[0] << 32 | self._key[1]
            samples, *sets = watching.split_off(self.network, samples, y, validation_split, seed)
        samples = self._weighted(samples)
        scores = scoring.scores(metrics, self.network)
        shows = watching.verbosity(verbose)
        watch = watching.Watch(sets, scores, len(self.history) + epochs, shows)
        listeners = listeners_of(callbacks)
        for listener in listeners:
            listener.check(watch.columns(self.network))
        self._alone(lambda: self._fit(samples, epochs, watch, listeners, progress))
        return self.history

    def _warn_of_sizes(self, samples: kernels.Samples) -> None:
        """Say once what to do about numbers that are far from unit size."""
        hint = "" if self._knows_sizes else scale_hint(samples, self.network.loss_name)
        self._knows_sizes = True
        if hint:
            warnings.warn(hint, ScaleWarning, stacklevel=4)

    def _fit(
        self,
        samples: kernels.Samples,
        epochs: int,
        watch: watching.Watch,
        listeners: tuple[Callback, ...],
        progress: bool | None,
    ) -> None:
        network = self.network  # a callback may set another one, for the next fit
        n = samples.inputs.n
        self._outcome = ""
        with contextlib.ExitStack() as endings:  # each one runs, even if another raises
            endings.callback(self._forget_pass)
            endings.callback(self._leave_callbacks, self._listeners)
            for listener in listeners:
                listener.epochs_seen = len(self.history)
                listener.on_begin(self)
                endings.callback(listener.on_end, self)
                listener.checked_every()
            self._listeners = listeners
            states, self._callback_states = self._callback_states, []
            for listener in listeners:
                resume(listener, states, self)
            self._note_best()
            watch.bar = endings.enter_context(progress_bar(progress, epochs * n))
            try:
                for _ in range(epochs):
                    if self._stopped:
                        break
                    self._fit_epoch(network, samples, self._order(n), watch, listeners)
                if self._stopped:
                    self._outcome = watch.stopped(self.history)
            except DivergenceError as error:
                outcomes = [listener.on_divergence(self, error) for listener in listeners]
                if not any(outcomes):
                    raise
                warnings.warn(
                    error.text(next(filter(None, outcomes))), RuntimeWarning, stacklevel=7
                )

    def _note_best(self) -> None:
        """Tell the history which epoch `EarlyStopping` takes for the best.

        Of several, the first one's parameters stay, for callbacks end in reverse order.
        """
        stopping = [each for each in self._listeners if isinstance(each, EarlyStopping)]
        deciding = [each for each in stopping if each.restore_best] or stopping
        self.history.chosen_epoch = deciding[0].best_epoch if deciding else 0

    def _leave_callbacks(self, outer: tuple[Callback, ...]) -> None:
        """Go back to the callbacks of the outer fit, or keep those whose state is to be saved."""
        is_within = self._runs > 1
        self._listeners = outer if is_within else tuple(c for c in self._listeners if c.keeps_state)

    def callback_states(self) -> list[CallbackState]:
        """What a trainer that is saved now keeps of its callbacks; see `Callback.state`."""
        states = (state_of(listener) for listener in self._listeners)
        return [*self._callback_states, *filter(None, states)]

    def resume_callbacks(self, states: Iterable[CallbackState]) -> None:
        """Have the next fit give these states to its callbacks, as `callback_states` had them."""
        self._callback_states = list(states)

    def _alone(self, work: Callable[[], Result]) -> Result:
        """Do ``work``, unless another thread is training this trainer or its network.

        Ctrl-C may come between any two lines. So the user is noted inside the try, and forgotten
        twice, in case Ctrl-C interrupts the first time.
        """
        me = os.getpid(), threading.get_ident(), object()
        users = self._trained_by, self.network.trained_by

        def forget() -> None:
            for user in users:
                if user.get("now") is me:
                    user.clear()

        try:
            try:
                for user in users:
                    other = user.setdefault("now", me)
                    if other[0] != me[0]:  # of the process that this one was forked from
                        user["now"] = me
                    elif other[1] != me[1]:
                        raise RuntimeError(
                            "another thread is training this trainer or its network: wait for it, "
                            "or give each thread a trainer and a network of its own."
                        )
                return self._within(work)
            finally:
                forget()
        finally:
            forget()

    def _within(self, work: Callable[[], Result]) -> Result:
        """Do ``work``, perhaps in a callback of another fit; `stop` ends the innermost alone."""
        runs, stopped = self._runs, self._stopped
        try:
            self._runs, self._stopped = runs + 1, False
            return work()
        finally:
            self._runs, self._stopped = runs, stopped

    def _order(self, n: int) -> NDArray[np.int64]:
        """Row numbers of an epoch, or none for the order given."""
        if callable(self.shuffle):
            return checked_order(f"shuffle({n})", self.shuffle(n), n)
        return self._generator.permutation(n) if self.shuffle else kernels.IN_ORDER

    def _fit_epoch(
        self,
        network: Network,
        samples: kernels.Samples,
        order: NDArray[np.int64],
        watch: watching.Watch,
        listeners: Sequence[Callback],
    ) -> None:
        """Train for an epoch, or until stopped; evaluate, record, and tell the callbacks."""
        eta = self.current_learning_rate  # once, for a function may give another one each time
        options = self._checked_options(network, eta)
        watch.begin(self.history)
        train_loss, done, seconds = self._train(
            network, samples, order, eta, options, watch.bar, listeners
        )
        row = {
            "train_loss": train_loss,
            "learning_rate": eta,
            "samples_per_second": done / seconds,
            "seconds": seconds,
            "method": self._chosen[0],
        }
        self.history.append(row | watch.measured(network, options["n_threads"]))
        watch.end(self.history)
        for listener in listeners:
            listener.on_epoch(self)
            listener.epochs_seen = len(self.history)
            self._note_best()  # for the callbacks after it, which may save the trainer

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict; see `Network.predict`."""
        return self.network.predict(X)

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Probability of each class or label; see `Network.predict_proba`."""
        return self.network.predict_proba(X)

    @keywords.hinted
    def evaluate(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        metrics: Any = None,
        sample_weight: ArrayLike | None = None,
    ) -> dict[str, float]:
        """Loss and figures of how good the predictions are.

        Parameters
        ----------
        X, y
            As `Network.evaluate`.
        metrics : iterable of str or callable, or one of them, optional
            As `fit`. By default balanced_accuracy, log_loss and roc_auc of a classification; r2,
            mae and rmse of a regression.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the loss alone.

        Returns
        -------
        dict
            ``"loss"``, of a classification ``"accuracy"``, and each metric by its name. NaN for
            what is not defined, such as the AUC of rows of one class.

        Raises
        ------
        ValueError
            If an argument does not fit the network, or if an output is not finite.
        """
        network = self.network
        if metrics is None:
            metrics = STANDARD["classification" if network.is_classifier else "regression"]
        scores = scoring.scores(metrics, network)
        prepared = network.prepared(X)
        samples = network.samples_of(prepared, y, sample_weight, whole=False)
        rows = watching.EvalSet(samples, scoring.truth(network, samples, y))
        figures = watching.evaluated(network, rows, scores, given=prepared)
        if not math.isfinite(figures["loss"]):
            network.parameters.check_outputs(network.outputs(X, check=False))
        return figures

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """Accuracy of a classification, R² of a regression, as scikit-learn's estimators.

        Raises
        ------
        ValueError
            As `evaluate`.
        """
        name = "accuracy" if self.network.is_classifier else "r2"
        return self.evaluate(X, y, metrics=name)[name]

    def get_params(self) -> dict[str, Any]:
        """Options as plain values, which JSON and TOML can hold, for `from_params`.

        What is None is left out, and the seed as well, of a trainer that was loaded.

        Raises
        ------
        ValueError
            If an option is a function, which is no plain value.
        """
        params = described_options(self._checked_options())
        if len(set(params["dropout"])) < 2:  # for networks of any depth
            params["dropout"] = max(params["dropout"], default=0.0)
        params["seed"] = self._seed
        return {
            name: list(value) if isinstance(value, (tuple, np.ndarray)) else value
            for name, value in params.items()
            if value is not None
        }

    @classmethod
    def from_params(cls, network: Network, params: Mapping[str, Any]) -> Trainer:
        """A new trainer with options as `get_params` gives them.

        Parameters
        ----------
        network : Network
        params : mapping
            Options by name. An optimizer is a name, or a mapping with its ``"name"`` and settings;
            so is a schedule for ``"learning_rate"``. What is left out has its default.

        Raises
        ------
        ValueError
            If an option is not known, or its value is not allowed.

        Examples
        --------
        >>> params = {"optimizer": {"name": "sgd", "momentum": 0.9}, "batch_size": 32}
        >>> Trainer.from_params(Network((4, 3), seed=0), params).optimizer
        SGD(momentum=0.9)
        """
        options = dict(params)
        seed = options.pop("seed", None)
        return cls(network, seed=seed, **restored_options(options))

    def __repr__(self) -> str:
        shown = [repr(self.network), *shown_options(self._given_options(), _SIGNATURE)]
        if self._seed is not None:
            shown.append(f"seed={self._seed}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def stop(self) -> None:
        """End the fit that is going on after this epoch, or, from `on_chunk`, after this chunk.

        A batch that is longer than a chunk is trained to its end first. An epoch that is cut short
        has its row in the history, with the mean loss of the samples that it had.
        """
        self._stopped = True

    @property
    def current_learning_rate(self) -> float:
        """η of the next epoch, or of the one that is going on."""
        return schedules.rate_at(self.learning_rate, len(self.history), self.network.dtype)

    def summary(self) -> str:
        """Table of the network's layers and, after a pass, how each was computed and why.

        After a fit that a callback has stopped, also where it ended, and the best epoch.
        """
        return "\n".join(filter(None, [self.network.summary(), *self._chosen[1], self._outcome]))

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Trainer:
        """Make one pass over the rows in the order given; arguments and errors as `fit`.

        Weights are relative to the mean weight of these rows alone.

        Nothing is added to `history`.
        """
        samples = self._weighted(self._training_samples(X, y, sample_weight))
        self._alone(lambda: self._partial_fit(samples))
        return self

    def _partial_fit(self, samples: kernels.Samples) -> None:
        eta = self.current_learning_rate
        options = self._checked_options(self.network, eta)
        try:
            with progress_bar(False, 0) as bar:
                self._train(self.network, samples, kernels.IN_ORDER, eta, options, bar)
        finally:
            self._forget_pass()

    def _given_options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in OPTIONS}

    def _checked_options(
        self, network: Network | None = None, eta: float | None = None
    ) -> dict[str, Any]:
        """Options as plain values; checked at every use, for they may have been set anew."""
        eta = self.current_learning_rate if eta is None else eta
        return checked_options(self._given_options(), network or self.network, eta)

    def _training_samples(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> kernels.Samples:
        """Samples as they are given, once the options are known to be right."""
        self._checked_options()
        return self.network.training_samples(X, y, sample_weight)

    def _weighted(self, samples: kernels.Samples) -> kernels.Samples:
        """Samples as they are trained on: weighted by class, and with smoothed targets."""
        if self.class_weight is None and self.label_smoothing == 0:
            return samples._replace(clip=self._clip)
        options = self._checked_options()  # again, for classes may have got their labels meanwhile
        weights = options["class_weight"]
        if isinstance(weights, Mapping):
            raise ValueError(
                "class_weight must name class numbers where y holds them, got "
                f"{checks.shown(next(iter(weights)))}."
            )
        samples = with_class_weight(samples, weights)
        is_one_of = self.network.loss_name == "cross_entropy"
        n_classes = self.network.sizes[-1] if is_one_of else 2
        smoothing = options["label_smoothing"]
        return samples._replace(kept=1 - smoothing, shared=smoothing / n_classes, clip=self._clip)

    def _train(
        self,
        network: Network,
        samples: kernels.Samples,
        order: NDArray[np.int64],
        eta: float,
        options: dict[str, Any],
        bar: Any,
        listeners: Sequence[Callback] = (),
    ) -> tuple[float, int, float]:
        """One pass, or until stopped: mean loss, samples, seconds in kernels."""
        network.parameters.check_finite()
        params = network.parameters.flat
        this = self._made_pass(network, samples, eta, options)
        self._chosen = this.label, this.reasons
        last_finite = np.empty_like(params)
        sampled = None
        if options["reduction"] == "batch" and this.penalty is None:
            sampled = passes.sampled_penalty(network, samples.inputs.n, eta, options)
        pieces = sampled.pieces if sampled else 1
        loss_sum, seconds = 0.0, 0.0

        def step(first: int, last: int, n_threads: int) -> None:
            nonlocal loss_sum
            loss_sum = this.train(order, first, last, n_threads, loss_sum)

        # No rows: compiles or loads the kernel, outside of what is timed.
        this.train(order, 0, 0, 1, 0.0)
        crew = self._crew_for(network, this, options["n_threads"] is not None)
        done, chunks, batch_size = 0, 0, options["batch_size"]
        for start, stop in paced(samples.inputs.n, 6 * network.n_params, this.block, pieces):
            if self._stopped:  # in the midst of a batch, which is the last
                stop = min(stop, -(-start // batch_size) * batch_size)
            last_finite[:] = params
            began = time.perf_counter()
            try:
                crew.share(step, start, stop, this.block)
            finally:  # also when Ctrl-C came meanwhile
                diverged = self._restored(network, this, loss_sum, last_finite)
            seconds += time.perf_counter() - began
            if diverged is not None:
                layer, moments = diverged
                raise DivergenceError(len(self.history) + 1, layer, eta, moments)
            if sampled:
                sampled.add(stop - start)
            bar.update(stop - start)
            done, chunks = stop, chunks + 1
            for listener in listeners:
                if chunks % listener.checked_every() == 0:
                    listener.on_chunk(self, done, loss_sum / done)
            if listeners:  # they may have changed the parameters
                network.parameters.check_finite()
            if self._stopped and done % batch_size == 0:
                break
        if this.penalty is not None:
            self._penalty = this.penalty() / done
        else:
            self._penalty = sampled.sum / done if sampled else 0.0
        return loss_sum / done, done, seconds

    def _restored(
        self, network: Network, this: passes.Pass, loss_sum: float, last_finite: FloatArray
    ) -> tuple[int | None, bool] | None:
        """None if all is finite; else restore parameters, and return a `DivergenceError`'s parts.

        They are the layer, and whether it is the moments alone.
        """
        layer = network.first_nonfinite_layer()
        moments = layer is None and math.isfinite(loss_sum)
        if moments and this.has_finite_moments():
            return None
        network.params[:] = last_finite
        self._rule = None  # its moments are spoilt too
        return layer, moments

    def _crew_for(self, network: Network, this: passes.Pass, is_fixed: bool) -> Crew:
        """The last crew again if it worked on the same: its measurements hold for that alone."""
        key = (id(network), this.label, this.block, this.n_threads, self.n_threads)
        if self._crew is None or self._crew[0] != key:
            self._crew = key, Crew(this.n_threads, is_fixed)
        return self._crew[1]

    def _made_pass(
        self, network: Network, samples: kernels.Samples, eta: float, options: dict[str, Any]
    ) -> passes.Pass:
        """The last pass again, where everything is as it was, for its scratch took time to make."""
        rule = None
        if not passes.is_per_sample(options, eta, network.dtype):
            rule = self._current_rule(network, options["optimizer"])
        things, values = (network, samples, rule), (eta, options)
        if self._last is not None:
            last_things, last_values, last = self._last
            same = all(a is b for a, b in zip(things, last_things, strict=True))
            if same and values == last_values:
                return last
        if rule is None:
            this = passes.per_sample(network, samples, eta, options)
        else:
            this = passes.by_batches(network, samples, eta, options, rule, self._key)
        self._last = things, values, this
        return this

    def save(self, path: str | os.PathLike[str], *, extra: dict[str, Any] | None = None) -> None:
        """Write the trainer to a model file: `fastbp.save` has the arguments and errors."""
        from fastbp.storage import save  # which makes trainers, and so is imported by its callers

        save(self, path, extra=extra)

    def _forget_pass(self) -> None:
        """Because it holds the data, and sums, if it ended within a batch."""
        self._last = None

    def __getstate__(self) -> dict[str, Any]:
        """Without what was measured on this machine; the optimizer's state as plain arrays."""
        state = dict(vars(self), _crew=None, _last=None, _runs=0, _trained_by={}, _listeners=())
        state["_callback_states"] = self.callback_states()
        if self._rule is not None and self._rule[1] is self.network:
            optimizer, _, rule = self._rule
            state["_rule"] = optimizer, rule.moments, rule.counts
        else:
            state["_rule"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        kept = state["_rule"]
        vars(self).update(state, _rule=None)
        if kept is not None:  # arrays as the kernels take them: aligned, read-only where they are
            rule = self._current_rule(self.network, kept[0])
            rule.moments[:], rule.counts[:] = kept[1:]

    def _current_rule(self, network: Network, optimizer: optimizers.Optimizer) -> kernels.Rule:
        """The optimizer's state; new where the optimizer or the network is another one."""
        if self._rule is None or self._rule[0] != optimizer or self._rule[1] is not network:
            rule = optimizers.make_rule(optimizer, network.parameters.flat.size, network.dtype)
            self._rule = optimizer, network, rule
        return self._rule[2]


# Options that may be functions, with the names of their arguments.
_CALLED = {"learning_rate": ("epoch",), "shuffle": ("n_samples",)}
# Attributes that are objects of our own.
_KINDS: dict[str, type] = {"network": Network, "history": History}
_SIGNATURE = inspect.signature(Trainer)
