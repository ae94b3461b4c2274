"""Steps for one sample at a time from Python, by what is kept ready for the next one."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp import checks, kernels, plan, schedules
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
    layout, inputs = (
        network.parameters.layout,
        kernels.dense_inputs(np.empty((1, 1), network.dtype)),
    )
    return (
        network.preparation is None
        and network.classes is None
        and options.is_unregularized
        and (options.is_plain_sgd or options.optimizer.n_moments > 0 or options.optimizer.code > 0)
        and set(options.method) <= {"auto", "sequential"}
        and options.class_weight is None
        and options.label_smoothing == 0
        and trainer.clip == 0
        and plan.steps_alone(layout, network.dtype, inputs)
    )


def step_of(trainer: Trainer) -> Step:
    """A function that takes steps by the trainer's options as they are now; `no_step` if none can.

    It gives None once something else has written to the network's state, or is training it.
    """
    network, eta = trainer.network, trainer.current_learning_rate
    options = trainer.options_of(network, eta)
    if network.trained_by or not _is_simple(trainer, options):
        return no_step
    trainer.optimizer_state.move_in()
    kernels.load_functions(network.dtype)
    parameters, history, stream = network.parameters, trainer.history, trainer.stream
    state, rates, dtype = parameters.state, parameters.fields.rates, network.dtype
    rates[:2] = eta, options.weight_decay
    targets, n_out = np.empty(network.sizes[-1], dtype), network.sizes[-1]
    has_classes = network.loss_name == "cross_entropy"
    by_sample = isinstance(options.learning_rate, schedules.BySample)
    epochs = len(history) if callable(options.learning_rate) and not by_sample else None
    learn, add_one, trained_by = kernels.learn_one, stream.add_one, network.trained_by

    def step(x: Any, y: Any, weight: Any) -> float | None:
        target: Any = targets
        if parameters.ready_for is not step or trained_by:
            return None
        if by_sample:
            rates[0] = trainer.learning_rate_of(network)
        elif epochs is not None and len(history) != epochs:
            return None
        if has_classes and (type(y) is int or np.ndim(y) == 0):
            target = operator.index(y)
        elif n_out == 1 and (isinstance(y, float) or np.ndim(y) == 0):
            targets[0] = y
        elif np.shape(y) == (n_out,):
            targets[:] = y
        else:
            return None
        if type(weight) is not float:
            weight = checks.finite("weight", weight)
        loss: float = learn(state, row_of(x, dtype), target, weight)
        add_one(loss)
        return loss

    parameters.ready_for = step
    return step
