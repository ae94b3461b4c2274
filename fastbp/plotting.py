"""Learning curves, drawn with matplotlib (the ``plot`` extra)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fastbp.extras import missing
from fastbp.history import History


def _figure(**options: Any) -> Any:
    """An empty figure, free of any window; an ImportError that says what to install otherwise."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise missing("plots need matplotlib", "plot") from None
    return Figure(**options)


def check_format(path: str | os.PathLike[str]) -> None:
    """Raise the ImportError or ValueError that `plot_history` would raise for this path."""
    known = _figure().canvas.get_supported_filetypes()
    if (suffix := Path(path).suffix.lower().removeprefix(".")) not in known:
        raise ValueError(
            f"{path}: a plot must be one of {', '.join(sorted(known))}; got {suffix!r}."
        )


def plot_history(history: History, path: str | os.PathLike[str], title: str = "") -> None:
    """Draw loss, and accuracy where there is one, over epochs.

    Parameters
    ----------
    history : History
        At least one epoch.
    path : path-like
        The suffix chooses the format: .png, .svg, .pdf.
    title : str, optional

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If the format is unknown.
    OSError
        If the file cannot be written.
    """
    check_format(path)
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    has_accuracy = any(value is not None for value in history.accuracy)
    figure = _figure(figsize=(9.0 if has_accuracy else 5.0, 3.6), layout="constrained")
    panels = figure.subplots(1, 2 if has_accuracy else 1, squeeze=False)[0]
    epochs = range(1, len(history) + 1)
    marker = "o" if len(history) <= 30 else None
    style = {"marker": marker, "markersize": 3.5, "linewidth": 1.6}
    panels[0].plot(epochs, history.train_loss, label="train (during the epoch)", **style)
    if any(value is not None for value in history.eval_loss):
        panels[0].plot(epochs, history.eval_loss, label="held out (after it)", **style)
    panels[0].set_ylabel("mean loss")
    panels[0].set_ylim(bottom=min(0.0, *panels[0].get_ylim()))
    panels[0].legend(frameon=False)
    if has_accuracy:
        panels[1].plot(epochs, history.accuracy, color="C1", **style)
        panels[1].set_ylabel("accuracy on the held-out rows")
        panels[1].yaxis.set_major_formatter(PercentFormatter(1.0))
        panels[1].set_ylim(top=min(1.01, panels[1].get_ylim()[1]))
    for panel in panels:
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(alpha=0.25)
        if len(history) == 1:
            panel.set_xlim(0, 2)
        panel.spines[["top", "right"]].set_visible(False)
    if title:
        figure.suptitle(title)
    figure.savefig(path, dpi=150)
