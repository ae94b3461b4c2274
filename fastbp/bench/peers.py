"""The systems that are compared: each makes passes over the same rows, in the order given.

Same architecture (ReLU, softmax, cross-entropy), same initial weights, same order, same batches,
same dtype, same optimizer, "sgd" or "adam" with its defaults. ``tried`` lists the settings to build
a system with: what is quoted is the fastest. What a system cannot do it refuses with
NotImplementedError, when it is built.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from fastbp.bench.machine import cores
from fastbp.network import Network
from fastbp.trainer import Trainer

Array = NDArray[Any]


class Task(NamedTuple):
    """What a system is built to do."""

    network: Network
    X: Array
    """(n, n_inputs) float32."""
    y: Array
    """(n,) class numbers."""
    learning_rate: float
    batch_size: int
    optimizer: str
    """"sgd" or "adam"."""


class System:
    """What all of them have."""

    tried: ClassVar[tuple[dict[str, Any], ...]] = ({},)
    is_library: ClassVar[bool] = True
    """Whether it counts when the fastest library is named."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Modules, besides fastbp's own."""

    def __init__(self, task: Task, **settings: Any) -> None:
        raise NotImplementedError("each system is built in its own way")

    def run(self) -> None:
        """One more pass over the rows."""
        raise NotImplementedError

    def parameters(self) -> list[Array]:
        """Weights (n_out, n_in) of every layer, then biases; none of another kind of network."""
        raise NotImplementedError

    def chosen(self) -> dict[str, Any]:
        """What it decided by itself."""
        return {}


class Fastbp(System):
    """What a user calls: `fastbp.Trainer.partial_fit`, which chooses methods and threads."""

    is_library = False
    options: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, task: Task) -> None:
        network, X, y, learning_rate, batch_size, optimizer = task
        self.X, self.y = X, y
        self.trainer = Trainer(
            network.copy(), optimizer, learning_rate=learning_rate, batch_size=batch_size,
            **self.options,
        )  # fmt: skip

    def run(self) -> None:
        self.trainer.partial_fit(self.X, self.y)

    def chosen(self) -> dict[str, Any]:
        own = self.trainer.summary().removeprefix(self.trainer.network.summary())
        return {"choice": own.strip().splitlines()}

    def parameters(self) -> list[Array]:
        return [*self.trainer.network.weights, *self.trainer.network.biases]


class FastbpOneThread(Fastbp):
    """The same on one core."""

    options = {"n_threads": 1}  # noqa: RUF012  # never changed


class PlainNumba(System):
    """The loop nest that one writes in an afternoon: one hidden layer, W (n_out, n_in), one core.

    It may leave alone the weights of an inactive ReLU unit, whose gradient is zero.
    """

    tried = ({"skips_inactive": False}, {"skips_inactive": True})
    is_library = False

    def __init__(self, task: Task, skips_inactive: bool) -> None:
        network, X, y, learning_rate, batch_size, optimizer = task
        if batch_size != 1 or optimizer != "sgd":
            raise NotImplementedError("written for SGD with one sample a step")
        if len(network.sizes) != 3:
            raise NotImplementedError("written for one hidden layer")
        self.layers = [
            (np.ascontiguousarray(W), b.copy())
            for W, b in zip(network.weights, network.biases, strict=True)
        ]
        self.arguments = (X, y, network.dtype.type(learning_rate), skips_inactive)

    def run(self) -> None:
        (W1, b1), (W2, b2) = self.layers
        plain_pass(W1, b1, W2, b2, *self.arguments)

    def parameters(self) -> list[Array]:
        return [*(W for W, _ in self.layers), *(b for _, b in self.layers)]


