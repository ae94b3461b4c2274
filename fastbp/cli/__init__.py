"""The command line: ``fastbp train | predict | evaluate | export | check | bench | …``."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Sequence

import fastbp
from fastbp.cli import bench, check, export, info, predict, train, warmup
from fastbp.cli.options import Parser
from fastbp.cli.output import fail, mute_stdout, note
from fastbp.divergence import DivergenceError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    0 is success, 1 a failed check or a diverged training, 2 unusable input, 130 an interrupt.
    """
    if sys.stdout is None:  # closed by the caller
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # as long-lived as the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an old code page has no → and no –
            stream.reconfigure(errors="backslashreplace")
    given = list(sys.argv[1:] if arguments is None else arguments)
    said: set[str] = set()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if str(message) not in said:  # the network that is trained again would say it again
            said.add(str(message))
            note(str(message))

    with warnings.catch_warnings():
        warnings.showwarning = show
        return _run(given)


def _run(given: Sequence[str]) -> int:
    try:
        parser = _parser()
        options = parser.parse_args(train.with_settings(given, parser))
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of a pipe has seen enough
        mute_stdout()
        return 0
    except OSError as error:
        named = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return fail(named, 2)
    except DivergenceError as error:
        return fail(
            f"{error.text('is not saved')} The options are --learning-rate and --clip-norm; "
            "without --no-scale, inputs are scaled.",
            1,
        )
    except (ValueError, ImportError, MemoryError) as error:
        return fail(str(error) or type(error).__name__, 2)
    except KeyboardInterrupt:
        return fail("interrupted", 130)


def _parser() -> Parser:
    parser = Parser(
        prog="fastbp",
        description="Train multi-layer perceptrons on a CPU, fast: from a table to a model.",
        epilog="Start with:  fastbp train digits",
    )
    parser.add_argument("--version", action="version", version=f"fastbp {fastbp.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (train, predict, export, check, bench, warmup, info):
        command.add(commands)
    return parser
