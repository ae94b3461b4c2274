"""The options of the commands: how they are grouped, and what their texts mean."""

from __future__ import annotations

import argparse
import contextlib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, NoReturn

from fastbp import checks, kernels
from fastbp.columns import is_number
from fastbp.initializers import INITIALIZERS
from fastbp.optimizers import OPTIMIZERS
from fastbp.problem import MOST_CLASSES, TASKS
from fastbp.schedules import SCHEDULES

DATA_HELP = (
    "a table with a header (.csv, .tsv, .txt, also .gz or .zst; .parquet, .feather; - for standard "
    "input); an .npz file (X, y, perhaps X_test, y_test), a folder of IDX files (MNIST and "
    "relatives), or 'digits' (scikit-learn's handwritten digits)"
)
# Schedules by the names that people type.
SCHEDULE_NAMES = {name.lower(): kind for name, kind in SCHEDULES.items()}


class HelpFormatter(argparse.HelpFormatter):
    """Shows a default where there is one to speak of."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        silent = (None, False, argparse.SUPPRESS, ())
        if any(action.default is value for value in silent) or not action.help:
            return action.help
        return f"{action.help} (default: %(default)s)"


class Parser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and hint at the option that was probably meant by an unknown one."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            names = [name.replace("_", "-") for name in vars(parsed)]
            meant = unknown[0].partition("=")[0].lstrip("-")
            hint = checks.nearest(meant, names) if unknown[0].startswith("--") else ""
            self.error(f"unknown option {unknown[0]}{hint.replace(chr(39), '')}")
        return parsed

    def error(self, message: str) -> NoReturn:
        """End with a line on stderr."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


# What texts mean ---------------------------------------------------------------------------------


def number(text: str) -> float:
    """The value of an option; the same texts count as numbers as in a data file."""
    if not is_number(text):
        raise argparse.ArgumentTypeError(f"must be a number such as 0.01, got {text!r}")
    return float(text)


def integer(text: str) -> int:
    """A whole number."""
    with contextlib.suppress(ValueError):  # a decimal point, an exponent
        if is_number(text):
            return int(text)
    raise argparse.ArgumentTypeError(f"must be a whole number such as 10, got {text!r}")


def layers(text: str) -> tuple[int, ...]:
    """Units of each hidden layer."""
    if text in ("none", ""):
        return ()
    try:
        return tuple(integer(part) for part in text.split(","))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"must be 'none' or whole numbers such as 128,64; got {text!r}"
        ) from None


