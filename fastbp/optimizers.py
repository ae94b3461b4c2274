"""Optimizers: their settings and defaults, which are those of ``torch.optim``.

>>> import fastbp
>>> network = fastbp.Network((64, 64, 10), seed=0)
>>> trainer = fastbp.Trainer(network, fastbp.optimizers.Adam(eps=1e-7), batch_size=32)

A name, such as "adam", is the optimizer with its defaults. ``learning_rate`` (η) and
``weight_decay`` (λ) belong to the trainer. λ adds λ w to the gradient g of a weight w or, if it is
decoupled, multiplies w by 1 − η·λ before the step; biases never decay. The formulas are in
``kernels/updates.py``.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from fastbp import checks, kernels, settings


@dataclass(frozen=True, repr=False)
class Optimizer(settings.Settings):
    """What all optimizers have.

    Parameters
    ----------
    decoupled_weight_decay : bool, default False
        Keep weight decay out of the gradient, and so out of its moments (Loshchilov & Hutter, ICLR
        2019, arXiv:1711.05101).
    """

    decoupled_weight_decay: bool = field(default=False, kw_only=True)

    code: ClassVar[int]
    learning_rate: ClassVar[float] = 0.001
    """Default of the trainer's."""
    weight_decay: ClassVar[float] = 0.0
    """Default of the trainer's."""
    squares: ClassVar[tuple[int, ...]] = ()
    """Which moments are means or sums of squares, and so never negative."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self) is Optimizer:
            raise ValueError(
                "Optimizer is the base class of all optimizers and takes no steps: use one of "
                f"{', '.join(kind.__name__ for kind in OPTIMIZERS.values())}."
            )

    @property
    def n_moments(self) -> int:
        """Numbers that are kept for each parameter."""
        raise NotImplementedError

    def __repr__(self) -> str:
        changed = (
            f"{each.name}={getattr(self, each.name)!r}"
            for each in fields(self)
            if getattr(self, each.name) != each.default
        )
        return f"{type(self).__name__}({', '.join(changed)})"

    def settings(self) -> tuple[float, ...]:
        """Fields of its own in order, as the kernels take them."""
        return astuple(self)[1:]


@dataclass(frozen=True, repr=False)
class SGD(Optimizer):
    """Stochastic gradient descent, with heavy-ball momentum (Polyak 1964) or Nesterov's.

    Parameters
    ----------
    momentum : float, default 0.0
        μ of b ← μ b + (1 − τ) g and w ← w − η b; the first b is g.
    dampening : float, default 0.0
        τ.
    nesterov : bool, default False
        w ← w − η (g + μ b), in the form of Sutskever et al., ICML 2013. Needs a momentum and no
        dampening.
    velocity : bool, default False
        Use η g in place of g: b ← μ b + (1 − τ) η g and w ← w − b, or w ← w − (η g + μ b) with
        Nesterov's. A change of η then affects b only gradually. With a constant η the steps are the
        same, apart from rounding. scikit-learn and Keras use this form.
    """

    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    velocity: bool = False

    code: ClassVar[int] = kernels.SGD
    learning_rate: ClassVar[float] = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.share("momentum", self.momentum, one=True)
        checks.share("dampening", self.dampening, one=True)
        checks.flag("nesterov", self.nesterov)
        checks.flag("velocity", self.velocity)
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError(
                "nesterov needs a momentum above 0 and a dampening of 0; got "
                f"momentum={self.momentum!r}, dampening={self.dampening!r}."
            )

    @property
    def n_moments(self) -> int:
        """The buffer b, if there is momentum."""
        return int(self.momentum != 0)


@dataclass(frozen=True, repr=False)
class RMSprop(Optimizer):
    """Steps divided by the root of a running mean of squared gradients (Hinton 2012).

    Parameters
    ----------
    alpha : float, default 0.99
        v ← α v + (1 − α) g².
    eps : float, default 1e-8
        w ← w − η g / (√v + ε).
    momentum : float, default 0.0
        As in `SGD`, applied to the divided steps.
    centered : bool, default False
        Subtract the square of the running mean of g from v (Graves 2013, arXiv:1308.0850).
    """

    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    centered: bool = False

    code: ClassVar[int] = kernels.RMSPROP
    squares: ClassVar[tuple[int, ...]] = (0,)
    learning_rate: ClassVar[float] = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.share("alpha", self.alpha)
        checks.share("momentum", self.momentum)
        checks.flag("centered", self.centered)

    @property
    def n_moments(self) -> int:
        """1 for v, 2 with the buffer of momentum, 3 with the mean of g after both."""
        return 3 if self.centered else 2 if self.momentum != 0 else 1


@dataclass(frozen=True, repr=False)
class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients (Duchi et al., JMLR 2011).

    Parameters
    ----------
    lr_decay : float, default 0.0
        η is divided by 1 + (t − 1)·lr_decay in step t.
    eps : float, default 1e-10
        w ← w − η g / (√v + ε).
    """

    lr_decay: float = 0.0
    eps: float = 1e-10

    code: ClassVar[int] = kernels.ADAGRAD
    squares: ClassVar[tuple[int, ...]] = (0,)
    learning_rate: ClassVar[float] = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.rate("lr_decay", self.lr_decay, np.dtype(np.float64), zero=True)

    @property
    def n_moments(self) -> int:
        """V."""
        return 1


