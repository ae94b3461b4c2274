"""The options of a trainer: their checks, and how they are shown and written down.

`Trainer` has them as attributes, which may be set at any time, and documents them.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from fastbp import checks, kernels, keywords, optimizers, passes, schedules, threads
from fastbp.network import Network

Options = dict[str, Any]

# Arguments of `Trainer` that are attributes of it.
OPTIONS = (
    "optimizer",
    "learning_rate",
    "batch_size",
    "shuffle",
    "method",
    "block_size",
    "n_threads",
    "weight_decay",
    "l1",
    "dropout",
    "clip_value",
    "clip_norm",
    "max_norm",
    "class_weight",
    "label_smoothing",
    "reduction",
)


def checked_options(given: Mapping[str, Any], network: Network, eta: float) -> Options:
    """Options as plain values, for a network and an epoch's learning rate.

    Raises
    ------
    ValueError
        If one is not allowed, or does not go with another or with the network.
    """
    kind, n_layers = network.dtype, len(network.sizes) - 1
    checks.methods(given["method"], n_layers)
    options = dict(given)
    options["optimizer"] = optimizers.make(given["optimizer"], kind)
    if not callable(given["learning_rate"]):
        options["learning_rate"] = eta
    if not callable(given["shuffle"]):
        options["shuffle"] = checks.flag("shuffle", given["shuffle"])
    options["batch_size"] = checks.integer("batch_size", given["batch_size"], 1)
    for name, most in (("block_size", kernels.LONGEST_BLOCK), ("n_threads", threads.MOST)):
        if given[name] is not None:
            options[name] = checks.integer(name, given[name], 1, most)
    for name in ("weight_decay", "l1"):
        options[name] = checks.rate(name, given[name], kind, zero=True)
    for name in ("clip_value", "clip_norm", "max_norm"):
        options[name] = checks.limit(name, given[name], kind)
    options["dropout"] = checks.dropout(given["dropout"], n_layers - 1)
    options["class_weight"] = _class_weight(given["class_weight"], network)
    options["label_smoothing"] = checks.share("label_smoothing", given["label_smoothing"])
    options["reduction"] = checks.choice("reduction", given["reduction"], ("mean", "batch"))
    _check_together(options, network, eta)
    return options


def _class_weight(given: Any, network: Network) -> Any:
    """Weights of all classes, "balanced" or None; a mapping may have labels as keys.

    It is left as it is until the network has learned the labels.
    """
    kind, n_classes = network.dtype, max(2, network.sizes[-1])
    if isinstance(given, Mapping):
        if network.classes is not None:
            numbers = {label: number for number, label in enumerate(network.classes)}
            if unknown := [label for label in given if label not in numbers]:
                raise ValueError(
                    f"class_weight must name the network's classes, "
                    f"{checks.shown(list(numbers))}; got {checks.shown(unknown[0])}."
                )
            given = {numbers[label]: weight for label, weight in given.items()}
        elif given and all(isinstance(label, str) for label in given):
            return {
                label: checks.rate(f"class_weight[{label!r}]", weight, kind, zero=True)
                for label, weight in given.items()
            }
    return checks.class_weight(given, n_classes, kind)


def _check_together(options: Options, network: Network, eta: float) -> None:
    """Refuse what does not go together."""
    optimizer, decay = options["optimizer"], options["weight_decay"]
    shrinks = isinstance(optimizer, optimizers.SGD) or optimizer.decoupled_weight_decay
    mean = options["reduction"] == "mean"
    if shrinks and mean and passes.turns_signs(eta, decay, network.dtype):
        raise ValueError(
            "learning_rate * weight_decay must be below 1, or the weights change sign at every "
            f"step; got {eta!r} * {decay!r}: lower one of them."
        )
    smoothing, weights = options["label_smoothing"], options["class_weight"]
    if not network.is_classifier and (smoothing > 0 or weights is not None):
        raise ValueError(
            "label_smoothing and class_weight must be 0 and None for the loss "
            f"{network.loss_name}, got {smoothing!r} and {checks.shown(weights)}."
        )
    is_auto = isinstance(options["method"], str) and options["method"] == "auto"
    is_default = options["block_size"] is None and is_auto
    if not is_default and not passes.is_per_sample(options, eta, network.dtype):
        raise ValueError(
            "method and block_size are for plain sgd with batch_size 1 and no regularization "
            'but weight_decay; else they must be left at "auto" and None, got '
            f"{checks.shown(options['method'])} and {options['block_size']!r}."
        )


def described_options(options: Mapping[str, Any]) -> Options:
    """Checked options as JSON can hold them, for `restored_options`."""
    if callable(options["shuffle"]):
        raise ValueError(
            "shuffle must be True or False to be saved, got a function; set trainer.shuffle first."
        )
    return dict(options) | {
        "optimizer": optimizers.describe(options["optimizer"]),
        "learning_rate": schedules.describe(options["learning_rate"]),
    }


def restored_options(description: Mapping[str, Any]) -> Options:
    """Options that `described_options` has described; of what it leaves out nothing is said.

    Raises
    ------
    ValueError
        If one is not known, or is no description.
    """
    options = dict(description)
    for name in options:
        if name not in OPTIONS:
            hint = keywords.meant(str(name), OPTIONS)
            raise ValueError(
                f"{checks.shown(name)} is no option of a trainer{hint}; they are "
                f"{', '.join(OPTIONS)}."
            )
    if isinstance(options.get("optimizer"), Mapping):
        options["optimizer"] = optimizers.restore(options["optimizer"])
    if isinstance(options.get("learning_rate"), Mapping):
        options["learning_rate"] = schedules.restore(dict(options["learning_rate"]))
    return options


def shown_options(given: Mapping[str, Any], signature: inspect.Signature) -> list[str]:
    """Options that differ from the defaults of a call, each as in the call."""
    optimizer, parts = given["optimizer"], []
    defaults = {name: each.default for name, each in signature.parameters.items()}
    defaults["optimizer"] = optimizers.SGD()
    for name in ("learning_rate", "weight_decay"):  # None stands for the optimizer's
        defaults[name] = getattr(optimizer, name, None)
    for name, value in given.items():
        is_plain = value is None or isinstance(value, (bool, int, float, str, optimizers.Optimizer))
        if not (is_plain and value == defaults[name]):
            parts.append(f"{name}={value!r}")
    return parts
