"""Files that grow with the history: CSV, and events for TensorBoard."""

import csv
import math
import sys

import numpy as np
import pytest

import fastbp
from fastbp import Network, Trainer
from fastbp.callbacks import Checkpoint, CSVLogger, TensorBoard

X = np.random.default_rng(0).normal(size=(20, 2))
Y = X[:, 0] - X[:, 1]


def made():
    return Trainer(Network((2, 3, 1), loss="squared_error", seed=0), learning_rate=0.01, seed=0)


def fit(trainer, epochs, *listeners, metrics="r2"):
    trainer.fit(
        X, Y, epochs=epochs, eval_set=(X, Y), metrics=metrics, callbacks=listeners, progress=False
    )
    return trainer.history


def test_csv_has_the_history_to_the_last_bit(tmp_path):
    path = tmp_path / "new" / "log.csv"
    history = fit(made(), 3, CSVLogger(path))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", *vars(history)]
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    for name in ("train_loss", "r2", "seconds"):
        assert [float(row[name]) for row in rows] == history[name]
    assert {row["accuracy"] for row in rows} == {""}


def test_each_epoch_is_in_the_file_as_soon_as_it_has_ended(tmp_path):
    path, seen = tmp_path / "log.csv", []
    fit(made(), 2, CSVLogger(path), lambda trainer: seen.append(path.read_bytes()))
    assert [text.count(b"\n") for text in seen] == [2, 3]
    assert all(text.endswith(b"\n") for text in seen)


def test_cells_are_quoted(tmp_path):
    """The names of methods have commas, and a metric may be called as one likes."""

    def error(y_true, y_pred):
        return float(abs(y_true - y_pred).max())

    error.__name__ = 'largest "error", absolute'
    trainer = made()
    trainer.method = ("sequential", "sequential")
    history = fit(trainer, 1, CSVLogger(tmp_path / "log.csv"), metrics=error)
    with (tmp_path / "log.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert float(row[error.__name__]) == history[error.__name__][0]
    assert row["method"] == history.method[0]


def test_csv_goes_on_where_a_loaded_trainer_does(tmp_path):
    """Lines of epochs after the save, and half a line of a crash, are gone."""
    path, model = tmp_path / "log.csv", tmp_path / "model"
    trainer = made()
    fit(trainer, 2, CSVLogger(path), Checkpoint(model))
    before = path.read_bytes()
    fit(trainer, 1, CSVLogger(path))
    assert path.read_bytes().startswith(before)
    path.write_bytes(path.read_bytes() + b"4,0.12")
    history = fit(fastbp.load(model), 2, CSVLogger(path))
    assert path.read_bytes().startswith(before)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert [float(row["train_loss"]) for row in rows] == history.train_loss


def test_a_missing_log_of_a_loaded_trainer_is_made_whole(tmp_path):
    trainer = made()
    fit(trainer, 2)
    fit(trainer, 1, CSVLogger(tmp_path / "log.csv"))
    assert (tmp_path / "log.csv").read_text().count("\n") == 4


@pytest.mark.parametrize("content", ["price,area\n1,2\n", "a text", "\x00\x01", "epoch\n"])
def test_a_file_with_another_header_is_refused_untouched(tmp_path, content):
    path, trainer = tmp_path / "log.csv", made()
    path.write_text(content)
    with pytest.raises(ValueError, match=r"has the header .* choose another path for CSVLogger"):
        fit(trainer, 1, CSVLogger(path))
    assert path.read_text() == content
    assert len(trainer.history) == 0


def test_an_empty_file_gets_a_header(tmp_path):
    (tmp_path / "log.csv").touch()
    fit(made(), 1, CSVLogger(tmp_path / "log.csv"))
    assert (tmp_path / "log.csv").read_text().startswith("epoch,train_loss,")


def test_other_columns_are_another_header(tmp_path):
    trainer = made()
    fit(trainer, 1, CSVLogger(tmp_path / "log.csv"))
    with pytest.raises(ValueError, match="choose another path"):
        fit(trainer, 1, CSVLogger(tmp_path / "log.csv"), metrics=("r2", "mae"))


@pytest.mark.parametrize("kind", [CSVLogger, TensorBoard])
def test_paths_are_checked(kind):
    with pytest.raises(ValueError, match=r"(path|folder) must be a path, got 3"):
        kind(3)


def events(folder):
    """Of all files in the order in which they were written."""
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        content, at = path.read_bytes(), 0
        while at < len(content):  # length, its check, the event, its check
            length = int.from_bytes(content[at : at + 8], "little")
            yield Event.FromString(content[at + 12 : at + 12 + length])
            at += 16 + length


def scalars(folder):
    """(tag, step) → value."""
    return {
        (value.tag, event.step): value.simple_value
        for event in events(folder)
        for value in event.summary.value
    }


def test_tensorboard_has_every_number_of_the_history(tmp_path):
    folder = tmp_path / "a" / "run"
    trainer = made()
    history = fit(trainer, 2, TensorBoard(folder))
    fit(trainer, 1, TensorBoard(folder))
    found = scalars(folder)
    names = [name for name, column in vars(history).items() if isinstance(column[0], float)]
    assert {"train_loss", "eval_loss", "learning_rate", "r2"} <= set(names)
    assert found.keys() == {(name, epoch) for name in names for epoch in (1, 2, 3)}
    for (name, epoch), value in found.items():
        assert math.isclose(value, history[name][epoch - 1], rel_tol=1e-6)


def test_tensorboard_drops_epochs_that_a_loaded_trainer_does_not_have(tmp_path):
    from tensorboardX.proto.event_pb2 import SessionLog

    trainer = made()
    fit(trainer, 3, TensorBoard(tmp_path / "runs"), Checkpoint(tmp_path / "{epoch}"))
    fit(fastbp.load(tmp_path / "1"), 1, TensorBoard(tmp_path / "runs"))
    starts = [
        event.step
        for event in events(tmp_path / "runs")
        if event.session_log.status == SessionLog.START
    ]
    assert starts == [2]


def test_tensorboard_needs_tensorboardx(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"needs tensorboardX, .* pip install -e '\.\[logs\]'"):
        TensorBoard(tmp_path)


def test_a_metric_that_is_new_has_empty_cells_before(tmp_path):
    X, y = np.eye(4), [0.0, 1.0, 2.0, 3.0]
    trainer = fastbp.Trainer(fastbp.Network((4, 1), loss="mse", seed=0), seed=0)
    trainer.fit(X, y, epochs=1, eval_set=(X, y))
    log = CSVLogger(tmp_path / "log.csv")
    trainer.fit(X, y, epochs=1, eval_set=(X, y), metrics="r2", callbacks=[log])
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [row["r2"] for row in rows] == ["", repr(trainer.history["r2"][-1])]
