"""The systems that take one sample in a call, as a stream gives them: see `embedding.py`.

They are systems as in `peers.py`, whose ``run()`` makes a call for each row, and whose
``predict()`` does so for predictions and gives the last row's probabilities. Rows and labels have
the form that a system likes best before time is taken.
"""

import itertools
import sys
import types

import numpy as np

import fastbp
from fastbp import jit
from fastbp.bench import peers


class Stream(peers.System):
    """Calls ``learn(x, label)`` and ``predict_one(x)`` for ``rows``, which constructors set."""

    def run(self):
        learn = self.learn
        for x, label in self.rows:
            learn(x, label)

    def predict(self):
        predict_one = self.predict_one
        for x, _ in self.rows:
            out = predict_one(x)
        return out


class LearnOne(Stream):
    """`Trainer.learn_one` and `Network.predict_one`."""

    is_library = False

    def __init__(self, task):
        network, X, y, learning_rate, _, optimizer = task
        self.network = network.copy()
        trainer = fastbp.Trainer(self.network, optimizer, learning_rate=learning_rate)
        self.rows = list(zip(X, y.tolist(), strict=True))
        self.learn, self.predict_one = trainer.learn_one, self.network.predict_one

    def parameters(self):
        return [*self.network.weights, *self.network.biases]


class OneRow(LearnOne):
    """`Trainer.partial_fit` and `Network.predict_proba`, with matrices of one row."""

    def __init__(self, task):
        network, X, y, learning_rate, _, optimizer = task
        self.network = network.copy()
        trainer = fastbp.Trainer(self.network, optimizer, learning_rate=learning_rate)
        self.rows = [(X[t : t + 1], y[t : t + 1]) for t in range(len(X))]
        self.learn, self.predict_one = trainer.partial_fit, self.network.predict_proba


class CompiledFromPython(LearnOne):
    """`jit.learn_one` and `jit.predict_one`, called from Python."""

    def __init__(self, task):
        network, X, y, learning_rate, _, optimizer = task
        self.network = network.copy()
        self.state = jit.state(network, optimizer, learning_rate=learning_rate)
        self.rows = list(zip(X, y.tolist(), strict=True))
        self.out = np.empty(network.sizes[-1], network.dtype)

    def learn(self, x, label):
        jit.learn_one(self.state, x, label)

    def predict_one(self, x):
        jit.predict_one(self.state, x, self.out)
        return self.out

    def parameters(self):
        self.network.params[:] = jit.params(self.state)
        return super().parameters()


class TorchStep(peers.Torch):
    """Eager PyTorch on one thread, a step for each row."""

    tried = tuple(settings for settings in peers.Torch.tried if settings["threads"] == "1")

    def predict(self):
        self.torch.set_num_threads(self.threads)
        linear, relu = self.torch.nn.functional.linear, self.torch.relu
        *hidden, (W, b) = self.layers
        with self.torch.inference_mode():
            for x, _ in self.batches:
                for V, c in hidden:
                    x = relu(linear(x, V, c))
                out = self.torch.softmax(linear(x, W, b), dim=1)
        return out.numpy()


class JaxStep(peers.Jax):
    """A compiled step or prediction, called for each row; only the last one is waited for."""

    tried = ({"donates": False}, {"donates": True})

    def __init__(self, task, donates):
        import jax

        super().__init__(task, unroll=1)
        self.rows = list(zip(*map(list, self.data), strict=True))
        self.one = jax.jit(
            lambda carry, x, label: self.step(carry, (x, label))[0],
            donate_argnums=(0,) if donates else (),
        )

        @jax.jit
        def outputs(layers, x):
            *hidden, (W, b) = layers
            for V, c in hidden:
                x = jax.nn.relu(x @ V + c)
            return jax.nn.softmax(x @ W + b)

        self.outputs = outputs

    def run(self):
        carry = self.layers, self.state
        for x, label in self.rows:
            carry = self.one(carry, x, label)
        self.layers, self.state = self.wait(carry)

    def predict(self):
        for x, _ in self.rows:
            out = self.outputs(self.layers, x)
        return np.asarray(out)


