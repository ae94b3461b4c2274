"""One call beside other libraries: predictions, gradients, and steps of small networks.

python bench/calls.py            prints the tables
python bench/calls.py --write    writes them into docs/training.md too

Predictions are probabilities of three networks, float32, by `Network.predict_proba`, by torch
without gradients and by onnxruntime, the latter two from the array to the array as well, on one
thread or all, whichever takes less time. The gradient is that of the smallest of SimpleChains.jl's
published cases: 24-8-2, tanh, squared error, 200 rows, float64. Small calls are of 8-16-4, float32,
where what a call costs by itself shows most; scikit-learn's estimators have one hidden layer of 16
units, and everything else as they have it by
default. Results must agree before anything is timed; the systems alternate, with pauses in which
their threads fall asleep.
"""

import argparse
import statistics
import time
import warnings

import numba
import numpy as np
from report import write_block

from fastbp import Network, Trainer, kernels
from fastbp.bench.machine import PAUSE, cores, describe
from fastbp.bench.report import conditions_of, figure, table

ROUNDS = 15
ROUND_SECONDS = 0.1
PREDICTED = (784, 128, 10), (64, 32, 10), (8, 16, 4)
PREDICTED_ROWS = (1, 32, 10_000)
GRADIENT = (24, 8, 2), 200
SMALL, FEW = (8, 16, 4), 32


def medians(functions):
    """Median seconds of a call by name, the functions taking turns."""
    return {name: statistics.median(values) for name, values in alternating(functions).items()}


def alternating(functions, rounds=ROUNDS, seconds=ROUND_SECONDS, pause=PAUSE):
    """Seconds of a call in each round by name, the functions taking turns."""
    repeats, times = {}, {name: [] for name in functions}
    for name, function in functions.items():
        function()
        began = time.perf_counter()
        function()
        repeats[name] = max(1, int(seconds / (time.perf_counter() - began)))
    for _ in range(rounds):
        for name, function in functions.items():
            time.sleep(pause)
            began = time.perf_counter()
            for _ in range(repeats[name]):
                function()
            times[name].append((time.perf_counter() - began) / repeats[name])
    return times


@numba.njit
def infer_often(times, state, batch, samples, out):
    """Calls from compiled code, which pay for nothing but the kernel."""
    for _ in range(times):
        kernels.infer(state, batch, samples, 0, len(out), out, False)


@numba.njit
def differentiate_often(times, state, batch, samples, n, gradient):
    """The same for gradients."""
    loss = 0.0
    for _ in range(times):
        gradient[:] = 0
        loss = kernels.train_minibatch(state, batch, gradient, samples, 0, n, 0.0, kernels.ALONE)
    return loss


def torch_layers(network):
    import torch

    pairs = zip(network.weights, network.biases, strict=True)
    return [(torch.tensor(np.ascontiguousarray(W)), torch.tensor(b)) for W, b in pairs]


def torch_predictor(network, X, threads):
    import torch

    layers = torch_layers(network)

    def predict():
        torch.set_num_threads(threads)
        with torch.inference_mode():
            a = torch.from_numpy(X)
            for W, b in layers[:-1]:
                a = torch.relu(torch.nn.functional.linear(a, W, b))
            return torch.softmax(torch.nn.functional.linear(a, *layers[-1]), dim=1).numpy()

    return predict


def onnx_predictor(network, X, threads):
    import onnx
    import onnxruntime

    nodes, constants, last = [], [], "x"
    for i, (W, b) in enumerate(zip(network.weights, network.biases, strict=True)):
        constants += [
            onnx.numpy_helper.from_array(np.ascontiguousarray(W), f"W{i}"),
            onnx.numpy_helper.from_array(b.copy(), f"b{i}"),
        ]
        nodes.append(onnx.helper.make_node("Gemm", [last, f"W{i}", f"b{i}"], [f"z{i}"], transB=1))
        last = f"a{i}"
        kind = "Relu" if i < len(network.weights) - 1 else "Softmax"
        nodes.append(onnx.helper.make_node(kind, [f"z{i}"], [last]))
    tensor = onnx.helper.make_tensor_value_info
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes, "network", [tensor("x", kind, [None, network.sizes[0]])], [tensor(last, kind, None)],
        constants,
    )  # fmt: skip
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"x": X})[0]


