"""Which rows are trained on, which choose the epoch, and which are kept for the last figures.

>>> import numpy as np
>>> from fastbp import splitting
>>> parts = splitting.split(10, labels=np.array(list("aaaaabbbbb")), held_out=0.2, seed=0)
>>> len(parts.train), len(parts.validation), len(parts.test)
(6, 2, 2)

All ways to split are one: units of rows that must stay together (a row, a group, all rows of one
time) are put in an order, and the order is cut.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp import checks

Rows = NDArray[np.int64]


class Parts(NamedTuple):
    """Numbers of the rows of each part, ascending; no row is in two of them."""

    train: Rows
    validation: Rows
    test: Rows


def split(
    n: int,
    *,
    labels: NDArray[Any] | None = None,
    groups: NDArray[Any] | None = None,
    times: NDArray[Any] | None = None,
    held_out: float = 0.2,
    validation: float = 0.2,
    seed: int | None = 0,
) -> Parts:
    """Three parts of n rows.

    Parameters
    ----------
    n : int
        Number of rows.
    labels : array of shape (n,), optional
        Classes, of which every part gets its share. Not used with groups or times.
    groups : array of shape (n,), optional
        Rows of one group come into one part.
    times : array of shape (n,), optional
        Numbers or dates. The latest rows are the test part, those before them the validation part;
        rows of one time come into one part.
    held_out : float, default 0.2
        Share of the test part; 0 for none.
    validation : float, default 0.2
        Share of the validation part in the other rows; 0 for none.
    seed : int, optional
        Of the random order.

    Returns
    -------
    Parts

    Raises
    ------
    ValueError
        If a share is not from 0 to below 1, or there are too few rows, groups or times.
    """
    held_out = checks.share("held_out", held_out)
    validation = checks.share("validation", validation)
    rank = _ranks(n, labels, groups, times, seed)
    last = held_out + validation * (1 - held_out)
    shares = [edge for edge, part in ((held_out, held_out), (last, validation)) if part > 0]
    cuts = _cuts(rank, shares, _unit(groups, times)) if shares else []
    first = cuts[0] if held_out > 0 else 0
    second = cuts[-1] if validation > 0 else first
    return Parts(
        np.flatnonzero(rank >= second),
        np.flatnonzero((rank >= first) & (rank < second)),
        np.flatnonzero(rank < first),
    )


def folds(
    n: int,
    k: int,
    *,
    labels: NDArray[Any] | None = None,
    groups: NDArray[Any] | None = None,
    times: NDArray[Any] | None = None,
    validation: float = 0.2,
    seed: int | None = 0,
) -> list[Parts]:
    """K times three parts, such that each row is in one test part; arguments as of `split`.

    By time, the rows are cut into k + 1 blocks: each but the first is the test part once, and all
    earlier rows are what is trained on.

    Raises
    ------
    ValueError
        If k is below 2, or as `split`.
    """
    k = checks.integer("the number of folds", k, 2)
    share = checks.share("validation", validation)
    rank = _ranks(n, labels, groups, times, seed)
    rank, blocks = (rank, k) if times is None else (rank.max() - rank, k + 1)
    ends = _cuts(rank, [i / blocks for i in range(1, blocks)], _unit(groups, times))
    result = []
    for start, stop in itertools.pairwise([0, *ends, int(rank.max()) + 1]):
        if times is not None and start == 0:
            continue
        # Units after the test part come first, then those before it; by time, the latest.
        order = (rank - stop) % (rank.max() + 1) if times is None else start - 1 - rank
        is_test = (rank >= start) & (rank < stop)
        others = ~is_test if times is None else rank < start
        edge = 0
        if share > 0:
            (edge,) = _cuts(order[others], [share], _unit(groups, times))
        parts = (others & (order >= edge), others & (order < edge), is_test)
        result.append(Parts(*map(np.flatnonzero, parts)))
    return result


def _unit(groups: Any, times: Any) -> str:
    return "group" if groups is not None else "time" if times is not None else "row"


def _ranks(
    n: int,
    labels: NDArray[Any] | None,
    groups: NDArray[Any] | None,
    times: NDArray[Any] | None,
    seed: int | None,
) -> Rows:
    """Place of each row's unit in the order that is cut, from 0."""
    if groups is not None and times is not None:
        raise ValueError("rows are split by groups or by times, not by both.")
    for name, column in (("labels", labels), ("groups", groups), ("times", times)):
        if column is not None and len(column) != n:
            raise ValueError(f"{name} must have one entry per row, {n}, got {len(column)}.")
    generator = np.random.default_rng(seed)
    if times is not None:
        codes: Rows = np.unique(times, return_inverse=True)[1]
        latest_first: Rows = codes.max() - codes
        return latest_first
    if groups is not None:
        codes = np.unique(groups, return_inverse=True)[1]
        shuffled: Rows = generator.permutation(codes.max() + 1)[codes]
        return shuffled
    order = generator.permutation(n)
    if labels is not None:
        # Rows of each class are spread evenly over the order: every stretch has its share of them.
        order = order[np.argsort(_spread(labels[order]), kind="stable")]
    rank = np.empty(n, np.int64)
    rank[order] = np.arange(n)
    return rank


def _spread(labels: NDArray[Any]) -> NDArray[np.float64]:
    """A place from 0 to 1 for each row; those of a class are as far apart as can be."""
    codes = np.unique(labels, return_inverse=True)[1]
    counts = np.bincount(codes)
    by_class = np.argsort(codes, kind="stable")
    within = np.empty(len(codes))
    within[by_class] = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    places: NDArray[np.float64] = (within + 0.5) / counts[codes]
    return places


def _cuts(rank: Rows, shares: Sequence[float], unit: str) -> list[int]:
    """Units before each cut: near the shares of the rows, with a unit at least in every part."""
    ends = np.cumsum(np.bincount(rank))
    if len(ends) <= len(shares):
        raise ValueError(
            f"{len(shares) + 1} parts need at least {len(shares) + 1} {unit}s, got {len(ends)}."
        )
    cuts: list[int] = []
    for i, share in enumerate(shares):
        nearest = int(np.argmin(np.abs(ends - share * ends[-1]))) + 1
        least = cuts[-1] + 1 if cuts else 1
        cuts.append(min(max(nearest, least), len(ends) - (len(shares) - i)))
    return cuts
