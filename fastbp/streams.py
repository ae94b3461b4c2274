"""Sources for `Trainer.fit_stream`: arrays, frames and Parquet files, in pieces.

Anything else that gives pairs (X, y) is a source as it is.

>>> import numpy as np
>>> import fastbp
>>> X, y = np.random.default_rng(0).normal(size=(1000, 3)), np.arange(1000) % 2
>>> source = fastbp.streams.arrays(X, y, rows=300)
>>> [len(labels) for _, labels in source]
[300, 300, 300, 100]
>>> trainer = fastbp.Trainer(fastbp.Network((3, 8, 2), seed=0), seed=0)
>>> len(trainer.fit_stream(source, epochs=2))
2
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from fastbp import checks, extras
from fastbp.frames import chosen, is_frame, labels

__all__ = ["arrays", "frames", "parquet"]

# Bytes of a piece: long enough for a disk to be fast, short enough for the caches and for Ctrl-C.
_BYTES = 1 << 22
# Rows of a piece whose size in bytes is not known.
_ROWS = 16_384


class _Pieces:
    """Begins anew for each epoch."""

    def __init__(self, begin: Callable[[], Iterator[Any]], text: str) -> None:
        self._begin, self._text = begin, text

    def __iter__(self) -> Iterator[Any]:
        return self._begin()

    def __repr__(self) -> str:
        return self._text


def arrays(X: Any, y: Any, weight: Any = None, *, rows: int | None = None) -> Iterable[Any]:
    """Rows of arrays, some at a time: of memory maps, sparse matrices, HDF5, zarr, frames.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_inputs)
        Anything that slices of rows can be taken of. A memory map is read through its file, so that
        its pages do not stay in memory.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Likewise.
    weight : array-like of shape (n_samples,), optional
        Factors of the gradients.
    rows : int, optional
        Rows of a piece; by default about 4 MiB of X, in whole chunks of HDF5 and zarr. It has no
        effect on results.

    Returns
    -------
    iterable
        A source for `Trainer.fit_stream`.

    Raises
    ------
    ValueError
        If y or the weights have not as many rows as X.
    """
    given = [_sliceable(each) for each in (X, y, weight) if each is not None]
    n = _n_rows(given[0])
    for name, each in zip(("y", "weight"), given[1:], strict=False):
        if _n_rows(each) != n:
            raise ValueError(
                f"{name} must have one entry per row of X, {n:,}; got {_n_rows(each):,}."
            )
    step = _rows_of_piece(given[0]) if rows is None else checks.integer("rows", rows, 1)

    def pieces() -> Iterator[tuple[Any, ...]]:
        for start in range(0, n, step):
            yield tuple(_rows(each, start, min(n, start + step)) for each in given)

    return _Pieces(pieces, f"arrays({n:,} rows, {step:,} at a time)")


def frames(
    source: Any, target: str | Sequence[str], *, weight: str | None = None
) -> Iterable[Any] | Callable[[int], Iterable[Any]]:
    """Data frames, or Arrow's tables and record batches, one after the other.

    Parameters
    ----------
    source : iterable of frames, or callable
        Or a function of the epoch's number that gives frames, such as
        ``lambda epoch: pandas.read_csv(path, chunksize=10_000)``, which can be read only once.
    target : str or sequence of str
        Column of y, or several columns of targets; the others are X.
    weight : str, optional
        Column of factors of the gradients.

    Returns
    -------
    iterable or callable
        A source for `Trainer.fit_stream`; as the given one, it can be read once, or once an epoch.

    Raises
    ------
    ValueError
        When a frame does not have these columns.
    """

    def pieces(given: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
        for frame in given:
            yield _divided(frame, target, weight)

    if is_frame(source):
        source = [source]
    if hasattr(source, "__next__"):
        return pieces(source)
    if hasattr(source, "__iter__"):
        return _Pieces(lambda: pieces(source), f"frames({type(source).__name__})")
    return lambda epoch: pieces(source(epoch))


def parquet(
    path: str | os.PathLike[str] | Sequence[str],
    target: str | Sequence[str],
    *,
    columns: Sequence[str] | None = None,
    weight: str | None = None,
    rows: int = _ROWS,
) -> Iterable[Any]:
    """Rows of a Parquet file, of several, or of a folder of them.

    Parameters
    ----------
    path : path-like or sequence of str
        What `pyarrow.dataset.dataset` takes: files in the order of their names. Folders such as
        ``region=north`` become a column.
    target : str or sequence of str
        Column of y, or several columns of targets.
    columns : sequence of str, optional
        Columns of X, which alone are read; by default all others.
    weight : str, optional
        Column of factors of the gradients.
    rows : int, default 16384
        Most rows of a piece.

    Returns
    -------
    iterable
        A source for `Trainer.fit_stream`.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    OSError
        If there is no such file.
    ValueError
        If there is no such column, or the file is not what it should be.
    """
    try:
        import pyarrow.dataset
    except ImportError:
        raise extras.missing("fastbp.streams.parquet needs pyarrow", "tables") from None
    rows = checks.integer("rows", rows, 1)
    found = pyarrow.dataset.dataset(path, format="parquet", partitioning="hive")
    if not found.schema.names:
        raise ValueError(f"{path} must hold Parquet files, and there are none.")
    besides = [*_listed(target), *_listed(weight)]
    names = [
        name
        for name in (found.schema.names if columns is None else checks.texts("columns", columns))
        if name not in besides
    ]
    for name in (*names, *besides):
        if name not in found.schema.names:
            raise ValueError(
                f"{path} must have a column {name!r}, got "
                f"{checks.shown(found.schema.names)}{checks.nearest(name, found.schema.names)}."
            )

    def pieces() -> Iterator[tuple[Any, ...]]:
        scanner = found.scanner(
            columns=[*names, *besides], batch_size=rows, batch_readahead=1, fragment_readahead=1
        )
        for batch in scanner.to_batches():
            yield _divided(batch, target, weight)

    return _Pieces(pieces, f"parquet({os.fspath(path) if isinstance(path, str) else path})")


def _listed(names: str | Sequence[str] | None) -> list[str]:
    return [] if names is None else [names] if isinstance(names, str) else list(names)


def _divided(frame: Any, target: str | Sequence[str], weight: str | None) -> tuple[Any, ...]:
    """X, y and weights of a frame."""
    if not is_frame(frame):
        raise ValueError(f"source must give data frames, got {type(frame).__name__}.")
    names = labels(frame)
    besides = [*_listed(target), *_listed(weight)]
    for name in besides:
        if name not in names:
            raise ValueError(
                f"source must give frames with a column {name!r}, got {checks.shown(names)}"
                f"{checks.nearest(name, names)}."
            )
    X = chosen(frame, [name for name in names if name not in besides])
    y = _column(frame, target) if isinstance(target, str) else chosen(frame, target)
    return (X, y) if weight is None else (X, y, _column(frame, weight))


def _column(frame: Any, name: str) -> Any:
    return frame.column(name) if hasattr(frame, "column_names") else frame[name]


def _sliceable(array: Any) -> Any:
    """As it is, if rows can be taken of it, else as an array."""
    if hasattr(array, "tocsr"):
        return array.tocsr()
    return array if hasattr(array, "shape") else np.asarray(array)


def _n_rows(array: Any) -> int:
    return int(array.shape[0])


def _rows(array: Any, start: int, stop: int) -> Any:
    if hasattr(array, "iloc"):
        return array.iloc[start:stop]
    return array[start:stop]


def _rows_of_piece(X: Any) -> int:
    """Rows of about so many bytes; whole chunks where X is stored in chunks."""
    width = X.shape[1] if len(X.shape) > 1 else 1
    itemsize = getattr(getattr(X, "dtype", None), "itemsize", 8)
    rows = max(1, _BYTES // (width * itemsize)) if not hasattr(X, "indptr") else _ROWS
    chunks = getattr(X, "chunks", None)
    chunk = chunks[0] if isinstance(chunks, tuple) and isinstance(chunks[0], int) else 1
    return max(1, rows // chunk) * chunk
