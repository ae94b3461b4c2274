"""Pieces of a stream: what a source gives, checked and converted, one after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from fastbp import checks, kernels, mapped
from fastbp.frames import chosen, is_frame, labels
from fastbp.samples import checked_factors

_END = object()
# Single samples are put together before they are checked, so many at a time.
_TOGETHER = 256


_Parts = tuple[Any, Any, Any]


class Raw(NamedTuple):
    """A piece as it is given, or several single samples."""

    X: Any
    y: Any
    weight: Any
    """None if there are no weights."""
    place: str
    """For messages: which piece it is, and where its rows are."""


def checked_source(source: Any) -> Any:
    """``source``, if it is something to iterate over, or a function that gives it.

    Raises
    ------
    ValueError
        If it is not.
    """
    if is_frame(source) or isinstance(source, (str, np.ndarray)):
        raise ValueError(
            f"source must give pairs (X, y), got {type(source).__name__}: fastbp.streams makes "
            "sources of arrays, frames and files; for all rows at once pass [(X, y)]."
        )
    is_set = hasattr(source, "__getitem__") and hasattr(source, "__len__")
    if callable(source) and not is_set and not hasattr(source, "__iter__"):
        checks.takes("source", source, ("epoch",))
        return source
    if not (is_set or hasattr(source, "__iter__")):
        raise ValueError(
            "source must be iterable, or a function of the epoch that gives something iterable; "
            f"got {checks.shown(source)}."
        )
    return source


def begun(source: Any, epoch: int) -> Iterable[Any]:
    """The source from its beginning, for an epoch.

    Raises
    ------
    ValueError
        If a function gives nothing iterable.
    """
    if hasattr(source, "__iter__"):
        return cast("Iterable[Any]", source)
    if hasattr(source, "__getitem__"):  # such as a data set of torch
        return (source[i] for i in range(len(source)))
    made = source(epoch)
    if not hasattr(made, "__iter__"):
        raise ValueError(f"source({epoch}) must give something iterable, got {checks.shown(made)}.")
    return cast("Iterable[Any]", made)


def raw(source: Iterable[Any]) -> Iterator[Raw]:
    """Pieces of a source, without those that have no rows; single samples are put together.

    An error that the source raises gets a note of its place.

    Parameters
    ----------
    source : iterable
        Of pairs (X, y) and triples (X, y, weight), of rows or of single samples.

    Raises
    ------
    ValueError
        If it gives anything else.
    """
    singles: list[_Parts] = []
    pieces, k, row = iter(source), 0, 0

    def counted(parts: _Parts, number: int) -> Iterator[Raw]:
        nonlocal row
        n, place = _length(parts), f"piece {number} of source, from row {row} on"
        row += n
        if n > 0:
            yield Raw(*parts, place=place)

    while True:
        try:
            piece = next(pieces, _END)
        except Exception as error:
            error.add_note(f"source raised this for piece {k}, which begins with row {row}.")
            raise
        with placed(f"piece {k} of source, from row {row + len(singles)} on"):
            parts = None if piece is _END else _parts(piece)
            is_single = parts is not None and _is_single(parts)
        if singles and (not is_single or len(singles) == _TOGETHER):
            first = k - len(singles)
            with placed(f"pieces {first} to {k - 1} of source, from row {row} on"):
                together = _together(singles)
            yield from counted(together, first)
            singles = []
        if parts is None:
            return
        if is_single:
            singles.append(parts)
        else:
            yield from counted((parts[0], _rows_of(parts[1]), parts[2]), k)
        k += 1


def samples(
    source: Iterable[Any],
    convert: Callable[[Any, Any, NDArray[np.float64] | None], kernels.Samples],
) -> Iterator[kernels.Samples]:
    """Pieces as ``convert(X, y, weights)`` makes samples of them, with weights as they are given.

    They may be views of what the source gave, which it may change when the next one is asked for.

    Raises
    ------
    ValueError
        If a piece is not what it should be, or not like the first one; the message says which.
    """
    first: kernels.Samples | None = None
    weighs, columns = False, list[Any]()
    for piece in raw(source):
        with placed(piece.place):
            if is_frame(piece.X):
                columns = columns or labels(piece.X)
                piece = piece._replace(X=_in_order(piece.X, columns))
            weights = piece.weight
            if weights is not None:
                weights = checked_factors("weight", mapped.loaded(weights), _length(piece))
            found = convert(mapped.loaded(piece.X), mapped.loaded(piece.y), weights)
            if first is None:
                first, weighs = found, weights is not None
            _check_alike(first, found)
            if weighs != (weights is not None):
                kinds = "given" if weighs else "absent", "absent" if weighs else "given"
                raise ValueError(
                    f"weight must be {kinds[0]} as in the first piece, got it {kinds[1]}."
                )
        yield found


@contextlib.contextmanager
def placed(place: str) -> Iterator[None]:
    """Say where in the stream an error is."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    except Exception as error:
        error.add_note(f"{place}.")
        raise


