"""Plots of trainings and of predictions, drawn with matplotlib (the ``plot`` extra).

Figures have a white ground whatever the user's style is, so that they can be read on a dark page
too. Curves differ in line style as well as in colour, and cells of a matrix hold their numbers.
Nothing here opens a window.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import axes, checks, metrics
from fastbp.extras import missing
from fastbp.files import replaced
from fastbp.history import History

# Colours that people with any kind of colour vision tell apart, on white and in grey, too.
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#555555"
_STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "legend.fontsize": 9,
    "figure.facecolor": "white",
    "figure.dpi": 100,
    "svg.hashsalt": "fastbp",
    "text.parse_math": False,  # a $ in a name is a $
}
# Fonts for signs that matplotlib's own lacks, where the system has one of them.
_FONTS = ("Noto Sans CJK JP", "Noto Sans CJK SC", "Microsoft YaHei", "Hiragino Sans", "Noto Sans")

# Classes of a matrix that stands beside other panels; that is drawn at all; that is left of more.
_FEW, _MOST_CLASSES, _MOST_CONFUSED = 8, 30, 20
# Classes of a matrix whose cells have room for a share below the count.
_MOST_WITH_SHARES = 12
_MOST_POINTS = 2000
_LONGEST_NAME = 16


# Figures and files ------------------------------------------------------------------------------


def check_format(path: str | os.PathLike[str]) -> None:
    """Raise the ImportError or ValueError that a plot to this path would raise."""
    known = _figure().canvas.get_supported_filetypes()
    if (suffix := Path(path).suffix.lower().removeprefix(".")) not in known:
        raise ValueError(
            f"{path}: a plot must be one of {', '.join(sorted(known))}; got {suffix!r}."
        )


def _figure(**options: Any) -> Any:
    """An empty figure, free of any window; an ImportError that says what to install otherwise."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise missing("plots need matplotlib", "plot") from None
    return Figure(**options)


