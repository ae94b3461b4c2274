"""Many networks over a cluster: the fit of an ensemble, and searches for settings."""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import cloudpickle
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import checks, splitting, threads
from fastbp.dask.partitions import current_client, result_of
from fastbp.dask.training import Parcel, take_over
from fastbp.divergence import EnsembleDivergenceError
from fastbp.ensemble import Ensemble
from fastbp.packs import Errors, Member, Work, calls_a_function, places_of, train_all

# Tasks for each thread of the cluster: enough for all to end at about the same time.
_TASKS = 4
# Most networks of a task of a search: some packs, whatever the machine.
_TOGETHER = 64
# What networks of an ensemble may have each for itself.
_OF_EACH = ("learning_rate", "weight_decay", "seed")


def fit_many(
    ensemble: Ensemble,
    X: ArrayLike,
    y: ArrayLike,
    *,
    epochs: int = 10,
    groups: ArrayLike | None = None,
    folds: Any = None,
    sample_weight: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """`Ensemble.fit` over a cluster, with the bits of one machine.

    Each task trains some of the networks, those side by side that are so here, on one thread. Each
    worker gets the rows once.

    Parameters
    ----------
    ensemble : Ensemble
        Its networks have learned afterwards.
    X : array-like, data frame or scipy.sparse matrix of shape (n_samples, n_inputs)
        As `Ensemble.fit`, in memory.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Likewise.
    epochs : int, default 10
        Likewise.
    groups : array-like of int, shape (n_samples,), optional
        Likewise.
    folds : array-like of int, shape (n_samples,), or iterable, optional
        Likewise.
    sample_weight : array-like of shape (n_samples,), optional
        Likewise.

    Returns
    -------
    array of shape (epochs, n)
        As `Ensemble.fit`.

    Raises
    ------
    ValueError
        As `Ensemble.fit`.
    DivergenceError
        As `Ensemble.fit`.
    RuntimeError
        As `Ensemble.fit`; or if the cluster has lost networks or rows.

    Notes
    -----
    Without a client it is `Ensemble.fit`. Whatever ends it early leaves every network whole: as it
    was, or trained to the end.
    """
    given = {"epochs": epochs, "groups": groups, "folds": folds, "sample_weight": sample_weight}
    if (client := current_client()) is None:
        return ensemble.fit(X, y, **given, progress=False)

    def train(work: Work, epochs: int) -> Errors:
        n_tasks = _TASKS * sum(client.nthreads().values()) or 1
        if any(calls_a_function(each.trainer) for task in work.tasks for each in task):
            n_tasks = 1  # as the function must be called in a fixed order
        parts = [work.tasks[k::n_tasks] for k in range(min(n_tasks, len(work.tasks)))]
        members = {each.number: each.trainer for task in work.tasks for each in task}
        errors: Errors = {}
        for trained, some in _mapped(_trained, (X, y, sample_weight), parts, epochs):
            for number, trainer in trained.items():
                take_over(members[number], trainer)
            errors |= some
        return errors

    return ensemble.fit_by(train, X, y, **given)


def _trained(rows: Any, tasks: Sequence[Sequence[Member]], epochs: int) -> tuple[Any, Errors]:
    """Members of some tasks after their fit; on a worker."""
    members = [member for task in tasks for member in task]
    network = members[0].trainer.network
    work = Work(
        network.training_samples(*rows),
        [task for task in tasks if len(task) > 1],
        [task[0] for task in tasks if len(task) == 1],
        places_of(network),
        [],
    )
    errors = train_all(work, epochs, False, 1)
    return {member.number: member.trainer for member in members}, errors


class Search(NamedTuple):
    """What a `search` has found.

    Attributes
    ----------
    candidates : list of dict
        Settings, in the order given.
    scores : array of shape (n_candidates, n_folds)
        Of the rows that are not trained on: accuracies, or losses with a minus before them; the
        larger the better. NaN where training diverged.
    """

    candidates: list[dict[str, Any]]
    scores: NDArray[np.float64]

    @property
    def best(self) -> dict[str, Any]:
        """The candidate with the largest mean score."""
        means = self.scores.mean(axis=1)
        if np.isnan(means).all():
            raise ValueError("no candidate was trained without diverging.")
        return self.candidates[int(np.nanargmax(means))]


def search(
    candidates: Mapping[str, Sequence[Any]] | Iterable[Mapping[str, Any]],
    X: ArrayLike,
    y: ArrayLike,
    *,
    folds: int | Iterable[Any] = 5,
    epochs: int = 10,
) -> Search:
    """Train every candidate on every fold over a cluster, and score it on the rows left out.

    Candidates that differ in learning rate, weight decay and seed alone are trained together, as an
    `Ensemble`, at most 64 networks a task. So scores have the same bits on any cluster, and without
    a client.

    Parameters
    ----------
    candidates : iterable of mapping, or mapping of sequences
        Arguments of `Ensemble` but ``n`` and ``seeds``: ``sizes``, and those of `Network` and
        `Trainer`. ``seed`` is 0 unless it is given. Of a mapping of sequences, all combinations.
    X : array-like or scipy.sparse matrix of shape (n_samples, n_inputs)
        In memory; each worker gets it once.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Likewise.
    folds : int or iterable of (train, test), default 5
        Their number: the same share of each class, drawn at random, but always the same. Or pairs
        of numbers of rows, as scikit-learn's splitters yield them.
    epochs : int, default 10
        Of each fit.

    Returns
    -------
    Search

    Raises
    ------
    ValueError
        If an argument is not one of those allowed, or does not fit; before anything is trained.
    RuntimeError
        If the cluster has lost tasks or rows.
    """
    listed, y = _listed(candidates), np.asarray(y)
    X = X.tocsr() if hasattr(X, "tocsr") else np.asarray(X)
    splits = _splits(folds, y)
    tasks = _grouped(listed, max(1, _TOGETHER // len(splits)))
    for some in tasks:
        _ensemble([listed[k] for k in some], len(splits))  # raises here what is wrong
    parts = [[listed[k] for k in some] for some in tasks]
    scores = np.empty((len(listed), len(splits)))
    for some, found in zip(tasks, _mapped(_scored, (X, y, splits), parts, epochs), strict=True):
        scores[some] = found
    return Search(listed, scores)


def _mapped(
    work: Callable[[Any, Any, int], Any], rows: Any, parts: Sequence[Any], epochs: int
) -> Iterable[Any]:
    """Results of ``work(rows, part, epochs)`` for each part, in order, of one thread each."""
    if (client := current_client()) is None:
        yield from (_alone(Parcel(rows), Parcel(part), work, epochs) for part in parts)
        return
    client.wait_for_workers(1)
    sent = client.scatter(Parcel(rows), broadcast=True, hash=False)
    futures = [
        client.submit(_alone, sent, Parcel(part), work, epochs, pure=False) for part in parts
    ]
    try:
        for future in futures:
            yield result_of(future, "a task of networks")
    finally:
        for future in futures:
            future.release()


def _alone(rows: Parcel, part: Parcel, work: Callable[[Any, Any, int], Any], epochs: int) -> Any:
    """On a worker, or here."""
    with threads.at_most(1):
        return work(rows.content, part.content, epochs)


def _listed(candidates: Any) -> list[dict[str, Any]]:
    if isinstance(candidates, Mapping):
        values = (checks.sequence(each) or (each,) for each in candidates.values())
        return [dict(zip(candidates, some, strict=True)) for some in itertools.product(*values)]
    listed = [dict(each) for each in candidates]
    if not listed:
        raise ValueError("candidates must be at least one, got none.")
    return listed


def _splits(folds: Any, y: NDArray[Any]) -> list[tuple[Any, Any]]:
    """Rows to train on, and others, for each fold."""
    if not isinstance(folds, numbers.Integral):
        splits = [tuple(pair) for pair in folds]
        if not splits or any(len(pair) != 2 for pair in splits):
            raise ValueError("folds must be a number, or pairs of rows (train, test).")
        return splits
    labels = y if y.ndim == 1 and y.dtype.kind not in "f" else None
    made = splitting.folds(len(y), int(folds), labels=labels, validation=0)
    return [(parts.train, parts.test) for parts in made]


def _grouped(listed: Sequence[Mapping[str, Any]], most: int) -> list[list[int]]:
    """Numbers of candidates that an ensemble can train, at most so many together."""
    groups: dict[bytes, list[int]] = {}
    for k, candidate in enumerate(listed):
        common = {name: value for name, value in candidate.items() if name not in _OF_EACH}
        groups.setdefault(cloudpickle.dumps(sorted(common.items())), []).append(k)
    return [
        some[start : start + most]
        for some in groups.values()
        for start in range(0, len(some), most)
    ]


def _ensemble(candidates: Sequence[Mapping[str, Any]], n_folds: int) -> Ensemble:
    """Networks of some candidates, each as many times as there are folds."""
    first = {name: value for name, value in candidates[0].items() if name not in _OF_EACH}
    first |= {"n_threads": 1}
    if "sizes" not in first:
        raise ValueError(f"candidates must have sizes, got {checks.shown(first)}.")
    each: dict[str, Any] = {
        name: [candidate.get(name) for candidate in candidates for _ in range(n_folds)]
        for name in ("learning_rate", "weight_decay")
    }
    seeds = [candidate.get("seed", 0) for candidate in candidates for _ in range(n_folds)]
    return Ensemble(n=len(seeds), seeds=seeds, **first, **each)


def _scored(data: Any, candidates: Sequence[Mapping[str, Any]], epochs: int) -> NDArray[Any]:
    """Scores of some candidates on all folds."""
    X, y, splits = data
    ensemble, diverged = _ensemble(candidates, len(splits)), set[int]()
    try:
        rows = [train for train, _ in splits] * len(candidates)
        ensemble.fit(X, y, epochs=epochs, folds=rows, progress=False)
    except EnsembleDivergenceError as error:
        diverged = set(error.errors)
    scores = np.full(len(ensemble), np.nan)
    for k, network in enumerate(ensemble):
        if k not in diverged:
            test = splits[k % len(splits)][1]
            found = network.evaluate(X[test], y[test])
            scores[k] = -found.loss if found.accuracy is None else found.accuracy
    return scores.reshape(len(candidates), len(splits))
