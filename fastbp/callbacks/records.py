"""Callbacks that write files: the trainer itself, and what its history has."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import secrets
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from fastbp import checks, files
from fastbp.callbacks.base import Callback
from fastbp.callbacks.monitors import Watching
from fastbp.extras import missing

if TYPE_CHECKING:
    from fastbp.trainer import Trainer

Path = str | os.PathLike[str]


def _text(name: str, path: Any) -> str:
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise ValueError(f"{name} must be a path, got {checks.shown(path)}.")
    return os.fsdecode(path)


def _make_folder(path: str) -> None:
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)


class Checkpoint(Watching):
    """Save the trainer after epochs, so that a fit that was killed goes on bit for bit.

    The trainer is saved by `Trainer.save`, after all other callbacks have seen the epoch: a crash
    leaves the file before or the new one. A loaded trainer has its history, and needs the rest of
    the epochs: ``trainer.fit(X, y, epochs=100 - len(trainer.history), callbacks=...)`` with the
    same callbacks. If these may have been none, ``epochs=max(0, ...)`` lets `EarlyStopping` restore
    its best epoch.

    Parameters
    ----------
    path : path-like
        With ``{epoch}`` in it, such as ``"run-{epoch:03d}.safetensors"``, each epoch has a file of
        its own; else the one file is replaced. Its folder is made if it does not exist.
    every : int, default 1
        Epochs from file to file, counted over the whole history.
    keep : int, optional
        So many of the newest files stay, of those that this callback wrote. By default all do.
    monitor : str, optional
        Column of the history: save only when it is better than ever before.
    mode : {"min", "max"}, optional
        Whether less or more is better, for a function as a metric.
    """

    settings = ("path", "every", "keep", "monitor", "mode")
    state = ("best", "written")
    comes_last = True

    every: int = 1
    """Epochs from file to file; it does nothing after chunks."""

    def __init__(
        self,
        path: Path,
        *,
        every: int = 1,
        keep: int | None = None,
        monitor: str | None = None,
        mode: str | None = None,
    ) -> None:
        # Without a column there is nothing to compare, in either direction.
        super().__init__("train_loss" if monitor is None else monitor, mode)
        if monitor is None:
            self.monitor = ""
        self.path = _text("path", path)
        self.every = checks.integer("every", every, 1)
        self.keep = None if keep is None else checks.integer("keep", keep, 1)
        is_numbered = self._file(1) != self._file(2)
        if self.keep is not None and not is_numbered:
            raise ValueError(
                f"keep must be None where path has no {{epoch}} in it, got keep={keep!r} and "
                f"{self.path!r}."
            )
        self.best = self.worst
        self.written: list[str] = []

    def _file(self, epoch: int) -> str:
        """The file of an epoch."""
        if "{epoch" not in self.path:
            return self.path
        try:
            return self.path.format(epoch=epoch)
        except (LookupError, ValueError, AttributeError):
            raise ValueError(
                'path must have no braces but those of an epoch, such as "{epoch:03d}", got '
                f"{self.path!r}."
            ) from None

    def on_begin(self, trainer: Trainer) -> None:
        """Forget earlier fits; refuse a trainer that cannot be saved."""
        trainer.get_params()
        self.best, self.written = self.worst, []

    def on_epoch(self, trainer: Trainer) -> None:
        """Save, if it is time and it is better."""
        epoch = len(trainer.history)
        if epoch % self.every != 0:
            return
        if self.monitor:
            value = self.watched(trainer)
            if not self.improves(value, self.best):
                return
            self.best = value
        path = self._file(epoch)
        self.written = [*(each for each in self.written if each != path), path]
        self.epochs_seen = epoch  # as the file is to say
        _make_folder(path)
        trainer.save(path)
        if self.keep is not None:
            for old in self.written[: -self.keep]:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(old)
            self.written = self.written[-self.keep :]


class CSVLogger(Callback):
    """Write the history to a CSV file, a line for each epoch as soon as it has ended.

    The columns are the number of the epoch, from 1, and those of the history, in full precision;
    entries that are None are empty. When a fit begins, the file gets what the history has already:
    so a fit that goes on from a saved trainer continues its file, and lines of epochs that came
    after the save are written again. A crash leaves whole lines.

    Parameters
    ----------
    path : path-like
        A file with another header is refused. Its folder is made if it does not exist.
    """

    settings = ("path",)

    def __init__(self, path: Path) -> None:
        self.path = _text("path", path)
        self._fitted: tuple[str, ...] = ()
        self._columns: tuple[str, ...] = ()

    def check(self, columns: Iterable[str]) -> None:
        """Note the columns of the fit."""
        self._fitted = tuple(columns)

    def on_begin(self, trainer: Trainer) -> None:
        """Write the header, and the epochs so far."""
        history = trainer.history
        self._columns = tuple(dict.fromkeys([*vars(history), *self._fitted]))
        header = _line(["epoch", *self._columns])
        old = self._header()
        if old not in (b"", header):
            raise ValueError(
                f"{self.path} has the header {checks.shown(old.decode(errors='replace'))}, and "
                f"this fit's is {header.decode()!r}: choose another path for CSVLogger."
            )
        _make_folder(self.path)
        with files.replaced(self.path) as file:
            file.write(header)
            file.writelines(self._row(trainer, epoch) for epoch in range(len(history)))

    def _header(self) -> bytes:
        """The first line of the file, if there is one."""
        if not os.path.exists(self.path):
            return b""
        with files.opened(self.path) as file:
            return file.readline(1_000_000)

    def _row(self, trainer: Trainer, epoch: int) -> bytes:
        history = trainer.history  # which has a new metric's column from the next epoch on
        cells = (history[each][epoch] if each in history else None for each in self._columns)
        return _line([epoch + 1, *cells])

    def on_epoch(self, trainer: Trainer) -> None:
        """Add a line."""
        row = self._row(trainer, len(trainer.history) - 1)
        with open(self.path, "ab", buffering=0) as file:  # in one piece
            file.write(row)


def _line(cells: Sequence[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


class TensorBoard(Callback):
    """Write each number of the history as a scalar for TensorBoard, epoch by epoch.

    ``tensorboard --logdir FOLDER`` shows them. If a trainer was loaded, epochs after those that it
    has are taken out of the plot.

    Parameters
    ----------
    folder : path-like
        Of this run; each fit adds a file to it.

    Raises
    ------
    ImportError
        If tensorboardX is not installed.
    """

    settings = ("folder",)

    def __init__(self, folder: Path) -> None:
        self.folder = _text("folder", folder)
        _writer_class()
        self._writer: Any = None

    def on_begin(self, trainer: Trainer) -> None:
        """Open a file."""
        done = len(trainer.history)
        # Two files of the same second would have the same name.
        suffix = f".{secrets.token_hex(4)}"
        self._writer = _writer_class()(
            self.folder, purge_step=done + 1 if done else None, filename_suffix=suffix
        )

    def on_epoch(self, trainer: Trainer) -> None:
        """Write what is a number."""
        for name, column in vars(trainer.history).items():
            if isinstance(column[-1], (int, float)):
                self._writer.add_scalar(name, column[-1], len(trainer.history))
        self._writer.flush()

    def on_end(self, trainer: Trainer) -> None:
        """Close the file."""
        self._writer.close()
        self._writer = None


def _writer_class() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise missing("callbacks.TensorBoard needs tensorboardX", "logs") from None
    return SummaryWriter
