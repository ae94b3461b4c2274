"""Checkpoints: which files there are, and that a fit goes on from one bit for bit."""

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp import Network, Trainer
from fastbp.callbacks import Callback, Checkpoint, EarlyStopping, ReduceOnPlateau, Target

# What a user's program does, again and again, until it is done.
PROGRAM = """
import os, sys, time
import numpy as np
import fastbp
from fastbp.callbacks import Checkpoint, EarlyStopping, ReduceOnPlateau

def run(path, epochs, *others):
    if os.path.exists(path):
        trainer = fastbp.load(path)
    else:
        network = fastbp.Network((3, 5, 2), seed=0)
        trainer = fastbp.Trainer(
            network, "adam", learning_rate=0.05, batch_size=4, dropout=0.2, seed=0
        )
    X = np.random.default_rng(0).normal(size=(40, 3))
    trainer.fit(
        X, X[:, 0] > 0, epochs=max(0, epochs - len(trainer.history)), validation_split=0.25,
        progress=False, callbacks=[
            Checkpoint(path),
            EarlyStopping("accuracy", patience=epochs),
            ReduceOnPlateau("train_loss", patience=1, factor=0.8),
            *others,
        ],
    )
    return trainer
"""
run = {}
exec(PROGRAM, run)
run = run["run"]
EPOCHS = 30


def assert_same(one, other):
    """Parameters, and what the history has but times."""
    np.testing.assert_array_equal(one.network.params, other.network.params)
    for name in ("train_loss", "eval_loss", "accuracy", "learning_rate"):
        assert one.history[name] == other.history[name]
    assert one.history.best_epoch == other.history.best_epoch
    assert one.learning_rate == other.learning_rate


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return run(str(tmp_path_factory.mktemp("whole") / "run"), EPOCHS)


