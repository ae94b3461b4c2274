"""Steps for one sample at a time from Python, by what is kept ready for the next one."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp import checks, kernels, schedules
from fastbp.options import Options
from fastbp.samples import row_of

if TYPE_CHECKING:
    from fastbp.trainer import Trainer

# Takes x, y and a weight; gives the loss before the step, or None if none was taken.
Step = Callable[[Any, Any, Any], float | None]


def no_step(x: Any, y: Any, weight: Any) -> None:
    """The step of a trainer for which nothing is ready."""
    return


def _is_simple(trainer: Trainer, options: Options) -> bool:
    """Whether a sample's step depends on nothing but its row, its target and the optimizer."""
    network = trainer.network
    return (
        network.preparation is None
        and network.classes is None
        and network.parameters.is_small
        and options.is_unregularized
        and (options.is_plain_sgd or options.optimizer.n_moments > 0 or options.optimizer.code > 0)
        and set(options.method) <= {"auto", "sequential"}
        and options.class_weight is None
        and options.label_smoothing == 0
        and trainer.clip == 0
    )


def step_of(trainer: Trainer) -> Step:
    """A function that takes steps by the trainer's options as they are now; `no_step` if none can.

    It gives None once something else has written to the network's state, or is training it. It
    refers neither to the trainer nor to itself, so that nothing refers to it in a circle.
    """
    network = trainer.network
    options, eta = trainer.options_now(network)
    if network.trained_by or not _is_simple(trainer, options):
        return no_step
    trainer.optimizer_state.move_in()
    kernels.load_functions(network.dtype)
    parameters, history, stream = network.parameters, trainer.history, trainer.stream
    state, rates, dtype = parameters.state, parameters.fields.rates, network.dtype
    rates[:] = eta, options.weight_decay, 0.0
    has_classes, is_alone = network.loss_name == "cross_entropy", network.sizes[-1] == 1
    rate, is_plain_sgd = options.learning_rate, options.is_plain_sgd
    # The rate of an epoch holds until the next one, unless it is a function of the user's.
    epoch = len(history) if isinstance(rate, schedules.Schedule) else -1
    varies = callable(rate) and epoch < 0
    learn, add_one, trained_by = kernels.learn_one, stream.add_one, network.trained_by
    ready = parameters.ready_for = object()

    def step(x: Any, y: Any, weight: Any) -> float | None:
        nonlocal eta
        if varies:
            eta = schedules.current(rate, history, stream, dtype)
            options.check(eta)
            if options.is_plain_sgd != is_plain_sgd:
                return None
        elif epoch >= 0 and len(history) != epoch:
            return None
        target: Any
        if has_classes and isinstance(y, (int, np.integer)):
            target = operator.index(y)
        elif is_alone and isinstance(y, (float, int, np.floating, np.integer)):
            target = np.array([y], dtype)
        else:
            target = row_of(y, dtype)
        if type(weight) is not float:
            weight = checks.finite("weight", weight)
        row = row_of(x, dtype)
        # Python changes threads only at calls: between this check and the end of the step no other
        # thread has a turn.
        if parameters.ready_for is not ready or trained_by:
            return None
        rates[0] = eta
        loss: float = learn(state, row, target, weight)
        add_one(loss)
        return loss

    return step