def _in_order(frame: Any, columns: list[Any]) -> Any:
    """A frame with its columns in the order of the first piece's."""
    given = labels(frame)
    if given == columns:
        return frame
    if sorted(map(str, given)) != sorted(map(str, columns)):
        raise ValueError(
            f"X must have the columns of the first piece, {checks.shown(columns)}; got "
            f"{checks.shown(given)}."
        )
    return chosen(frame, columns)


def _parts(piece: Any) -> _Parts:
    if isinstance(piece, (tuple, list)) and len(piece) in (2, 3):
        return (*piece, None)[:3]
    given = type(piece).__name__
    if isinstance(piece, (tuple, list)):
        given += f" of length {len(piece)}"
    raise ValueError(
        f"source must give pairs (X, y) or triples (X, y, weight), got {given}; fastbp.streams "
        "makes such pieces of arrays, frames and files; for all rows at once pass [(X, y)]."
    )


def _has_rows(X: Any) -> bool:
    """Whether it is a table of rows: a frame, a sparse matrix, an array of two dimensions."""
    return is_frame(X) or hasattr(X, "tocsr") or _ndim(X) != 1


def _ndim(values: Any) -> int:
    """Dimensions of an array, or of lists in lists, judging by the first of them."""
    if isinstance(values, (list, tuple)):
        return 1 + (_ndim(values[0]) if values else 0)
    return 0 if isinstance(values, str) else int(np.ndim(values))


def _is_single(parts: _Parts) -> bool:
    """Whether it is one sample: a row of X."""
    return not _has_rows(parts[0])


def _rows_of(y: Any) -> Any:
    """Targets of a piece of one row, which may be a single one, as those of rows."""
    return np.atleast_1d(y) if y is not None and _ndim(y) == 0 else y


def _length(parts: Any) -> int:
    """Rows of X."""
    X = parts[0]
    return int(X.shape[0]) if hasattr(X, "shape") else len(X)


def _together(singles: list[_Parts]) -> _Parts:
    """Single samples as one piece; rows that are lists may hold numbers and text."""
    Xs, *others = zip(*singles, strict=True)
    are_lists = any(isinstance(row, (list, tuple)) for row in Xs)
    y, weight = (
        None if all(each is None for each in parts) else np.stack([np.asarray(p) for p in parts])
        for parts in others
    )
    return [*map(list, Xs)] if are_lists else np.stack([np.asarray(row) for row in Xs]), y, weight


def _check_alike(first: kernels.Samples, other: kernels.Samples) -> None:
    """Refuse a piece of another kind than the first one."""
    for what, kinds in (
        ("X", [("sparse" if s.inputs.is_sparse else "dense") for s in (first, other)]),
        ("y", [("class numbers" if len(s.labels) else "rows of targets") for s in (first, other)]),
    ):
        if kinds[0] != kinds[1]:
            raise ValueError(f"{what} must be {kinds[0]} as in the first piece, got it {kinds[1]}.")