def predictions():
    """Table of predictions."""
    generator = np.random.default_rng(0)
    rows = [["network, rows", "fastbp", "fastbp, kernel alone", "torch", "onnxruntime"]]
    for sizes in PREDICTED:
        network = Network(sizes, seed=0)
        for n in PREDICTED_ROWS:
            X = generator.standard_normal((n, sizes[0]), dtype=np.float32) / 3
            name = "-".join(map(str, sizes))
            rows.append([f"{name}, {n:,}", *predicted(network, X)])
    return table(rows)


def predicted(network, X):
    """Cells of a row of that table."""
    expected = network.predict_proba(X)
    functions = {"fastbp": lambda: network.predict_proba(X)}
    for name, build in (("torch", torch_predictor), ("onnxruntime", onnx_predictor)):
        for threads in sorted({1, cores()}):
            try:
                functions[name, threads] = build(network, X, threads)
            except ImportError as reason:
                print(f"{name} left out: {reason}")
    for function in functions.values():
        np.testing.assert_allclose(function(), expected, rtol=1e-3, atol=1e-6)
    seconds = medians(functions)
    alone = kernel_seconds(network, X)
    cells = [f"{figure(seconds['fastbp'] * 1e6)} µs", f"{figure(alone * 1e6)} µs"]
    for name in ("torch", "onnxruntime"):
        found = [value for key, value in seconds.items() if key[0] == name]
        cells.append(best_cell(min(found, default=None), seconds["fastbp"]))
    return cells


def best_cell(best, ours):
    return "–" if best is None else f"{figure(best * 1e6)} µs ({figure(best / ours)}×)"


