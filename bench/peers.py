"""The systems that are compared: each makes one pass of per-sample SGD over the same rows.

Same architecture (ReLU, softmax, cross-entropy), same initial weights, same order, same dtype.
A system is built from (network, X, y, learning_rate) and has ``run()``, one more pass in the order
given, and ``parameters()``, its weights (n_out, n_in) and then its biases, for the verification.
"""

import math

import numba
import numpy as np

from fastbp import kernels


class Fastbp:
    """The sequential kernel, called as `fastbp.Trainer` calls it."""

    def __init__(self, network, X, y, learning_rate):
        self.network = network.copy()
        T = network.dtype.type
        samples = self.network._samples(X, y)
        self.arguments = (
            self.network.params,
            network.layout,
            kernels.make_work(network.layout, network.dtype),
            samples,
            np.arange(len(X)),
            0,
            len(X),
            T(learning_rate),
            T(0),
            0.0,
        )

    def run(self):
        kernels.train_sequential(*self.arguments)

    def parameters(self):
        return [*self.network.weights, *self.network.biases]


class PlainNumba:
    """The loop nest that one writes in an afternoon: one hidden layer, W (n_out, n_in)."""

    skips = False

    def __init__(self, network, X, y, learning_rate):
        self.layers = [
            (np.ascontiguousarray(W), b.copy())
            for W, b in zip(network.weights, network.biases, strict=True)
        ]
        if len(self.layers) != 2:
            raise NotImplementedError("written for one hidden layer")
        self.arguments = (X, y, network.dtype.type(learning_rate))

    def run(self):
        (W1, b1), (W2, b2) = self.layers
        plain_pass(W1, b1, W2, b2, *self.arguments, self.skips)

    def parameters(self):
        return [*(W for W, _ in self.layers), *(b for _, b in self.layers)]


class PlainNumbaSkipping(PlainNumba):
    """The same, leaving alone the weights of an inactive ReLU unit: their gradient is zero."""

    skips = True


@numba.njit(fastmath=True, error_model="numpy")
def plain_pass(W1, b1, W2, b2, X, y, eta, skips):
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
            if skips and h[k] == T(0):
                continue
            c = eta * dh[k] if h[k] > T(0) else T(0)
            b1[k] -= c
            for i in range(n0):
                W1[k, i] -= c * x[i]


class NumpyLoop:
    """The textbook in NumPy, with BLAS products and in-place updates."""

    def __init__(self, network, X, y, learning_rate):
        self.layers = [
            (np.ascontiguousarray(W), b.copy())
            for W, b in zip(network.weights, network.biases, strict=True)
        ]
        self.X, self.y, self.eta = X, y, network.dtype.type(learning_rate)

    def run(self):
        zero = self.X.dtype.type(0)
        for x, label in zip(self.X, self.y, strict=True):
            outputs = [x]
            for W, b in self.layers[:-1]:
                outputs.append(np.maximum(W @ outputs[-1] + b, zero))
            W, b = self.layers[-1]
            z = W @ outputs[-1] + b
            e = np.exp(z - z.max())
            delta = e / e.sum()
            delta[label] -= 1
            for (W, b), a in zip(reversed(self.layers), reversed(outputs), strict=True):
                below = (delta @ W) * (a > 0)
                W -= np.outer(self.eta * delta, a)
                b -= self.eta * delta
                delta = below

    def parameters(self):
        return [*(W for W, _ in self.layers), *(b for _, b in self.layers)]


class ScikitLearn:
    """MLPClassifier with its fastest settings for the same steps."""

    def __init__(self, network, X, y, learning_rate):
        from sklearn.neural_network import MLPClassifier

        self.X, self.y = X, y
        self.model = MLPClassifier(
            network.sizes[1:-1],
            solver="sgd",
            batch_size=1,
            momentum=0,
            nesterovs_momentum=False,
            alpha=0,
            learning_rate_init=learning_rate,
            shuffle=False,
            random_state=0,
        )
        classes = np.arange(network.sizes[-1])
        self.model.partial_fit(X[:1], y[:1], classes=classes)  # makes the arrays
        for coef, W in zip(self.model.coefs_, network.weights, strict=True):
            coef[...] = W.T
        for intercept, b in zip(self.model.intercepts_, network.biases, strict=True):
            intercept[...] = b

    def run(self):
        self.model.partial_fit(self.X, self.y)

    def parameters(self):
        return [*(coef.T for coef in self.model.coefs_), *self.model.intercepts_]


SYSTEMS = {
    "fastbp": Fastbp,
    "plain Numba": PlainNumba,
    "plain Numba, skipping": PlainNumbaSkipping,
    "NumPy": NumpyLoop,
    "scikit-learn": ScikitLearn,
}
