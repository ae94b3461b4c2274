"""The progress bar: streams that are closed, broken or absent, and text that goes above it."""

import io
import os
import subprocess
import sys

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
        bar.update(10)