def kernel_seconds(network, X):
    """Of the kernel on one thread, called from compiled code."""
    samples = network.samples(X, np.zeros(len(X), int))
    samples = samples._replace(labels=samples.labels[:0])
    batch = kernels.make_batch(
        network.parameters.layout, len(X), network.dtype, purpose="inference"
    )
    out = np.empty((len(X), network.sizes[-1]), network.dtype)
    times = max(1, 1000 // len(X))
    arguments = network.parameters.state, batch, samples, out
    return medians({"kernel": lambda: infer_often(times, *arguments)})["kernel"] / times


def small_data(n):
    """Rows for a small network, and their labels."""
    generator = np.random.default_rng(0)
    X = generator.standard_normal((n, SMALL[0]), dtype=np.float32)
    return X, generator.integers(0, SMALL[-1], n)


def small_calls():
    """Table of what users call most often for a few rows."""
    X, y = small_data(FEW)
    x, label = X[:1], y[:1]
    network, learning = Network(SMALL, seed=0), Network(SMALL, seed=0)
    plain = Trainer(learning, learning_rate=1e-6, seed=0)
    adam = Trainer(Network(SMALL, seed=0), "adam", learning_rate=1e-6, batch_size=FEW, seed=0)
    state, samples = network.copy().parameters.state, network.samples(x, label)
    out = np.empty_like(network.params)
    seconds = medians(
        {
            "`kernels.train_sequential`, one row": lambda: kernels.train_sequential(
                state, samples, 0, 1, 0.0
            ),
            "`Network.predict`, one row": lambda: network.predict(x),
            "`Trainer.partial_fit`, one row, SGD": lambda: plain.partial_fit(x, label),
            f"`Trainer.partial_fit`, {FEW} rows, Adam": lambda: adam.partial_fit(X, y),
            f"`Network.value_and_grad`, {FEW} rows": lambda: network.value_and_grad(X, y, out),
        }
    )
    rows = [["8-16-4, float32", "µs"]]
    return table(rows + [[name, figure(value * 1e6)] for name, value in seconds.items()])


def estimators():
    """Table of scikit-learn's estimator and ours, one row at a time."""
    import sklearn.neural_network

    import fastbp.sklearn

    X, y = small_data(200)
    x, label = X[:1], y[:1]
    models = {
        "fastbp.sklearn": fastbp.sklearn.MLPClassifier(SMALL[1:-1], random_state=0, max_iter=5),
        "scikit-learn": sklearn.neural_network.MLPClassifier(
            SMALL[1:-1], random_state=0, max_iter=5
        ),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not converged
        probabilities = [
            model.fit(X, y).partial_fit(x, label).predict_proba(X) for model in models.values()
        ]
    np.testing.assert_allclose(*probabilities, rtol=1e-3)
    rows = [["`MLPClassifier`, 8-16-4, one row", *models]]
    for call, arguments in (("partial_fit", (x, label)), ("predict", (x,))):
        functions = {name: getattr(model, call) for name, model in models.items()}
        seconds = medians(
            {name: lambda f=f, given=arguments: f(*given) for name, f in functions.items()}
        )
        ours, theirs = seconds.values()
        rows.append([f"`{call}`", f"{figure(ours * 1e6)} µs", best_cell(theirs, ours)])
    return table(rows)


def jax_gradient(network, X, y):
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    layers = [
        (jnp.array(W.T), jnp.array(b)) for W, b in zip(network.weights, network.biases, strict=True)
    ]
    X, y = jnp.asarray(X), jnp.asarray(y)

    def loss(layers):
        (V, c), (W, b) = layers
        return 0.5 * ((jnp.tanh(X @ V + c) @ W + b - y) ** 2).sum(axis=1).mean()

    both = jax.jit(jax.value_and_grad(loss))
    return lambda: float(jax.block_until_ready(both(layers))[0])


def torch_gradient(network, X, y):
    import torch

    layers = [tuple(p.requires_grad_() for p in layer) for layer in torch_layers(network)]
    X, y = torch.from_numpy(X), torch.from_numpy(y)
    flat = [p for layer in layers for p in layer]
    linear = torch.nn.functional.linear

    def both():
        torch.set_num_threads(1)
        (V, c), (W, b) = layers
        a = linear(torch.tanh(linear(X, V, c)), W, b)
        loss = 0.5 * ((a - y) ** 2).sum(dim=1).mean()
        torch.autograd.grad(loss, flat)
        return float(loss.detach())

    return both


def gradient():
    """Table of the gradient."""
    sizes, n = GRADIENT
    generator = np.random.default_rng(0)
    network = Network(sizes, activation="tanh", loss="squared_error", dtype="float64", seed=0)
    X, y = generator.standard_normal((n, sizes[0])), generator.standard_normal((n, sizes[-1]))
    out = np.empty_like(network.params)
    f = network.objective(X, y)
    samples = network.samples(X, y)
    batch = kernels.make_batch(network.parameters.layout, n, network.dtype, purpose="gradient")
    times = 1000
    arguments = network.parameters.state, batch, samples, n, out
    functions = {
        "kernel alone": lambda: differentiate_often(times, *arguments) / n,
        "Network.objective": lambda: f(network.params)[0],
        "Network.value_and_grad": lambda: network.value_and_grad(X, y, out)[0],
    }
    for name, build in (("JAX jit", jax_gradient), ("torch", torch_gradient)):
        try:
            functions[name] = build(network, X, y)
        except ImportError as reason:
            print(f"{name} left out: {reason}")
    for function in functions.values():
        np.testing.assert_allclose(function(), network.loss(X, y), rtol=1e-9)
    seconds = medians(functions)
    seconds["kernel alone"] /= times
    heading = "24-8-2, tanh, 200 rows, float64"
    return table(
        [[heading, "µs"], *([name, figure(value * 1e6)] for name, value in seconds.items())]
    )


def main():
    """Print the tables, and write them."""
    parser = argparse.ArgumentParser(description="Time single calls.")
    parser.add_argument("--write", action="store_true", help="write docs/training.md too")
    options = parser.parse_args()
    tables = (predictions, small_calls, estimators, gradient)
    text = "\n\n".join([*(measured() for measured in tables), conditions_of(describe())])
    print(text)
    if options.write:
        write_block("docs/training.md", "bench/calls.py", text)


if __name__ == "__main__":
    main()