def names(text: str) -> tuple[str, ...]:
    """Names of columns, or of anything else, with commas between them."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def one_or_more(text: str) -> Any:
    """A name, or a list of names with commas between them."""
    several = names(text)
    return several[0] if len(several) == 1 else list(several)


def shares(text: str) -> Any:
    """A number, or a list of numbers with commas between them."""
    several = [number(part) for part in text.split(",")] if "," in text else None
    return number(text) if several is None else several


def class_weight(text: str) -> Any:
    """``balanced``, or weights by label: ``yes=3,no=1``."""
    if text == "balanced":
        return text
    pairs = [part.rpartition("=") for part in text.split(",")]
    if not all(label and is_number(weight) for label, _, weight in pairs):
        raise argparse.ArgumentTypeError(
            f"must be 'balanced' or weights of classes such as yes=3,no=1; got {text!r}"
        )
    return {label.strip(): float(weight) for label, _, weight in pairs}


# Groups ------------------------------------------------------------------------------------------


def add_reading(group: Any) -> None:
    """How a text file is read."""
    group.add_argument("--sep", metavar="TEXT", help="between fields; by default found out")
    group.add_argument("--encoding", metavar="NAME", help="of the text; by default utf-8")
    group.add_argument("--decimal", metavar="MARK", help="decimal mark, '.' or ','")
    group.add_argument("--no-header", action="store_true", help="the first line has data already")


def reading(options: argparse.Namespace) -> dict[str, Any]:
    """What `add_reading` has added, as arguments of `fastbp.read_table`."""
    return {
        "sep": options.sep,
        "encoding": options.encoding,
        "decimal": options.decimal,
        "header": not options.no_header,
    }


def add_training(command: argparse.ArgumentParser) -> None:
    """All options of ``fastbp train``."""
    _add_data(command.add_argument_group("data"))
    _add_parts(command.add_argument_group("training, validation and test part"))
    _add_network(command.add_argument_group("network"))
    _add_fit(command.add_argument_group("training"))
    settings = command.add_argument_group("settings of the optimizer")
    _add_settings(settings, OPTIMIZERS)
    settings = command.add_argument_group("settings of the schedule")
    _add_settings(settings, SCHEDULE_NAMES)
    _add_regularization(command.add_argument_group("regularization"))
    _add_computation(command.add_argument_group("computation, which changes no result"))
    _add_results(command.add_argument_group("results"))


def training_defaults() -> argparse.Namespace:
    """The options of ``fastbp train`` where none is given."""
    parser = Parser()
    add_training(parser)
    defaults: argparse.Namespace = parser.parse_args([])
    return defaults


def _add_data(group: Any) -> None:
    group.add_argument("--target", metavar="COLUMN", help="column to predict")
    group.add_argument(
        "--task",
        metavar="|".join(TASKS),
        help="what the target is taken for; by default text and up to "
        f"{MOST_CLASSES} integers that look like class numbers are classes",
    )
    group.add_argument(
        "--columns", type=names, metavar="NAME,...", help="inputs; by default all other columns"
    )
    group.add_argument(
        "--drop", type=names, default=(), metavar="NAME,...", help="columns to leave out"
    )
    group.add_argument(
        "--text",
        type=names,
        default=(),
        metavar="NAME,...",
        help="columns that stay text, even if they look like numbers",
    )
    group.add_argument(
        "--hashed",
        type=names,
        default=(),
        metavar="NAME,...",
        help="text columns of many values, which are hashed",
    )
    group.add_argument(
        "--no-scale",
        action="store_true",
        help="leave inputs, and the targets of a regression, in their own units",
    )
    add_reading(group)


def _add_parts(group: Any) -> None:
    group.add_argument(
        "--held-out",
        type=number,
        default=0.2,
        metavar="SHARE",
        help="share of the rows in the test part, where the data have none of their own",
    )
    group.add_argument(
        "--validation",
        type=number,
        metavar="SHARE",
        help="share of the other rows that chooses the epoch; 0 for none",
    )
    group.add_argument("--group", metavar="COLUMN", help="keep rows with the same value together")
    group.add_argument(
        "--time", metavar="COLUMN", help="sort by this column: the latest rows are the test part"
    )
    group.add_argument("--keep-time", action="store_true", help="make it an input as well")
    group.add_argument(
        "--cv", type=integer, metavar="K", help="train and test in K folds: mean ± sd of figures"
    )
    group.add_argument(
        "--final",
        action="store_true",
        help="at the end train on all rows, for the number of epochs that was best",
    )
    group.add_argument(
        "--refit",
        action=argparse.BooleanOptionalAction,
        help="before the test, train again on training and validation rows together",
    )
    group.add_argument(
        "--seed",
        type=integer,
        default=0,
        metavar="N",
        help="of the parts, the weights and the order",
    )


def _add_network(group: Any) -> None:
    group.add_argument(
        "--layers",
        type=layers,
        metavar="N,N,...",
        help="units of each hidden layer; 'none' for a linear model; by default by the data's size",
    )
    group.add_argument(
        "--activation",
        type=one_or_more,
        metavar="NAME[,NAME...]",
        help=f"one for all hidden layers or one for each: {', '.join(kernels.HIDDEN)}",
    )
    group.add_argument(
        "--loss",
        metavar="NAME",
        help=f"{', '.join(kernels.LOSSES)}; by default cross_entropy for classes, squared_error "
        "for numbers",
    )
    group.add_argument(
        "--output", metavar="NAME", help="output activation; by default the loss's own"
    )
    group.add_argument(
        "--init",
        type=one_or_more,
        metavar="NAME",
        help=f"{', '.join(INITIALIZERS)}; by default chosen by activation",
    )
    group.add_argument("--dtype", default="float32", help="float32 or float64")


def _add_fit(group: Any) -> None:
    group.add_argument("--epochs", type=integer, metavar="N", help="the most passes over the data")
    group.add_argument(
        "--patience",
        type=integer,
        metavar="N",
        help="stop when the validation loss has not improved for N epochs, and keep the best "
        "network; 0 never stops",
    )
    group.add_argument("--optimizer", metavar="NAME", help=", ".join(OPTIMIZERS))
    group.add_argument(
        "--learning-rate",
        "--lr",
        type=number,
        metavar="RATE",
        help="step size, or the highest one of a schedule; by default the optimizer's",
    )
    group.add_argument(
        "--schedule",
        metavar="NAME",
        help=f"of the learning rate over the epochs: {', '.join(SCHEDULE_NAMES)}, constant",
    )
    group.add_argument("--batch-size", type=integer, metavar="N", help="samples a step")
    group.add_argument("--no-shuffle", action="store_true", help="keep the order of the rows")
    group.add_argument(
        "--reduction", metavar="mean|batch", help="whether penalties are shared by a batch's rows"
    )


def _add_settings(group: Any, kinds: Mapping[str, Any]) -> None:
    """An option for each setting of these classes."""
    of: dict[str, list[str]] = {}
    types = {}
    for name, kind in kinds.items():
        for each in fields(kind):
            if each.name not in _ELSEWHERE:
                of.setdefault(each.name, []).append(name)
                types[each.name] = each.type
    for setting, whose in of.items():
        option, help_ = f"--{setting.replace('_', '-')}", f"of {', '.join(whose)}"
        if types[setting] == "bool":
            group.add_argument(option, action="store_true", default=None, help=help_)
        else:
            read = integer if types[setting] == "int" else number
            group.add_argument(option, type=read, metavar="N", help=help_)


# Fields of a schedule that have options of their own among others.
_ELSEWHERE = {"learning_rate", "epochs"}


def settings(options: argparse.Namespace, what: str, kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that were given for the optimizer or schedule; those of another are refused.

    ``what`` is the option that names it.
    """
    own = {name: {each.name for each in fields(kind)} - _ELSEWHERE for name, kind in kinds.items()}
    name = getattr(options, what)
    given = {}
    for each in sorted(set().union(*own.values())):
        if (value := getattr(options, each)) is None:
            continue
        option = f"--{each.replace('_', '-')}"
        if name is None:
            having = ", ".join(other for other, known in own.items() if each in known)
            raise ValueError(f"{option} needs --{what}, which may be {having}.")
        if each not in own.get(name, ()):
            known = ", ".join(f"--{other.replace('_', '-')}" for other in sorted(own.get(name, ())))
            raise ValueError(f"{option} is no setting of {name}; it has {known or 'none'}.")
        given[each] = value
    return given


