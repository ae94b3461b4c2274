"""Keywords that a call does not have: which one was probably meant."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from fastbp import checks

Given = ParamSpec("Given")
Result = TypeVar("Result")

# Names that other libraries use, and what ours are called.
_ELSEWHERE = {
    "lr": "learning_rate",
    "eta": "learning_rate",
    "learning_rate_init": "learning_rate",
    "alpha": "weight_decay",
    "l2": "weight_decay",
    "epoch": "epochs",
    "n_epochs": "epochs",
    "num_epochs": "epochs",
    "max_iter": "epochs",
    "validation_data": "eval_set",
    "validation_set": "eval_set",
    "val_data": "eval_set",
    "val_split": "validation_split",
    "validation_fraction": "validation_split",
    "eval_metric": "metrics",
    "eval_metrics": "metrics",
    "metric": "metrics",
    "scoring": "metrics",
    "sample_weights": "sample_weight",
    "random_state": "seed",
    "n_jobs": "n_threads",
    "num_threads": "n_threads",
    "solver": "optimizer",
    "hidden_layer_sizes": "sizes",
    "layers": "sizes",
    "criterion": "loss",
    "nonlinearity": "activation",
}


def meant(name: str, names: tuple[str, ...]) -> str:
    """A hint at the one of the names that was probably meant, if there is one."""
    elsewhere = _ELSEWHERE.get(name.lower(), name)
    return checks.nearest(elsewhere if elsewhere in names else name, names)


def hinted(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """The function, which says what was probably meant by a keyword that it does not have."""
    names = tuple(inspect.signature(function).parameters)
    shown = ", ".join(name for name in names if name != "self")

    @functools.wraps(function)
    def call(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        for name in kwargs:
            if name not in names:
                # A method is said to be its object's, whose class may have it from another one.
                owner = type(args[0]).__name__ if args and names[:1] == ("self",) else ""
                place = f"{owner}.{function.__name__}".removesuffix(".__init__").lstrip(".")
                raise TypeError(
                    f"{place} has no argument {name!r}{meant(name, names)}; it takes {shown}."
                )
        return function(*args, **kwargs)

    return call
