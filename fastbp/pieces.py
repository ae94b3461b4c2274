"""Pieces of a stream: what a source gives, checked and converted, one after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from fastbp import kernels, mapped
from fastbp.frames import is_frame
from fastbp.samples import checked_factors

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

    def counted(parts: _Parts, n: int, number: int) -> Raw:
        nonlocal row
        row += n
        return Raw(*parts, place=f"piece {number} of source, from row {row - n} on")

    while True:
        try:
            piece = next(pieces, None)
        except BaseException as error:
            error.add_note(f"source raised this for piece {k}, which begins with row {row}.")
            raise
        parts = None if piece is None else _parts(piece, k)
        is_single = parts is not None and _is_single(parts)
        if singles and (not is_single or len(singles) == _TOGETHER):
            yield counted(_together(singles), len(singles), k - len(singles))
            singles = []
        if parts is None:
            return
        if is_single:
            singles.append(parts)
        elif (n := _length(parts[1])) > 0:
            yield counted(parts, n, k)
        k += 1


def samples(
    source: Iterable[Any], convert: Callable[[Any, Any], kernels.Samples]
) -> Iterator[kernels.Samples]:
    """Pieces as ``convert(X, y)`` makes samples of them, with weights as they are given.

    They may be views of what the source gave, which it may change when the next one is asked for.

    Raises
    ------
    ValueError
        If a piece is not what it should be, or not like the first one; the message says which.
    """
    first: kernels.Samples | None = None
    for piece in raw(source):
        with placed(piece.place):
            found = convert(mapped.loaded(piece.X), mapped.loaded(piece.y))
            if piece.weight is not None:
                factors = checked_factors("weight", piece.weight, found.inputs.n)
                found = found._replace(weights=factors)
            first = first or found
            _check_alike(first, found)
        yield found


@contextlib.contextmanager
def placed(place: str) -> Iterator[None]:
    """Say where in the stream an error of a check is."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def _parts(piece: Any, number: int) -> _Parts:
    if isinstance(piece, (tuple, list)) and len(piece) in (2, 3):
        return (*piece, None)[:3]
    given = type(piece).__name__
    if isinstance(piece, (tuple, list)):
        given += f" of length {len(piece)}"
    raise ValueError(
        f"source must give pairs (X, y) or triples (X, y, weight), got {given} as piece {number}; "
        "fastbp.streams has functions that make such pieces of files and frames."
    )


def _is_single(parts: _Parts) -> bool:
    """Whether it is one sample: a row of X, and a number or a row as y."""
    X, y, _ = parts
    if is_frame(X) or hasattr(X, "tocsr"):
        return False
    return isinstance(y, str) or np.ndim(y) == 0 or (np.ndim(y) == 1 and np.ndim(X) == 1)


def _length(y: Any) -> int:
    return int(y.shape[0]) if hasattr(y, "shape") else len(y)


def _together(singles: list[_Parts]) -> _Parts:
    """Single samples as one piece."""
    X, y, weight = (
        None if all(part is None for part in parts) else np.stack([np.asarray(p) for p in parts])
        for parts in zip(*singles, strict=True)
    )
    return X, y, weight


def _check_alike(first: kernels.Samples, other: kernels.Samples) -> None:
    """Refuse a piece of another kind than the first one."""
    for what, kinds in (
        ("X", [("sparse" if s.inputs.is_sparse else "dense") for s in (first, other)]),
        ("y", [("class numbers" if len(s.labels) else "rows of targets") for s in (first, other)]),
        ("weight", [("given" if len(s.weights) else "absent") for s in (first, other)]),
    ):
        if kinds[0] != kinds[1]:
            raise ValueError(f"{what} must be {kinds[0]} as in the first piece, got it {kinds[1]}.")
