"""The command line: ``fastbp train | predict | check | info``."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import fastbp
from fastbp import kernels, validation
from fastbp.callbacks import EarlyStopping
from fastbp.columns import is_number
from fastbp.datasets import Dataset, is_pixels, read, scaled, split
from fastbp.initializers import INITIALIZERS
from fastbp.network import Network
from fastbp.optimizers import OPTIMIZERS
from fastbp.plotting import check_format, plot_history
from fastbp.problem import MOST_CLASSES, Problem, encode, pose
from fastbp.storage import load, read_header, save
from fastbp.trainer import DivergenceError, Trainer

_DATA_HELP = (
    "'digits' (scikit-learn's handwritten digits), a folder of IDX files (MNIST and relatives, "
    "gzip or not), an .npz file (X, y, perhaps X_test, y_test), or a .csv file with a header"
)


class _HelpFormatter(argparse.HelpFormatter):
    """Shows a default where there is one to speak of."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        silent = (None, False, argparse.SUPPRESS)
        if any(action.default is value for value in silent) or not action.help:
            return action.help
        return f"{action.help} (default: %(default)s)"


class _Parser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    0 is success, 1 a failed check or a diverged training, 2 unusable input, 130 an interrupt.
    """
    if sys.stdout is None:  # closed by the caller
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # as long-lived as the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an old code page has no → and no –
            stream.reconfigure(errors="backslashreplace")
    parser = _build_parser()
    options = parser.parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of a pipe has seen enough
        _mute_stdout()
        return 0
    except OSError as error:
        named = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return _fail(named, 2)
    except DivergenceError as error:
        return _fail(str(error), 1)
    except (ValueError, ImportError, MemoryError) as error:
        return _fail(str(error) or type(error).__name__, 2)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)


def _mute_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, code: int) -> int:
    print(f"fastbp: error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _build_parser() -> _Parser:
    parser = _Parser(
        prog="fastbp",
        description="Train multi-layer perceptrons on a CPU by exact per-sample SGD, fast.",
        epilog="Start with:  fastbp train digits",
    )
    parser.add_argument("--version", action="version", version=f"fastbp {fastbp.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_predict(commands)
    _add_check(commands)
    _add_info(commands)
    return parser


# train ------------------------------------------------------------------------------------------


def _add_train(commands: Any) -> None:
    command = commands.add_parser(
        "train",
        help="train a network and report its accuracy on held-out rows",
        description="Train a network and report its accuracy on held-out rows.",
        formatter_class=_HelpFormatter,
    )
    command.set_defaults(run=_train)
    command.add_argument("data", metavar="DATA", help=_DATA_HELP)
    data = command.add_argument_group("data")
    data.add_argument("--target", metavar="COLUMN", help="column of a CSV file to predict")
    data.add_argument(
        "--held-out",
        type=_number,
        default=0.2,
        metavar="SHARE",
        help="share of the rows to hold out as test part, where the data set has none of its own",
    )
    _add_network(command.add_argument_group("network"))
    _add_training(command.add_argument_group("training"))
    results = command.add_argument_group("results")
    results.add_argument("--save", metavar="FILE", help="write the model, as .safetensors")
    results.add_argument(
        "--plot", metavar="FILE", help="draw loss and accuracy over epochs, as .png, .svg or .pdf"
    )
    results.add_argument(
        "--json", action="store_true", help="print one JSON object instead of text, for machines"
    )


def _add_network(network: Any) -> None:
    network.add_argument(
        "--layers",
        type=_layers,
        default="128",
        metavar="N,N,...",
        help="units of each hidden layer; 'none' for a linear model",
    )
    network.add_argument(
        "--activation",
        type=lambda text: text.split(","),
        default="relu",
        metavar="NAME[,NAME...]",
        help=f"one for all hidden layers or one for each: {', '.join(kernels.HIDDEN)}",
    )
    network.add_argument(
        "--loss",
        metavar="NAME",
        help=f"{', '.join(kernels.LOSSES)}; by default cross_entropy for text and for up to "
        f"{MOST_CLASSES} distinct integers, squared_error otherwise",
    )
    network.add_argument(
        "--output", metavar="NAME", help="output activation; by default the loss's own"
    )
    network.add_argument(
        "--init",
        metavar="NAME",
        help=f"{', '.join(INITIALIZERS)}; by default chosen by activation",
    )
    network.add_argument("--dtype", default="float32", help="float32 or float64")


def _add_training(training: Any) -> None:
    training.add_argument(
        "--epochs", type=_integer, default=20, metavar="N", help="passes over the data"
    )
    training.add_argument("--optimizer", default="sgd", help=", ".join(OPTIMIZERS))
    training.add_argument(
        "--learning-rate",
        type=_number,
        metavar="RATE",
        help="step size; by default the optimizer's, 0.01 for sgd and 0.001 for adam",
    )
    training.add_argument(
        "--batch-size", type=_integer, default=1, metavar="N", help="samples a step"
    )
    training.add_argument(
        "--weight-decay",
        type=_number,
        metavar="RATE",
        help="L2 penalty on weights, never on biases; by default 0, and 0.01 with adamw",
    )
    training.add_argument(
        "--dropout",
        type=_number,
        default=0.0,
        metavar="SHARE",
        help="of the units of hidden layers",
    )
    training.add_argument(
        "--patience",
        type=_integer,
        metavar="N",
        help="stop when the held-out loss has not improved for N epochs, and keep the best network",
    )
    training.add_argument(
        "--seed",
        type=_integer,
        default=0,
        metavar="N",
        help="of the weights, the order and the held-out rows",
    )


def _layers(text: str) -> tuple[int, ...]:
    if text in ("none", ""):
        return ()
    try:
        return tuple(_integer(part) for part in text.split(","))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"must be 'none' or whole numbers such as 128,64; got {text!r}"
        ) from None


def _number(text: str) -> float:
    """The value of an option; the same texts count as numbers as in a data file."""
    if not is_number(text):
        raise argparse.ArgumentTypeError(f"must be a number such as 0.01, got {text!r}")
    return float(text)


def _integer(text: str) -> int:
    with contextlib.suppress(ValueError):  # a decimal point, an exponent
        if is_number(text):
            return int(text)
    raise argparse.ArgumentTypeError(f"must be a whole number such as 10, got {text!r}")


def _train(options: argparse.Namespace) -> int:
    _check_before_training(options)
    try:
        raw = read(options.data, options.target)
    except ValueError as error:
        if options.target is not None or Path(options.data).suffix.lower() != ".csv":
            raise
        message = f"{str(error).rstrip('.')}; name the column to predict with --target."
        raise ValueError(message) from None
    pixels = is_pixels(raw)
    problem = pose(scaled(raw, pixels), options.loss, options.data)
    network = Network(
        (problem.dataset.X.shape[1], *options.layers, problem.n_outputs),
        activation=options.activation if len(options.activation) > 1 else options.activation[0],
        loss=problem.loss,
        output=options.output,
        init=options.init,
        dtype=options.dtype,
        seed=options.seed,
    )
    dataset = _with_test_part(problem.dataset, network, options)
    problem = problem._replace(dataset=dataset)
    assert dataset.y is not None
    assert dataset.X_test is not None
    assert dataset.y_test is not None
    trainer = Trainer(
        network,
        options.optimizer,
        learning_rate=options.learning_rate,
        batch_size=options.batch_size,
        weight_decay=options.weight_decay,
        dropout=options.dropout,
        seed=options.seed,
    )
    callbacks: list[Any] = [] if options.json else [_print_epoch]
    if options.patience is not None:
        callbacks.append(EarlyStopping(patience=options.patience))
    if not options.json:
        kind = f", {len(problem.classes)} classes" if problem.classes else ""
        _say(
            f"{options.data}: {len(dataset.X):,} rows to train on, {len(dataset.X_test):,} held "
            f"out, {dataset.X.shape[1]} inputs{kind}\n\n{network.summary()}\n"
        )
    interrupted = False
    try:
        trainer.fit(
            dataset.X,
            dataset.y,
            epochs=options.epochs,
            eval_set=(dataset.X_test, dataset.y_test),
            callbacks=callbacks,
            progress=False if options.json else None,
        )
    except KeyboardInterrupt:
        interrupted = True
    except ValueError as error:
        raise ValueError(f"{options.data}: {error}") from None
    _report(options, problem, pixels, trainer, interrupted)
    return 130 if interrupted else 0


def _with_test_part(dataset: Dataset, network: Network, options: argparse.Namespace) -> Dataset:
    """Hold rows out where the data set has no test part of its own."""
    if dataset.y_test is not None:
        return dataset
    assert dataset.y is not None
    try:
        network._samples(dataset.X, dataset.y)  # while rows have the numbers of the file
    except ValueError as error:
        raise ValueError(f"{options.data}: {error}") from None
    return split(dataset, options.held_out, options.seed)


def _check_before_training(options: argparse.Namespace) -> None:
    """Refuse what would otherwise fail after the work, or without a word of the option."""
    for name in ("save", "plot"):
        path = getattr(options, name)
        if path and not Path(path).absolute().parent.is_dir():
            raise ValueError(f"--{name} {path}: the folder does not exist.")
        if path and Path(path).exists() and not Path(path).is_file():
            raise ValueError(f"--{name} {path}: no file stands there; name a file.")
        if path and not os.access(Path(path).absolute().parent, os.W_OK):
            raise ValueError(f"--{name} {path}: the folder cannot be written.")
        if path and Path(path).resolve() == Path(options.data).resolve():
            raise ValueError(f"--{name} {path}: this would overwrite the data.")
    if options.plot:
        check_format(options.plot)
    validation.integer("--epochs", options.epochs, 1)
    validation.integer("--seed", options.seed, 0)
    if options.loss is not None:
        validation.choice("--loss", options.loss, kernels.LOSSES)
    if not 0 < options.held_out < 1:
        raise ValueError(f"--held-out must be between 0 and 1, got {options.held_out}.")
    if options.target and Path(options.data).suffix.lower() != ".csv":
        raise ValueError(f"--target is for CSV files only, and {options.data} is not one.")


def _print_epoch(trainer: Trainer) -> None:
    _say(trainer.history.row(-1))


def _say(text: str) -> None:
    """Print at once; work goes on when nobody reads it."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _mute_stdout()