def _add_regularization(group: Any) -> None:
    group.add_argument(
        "--weight-decay",
        type=number,
        metavar="RATE",
        help="L2 penalty on weights, never on biases",
    )
    group.add_argument("--l1", type=number, metavar="RATE", help="L1 penalty on weights")
    group.add_argument(
        "--dropout",
        type=shares,
        metavar="SHARE[,SHARE...]",
        help="of the units of all hidden layers, or of each",
    )
    group.add_argument("--clip-value", type=number, metavar="N", help="largest gradient entry")
    group.add_argument("--clip-norm", type=number, metavar="N", help="largest gradient norm")
    group.add_argument(
        "--max-norm", type=number, metavar="N", help="largest norm of the weights into a unit"
    )
    group.add_argument(
        "--class-weight",
        type=class_weight,
        metavar="balanced|CLASS=N,...",
        help="by what the steps of each class's rows are multiplied",
    )
    group.add_argument("--label-smoothing", type=number, metavar="SHARE", help="of the targets")


def _add_computation(group: Any) -> None:
    group.add_argument(
        "--method",
        type=one_or_more,
        metavar="NAME[,NAME...]",
        help=f"auto or {', '.join(kernels.METHODS)}, for plain sgd of one sample a step",
    )
    group.add_argument("--block-size", type=integer, metavar="N", help="of deferred updates")
    group.add_argument("--threads", type=integer, metavar="N", help="by default as many as pay")


def _add_results(group: Any) -> None:
    group.add_argument("--save", metavar="FILE", help="write the model, as .safetensors")
    group.add_argument(
        "--plot", metavar="FILE", help="draw a figure of the training, as .png, .svg or .pdf"
    )
    group.add_argument(
        "--checkpoint", metavar="FILE", help="write the training after every epoch, for --resume"
    )
    group.add_argument(
        "--resume",
        metavar="FILE",
        help="go on with a saved training, on the same data, with its own options",
    )
    group.add_argument(
        "--config",
        metavar="FILE",
        help="options from a TOML file, by their long names; those on the command line win",
    )
    group.add_argument(
        "--json", action="store_true", help="print one JSON object instead of text, for machines"
    )
    group.add_argument("--quiet", action="store_true", help="print the figures alone")
    group.add_argument("--verbose", action="store_true", help="print a line for every epoch")


# Options from a file -----------------------------------------------------------------------------


def from_file(path: str, known: Iterable[str]) -> list[str]:
    """Options of a TOML file as they would stand on the command line."""
    with open(path, "rb") as file:
        try:
            content = tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is no TOML file: {error}.") from None
    names_ = {name.replace("_", "-") for name in known} - {"config", "data", "run"} | {"lr"}
    arguments: list[str] = []
    for key, value in _flat(content).items():
        name = key.replace("_", "-").lstrip("-")
        if name not in names_:
            hint = checks.nearest(name, names_)
            raise ValueError(f"{path}: unknown option {key!r}{hint}; see fastbp train --help.")
        if value is True:
            arguments.append(f"--{name}")
        elif isinstance(value, Mapping):
            arguments.append(f"--{name}=" + ",".join(f"{k}={v}" for k, v in value.items()))
        elif value is not False:
            several = value if isinstance(value, list) else [value]
            arguments.append(f"--{name}=" + ",".join(map(str, several)))
    return arguments


def _flat(content: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of a TOML file, whose sections are only for the eye."""
    entries: dict[str, Any] = {}
    for key, value in content.items():
        is_section = isinstance(value, Mapping) and key.replace("-", "_") != "class_weight"
        entries |= _flat(value) if is_section else {key: value}
    return entries