@contextlib.contextmanager
def _style() -> Iterator[None]:
    """Our own style, whatever the user's is; a sign that no font has is drawn as a box."""
    from matplotlib import font_manager, style

    installed = {font.name for font in font_manager.fontManager.ttflist}
    family = ["DejaVu Sans", *(name for name in _FONTS if name in installed)]
    with style.context(["default", _STYLE | {"font.family": family}]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield


def _written(figure: Any, kind: str) -> bytes:
    """A figure as the bytes of a file."""
    buffer = io.BytesIO()
    options = {"metadata": {"Date": None}} if kind == "svg" else {}  # the same file every time
    with _style():
        figure.savefig(buffer, format=kind, dpi=150, **options)
    return buffer.getvalue()


def report_figure(
    path: str | os.PathLike[str] | None,
    history: History,
    *,
    task: metrics.Task | None = None,
    y: ArrayLike | None = None,
    predicted: ArrayLike | None = None,
    classes: Sequence[Any] | None = None,
    name: str = "",
    title: str = "",
) -> Any:
    """Draw a training, and predictions of held-out rows where they are given.

    Loss and metrics are drawn over epochs. For classes there are a confusion matrix and a
    calibration curve besides; for numbers, true against predicted values and the residuals.

    Parameters
    ----------
    path : path-like or None
        Where to write it, if anywhere. The suffix chooses the format: .png, .svg, .pdf.
    history : History
        At least one epoch.
    task : {"classification", "regression"}, optional
        Needed with ``y``.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), optional
        Class numbers, or true values.
    predicted : array-like, optional
        As of `fastbp.metrics.figures`: probabilities for a classification, predicted values for a
        regression.
    classes : sequence, optional
        Label of each class number.
    name : str, optional
        What a regression predicts, with its unit, such as "price in €".
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure
        Notebooks show it.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If the format is unknown, there is no epoch, or the rows do not fit each other.
    OSError
        If the file cannot be written.
    """
    if path is not None:
        check_format(path)
    if not len(history):
        raise ValueError("there is no epoch to draw: train first.")
    panels = _curves(history, all_metrics=y is None)
    matrix = None
    if y is not None:
        checks.choice("task", task, ("classification", "regression"))
        of_rows = _of_numbers if task == "regression" else _of_classes
        more, matrix = of_rows(y, predicted, classes, name)
        panels += more
    figure = _figure(layout="constrained")
    with _style():
        _arrange(figure, panels, matrix)
        if title:
            figure.suptitle(_plain(title, 100), fontsize=12)
    figure._repr_png_ = functools.partial(_written, figure, "png")  # where notebooks look
    if path is not None:
        data = _written(figure, Path(path).suffix.lower().removeprefix("."))
        with replaced(path) as file:
            file.write(data)
    return figure


Panel = Callable[[Any], None]


def _arrange(figure: Any, panels: list[Panel], matrix: Panel | None) -> None:
    """Draw every panel in a place of its own, in two columns; a large matrix has one to itself."""
    figure.set_facecolor("white")
    if matrix is not None:
        figure.set_size_inches(14, 8.5)
        grid = figure.add_gridspec(len(panels), 2, width_ratios=(1, 1.7))
        places = [grid[row, 0] for row in range(len(panels))]
        matrix(figure.add_subplot(grid[:, 1]))
    elif len(panels) == 1:
        figure.set_size_inches(6.5, 4.2)
        places = [figure.add_gridspec(1, 1)[0, 0]]
    else:
        rows = math.ceil(len(panels) / 2)
        figure.set_size_inches(11, 4.0 * rows)
        grid = figure.add_gridspec(rows, 2)
        places = [grid[divmod(k, 2)] for k in range(2 * rows)]
        if len(panels) % 2:  # the first one is as wide as two
            places = [grid[0, :], *places[2:]]
    for place, panel in zip(places, panels, strict=True):
        panel(figure.add_subplot(place))


def _plain(text: Any, longest: int = _LONGEST_NAME) -> str:
    """A text of the user's in a line that is not too long, of signs that can be drawn."""
    line = "".join(c if c.isprintable() else " " for c in str(text))
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def _distinct(names: Sequence[Any]) -> list[str]:
    """Names that are not too long, each of which can be told from the others."""
    lines = [_plain(name, 10_000) for name in names]
    short = [_plain(line) for line in lines]
    if len(set(short)) == len(set(names)):
        return short
    half = _LONGEST_NAME // 2
    ends = [
        line if len(line) <= _LONGEST_NAME else f"{line[: half - 1]}…{line[-half:]}"
        for line in lines
    ]
    if len(set(ends)) == len(set(names)):
        return ends
    return [f"{k} {_plain(line, _LONGEST_NAME - 4)}" for k, line in enumerate(lines)]


# Over epochs ------------------------------------------------------------------------------------


def _curves(history: History, *, all_metrics: bool) -> list[Panel]:
    """The loss, and the first metric or each of them."""
    groups: dict[str, dict[str, list[float | None]]] = {}
    for name, column in ({"accuracy": history.accuracy} | history.metrics).items():
        base = _base(name)
        if base != "eval_loss" and any(value is not None for value in column):
            groups.setdefault(base, {})[name] = column
    panels: list[Panel] = [functools.partial(_loss, history)]
    chosen = list(groups.items()) if all_metrics else list(groups.items())[:1]
    return panels + [functools.partial(_metric, history, *group) for group in chosen]


def _base(column: str) -> str:
    """Name of a column without the number of its eval_set."""
    base, _, number = column.rpartition("_")
    return base if base and number.isdigit() else column


def _loss(history: History, panel: Any) -> None:
    """Losses over epochs."""
    others = {
        f"eval set {name.removeprefix('eval_loss_')} (after it)": column
        for name, column in history.metrics.items()
        if _base(name) == "eval_loss"
    }
    drawn: dict[str, Sequence[float | None]] = {
        "training rows (during the epoch)": history.train_loss,
        "validation rows (after the epoch)": history.eval_loss,
        **others,
    }
    drawn = {name: column for name, column in drawn.items() if any(v is not None for v in column)}
    best, n = axes.marked_epoch(history), len(history)
    epochs = "1 epoch" if n == 1 else f"{n:,} epochs"
    _lines(panel, history, drawn, axes.bounds(list(drawn.values())), "mean loss", 0)
    panel.legend(loc="best", handlelength=3, framealpha=0.9)
    panel.set_title(f"Loss: best epoch {best:,} of {n:,}" if best else f"Loss over {epochs}")


def _metric(
    history: History, base: str, columns: dict[str, list[float | None]], panel: Any
) -> None:
    """A metric over epochs, on every eval_set."""
    from matplotlib.ticker import PercentFormatter

    label = metrics.LABELS.get(base, _plain(base, 24))
    last = columns.get(base) or next(iter(columns.values()))
    several = len(columns) > 1
    drawn = {"last eval set" if name == base else name: each for name, each in columns.items()}
    shown_as = functools.partial(metrics.shown, base)
    ends = axes.bounds(list(columns.values()), is_loss=False, shown=shown_as)
    _lines(panel, history, drawn, ends, f"{label} on validation rows", 1)
    if base in metrics.SHARES:
        panel.yaxis.set_major_formatter(PercentFormatter(1.0))
    epoch = axes.marked_epoch(history) or len(history)
    value = last[epoch - 1]
    shown = metrics.shown(base, math.nan if value is None else value)
    label = label[:1].upper() + label[1:] if base in metrics.METRICS else label
    panel.set_title(f"{label} {shown} in epoch {epoch:,}")
    if several:
        panel.legend(loc="best", handlelength=3, framealpha=0.9)


_DASHES = ("--", "-", ":", "-.")
_COLOURS = (_BLUE, _ORANGE, "#009E73", "#AA4499")
_MARKERS = ("s", "o", "^", "D")


def _lines(
    panel: Any,
    history: History,
    drawn: Mapping[str, Any],
    ends: axes.Bounds,
    label: str,
    first: int,
) -> None:
    """Columns over epochs, and a mark at the best one."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    n = len(history)
    epochs = np.arange(1, n + 1)
    for k, (name, column) in enumerate(drawn.items()):
        i = (k + first) % len(_DASHES)
        style = {
            "linestyle": _DASHES[i],
            "color": _COLOURS[i],
            "linewidth": 1.6 if n <= 200 else 1.0,
        }
        # Dashes of long and noisy curves run together, so markers tell them apart as well.
        marker = {"marker": _MARKERS[i], "markersize": 3.5}
        if n > 30:
            marker |= {"markersize": 7.5, "markeredgecolor": "white"}
        every = max(1, n // 12)
        panel.plot(
            epochs, axes.floats(column), label=name, markevery=(i * every // 4, every),
            **style, **marker,
        )  # fmt: skip
    if best := axes.marked_epoch(history):
        mark = {"color": _GREY, "linewidth": 1.3, "linestyle": (0, (1, 1.5))}
        panel.axvline(best, label=f"best: epoch {best:,}", **mark)
    panel.set_ylim(ends.low, ends.high)
    if ends.is_log:
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(
            LogLocator(subs=(1, 2, 5) if ends.high < 1e3 * ends.low else (1,))
        )
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.yaxis.set_minor_locator(NullLocator())
    panel.set_xlabel("epoch")
    panel.set_ylabel(f"{label}\n({ends.note})" if ends.note else label)
    panel.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    panel.set_xlim(0.5 if n > 1 else 0, max(2, n + 0.5, 1.02 * n))


# Classes ----------------------------------------------------------------------------------------


def _of_classes(
    y: ArrayLike, predicted: ArrayLike | None, classes: Sequence[Any] | None, name: str
) -> tuple[list[Panel], Panel | None]:
    """A calibration curve and a confusion matrix, which comes second if it needs much room."""
    true, p = np.asarray(y), np.asarray(predicted, np.float64)
    p = p.reshape(-1, 1) if p.ndim < 2 else p
    true = true[:, 0] if true.ndim == 2 and true.shape[1] == 1 else true
    _check_rows(true, p)
    rows = np.all(np.isfinite(p), axis=1)
    true, p, count = true[rows], p[rows], _count_of(rows)
    if not len(true):
        return [functools.partial(_nothing, count)], None
    if true.ndim == 2:  # labels, independent of each other
        figures = metrics.figures(true, p, "classification")
        text = f"All labels right in {metrics.shown('accuracy', figures['accuracy'])} {count}"
        hits = true.reshape(-1).astype(np.float64)
        return [functools.partial(_calibration, p.reshape(-1), hits, "a label", text)], None
    p = np.hstack([1 - p, p]) if p.shape[1] == 1 else p
    names = _distinct(range(p.shape[1]) if classes is None else classes)
    if len(names) != p.shape[1]:
        raise ValueError(
            f"classes must name each of the {p.shape[1]} columns of predicted, got {len(names)}."
        )
    chosen = np.argmax(p, axis=1)
    counts = metrics.confusion_matrix(true, chosen, range(p.shape[1]))
    matrix = functools.partial(_confusion, counts, names, count)
    calibration: Panel
    if p.shape[1] == 2:
        mean, share = float(p[:, 1].mean()), float((true == 1).mean())
        text = f"Calibration: {mean:.1%} expected, {share:.1%} found"
        calibration = functools.partial(_calibration, p[:, 1], true == 1, names[1], text)
    else:
        sure, hits = p.max(axis=1), true == chosen
        text = f"Calibration: {sure.mean():.1%} sure, {hits.mean():.1%} right"
        calibration = functools.partial(_calibration, sure, hits, "", text)
    if len(names) > _FEW:
        return [calibration], matrix
    return [matrix, calibration], None


def _check_rows(true: NDArray[Any], predicted: NDArray[Any]) -> None:
    n = [len(a) if a.ndim else 0 for a in (true, predicted)]
    if n[0] != n[1] or not n[0]:
        raise ValueError(
            f"y and predicted must have the same rows, at least one, got {n[0]:,} and {n[1]:,}."
        )


def _count_of(rows: NDArray[Any]) -> str:
    """How many rows a panel is of."""
    kept, lost = int(rows.sum()), int((~rows).sum())
    noun = "row" if kept == 1 else "rows"
    return f"on {kept:,} held-out {noun}" + (f" ({lost:,} not finite)" if lost else "")


def _nothing(count: str, panel: Any) -> None:
    """A panel which says that there is nothing to draw."""
    panel.set_axis_off()
    panel.text(0.5, 0.5, f"no predictions to draw {count}", ha="center", va="center")


def _confusion(counts: NDArray[np.int64], names: list[str], count: str, panel: Any) -> None:
    """Confusion matrix; the shade is the share of the true class."""
    share = metrics.shown("accuracy", counts.trace() / counts.sum())
    panel.set_title(f"Accuracy {share} {count}")
    suffix = ""
    if len(names) > _MOST_CLASSES:
        wrong = counts - np.diag(np.diag(counts))
        errors = wrong.sum(axis=0) + wrong.sum(axis=1)
        most = np.sort(np.argsort(-errors, kind="stable")[:_MOST_CONFUSED])
        suffix = f" (the {_MOST_CONFUSED} of {len(names):,} classes that are confused most)"
        totals = counts.sum(axis=1)[most]
        counts, names = counts[np.ix_(most, most)], [names[i] for i in most]
    else:
        totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals, 1)[:, np.newaxis]
    n = len(names)
    panel.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=1)
    size = next(size for most, size in ((3, 11), (5, 10), (8, 8), (12, 9), (20, 8), (99, 6.5))
                if n <= most)  # fmt: skip
    for i, j in zip(*np.nonzero(counts), strict=True):
        text = f"{counts[i, j]:,}\n{shares[i, j]:.0%}"
        if n > _MOST_WITH_SHARES:
            text = _short_count(counts[i, j])
        colour = "white" if shares[i, j] > 0.55 else "black"
        panel.text(
            j + 0.5,
            i + 0.5,
            text,
            ha="center",
            va="center",
            color=colour,
            fontsize=size,
            in_layout=False,
        )
    panel.invert_yaxis()
    panel.grid(visible=False)
    panel.tick_params(length=0, labelsize=min(10, size + 1))
    is_wide = max(map(len, names)) * n > 36
    turn = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if n <= _FEW else {}
    turn = turn or {"rotation": 90}
    panel.set_xticks(np.arange(n) + 0.5, names, **(turn if is_wide else {}))
    panel.set_yticks(np.arange(n) + 0.5, names)
    cells = "cells: rows; shade: share of the true class"
    if n <= _MOST_WITH_SHARES:
        cells = "cells: rows, and their share of the true class"
    panel.set_xlabel(f"predicted class{suffix}\n{cells}")
    panel.set_ylabel("true class")
    panel.spines[:].set_visible(False)


def _short_count(n: int) -> str:
    """A count that fits a small cell."""
    return f"{n}" if n < 10_000 else f"{n / 1000:.0f}k" if n < 1e6 else f"{n / 1e6:.0f}M"


def _calibration(
    p: NDArray[np.float64], hits: NDArray[Any], label: str, title: str, panel: Any
) -> None:
    """How often something came true, by the probability that was given for it."""
    n_bins = 10 if len(p) >= 200 else 5
    places = np.minimum((p * n_bins).astype(np.int64), n_bins - 1)
    n = np.bincount(places, minlength=n_bins)
    seen = n > 0
    mean = np.bincount(places, p, n_bins)[seen] / n[seen]
    share = np.bincount(places, hits, n_bins)[seen] / n[seen]
    low, high = _interval(share, n[seen])
    panel.plot((0, 1), (0, 1), linestyle="--", color=_GREY, linewidth=1.2, label="as it should be")
    panel.errorbar(
        mean,
        share,
        yerr=np.clip((share - low, high - share), 0, None),
        color=_BLUE,
        marker="o",
        markersize=4.5,
        linewidth=1.4,
        elinewidth=1,
        capsize=3,
        label="network (95 % interval)",
    )
    panel.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    what = f"probability of {label}" if label else "probability of the predicted class"
    panel.set_xlabel(f"predicted {what}" if label else what)
    panel.set_ylabel(f"share that is {label}" if label else "share that is right")
    panel.legend(loc="best", framealpha=0.9)
    panel.set_title(title)


def _interval(share: NDArray[Any], n: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Wilson's 95 % interval of a share of n."""
    z = 1.96
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return middle - half, middle + half


# Numbers ----------------------------------------------------------------------------------------


def _of_numbers(
    y: ArrayLike, predicted: ArrayLike | None, classes: Any, name: str
) -> tuple[list[Panel], None]:
    """True against predicted values, and the residuals; of several outputs, the first."""
    true, guess = (np.asarray(a, np.float64) for a in (y, predicted))
    _check_rows(true, guess)
    true, guess = (a.reshape(len(a), -1) for a in (true, guess))
    if true.shape != guess.shape:
        raise ValueError(
            f"y and predicted must have the same shape, got {true.shape} and {guess.shape}."
        )
    label = _plain(name, 28) or "value"
    if true.shape[1] > 1:
        label = f"{label} (output 1 of {true.shape[1]:,})"
    true, guess = true[:, 0], guess[:, 0]
    rows = np.isfinite(true) & np.isfinite(guess)
    true, guess, count = true[rows], guess[rows], _count_of(rows)
    if not len(true):
        return [functools.partial(_nothing, count)], None
    figures = {
        each: metrics.shown(each, value)
        for each, value in metrics.figures(true, guess, "regression").items()
    }
    title = f"R² {figures['r2']} {count}"
    errors = f"Residuals: MAE {figures['mae']}, RMSE {figures['rmse']}"
    return [
        functools.partial(_against, true, guess, label, title),
        functools.partial(_residuals, true, guess, label, errors),
    ], None


def _against(true: NDArray[Any], guess: NDArray[Any], label: str, title: str, panel: Any) -> None:
    """True over predicted values."""
    low, high = _range(np.concatenate([true, guess]))
    panel.plot((low, high), (low, high), linestyle="--", color=_GREY, linewidth=1.2, zorder=3,
               label="as it should be")  # fmt: skip
    panel.set(xlim=(low, high), ylim=(low, high))
    _points(panel, guess, true)
    panel.set_xlabel(f"predicted {label}")
    panel.set_ylabel(f"true {label}")
    panel.set_title(title)
    panel.legend(loc="upper left", framealpha=0.9)


def _residuals(true: NDArray[Any], guess: NDArray[Any], label: str, title: str, panel: Any) -> None:
    """Residuals over predicted values."""
    errors = true - guess
    most = max(map(abs, _range(errors)))
    panel.axhline(0, linestyle="--", color=_GREY, linewidth=1.2, zorder=3)
    panel.set(xlim=_range(guess), ylim=(-most, most))
    _points(panel, guess, errors)
    panel.set_xlabel(f"predicted {label}")
    panel.set_ylabel(f"true − predicted {label}")
    panel.set_title(title)


def _range(values: NDArray[Any]) -> tuple[float, float]:
    """Ends of an axis for these values, without outliers that would leave the others no room."""
    low, high = float(values.min()), float(values.max())
    a, b = (float(q) for q in np.quantile(values, (0.01, 0.99)))
    if high - low > 5 * (b - a) > 0:
        low, high = max(low, a - (b - a)), min(high, b + (b - a))
    margin = 0.04 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _points(panel: Any, x: NDArray[Any], y: NDArray[Any]) -> None:
    """A point each, at most some thousands, within the axes; what is left out is said."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    (left, right), (bottom, top) = panel.get_xlim(), panel.get_ylim()
    inside = (x >= left) & (x <= right) & (y >= bottom) & (y <= top)
    notes = [f"{(~inside).sum():,} outside the axes"] if not inside.all() else []
    places = np.flatnonzero(inside)
    if len(places) > _MOST_POINTS:
        places = np.random.default_rng(0).choice(places, _MOST_POINTS, replace=False)
        notes.append(f"{_MOST_POINTS:,} of {len(x):,} rows drawn")
    alpha = 0.8 if len(places) <= 100 else 0.5 if len(places) <= 500 else 0.3
    style = {"s": 36 if len(places) <= 20 else 16, "color": _BLUE, "alpha": alpha, "linewidths": 0}
    panel.scatter(x[places], y[places], **style)
    for axis in (panel.xaxis, panel.yaxis):
        if (most := max(map(abs, axis.get_view_interval()))) < 1e9:
            axis.set_major_formatter(FuncFormatter(_tick))
        if axis is panel.xaxis:
            axis.set_major_locator(MaxNLocator(nbins=6 if most < 1e6 else 4))
    if notes:
        style = {"ha": "right", "va": "bottom", "fontsize": 9, "color": "#333333"}
        panel.text(0.99, 0.01, "; ".join(notes), transform=panel.transAxes, **style)


def _tick(value: float, place: Any = None) -> str:
    """A number at an axis."""
    return f"{value:,.10g}".replace("-", "−")
