"""`Trainer.fit_stream` over Dask collections, in the client or on a worker."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import distributed

from fastbp import threads
from fastbp.dask.partitions import current_client, result_of, source
from fastbp.history import History
from fastbp.trainer import Trainer


def fit_stream(
    trainer: Trainer,
    X: Any,
    y: Any = None,
    weight: Any = None,
    *,
    worker: str | bool = False,
    ahead: int | None = None,
    **options: Any,
) -> History:
    """Train on Dask collections: their partitions in order, with the bits of one machine.

    Parameters
    ----------
    trainer : Trainer
        If its network has a ``preparation``, workers apply it.
    X : dask array, data frame or bag
        As of `source`.
    y : dask array, series or data frame, optional
        Likewise.
    weight : dask array or series, optional
        Likewise.
    worker : str or bool, default False
        Where the network learns: here; on the worker of this address, near the data; or with True
        on any worker. There it is one thread's work, unless ``trainer.n_threads`` says how many.
    ahead : int, optional
        As of `source`.
    **options
        As of `Trainer.fit_stream`. On a worker, callbacks are copies of the given ones.

    Returns
    -------
    History
        The trainer's `history`.

    Raises
    ------
    ValueError
        As `source` and `Trainer.fit_stream`; or if a worker is named and there is no client.
    DivergenceError
        As `Trainer.fit`.
    RuntimeError
        If the cluster has lost a partition that it cannot make again, or the trainer.
    Exception
        Whatever making a partition raises, with a note that says which one.

    Notes
    -----
    A worker that is lost costs time: its partitions are made again, and a network that was learning
    there begins again on another worker. Whatever ends an epoch early leaves the network whole,
    and the same call goes on with ``start=trainer.unfinished``, as in `Trainer.fit_stream`. After
    Ctrl-C, what a worker has learned comes back here first; a second Ctrl-C leaves it there.
    """
    if worker is False:
        pieces = source(X, y, weight, network=trainer.network, ahead=ahead)
        return trainer.fit_stream(pieces, **options)
    source(X, y, weight, ahead=ahead)  # raises ValueError here rather than there
    if (client := current_client()) is None:
        raise ValueError(f"worker needs a distributed.Client, and there is none; got {worker!r}.")
    stop = f"fastbp-{uuid.uuid4().hex}"
    task = _Task(trainer, (X, y, weight), ahead, options, stop)
    trainer.workings.turns.take(
        trainer.network.trained_by, lambda: _send(client, task, None if worker is True else worker)
    )
    return trainer.history


class _Task(NamedTuple):
    """What a worker needs to know."""

    trainer: Trainer
    collections: tuple[Any, Any, Any]
    ahead: int | None
    options: dict[str, Any]
    stop: str
    """Name of the event that stops it."""


class Parcel:
    """Keeps Dask from looking for collections in what a task is given."""

    def __init__(self, content: Any) -> None:
        self.content = content


def _send(client: Any, task: _Task, address: str | None) -> None:
    """Have a worker train; the trainer takes over what comes back."""
    stop = distributed.Event(task.stop, client=client)
    future = client.submit(
        _train,
        Parcel(task),
        workers=address,
        allow_other_workers=address is not None,  # if it is lost
        pure=False,
    )
    try:
        try:
            trained, error = result_of(future, "the trainer")
        except KeyboardInterrupt as pressed:
            stop.set()
            trained, error = result_of(future, "the trainer")
            error = error or pressed
    finally:
        future.cancel()
    take_over(task.trainer, trained)
    if error is not None:
        raise error


def _train(parcel: Parcel) -> tuple[Trainer, BaseException | None]:
    """On a worker, whose threads stay free for partitions: the trainer, and what ended it early."""
    task: _Task = parcel.content
    trainer = task.trainer
    with distributed.worker_client() as client, client.as_current():
        stop = distributed.Event(task.stop, client=client)
        pieces = source(*task.collections, network=trainer.network, ahead=task.ahead)
        try:
            with threads.at_most(trainer.n_threads or 1):
                trainer.fit_stream(_Stoppable(pieces, stop), **task.options)
        except BaseException as error:  # the client's to raise
            return trainer, error
    return trainer, None


class _Stoppable:
    """Pieces, until an event is set."""

    def __init__(self, pieces: Iterable[Any], stop: Any) -> None:
        self._pieces, self._stop = pieces, stop

    def __iter__(self) -> Iterator[Any]:
        for piece in self._pieces:
            if self._stop.is_set():
                raise KeyboardInterrupt
            yield piece


def take_over(trainer: Trainer, trained: Trainer) -> None:
    """Make a trainer, and its network in place, what a copy of it has become."""
    network = trainer.network
    network.params[:] = trained.network.params
    vars(network)["classes"] = trained.network.classes
    network.parameters.ready_for = None  # what is ready for other classes
    trainer.__setstate__(trained.__getstate__() | {"network": network})