@dataclass(frozen=True, repr=False)
class Adadelta(Optimizer):
    """Steps scaled by the ratio of running means of steps and gradients (Zeiler 2012).

    arXiv:1212.5701.

    Parameters
    ----------
    rho : float, default 0.9
        Of both running means of squares.
    eps : float, default 1e-6
        Under both roots.
    """

    rho: float = 0.9
    eps: float = 1e-6

    code: ClassVar[int] = kernels.ADADELTA
    squares: ClassVar[tuple[int, ...]] = (0, 1)
    learning_rate: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.share("rho", self.rho)

    @property
    def n_moments(self) -> int:
        """The means of squared gradients and of squared steps."""
        return 2


@dataclass(frozen=True, repr=False)
class Adam(Optimizer):
    """Running means of gradients and of their squares (Kingma & Ba, ICLR 2015, arXiv:1412.6980).

    Parameters
    ----------
    beta1, beta2 : float, default 0.9 and 0.999
        Of the means of g and of g².
    eps : float, default 1e-8
        w ← w − η m̂ / (√v̂ + ε).
    amsgrad : bool, default False
        Divide by the largest v so far (Reddi et al., ICLR 2018).
    uncorrected_eps : bool, default False
        Add ε to √v, as in the paper's second form (its ε̂), in scikit-learn and in TensorFlow, and
        not to √v̂; it matters in the first steps.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    amsgrad: bool = False
    uncorrected_eps: bool = False

    code: ClassVar[int] = kernels.ADAM
    squares: ClassVar[tuple[int, ...]] = (1, 2)

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.share("beta1", self.beta1)
        checks.share("beta2", self.beta2)
        checks.flag("amsgrad", self.amsgrad)
        checks.flag("uncorrected_eps", self.uncorrected_eps)

    @property
    def n_moments(self) -> int:
        """M, v and, with amsgrad, the largest v."""
        return 3 if self.amsgrad else 2


@dataclass(frozen=True, repr=False)
class AdamW(Adam):
    """`Adam` with ``decoupled_weight_decay``, and by default a weight decay of 0.01 (ICLR 2019)."""

    decoupled_weight_decay: bool = field(default=True, kw_only=True)

    weight_decay: ClassVar[float] = 0.01


@dataclass(frozen=True, repr=False)
class NAdam(Optimizer):
    """`Adam` with Nesterov's look ahead (Dozat 2016).

    Parameters
    ----------
    beta1, beta2 : float, default 0.9 and 0.999
    eps : float, default 1e-8
    momentum_decay : float, default 0.004
        ψ of μ_t = β₁ (1 − ½ 0.96^(t ψ)).
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    momentum_decay: float = 0.004

    code: ClassVar[int] = kernels.NADAM
    squares: ClassVar[tuple[int, ...]] = (1,)
    learning_rate: ClassVar[float] = 0.002

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.share("beta1", self.beta1)
        checks.share("beta2", self.beta2)
        checks.rate("momentum_decay", self.momentum_decay, np.dtype(np.float64), zero=True)

    @property
    def n_moments(self) -> int:
        """M and v."""
        return 2


OPTIMIZERS: dict[str, type[Optimizer]] = {
    kind.__name__.lower(): kind for kind in (SGD, RMSprop, Adagrad, Adadelta, Adam, AdamW, NAdam)
}


def make(optimizer: Any, dtype: np.dtype[Any]) -> Optimizer:
    """The optimizer with a name, or the one given, once it is known to suit a dtype."""
    if isinstance(optimizer, Optimizer):
        made = optimizer
    else:
        where = ", or an instance of a class of fastbp.optimizers"
        made = OPTIMIZERS[checks.choice("optimizer", optimizer, OPTIMIZERS, where)]()
    checks.flag("decoupled_weight_decay", made.decoupled_weight_decay)
    if hasattr(made, "eps"):  # if it were 0, the padding of zeros would be divided by zero
        checks.rate("eps", made.eps, dtype)
    return made


def restore(description: Any) -> Optimizer:
    """The optimizer that `describe` has described; files of version 0.1 had only its name."""
    named = {"name": description} if isinstance(description, str) else description
    return settings.restore("optimizer", named, OPTIMIZERS)


def describe(optimizer: Optimizer) -> dict[str, Any]:
    """The optimizer as a JSON object for `restore`."""
    description = settings.describe(optimizer, OPTIMIZERS)
    if description is None:
        raise ValueError(
            "optimizer must be one of fastbp.optimizers to be saved, got "
            f"{checks.shown(optimizer)} of a class of its own; set trainer.optimizer to one of "
            "them first."
        )
    return description
