"""``fastbp train``: from a table to a model and its figures."""

from __future__ import annotations

import argparse
import itertools
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp import checks, experiment, kernels, metrics
from fastbp.cli import assess, model, resume
from fastbp.cli import options as opt
from fastbp.cli.output import finite, in_words, naming, say
from fastbp.data import Data, read
from fastbp.experiment import Outcome, Plan
from fastbp.optimizers import OPTIMIZERS
from fastbp.options import OPTIONS
from fastbp.plotting import check_format, report_figure
from fastbp.problem import Problem, counted, pose
from fastbp.storage import save
from fastbp.trainer import Trainer

# Options that go to `Trainer` under their own names; the others have words of their own here.
_OF_TRAINER = tuple(name for name in OPTIONS if name not in ("optimizer", "shuffle", "n_threads"))


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "train",
        help="train a network on a table and report its figures on rows it has not seen",
        description="Train a network on a table, and report its figures on rows that it has not "
        "seen, beside those of a trivial model.",
        formatter_class=opt.HelpFormatter,
        usage="fastbp train DATA [--target COLUMN] [options]",
    )
    command.set_defaults(run=run)
    command.add_argument("data", metavar="DATA", help=opt.DATA_HELP)
    opt.add_training(command)


def with_settings(arguments: Sequence[str], parser: opt.Parser) -> list[str]:
    """Arguments, preceded by those of the file that ``--config`` names, which they overrule."""
    if not arguments or arguments[0] != "train":
        return list(arguments)
    options = parser.parse_args(arguments)
    if options.config is None:
        return list(arguments)
    return ["train", *opt.from_file(options.config, vars(options)), *arguments[1:]]


