"""The options of a trainer: what each may be, which go together, how they are shown and written.

`Trainer` has them as attributes, which may be set at any time, and documents them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from fastbp import checks, kernels, keywords, optimizers, schedules, threads
from fastbp.history import History
from fastbp.network import Network
from fastbp.running import Stream


def _count(name: str, most: int) -> Callable[[Any, Network], int | None]:
    """Check of an integer from 1 to ``most``, or None."""

    def check(value: Any, network: Network) -> int | None:
        return None if value is None else checks.integer(name, value, 1, most)

    return check


def _rate(name: str) -> Callable[[Any, Network], float]:
    return lambda value, network: checks.rate(name, value, network.dtype, zero=True)


def _limit(name: str) -> Callable[[Any, Network], float | None]:
    return lambda value, network: checks.limit(name, value, network.dtype)


def _learning_rate(value: Any, network: Network) -> float | Callable[[int], float]:
    if callable(value) and not isinstance(value, type):
        checks.takes("learning_rate", value, ("epoch",))
        schedule: Callable[[int], float] = value
        return schedule
    return checks.rate("learning_rate", value, network.dtype)


def _shuffle(value: Any, network: Network) -> bool | Callable[[int], ArrayLike]:
    if callable(value) and not isinstance(value, type):
        checks.takes("shuffle", value, ("n_samples",))
        order: Callable[[int], ArrayLike] = value
        return order
    return checks.flag("shuffle", value)


ClassWeight = str | tuple[float, ...] | dict[Any, float] | None


def _class_weight(given: Any, network: Network) -> ClassWeight:
    """Weights of all classes, "balanced" or None; a mapping may have labels as keys.

    A mapping from labels is kept as it is until the network has its labels.
    """
    are_labels = isinstance(given, Mapping) and all(isinstance(label, str) for label in given)
    if are_labels and given and network.classes is None:
        weights = checks.class_weight(given, tuple(given), network.dtype)
        return dict(zip(given, weights or (), strict=True))
    classes = network.classes or range(max(2, network.sizes[-1]))
    return checks.class_weight(given, classes, network.dtype)


# What each option may be: a value as it is given becomes the plain one, or raises ValueError.
_CHECKS: dict[str, Callable[[Any, Network], Any]] = {
    "optimizer": lambda value, network: optimizers.make(value, network.dtype),
    "learning_rate": _learning_rate,
    "batch_size": lambda value, network: checks.integer("batch_size", value, 1),
    "shuffle": _shuffle,
    "method": lambda value, network: checks.methods(value, len(network.sizes) - 1),
    "block_size": _count("block_size", kernels.LONGEST_BLOCK),
    "n_threads": _count("n_threads", threads.MOST),
    "weight_decay": _rate("weight_decay"),
    "l1": _rate("l1"),
    "dropout": lambda value, network: checks.dropout(value, len(network.sizes) - 2),
    "clip_value": _limit("clip_value"),
    "clip_norm": _limit("clip_norm"),
    "max_norm": _limit("max_norm"),
    "class_weight": _class_weight,
    "label_smoothing": lambda value, network: checks.share("label_smoothing", value),
    "reduction": lambda value, network: checks.choice("reduction", value, ("mean", "batch")),
}
_SCALAR = (int, float, str, type(None))
# Arguments of `Trainer` that are attributes of it.
OPTIONS = tuple(_CHECKS)


@np.errstate(all="ignore")
def turns_signs(learning_rate: float, weight_decay: float, kind: np.dtype[Any]) -> bool:
    """Whether a step's factor 1 − ηλ of the weights is 0 or less in the network's dtype."""
    return bool(kind.type(learning_rate) * kind.type(weight_decay) >= 1)


def check_decay(
    optimizer: optimizers.Optimizer, learning_rate: float, weight_decay: float, kind: np.dtype[Any]
) -> None:
    """Refuse a rate that turns the signs of the weights, with optimizers that shrink them.

    Raises
    ------
    ValueError
        If it is so.
    """
    shrinks = isinstance(optimizer, optimizers.SGD) or optimizer.decoupled_weight_decay
    if shrinks and turns_signs(learning_rate, weight_decay, kind):
        raise ValueError(
            "learning_rate * weight_decay must be below 1, or the weights change sign at every "
            f"step; got {learning_rate!r} * {weight_decay!r}: lower one of them."
        )


class Options:
    """Options as plain values for a network; each is checked when it is set.

    What depends on several of them and on an epoch's learning rate is checked by `check`.
    """

    network: Network
    optimizer: optimizers.Optimizer
    learning_rate: float | Callable[[int], float]
    batch_size: int
    shuffle: bool | Callable[[int], ArrayLike]
    method: tuple[str, ...]
    """One per layer."""
    block_size: int | None
    n_threads: int | None
    weight_decay: float
    l1: float
    dropout: tuple[float, ...]
    """One per hidden layer."""
    clip_value: float | None
    clip_norm: float | None
    max_norm: float | None
    class_weight: ClassWeight
    """One per class; a dict has labels that the network does not know yet."""
    label_smoothing: float
    reduction: str
    is_whole: bool
    """Whether all are set."""
    is_plain_sgd: bool
    """Whether a step on one sample is plain SGD, which has methods of its own; for the learning
    rate of the last `check`."""
    _checked: float | None
    _steps: tuple[Any, ...] | None

    __slots__ = ("_checked", "_steps", "is_plain_sgd", "is_whole", "network", *OPTIONS)

    def __init__(self, network: Network) -> None:
        object.__setattr__(self, "network", network)
        object.__setattr__(self, "is_whole", False)

    def complete(self, given: Mapping[str, Any]) -> None:
        """Set those that have not been set."""
        for name, value in given.items():
            if not hasattr(self, name):
                setattr(self, name, value)
        object.__setattr__(self, "is_whole", True)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _CHECKS:
            raise AttributeError(
                f"{name!r} is no option of a trainer{keywords.meant(name, OPTIONS)}; they are "
                f"{', '.join(OPTIONS)}."
            )
        object.__setattr__(self, name, _CHECKS[name](value, self.network))
        object.__setattr__(self, "_checked", None)
        object.__setattr__(self, "_steps", None)

    def plain(self) -> dict[str, Any]:
        """All of them by name."""
        return {name: getattr(self, name) for name in OPTIONS}

    @property
    def of_steps(self) -> tuple[Any, ...]:
        """Those that steps depend on, except the learning rate."""
        steps = self._steps
        if steps is None:
            others = ("learning_rate", "shuffle", "class_weight", "label_smoothing")
            steps = tuple(getattr(self, name) for name in OPTIONS if name not in others)
            object.__setattr__(self, "_steps", steps)
        return steps

    def check(self, learning_rate: float) -> None:
        """Refuse options that do not go together at this rate; skipped if nothing has changed.

        Raises
        ------
        ValueError
            If an option does not go with another, with the rate or with the network.
        """
        if self._checked != learning_rate:
            object.__setattr__(self, "is_plain_sgd", self._are_plain_sgd(learning_rate))
            self._check_together(learning_rate)
            object.__setattr__(self, "_checked", learning_rate)

    def _check_together(self, learning_rate: float) -> None:
        network = self.network
        if self.reduction == "mean":
            check_decay(self.optimizer, learning_rate, self.weight_decay, network.dtype)
        smoothing, weights = self.label_smoothing, self.class_weight
        if not network.is_classifier and (smoothing > 0 or weights is not None):
            raise ValueError(
                "label_smoothing and class_weight must be 0 and None for the loss "
                f"{network.loss_name}, got {smoothing!r} and {checks.shown(weights)}."
            )
        is_default = self.block_size is None and {*self.method} == {"auto"}
        if not is_default and not self.of_single_samples:
            raise ValueError(
                "method and block_size are for plain sgd with batch_size 1 and no regularization "
                'but weight_decay; else they must be left at "auto" and None, got '
                f"{checks.shown(_one_for_all(self.method))} and {self.block_size!r}."
            )

    def _are_plain_sgd(self, learning_rate: float) -> bool:
        """See `is_plain_sgd`: its methods divide by 1 − ηλ, which must be above 0."""
        return (
            isinstance(self.optimizer, optimizers.SGD)
            and self.optimizer.n_moments == 0
            and not turns_signs(learning_rate, self.weight_decay, self.network.dtype)
            and self.is_unregularized
        )

    @property
    def of_single_samples(self) -> bool:
        """Whether every step is plain SGD on one sample."""
        return self.is_plain_sgd and self.batch_size == 1

    @property
    def is_unregularized(self) -> bool:
        """Whether nothing but the loss and weight decay has a part in a step."""
        limits = self.clip_value, self.clip_norm, self.max_norm
        return self.l1 == 0 and not any(self.dropout) and limits == (None, None, None)

    def described(self) -> dict[str, Any]:
        """As JSON can hold them, for `restored_options`.

        Raises
        ------
        ValueError
            If one is a function of the user's.
        """
        if callable(self.shuffle):
            raise ValueError(
                "shuffle must be True or False to be saved, got a function; set trainer.shuffle "
                "first."
            )
        return self.plain() | {
            "optimizer": optimizers.describe(self.optimizer),
            "learning_rate": schedules.describe(self.learning_rate),
            "method": _one_for_all(self.method),
        }


def _one_for_all(values: tuple[Any, ...]) -> Any:
    """The value that all have in common, or all of them: for networks of any depth."""
    return values[0] if len(set(values)) == 1 else values


def restored_options(description: Mapping[str, Any]) -> dict[str, Any]:
    """Options from `Options.described`; what is missing there is missing here, too.

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
        defaults[name] = getattr(optimizer, name)
    for name, value in given.items():
        is_plain = value is None or isinstance(value, (bool, int, float, str, optimizers.Optimizer))
        if not (is_plain and value == defaults[name]):
            parts.append(f"{name}={value!r}")
    return parts


