"""What the command line prints: sentences, tables of figures, JSON."""

from __future__ import annotations

import contextlib
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.metrics import LABELS, shown

# Classes of a confusion matrix that fit a terminal.
_MOST_SHOWN = 12
_LONGEST_NAME = 14


def say(text: str) -> None:
    """Print at once; work goes on when nobody reads it."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        mute_stdout()


def mute_stdout() -> None:
    """Have all that is printed from now on go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def note(text: str) -> None:
    """A remark on stderr, where it is in no program's way."""
    print(f"fastbp: note: {' '.join(text.split())}", file=sys.stderr)


def fail(message: str, code: int) -> int:
    """Print an error in one line; returns the exit code."""
    print(f"fastbp: error: {' '.join(message.split())}", file=sys.stderr)
    return code


@contextlib.contextmanager
def naming(source: str) -> Iterator[None]:
    """Have errors name the data that they are about."""
    try:
        yield
    except ValueError as error:
        message = str(error)
        raise ValueError(message if source in message else f"{source}: {message}") from None


def in_words(figures: Mapping[str, float]) -> str:
    """Figures in a line."""
    return ", ".join(f"{LABELS.get(name, name)} {shown(name, figures[name])}" for name in figures)


def confusion(counts: NDArray[np.int64], classes: Sequence[Any]) -> str:
    """A confusion matrix; of many classes, those that are confused most."""
    names = [one_line(str(label)) for label in classes]
    names = [
        name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…" for name in names
    ]
    title = "confusion matrix: true classes down, predicted classes across"
    if len(names) > _MOST_SHOWN:
        wrong = counts - np.diag(np.diag(counts))
        pairs = np.dstack(
            np.unravel_index(np.argsort(-wrong, axis=None, kind="stable"), wrong.shape)
        )
        worst = [(i, j) for i, j in pairs[0][:_MOST_SHOWN].tolist() if wrong[i, j]]
        lines = [f"{wrong[i, j]:>7,}  {names[i]} taken for {names[j]}" for i, j in worst]
        return "\n".join([f"most frequent confusions of {len(names):,} classes:", *lines])
    widths = [
        max(len(name), *(len(f"{n:,}") for n in counts[:, j])) for j, name in enumerate(names)
    ]
    margin = max(map(len, names))
    head = " " * margin + "".join(f"  {name:>{w}}" for name, w in zip(names, widths, strict=True))
    rows = [
        f"{name:<{margin}}" + "".join(f"  {n:>{w},}" for n, w in zip(row, widths, strict=True))
        for name, row in zip(names, counts.tolist(), strict=True)
    ]
    return "\n".join([title, head, *rows])


def one_line(label: str) -> str:
    """A label with escapes for backslashes and for characters that may break a line."""
    return re.sub(
        r"[\\\x00-\x1f\x7f-\x9f\u2028\u2029]",
        lambda found: found[0].encode("unicode_escape").decode("ascii"),
        label,
    )


def finite(value: Any) -> Any:
    """``value`` with null for every number that JSON cannot hold."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
