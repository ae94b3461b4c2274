"""``fastbp predict`` and ``fastbp evaluate``: a saved model on raw rows."""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp import data as rows_
from fastbp import datasets, experiment, files, metrics, tables
from fastbp.cli import assess, model
from fastbp.cli import options as opt
from fastbp.cli.model import Model
from fastbp.cli.output import finite, in_words, naming, note, one_line, say
from fastbp.problem import counted

# Rows that are predicted at a time.
_PIECE = 65_536


def add(commands: Any) -> None:
    """Add both commands."""
    _add_predict(commands)
    _add_evaluate(commands)


def _add_predict(commands: Any) -> None:
    command = commands.add_parser(
        "predict",
        help="predict new rows with a saved model",
        description="Predict the rows of a file with a saved model, a line per row. Columns are "
        "found by name, in any order; others are ignored. A data set that has a test part gets "
        "predictions for that part; where targets are known, a score goes to stderr. On the "
        "screen there is no header, and control characters and backslashes in class names are "
        r"printed as in Python's strings: \n for a line break, \\ for a backslash. A file has a "
        "header, and class names as they are.",
        formatter_class=opt.HelpFormatter,
    )
    command.set_defaults(run=predict)
    _add_common(command, "column to score against")
    command.add_argument(
        "--proba", action="store_true", help="probabilities of the classes, comma-separated"
    )
    command.add_argument("--output", metavar="FILE", help="write a CSV file instead")


def _add_evaluate(commands: Any) -> None:
    command = commands.add_parser(
        "evaluate",
        help="figures of a saved model on a file with targets",
        description="Figures of a saved model on the rows of a file, beside those of a trivial "
        "model, which knows the training targets alone.",
        formatter_class=opt.HelpFormatter,
    )
    command.set_defaults(run=evaluate)
    _add_common(command, "column of the targets; by default the one of the training")
    command.add_argument(
        "--json", action="store_true", help="print one JSON object instead of text, for machines"
    )


def _add_common(command: argparse.ArgumentParser, target: str) -> None:
    command.add_argument("model", metavar="MODEL", help="file that 'fastbp train --save' wrote")
    command.add_argument("data", metavar="DATA", help=opt.DATA_HELP)
    command.add_argument("--target", metavar="COLUMN", help=target)
    opt.add_reading(command)


