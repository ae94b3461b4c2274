"""The systems that train many networks of one architecture, one sample a step: see `embedding.py`.

Each is built from (networks, X, y, orders, learning_rate, **settings): network k sees the rows in
the order ``orders[k]``. ``run()`` makes one more pass, and ``parameters()`` gives each network's
weights and biases as the systems of `peers.py` do. ``tried`` lists the settings to build it with.
"""

import numba
import numpy as np

import fastbp
from fastbp import jit


class Ensemble:
    """`fastbp.Ensemble.fit` on all threads."""

    n_threads = None
    tried = ({},)

    def __init__(self, networks, X, y, orders, learning_rate):
        first = networks[0]
        self.ensemble = fastbp.Ensemble(
            first.sizes, len(networks), dtype=first.dtype, learning_rate=learning_rate,
            shuffle=False, n_threads=self.n_threads,
        )  # fmt: skip
        for mine, given in zip(self.ensemble, networks, strict=True):
            mine.params[:] = given.params
        self.data, self.orders = (X, y), list(orders)

    def run(self):
        self.ensemble.fit(*self.data, folds=self.orders, epochs=1, progress=False)

    def parameters(self):
        return [[*network.weights, *network.biases] for network in self.ensemble]


class EnsembleOneThread(Ensemble):
    """The same on one core."""

    n_threads = 1


class States:
    """`jit.states` in a loop of the user's on all threads, one network after the other."""

    tried = ({},)

    def __init__(self, networks, X, y, orders, learning_rate):
        self.networks = [network.copy() for network in networks]
        self.states = jit.states(networks, learning_rate=learning_rate)
        self.data = X, y, orders

    def run(self):
        learn_all(self.states, *self.data)

    def parameters(self):
        for network, s in zip(self.networks, self.states, strict=True):
            network.params[:] = jit.params(s)
        return [[*network.weights, *network.biases] for network in self.networks]


@numba.njit(parallel=True)
def learn_all(states, X, y, orders):
    for k in numba.prange(len(states)):
        for row in orders[k]:
            jit.learn_one(states[k], X[row], y[row])


class Trainers:
    """A `fastbp.Trainer` for each, one after the other."""

    tried = ({},)

    def __init__(self, networks, X, y, orders, learning_rate):
        self.trainers = [
            fastbp.Trainer(network.copy(), learning_rate=learning_rate, shuffle=lambda n, o=o: o)
            for network, o in zip(networks, orders, strict=True)
        ]
        self.data = X, y

    def run(self):
        for trainer in self.trainers:
            trainer.fit(*self.data, epochs=1, progress=False)

    def parameters(self):
        networks = [trainer.network for trainer in self.trainers]
        return [[*network.weights, *network.biases] for network in networks]


class Jax:
    """One compiled call of ``vmap(scan)``; rows are put in order before all steps, or one a step.

    Written by hand with einsum, or with the networks along the last axis, it is no faster.
    """

    tried = (
        {"gathers": "before", "unroll": 1},
        {"gathers": "before", "unroll": 4},
        {"gathers": "before", "unroll": 8},
        {"gathers": "at each step", "unroll": 1},
    )

    def __init__(self, networks, X, y, orders, learning_rate, gathers, unroll):
        import jax
        import jax.numpy as jnp

        def loss(layers, x, label):
            *hidden, (W, b) = layers
            for V, c in hidden:
                x = jax.nn.relu(x @ V + c)
            return -jax.nn.log_softmax(x @ W + b)[label]

        def step(layers, sample):
            gradient = jax.grad(loss)(layers, *sample)
            return jax.tree.map(lambda p, g: p - learning_rate * g, layers, gradient), None

        def train(layers, order, X, y):
            if gathers == "before":
                return jax.lax.scan(step, layers, (X[order], y[order]), unroll=unroll)[0]
            return jax.lax.scan(
                lambda layers, row: step(layers, (X[row], y[row])), layers, order, unroll=unroll
            )[0]

        self.train = jax.jit(jax.vmap(train, in_axes=(0, 0, None, None)), donate_argnums=(0,))
        self.wait = jax.block_until_ready
        self.data = jnp.asarray(orders.astype(np.int32)), jnp.asarray(X), jnp.asarray(y, np.int32)
        pairs = [
            [(W.T, b) for W, b in zip(network.weights, network.biases, strict=True)]
            for network in networks
        ]
        self.layers = [
            tuple(jnp.array(np.stack(parts)) for parts in zip(*layer, strict=True))
            for layer in zip(*pairs, strict=True)
        ]

    def run(self):
        self.layers = self.wait(self.train(self.layers, *self.data))

    def parameters(self):
        weights = [np.asarray(W).swapaxes(1, 2) for W, _ in self.layers]
        biases = [np.asarray(b) for _, b in self.layers]
        return [*zip(*weights, *biases, strict=True)]


MANY = {
    "`fastbp.Ensemble`": Ensemble,
    "`fastbp.Ensemble`, 1 thread": EnsembleOneThread,
    "`jit.states` in `prange`": States,
    "a `Trainer` each, in turn": Trainers,
    "JAX, `vmap` of a scan": Jax,
}
