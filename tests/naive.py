"""An independent oracle: the textbook in NumPy, float64, one sample at a time.

Written from the mathematics, slow and obvious, sharing no code with the kernels. Losses are
computed from the outputs a, never from the logits, and softmax goes through its full Jacobian.
"""

import math

import numpy as np

erf = np.vectorize(math.erf, otypes=[float])


def Phi(z):
    return (1 + erf(z / math.sqrt(2))) / 2


def phi(z):
    return np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


def logistic(z):
    return 1 / (1 + np.exp(-z))


def gelu_tanh_inner(z):
    return math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)


def gelu_tanh_derivative(z):
    t = np.tanh(gelu_tanh_inner(z))
    inner = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * z**2)
    return (1 + t) / 2 + z / 2 * (1 - t**2) * inner


ACTIVATIONS = {
    "identity": (lambda z: z, lambda z: np.ones_like(z)),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1, 0.01)),
    "elu": (
        lambda z: np.where(z > 0, z, np.exp(np.minimum(z, 0)) - 1),
        lambda z: np.where(z > 0, 1, np.exp(np.minimum(z, 0))),
    ),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "sigmoid": (logistic, lambda z: logistic(z) * logistic(-z)),
    "softplus": (lambda z: np.log(1 + np.exp(z)), logistic),
    "gelu": (lambda z: z * Phi(z), lambda z: Phi(z) + z * phi(z)),
    "gelu_tanh": (lambda z: z / 2 * (1 + np.tanh(gelu_tanh_inner(z))), gelu_tanh_derivative),
    "silu": (
        lambda z: z * logistic(z),
        lambda z: logistic(z) + z * logistic(z) * logistic(-z),
    ),
    "exp": (np.exp, np.exp),
}


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


LOSSES = {
    "squared_error": (lambda a, y: ((a - y) ** 2).sum() / 2, lambda a, y: a - y),
    "cross_entropy": (lambda a, y: -(y * np.log(a)).sum(), lambda a, y: -y / a),
    "binary_cross_entropy": (
        lambda a, y: -(y * np.log(a) + (1 - y) * np.log(1 - a)).sum(),
        lambda a, y: -y / a + (1 - y) / (1 - a),
    ),
    "huber": (
        lambda a, y: np.where(abs(a - y) <= 1, (a - y) ** 2 / 2, abs(a - y) - 0.5).sum(),
        lambda a, y: np.clip(a - y, -1, 1),
    ),
    "absolute_error": (lambda a, y: abs(a - y).sum(), lambda a, y: np.sign(a - y)),
    "poisson": (lambda a, y: (a - y * np.log(a)).sum(), lambda a, y: 1 - y / a),
}


class Naive:
    """Weights (n_out, n_in) and biases as lists of float64 arrays."""

    def __init__(self, weights, biases, activations, loss):
        self.weights = [np.array(W, dtype=np.float64) for W in weights]
        self.biases = [np.array(b, dtype=np.float64) for b in biases]
        self.activations = list(activations)
        self.loss_value, self.loss_gradient = LOSSES[loss]

    @classmethod
    def of(cls, network):
        return cls(network.weights, network.biases, network.activations, network.loss_name)

    def forward(self, x, masks=()):
        """Every z and every a, a[0] being the input; hidden layers' a under the masks, if any."""
        z, a = [], [np.asarray(x, dtype=np.float64)]
        for W, b, name in zip(self.weights, self.biases, self.activations, strict=True):
            z.append(W @ a[-1] + b)
            a.append(softmax(z[-1]) if name == "softmax" else ACTIVATIONS[name][0](z[-1]))
            if len(a) <= len(masks) + 1:
                a[-1] = a[-1] * masks[len(a) - 2]
        return z, a

    def loss(self, X, Y):
        return np.mean(
            [self.loss_value(self.forward(x)[1][-1], y) for x, y in zip(X, Y, strict=True)]
        )

    def gradient(self, x, y, masks=()):
        """Gradient of one sample's loss: a list for weights and a list for biases."""
        z, a = self.forward(x, masks)
        g = self.loss_gradient(a[-1], y)
        if self.activations[-1] == "softmax":
            delta = (np.diag(a[-1]) - np.outer(a[-1], a[-1])) @ g
        else:
            delta = g * ACTIVATIONS[self.activations[-1]][1](z[-1])
        deltas = [delta]
        for layer in range(len(self.weights) - 1, 0, -1):
            derivative = ACTIVATIONS[self.activations[layer - 1]][1](z[layer - 1])
            if masks:
                derivative = derivative * masks[layer - 1]
            deltas.insert(0, (self.weights[layer].T @ deltas[0]) * derivative)
        return [np.outer(d, below) for d, below in zip(deltas, a[:-1], strict=True)], deltas

    def train(self, X, Y, order, learning_rate, weight_decay=0.0, weights=None):
        """Per-sample SGD; returns the mean of the losses seen before each step."""
        losses = []
        for row in order:
            w = 1.0 if weights is None else weights[row]
            losses.append(w * self.loss(X[row : row + 1], Y[row : row + 1]))
            dW, db = self.gradient(X[row], Y[row])
            for layer in range(len(self.weights)):
                decay = weight_decay * self.weights[layer]
                self.weights[layer] -= learning_rate * (w * dW[layer] + decay)
                self.biases[layer] -= learning_rate * w * db[layer]
        return np.mean(losses)

    def batch_gradient(self, X, Y, weights=None, masks=None):
        """Gradient of the weighted mean loss of a batch: lists for weights and biases."""
        sums = None
        for i, (x, y) in enumerate(zip(X, Y, strict=True)):
            w = 1.0 if weights is None else weights[i]
            terms = self.gradient(x, y, () if masks is None else masks[i])
            terms = [[w * g for g in part] for part in terms]
            if sums is None:
                sums = terms
            else:
                pairs = zip(sums, terms, strict=True)
                sums = [[a + b for a, b in zip(*pair, strict=True)] for pair in pairs]
        return [[g / len(X) for g in part] for part in sums]

    def train_batches(
        self, X, Y, order, batch_size, optimizer, weight_decay=0.0, weights=None, *, masks=None,
        l1=0.0, clip_value=None, clip_norm=None, max_norm=None, decoupled=0.0,
    ):  # fmt: skip
        """Mini-batches; ``optimizer`` maps a gradient to what is subtracted, for each parameter.

        ``masks`` has those of each sample in ``order``; weights shrink by ``decoupled``·η a step.
        """
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            dW, db = self.batch_gradient(
                X[rows],
                Y[rows],
                None if weights is None else weights[rows],
                None if masks is None else masks[start : start + batch_size],
            )
            if clip_value is not None:
                dW, db = ([np.clip(g, -clip_value, clip_value) for g in part] for part in (dW, db))
            if clip_norm is not None:
                norm = math.sqrt(sum((g**2).sum() for g in dW + db))
                factor = min(1, clip_norm / (norm + 1e-6))
                dW, db = ([factor * g for g in part] for part in (dW, db))
            for layer in range(len(self.weights)):
                W = self.weights[layer]
                g = dW[layer] + weight_decay * W + l1 * np.sign(W)
                W -= decoupled * optimizer.learning_rate * W + optimizer(("W", layer), g)
                self.biases[layer] -= optimizer(("b", layer), db[layer])
                if max_norm is not None:
                    norms = np.linalg.norm(W, axis=1, keepdims=True)
                    W *= np.minimum(1, max_norm / np.maximum(norms, 1e-300))