class ScikitLearnRow(peers.ScikitLearn):
    """`partial_fit` and `predict_proba` of one row."""

    tried = ({"blas_threads": "1"},)

    def __init__(self, task, **settings):
        super().__init__(task, **settings)
        self.rows = [(self.X[t : t + 1], self.y[t : t + 1]) for t in range(len(self.X))]

    def run(self):
        with self.controller.limit(limits=self.threads, user_api="blas"):
            for x, label in self.rows:
                self.model.partial_fit(x, label)

    def predict(self):
        with self.controller.limit(limits=self.threads, user_api="blas"):
            for x, _ in self.rows:
                out = self.model.predict_proba(x)
        return out


class VowpalWabbit(Stream):
    """``--oaa`` with ``--nn`` and examples that have been parsed: another network.

    Each class has its own, of as many hidden units, which are tanh, and one output.
    """

    tried = ({"update": "--sgd"}, {"update": ""})

    def __init__(self, task, update):
        network, X, y, learning_rate, *_ = task
        import vowpalwabbit

        _, hidden, classes = network.sizes
        self.model = vowpalwabbit.Workspace(
            f"--oaa {classes} --nn {hidden} --probabilities -l {learning_rate} --quiet {update}"
        )
        self.rows = [
            (self.model.example(f"{label + 1} | {vw_features(enumerate(x))}"), None)
            for x, label in zip(X.tolist(), y.tolist(), strict=True)
        ]
        self.predict_one = self.model.predict

    def learn(self, example, _):
        self.model.learn(example)

    def parameters(self):
        return []


def vw_features(pairs):
    """Names and numbers as VowpalWabbit's text."""
    return " ".join(f"{name}:{float(value)}" for name, value in pairs)


class DeepRiver(Stream):
    """`learn_one` and `predict_proba_one` of deep-river's classifier, whose rows are dicts."""

    def __init__(self, task):
        network, X, y, learning_rate, _, optimizer = task
        layers = list(zip(network.weights, network.biases, strict=True))
        self.model = deep_river_classifier(network.sizes, learning_rate, optimizer)
        self.linear = self.model.module[::2]
        for layer, (W, b) in zip(self.linear, layers, strict=True):
            layer.weight.data[...] = layer.weight.data.new_tensor(W)
            layer.bias.data[...] = layer.bias.data.new_tensor(b)
        self.model.observed_classes.update(range(network.sizes[-1]))
        names = [f"x{i:03}" for i in range(X.shape[1])]  # which it sorts
        dicts = [dict(zip(names, x, strict=True)) for x in X.tolist()]
        self.rows = list(zip(dicts, y.tolist(), strict=True))
        self.learn, self.predict_one = self.model.learn_one, self.predicted

    def predicted(self, x):
        return list(self.model.predict_proba_one(x).values())

    def parameters(self):
        pairs = [(layer.weight, layer.bias) for layer in self.linear]
        return [p.detach().numpy() for parts in zip(*pairs, strict=True) for p in parts]


def deep_river_classifier(sizes, learning_rate, optimizer="sgd"):
    """deep-river's classifier of a perceptron with ReLU and softmax."""
    for part in ("anomaly", "forecasting"):  # which cannot be imported with River 0.26
        name = f"deep_river.{part}"
        sys.modules.setdefault(name, types.ModuleType(name))
    import torch
    from deep_river.classification import Classifier

    torch.set_num_threads(1)
    layers = []
    for pair in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(*pair), torch.nn.ReLU()]
    module = torch.nn.Sequential(*layers[:-1])  # the outputs have none
    return Classifier(module, "cross_entropy", optimizer, lr=learning_rate)


STREAMS = {
    "`Trainer.learn_one`, `Network.predict_one`": LearnOne,
    "`jit.learn_one`, `jit.predict_one`": CompiledFromPython,
    "`Trainer.partial_fit`, `Network.predict_proba`": OneRow,
    "JAX, a compiled step": JaxStep,
    "JAX, scan over a stream in memory": peers.Jax,
    "torch, an eager step": TorchStep,
    "scikit-learn, `partial_fit`": ScikitLearnRow,
    "deep-river, `learn_one`": DeepRiver,
    "VowpalWabbit, `--nn`, not the same network": VowpalWabbit,
}
