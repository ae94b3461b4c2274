"""``fastbp train --resume``: going on with a saved training."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fastbp import seen
from fastbp.cli import model
from fastbp.cli import options as opt
from fastbp.experiment import Plan
from fastbp.splitting import Parts
from fastbp.storage import load, read_header
from fastbp.trainer import Trainer


class Saved(NamedTuple):
    """A trainer that is to go on, and what the command line has kept with it."""

    path: str
    trainer: Trainer
    extra: dict[str, Any]


def read(options: argparse.Namespace) -> Saved:
    """The saved trainer; options become those that it was begun with.

    Raises
    ------
    ValueError
        If it cannot go on, or an option is given that would make it another training.
    """
    path = options.resume
    extra, trainer = read_header(path)["extra"], load(path)
    kinds = {"options": dict, "stage": str, "seen": dict, "epochs": int}
    known = all(isinstance(extra.get(name), kind) for name, kind in kinds.items())
    if not isinstance(trainer, Trainer) or not known:
        raise ValueError(f"--resume {path}: 'fastbp train --save' did not write this trainer.")
    if extra["stage"] == "final":
        raise ValueError(
            f"--resume {path}: this network was trained on all rows, and none are left to say how "
            "good it becomes; go on with one that was saved without --final."
        )
    defaults = opt.training_defaults()
    if unknown := extra["options"].keys() - (vars(defaults).keys() - set(model.FREE)):
        raise ValueError(
            f"{path} is damaged: {min(unknown)!r} is no option that a training goes on with."
        )
    for name, value in extra["options"].items():
        given = getattr(options, name, None)
        plain = list(given) if isinstance(given, tuple) else given
        default = getattr(defaults, name, None)
        if given != default and plain != value:
            raise ValueError(
                f"--{name.replace('_', '-')} cannot be changed when a training is resumed."
            )
        setattr(options, name, tuple(value) if isinstance(value, list) else value)
    return Saved(path, trainer, extra)


def plan(planned: Plan, saved: Saved, options: argparse.Namespace) -> Plan:
    """The plan of the saved trainer: its network and preparation, the same rows in each part."""
    settings = planned.options
    if saved.extra["stage"] == "refit":  # which has learned from the validation part
        parts = planned.parts
        rows, none = np.union1d(parts.train, parts.validation), parts.train[:0]
        planned = planned._replace(parts=Parts(rows, none, parts.test))
        settings = replace(settings, refit=False)
    X, _ = planned.rows("train")
    if seen.sketch(model.transformed(saved.trainer.network, X)) != saved.extra["seen"]:
        raise ValueError(
            f"{options.data}: these are not the rows that {saved.path} was trained on; a training "
            "can only go on with the same data."
        )
    done = len(saved.trainer.history)
    epochs = saved.extra["epochs"] if options.epochs is None else options.epochs
    # A checkpoint may have all epochs, and yet the network is still to be trained again.
    if epochs < done or (epochs == done and saved.extra["stage"] != "checkpoint"):
        raise ValueError(
            f"--resume {saved.path}: it has {done} epochs already; ask for more with --epochs."
        )
    if options.threads is not None:
        saved.trainer.n_threads = options.threads
    return planned._replace(trainer=saved.trainer, options=replace(settings, epochs=epochs))