def predict(options: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    if options.output is not None:
        _check_output(options)
    network = model.read(options.model)
    if options.proba and not network.network.is_classifier:
        raise ValueError(
            f"--proba is for classes, and {options.model} predicts numbers; leave it out."
        )
    scored: list[tuple[Any, Any]] = []
    count, n, is_exact, unseen = 0, 0, True, Counter[str]()
    with _writer(options, network) as write, naming(options.data):
        for X, y in _pieces(options, network):
            if y is not None:
                scored.append((_for_figures(network, X), experiment.numbered(y, network.problem)))
            predicted = _predicted(network, X, options.proba)
            write(predicted)
            found, exact = network.seen(X)
            count, n, is_exact = count + found, n + len(predicted), is_exact and exact
            unseen.update(network.unseen(X))
    if scored:
        _say_score(network, *map(np.concatenate, zip(*scored, strict=True)))
    model.say_seen(count, n, is_exact)
    model.say_unseen(unseen, n)
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    network = model.read(options.model)
    if options.target is None and network.columns is not None:
        options.target = network.target
        if options.target is None:
            raise ValueError(f"{options.data}: name the column of the targets with --target.")
    with naming(options.data):
        pieces = list(_pieces(options, network, gaps=False))
        X = pieces[0][0]
        if pieces[0][1] is None:
            raise ValueError(
                "there are no targets to evaluate against; name their column with --target."
            )
        if len(pieces) > 1:
            X = rows_.joined([X for X, _ in pieces])
        y = np.concatenate([y for _, y in pieces if y is not None])
        found = experiment.figures(network.network, network.problem, X, y)
        trivial = network.baseline(experiment.numbered(y, network.problem))
    count, exact = network.seen(X)
    if options.json:
        document = {"data": options.data, "rows": len(y), "figures": found, "baseline": trivial,
                    "rows_seen_in_training": count}  # fmt: skip
        print(json.dumps(finite(document), indent=2, allow_nan=False))
        return 0
    title = f"{counted(len(y), 'row')} of {options.data}"
    parts = assess.lines(title, network.network, network.problem, (X, y), found, trivial)
    say("\n".join(parts).lstrip("\n"))
    model.say_seen(count, len(y), exact)
    model.say_unseen(network.unseen(X), len(y))
    return 0


def _check_output(options: argparse.Namespace) -> None:
    path = options.output
    if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
        raise ValueError(f"--output {path}: the folder does not exist.")
    for other in (options.data, options.model):
        if os.path.exists(other) and os.path.realpath(path) == os.path.realpath(other):
            raise ValueError(f"--output {path}: this would overwrite {other}.")


def _pieces(
    options: argparse.Namespace, network: Model, gaps: bool = True
) -> Iterator[tuple[Any, NDArray[Any] | None]]:
    """Inputs and, where they are known, targets of the rows, some thousands at a time.

    Without ``gaps``, rows without a target are left out.
    """
    if network.columns is None or not (options.data == "-" or tables.is_table(options.data)):
        X, y = _of_arrays(options, network)
        for start in range(0, len(X), _PIECE):
            stop = start + _PIECE
            yield X[start:stop], None if y is None else y[start:stop]
        return
    target = options.target
    named = tuple(network.columns) + (() if target in (None, *network.columns) else (target,))
    text = network.text_columns(target)
    asked = tables.Options(columns=named, text=text, **opt.reading(options))
    lost = 0
    for table in tables.pieces(options.data, options=asked):
        X, y = table, None
        if target is not None:
            unknown = rows_.missing(table.column(target))
            if unknown.any():
                if gaps:
                    gap = counted(int(unknown.sum()), "row")
                    raise ValueError(
                        f"{target} is missing in {gap}, which cannot be scored; leave --target "
                        "out to predict them."
                    )
                lost += int(unknown.sum())
                X = table.filter(~unknown)
            y = rows_.values(X.column(target), target)
        yield _inputs(network, X.select(list(network.columns))), y
    if lost:
        note(f"{target} is missing in {counted(lost, 'row')}, left out here.")


def _inputs(network: Model, X: Any) -> Any:
    """A table as the network takes it: one without a preparation needs numbers."""
    if network.network.preparation is not None:
        return X
    return np.column_stack([X.column(name).to_numpy() for name in X.column_names])


def _of_arrays(options: argparse.Namespace, network: Model) -> tuple[Any, NDArray[Any] | None]:
    """Inputs and targets of a file of arrays; its test part, if it has one."""
    read = datasets.read(options.data, options.target)
    if network.network.preparation is None:
        read = datasets.scaled(read, network.extra.get("pixels"))
    if read.X_test is not None:
        return read.X_test, rows_.column(read.y_test)
    return read.X, rows_.column(read.y)


def _predicted(network: Model, X: Any, proba: bool) -> Any:
    """Predictions, or probabilities: one column for each class."""
    classes = network.problem.classes
    if not proba:
        if classes is None:
            return network.network.predict(X)
        numbers = network.network.predictions(network.network.predict_proba(X))
        return [classes[number] for number in numbers.tolist()]
    return network.network.predict_proba(X)


def _for_figures(network: Model, X: Any) -> NDArray[Any]:
    """What figures are computed of."""
    is_classifier = network.network.is_classifier
    made: NDArray[Any] = (
        network.network.predict_proba if is_classifier else network.network.predict
    )(X)
    return made


def _say_score(network: Model, predicted: NDArray[Any], y: NDArray[Any]) -> None:
    """One line on stderr."""
    found = metrics.figures(y, predicted, network.problem.kind)
    names = ("accuracy",) if network.network.is_classifier else ("r2", "mae")
    shown = in_words({name: found[name] for name in names})
    print(f"{shown} on {counted(len(y), 'row')}", file=sys.stderr)


def _rows(predicted: Any) -> list[list[str]]:
    """Texts of the cells of each row."""
    if isinstance(predicted, list):
        return [[str(label)] for label in predicted]
    array = np.asarray(predicted)
    array = array[:, np.newaxis] if array.ndim == 1 else array
    form = {"float32": ".7g", "float64": ".10g"}.get(array.dtype.name, "")
    return [[format(value, form) for value in row] for row in array.tolist()]


@contextlib.contextmanager
def _writer(options: argparse.Namespace, network: Model) -> Iterator[Callable[[Any], None]]:
    """What writes predictions, line by line, to the screen or to a file."""
    if options.output is None:
        yield lambda predicted: print(
            "".join(",".join(map(one_line, row)) + "\n" for row in _rows(predicted)), end=""
        )
        return
    with files.replaced(options.output) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_header(network, options.proba))
        try:
            yield lambda predicted: writer.writerows(_rows(predicted))
        finally:
            text.detach()  # which writes what it still holds


def _header(network: Model, proba: bool) -> list[str]:
    """Names of the columns of a file of predictions."""
    classes, n_outputs = network.problem.classes, network.network.sizes[-1]
    target = network.target or "prediction"
    if proba and classes is not None:
        return [str(label) for label in (classes[1:] if n_outputs == 1 else classes)]
    return (
        [target] if n_outputs == 1 or classes else [f"{target} {k + 1}" for k in range(n_outputs)]
    )