def test_a_fit_that_is_killed_goes_on_bit_for_bit(tmp_path, uninterrupted):
    path = tmp_path / "run"
    script = tmp_path / "program.py"
    say = "lambda t: print(len(t.history), flush=True)"
    script.write_text(f"{PROGRAM}\nrun(sys.argv[1], {EPOCHS}, {say}, lambda t: time.sleep(0.01))\n")
    moments = random.Random(int(time.time()))
    for _ in range(2):
        command = [sys.executable, str(script), str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            for _ in range(moments.randint(1, 9)):
                assert child.stdout.readline()
            time.sleep(moments.random() * 0.02)
            child.kill()
    if path.exists():
        assert len(fastbp.load(path).history) > 0
    assert_same(run(str(path), EPOCHS), uninterrupted)
    assert_same(run(str(path), EPOCHS), uninterrupted)  # after its last epoch, too


class Crash(Callback):
    """An exception instead of SIGKILL, at any of the points of a fit."""

    def __init__(self, epoch, point):
        self.epoch, self.point = epoch, point

    def on_chunk(self, trainer, samples, loss):
        self.fail("chunk", trainer)

    def on_epoch(self, trainer):
        self.fail("epoch", trainer)

    def fail(self, point, trainer):
        if (point, len(trainer.history)) == (self.point, self.epoch):
            raise RuntimeError("crash")


@pytest.mark.parametrize("point", ["chunk", "epoch"])
@pytest.mark.parametrize("epoch", [1, 2, 29])
def test_a_fit_that_crashed_goes_on_bit_for_bit(tmp_path, uninterrupted, epoch, point):
    path = str(tmp_path / "run")
    with pytest.raises(RuntimeError, match="crash"):
        run(path, EPOCHS, Crash(epoch, point))
    assert_same(run(path, EPOCHS), uninterrupted)


@pytest.fixture
def trainer():
    return Trainer(Network((2, 3, 2), seed=0), learning_rate=0.1, seed=0)


X, Y = np.eye(2), [0, 1]


@pytest.mark.parametrize("first", [True, False])
def test_it_saves_what_other_callbacks_made_of_the_epoch(trainer, tmp_path, first):
    """Wherever it stands among them, and of functions, which have no state, too."""
    checkpoint = Checkpoint(tmp_path / "run")

    def halve(trainer):
        trainer.learning_rate /= 2

    both = [checkpoint, halve] if first else [halve, checkpoint]
    trainer.fit(X, Y, epochs=2, callbacks=both, progress=False)
    assert fastbp.load(tmp_path / "run").learning_rate == 0.1 / 4


@pytest.mark.parametrize("first", [True, False])
def test_a_fit_that_was_about_to_stop_stops_at_once(tmp_path, trainer, first):
    stops = [Target("train_loss", 100.0), EarlyStopping("train_loss", patience=1)]
    save = Checkpoint(tmp_path / "run")
    both = [save, *stops] if first else [*stops, save]
    trainer.fit(X, Y, epochs=5, callbacks=both, progress=False)
    loaded = fastbp.load(tmp_path / "run")
    loaded.fit(X, Y, epochs=4, callbacks=both, progress=False)
    assert len(loaded.history) == len(trainer.history) == 1


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_one_file_is_written_down_once(trainer, tmp_path):
    """What a checkpoint keeps does not grow with the epochs."""
    save = Checkpoint(tmp_path / "run")
    trainer.fit(X, Y, epochs=3, callbacks=save, progress=False)
    assert save.written == [str(tmp_path / "run")]


def test_a_resumed_fit_does_not_write_its_last_epoch_again(trainer, tmp_path):
    save = Checkpoint(tmp_path / "{epoch}")
    trainer.fit(X, Y, epochs=2, callbacks=save, progress=False)
    loaded = fastbp.load(tmp_path / "2")
    (tmp_path / "2").unlink()
    loaded.fit(X, Y, epochs=1, callbacks=save, progress=False)
    assert names(tmp_path) == ["1", "3"]


def test_numbered_files(trainer, tmp_path):
    own = tmp_path / "new" / "folder"
    save = Checkpoint(own / "{epoch:03d}.safetensors", every=2, keep=2)
    trainer.fit(X, Y, epochs=7, callbacks=save, progress=False)
    assert names(own) == ["004.safetensors", "006.safetensors"]
    assert len(fastbp.load(own / "004.safetensors").history) == 4


def test_only_its_own_files_are_deleted_and_those_of_before_the_crash_are_its_own(
    trainer, tmp_path
):
    path, other = tmp_path / "run-{epoch}", tmp_path / "run-1"
    other.write_text("of somebody else")
    trainer.fit(X, Y, epochs=1, progress=False)
    trainer.fit(X, Y, epochs=2, callbacks=Checkpoint(path, keep=2), progress=False)
    loaded = fastbp.load(tmp_path / "run-3")
    loaded.fit(X, Y, epochs=1, callbacks=Checkpoint(path, keep=2), progress=False)
    assert names(tmp_path) == ["run-1", "run-3", "run-4"]
    (tmp_path / "run-3").unlink()  # what the user has deleted is not missed
    loaded.fit(X, Y, epochs=3, callbacks=Checkpoint(path, keep=1), progress=False)
    assert names(tmp_path) == ["run-1", "run-4", "run-7"]


def test_a_failed_save_deletes_nothing(trainer, tmp_path, monkeypatch):
    def fill(trainer):
        if len(trainer.history) == 2:
            monkeypatch.setattr("os.fsync", fail)

    def fail(*_):
        raise OSError(28, "No space left on device")

    save = Checkpoint(tmp_path / "{epoch}", keep=1)
    with pytest.raises(OSError, match="No space left"):
        trainer.fit(X, Y, epochs=3, callbacks=[fill, save], progress=False)
    assert names(tmp_path) == ["1"]


def test_only_what_is_better_is_saved_also_after_a_resume(tmp_path, trainer):
    values = iter([0.3, 0.5, 0.4, np.nan, 0.45, 0.6, 0.55])

    def script(trainer):
        trainer.history["accuracy"][-1] = next(values)

    def fit(trainer, epochs):
        save = Checkpoint(tmp_path / "{epoch}", monitor="accuracy")
        trainer.fit(X, Y, epochs=epochs, eval_set=(X, Y), callbacks=[script, save], progress=False)
        return save

    assert fit(trainer, 4).best == 0.5
    assert names(tmp_path) == ["1", "2"]
    next_best = fit(fastbp.load(tmp_path / "2"), 3)
    assert next_best.best == 0.6
    assert names(tmp_path) == ["1", "2", "4"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": 3}, "path must be a path, got 3"),
        ({"path": ""}, "path must be a path"),
        ({"path": "run-{epoch}-{loss}"}, "path must have no braces but those of an epoch"),
        ({"path": "run-{epoch:03q}"}, "path must have no braces but those of an epoch"),
        ({"path": "run-{epoch.a}"}, "path must have no braces but those of an epoch"),
        ({"path": "run", "keep": 2}, "keep must be None where path has no {epoch} in it"),
        ({"path": "run-{epoch}", "keep": 0}, "keep must be an integer of at least 1"),
        ({"path": "run", "every": 0}, "every must be an integer of at least 1"),
        ({"path": "run", "monitor": "mine"}, 'mode must be "min" or "max"'),
    ],
)
def test_bad_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        Checkpoint(**arguments)


def test_a_trainer_that_cannot_be_saved_is_refused_before_the_first_epoch(trainer, tmp_path):
    trainer.learning_rate = lambda epoch: 0.1
    with pytest.raises(ValueError, match="learning_rate must be a number or one of fastbp"):
        trainer.fit(X, Y, callbacks=Checkpoint(tmp_path / "run"), progress=False)
    assert len(trainer.history) == 0


def test_plateaus_go_on(tmp_path, trainer):
    """Their counts, though the file was written in the epoch that they lowered the rate."""
    plateau = ReduceOnPlateau("train_loss", patience=0, threshold=0.9, factor=0.5)
    trainer.fit(
        X, Y, epochs=3, callbacks=[Checkpoint(tmp_path / "{epoch}"), plateau], progress=False
    )
    loaded = fastbp.load(Path(tmp_path, "2"))
    assert loaded.learning_rate == trainer.history.learning_rate[2] < 0.1