@numba.njit(fastmath=True, error_model="numpy")
def plain_pass(W1, b1, W2, b2, X, y, eta, skips_inactive):  # type: ignore[no-untyped-def]
    """One pass of SGD, a sample a step."""
    n1, n0 = W1.shape
    n2 = W2.shape[0]
    T = W1.dtype.type
    h, dh, p = np.empty(n1, W1.dtype), np.empty(n1, W1.dtype), np.empty(n2, W1.dtype)
    for row in range(len(X)):
        x = X[row]
        for k in range(n1):
            s = b1[k]
            for i in range(n0):
                s += W1[k, i] * x[i]
            h[k] = max(s, T(0))
        m = T(-np.inf)
        for k in range(n2):
            s = b2[k]
            for i in range(n1):
                s += W2[k, i] * h[i]
            p[k] = s
            m = max(m, s)
        total = T(0)
        for k in range(n2):
            p[k] = math.exp(p[k] - m)
            total += p[k]
        for k in range(n2):
            p[k] /= total
        p[y[row]] -= T(1)
        for i in range(n1):
            dh[i] = T(0)
        for k in range(n2):
            for i in range(n1):
                dh[i] += W2[k, i] * p[k]
        for k in range(n2):
            c = eta * p[k]
            b2[k] -= c
            for i in range(n1):
                W2[k, i] -= c * h[i]
        for k in range(n1):
            if skips_inactive and h[k] == T(0):
                continue
            c = eta * dh[k] if h[k] > T(0) else T(0)
            b1[k] -= c
            for i in range(n0):
                W1[k, i] -= c * x[i]