def run(options: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    resumed = resume.read(options) if options.resume else None
    check_before_training(options)
    with naming(options.data):
        data = _read(options)
        problem = pose(data.y, task=options.task, loss=options.loss, name=data.name)
    settings = settings_of(options)
    if options.cv is not None:
        return _cross_validate(options, data, problem, settings)
    with naming(options.data):
        planned = experiment.plan(data, problem, settings)
    if resumed is not None:
        planned = resume.plan(planned, resumed, options)
    _introduce(options, planned)
    trainer, interrupted = planned.trainer, False
    with naming(options.data):
        try:
            trainer = experiment.fit(
                planned, callbacks=_callbacks(options, planned), progress=_bar(options)
            )
        except KeyboardInterrupt:
            interrupted = True
    outcome = experiment.outcome(planned, trainer)
    if options.final and not interrupted:
        try:
            trainer = _train_on_all(options, planned, outcome.best_epoch)
        except KeyboardInterrupt:
            interrupted = True
    _report(options, planned, outcome, trainer, interrupted)
    return 130 if interrupted else 0


def check_before_training(options: argparse.Namespace) -> None:
    """Refuse what would otherwise fail after the work, or without a word of the option."""
    for name in ("save", "plot", "checkpoint"):
        path = getattr(options, name)
        if path and not Path(path).absolute().parent.is_dir():
            raise ValueError(f"--{name} {path}: the folder does not exist.")
        if path and Path(path).exists() and not Path(path).is_file():
            raise ValueError(f"--{name} {path}: this is no regular file; name another.")
        if path and not os.access(Path(path).absolute().parent, os.W_OK):
            raise ValueError(f"--{name} {path}: the folder cannot be written.")
        if path and Path(path).resolve() == Path(options.data).resolve():
            raise ValueError(f"--{name} {path}: this would overwrite the data.")
    if options.plot:
        check_format(options.plot)
    for name, least in {"epochs": 1, "patience": 0, "seed": 0, "threads": 1}.items():
        if (value := getattr(options, name)) is not None:
            checks.integer(f"--{name}", value, least)
    schedules = (*opt.SCHEDULE_NAMES, "constant")
    names: dict[str, Iterable[str]] = {
        "loss": kernels.LOSSES,
        "optimizer": OPTIMIZERS,
        "schedule": schedules,
    }
    for name, known in names.items():
        if (value := getattr(options, name)) is not None:
            setattr(options, name, checks.choice(f"--{name}", value, known))
    if not 0 < options.held_out < 1:
        raise ValueError(
            f"--held-out must be between 0 and 1, got {options.held_out}; --final trains on all "
            "rows after the figures."
        )
    if options.cv is not None:
        checks.integer("--cv", options.cv, 2)
        for name in ("plot", "resume", "checkpoint"):
            if getattr(options, name):
                raise ValueError(f"--{name} is for one training, and --cv trains several networks.")


def _read(options: argparse.Namespace) -> Data:
    return read(
        options.data,
        options.target,
        group=options.group,
        time=options.time,
        keep_time=options.keep_time,
        columns=options.columns,
        drop=options.drop,
        text=options.text,
        **opt.reading(options),
    )


def settings_of(options: argparse.Namespace) -> experiment.Options:
    """The options of the command line, as `fastbp.experiment` takes them."""
    training = {name: getattr(options, name) for name in _OF_TRAINER}
    training = {name: value for name, value in training.items() if value is not None}
    if options.threads is not None:
        training["n_threads"] = options.threads
    if options.no_shuffle:
        training["shuffle"] = False
    settings = opt.settings(options, "optimizer", OPTIMIZERS)
    if options.optimizer is not None:
        training["optimizer"] = OPTIMIZERS[options.optimizer](**settings)
    return experiment.Options(
        layers=options.layers,
        activation=options.activation,
        output=options.output,
        init=options.init,
        dtype=options.dtype,
        training=training,
        schedule=_schedule(options),
        epochs=options.epochs,
        patience=options.patience,
        held_out=options.held_out,
        validation=options.validation,
        refit=options.refit,
        scale=not options.no_scale,
        hashed=options.hashed,
        seed=options.seed,
    )


def _schedule(options: argparse.Namespace) -> dict[str, Any] | None:
    settings = opt.settings(options, "schedule", opt.SCHEDULE_NAMES)
    if options.schedule is None:
        return None
    return {} if options.schedule == "constant" else {"name": options.schedule, **settings}


def _introduce(options: argparse.Namespace, planned: Plan) -> None:
    """Say what was read, what is learned from it, and how."""
    if options.json or options.quiet:
        return
    data, parts, network = planned.data, planned.parts, planned.trainer.network
    n_test = len(planned.rows("test")[1])
    validated = f", {len(parts.validation):,} to choose the epoch" if len(parts.validation) else ""
    kind = f", {len(planned.problem.classes)} classes" if planned.problem.classes else ""
    lines = [
        f"{options.data}: {counted(len(parts.train), 'row')} to train on{validated}, "
        f"{n_test:,} held out, {counted(network.sizes[0], 'input')}{kind}",
        planned.problem.guess,
        *(f"note: {each}" for each in (*data.notes, *planned.problem.notes)),
        "",
        network.summary(),
        "",
        experiment.described(planned),
        "",
    ]
    say("\n".join(lines))


def _bar(options: argparse.Namespace) -> bool | None:
    return False if options.json or options.quiet else None


# Lines of epochs that are printed, unless all are asked for.
_MOST_LINES = 20


def _callbacks(options: argparse.Namespace, planned: Plan) -> list[Any]:
    """What writes checkpoints, and what prints epochs: all that fit, or about twenty of them."""
    callbacks: list[Any] = []
    if options.checkpoint:
        rows = planned.parts.train
        extra = model.described(options, planned, planned.trainer, rows, "checkpoint")
        callbacks.append(lambda trainer: save(trainer, options.checkpoint, extra=extra))
    if options.json or (options.quiet and not options.verbose):
        return callbacks
    every = 1 if options.verbose else max(1, planned.epochs // _MOST_LINES)

    def print_epoch(trainer: Trainer) -> None:
        if len(trainer.history) == 1 or len(trainer.history) % every == 0:
            say(trainer.history.row(-1))

    return [*callbacks, print_epoch]


def _train_on_all(options: argparse.Namespace, planned: Plan, epochs: int) -> Trainer:
    """Train a network on all rows, which is the one that is saved."""
    rows = np.arange(len(planned.data.y))
    trainer = experiment.train_on(planned, rows, max(1, epochs), progress=_bar(options))
    if not (options.json or options.quiet):
        say(
            f"\ntrained again on all {len(rows):,} rows, for {counted(epochs, 'epoch')}; the "
            "figures are those of the network before, which did not know the held-out rows"
        )
    return trainer


def _cross_validate(
    options: argparse.Namespace, data: Data, problem: Problem, settings: experiment.Options
) -> int:
    """Train in every fold; say mean and deviation of the figures."""
    talks = not (options.json or options.quiet)
    if talks:
        notes = (f"note: {each}" for each in (*data.notes, *problem.notes))
        head = f"{options.data}: {len(data.y):,} rows in {options.cv} folds"
        say("\n".join([head, problem.guess, *notes, ""]))

    def each(outcome: Outcome) -> None:
        if talks:
            shown = in_words(outcome.figures["test"])
            say(f"fold {next(numbers)}  best epoch {outcome.best_epoch:>3}  {shown}")

    numbers = itertools.count(1)
    with naming(options.data):
        found = experiment.cross_validate(data, problem, settings, k=options.cv, each=each)
    saved = _saved_after_folds(options, data, problem, settings, found) if options.save else None
    if options.json:
        document = {
            "data": options.data,
            "folds": options.cv,
            "mean": found.mean(),
            "sd": found.sd(),
            "baseline": found.baseline(),
            "figures": [outcome.figures["test"] for outcome in found.outcomes],
            "best_epochs": [outcome.best_epoch for outcome in found.outcomes],
        }
        print(json.dumps(finite(document), indent=2, allow_nan=False))
        return 0
    if saved:
        say(f"\n{saved}")
    title = f"test parts of {options.cv} folds, mean ± sd"
    say("\n" + metrics.table(title, found.mean(), found.baseline(), found.sd()))
    return 0


def _saved_after_folds(
    options: argparse.Namespace,
    data: Data,
    problem: Problem,
    settings: experiment.Options,
    found: experiment.CrossValidation,
) -> str:
    """Train on all rows, save that, and say so."""
    planned = experiment.plan(data, problem, settings)
    rows, epochs = np.arange(len(data.y)), found.best_epoch()
    trainer = experiment.train_on(planned, rows, epochs)
    save(trainer, options.save, extra=model.described(options, planned, trainer, rows, "final"))
    return (
        f"model trained on all {len(rows):,} rows for {counted(epochs, 'epoch')}, the median of "
        f"the folds, saved to {options.save}"
    )


def _report(
    options: argparse.Namespace,
    planned: Plan,
    outcome: Outcome,
    trainer: Trainer,
    interrupted: bool,
) -> None:
    """Write the files asked for, and say what came out."""
    lines = [_ending(planned, outcome, interrupted)]
    if options.save:
        stage = _stage(planned, outcome, trainer)
        rows = _rows_of(planned, stage)
        save(trainer, options.save, extra=model.described(options, planned, trainer, rows, stage))
        lines.append(f"model saved to {options.save}")
    if options.plot and len(outcome.history):
        _draw(options, planned, outcome)
        lines.append(f"figure drawn in {options.plot}")
    if options.json:
        document = _document(options, planned, outcome) | {"interrupted": interrupted}
        print(json.dumps(finite(document), indent=2, allow_nan=False))
        return
    if options.quiet:
        lines = []
    tested = planned.rows("test")
    title = counted(len(tested[1]), "held-out row")
    test = outcome.figures["test"], outcome.baseline
    lines += assess.lines(title, outcome.network, planned.problem, tested, *test)
    say("\n".join(lines))


def _ending(planned: Plan, outcome: Outcome, interrupted: bool) -> str:
    """How the training ended."""
    epochs, best = len(outcome.history), outcome.best_epoch
    was_done = epochs >= planned.epochs or 0 < planned.patience <= epochs - best
    if interrupted and was_done:
        text = f"interrupted when training again; the network of epoch {best} is kept"
    elif interrupted:
        text = f"interrupted in epoch {epochs + 1}; the network keeps what it has learned"
    elif epochs < planned.epochs:
        text = f"stopped at epoch {epochs}, best {best}"
    else:
        text = f"trained for {counted(epochs, 'epoch')}, best {best}"
    if outcome.trainer is not planned.trainer:
        text += "; trained again on training and validation rows for as long"
    return f"\n{text}; {sum(outcome.history.seconds):.2f} s"


def _stage(planned: Plan, outcome: Outcome, trainer: Trainer) -> str:
    """Which training a trainer is of."""
    if trainer is planned.trainer:
        return "search"
    return "refit" if trainer is outcome.trainer else "final"


def _rows_of(planned: Plan, stage: str) -> NDArray[np.int64]:
    """Rows that a stage's network has learned from."""
    train, chosen, _ = planned.parts
    if stage == "final":
        return np.arange(len(planned.data.y))
    return train if stage == "search" else np.union1d(train, chosen)


def _draw(options: argparse.Namespace, planned: Plan, outcome: Outcome) -> None:
    problem, network = planned.problem, outcome.network
    X, y = planned.rows("test")
    classifies = problem.kind == "classification"
    report_figure(
        options.plot,
        outcome.history,
        task=problem.kind,
        y=experiment.numbered(y, problem),
        predicted=network.predict_proba(X) if classifies else network.predict(X),
        classes=problem.classes,
        name="" if planned.data.name == Data._field_defaults["name"] else planned.data.name,
        title=f"{Path(options.data).name}, {'-'.join(map(str, network.sizes))}",
    )


def _document(options: argparse.Namespace, planned: Plan, outcome: Outcome) -> dict[str, Any]:
    """What ``--json`` prints."""
    network, trainer, problem = outcome.network, outcome.trainer, planned.problem
    X, y = planned.rows("test")
    result = network.evaluate(X, y)
    rate = trainer.learning_rate
    return {
        "data": options.data,
        "rows": len(planned.parts.train),
        "validation_rows": len(planned.parts.validation),
        "held_out_rows": len(y),
        "task": problem.task,
        "sizes": network.sizes,
        "activations": network.activations,
        "loss": network.loss_name,
        "dtype": network.dtype.name,
        "n_params": network.n_params,
        "optimizer": type(trainer.optimizer).__name__.lower(),
        "batch_size": trainer.batch_size,
        "learning_rate": repr(rate) if callable(rate) else rate,
        "weight_decay": trainer.weight_decay,
        "seed": options.seed,
        "classes": problem.classes,
        "best_epoch": outcome.best_epoch,
        "figures": outcome.figures,
        "baseline": outcome.baseline,
        "test_loss": result.loss,
        "test_accuracy": result.accuracy,
        "notes": [problem.guess, *planned.data.notes, *problem.notes],
        "seconds": sum(outcome.history.seconds),
        "history": vars(outcome.history),
    }
