"""A fit over a stream: the batches of a pass in memory, whatever the pieces that come."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import checks, kernels, mapped, pieces, streams, windows
from fastbp.callbacks import EarlyStopping
from fastbp.fitting import (
    WHOLE,
    Asked,
    Course,
    Fit,
    Unfinished,
    Weighting,
    checked,
    warn_of_sizes,
    weighting,
)
from fastbp.options import Options
from fastbp.prefetching import Prefetched
from fastbp.runs import Pass
from fastbp.samples import relative_weights

if TYPE_CHECKING:
    from fastbp.trainer import Trainer


class Reading(NamedTuple):
    """How a source is read, once that has been checked."""

    source: Any
    window: int
    shuffle: bool
    steps: int | None
    prefetch: int
    start: int

    @property
    def is_used_up(self) -> bool:
        """Whether the source can be read only once."""
        return hasattr(self.source, "__next__")


def reading(
    source: Any, window: Any, shuffle: Any, steps: Any, prefetch: Any, start: Any
) -> Reading:
    """How a source is read; see `Trainer.fit_stream`."""
    return Reading(
        pieces.checked_source(source),
        checks.integer("window", window, 1),
        checks.flag("shuffle", shuffle),
        None if steps is None else checks.integer("steps", steps, 1),
        checks.integer("prefetch", prefetch, 0),
        checks.integer("start", start, 0),
    )


def prepared(trainer: Trainer, how: Reading, asked: Asked) -> StreamFit:
    """The fit that is asked for, checked as far as that goes without reading the source."""
    course = checked(trainer, asked)
    if how.is_used_up and course.epochs > 1 and how.steps is None:
        raise ValueError(
            f"source must be iterable once an epoch, and an iterator is not; got epochs="
            f"{course.epochs}: pass a function that makes the iterator, or steps."
        )
    if trainer.options.class_weight == "balanced":
        raise ValueError(
            "class_weight must be a factor for each class where rows come in pieces, got "
            "'balanced', which needs the number of samples of each class: count them first."
        )
    return StreamFit(trainer, how, course)


def of_map(trainer: Trainer, X: Any, y: ArrayLike, asked: Asked) -> StreamFit:
    """The fit to a memory map that memory cannot hold: rows are drawn from a window."""
    network, shuffle = trainer.network, trainer.options.shuffle
    if callable(shuffle):
        raise ValueError(
            "shuffle must be True or False for a memory map that is larger than memory, got "
            f"{checks.shown(shuffle)}."
        )
    if asked.validation_split is not None:
        raise ValueError(
            "validation_split must be None for a memory map that is larger than memory, got "
            f"{asked.validation_split}: pass an eval_set."
        )
    network.name_classes(y)
    weight = asked.sample_weight
    if weight is not None:
        weight = relative_weights(weight, len(X))
    row = max(1, network.sizes[0] * network.dtype.itemsize)
    window = min(_WINDOW, max(_LEAST, min(_BYTES, mapped.memory() // 8) // row))
    source = streams.arrays(X, y, weight)
    return prepared(trainer, Reading(source, window, shuffle, None, 2, 0), asked)


# Rows of a window on a map: so many, or fewer if they take more than 512 MiB or an eighth of
# memory, but at least 1024.
_WINDOW, _LEAST, _BYTES = 65_536, 1024, 1 << 29


class StreamFit(Fit):
    """A fit of a trainer over a stream.

    Parameters
    ----------
    trainer : Trainer
    how : Reading
    course : Course
    """

    def __init__(self, trainer: Trainer, how: Reading, course: Course) -> None:
        super().__init__(trainer, course)
        self._how = how
        self._weighting: Weighting | None = None  # from the first piece on, which may name classes
        self._ahead: Prefetched[kernels.Samples] | None = None
        self._rows = windows.RowCutter(())
        # Of the epoch that is going on: the parts that are to come.
        self._coming: Iterator[kernels.Samples] = iter(())
        # Of the first epoch: what this trainer has learned of it, and how many more to skip.
        self._learned, self._skipped = WHOLE, how.start
        if how.start == trainer.unfinished:
            self._learned, self._skipped = trainer.workings.unfinished, 0

    def _train(self, endings: contextlib.ExitStack) -> None:
        """As `Fit._train`; the source is left in the end, whatever happens."""
        try:
            super()._train(endings)
        except BaseException:
            if any(isinstance(each, EarlyStopping) and each.restores for each in self.listeners):
                self._workings.unfinished = WHOLE  # of the parameters that are taken back
            raise
        finally:
            self._leave()

    def _n_in_all(self) -> int | None:
        return None

    def _begun(self, eta: float, options: Options, last: Pass | None) -> Pass | None:
        how, size = self._how, options.batch_size
        if last is not None:
            self._learned, self._skipped = WHOLE, 0
        start = self._learned.samples + self._skipped
        if start == 0:
            self._workings.unfinished = WHOLE
        if last is None or not how.is_used_up:
            self._enter()
        most = sys.maxsize if how.steps is None else how.steps * size
        parts = windows.whole_batches(self._rows.take(most), size)
        first = next(parts, None)
        if first is None and last is not None and how.is_used_up:
            return None
        rows = windows.RowCutter(itertools.chain([first], parts) if first is not None else ())
        for _ in rows.take(start):
            pass
        self._coming = rows.take(sys.maxsize)
        coming = next(self._coming, None)
        if coming is not None:
            self._coming = itertools.chain([coming], self._coming)
        if first is None or (coming is None and self._learned.samples == 0):
            after = f" after the first {start:,}, which start leaves out" * (start > 0)
            raise ValueError(f"source must give at least one row{after}, got none.")
        if last is None:
            warn_of_sizes(self.trainer, first, callers=11)
        order = kernels.IN_ORDER
        this = self._runs.begin(self._network, first, order, eta, options, last, is_stream=True)
        this.resume(*self._learned)
        return this

    def _chunks(self, this: Pass) -> Generator[int]:
        epoch, end = len(self.trainer.history) + 1, this.done
        try:
            for part in windows.whole_batches(self._coming, this.unit):
                end += part.inputs.n
                this.go_on(part)
                for done in this.chunks(epoch):
                    if this.done == end or this.done % this.batch_size == 0:
                        self._note(this, this.done)
                    yield done
                if this.stops:
                    break
        except BaseException:
            self._note(this, this.break_off(end))
            raise

    def _note(self, this: Pass, done: int) -> None:
        """Note how far the epoch has come, in whole batches."""
        if done > 0:
            samples = self._skipped + done
            # The loss of a batch that takes several calls, and of what is skipped, is estimated.
            loss_sum = this.loss_sum * (samples / this.done)
            self._workings.unfinished = Unfinished(samples, loss_sum, this.seconds)

    def _enter(self) -> None:
        """Begin to read the source."""
        self._leave()
        how, epoch = self._how, len(self.trainer.history)
        source, part = pieces.begun(how.source, epoch), max(1, how.window // windows.PARTS)
        generator = self._workings.orders.of_stream(epoch)

        def made(is_awaited: Callable[[], bool]) -> Iterator[kernels.Samples]:
            rows = pieces.samples(source, self._converted)
            if how.is_used_up and how.steps is not None:  # what is read beyond them would be lost
                most = self.epochs * how.steps * self.trainer.options.batch_size
                rows = windows.RowCutter(rows).take(most)
            if how.shuffle:
                return windows.shuffled(rows, how.window, generator)
            return windows.in_order(rows, part, is_awaited)

        self._ahead = Prefetched(made, how.prefetch)
        self._rows = windows.RowCutter(self._ahead)

    def _leave(self) -> None:
        if self._ahead is not None:
            self._ahead.close()

    def _converted(self, X: Any, y: Any, weights: NDArray[np.float64] | None) -> kernels.Samples:
        """A piece as it is trained on."""
        samples = self._network.training_samples(X, y)
        if weights is not None:
            samples = samples._replace(weights=weights)
        if self._weighting is None:
            self._weighting = weighting(self._network, self.trainer.options, self.trainer.clip)
        return self._weighting.of(samples, whole=False)