def philox(counter, key):
    """Philox-4x32-10 of Salmon et al. 2011 with Python's integers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c[2], 2**32)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def dropout_masks(rates, sizes, key, samples):
    """For each sample's number, a mask per hidden layer."""
    return [
        [
            np.array(
                [
                    0.0
                    if philox((k // 4, layer, t % 2**32, t // 2**32), key)[k % 4] < rate * 2**32
                    else 1 / (1 - rate)
                    for k in range(size)
                ]
            )
            for layer, (rate, size) in enumerate(zip(rates, sizes, strict=True), start=1)
        ]
        for t in samples
    ]


class Steps:
    """Optimizers as their papers have them, with torch's ε; the state is kept by name."""

    def __init__(self, kind, learning_rate, **settings):
        self.rule, self.learning_rate, self.settings = getattr(self, kind), learning_rate, settings
        self.state = {}

    def __call__(self, name, g):
        state = self.state.setdefault(name, {"t": 0})
        state["t"] += 1
        return self.rule(g, state, **self.settings)

    def sgd(self, g, s, momentum=0.0, dampening=0.0, nesterov=False, velocity=False):
        before, after = (self.learning_rate, 1) if velocity else (1, self.learning_rate)
        g = before * g
        s["b"] = momentum * s["b"] + (1 - dampening) * g if "b" in s else g
        return after * (g + momentum * s["b"] if nesterov else s["b"])

    def rmsprop(self, g, s, alpha=0.99, eps=1e-8, momentum=0.0, centered=False):
        s["v"] = alpha * s.get("v", 0) + (1 - alpha) * g**2
        s["m"] = alpha * s.get("m", 0) + (1 - alpha) * g
        d = g / (np.sqrt(s["v"] - (s["m"] ** 2 if centered else 0)) + eps)
        s["b"] = momentum * s.get("b", 0) + d
        return self.learning_rate * s["b"]

    def adagrad(self, g, s, lr_decay=0.0, eps=1e-10):
        s["v"] = s.get("v", 0) + g**2
        return self.learning_rate / (1 + (s["t"] - 1) * lr_decay) * g / (np.sqrt(s["v"]) + eps)

    def adadelta(self, g, s, rho=0.9, eps=1e-6):
        s["v"] = rho * s.get("v", 0) + (1 - rho) * g**2
        d = np.sqrt(s.get("u", 0) + eps) / np.sqrt(s["v"] + eps) * g
        s["u"] = rho * s.get("u", 0) + (1 - rho) * d**2
        return self.learning_rate * d

    def moments(self, g, s, beta1, beta2):
        s["m"] = beta1 * s.get("m", 0) + (1 - beta1) * g
        s["v"] = beta2 * s.get("v", 0) + (1 - beta2) * g**2
        return s["m"], s["v"] / (1 - beta2 ** s["t"])

    def adam(self, g, s, beta1=0.9, beta2=0.999, eps=1e-8, amsgrad=False, uncorrected_eps=False):
        m, v = self.moments(g, s, beta1, beta2)
        if amsgrad:
            s["most"] = np.maximum(s.get("most", 0), s["v"])
            v = s["most"] / (1 - beta2 ** s["t"])
        if uncorrected_eps:
            eps /= math.sqrt(1 - beta2 ** s["t"])
        return self.learning_rate * m / (1 - beta1 ** s["t"]) / (np.sqrt(v) + eps)

    def nadam(self, g, s, beta1=0.9, beta2=0.999, eps=1e-8, momentum_decay=0.004):
        m, v = self.moments(g, s, beta1, beta2)
        mu, after = (beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay)) for t in (s["t"], s["t"] + 1))
        s["product"] = s.get("product", 1.0) * mu
        ahead = (1 - mu) * g / (1 - s["product"]) + after * m / (1 - s["product"] * after)
        return self.learning_rate * ahead / (np.sqrt(v) + eps)


def one_hot(labels, n):
    return np.eye(n)[labels]