def _report(
    options: argparse.Namespace,
    problem: Problem,
    pixels: bool,
    trainer: Trainer,
    interrupted: bool,
) -> None:
    """Score on the held-out rows, write the files asked for, and say so."""
    network, dataset = trainer.network, problem.dataset
    assert dataset.X_test is not None
    assert dataset.y_test is not None
    n_test = len(dataset.X_test)
    result = network.evaluate(dataset.X_test, dataset.y_test)
    seconds = sum(trainer.history.seconds)
    lines = [""]
    if interrupted:
        epoch = len(trainer.history) + 1
        lines.append(f"interrupted in epoch {epoch}; the network keeps what it has learned")
    if result.accuracy is None:
        lines.append(f"test loss {result.loss:.6g} on {n_test:,} held-out rows")
    else:
        lines.append(f"test accuracy {result.accuracy:.2%} on {n_test:,} held-out rows")
    lines.append(f"trained for {seconds:.2f} s")
    if options.save:
        extra = {"classes": problem.classes, "features": dataset.features, "pixels": pixels}
        save(trainer, options.save, extra=extra)
        lines.append(f"model saved to {options.save}")
    if options.plot and len(trainer.history):
        sizes = "-".join(map(str, network.sizes))
        plot_history(trainer.history, options.plot, title=f"{options.data}, {sizes}")
        lines.append(f"curves drawn in {options.plot}")
    if not options.json:
        _say("\n".join(lines))
        return
    document = {
        "data": options.data,
        "rows": len(dataset.X),
        "held_out_rows": n_test,
        "sizes": network.sizes,
        "activations": network.activations,
        "loss": network.loss_name,
        "dtype": network.dtype.name,
        "n_params": network.n_params,
        "optimizer": options.optimizer,
        "batch_size": trainer.batch_size,
        "learning_rate": trainer.learning_rate,
        "weight_decay": trainer.weight_decay,
        "seed": options.seed,
        "classes": problem.classes,
        "test_loss": result.loss,
        "test_accuracy": result.accuracy,
        "seconds": seconds,
        "interrupted": interrupted,
        "history": vars(trainer.history),
    }
    print(json.dumps(_finite(document), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    """``value`` with null for every number that JSON cannot hold."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# predict ----------------------------------------------------------------------------------------


def _add_predict(commands: Any) -> None:
    command = commands.add_parser(
        "predict",
        help="print a saved model's predictions",
        description="Print a saved model's predictions, one line per row. A data set that has a "
        "test part gets predictions for that part; where targets are known, the accuracy or loss "
        "goes to stderr. Control characters and backslashes in class names are printed as in "
        r"Python's strings: \n for a line break, \\ for a backslash.",
    )
    command.set_defaults(run=_predict)
    command.add_argument("model", metavar="MODEL", help="file that 'fastbp train --save' wrote")
    command.add_argument("data", metavar="DATA", help=_DATA_HELP)
    command.add_argument("--target", metavar="COLUMN", help="column of a CSV file to score against")
    command.add_argument(
        "--proba", action="store_true", help="print probabilities, comma-separated"
    )


def _predict(options: argparse.Namespace) -> int:
    header = read_header(options.model)
    loaded = load(options.model)
    network = loaded.network if isinstance(loaded, Trainer) else loaded
    extra = header["extra"]
    classes, pixels = extra.get("classes"), extra.get("pixels")
    if classes is not None and (
        not isinstance(classes, list)
        or len(classes) != max(2, network.sizes[-1])
        or not all(isinstance(label, (str, int, float)) for label in classes)
    ):
        raise ValueError(f"{options.model} is damaged: its classes do not fit its outputs.")
    has_text = classes is not None and isinstance(classes[0], str)
    raw = read(options.data, options.target, extra.get("features"), text_target=has_text)
    dataset = scaled(raw, pixels)
    X, y = dataset.X, dataset.y
    if dataset.X_test is not None:
        X, y = dataset.X_test, dataset.y_test
    if y is not None and classes is not None:
        y = encode(y, classes, options.data)
    try:
        if options.proba:
            for row in network.predict_proba(X):
                print(",".join(f"{p:.6g}" for p in row))
        else:
            for value in network.predict(X).tolist():
                if isinstance(value, list):
                    print(",".join(map(str, value)))
                else:
                    print(value if classes is None else _one_line(str(classes[value])))
        if y is not None:
            result = network.evaluate(X, y)
            score = (
                f"loss {result.loss:.6g}"
                if result.accuracy is None
                else f"accuracy {result.accuracy:.2%}"
            )
            print(f"{score} on {len(X):,} rows", file=sys.stderr)
    except ValueError as error:
        raise ValueError(f"{options.data}: {error}") from None
    return 0


def _one_line(label: str) -> str:
    """A label with escapes for backslashes and for characters that may break a line."""
    return re.sub(
        r"[\\\x00-\x1f\x7f-\x9f\u2028\u2029]",
        lambda found: found[0].encode("unicode_escape").decode("ascii"),
        label,
    )


# check ------------------------------------------------------------------------------------------


def _add_check(commands: Any) -> None:
    command = commands.add_parser(
        "check",
        help="check the gradient of every activation and loss",
        description="Hold backpropagation against central differences for every activation and "
        "loss. The activation stands in two hidden layers, and in the output layer where the "
        "loss can take it. Each figure is the largest relative error.",
    )
    command.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    passed = True
    for dtype in ("float64", "float32"):
        print(f"{dtype}: largest relative error of the gradient\n")
        print(f"{'':<12}" + "".join(f"{loss:>22}" for loss in kernels.LOSSES))
        for activation in (*kernels.HIDDEN, "exp"):
            cells = []
            for loss in kernels.LOSSES:
                if activation not in kernels.HIDDEN and (
                    activation not in kernels.LEGAL_OUTPUTS[loss]
                ):
                    cells.append("–")
                    continue
                report = _check_pair(activation, loss, dtype)
                passed &= report.ok
                cells.append(f"{report.max_error:.1e}{' ok' if report.ok else ' WRONG'}")
            print(f"{activation:<12}" + "".join(f"{cell:>22}" for cell in cells))
        print()
    print("every gradient is right" if passed else "WRONG: see the cells so marked")
    return 0 if passed else 1


def _check_pair(activation: str, loss: str, dtype: str) -> fastbp.GradientReport:
    generator = np.random.default_rng(0)
    hidden = activation if activation in kernels.HIDDEN else "tanh"
    legal = kernels.LEGAL_OUTPUTS[loss]
    network = Network(
        (4, 6, 5, 3),
        activation=hidden,
        loss=loss,
        output=activation if activation in legal else None,
        dtype=dtype,
        seed=0,
    )
    for b in network.biases:
        b[...] = generator.uniform(-0.2, 0.5, b.shape)
    X = generator.uniform(-1, 1, (8, 4))
    y = generator.uniform(0.1, 0.9, (8, 3))
    if loss == "cross_entropy":
        y /= y.sum(axis=1, keepdims=True)
    return network.check_gradients(X, y)


# info -------------------------------------------------------------------------------------------


def _add_info(commands: Any) -> None:
    command = commands.add_parser(
        "info",
        help="show processor, threads, versions and compilation cache",
        description="Show processor, threads, versions and compilation cache.",
    )
    command.set_defaults(run=_info)


def _info(options: argparse.Namespace) -> int:
    import llvmlite
    import numba
    from llvmlite import binding

    try:
        features = binding.get_host_cpu_features()
    except RuntimeError:  # LLVM cannot tell on this machine
        features = {}
    widths = {"avx512f": 512, "avx2": 256, "avx": 256, "sse2": 128, "neon": 128}
    width = next((bits for name, bits in widths.items() if features.get(name)), 0)
    simd = f"{width} bits, {width // 32} float32 at a time" if width else "unknown"
    rows = [
        ("fastbp", fastbp.__version__),
        ("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("numba", f"{numba.__version__}, llvmlite {llvmlite.__version__}"),
        ("numpy", np.__version__),
        ("processor", f"{_processor()} (LLVM: {binding.get_host_cpu_name()})"),
        ("SIMD", simd),
        ("cores", f"{_usable_cores()} usable of {os.cpu_count()}"),
        ("threading", _threading()),
        ("cache", _cache()),
    ]
    for name, value in rows:
        print(f"{name:<10} {value}")
    return 0


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _usable_cores() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


# What each of numba's threading layers means for programs with parallel code of their own.
_MAY = "other threads of a program may run numba's parallel code while fastbp trains"
_LAYERS = {
    "tbb": _MAY,
    "omp": _MAY,
    "workqueue": "if another thread of a program runs numba's parallel code while fastbp trains, "
    "the process aborts; 'pip install tbb' gives another layer, and so does "
    "NUMBA_THREADING_LAYER=omp where OpenMP is installed",
}


def _threading() -> str:
    """The threading layer that numba chooses, and what it means for a program."""
    import numba

    try:
        numba.get_num_threads()  # starts the pool
        layer = numba.threading_layer()
    except ValueError as error:  # NUMBA_THREADING_LAYER asks for what is not there
        return f"none, and training on several threads fails: {' '.join(str(error).split())}"
    return f"{layer}: {_LAYERS[layer]}"


def _cache() -> str:
    directory = kernels.cache_directory(kernels.train_sequential)
    if directory is None:
        return "off"
    files = list(Path(directory).glob("*.nb[ic]"))
    return f"{directory} ({len(files)} files, {sum(f.stat().st_size for f in files) / 1e6:.1f} MB)"


if __name__ == "__main__":
    sys.exit(main())
