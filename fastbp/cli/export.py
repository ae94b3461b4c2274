"""``fastbp export``: a saved model for other programs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastbp.c_source import to_c
from fastbp.cli import options as opt
from fastbp.exchange import to_onnx, torch
from fastbp.exchange.models import network_of

# What writes a network to a path, by the ending of the path's name.
_WRITERS: dict[str, Callable[[Any, str], Any]] = {".onnx": to_onnx, ".h": to_c, ".pt": torch.save}


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "export",
        help="a saved model for ONNX, C or PyTorch",
        description="Write a saved model for other programs. The ending of OUT says how: .onnx for "
        "onnxruntime and its like, from raw rows to predictions; .h for a header of C; .pt for "
        "torch.load, the layers alone.",
        formatter_class=opt.HelpFormatter,
    )
    command.set_defaults(run=_export)
    command.add_argument("model", metavar="MODEL", help="file that 'fastbp train --save' wrote")
    command.add_argument("out", metavar="OUT", help=f"file to write: *{', *'.join(_WRITERS)}")


def _export(options: argparse.Namespace) -> int:
    ending = Path(options.out).suffix.lower()
    if ending not in _WRITERS:
        raise ValueError(
            f"OUT must end in {', '.join(_WRITERS)}, which says what to write, got {options.out}."
        )
    _WRITERS[ending](network_of(options.model), options.out)
    return 0