def _is_same(value: Any, held: Any) -> bool:
    """Whether an option is set to the number, name or None that it is already."""
    return type(value) is type(held) and isinstance(value, _SCALAR) and bool(value == held)


_KINDS = {"network": Network, "history": History, "stream": Stream}


class Configured:
    """Base of `Trainer`: a network, and options as attributes that keep the values given."""

    network: Network
    history: History
    stream: Stream
    optimizer: optimizers.Optimizer
    learning_rate: float | Callable[[int], float]
    batch_size: int
    shuffle: bool | Callable[[int], ArrayLike]
    method: str | Sequence[str]
    block_size: int | None
    n_threads: int | None
    weight_decay: float
    l1: float
    dropout: float | Sequence[float]
    clip_value: float | None
    clip_norm: float | None
    max_norm: float | None
    class_weight: str | Mapping[Any, float] | Sequence[float] | None
    label_smoothing: float
    reduction: str
    _seed: int | None
    _options: Options

    def __setattr__(self, name: str, value: Any) -> None:
        vars(self).pop("_step", None)  # see `single.step_of`
        kind = _KINDS.get(name)
        # Other attributes that the class allows; a class without `_others` allows any.
        others = vars(type(self)).get("_others")
        if name in _CHECKS:
            if self._options.network is not self.network:
                self._options = Options(self.network)
            elif _is_same(value, vars(self).get(name, self)):
                return
            setattr(self._options, name, value)
            if name == "optimizer":
                value = self._options.optimizer
        elif kind is not None:
            if not isinstance(value, kind):
                raise ValueError(
                    f"{name} must be a fastbp.{kind.__name__}, got {type(value).__name__}."
                )
        elif others is not None and not name.startswith("_") and name not in others:
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name!r}{keywords.meant(name, OPTIONS)}; "
                f"it has {', '.join(OPTIONS)}."
            )
        super().__setattr__(name, value)

    def _given(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in OPTIONS}

    @property
    def current_learning_rate(self) -> float:
        """η of the next epoch, of the one that is going on, or of a stream's next sample."""
        return self.learning_rate_of(self.network)

    def learning_rate_of(self, network: Network) -> float:
        """`current_learning_rate` for a given network, even if the trainer has another one now."""
        return self._rate(self.options_of(network))

    def _rate(self, options: Options) -> float:
        rate = options.learning_rate
        if not callable(rate):
            return rate
        return schedules.current(rate, self.history, self.stream, options.network.dtype)

    def options_now(self, network: Network) -> tuple[Options, float]:
        """Options for a network and η, which have been checked together."""
        options = self.options_of(network)
        eta = self._rate(options)
        options.check(eta)
        return options, eta

    def options_of(self, network: Network, learning_rate: float | None = None) -> Options:
        """Options as plain values for a network, checked with an epoch's rate if one is given."""
        if self._options.network is not network:
            self._options = Options(network)
        if not self._options.is_whole:
            self._options.complete(self._given())
        if learning_rate is not None:
            self._options.check(learning_rate)
        return self._options

    @property
    def options(self) -> Options:
        """Options as plain values, checked for the next epoch."""
        return self.options_now(self.network)[0]

    def get_params(self) -> dict[str, Any]:
        """Options as plain values, which JSON and TOML can hold, for `from_params`.

        Options that are None are left out, and so is the seed of a trainer that was loaded.

        Returns
        -------
        dict
            By the names of the arguments.

        Raises
        ------
        ValueError
            If an option is a function, which is no plain value.
        """
        params = self.options.described()
        if len(set(params["dropout"])) < 2:  # for networks of any depth
            params["dropout"] = max(params["dropout"], default=0.0)
        params["seed"] = self._seed
        return {
            name: list(value) if isinstance(value, (tuple, np.ndarray)) else value
            for name, value in params.items()
            if value is not None
        }

    @classmethod
    def from_params(cls, network: Network, params: Mapping[str, Any]) -> Self:
        """A new trainer with options as `get_params` gives them.

        Parameters
        ----------
        network : Network
        params : mapping
            Options by name. An optimizer is a name, or a mapping with its ``"name"`` and settings;
            so is a schedule for ``"learning_rate"``. What is left out has its default.

        Raises
        ------
        ValueError
            If an option is not known, or its value is not allowed.

        Examples
        --------
        >>> import fastbp
        >>> params = {"optimizer": {"name": "sgd", "momentum": 0.9}, "batch_size": 32}
        >>> fastbp.Trainer.from_params(fastbp.Network((4, 3), seed=0), params).optimizer
        SGD(momentum=0.9)
        """
        options = dict(params)
        seed = options.pop("seed", None)
        make: Callable[..., Self] = cls
        return make(network, seed=seed, **restored_options(options))