class Jax(System):
    """One compiled `lax.scan` over the steps: gradient and update fused, parameters donated."""

    tried = ({"unroll": 1}, {"unroll": 8})
    needs = ("jax", "optax")

    def __init__(self, task: Task, unroll: int) -> None:
        network, X, y, learning_rate, batch_size, optimizer = task
        import jax
        import jax.numpy as jnp
        import optax

        n = len(X) // batch_size * batch_size
        rows = (n // batch_size, batch_size) if batch_size > 1 else (n,)
        self.data = (
            jnp.asarray(X[:n].reshape(*rows, -1)),
            jnp.asarray(y[:n].reshape(rows).astype(np.int32)),
        )
        self.layers = [
            (jnp.array(W.T), jnp.array(b))
            for W, b in zip(network.weights, network.biases, strict=True)
        ]

        def loss(layers: Any, x: Any, labels: Any) -> Any:
            *hidden, (W, b) = layers
            for V, c in hidden:
                x = jax.nn.relu(x @ V + c)
            logs = jax.nn.log_softmax(x @ W + b)
            return -jnp.take_along_axis(logs, labels[..., None], -1).mean()

        rule = getattr(optax, optimizer)(learning_rate)

        def step(carry: Any, batch: Any) -> Any:
            layers, state = carry
            gradient = jax.grad(loss)(layers, *batch)
            updates, state = rule.update(gradient, state)
            return (optax.apply_updates(layers, updates), state), None

        @functools.partial(jax.jit, donate_argnums=(0, 1))
        def train(layers: Any, state: Any, data: Any) -> Any:
            return jax.lax.scan(step, (layers, state), data, unroll=unroll)[0]

        self.state = rule.init(self.layers)
        self.step, self.train, self.wait = step, train, jax.block_until_ready

    def run(self) -> None:
        self.layers, self.state = self.wait(self.train(self.layers, self.state, self.data))

    def parameters(self) -> list[Array]:
        return [
            *(np.asarray(W).T for W, _ in self.layers),
            *(np.asarray(b) for _, b in self.layers),
        ]


class Torch(System):
    """Eager PyTorch: autograd, and the optimizer or the in-place update that is fastest."""

    tried = tuple(
        {"update": update, "threads": threads}
        for update, threads in itertools.product(("fused", "foreach", "in place"), ("1", "all"))
    )
    needs = ("torch",)

    def __init__(self, task: Task, update: str, threads: str) -> None:
        network, X, y, learning_rate, batch_size, optimizer = task
        import torch

        if optimizer != "sgd" and update == "in place":
            raise NotImplementedError("an update in place is SGD's")

        self.torch = torch
        self.threads = 1 if threads == "1" else cores()
        self.batches = list(
            zip(
                torch.from_numpy(X).split(batch_size),
                torch.from_numpy(y.astype(np.int64)).split(batch_size),
                strict=True,
            )
        )
        self.layers = [
            (torch.tensor(W, requires_grad=True), torch.tensor(b, requires_grad=True))
            for W, b in zip(network.weights, network.biases, strict=True)
        ]
        self.flat = [p for layer in self.layers for p in layer]
        self.learning_rate = learning_rate
        self.optimizer = None
        if update != "in place":
            kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
            self.optimizer = kind(self.flat, lr=learning_rate, **{update: True})

    def run(self) -> None:
        self.torch.set_num_threads(self.threads)
        linear, relu = self.torch.nn.functional.linear, self.torch.relu
        cross_entropy = self.torch.nn.functional.cross_entropy
        *hidden, (W, b) = self.layers
        for x, labels in self.batches:
            for V, c in hidden:
                x = relu(linear(x, V, c))
            loss = cross_entropy(linear(x, W, b), labels)
            if self.optimizer:
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
            else:
                gradient = self.torch.autograd.grad(loss, self.flat)
                with self.torch.no_grad():
                    self.torch._foreach_add_(self.flat, gradient, alpha=-self.learning_rate)

    def parameters(self) -> list[Array]:
        pairs = [(W.detach().numpy(), b.detach().numpy()) for W, b in self.layers]
        return [*(W for W, _ in pairs), *(b for _, b in pairs)]


class ScikitLearn(System):
    """MLPClassifier with its fastest settings for the same steps."""

    tried = ({"blas_threads": "1"}, {"blas_threads": "all"})
    needs = ("sklearn",)

    def __init__(self, task: Task, blas_threads: str) -> None:
        network, X, y, learning_rate, batch_size, optimizer = task
        from sklearn.neural_network import MLPClassifier
        from threadpoolctl import ThreadpoolController

        if network.sizes[-1] == 2:
            raise NotImplementedError("has a single output for two classes")
        self.X, self.y = X, y
        self.threads = 1 if blas_threads == "1" else None
        self.controller = ThreadpoolController()
        self.model = MLPClassifier(
            network.sizes[1:-1],
            solver=optimizer,
            batch_size=batch_size,
            momentum=0,
            nesterovs_momentum=False,
            alpha=0,
            learning_rate_init=learning_rate,
            shuffle=False,
            random_state=0,
        )
        classes = np.arange(network.sizes[-1])
        self.model.partial_fit(X[:batch_size], y[:batch_size], classes=classes)  # makes the arrays
        for coef, W in zip(self.model.coefs_, network.weights, strict=True):
            coef[...] = W.T
        for intercept, b in zip(self.model.intercepts_, network.biases, strict=True):
            intercept[...] = b
        del self.model._optimizer  # whose moments are those of that step

    def run(self) -> None:
        with self.controller.limit(limits=self.threads, user_api="blas"):
            self.model.partial_fit(self.X, self.y)

    def parameters(self) -> list[Array]:
        return [*(coef.T for coef in self.model.coefs_), *self.model.intercepts_]


SYSTEMS: dict[str, type[System]] = {
    "fastbp": Fastbp,
    "fastbp, 1 thread": FastbpOneThread,
    "plain Numba": PlainNumba,
    "JAX scan": Jax,
    "torch": Torch,
    "scikit-learn": ScikitLearn,
}


def absent(systems: Mapping[str, type[System]]) -> dict[str, str]:
    """Systems that cannot be built, and the first module that each would need."""
    found = {}
    for name, system in systems.items():
        missing = (module for module in system.needs if importlib.util.find_spec(module) is None)
        if (module := next(missing, None)) is not None:
            found[name] = module
    return found
