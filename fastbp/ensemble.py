"""Many networks of one architecture, trained in one call."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import math
import numbers
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import checks, kernels, keywords, threads
from fastbp.divergence import EnsembleDivergenceError
from fastbp.fitting import check_rates, warn_of_sizes
from fastbp.memberships import by_number, numbers_of, rows_of_each
from fastbp.network import Network
from fastbp.packs import (
    Errors,
    Member,
    Room,
    Work,
    calls_a_function,
    divided,
    least_members,
    places_of,
    samples_of,
    train_all,
)
from fastbp.rows import inputs_of
from fastbp.running import Stream
from fastbp.samples import FloatArray, checked_inputs
from fastbp.splitting import Rows
from fastbp.trainer import Trainer
from fastbp.turns import take_all

_SETTABLE = ("learning_rate", "weight_decay", "n_threads")
_OWN = ("sizes", "n", "seeds", "learning_rate", "weight_decay", "n_threads")


def _keywords_of(kind: type) -> tuple[str, ...]:
    """Arguments of a class that an ensemble passes on."""
    names = inspect.signature(kind).parameters
    return tuple(name for name in names if name not in (*_OWN, "network", "seed"))


_OF_NETWORKS, _OF_TRAINERS = _keywords_of(Network), _keywords_of(Trainer)


class Ensemble:
    """Networks of one architecture, each with its own seed, rate, weight decay and rows.

    Small ones train side by side in the lanes of SIMD vectors, all of them on all threads. Each
    gets the steps that a `Trainer` of its own would take, to rounding.

    Parameters
    ----------
    sizes : sequence of int
        Units of each layer, as of `Network`.
    n : int
        Number of networks.
    seeds : int or sequence of int, optional
        One for each network and its trainer; or the first one's, from which the others count up.
    learning_rate : float, callable or sequence, optional
        As of `Trainer`, for all networks or one for each.
    weight_decay : float or sequence of float, optional
        Likewise.
    n_threads : int, optional
        Threads to use; it changes no bit of a result. By default all there are, where there is
        enough work. Where ``shuffle`` or a learning rate is a function of your own, it is one.
    **options
        Any other argument of `Network` and of `Trainer` but the seed, for all of them.

    Raises
    ------
    ValueError
        If an argument is not one of those allowed; the message says which are.
    TypeError
        If there is no such argument.

    Notes
    -----
    ``ensemble[k]`` is a `Network`, to be used and changed like any other, and ``ensemble[i:j]`` a
    tuple of them; ``len(ensemble)`` is their number, and a loop over the ensemble goes over them.
    ``learning_rate``, ``weight_decay`` and ``n_threads`` can be set between fits, to what they may
    be here. An ensemble can be pickled.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(60, 2))
    >>> y, groups = X[:, 0] * np.arange(60) % 3, np.arange(60) % 3
    >>> ensemble = Ensemble((2, 8, 1), 3, seeds=0, loss="squared_error")
    >>> ensemble.fit(X, y, epochs=5, groups=groups).shape
    (5, 3)
    >>> ensemble.predict(X).shape, ensemble.predict(X, groups=groups).shape
    ((3, 60), (60,))
    """

    def __init__(
        self,
        sizes: Any,
        n: int,
        *,
        seeds: int | Sequence[int] | None = None,
        learning_rate: Any = None,
        weight_decay: Any = None,
        n_threads: int | None = None,
        **options: Any,
    ) -> None:
        _check_names(options)
        n = checks.integer("n", n, 1)
        self.n_threads = n_threads
        given = {"seed": _seeds(seeds, n)}
        for name, value in (("learning_rate", learning_rate), ("weight_decay", weight_decay)):
            given[name] = _for_each(name, value, n)
        of_network = {name: options[name] for name in _OF_NETWORKS if name in options}
        of_trainer = {name: options[name] for name in _OF_TRAINERS if name in options}
        trainers = []
        for k in range(n):
            own = {name: values[k] for name, values in given.items()}
            network = Network(sizes, seed=own["seed"], **of_network)
            with _naming(k) if k > 0 else contextlib.nullcontext():
                trainers.append(Trainer(network, n_threads=1, **own, **of_trainer))
        self._trainers = tuple(trainers)
        self._places = places_of(self[0])
        self._lanes = kernels.VECTOR_BYTES // self[0].dtype.itemsize
        self._rooms: list[Room] = []
        self._starts: list[list[int]] = []  # of each fit: epochs that each network had before it
        self._lines: tuple[str, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_rooms": []}

    # Options ------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name not in _SETTABLE:
            hint = "" if hasattr(type(self), name) else keywords.meant(name, _SETTABLE)
            raise AttributeError(
                f"{name} of an Ensemble cannot be set{hint}; "
                f"{', '.join(_SETTABLE[:-1])} and {_SETTABLE[-1]} can."
            )
        super().__setattr__(name, value)

    @property
    def n_threads(self) -> int | None:
        """Threads to use; None for all there are."""
        return self._n_threads

    @n_threads.setter
    def n_threads(self, value: int | None) -> None:
        if value is not None:
            value = checks.integer("n_threads", value, 1, threads.MOST)
        self._n_threads = value

    @property
    def learning_rate(self) -> tuple[Any, ...]:
        """Each network's; what is set may be one for all."""
        return tuple(trainer.learning_rate for trainer in self._trainers)

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self._set_each("learning_rate", value)

    @property
    def weight_decay(self) -> tuple[float, ...]:
        """Each network's; what is set may be one for all."""
        return tuple(trainer.weight_decay for trainer in self._trainers)

    @weight_decay.setter
    def weight_decay(self, value: Any) -> None:
        self._set_each("weight_decay", value)

    def _set_each(self, name: str, value: Any) -> None:
        """Set an option of every trainer, or of none if one of the values is refused."""
        values = _for_each(name, value, len(self))
        before = [getattr(trainer, name) for trainer in self._trainers]
        try:
            for k, trainer in enumerate(self._trainers):
                with _naming(k):
                    setattr(trainer, name, values[k])
        except ValueError:
            for trainer, old in zip(self._trainers, before, strict=True):
                setattr(trainer, name, old)
            raise

    # Networks -----------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._trainers)

    @overload
    def __getitem__(self, k: int) -> Network: ...

    @overload
    def __getitem__(self, k: slice) -> tuple[Network, ...]: ...

    def __getitem__(self, k: int | slice) -> Network | tuple[Network, ...]:
        if isinstance(k, slice):
            return tuple(self)[k]
        return self._trainers[k].network

    def __iter__(self) -> Iterator[Network]:
        return (trainer.network for trainer in self._trainers)

    @property
    def train_loss(self) -> NDArray[np.float64]:
        """Mean loss of each epoch so far and each network, (epochs, n): one fit after the other.

        A network has NaN in fits that it sat out, and where it had diverged.
        """
        return self._losses(self._starts)

    def _losses(self, starts: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """Losses of fits that began when each network had had so many epochs."""
        columns = [trainer.history.train_loss for trainer in self._trainers]
        fits = [np.empty((0, len(self)))]
        for start, end in itertools.pairwise([*starts, [*map(len, columns)]]):
            of_fit = (column[i:j] for column, i, j in zip(columns, start, end, strict=True))
            rows = [*itertools.zip_longest(*of_fit, fillvalue=np.nan)]
            fits.append(np.array(rows, np.float64).reshape(len(rows), len(self)))
        return np.concatenate(fits)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Running losses of `partial_fit`, one for each network, as `Trainer.stream`."""
        return tuple(trainer.stream for trainer in self._trainers)

    # Training -----------------------------------------------------------------------------------

    @keywords.hinted
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        epochs: int = 10,
        groups: ArrayLike | None = None,
        folds: Any = None,
        sample_weight: ArrayLike | None = None,
        progress: bool | None = None,
    ) -> NDArray[np.float64]:
        """Train every network for a number of epochs.

        Parameters
        ----------
        X : array-like, data frame or scipy.sparse matrix of shape (n_samples, n_inputs)
            As `Trainer.fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Likewise.
        epochs : int, default 10
            Passes over the data, after those of earlier fits.
        groups : array-like of int, shape (n_samples,), optional
            Each row's network, counted from 0: a network trains on its own rows. One without rows
            sits the fit out.
        folds : array-like of int, shape (n_samples,), or iterable, optional
            Each row's fold, counted from 0: network k trains on all rows but those of fold k. Or
            for each network the rows that it trains on, as an array of their numbers, which may
            repeat, or a pair of which that is the first, as scikit-learn's splitters yield them.
        sample_weight : array-like of shape (n_samples,), optional
            As `Trainer.fit`; relative to the mean weight of each network's rows.
        progress : bool, optional
            Show a progress bar; by default in a notebook, and where stderr is a terminal.

        Returns
        -------
        array of shape (epochs, n)
            Mean loss of each epoch of this fit and each network; NaN for one that sat it out.

        Raises
        ------
        ValueError
            If an argument does not fit the networks, which are untouched then.
        DivergenceError
            If some networks diverged: after the others were trained to the end. Its ``errors`` are
            those of each of them by its number; they keep their last finite parameters.
        RuntimeError
            If another thread is training one of the networks just now.

        Warns
        -----
        ScaleWarning
            Once, if inputs or targets of a regression are far from unit size.

        Notes
        -----
        Ctrl-C raises KeyboardInterrupt within about 0.1 s. Every network is whole then, but they
        may have come differently far.
        """
        if progress is not None:
            checks.flag("progress", progress)

        def train(work: Work, epochs: int) -> Errors:
            return train_all(work, epochs, progress, self._n_threads)

        done = len(self._starts)
        self._train(X, y, sample_weight, groups, folds, checks.integer("epochs", epochs, 0), train)
        return self._losses(self._starts[done:])

    def fit_by(
        self,
        train: Callable[[Work, int], Errors],
        X: ArrayLike,
        y: ArrayLike,
        *,
        epochs: int = 10,
        groups: ArrayLike | None = None,
        folds: Any = None,
        sample_weight: ArrayLike | None = None,
    ) -> NDArray[np.float64]:
        """`fit`, whose work ``train(work, epochs)`` does or has others do, such as a cluster.

        It returns the errors of networks that diverged. The rest is as in `fit`.
        """
        done = len(self._starts)
        self._train(X, y, sample_weight, groups, folds, checks.integer("epochs", epochs, 0), train)
        return self._losses(self._starts[done:])

    @keywords.hinted
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Ensemble:
        """Make one pass over the rows in the order given; arguments and errors as `fit`.

        Nothing is added to `train_loss`; `streams` keep running losses.

        Parameters
        ----------
        X : array-like, data frame or scipy.sparse matrix of shape (n_samples, n_inputs)
            As `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Likewise.
        groups : array-like of int, shape (n_samples,), optional
            Each row's network; without it, all networks take all rows.
        sample_weight : array-like of shape (n_samples,), optional
            Relative to the mean weight of each network's rows.

        Returns
        -------
        Ensemble
            Itself.
        """

        def train(work: Work, epochs: None) -> Errors:
            return train_all(work, epochs, False, self._n_threads)

        self._train(X, y, sample_weight, groups, None, None, train)
        return self

    def _train(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        groups: ArrayLike | None,
        folds: Any,
        epochs: int | None,
        train: Callable[[Work, Any], Errors],
    ) -> None:
        """`fit_by`, or with ``epochs=None`` `partial_fit`."""
        with contextlib.ExitStack() as refusal:
            refusal.callback(self._forget_labels, [network.classes for network in self])
            samples = self._samples(X, y, sample_weight)
            if epochs is not None:
                warn_of_sizes(self._trainers[0], samples)
            rows = rows_of_each(groups, folds, len(self), samples.inputs.n)
            members = self._members(samples, rows)
            self._check(members, samples, epochs)
            packs: list[list[Member]] = []
            alone, why = members, self._against_lanes(samples, rows is not None)
            if not why:
                packs, alone = divided(members, self._lanes, least_members(self[0]))
            work = Work(samples, packs, alone, self._places, self._rooms)

            def begin() -> Errors:
                refusal.pop_all()
                self._lines = _lines(packs, alone, why)
                if not members or epochs == 0:
                    return {}
                if epochs is not None:
                    self._starts.append([len(trainer.history) for trainer in self._trainers])
                return train(work, epochs)

            users = [member.trainer.network.trained_by for member in members]
            users += [member.trainer.workings.turns.by for member in members]
            if errors := take_all(users, begin):
                raise EnsembleDivergenceError(errors, len(self))

    def _forget_labels(self, before: Sequence[tuple[Any, ...] | None]) -> None:
        """Go back to the classes that networks had before a fit that was refused."""
        for trainer, classes in zip(self._trainers, before, strict=True):
            if trainer.network.classes != classes:
                vars(trainer.network)["classes"] = classes
                by_label: Any = trainer.class_weight
                trainer.options_of(trainer.network).class_weight = by_label

    def _samples(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None
    ) -> kernels.Samples:
        """Rows to train on; text in y becomes the classes of all networks, if they have none."""
        samples = self[0].training_samples(X, y, sample_weight)
        for network in self:
            if network.classes is None and self[0].classes is not None:
                vars(network)["classes"] = self[0].classes
        return samples

    def _members(self, samples: kernels.Samples, rows: list[Rows] | None) -> list[Member]:
        """Those that have rows to train on."""
        members = []
        for k, trainer in enumerate(self._trainers):
            if rows is None:
                members.append(Member(k, trainer, samples.inputs.n, None))
            elif len(rows[k]) > 0:
                factor, weights = 1.0, samples.weights
                if len(weights) > 0:
                    largest = float(weights[rows[k]].max())
                    if largest == 0:
                        raise ValueError(
                            f"sample_weight must be above 0 in some rows of network {k}."
                        )
                    mean = float((weights[rows[k]] / largest).mean()) * largest
                    factor = 1 / mean if mean > 0 else math.inf
                members.append(Member(k, trainer, len(rows[k]), rows[k], factor))
        return members

    def _check(
        self, members: Sequence[Member], samples: kernels.Samples, epochs: int | None
    ) -> None:
        """Refuse what can be known to be wrong, before any network is trained."""
        for member in members:
            trainer, network = member.trainer, member.trainer.network
            if network.first_nonfinite_layer() is not None:
                raise ValueError(f"network {member.number} must have finite params.")
            with _naming(member.number):
                if epochs is not None:
                    check_rates(trainer, epochs)
                elif not calls_a_function(trainer):
                    trainer.options_of(network, trainer.current_learning_rate)
                is_new = member.rows is not None or member is members[0]
                if is_new and trainer.options_of(network).class_weight is not None:
                    samples_of(member, samples)

    def _against_lanes(self, samples: kernels.Samples, has_rows: bool) -> str:
        """Why networks cannot train side by side, or would be slower; "" if they can."""
        options, least = self._trainers[0].options, least_members(self[0])
        if len(self) == 1:
            return "there are no others"
        if not options.of_single_samples:
            return "steps are not those of plain sgd with batch_size 1"
        if {*options.method} != {"auto"} or options.block_size is not None:
            return "method or block_size is given"
        if samples.inputs.is_sparse:
            return "X is sparse"
        if least > self._lanes:
            return f"with {self[0].n_params:,} parameters each, that is faster"
        if has_rows and options.class_weight is not None:
            return "class_weight depends on the rows of each"
        return ""

    # Predictions --------------------------------------------------------------------------------

    def predict(self, X: ArrayLike, *, groups: ArrayLike | None = None) -> NDArray[Any]:
        """Predict with every network, or each row with one of them.

        Parameters
        ----------
        X : array-like, data frame or scipy.sparse matrix of shape (n_samples, sizes[0])
        groups : array-like of int, shape (n_samples,), optional
            The network that predicts each row, counted from 0. With the ``folds`` of `fit` these
            are predictions out of fold.

        Returns
        -------
        array
            What `Network.predict` gives, for each network, (n, n_samples, ...); with ``groups``
            (n_samples, ...).

        Raises
        ------
        ValueError
            As `Network.predict`, or if groups are not numbers of networks.
        """
        outputs = self._outputs(X, groups)
        predicted = self._predictions(outputs.reshape(-1, outputs.shape[-1]))
        return predicted.reshape(outputs.shape[:-1] + predicted.shape[1:])

    def predict_proba(self, X: ArrayLike, *, groups: ArrayLike | None = None) -> FloatArray:
        """Probabilities of `Network.predict_proba`; arguments, shapes and errors as `predict`.

        Parameters
        ----------
        X : array-like, data frame or scipy.sparse matrix of shape (n_samples, n_inputs)
            As `Network.predict`.
        groups : array-like of int, shape (n_samples,), optional
            Each row's network.

        Returns
        -------
        array of shape (n, n_samples, n_outputs) or (n_samples, n_outputs)
            With groups, each row by its own network.
        """
        self._require_classes("predict_proba")
        return self._outputs(X, groups)

    def mean_predict(self, X: ArrayLike) -> NDArray[Any]:
        """One prediction for each row: the mean, or the class or labels of `mean_predict_proba`.

        Errors and shape are as of `Network.predict`.

        Parameters
        ----------
        X : array-like, data frame or scipy.sparse matrix of shape (n_samples, n_inputs)
            As `Network.predict`.

        Returns
        -------
        array of shape (n_samples,) or (n_samples, n_outputs)
            Of numbers, or of labels.
        """
        return self._predictions(self._mean_outputs(X))

    def mean_predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Mean of the networks' probabilities, (n_samples, n_outputs), as float64.

        Parameters
        ----------
        X : array-like, data frame or scipy.sparse matrix of shape (n_samples, n_inputs)
            As `Network.predict`.

        Returns
        -------
        array of shape (n_samples, n_outputs)
            Of float64.

        Raises
        ------
        ValueError
            If the networks are regressions, or as `Network.predict`.
        """
        self._require_classes("mean_predict_proba")
        return self._mean_outputs(X)

    def _require_classes(self, method: str) -> None:
        if not self[0].is_classifier:
            raise ValueError(
                f"{method} needs the loss {' or '.join(kernels.CLASSIFICATION)}; these networks' "
                f"is {self[0].loss_name}: call {method.removesuffix('_proba')}."
            )

    def _predictions(self, outputs: FloatArray) -> NDArray[Any]:
        """What `Network.predict` makes of outputs, (rows, n_outputs)."""
        classes, predicted = self[0].classes, self[0].predictions(outputs)
        return predicted if classes is None else np.array(classes)[predicted]

    def _outputs(self, X: ArrayLike, groups: ArrayLike | None) -> FloatArray:
        """Outputs of every network, (n, n_samples, n_outputs), or of one of them for each row."""
        first, prepared = self[0], self[0].prepared(X)
        inputs = checked_inputs(prepared, first.sizes[0], first.dtype)
        shape = inputs.n, first.sizes[-1]
        if groups is None:
            outputs = np.empty((len(self), *shape), first.dtype)
            for network, its in zip(self, outputs, strict=True):
                its[...] = self._outputs_of(network, inputs, prepared)
            return outputs
        outputs = np.empty(shape, first.dtype)
        numbers_of_rows = numbers_of("groups", groups, len(self), inputs.n)
        for network, rows in zip(self, by_number(numbers_of_rows, len(self)), strict=True):
            if len(rows) > 0:
                outputs[rows] = self._outputs_of(network, inputs_of(inputs, rows), prepared)
        return outputs

    def _outputs_of(self, network: Network, inputs: kernels.Inputs, given: Any) -> FloatArray:
        return network.parameters.outputs(inputs, self._n_threads, True, given)

    def _mean_outputs(self, X: ArrayLike) -> NDArray[np.float64]:
        first, prepared = self[0], self[0].prepared(X)
        inputs = checked_inputs(prepared, first.sizes[0], first.dtype)
        total = np.zeros((inputs.n, first.sizes[-1]))
        for network in self:
            total += self._outputs_of(network, inputs, prepared)
        total /= len(self)
        return total

    # Text ---------------------------------------------------------------------------------------

    def summary(self) -> str:
        """Table of a network's layers and, after training, how it was computed and why.

        Returns
        -------
        str
            To be printed.
        """
        which = "1 network:" if len(self) == 1 else f"{len(self)} networks, each:"
        return "\n".join([which, self[0].summary(), *self._lines])

    def __repr__(self) -> str:
        return f"Ensemble of {len(self)}: {self[0]!r}"


def _check_names(options: Iterable[str]) -> None:
    """Refuse arguments that neither networks nor trainers have."""
    names = (*_OWN, *_OF_NETWORKS, *_OF_TRAINERS)
    for name in options:
        if name not in names:
            raise TypeError(
                f"Ensemble has no argument {name!r}{keywords.meant(name, names)}; it takes "
                f"{', '.join(names)}."
            )


@contextlib.contextmanager
def _naming(k: int) -> Iterator[None]:
    """Say in errors which network they are of."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"network {k}: {error}") from None


def _seeds(seeds: Any, n: int) -> tuple[Any, ...]:
    """A seed for each network."""
    if isinstance(seeds, numbers.Integral) and not isinstance(seeds, bool):
        return tuple(range(first := checks.integer("seeds", seeds, 0, None), first + n))
    return _for_each("seeds", seeds, n)


def _for_each(name: str, value: Any, n: int) -> tuple[Any, ...]:
    """One value for each network, from one for all or a sequence."""
    given = checks.sequence(value)
    if given is None:
        return (value,) * n
    if len(given) != n:
        raise ValueError(
            f"{name} must be one value or {n} values, one per network; got {checks.shown(value)}."
        )
    return given


def _lines(packs: Sequence[Sequence[Member]], alone: Sequence[Member], why: str) -> tuple[str, ...]:
    """How networks are trained, and why."""
    in_lanes = sum(map(len, packs))
    lines = []
    if in_lanes > 0:
        lines.append(
            f"{in_lanes} side by side in SIMD lanes, {len(packs)} pack{'s' * (len(packs) > 1)}"
        )
    reasons = Counter(why or _apart_from_packs(member) for member in alone)
    for reason, count in reasons.items():
        lines.append(f"{count} on {'its' if count == 1 else 'their'} own: {reason}")
    return tuple(lines)


def _apart_from_packs(member: Member) -> str:
    """Why a member is in no pack, although lanes can do what it needs."""
    if math.isfinite(member.factor):
        return "too few networks have as many samples"
    return "sample_weight is too small"
