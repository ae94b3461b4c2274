"""The progress bar: streams that are closed, broken or absent, and text that goes above it."""

import io
import os
import subprocess
import sys
import types
from typing import ClassVar

import numpy as np
import pytest

from fastbp import Network, Trainer
from fastbp.progress import progress_bar

X, Y = np.eye(4), np.arange(4) % 3


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self):
        return True


def closed():
    stream = Terminal()
    stream.close()
    return stream


def broken(error):
    def fail(text=""):
        raise error

    stream = Terminal()
    stream.write = stream.flush = fail
    return stream


STREAMS = {
    "none": lambda: None,
    "closed": closed,
    "no reader": lambda: broken(BrokenPipeError(32, "Broken pipe")),
    "no terminal any more": lambda: broken(OSError(5, "Input/output error")),
    "full": lambda: broken(OSError(28, "No space left on device")),
}


@pytest.mark.parametrize("progress", [None, False, True])
@pytest.mark.parametrize("make", STREAMS.values(), ids=STREAMS)
def test_training_needs_no_stderr(make, progress, monkeypatch):
    monkeypatch.setattr(sys, "stderr", make())
    trainer = Trainer(Network((4, 3), seed=0), seed=0)
    trainer.fit(X, Y, epochs=3, progress=progress)
    assert len(trainer.history) == 3


WITHOUT_STDERR = """
import os, sys
import fastbp
{first}
trainer = fastbp.Trainer(fastbp.Network((2, 2), seed=0))
trainer.fit([[0, 1], [1, 0]], [0, 1], epochs=2, progress=True)
trainer.fit([[0, 1], [1, 0]], [0, 1], epochs=2)
sys.stdout.write(f"{{len(trainer.history)}} epochs")
"""


@pytest.mark.parametrize("first", ["os.close(2)", "sys.stderr.close()", "sys.stderr = None"])
def test_a_program_without_stderr_trains(first):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_STDERR.format(first=first)],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    assert done.stdout == "4 epochs"


@pytest.mark.skipif(os.name == "nt", reason="a pipe without a reader is another matter there")
def test_a_program_whose_stderr_nobody_reads_trains():
    child = subprocess.Popen(
        [sys.executable, "-c", WITHOUT_STDERR.format(first="sys.stdin.readline()")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    child.stderr.close()
    assert child.communicate("go\n", timeout=300)[0] == "4 epochs"


def last_lines(text):
    """What a terminal shows of a text in the end, a carriage return going back to overwrite."""
    shown = []
    for line in text.split("\n"):
        cells = []
        for part in line.split("\r"):
            cells[: len(part)] = part
        shown.append("".join(cells).rstrip())
    return [line for line in shown if line]


def test_what_is_printed_goes_above_the_bar(monkeypatch):
    terminal = Terminal()  # takes both streams, as a terminal does
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)

    def say(trainer):
        print("epoch", len(trainer.history))
        print("more", end=" ")
        print("of it", file=sys.stderr)
        print("in two", end=" ")
        print("parts", end="" if len(trainer.history) == 3 else "\n", flush=True)

    Trainer(Network((4, 3), seed=0), seed=0).fit(X, Y, epochs=3, progress=True, callbacks=say)
    assert sys.stdout is terminal
    assert sys.stderr is terminal
    text = terminal.getvalue()
    assert "samples/s" in text
    assert last_lines(text) == [
        line
        for epoch in (1, 2, 3)
        for line in (f"epoch {epoch}", "of it", "more in two parts")
    ]  # fmt: skip


def test_streams_come_back_after_an_error(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)

    def fail(trainer):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        Trainer(Network((4, 3))).fit(X, Y, progress=True, callbacks=fail)
    assert sys.stdout is terminal


def test_a_bar_that_is_not_shown_is_not_made(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with progress_bar(False, 10) as bar:
        assert bar is None


def test_the_bar_shows_epochs_losses_and_metrics(capsys):
    trainer = Trainer(Network((4, 3), seed=0), seed=0)
    for _ in range(2):
        trainer.fit(X, Y, epochs=3, eval_set=(X, Y), metrics="log_loss", progress=True, verbose=1)
    shown = capsys.readouterr().err
    history = trainer.history
    assert "epoch 3/3:" in shown
    assert "epoch 6/6:" in shown
    assert f"train loss {history.train_loss[0]:.4f}, eval loss {history.eval_loss[0]:.4f}" in shown
    assert f"accuracy {history.accuracy[0]:.2%}, log_loss {history['log_loss'][0]:.4f}" in shown


def test_lines_of_verbose_go_above_the_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    history = Trainer(Network((4, 3), seed=0), seed=0).fit(X, Y, epochs=3, verbose=1)
    assert "samples/s]" in terminal.getvalue() or ", train loss" in terminal.getvalue()
    assert last_lines(terminal.getvalue()) == str(history).splitlines()


class Widgets:
    """In place of tqdm's bar for notebooks: no text, and red if it ends before its total."""

    gui, disable = True, False
    made: ClassVar[list] = []

    def __init__(self, total, **options):
        self.total, self.n, self.texts, self.is_red = total, 0, [], None
        self.made.append(self)

    def update(self, n):
        self.n += n

    def set_description_str(self, text, refresh):
        self.texts.append(text)

    set_postfix_str = set_description_str

    def close(self):
        self.is_red = self.n < self.total


@pytest.fixture
def notebook(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel.zmqshell", types.ModuleType("zmqshell"))
    monkeypatch.setitem(sys.modules, "tqdm.auto", types.SimpleNamespace(tqdm=Widgets))
    Widgets.made.clear()


def test_a_notebook_has_a_bar_of_widgets(notebook, capsys):
    """And what is printed goes to the cell as ever."""
    outputs = []

    def say(trainer):
        outputs.append(sys.stdout)
        if len(trainer.history) == 2:
            trainer.stop()

    before = sys.stdout
    history = Trainer(Network((4, 3), seed=0)).fit(X, Y, epochs=5, callbacks=say, verbose=1)
    assert outputs == [before] * 2
    assert capsys.readouterr().out == f"{history}\nstopped at epoch 2, best 2\n"
    (bar,) = Widgets.made
    assert (bar.n, bar.is_red) == (8, False)
    assert bar.texts[0] == "epoch 1/5"
    assert bar.texts[1].startswith("train loss")


def test_a_bar_of_a_fit_that_failed_is_red(notebook):
    def fail(trainer):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        Trainer(Network((4, 3))).fit(X, Y, callbacks=fail)
    assert [bar.is_red for bar in Widgets.made] == [True]


def test_a_notebook_without_a_bar(notebook):
    Trainer(Network((4, 3))).fit(X, Y, epochs=1, progress=False)
    assert Widgets.made == []


WITHOUT_WIDGETS = """
import sys, types
sys.modules["ipywidgets"] = None
sys.modules["ipykernel.zmqshell"] = types.ModuleType("zmqshell")
shell = type("ZMQInteractiveShell", (), {})
sys.modules["IPython"] = types.SimpleNamespace(get_ipython=shell)
import fastbp
fastbp.Trainer(fastbp.Network((2, 2), seed=0)).fit([[0, 1], [1, 0]], [0, 1], epochs=2, verbose=1)
"""


def test_a_notebook_without_widgets_has_a_bar_of_text_and_no_advice():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_WIDGETS],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "epoch 2/2" in done.stderr
    assert "IProgress" not in done.stderr
