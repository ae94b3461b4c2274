"""Partitions of Dask collections in order, made by workers a few ahead of their use."""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import dask
import distributed
import numpy as np

from fastbp import checks
from fastbp.network import Network
from fastbp.preparation import Prepared

Change = Callable[..., tuple[Any, ...]]
"""From X, y and perhaps weights to what takes their place; on a worker."""


def source(
    X: Any,
    y: Any = None,
    weight: Any = None,
    *,
    network: Network | None = None,
    ahead: int | None = None,
) -> Iterable[Any]:
    """Partitions of Dask collections as pieces for `Trainer.fit_stream`.

    Workers make each partition when it is near its turn; it comes here in the order of the
    partitions, and is forgotten there. What a lost worker held is made again.

    Parameters
    ----------
    X : dask array, data frame or bag
        Rows; columns in several chunks are joined. Or a bag of samples (x, y) or (x, y, weight).
    y : dask array, series or data frame, optional
        As many rows, in as many partitions; an array is cut as X is, where lengths are known. None
        for a bag.
    weight : dask array or series, optional
        Factors of the gradients, likewise.
    network : Network, optional
        If it has a ``preparation``, workers prepare the rows, and the network takes them as they
        come.
    ahead : int, optional
        Most partitions that workers hold or make at a time; by default one more than they have
        threads. Without a client, they are made one at a time.

    Returns
    -------
    iterable
        A source for `Trainer.fit_stream`, of the client that is the current one now.

    Raises
    ------
    ValueError
        If the collections are not what they should be, or differ in rows or partitions.
    """
    if ahead is not None:
        ahead = checks.integer("ahead", ahead, 1)
    change = None
    if network is not None and network.preparation is not None:
        transform = functools.partial(network.preparation.transform, dtype=network.dtype.name)
        change = functools.partial(_prepared, transform)
    return Partitions(_made(_collections(X, y, weight), change), ahead, change is not None)


def changed(X: Any, y: Any, weight: Any, change: Change | None) -> Partitions:
    """As `source`, with pieces that workers change."""
    return Partitions(_made(_collections(X, y, weight), change), None, False)


class Partitions:
    """What workers make, in order.

    Parameters
    ----------
    parts : list of dask.delayed.Delayed
        Each gives a piece.
    ahead : int or None
        As of `source`.
    is_prepared : bool
        Whether the pieces' rows are inputs already.
    """

    def __init__(self, parts: list[Any], ahead: int | None, is_prepared: bool) -> None:
        self._parts, self._is_prepared = parts, is_prepared
        self._client = current_client()
        self._ahead = ahead

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[Any]:
        made = self._one_by_one() if self._client is None else self._by_workers(self._client)
        for X, *others in made:
            yield (X.view(Prepared) if self._is_prepared and len(X) > 0 else X), *others

    def __repr__(self) -> str:
        return f"source({len(self)} partition{'s' * (len(self) != 1)})"

    def _one_by_one(self) -> Iterator[Any]:
        for part in self._parts:
            yield part.compute()

    def _by_workers(self, client: Any) -> Iterator[Any]:
        coming, waiting = iter(self._parts), deque[Any]()

        def ask() -> None:
            ahead = self._ahead or sum(client.nthreads().values()) + 1  # workers come and go
            for part in itertools.islice(coming, max(0, ahead - len(waiting))):
                # Without what other partitions need, which would travel with each of them.
                waiting.append(client.compute(dask.optimize(part)[0]))

        try:
            ask()
            while waiting:
                piece = result_of(waiting[0], "a partition")
                waiting.popleft().release()
                ask()
                yield piece
        finally:  # what nobody waits for is given up by the scheduler
            for future in waiting:
                future.release()


def current_client() -> Any:
    """The current client of dask.distributed; None if there is none."""
    try:
        return distributed.Client.current()
    except ValueError:
        return None


def result_of(future: Any, what: str) -> Any:
    """What a future gives.

    Raises
    ------
    RuntimeError
        If the cluster has given it up.
    """
    try:
        return future.result()
    except (distributed.CancelledError, distributed.KilledWorker) as error:
        raise RuntimeError(
            f"the cluster has lost {what} and cannot make it again: {error}"
        ) from error


def _made(collections: list[Any], change: Change | None) -> list[Any]:
    """The partitions as pieces, each to be made by one task."""
    make = dask.delayed(_piece, pure=False)
    columns = map(parts_of, collections)
    return [make(change, *row) for row in zip(*columns, strict=True)]


def parts_of(collection: Any) -> list[Any]:
    """Its partitions as delayed values.

    Arrays that come from each other share their work as long as they are not optimised.
    """
    if is_array(collection):
        return list(collection.to_delayed(optimize_graph=False).ravel())
    # Else frames that are read with fewer columns get fewer partitions than others.
    with dask.config.set({"optimization.tune.active": False}):
        return list(collection.to_delayed())


def is_array(collection: Any) -> bool:
    """Whether it is a Dask array."""
    return hasattr(collection, "rechunk")


def is_rows(collection: Any) -> bool:
    """Whether it is a Dask array or frame."""
    return bool(dask.is_dask_collection(collection)) and hasattr(collection, "ndim")


def _collections(X: Any, y: Any, weight: Any) -> list[Any]:
    """Collections of as many partitions, in pairs of equal length where that is known."""
    if hasattr(X, "to_dataframe") and y is None and weight is None:  # a bag
        return [X]
    given = {"X": X, "y": y, "weight": weight}
    if weight is None:
        del given["weight"]
    for name, each in given.items():
        if not is_rows(each):
            raise ValueError(
                f"{name} must be a dask array or frame, or X a bag of samples with y=None; got "
                f"{type(each).__name__}."
            )
    if X.ndim != 2:
        raise ValueError(f"X must have two dimensions, a row for each sample; got {X.ndim}.")
    made = [in_rows(each) for each in given.values()]
    for i, name in list(enumerate(given))[1:]:
        made[i] = _cut_alike(name, made[0], made[i])
    return made


def in_rows(collection: Any) -> Any:
    """An array with all columns in one chunk; anything else as it is."""
    if is_array(collection) and collection.ndim > 1:
        return collection.rechunk(dict.fromkeys(range(1, collection.ndim), -1))
    return collection


def _cut_alike(name: str, X: Any, other: Any) -> Any:
    """The other collection in the partitions of X."""
    if is_array(X) and is_array(other):
        lengths = X.shape[0], other.shape[0]
        if not np.isnan(lengths).any():
            if lengths[0] != lengths[1]:
                raise ValueError(
                    f"{name} must have one entry per row of X, {lengths[0]:,}; got {lengths[1]:,}."
                )
            return other.rechunk({0: X.chunks[0]})
    if X.npartitions != other.npartitions:
        raise ValueError(
            f"{name} must be in the partitions of X, {X.npartitions}; got {other.npartitions}."
        )
    return other


def _piece(change: Change | None, X: Any, y: Any = None, weight: Any = None) -> Any:
    """A partition as `Trainer.fit_stream` takes it; on a worker."""
    parts = [X, y] if weight is None else [X, y, weight]
    if y is None:
        samples = list(X)
        parts = [np.stack(each) for each in zip(*samples, strict=True)] or [np.empty((0, 0))] * 2
    return tuple(parts) if change is None or len(parts[1]) == 0 else change(*parts)


def _prepared(transform: Callable[[Any], Any], X: Any, *others: Any) -> tuple[Any, ...]:
    """A piece with inputs in place of raw rows."""
    return transform(X), *others
