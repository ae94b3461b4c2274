"""Many networks of one architecture, trained in one call."""

from __future__ import annotations

import functools
import inspect
import itertools
import numbers
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import checks, kernels, keywords, threads
from fastbp.divergence import EnsembleDivergenceError
from fastbp.evaluation import inputs_of
from fastbp.fitting import check_rates, warn_of_sizes
from fastbp.network import Network
from fastbp.packs import Member, Room, Rows, Work, divided, least_members, places_of, train_all
from fastbp.running import Stream
from fastbp.samples import FloatArray, checked_indices, checked_inputs
from fastbp.trainer import Trainer
from fastbp.turns import take_all

_OWN = ("sizes", "n", "seeds", "learning_rate", "weight_decay", "n_threads")


def _keywords_of(kind: type) -> tuple[str, ...]:
    """Arguments of a class that an ensemble passes on."""
    names = inspect.signature(kind).parameters
    return tuple(name for name in names if name not in (*_OWN, "network", "seed"))


_NUMBER_THEM = "; to number other keys, call numpy.unique(keys, return_inverse=True)"

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
        enough work.
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
    ``ensemble[k]`` is a `Network`, to be used and changed like any other; ``len(ensemble)`` is
    their number, and a loop over the ensemble goes over them. An ensemble can be pickled.

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
        if n_threads is not None:
            n_threads = checks.integer("n_threads", n_threads, 1, threads.MOST)
        given = {"seed": _seeds(seeds, n)}
        for name, value in (("learning_rate", learning_rate), ("weight_decay", weight_decay)):
            given[name] = _for_each(name, value, n)
        of_network = {name: options[name] for name in _OF_NETWORKS if name in options}
        of_trainer = {name: options[name] for name in _OF_TRAINERS if name in options}
        trainers = []
        for k in range(n):
            own = {name: values[k] for name, values in given.items()}
            network = Network(sizes, seed=own["seed"], **of_network)
            try:
                trainers.append(Trainer(network, n_threads=1, **own, **of_trainer))
            except ValueError as error:
                where = f"network {k}: " if k > 0 else ""
                raise ValueError(f"{where}{error}") from None
        self._n_threads, self._trainers = n_threads, tuple(trainers)
        self._places = places_of(self[0])
        self._lanes = kernels.VECTOR_BYTES // self[0].dtype.itemsize
        self._rooms: list[Room] = []
        self._lines: tuple[str, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_rooms": []}

    # Networks -----------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._trainers)

    def __getitem__(self, k: int) -> Network:
        return self._trainers[k].network

    def __iter__(self) -> Iterator[Network]:
        return (trainer.network for trainer in self._trainers)

    @property
    def train_loss(self) -> NDArray[np.float64]:
        """Mean loss of each epoch so far and each network, (epochs, n), as `History.train_loss`.

        A network that sat out some fits, or diverged, has NaN at the end.
        """
        columns = (trainer.history.train_loss for trainer in self._trainers)
        rows = [*itertools.zip_longest(*columns, fillvalue=np.nan)]
        return np.array(rows, np.float64).reshape(len(rows), len(self))

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
        X, y
            As `Trainer.fit`.
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
        array of shape (epochs so far, n)
            `train_loss`.

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
        epochs = checks.integer("epochs", epochs, 0)
        if progress is not None:
            checks.flag("progress", progress)
        self._train(X, y, sample_weight, groups, folds, epochs, progress)
        return self.train_loss

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
        """
        self._train(X, y, sample_weight, groups, None, None, False)
        return self

    def _train(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        groups: ArrayLike | None,
        folds: Any,
        epochs: int | None,
        progress: bool | None,
    ) -> None:
        """`fit`, or with ``epochs=None`` `partial_fit`."""
        samples = self._samples(X, y, sample_weight)
        if epochs is not None:
            warn_of_sizes(self._trainers[0], samples)
        rows = self._rows(samples.inputs.n, groups, folds)
        members = self._members(samples, rows)
        for member in members:
            _check(member, epochs)
        packs: list[list[Member]] = []
        alone, why = members, self._against_lanes(samples, rows is not None)
        if not why:
            packs, alone = divided(members, self._lanes, least_members(self[0]))
        self._lines = _lines(packs, alone, why)
        if not members or epochs == 0:
            return
        users = [member.trainer.network.trained_by for member in members]
        users += [member.trainer.workings.turns.by for member in members]
        work = Work(samples, packs, alone, self._places, self._rooms)
        train = functools.partial(train_all, work, epochs, progress, self._n_threads)
        if errors := take_all(users, train):
            raise EnsembleDivergenceError(errors, len(self))

    def _samples(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None
    ) -> kernels.Samples:
        """Rows to train on; text in y becomes the classes of all networks, if they have none."""
        samples = self[0].training_samples(X, y, sample_weight)
        for network in self:
            if network.classes is None and self[0].classes is not None:
                vars(network)["classes"] = self[0].classes
        return samples

    def _rows(self, n_rows: int, groups: ArrayLike | None, folds: Any) -> list[Rows] | None:
        """The rows of each network; None if all of them train on all rows."""
        if groups is not None and folds is not None:
            raise ValueError("groups and folds must not both be given.")
        if groups is not None:
            return _by_number(self._numbers("groups", groups, n_rows), len(self))
        return None if folds is None else self._by_fold(folds, n_rows)

    def _numbers(self, name: str, values: Any, n_rows: int) -> Rows:
        """A number of a network for each row."""
        what = "numbers of networks"
        return checked_indices(name, values, len(self), what, n_rows, _NUMBER_THEM)

    def _by_fold(self, folds: Any, n_rows: int) -> list[Rows]:
        entries = folds if isinstance(folds, np.ndarray) else _listed(folds)
        if np.ndim(entries) == 1 if isinstance(entries, np.ndarray) else _are_numbers(entries):
            left_out = self._numbers("folds", entries, n_rows)
            given = [np.flatnonzero(left_out != k) for k in range(len(self))]
        else:
            given = [each[0] if _is_split(each) else each for each in entries]
        if len(given) != len(self):
            raise ValueError(
                f"folds must give rows for each of {len(self)} networks, got {len(given)} of them."
            )
        return [
            checked_indices(f"folds[{k}]", rows, n_rows, "rows") for k, rows in enumerate(given)
        ]

    def _members(self, samples: kernels.Samples, rows: list[Rows] | None) -> list[Member]:
        """Those that have rows to train on."""
        members = []
        for k, trainer in enumerate(self._trainers):
            if rows is None:
                members.append(Member(k, trainer, samples.inputs.n, None))
            elif len(rows[k]) > 0:
                factor, weights = 1.0, samples.weights
                if len(weights) > 0:
                    mean = float(weights[rows[k]].mean())
                    if mean == 0:
                        raise ValueError(
                            f"sample_weight must be above 0 in some rows of network {k}."
                        )
                    factor = 1 / mean
                members.append(Member(k, trainer, len(rows[k]), rows[k], factor))
        return members

    def _against_lanes(self, samples: kernels.Samples, has_rows: bool) -> str:
        """Why networks cannot train side by side, or would be slower; "" if they can."""
        options, least = self._trainers[0].options, least_members(self[0])
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
        """Probabilities of `Network.predict_proba`; arguments, shapes and errors as `predict`."""
        self._require_classes("predict_proba")
        return self._outputs(X, groups)

    def mean_predict(self, X: ArrayLike) -> NDArray[Any]:
        """One prediction for each row: the mean, or the class or labels of `mean_predict_proba`.

        Errors and shape are as of `Network.predict`.
        """
        return self._predictions(self._mean_outputs(X))

    def mean_predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Mean of the networks' probabilities, (n_samples, n_outputs), as float64.

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
        numbers_of_rows = self._numbers("groups", groups, inputs.n)
        for network, rows in zip(self, _by_number(numbers_of_rows, len(self)), strict=True):
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
        """Table of a network's layers and, after training, how it was computed and why."""
        return "\n".join([f"{len(self)} networks, each:", self[0].summary(), *self._lines])

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


def _by_number(numbers_of_rows: Rows, n: int) -> list[Rows]:
    """The rows of each number, ascending."""
    order = np.argsort(numbers_of_rows, kind="stable")
    ends = np.cumsum(np.bincount(numbers_of_rows, minlength=n))
    return np.split(order, ends[:-1])


def _listed(folds: Any) -> list[Any]:
    """What an iterable yields."""
    try:
        return [*folds]
    except TypeError:
        raise ValueError(
            "folds must be a number for each row, or rows or a split for each network, got "
            f"{checks.shown(folds)}."
        ) from None


def _check(member: Member, epochs: int | None) -> None:
    """Refuse options that do not go together in the epochs to come, and parameters like NaN."""
    if epochs is None:
        _ = member.trainer.options  # raises ValueError
    else:
        check_rates(member.trainer, epochs)
    if member.trainer.network.first_nonfinite_layer() is not None:
        raise ValueError(f"network {member.number} must have finite params.")


def _are_numbers(entries: Sequence[Any]) -> bool:
    return all(isinstance(entry, numbers.Number) for entry in entries)


def _is_split(entry: Any) -> bool:
    """Whether it is a pair of arrays: rows to train on, and others."""
    return isinstance(entry, tuple) and len(entry) == 2 and not _are_numbers(entry)


def _lines(packs: Sequence[Sequence[Member]], alone: Sequence[Member], why: str) -> tuple[str, ...]:
    """How networks are trained, and why."""
    in_lanes = sum(map(len, packs))
    lines = []
    if in_lanes > 0:
        lines.append(
            f"{in_lanes} side by side in SIMD lanes, {len(packs)} pack{'s' * (len(packs) > 1)}"
        )
    if alone:
        reason = why or "too few networks have as many samples"
        lines.append(f"{len(alone)} on their own: {reason}")
    return tuple(lines)
