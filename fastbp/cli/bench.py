"""``fastbp bench``: training beside the libraries that are installed."""

from __future__ import annotations

import argparse
from typing import Any

from fastbp.cli import options as opt

NETS = ("64-128-10", "784-128-10")


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "bench",
        help="time training beside other libraries on this machine",
        description="Time training beside torch, JAX and scikit-learn, whichever are installed: "
        "the same steps from the same weights in the same order, float32. All must reach the same "
        "loss before any is timed, and each has the fastest of several settings. It takes a minute "
        "or two; a machine that does nothing else gives the best figures.",
        formatter_class=opt.HelpFormatter,
    )
    command.set_defaults(run=_run)
    command.add_argument("--nets", metavar="NET", nargs="+",
                         help="units from the inputs to the classes; by default "
                         + " ".join(NETS))  # fmt: skip
    command.add_argument("--batch-sizes", metavar="N", nargs="+", type=opt.integer,
                         help="samples of a step; by default 1 32")  # fmt: skip
    command.add_argument("--images", metavar="FOLDER",
                         help="IDX files of MNIST or a relative, for nets with as many inputs and "
                         "classes; digits of scikit-learn's are 64-…-10, and other nets train on "
                         "random rows")  # fmt: skip
    command.add_argument("--peers", metavar="NAME", nargs="+",
                         help="beginnings of the names of those to compare with, such as torch; by "
                         "default all")  # fmt: skip
    command.add_argument("--rounds", metavar="N", type=opt.integer, default=3,
                         help="how often the systems take turns")  # fmt: skip
    command.add_argument("--seconds", metavar="S", type=opt.number,
                         help="of each system and net in all, about; by default 1, and 4 of a "
                         "profile")  # fmt: skip
    command.add_argument("--profile", action="store_true",
                         help="instead, where the time of fastbp's own step goes on one core: by "
                         "phase and layer, beside the limits of the machine")  # fmt: skip
    command.add_argument("--plot", metavar="FILE",
                         help="draw a chart, of a profile a roofline plot, as .svg")  # fmt: skip
    command.add_argument("--json", action="store_true",
                         help="print one JSON object instead of text, for machines")  # fmt: skip


def _run(options: argparse.Namespace) -> int:
    from fastbp.cli import benchmark  # whose room no other command needs

    return benchmark.run(options)
